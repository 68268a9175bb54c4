"""The actions of a user in a measurement: the first prompts, the direction of the mask, and the corrections.

The pipelines of published studies are protocols too: single-frame 2-D segmentation is a prompt on every slice and
nothing carried on; multi-frame 3-D segmentation is a prompt on one or several slices, carried forward, backward or
both ways from the largest, the middle or the first slice of the object. Protocols with rules of their own are
subclasses: :mod:`.cvpr_protocol`, :mod:`.radioactive_protocol`. The protocols that exist are in :mod:`.protocol`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.errors import MedSAMError
from ...core.geometry import VolumeGeometry
from ...core.prompts import MaskPrompt, Prompt, SliceRef
from .datasets import BoolVolume, Target
from .error_click import CLICK_3D, POSITIVE_CLICK_3D, error_click_on
from .simulated_user import box_on, click_on, correction, line_on, plane_of, rough_mask_on, second_box

PROMPTS = ("box", "loose box", "click", "line", "mask", "drawn mask")
STARTS = ("largest", "middle", "first", "even")
BOTH, FORWARD, BACKWARD = DIRECTIONS = ("both", "forward", "backward")
CORRECTIONS = ("click", "box", CLICK_3D, POSITIVE_CLICK_3D)
_JITTER = 0.1
_LOOSENESS = 1.0  # in-plane voxels


@dataclass(frozen=True)
class Correction:
    """The action of a user after one mask.

    Args:
        prompts: at least one; together they are one interaction.
        degrees: degrees of freedom that the user sets, where a protocol counts them; else None.
    """

    prompts: tuple[Prompt, ...]
    degrees: int | None = None


@dataclass(frozen=True)
class PromptProtocol:
    """One protocol, the same for every runner.

    Every prompt and every correction is one interaction; saying the range is none.

    Args:
        name: in tables and result files.
        prompt: one of `PROMPTS`: a tight box; one whose sides are off by up to a tenth of its extent; a click into
            the middle; the longest diameter; a mask one voxel too large; the mask as it is in truth.
        start: which slice of the object is prompted: that with the most voxels, the middle one of those that hold the
            object (the lower of two), or the first one. "even" moves no slice: all lie evenly over the object.
        slices: how many slices are prompted at once, see :meth:`prompted_slices`; None = each that holds the object,
            segmented by itself (single-frame): nothing is carried to other slices.
        direction: whether the mask is carried both ways from the prompted slice, or to higher or lower indices only;
            the slices on the other side stay empty, and what lies there counts as missed.
        ranged: whether the first and last slice of the object are given too.
        corrections: prompts after the first mask, one a round.
        correct_with: a click into the middle of the largest error of the worst slice; a tight box on the worst slice
            that has none yet; a click at the deepest voxel of the largest 3-D error, or of the largest part missed, in
            the whole volume (:mod:`.error_click`).

    Raises:
        MedSAMError: an unknown word, or parts that contradict each other.
    """

    name: str
    prompt: str = "box"
    start: str = "largest"
    slices: int | None = 1
    direction: str = BOTH
    ranged: bool = True
    corrections: int = 0
    correct_with: str = "click"

    def __post_init__(self) -> None:
        for what, word, known in (
            ("The first prompt", self.prompt, PROMPTS),
            ("The start", self.start, STARTS),
            ("The direction", self.direction, DIRECTIONS),
            ("The correction", self.correct_with, CORRECTIONS),
        ):
            if word not in known:
                raise MedSAMError(f"{what} is one of {', '.join(known)}, not {word!r}.")
        if (self.slices is not None and self.slices < 1) or self.corrections < 0:
            raise MedSAMError(
                f"{self.name!r} needs at least one prompted slice and no less than 0 corrections, got {self.slices} "
                f"and {self.corrections}."
            )
        if self.is_single_frame and not self.ranged:
            raise MedSAMError(f"{self.name!r} prompts every slice of the object, so its range is known.")
        if self.direction != BOTH and self.slices != 1:
            raise MedSAMError(f"{self.name!r} goes {self.direction} only, so it prompts one slice.")
        if self.corrections and (self.is_single_frame or self.direction != BOTH):
            raise MedSAMError(f"{self.name!r} takes no corrections: those are carried both ways.")

    @property
    def is_single_frame(self) -> bool:
        """Return whether every slice is prompted and segmented by itself."""
        return self.slices is None

    @property
    def all_classes(self) -> bool:
        """Return whether all labels of a case are segmented together, without overlap; see :mod:`.class_trial`."""
        return False

    @property
    def has_one_prompt(self) -> bool:
        """Return whether one slice is prompted and its mask is carried both ways."""
        return self.slices == 1 and self.direction == BOTH

    @property
    def mask_token(self) -> str:
        """The mask that is taken of those that a network draws: `mask_token` of `engine.network.SliceNetwork`."""
        return "auto"

    def as_objects(self, first: Sequence[Prompt]) -> list[tuple[Prompt, ...]]:
        """The first prompts as they are given: those of one object together. The masks of several are united."""
        return [tuple(first)]

    def fits(self, target: Target) -> bool:
        """Return whether this protocol says something of its own about a target.

        On a picture, a volume of one slice, nothing is carried: ways that differ from another one in the start, the
        number of slices, the direction or the range only are left out, and boxes on further slices too. Several
        slices cannot be prompted on an object that lies on fewer.
        """
        if target.mask.shape[target.axis] == 1:
            carried = self.start != "largest" or not self.has_one_prompt
            plain = self.ranged or self.corrections > 0
            return plain and not carried and (self.correct_with == "click" or not self.corrections)
        return self.slices is None or int(np.count_nonzero(target.areas)) >= self.slices

    def prompted_slices(self, target: Target) -> tuple[int, ...]:
        """The slices of the first prompts, in ascending order; all hold the object.

        With n slices, those that hold the object are cut into n equal parts and the middle of each part is taken; the
        one nearest to the start is moved there. So three slices lie at 1/6, 1/2 and 5/6 of the object.
        """
        held = np.flatnonzero(target.areas)
        if self.slices is None:
            return tuple(held.tolist())
        places = (np.arange(self.slices) + 0.5) / self.slices * len(held)
        chosen = held[np.minimum(places.astype(int), len(held) - 1)]
        if self.start != "even":
            start = self._start(target)
            chosen[int(np.abs(chosen - start).argmin())] = start
        return tuple(np.unique(chosen).tolist())

    def first(self, target: Target, geometry: VolumeGeometry, seed: Sequence[int]) -> tuple[Prompt, ...]:
        """The first prompts; `seed` belongs to this target alone, so that the order of targets does not matter."""
        chance = np.random.default_rng(seed)
        return tuple(self._prompt(target, geometry, index, chance) for index in self.prompted_slices(target))

    def correction(
        self,
        target: Target,
        shown: BoolVolume,
        geometry: VolumeGeometry,
        given: Sequence[Prompt],
        round: int,
    ) -> Prompt | None:
        """The next correction, None when nothing is wrong any more.

        Args:
            target, geometry: the object and its volume.
            shown: (K, J, I) bool, what the user sees.
            given: all prompts given so far.
            round: that of the correction, 1 for the first.
        """
        if self.correct_with in (CLICK_3D, POSITIVE_CLICK_3D):
            return error_click_on(target, shown, geometry, round, self.correct_with == POSITIVE_CLICK_3D)
        correct = second_box if self.correct_with == "box" else correction
        return correct(target, shown, geometry, given, round, self.slice_range(target))

    def next_correction(
        self,
        target: Target,
        shown: BoolVolume,
        geometry: VolumeGeometry,
        given: Sequence[Prompt],
        round: int,
    ) -> Correction | None:
        """All prompts of the next correction, None when nothing is wrong any more; arguments as of `correction`."""
        prompt = self.correction(target, shown, geometry, given, round)
        return None if prompt is None else Correction((prompt,))

    def first_interactions(self, target: Target, first: Sequence[Prompt]) -> int:
        """The number of the first prompts that a user gives; the others follow from them."""
        return len(first)

    def slice_range(self, target: Target) -> tuple[int, int] | None:
        """The range that the user gives; None where none is given."""
        return target.slice_range if self.ranged else None

    def _start(self, target: Target) -> int:
        held = np.flatnonzero(target.areas)
        if self.start == "first":
            return int(held[0])
        return int(held[(len(held) - 1) // 2]) if self.start == "middle" else target.largest_slice

    def _prompt(
        self, target: Target, geometry: VolumeGeometry, index: int, chance: np.random.Generator
    ) -> Prompt:
        if self.prompt == "box":
            return box_on(target, geometry, index)
        if self.prompt == "loose box":
            return box_on(target, geometry, index, _JITTER, chance)
        if self.prompt == "click":
            return click_on(target, geometry, index)
        if self.prompt == "line":
            return line_on(target, geometry, index)
        if self.prompt == "drawn mask":
            return MaskPrompt(SliceRef(target.axis, index), plane_of(target.mask, target.axis, index))
        voxel_mm = min(geometry.in_plane_spacing(target.axis))
        return rough_mask_on(target, index, _LOOSENESS * voxel_mm, geometry)
