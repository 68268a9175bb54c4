"""A closed outline that was drawn by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..errors import PromptError
from ..geometry import FloatArray
from ..json_fields import Field
from .base import RAS, MoveRas, SliceRef, ras_point, read_ras, whole


@dataclass(frozen=True)
class Lasso:
    """A closed outline through `points_ras` (mm); the last point is joined to the first.

    A positive one is drawn around the object: nothing outside belongs to it. Nothing inside a negative one does.
    """

    kind: ClassVar[str] = "lasso"
    keys: ClassVar[str] = "points_ras positive"
    optional_keys: ClassVar[str] = ""
    marks_inside: ClassVar[bool] = False

    slice: SliceRef
    points_ras: tuple[RAS, ...]
    positive: bool = True
    round: int = 0

    def __post_init__(self) -> None:
        points = tuple(ras_point(point, "lasso point") for point in self.points_ras)
        if len(points) < 3:
            raise PromptError(f"A lasso needs at least three points, got {len(points)}.")
        object.__setattr__(self, "points_ras", points)
        object.__setattr__(self, "positive", bool(self.positive))
        object.__setattr__(self, "round", whole(self.round, "round"))

    @property
    def has_extent(self) -> bool:
        """See PromptKind; one around what is not the object does not give the object's size."""
        return self.positive

    @property
    def places(self) -> tuple[RAS, ...]:
        """See PromptKind."""
        return self.points_ras

    def check_size(self, xy: FloatArray) -> None:
        """See PromptKind; the outline must enclose something."""
        if min(float(side) for side in xy.max(axis=0) - xy.min(axis=0)) < SMALLEST:
            raise PromptError(f"The lasso on slice {self.slice.index} encloses nothing.")

    def moved(self, move: MoveRas, scale: float) -> Lasso:
        """See PromptKind."""
        return replace(self, points_ras=tuple(map(move, self.points_ras)))

    def content(self) -> dict[str, Any]:
        """See PromptKind."""
        return {"points_ras": self.points_ras, "positive": self.positive}

    @classmethod
    def arguments(cls, fields: Mapping[str, Field], shape: tuple[int, int]) -> tuple[Any, ...]:
        """See PromptKind."""
        points = tuple(read_ras(point) for point in fields["points_ras"].items())
        return points, fields["positive"].flag()


SMALLEST = 0.5
"""Voxels; an outline that is narrower may lie between the centers of all voxels."""
