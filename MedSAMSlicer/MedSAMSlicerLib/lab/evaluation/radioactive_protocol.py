"""The protocols of RadioActive, a benchmark of promptable networks (arXiv 2411.07885, github.com/MIC-DKFZ/radioactive).

- Static, 2-D: every slice that holds the object is prompted and segmented by itself: with random points inside, with as
  many beside the object, with its box, with the box of the whole object, or with points or boxes that a user gives on a
  few slices and that are interpolated linearly between them.
- Propagated: one box, or five points, on the median slice; the rest is up to the runner, as SAM 2's video predictor.
- Static, 3-D: random points anywhere in the object, points along its middle, or the box of the whole object.
- Corrected: five times, either a scribble beside the object where the mask leaked, or points where it was missed; which
  of the two is drawn with the share of what leaked in the error. A scribble becomes negative points, as it does there.

What is left to chance is drawn with the seed of that benchmark, so that the seed of a run changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...core.errors import MedSAMError
from ...core.geometry import VolumeGeometry
from ...core.prompts import Prompt, SliceRef, box_from_voxels, point_from_voxel
from . import radioactive_places as places
from .datasets import BoolVolume, Target
from .prompt_protocol import Correction, PromptProtocol
from .simulated_user import tight_box

SEED = 11121
CORRECTIONS = 5
POINT_DEGREES, SCRIBBLE_DEGREES = 3, 12
"""Degrees of freedom that a user sets with a point in 3-D and with a scribble."""

STYLES = (
    "points", "points and background", "center points", "boxes", "volume box", "interpolated points",
    "interpolated boxes", "propagated points", "propagated box", "3-D points", "3-D center points", "3-D box",
)  # fmt: skip
BY_SLICE = ("points", "points and background", "center points", "boxes", "volume box", "interpolated points",
            "interpolated boxes")  # fmt: skip
ON_ERROR, ON_EVERY_SLICE, IN_3D = "on the error", "on every slice", "in 3-D"

_FALLBACK_POINTS = 3  # where no scribble fits
_MIDDLE_SLICES = 5  # between which the points along the middle are interpolated

Place = tuple[int, int, int]
"""Slice, row, column; slices are counted along the target's axis."""


