"""The mouse cursor over the slice views while a tool is active: the segment's color, and the sign of its prompts."""

from __future__ import annotations

from typing import Any

import qt
import slicer

Rgb = tuple[float, float, float]

_SIDE, _MIDDLE, _ARM, _GAP = 33, 16, 9, 3  # pixels


class ToolCursor:
    """The cursor of all slice views, as Slicer's own tools set it."""

    def __init__(self) -> None:
        self._shown: tuple[bool, Rgb] | None = None

    def show(self, positive: bool, color: Rgb) -> None:
        """Show the cross in a color, 0..1, with a plus for the object, or a minus for background."""
        if self._shown == (positive, color):
            return
        self._shown = (positive, color)
        cursor = qt.QCursor(_drawn(positive, color), _MIDDLE, _MIDDLE)
        for view in _slice_views():
            view.setDefaultViewCursor(cursor)
            view.setViewCursor(cursor)

    def hide(self) -> None:
        """Give the views their usual cursor back."""
        if self._shown is None:
            return
        self._shown = None
        for view in _slice_views():
            view.setDefaultViewCursor(qt.QCursor())
            view.unsetViewCursor()


def _slice_views() -> list[Any]:
    manager = slicer.app.layoutManager()
    if manager is None:
        return []
    widgets = [manager.sliceWidget(name) for name in manager.sliceViewNames()]
    return [widget.sliceView() for widget in widgets if widget is not None]


def _drawn(positive: bool, color: Rgb) -> Any:
    """A cross that is open in the middle, with a dark rim so that it is visible on bright images, and the sign."""
    pixmap = qt.QPixmap(_SIDE, _SIDE)
    pixmap.fill(qt.QColor(0, 0, 0, 0))
    painter = qt.QPainter(pixmap)
    low, high = _MIDDLE - _GAP - _ARM, _MIDDLE + _GAP
    bars = [(low, _MIDDLE, _ARM, 1), (high + 1, _MIDDLE, _ARM, 1)]
    bars += [(_MIDDLE, low, 1, _ARM), (_MIDDLE, high + 1, 1, _ARM)]
    sign = [(_MIDDLE + 7, _MIDDLE + 11, 7, 1)]
    if positive:
        sign.append((_MIDDLE + 10, _MIDDLE + 8, 1, 7))
    rim = qt.QColor(0, 0, 0, 200)
    for x, y, width, height in bars + sign:
        painter.fillRect(x - 1, y - 1, width + 2, height + 2, rim)
    red, green, blue = (round(255 * part) for part in color)
    for x, y, width, height in bars:
        painter.fillRect(x, y, width, height, qt.QColor(red, green, blue))
    sign_color = qt.QColor(90, 230, 110) if positive else qt.QColor(255, 90, 80)
    for x, y, width, height in sign:
        painter.fillRect(x, y, width, height, sign_color)
    painter.end()
    return pixmap
