"""A stroke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..errors import PromptError
from ..geometry import FloatArray
from ..json_fields import Field
from .base import RAS, MoveRas, SliceRef, finite, ras_point, read_ras, whole


@dataclass(frozen=True)
class Scribble:
    """A stroke through `points_ras` (mm), `radius_mm` wide to each side, on the object or beside it."""

    kind: ClassVar[str] = "scribble"
    keys: ClassVar[str] = "points_ras radius_mm positive"
    optional_keys: ClassVar[str] = ""
    has_extent: ClassVar[bool] = False

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

    @property
    def marks_inside(self) -> bool:
        """See PromptKind."""
        return self.positive

    @property
    def places(self) -> tuple[RAS, ...]:
        """See PromptKind."""
        return self.points_ras

    def check_size(self, xy: FloatArray) -> None:
        """See PromptKind; a stroke may be one point."""

    def moved(self, move: MoveRas, scale: float) -> Scribble:
        """See PromptKind; the stroke becomes wider or narrower as the volume does on the whole."""
        return replace(self, points_ras=tuple(map(move, self.points_ras)), radius_mm=scale * self.radius_mm)

    def content(self) -> dict[str, Any]:
        """See PromptKind."""
        return {"points_ras": self.points_ras, "radius_mm": self.radius_mm, "positive": self.positive}

    @classmethod
    def arguments(cls, fields: Mapping[str, Field], shape: tuple[int, int]) -> tuple[Any, ...]:
        """See PromptKind."""
        points = tuple(read_ras(point) for point in fields["points_ras"].items())
        return points, fields["positive"].flag(), fields["radius_mm"].number()
