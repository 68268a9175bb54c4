"""Timers of Qt, as Slicer's Python has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..app.poller import Timer

REFRESH_MS = 15
"""From the first change to the refresh of the widgets, which so comes once for all changes of one action."""


def refresh_timer(refresh: Callable[[], None]) -> Any:
    """A stopped timer that refreshes widgets once, soon after it is started."""
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(REFRESH_MS)
    timer.connect("timeout()", refresh)
    return timer


class QtTimers:
    """Makes timers on the main thread; see :class:`..app.poller.Timers`."""

    def __call__(self, callback: Callable[[], None], interval_ms: int) -> Timer:
        """A stopped timer."""
        timer: Timer = qt.QTimer()
        timer.setInterval(interval_ms)  # type: ignore[attr-defined]
        timer.connect("timeout()", callback)  # type: ignore[attr-defined]
        return timer
