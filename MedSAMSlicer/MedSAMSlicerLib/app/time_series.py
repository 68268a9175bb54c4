"""Volumes that are one time point of a sequence, such as cardiac cine, echo or fMRI: what `app/` asks of the scene."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

if TYPE_CHECKING:
    from .ports import Handle, Watch


@dataclass(frozen=True)
class TimePoint:
    """The time point that a volume shows now.

    Attributes:
        number: from 0.
        count: how many there are.
        value: what the sequence calls it, such as "0.04"; sessions are kept by it, so that items may be inserted.
        text: the same for the user, such as "time=0.04s".
        playing: whether time continues by itself.
    """

    number: int
    count: int
    value: str
    text: str
    playing: bool = False


class TimeSeries(Protocol):
    """The sequences that volumes belong to."""

    def of(self, volume: Handle) -> TimePoint | None:
        """The time point that a volume shows; None for a volume that belongs to no sequence."""
        ...

    def together(self, volume: Handle, other: Handle) -> bool:
        """Return whether two volumes always show the same time point, as those of one browser do."""
        ...

    def watch(self, volume: Handle, on_leaving: Callable[[], None], on_passed: Callable[[], None]) -> Watch:
        """Call `on_leaving` before a volume shows another time point, and `on_passed` each time after it did."""
        ...

    def select(self, volume: Handle, number: int) -> None:
        """Let a volume, and the segmentations that go with it, show another time point."""
        ...

    def array(self, volume: Handle, number: int) -> npt.NDArray[Any]:
        """The voxels of a time point, (K, J, I), read-only; VolumeError when it holds no gray values."""
        ...

    def name_of(self, volume: Handle, number: int) -> str:
        """Return what the user calls a time point, such as "time=0.04s"."""
        ...

    def hold_view(self, volume: Handle, segmentation: Handle | None) -> None:
        """Let the views go on to show this time point, whichever is selected, until `release_view`."""
        ...

    def release_view(self) -> None:
        """Let the views show the time point that is selected."""
        ...

    def share_segments(
        self, segmentation: Handle, volume: Handle, value: str, without: Collection[str]
    ) -> None:
        """Give the time point that is shown the segments of another, without voxels, and the names and colors of it.

        Args:
            segmentation, volume: that show the time point.
            value: of the other one.
            without: segments that the user deleted at this time point.
        """
        ...
