"""The common part of all kinds of prompts: the slice they lie on, and how their values are checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from ..errors import PromptError
from ..geometry import FloatArray, SliceAxis
from ..json_fields import Field

RAS = tuple[float, float, float]
MoveRas = Callable[[RAS], RAS]

SMALLEST_SIDE = 1e-3  # voxels; a prompt below it has no size


@dataclass(frozen=True)
class SliceRef:
    """One slice: array data at `index` along `axis`."""

    axis: SliceAxis
    index: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", whole(self.index, "slice index"))
        object.__setattr__(self, "axis", SliceAxis(self.axis))


class PromptKind(Protocol):
    """The interface of a kind of prompt; a file of this folder for each.

    Attributes:
        kind: what it is called, in labels, messages and files.
        keys: of its JSON object, beside "type", "slice" and "round"; parted by spaces.
        optional_keys: that its JSON object may lack.
        slice, round: where it lies, and after how many propagations it was given.
    """

    kind: ClassVar[str]
    keys: ClassVar[str]
    optional_keys: ClassVar[str]

    @property
    def has_extent(self) -> bool:
        """Return whether it gives the size of the object and so replaces what was given before."""
        ...

    @property
    def slice(self) -> SliceRef:
        """The slice."""
        ...

    @property
    def round(self) -> int:
        """The round."""
        ...

    @property
    def marks_inside(self) -> bool:
        """Return whether its places are voxels of the object, as those of a click or stroke on it."""
        ...

    @property
    def places(self) -> tuple[RAS, ...]:
        """Its places in RAS mm; none for a mask, which is of voxels."""
        ...

    def check_size(self, xy: FloatArray) -> None:
        """Raise PromptError if it has no size; `xy` are its places in the slice, (N, 2) columns and rows."""
        ...

    def moved(self, move: MoveRas, scale: float) -> PromptKind:
        """The prompt at other places, in a volume that is `scale` times as large."""
        ...

    def content(self) -> dict[str, Any]:
        """The values that JSON holds of it under `keys`."""
        ...

    @classmethod
    def arguments(cls, fields: Mapping[str, Field], shape: tuple[int, int]) -> tuple[Any, ...]:
        """Read the constructor's arguments between slice and round; `shape` is (rows, columns) of the slice."""
        ...


def ras_point(point: Sequence[float], what: str) -> RAS:
    """Three finite floats; PromptError naming `what` otherwise."""
    values = tuple(finite(value, what) for value in point)
    if len(values) != 3:
        raise PromptError(f"A {what} needs three coordinates in mm, got {values}.")
    return values[0], values[1], values[2]


def read_ras(field: Field) -> RAS:
    """The place in a field."""
    right, anterior, superior = (item.number() for item in field.items(3))
    return right, anterior, superior


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
