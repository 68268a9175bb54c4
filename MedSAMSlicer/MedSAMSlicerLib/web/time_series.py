"""Sequences of volumes on the web page, which has none: every volume stands alone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy.typing as npt

from ..app.ports import Handle, Watch
from ..app.time_series import TimePoint


class NothingToWatch:
    """The watch on something that never changes."""

    voxels_are_the_same = True

    def close(self) -> None:
        """Nothing is watched."""


class NoTimeSeries:
    """Nothing belongs to a sequence."""

    def of(self, volume: Handle) -> TimePoint | None:
        """None."""
        return None

    def together(self, volume: Handle, other: Handle) -> bool:
        """False."""
        return False

    def watch(self, volume: Handle, on_leaving: Callable[[], None], on_passed: Callable[[], None]) -> Watch:
        """Watch nothing."""
        return NothingToWatch()

    def select(self, volume: Handle, number: int) -> None:
        """Do nothing."""

    def array(self, volume: Handle, number: int) -> npt.NDArray[Any]:
        """There is none."""
        raise NotImplementedError

    def name_of(self, volume: Handle, number: int) -> str:
        """There is none."""
        raise NotImplementedError

    def hold_view(self, volume: Handle, segmentation: Handle | None) -> None:
        """Do nothing."""

    def release_view(self) -> None:
        """Do nothing."""

    def share_segments(
        self, segmentation: Handle, volume: Handle, value: str, without: Collection[str]
    ) -> None:
        """Do nothing."""