@dataclass(frozen=True)
class RadioActiveProtocol(PromptProtocol):
    """One way of prompting.

    Args:
        style: one of `STYLES`.
        count: points a slice or in all, or slices between which is interpolated.
        correction_style: where a correction goes: a scribble or points on the largest part that was missed; a random
            wrong pixel on every slice; a random wrong voxel.
    """

    style: str = "boxes"
    count: int = 1
    correction_style: str = ON_ERROR

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise MedSAMError(f"The style is one of {', '.join(STYLES)}, not {self.style!r}.")
        if self.count < 1 or self.corrections < 0:
            raise MedSAMError(
                f"{self.name!r} needs at least one prompt and no less than 0 corrections, got {self.count} and "
                f"{self.corrections}."
            )

    def fits(self, target: Target) -> bool:
        """Volumes, since slices of a picture cannot be told apart."""
        return target.mask.shape[target.axis] > 1

    def prompted_slices(self, target: Target) -> tuple[int, ...]:
        """The slices of the first prompts, in ascending order."""
        return tuple(sorted({index for index, *_ in self._first_places(target)}))

    def first(self, target: Target, geometry: VolumeGeometry, seed: Sequence[int]) -> tuple[Prompt, ...]:
        """The first prompts; `seed` is not used."""
        if self.prompt == "box":
            return tuple(
                box_from_voxels(geometry, SliceRef(target.axis, index), x0, y0, x1, y1)
                for index, x0, y0, x1, y1 in self._first_places(target)
            )
        positive = [(index, y, x) for index, y, x, inside in self._first_places(target) if inside]
        negative = [(index, y, x) for index, y, x, inside in self._first_places(target) if not inside]
        return (
            *_points(target, geometry, positive, True, 0),
            *_points(target, geometry, negative, False, 0),
        )

    def first_interactions(self, target: Target, first: Sequence[Prompt]) -> int:
        """Prompts that a user gives; those between them are interpolated."""
        if self.style in ("interpolated points", "interpolated boxes"):
            return len(places.spread_slices(target.areas > 0, self.count))
        return 1 if self.style == "volume box" else len(first)

    def next_correction(
        self,
        target: Target,
        shown: BoolVolume,
        geometry: VolumeGeometry,
        given: Sequence[Prompt],
        round: int,
    ) -> Correction | None:
        """A scribble, points or a point; see the class."""
        truth, seen = (np.moveaxis(mask, int(target.axis), 0) for mask in (target.mask, shown))
        wrong = truth != seen
        if not wrong.any():
            return None
        chance = np.random.RandomState([SEED, round])
        if self.correction_style == ON_ERROR:
            found, positive, degrees = _on_error(truth, seen, chance)
            return Correction(_points(target, geometry, found, positive, round), degrees)
        if self.correction_style == ON_EVERY_SLICE:
            indices = np.flatnonzero(wrong.any(axis=(1, 2)) & (target.areas > 0)).tolist()
            chosen = [(index, *places.random_pixels(wrong[index], 1, chance)[0]) for index in indices]
        else:
            voxels = np.argwhere(wrong)
            k, j, i = voxels[chance.randint(len(voxels))].tolist()
            chosen = [(k, j, i)]
        if not chosen:
            return None
        prompts = tuple(
            prompt
            for place in chosen
            for prompt in _points(target, geometry, [place], bool(truth[place]), round)
        )
        return Correction(prompts, POINT_DEGREES * len(prompts))

    def _start(self, target: Target) -> int:
        return places.median_slice(target.areas > 0)

    def _first_places(self, target: Target) -> list[tuple[int, ...]]:
        """(slice, x0, y0, x1, y1) of boxes, far edges exclusive, or (slice, row, column, inside) of points."""
        truth, held = np.moveaxis(target.mask, int(target.axis), 0), target.areas > 0
        if self.prompt == "box":
            return [*self._boxes(truth, held)]
        chance = np.random.RandomState(SEED)
        return [*self._places(truth, held, chance)]

    def _boxes(self, truth: BoolVolume, held: npt.NDArray[np.bool_]) -> Iterable[tuple[int, ...]]:
        if self.style == "boxes":
            return [(index, *tight_box(truth[index])) for index in np.flatnonzero(held).tolist()]
        whole = tight_box(np.asarray(truth.any(axis=0)))
        if self.style == "volume box":
            first, last = np.flatnonzero(held)[[0, -1]].tolist()
            return [(index, *whole) for index in range(first, last + 1)]
        median = places.median_slice(held)
        if self.style == "3-D box":
            return [(median, *whole)]
        if self.style == "propagated box":
            return [(median, *tight_box(truth[median]))]
        seeds = [(index, *tight_box(truth[index])) for index in places.spread_slices(held, self.count)]
        return [
            (index, x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))
            for index, x0, y0, x1, y1 in places.interpolated(seeds)
        ]

    def _places(
        self, truth: BoolVolume, held: npt.NDArray[np.bool_], chance: np.random.RandomState
    ) -> Iterable[tuple[int, ...]]:
        if self.style in ("points", "points and background", "center points"):
            return [
                place for index in np.flatnonzero(held).tolist() for place in self._on(index, truth, chance)
            ]
        if self.style == "propagated points":
            median = places.median_slice(held)
            pixels = places.random_pixels(truth[median], self.count, chance, repeat=False)
            return [(median, y, x, 1) for y, x in pixels]
        if self.style == "3-D points":
            voxels = np.argwhere(truth)
            chosen = chance.choice(len(voxels), min(self.count, len(voxels)), replace=False)
            return [(*voxel, 1) for voxel in voxels[chosen].tolist()]
        count = _MIDDLE_SLICES if self.style == "3-D center points" else self.count
        along = places.interpolated(
            [(index, *places.box_center(truth[index])) for index in places.spread_slices(held, count)]
        )
        if self.style == "3-D center points":
            chosen = np.unique(np.linspace(0, len(along) - 1, self.count + 2, dtype=int)[1:-1])
            along = [along[number] for number in chosen.tolist()]
        return [(*place, 1) for place in along]

    def _on(
        self, index: int, truth: BoolVolume, chance: np.random.RandomState
    ) -> Iterable[tuple[int, int, int, int]]:
        plane = truth[index]
        if self.style == "center points":
            return [(index, *places.mass_center(plane), 1)]
        if self.style == "points":
            return [(index, y, x, 1) for y, x in places.random_pixels(plane, self.count, chance)]
        inside = places.random_pixels(plane, (self.count + 1) // 2, chance, repeat=False)
        beside = places.random_pixels(places.ring(plane), self.count // 2, chance, repeat=False)
        return [(index, y, x, 1) for y, x in inside] + [(index, y, x, 0) for y, x in beside]


def _on_error(
    truth: BoolVolume, seen: BoolVolume, chance: np.random.RandomState
) -> tuple[list[Place], bool, int]:
    """Places of a correction, whether they are positive, and degrees of freedom."""
    missed, leaked = truth & ~seen, seen & ~truth
    share = np.count_nonzero(leaked) / (np.count_nonzero(missed) + np.count_nonzero(leaked))
    if not chance.binomial(1, share):
        part = places.largest_part(missed)
        indices = np.flatnonzero(part.any(axis=(1, 2))).tolist()
        found = [(index, *places.mass_center(part[index])) for index in indices]
        return found, True, POINT_DEGREES * len(found)
    row = int(np.count_nonzero(leaked, axis=(0, 2)).argmax())
    scribble = places.scribble_beside(truth[:, row], seen[:, row], chance)
    if scribble.any():
        return [(k, row, i) for k, i in np.argwhere(scribble).tolist()], False, SCRIBBLE_DEGREES
    voxels = np.argwhere(leaked)
    chosen = chance.choice(len(voxels), min(_FALLBACK_POINTS, len(voxels)), replace=False)
    found = [(k, j, i) for k, j, i in voxels[chosen].tolist()]
    return found, False, POINT_DEGREES * len(found)


def _points(
    target: Target, geometry: VolumeGeometry, found: Iterable[Place], positive: bool, round: int
) -> tuple[Prompt, ...]:
    return tuple(
        point_from_voxel(geometry, SliceRef(target.axis, index), x, y, positive, round)
        for index, y, x in found
    )


def _named(what: str, prompt: str, style: str, count: int = 1, corrected: str = "") -> RadioActiveProtocol:
    by_slice = style in BY_SLICE
    return RadioActiveProtocol(
        f"RadioActive: {what}{', corrected' if corrected else ''}",
        prompt,
        slices=None if by_slice else 1,
        ranged=by_slice or style in ("propagated points", "propagated box", "3-D box"),
        corrections=CORRECTIONS if corrected else 0,
        style=style,
        count=count,
        correction_style=corrected or ON_ERROR,
    )


RADIOACTIVE: tuple[RadioActiveProtocol, ...] = (
    *(_named(f"{n} point{'s' * (n > 1)} a slice", "click", "points", n) for n in (1, 2, 3, 5, 10)),
    *(_named(f"{n} points a slice, in and out", "click", "points and background", n) for n in (2, 3, 5, 10)),
    _named("center point a slice", "click", "center points"),
    *(_named(f"{n} points interpolated", "click", "interpolated points", n) for n in (3, 5, 10)),
    _named("5 points propagated", "click", "propagated points", 5),
    _named("box a slice", "box", "boxes"),
    _named("box of the object a slice", "box", "volume box"),
    *(_named(f"{n} boxes interpolated", "box", "interpolated boxes", n) for n in (3, 5, 10)),
    _named("box propagated", "box", "propagated box"),
    *(_named(f"{n} point{'s' * (n > 1)} in 3-D", "click", "3-D points", n) for n in (1, 2, 3, 5, 10)),
    *(
        _named(f"{n} center point{'s' * (n > 1)} in 3-D", "click", "3-D center points", n)
        for n in (1, 2, 3, 5, 10)
    ),
    _named("box in 3-D", "box", "3-D box"),
    _named("1 point a slice", "click", "points", 1, ON_ERROR),
    _named("5 points interpolated", "click", "interpolated points", 5, ON_ERROR),
    _named("3 boxes interpolated", "box", "interpolated boxes", 3, ON_ERROR),
    _named("5 points propagated", "click", "propagated points", 5, ON_ERROR),
    _named("1 point a slice, each slice", "click", "points", 1, ON_EVERY_SLICE),
    _named("1 point in 3-D", "click", "3-D points", 1, IN_3D),
    _named("1 center point in 3-D", "click", "3-D center points", 1, IN_3D),
)
"""The protocols, static ones first."""
