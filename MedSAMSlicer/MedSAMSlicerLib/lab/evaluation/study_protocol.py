"""The prompts of "Segment Anything Model 2: an application to 2D and 3D medical images" (Dong et al. 2024, 2408.00756).

A grid of three choices (github.com/mazurowski-lab/segment-anything2-medical-evaluation): which slice is prompted, with
what, and which way the mask is carried. No range is given; the measure is the mean IoU of the slices that hold the
object, so what is drawn beyond its ends does not count (see :func:`mean_iou`). Prompts on every slice, its 2-D mode,
are the protocols "every slice" and "every slice, click".

Different from the published program: three slices lie at 1/6, 1/2 and 5/6 of the object; several boxes on a slice are
the one box around them, since an object of this engine has one box on a slice; distances are in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ...core.geometry import VolumeGeometry
from ...core.prompts import MaskPrompt, Prompt, SliceRef, box_from_voxels, point_from_voxel
from ...engine.cleanup import components
from .datasets import BoolVolume, Target
from .measurement import Measurement
from .prompt_protocol import BOTH, FORWARD, PromptProtocol
from .simulated_user import middle, plane_of

STUDY = "SAM 2 study"
FRAMES = ("first", "middle", "largest", "three")
STUDY_PROMPTS = ("point", "points", "box", "boxes", "mask")
_MOST_PARTS = 3


@dataclass(frozen=True)
class StudyProtocol(PromptProtocol):
    """One cell of the grid.

    Args:
        frame: one of `FRAMES`: the first slice with the object, the middle one (the upper of two), the one with the
            most voxels, or three that lie evenly.
        given: one of `STUDY_PROMPTS`: a click into the middle of the largest part on the slice; one into each of up to
            three parts; the box of the largest part; the box around up to three; the true mask.
    """

    frame: str = "middle"
    given: str = "point"
    ranged: bool = False

    @classmethod
    def of(cls, frame: str, given: str, direction: str) -> StudyProtocol:
        """A cell by its choices."""
        way = "both ways" if direction == BOTH else direction
        slices = 3 if frame == "three" else 1
        return cls(
            f"{STUDY}: {frame}, {given}, {way}", slices=slices, direction=direction, frame=frame, given=given
        )

    @property
    def cell(self) -> str:
        """Its name in the table of the study."""
        return self.name.removeprefix(f"{STUDY}: ")

    def fits(self, target: Target) -> bool:
        """Volumes and videos; three slices only where the object lies on as many."""
        held = int(np.count_nonzero(target.areas))
        return target.mask.shape[target.axis] > 1 and held >= (self.slices or 1)

    def prompted_slices(self, target: Target) -> tuple[int, ...]:
        """The slices of the first prompts."""
        held = np.flatnonzero(target.areas)
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
        rows, columns = np.nonzero(np.any(parts, axis=0))
        x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        return [box_from_voxels(geometry, slice_ref, float(x0), float(y0), float(x1), float(y1))]


def largest_parts(plane: BoolVolume) -> list[BoolVolume]:
    """The connected parts of a mask, (rows, columns), the largest first."""
    labels, count = components(plane)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return [np.asarray(labels == 1 + number, np.bool_) for number in np.argsort(-sizes, kind="stable")]


def mean_iou(measurement: Measurement) -> float:
    """The mean IoU over the slices that hold the object, from their Dice after the first prompts; 0 where it failed."""
    first, last = measurement.slice_range
    found = [dice / (2 - dice) for index, dice in measurement.slices if first <= index <= last]
    return float(np.mean(found)) if found else 0.0


STUDY_PROTOCOLS = tuple(
    StudyProtocol.of(frame, given, direction)
    for frame, given, direction in product(FRAMES, STUDY_PROMPTS, (FORWARD, BOTH))
    if frame != "three" or direction == BOTH
)
