"""A diameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..errors import PromptError
from ..geometry import FloatArray
from ..json_fields import Field
from .base import RAS, SMALLEST_SIDE, MoveRas, SliceRef, ras_point, read_ras, whole


@dataclass(frozen=True)
class RecistLine:
    """The longest diameter of a lesion on a slice, from `start` to `end` in RAS mm."""

    kind: ClassVar[str] = "line"
    keys: ClassVar[str] = "start end"
    optional_keys: ClassVar[str] = ""
    marks_inside: ClassVar[bool] = False
    has_extent: ClassVar[bool] = True

    slice: SliceRef
    start: RAS
    end: RAS
    round: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", ras_point(self.start, "line end"))
        object.__setattr__(self, "end", ras_point(self.end, "line end"))
        object.__setattr__(self, "round", whole(self.round, "round"))

    @property
    def places(self) -> tuple[RAS, ...]:
        """See PromptKind."""
        return self.start, self.end

    def check_size(self, xy: FloatArray) -> None:
        """See PromptKind."""
        if math.dist(*xy.tolist()) < SMALLEST_SIDE:
            x, y = xy[0].tolist()
            raise PromptError(
                f"The line on slice {self.slice.index} has no length: "
                f"both ends are at column {x:.1f}, row {y:.1f}."
            )

    def moved(self, move: MoveRas, scale: float) -> RecistLine:
        """See PromptKind."""
        return replace(self, start=move(self.start), end=move(self.end))

    def content(self) -> dict[str, Any]:
        """See PromptKind."""
        return {"start": self.start, "end": self.end}

    @classmethod
    def arguments(cls, fields: Mapping[str, Field], shape: tuple[int, int]) -> tuple[Any, ...]:
        """See PromptKind."""
        return read_ras(fields["start"]), read_ras(fields["end"])
