"""A key that does something for as long as it is held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


class HeldKey:
    """Notices when a key is released that was pressed just now, or when the keyboard goes to another widget.

    Qt's shortcuts report that a key was pressed, not that it was released.
    """

    def __init__(self) -> None:
        self._filter: _KeyReleases | None = None

    @property
    def is_held(self) -> bool:
        """Return whether the key is held."""
        return self._filter is not None

    def pressed(self, on_release: Callable[[], object]) -> None:
        """A key was pressed: call `on_release` once it is released."""
        self.end()
        widget = qt.QApplication.focusWidget()
        if widget is not None:
            self._filter = _KeyReleases(widget, lambda: self._released(on_release))

    def end(self) -> None:
        """Wait for no key any more."""
        known, self._filter = self._filter, None
        if known is not None:
            known.remove()

    def _released(self, on_release: Callable[[], object]) -> None:
        self.end()
        on_release()


class _KeyReleases(qt.QObject):
    """Watches one widget that has the keyboard."""

    def __init__(self, widget: Any, on_release: Callable[[], object]) -> None:
        qt.QObject.__init__(self)
        self._widget: Any | None = widget
        self._on_release = on_release
        widget.installEventFilter(self)

    def remove(self) -> None:
        """Watch it no longer."""
        widget, self._widget = self._widget, None
        try:
            if widget is not None:
                widget.removeEventFilter(self)
        except (RuntimeError, ValueError):  # the widget is gone
            return

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Qt asks this for each event of the widget; False = it may have it, too."""
        kind = event.type()
        released = kind == qt.QEvent.KeyRelease and not event.isAutoRepeat()
        if self._widget is not None and (released or kind == qt.QEvent.FocusOut):
            self._on_release()
        return False
