"""Signals: what a part declares that it announces, and others connect to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Signal(Generic[P]):
    """Calls everything that was connected, in the order of connecting.

    finished: Signal[[int]] = Signal()
    disconnect = finished.connect(show)
    finished.emit(3)
    """

    def __init__(self) -> None:
        self._slots: list[Callable[P, object]] = []

    def connect(self, slot: Callable[P, object]) -> Callable[[], None]:
        """Call `slot` with each `emit`, until the returned function is called."""
        self._slots.append(slot)

        def disconnect() -> None:
            if slot in self._slots:
                self._slots.remove(slot)

        return disconnect

    def emit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call every slot; one that is disconnected meanwhile by `clear` is not called any more."""
        for slot in [*self._slots]:
            if slot in self._slots:
                slot(*args, **kwargs)

    def clear(self) -> None:
        """Disconnect everything."""
        self._slots.clear()
