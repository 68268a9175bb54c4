"""The prompts of "Segment Anything Model 2: an application to 2D and 3D medical images" (Dong et al. 2024, 2408.00756).

In 3-D a grid of three choices (github.com/mazurowski-lab/segment-anything2-medical-evaluation): which slice is
prompted, with what, and which way the mask is carried. In 2-D the same prompts on every slice that holds the object,
each slice by itself, and which of the masks that the decoder draws is taken. No range is given; the measure is the mean
IoU of the slices that hold the object, so what is drawn beyond its ends does not count (see :func:`mean_iou`).

Several boxes are as many objects, whose masks are united: the box of the largest part of each slice belongs to the
first object, that of the second largest to the second, and so on. Several clicks are prompts of one object.

Different from the published program: three slices lie at 1/6, 1/2 and 5/6 of the object; distances are in mm; in 2-D a
true mask is no prompt, and the single mask is measured beside the first and the most certain alternative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product, zip_longest

import numpy as np

from ...core.geometry import VolumeGeometry
from ...core.prompts import MaskPrompt, Prompt, SliceRef, box_from_voxels, point_from_voxel
from ...engine.cleanup import components
from .datasets import BoolVolume, Target
from .measurement import Measurement
from .prompt_protocol import BOTH, FORWARD, PromptProtocol
from .simulated_user import middle, plane_of, tight_box

STUDY = "SAM 2 study"
FRAMES = ("first", "middle", "largest", "three")
STUDY_PROMPTS = ("point", "points", "box", "boxes", "mask")
PROMPTS_2D = STUDY_PROMPTS[:4]
TOKENS_2D = ("single", "first", "best")
EVERY = "every slice"
_KINDS = {"point": "click", "points": "click", "box": "box", "boxes": "box", "mask": "drawn mask"}
_MOST_PARTS = 3


@dataclass(frozen=True)
class StudyProtocol(PromptProtocol):
    """One cell of the grids.

    Args:
        frame: one of `FRAMES`: the first slice with the object, the middle one (the upper of two), the one with the
            most voxels, or three that lie evenly; or `EVERY` in 2-D.
        given: one of `STUDY_PROMPTS`: a click into the middle of the largest part on the slice; one into each of up to
            three parts; the box of the largest part; a box of each of up to three; the true mask.
        token: the mask that is taken, see :attr:`mask_token`.
    """

    frame: str = "middle"
    given: str = "point"
    ranged: bool = False
    token: str = "auto"

    @classmethod
    def of(cls, frame: str, given: str, direction: str) -> StudyProtocol:
        """A cell of the grid in 3-D by its choices."""
        way = "both ways" if direction == BOTH else direction
        slices = 3 if frame == "three" else 1
        return cls(
            f"{STUDY}: {frame}, {given}, {way}",
            prompt=_KINDS[given], slices=slices, direction=direction, frame=frame, given=given,
        )  # fmt: skip

    @classmethod
    def in_2d(cls, given: str, token: str) -> StudyProtocol:
        """A cell of the grid in 2-D by its choices."""
        return cls(
            f"{STUDY}, 2-D: {given}, {token} mask",
            prompt=_KINDS[given], slices=None, ranged=True, frame=EVERY, given=given, token=token,
        )  # fmt: skip

    @property
    def cell(self) -> str:
        """Its name in the tables of the study."""
        return self.name.partition(": ")[2]

    @property
    def mask_token(self) -> str:
        """As the cell says."""
        return self.token

    def as_objects(self, first: Sequence[Prompt]) -> list[tuple[Prompt, ...]]:
        """Several boxes are as many objects, ordered by the size of their parts on each slice."""
        if self.given != "boxes":
            return super().as_objects(first)
        slices = [tuple(boxes) for _, boxes in groupby(first, key=lambda box: box.slice.index)]
        return [tuple(box for box in boxes if box is not None) for boxes in zip_longest(*slices)]

    def fits(self, target: Target) -> bool:
        """In 3-D volumes and videos, three slices only where the object lies on as many; in 2-D pictures, too."""
        if self.is_single_frame:
            return True
        held = int(np.count_nonzero(target.areas))
        return target.mask.shape[target.axis] > 1 and held >= (self.slices or 1)

    def prompted_slices(self, target: Target) -> tuple[int, ...]:
        """The slices of the first prompts."""
        held = np.flatnonzero(target.areas)
        if self.is_single_frame:
            return tuple(held.tolist())
        if self.frame == "three":
            places = ((np.arange(3) + 0.5) / 3 * len(held)).astype(int)
            return tuple(np.unique(held[places]).tolist())
        chosen = {"first": int(held[0]), "middle": int(held[len(held) // 2]), "largest": target.largest_slice}
        return (chosen[self.frame],)

    def first(self, target: Target, geometry: VolumeGeometry, seed: Sequence[int]) -> tuple[Prompt, ...]:
        """The prompts; nothing is left to chance."""
        return tuple(
            prompt for index in self.prompted_slices(target) for prompt in self._on(target, geometry, index)
        )

    def _on(self, target: Target, geometry: VolumeGeometry, index: int) -> list[Prompt]:
        plane, slice_ref = plane_of(target.mask, target.axis, index), SliceRef(target.axis, index)
        if self.given == "mask":
            return [MaskPrompt(slice_ref, plane)]
        parts = largest_parts(plane)[: _MOST_PARTS if self.given.endswith("s") else 1]
        if self.given.startswith("point"):
            spacing = geometry.in_plane_spacing(target.axis)
            places = [middle(part, spacing) for part in parts]
            return [point_from_voxel(geometry, slice_ref, x, y) for x, y in places]
        return [box_from_voxels(geometry, slice_ref, *tight_box(part)) for part in parts]


def largest_parts(plane: BoolVolume) -> list[BoolVolume]:
    """The connected parts of a mask, (rows, columns), the largest first."""
    labels, count = components(plane)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return [np.asarray(labels == 1 + number, np.bool_) for number in np.argsort(-sizes, kind="stable")]


def mean_iou(measurement: Measurement) -> float:
    """The mean IoU over the slices that hold the object, from their Dice after the first prompts; 0 where it failed.

    A frame of a video from which the object is gone for a while counts as 0 where something is drawn on it.
    """
    first, last = measurement.slice_range
    found = [dice / (2 - dice) for index, dice in measurement.slices if first <= index <= last]
    return float(np.mean(found)) if found else 0.0


STUDY_3D = tuple(
    StudyProtocol.of(frame, given, direction)
    for frame, given, direction in product(FRAMES, STUDY_PROMPTS, (FORWARD, BOTH))
    if frame != "three" or direction == BOTH
)
STUDY_2D = tuple(StudyProtocol.in_2d(given, token) for token, given in product(TOKENS_2D, PROMPTS_2D))
STUDY_PROTOCOLS = STUDY_3D + STUDY_2D
