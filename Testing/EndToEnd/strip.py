"""The strip above a slice view, under the mouse of a user."""

from __future__ import annotations

from typing import Any

import numpy as np
from PySide6 import QtCore, QtWidgets

from .user import User


class Strip:
    """The strip of one view."""

    def __init__(self, user: User, view: str = "Red") -> None:
        self.user = user
        self.label: Any = QtWidgets.QWidget.findChild(
            user.host.view(view), QtCore.QObject, f"MedSAMSlicerStrip{view}"
        )
        self.count = len(user.controller.review.slices)

    def place(self, index: int) -> QtCore.QPoint:
        """In the middle of the column of a slice, whose view has the first slice on the left."""
        width = QtWidgets.QWidget.width(self.label)
        return QtCore.QPoint(int((index + 0.5) * width / self.count), 13)

    def end(self, index: int, end: str) -> QtCore.QPoint:
        """On the outer edge of the column of a slice, where the range begins or ends."""
        width = QtWidgets.QWidget.width(self.label)
        return QtCore.QPoint(round((index + (end == "last")) * (width - 1) / self.count), 13)

    def drag(self, end: str, first: int, last: int, steps: int = 4) -> list[float]:
        """Drag an end of the range from one slice to another; returns where the view was on the way, in mm."""
        offsets: list[float] = []
        mouse, node = self.user.host._mouse, self.user.host.view("Red").mrmlSliceNode()
        held = QtCore.Qt.MouseButton.LeftButton
        places = np.linspace(self.end(first, end).x(), self.place(last).x(), steps + 1)
        mouse.move(self.label, self.end(first, end))
        mouse._event("MouseButtonPress", self.label, self.end(first, end), held, held, _plain())
        for x in places[1:]:
            mouse.move(self.label, QtCore.QPoint(round(float(x)), 13), held)
            offsets.append(float(node.GetSliceOffset()))
        none = QtCore.Qt.MouseButton.NoButton
        mouse._event("MouseButtonRelease", self.label, self.place(last), held, none, _plain())
        self.user.settled()
        return offsets


def _plain() -> Any:
    return QtCore.Qt.KeyboardModifier.NoModifier
