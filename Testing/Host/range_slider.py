"""The slider with two handles inside the stand-in of ctkRangeWidget."""

from __future__ import annotations

from collections.abc import Callable

from PySide6 import QtCore, QtGui, QtWidgets

_HANDLE = 9


class RangeSlider(QtWidgets.QWidget):
    """Two handles on a groove; the callback gets both as fractions 0..1, and whether the mouse is still down."""

    def __init__(self, moved: Callable[[float, float, bool], None]) -> None:
        super().__init__()
        self._moved = moved
        self._values = [0.0, 1.0]
        self._dragged: int | None = None
        self.setMinimumSize(60, 18)

    def show_values(self, low: float, high: float) -> None:
        """Put the handles there; calls nothing."""
        self._values = [low, high]
        self.update()

    def _position(self, value: float) -> int:
        return round(value * (self.width() - 1 - _HANDLE))

    def _value_at(self, x: float) -> float:
        return min(1.0, max(0.0, (x - _HANDLE / 2) / max(1, self.width() - 1 - _HANDLE)))

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        """Take the nearer handle."""
        value = self._value_at(event.position().x())
        distances = [abs(value - known) for known in self._values]
        right = distances[1] < distances[0] or (distances[1] == distances[0] and value > self._values[1])
        self._dragged = int(right)
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        """Move the taken handle, not past the other."""
        if self._dragged is None:
            return
        value = self._value_at(event.position().x())
        self._values[self._dragged] = (
            min(value, self._values[1]) if self._dragged == 0 else max(value, self._values[0])
        )
        self.update()
        self._moved(self._values[0], self._values[1], True)

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        """Let go."""
        self._dragged = None
        self._moved(self._values[0], self._values[1], False)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Groove, the part between the handles, and the handles."""
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        role = QtGui.QPalette.ColorRole
        middle = self.height() // 2
        left, right = (self._position(value) + _HANDLE // 2 for value in self._values)
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(self.palette().color(role.Mid))
        painter.drawRoundedRect(0, middle - 2, self.width(), 4, 2, 2)
        painter.setBrush(self.palette().color(role.Highlight))
        painter.drawRoundedRect(left, middle - 2, max(1, right - left), 4, 2, 2)
        painter.setPen(self.palette().color(role.Dark))
        painter.setBrush(self.palette().color(role.Button))
        for x in (left, right):
            painter.drawRoundedRect(x - _HANDLE // 2, middle - 7, _HANDLE, 14, 3, 3)
        painter.end()
