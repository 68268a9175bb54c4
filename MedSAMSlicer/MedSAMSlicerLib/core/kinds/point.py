"""A click."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..geometry import FloatArray
from ..json_fields import Field
from .base import RAS, MoveRas, SliceRef, ras_point, read_ras, whole


@dataclass(frozen=True)
class Point:
    """A click at `ras` (mm) on the object (positive) or beside it."""

    kind: ClassVar[str] = "point"
    keys: ClassVar[str] = "ras positive"
    optional_keys: ClassVar[str] = ""
    has_extent: ClassVar[bool] = False

    slice: SliceRef
    ras: RAS
    positive: bool = True
    round: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ras", ras_point(self.ras, "point"))
        object.__setattr__(self, "positive", bool(self.positive))
        object.__setattr__(self, "round", whole(self.round, "round"))

    @property
    def marks_inside(self) -> bool:
        """See PromptKind."""
        return self.positive

    @property
    def places(self) -> tuple[RAS, ...]:
        """See PromptKind."""
        return (self.ras,)

    def check_size(self, xy: FloatArray) -> None:
        """See PromptKind; a point needs no size."""

    def moved(self, move: MoveRas, scale: float) -> Point:
        """See PromptKind."""
        return replace(self, ras=move(self.ras))

    def content(self) -> dict[str, Any]:
        """See PromptKind."""
        return {"ras": self.ras, "positive": self.positive}

    @classmethod
    def arguments(cls, fields: Mapping[str, Field], shape: tuple[int, int]) -> tuple[Any, ...]:
        """See PromptKind."""
        return read_ras(fields["ras"]), fields["positive"].flag()
