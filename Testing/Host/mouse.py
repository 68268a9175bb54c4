"""Mouse and keyboard as a user moves them: Qt events to one widget, with what enters and leaves it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtTest import QTest

_BUTTONS = {
    "left": QtCore.Qt.MouseButton.LeftButton,
    "right": QtCore.Qt.MouseButton.RightButton,
    "middle": QtCore.Qt.MouseButton.MiddleButton,
}
_NONE = QtCore.Qt.MouseButton.NoButton


def modifiers_of(keys: str) -> QtCore.Qt.KeyboardModifier:
    """ "Ctrl+Shift" and the like."""
    found = QtCore.Qt.KeyboardModifier.NoModifier
    names = {"ctrl": "ControlModifier", "shift": "ShiftModifier", "alt": "AltModifier"}
    for part in filter(None, keys.split("+")):
        found |= getattr(QtCore.Qt.KeyboardModifier, names[part.strip().lower()])
    return found


class Mouse:
    """The one mouse of the host; it remembers which widget it is over.

    Args:
        process_events: called after each event.
        quickly: views are not drawn within its block, while the mouse is on its way.
    """

    def __init__(
        self, process_events: Callable[[], None], quickly: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._process_events, self._quickly = process_events, quickly
        self._over: Any = None

    def _send(self, widget: Any, event: QtCore.QEvent) -> None:
        QtCore.QCoreApplication.sendEvent(widget, event)
        self._process_events()

    def _event(
        self, kind: str, widget: Any, place: QtCore.QPoint, button: Any, buttons: Any, modifiers: Any
    ) -> None:
        local = QtCore.QPointF(place)
        on_screen = QtCore.QPointF(QtWidgets.QWidget.mapToGlobal(widget, place))
        kinds = QtCore.QEvent.Type
        event = QtGui.QMouseEvent(getattr(kinds, kind), local, local, on_screen, button, buttons, modifiers)
        self._send(widget, event)

    def _go(self, widget: Any, place: QtCore.QPoint) -> None:
        if self._over is not widget:
            if self._over is not None and shiboken6.isValid(self._over):
                self._send(self._over, QtCore.QEvent(QtCore.QEvent.Type.Leave))
            self._over = widget
            local = QtCore.QPointF(place)
            self._send(
                widget,
                QtGui.QEnterEvent(local, local, QtCore.QPointF(QtWidgets.QWidget.mapToGlobal(widget, place))),
            )

    def move(self, widget: Any, place: QtCore.QPoint, buttons: Any = _NONE, modifiers: Any = None) -> None:
        """Move over a widget, with buttons held or none."""
        self._go(widget, place)
        self._event("MouseMove", widget, place, _NONE, buttons, modifiers or modifiers_of(""))

    def click(self, widget: Any, place: QtCore.QPoint, button: str, keys: str) -> None:
        """Move there, press and release."""
        held, modifiers = _BUTTONS[button], modifiers_of(keys)
        with self._quickly():
            self.move(widget, place, modifiers=modifiers)
            if QtWidgets.QWidget.focusPolicy(widget) & QtCore.Qt.FocusPolicy.ClickFocus:
                QtWidgets.QWidget.setFocus(widget, QtCore.Qt.FocusReason.MouseFocusReason)
            self._event("MouseButtonPress", widget, place, held, held, modifiers)
        self._event("MouseButtonRelease", widget, place, held, _NONE, modifiers)

    def drag(self, widget: Any, path: Sequence[QtCore.QPoint], button: str, keys: str, steps: int) -> None:
        """Press at the first place, move through the others in steps, release at the last."""
        held, modifiers = _BUTTONS[button], modifiers_of(keys)
        with self._quickly():
            self.move(widget, path[0], modifiers=modifiers)
            self._event("MouseButtonPress", widget, path[0], held, held, modifiers)
            for start, end in itertools.pairwise(path):
                for step in range(1, steps + 1):
                    self.move(widget, start + (end - start) * (step / steps), held, modifiers)
        self._event("MouseButtonRelease", widget, path[-1], held, _NONE, modifiers)

    def wheel(self, widget: Any, notches: int) -> None:
        """Turn over the middle of a widget."""
        place = QtWidgets.QWidget.rect(widget).center()
        self._go(widget, place)
        on_screen = QtCore.QPointF(QtWidgets.QWidget.mapToGlobal(widget, place))
        for _ in range(abs(notches)):
            turn = QtCore.QPoint(0, 120 if notches > 0 else -120)
            phase, none = QtCore.Qt.ScrollPhase.NoScrollPhase, modifiers_of("")
            local = QtCore.QPointF(place)
            self._send(
                widget, QtGui.QWheelEvent(local, on_screen, QtCore.QPoint(), turn, _NONE, none, phase, False)
            )

    def hold_key(self, widget: Any, keys: str, held: bool) -> None:
        """Press a combination without releasing it, or release it; the widget gets the keyboard."""
        combination = QtGui.QKeySequence(keys)[0]
        if held:
            QtWidgets.QWidget.setFocus(widget, QtCore.Qt.FocusReason.MouseFocusReason)
        act = QTest.keyPress if held else QTest.keyRelease
        act(widget, combination.key(), combination.keyboardModifiers())
        self._process_events()

    def key(self, widget: Any, keys: str) -> None:
        """Press and release a combination; shortcuts get it first, as with a real keyboard."""
        combination = QtGui.QKeySequence(keys)[0]
        QTest.keyClick(widget, combination.key(), combination.keyboardModifiers())
        self._process_events()
