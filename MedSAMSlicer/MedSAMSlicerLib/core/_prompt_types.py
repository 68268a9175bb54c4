"""The prompts themselves: frozen, hashable, checked as far as they can be without their volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Union

import numpy as np
import numpy.typing as npt

from .errors import PromptError
from .geometry import SliceAxis

RAS = tuple[float, float, float]


@dataclass(frozen=True)
class SliceRef:
    """One slice: array data at `index` along `axis`."""

    axis: SliceAxis
    index: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", whole(self.index, "slice index"))
        object.__setattr__(self, "axis", SliceAxis(self.axis))


@dataclass(frozen=True)
class Point:
    """A click at `ras` (mm) on the object (positive) or beside it."""

    slice: SliceRef
    ras: RAS
    positive: bool = True
    round: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ras", ras_point(self.ras, "point"))
        object.__setattr__(self, "positive", bool(self.positive))
        object.__setattr__(self, "round", whole(self.round, "round"))


@dataclass(frozen=True)
class Box:
    """A rectangle along the slice's rows and columns, by two opposite corners in RAS mm.

    The corners are voxel edges: around voxels x0 to x1 - 1 they lie at x0 - 0.5 and x1 - 0.5. `corner`
    has the lower column and row index.
    """

    slice: SliceRef
    corner: RAS
    opposite_corner: RAS
    round: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "corner", ras_point(self.corner, "box corner"))
        object.__setattr__(self, "opposite_corner", ras_point(self.opposite_corner, "box corner"))
        object.__setattr__(self, "round", whole(self.round, "round"))


@dataclass(frozen=True)
class Scribble:
    """A stroke through `points_ras` (mm), `radius_mm` wide to each side, on the object or beside it."""

    slice: SliceRef
    points_ras: tuple[RAS, ...]
    positive: bool = True
    radius_mm: float = 1.0
    round: int = 0

    def __post_init__(self) -> None:
        points = tuple(ras_point(point, "scribble point") for point in self.points_ras)
        radius = finite(self.radius_mm, "scribble radius")
        if not points:
            raise PromptError("A scribble needs at least one point.")
        if radius <= 0.0:
            raise PromptError(f"The radius of a scribble must be above 0 mm, got {radius:g}.")
        object.__setattr__(self, "points_ras", points)
        object.__setattr__(self, "radius_mm", radius)
        object.__setattr__(self, "positive", bool(self.positive))
        object.__setattr__(self, "round", whole(self.round, "round"))


@dataclass(frozen=True, eq=False)
class MaskPrompt:
    """The object's mask on a slice: `mask` is bool (rows, columns), read-only; compared by value.

    From round 1 on an empty mask is valid: it says that the object is not on this slice.
    """

    slice: SliceRef
    mask: npt.NDArray[np.bool_] = field(repr=False)
    round: int = 0

    def __post_init__(self) -> None:
        mask = np.asarray(self.mask)
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise PromptError(
                f"A mask prompt must be bool (rows, columns), got {mask.dtype} of shape {mask.shape}."
            )
        frozen = np.frombuffer(mask.tobytes(), dtype=np.bool_).reshape(mask.shape)
        object.__setattr__(self, "mask", frozen)
        object.__setattr__(self, "round", whole(self.round, "round"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskPrompt):
            return NotImplemented
        same = self.slice == other.slice and self.round == other.round
        return same and bool(np.array_equal(self.mask, other.mask))

    def __hash__(self) -> int:
        return hash((self.slice, self.round, self.mask.shape, np.packbits(self.mask).tobytes()))


@dataclass(frozen=True)
class RecistLine:
    """The longest diameter of a lesion on a slice, from `start` to `end` in RAS mm."""

    slice: SliceRef
    start: RAS
    end: RAS
    round: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", ras_point(self.start, "line end"))
        object.__setattr__(self, "end", ras_point(self.end, "line end"))
        object.__setattr__(self, "round", whole(self.round, "round"))


# Union, since Python 3.10 is served and isinstance needs the members: Prompt.__args__.
PlacedPrompt = Union[Point, Box, Scribble, RecistLine]  # noqa: UP007
Prompt = Union[PlacedPrompt, MaskPrompt]  # noqa: UP007


KIND_NAMES: dict[type, str] = {
    Point: "point",
    Box: "box",
    Scribble: "scribble",
    RecistLine: "line",
    MaskPrompt: "mask",
}
"""What each kind of prompt is called, in labels and files."""


def no_kind(prompt: NoReturn) -> TypeError:
    """The error at the end of every list of kinds; a type checker refuses it there while a kind is left out."""
    return TypeError(f"{type(prompt).__name__} is no kind of prompt that is known here.")


def kind_name(prompt: Prompt) -> str:
    """Return what the kind of a prompt is called, such as "box"."""
    return KIND_NAMES[type(prompt)]


def ras_point(point: Sequence[float], what: str) -> RAS:
    """Three finite floats; PromptError naming `what` otherwise."""
    values = tuple(finite(value, what) for value in point)
    if len(values) != 3:
        raise PromptError(f"A {what} needs three coordinates in mm, got {values}.")
    return values[0], values[1], values[2]


def finite(value: object, what: str) -> float:
    """A finite float; PromptError naming `what` otherwise."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise PromptError(f"A {what} needs numbers, got {value!r}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise PromptError(f"A {what} needs finite numbers, got {value!r}.")
    return number + 0.0  # -0.0 and 0.0 are one place, so they must write and hash alike


def whole(value: object, what: str) -> int:
    """A whole number from 0; PromptError naming `what` otherwise."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 0:
        raise PromptError(f"A {what} must be a whole number from 0, got {value!r}.")
    return int(value)
