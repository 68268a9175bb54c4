"""Timers of Qt, as Slicer's Python has them."""

from __future__ import annotations

from collections.abc import Callable

import qt

from ..app.poller import Timer


class QtTimers:
    """Makes timers on the main thread; see :class:`..app.poller.Timers`."""

    def __call__(self, callback: Callable[[], None], interval_ms: int) -> Timer:
        """A stopped timer."""
        timer: Timer = qt.QTimer()
        timer.setInterval(interval_ms)  # type: ignore[attr-defined]
        timer.connect("timeout()", callback)  # type: ignore[attr-defined]
        return timer
