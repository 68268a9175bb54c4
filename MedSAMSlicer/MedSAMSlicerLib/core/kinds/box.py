"""A rectangle around the object, or around what is not the object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..errors import PromptError
from ..geometry import FloatArray
from ..json_fields import Field
from .base import RAS, SMALLEST_SIDE, MoveRas, SliceRef, ras_point, read_ras, whole


@dataclass(frozen=True)
class Box:
    """A rectangle along the slice's rows and columns, by two opposite corners in RAS mm.

    The corners are voxel edges: around voxels x0 to x1 - 1 they lie at x0 - 0.5 and x1 - 0.5. `corner`
    has the lower column and row index. A positive box is drawn around the object; nothing within a negative one belongs
    to it.
    """

    kind: ClassVar[str] = "box"
    keys: ClassVar[str] = "corner opposite_corner"
    optional_keys: ClassVar[str] = "positive"
    marks_inside: ClassVar[bool] = False

    slice: SliceRef
    corner: RAS
    opposite_corner: RAS
    positive: bool = True
    round: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "corner", ras_point(self.corner, "box corner"))
        object.__setattr__(self, "opposite_corner", ras_point(self.opposite_corner, "box corner"))
        object.__setattr__(self, "positive", bool(self.positive))
        object.__setattr__(self, "round", whole(self.round, "round"))

    @property
    def has_extent(self) -> bool:
        """See PromptKind; one around what is not the object does not give the object's size."""
        return self.positive

    @property
    def places(self) -> tuple[RAS, ...]:
        """See PromptKind."""
        return self.corner, self.opposite_corner

    def check_size(self, xy: FloatArray) -> None:
        """See PromptKind."""
        x0, y0, x1, y1 = (value + 0.5 for value in xy.ravel().tolist())
        corners = f"from column {x0:g}, row {y0:g} to column {x1:g}, row {y1:g}"
        what = f"The box on slice {self.slice.index} {corners}"
        if x1 - x0 < -SMALLEST_SIDE or y1 - y0 < -SMALLEST_SIDE:
            raise PromptError(f"{what} is inverted: its second corner must have the higher indices.")
        if min(x1 - x0, y1 - y0) < SMALLEST_SIDE:
            raise PromptError(f"{what} has no size.")

    def moved(self, move: MoveRas, scale: float) -> Box:
        """See PromptKind."""
        return replace(self, corner=move(self.corner), opposite_corner=move(self.opposite_corner))

    def content(self) -> dict[str, Any]:
        """See PromptKind; that it is positive is left out, as in files of earlier versions."""
        sign: dict[str, Any] = {} if self.positive else {"positive": False}
        return {"corner": self.corner, "opposite_corner": self.opposite_corner, **sign}

    @classmethod
    def arguments(cls, fields: Mapping[str, Field], shape: tuple[int, int]) -> tuple[Any, ...]:
        """See PromptKind."""
        positive = fields["positive"].optional(Field.flag)
        return read_ras(fields["corner"]), read_ras(fields["opposite_corner"]), positive is not False
