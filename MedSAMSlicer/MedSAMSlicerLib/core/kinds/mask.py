"""The mask of a slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import PromptError
from ..geometry import FloatArray
from ..json_fields import Field
from ..masks import run_lengths
from .base import RAS, MoveRas, SliceRef, whole


@dataclass(frozen=True, eq=False)
class MaskPrompt:
    """The object's mask on a slice: `mask` is bool (rows, columns), read-only; compared by value.

    From round 1 on an empty mask is valid: it says that the object is not on this slice.
    """

    kind: ClassVar[str] = "mask"
    keys: ClassVar[str] = "shape runs"
    optional_keys: ClassVar[str] = ""
    marks_inside: ClassVar[bool] = False
    has_extent: ClassVar[bool] = True

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
        return hash((self.slice, self.round, self.mask.shape, self.mask.tobytes()))

    @property
    def places(self) -> tuple[RAS, ...]:
        """See PromptKind."""
        return ()

    def check_size(self, xy: FloatArray) -> None:
        """See PromptKind."""
        if self.round == 0 and not self.mask.any():  # later on it says that the object is not here
            raise PromptError(f"The mask on slice {self.slice.index} is empty.")

    def moved(self, move: MoveRas, scale: float) -> MaskPrompt:
        """See PromptKind."""
        return self

    def content(self) -> dict[str, Any]:
        """See PromptKind."""
        return {"shape": self.mask.shape, "runs": run_lengths(self.mask.ravel())}

    @classmethod
    def arguments(cls, fields: Mapping[str, Field], shape: tuple[int, int]) -> tuple[Any, ...]:
        """See PromptKind."""
        rows, columns = (item.whole() for item in fields["shape"].items(2))
        if (rows, columns) != shape:
            fields["shape"].refuse(f"is {(rows, columns)}, but slices have {shape}")
        runs = [item.whole() for item in fields["runs"].items()]
        if sum(runs) != rows * columns:
            fields["runs"].refuse(f"cover {sum(runs)} pixels, but the mask has {rows * columns}")
        return (_from_run_lengths(runs, (rows, columns)),)


def _from_run_lengths(runs: Sequence[int], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape)
