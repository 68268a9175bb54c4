"""A QWidget that shows a VTK render window and gives it mouse, wheel and keys, as ctkVTKAbstractView does.

The window is drawn off screen (EGL where there is no display) and copied into the widget, so that a test on a machine
without a display sees the pixels that a person sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.util.numpy_support import vtk_to_numpy

from .facade import qt
from .stand_ins import stand_in

_BUTTONS = {
    QtCore.Qt.MouseButton.LeftButton: "LeftButton",
    QtCore.Qt.MouseButton.RightButton: "RightButton",
    QtCore.Qt.MouseButton.MiddleButton: "MiddleButton",
}
# Qt key -> X11 keysym, as QVTKInteractorAdapter translates them.
_KEYSYMS = {
    QtCore.Qt.Key.Key_Delete: "Delete",
    QtCore.Qt.Key.Key_Backspace: "BackSpace",
    QtCore.Qt.Key.Key_Escape: "Escape",
    QtCore.Qt.Key.Key_Return: "Return",
    QtCore.Qt.Key.Key_Enter: "KP_Enter",
    QtCore.Qt.Key.Key_Space: "space",
    QtCore.Qt.Key.Key_Tab: "Tab",
    QtCore.Qt.Key.Key_Left: "Left",
    QtCore.Qt.Key.Key_Right: "Right",
    QtCore.Qt.Key.Key_Up: "Up",
    QtCore.Qt.Key.Key_Down: "Down",
    QtCore.Qt.Key.Key_PageUp: "Prior",
    QtCore.Qt.Key.Key_PageDown: "Next",
    QtCore.Qt.Key.Key_Home: "Home",
    QtCore.Qt.Key.Key_End: "End",
    QtCore.Qt.Key.Key_Shift: "Shift_L",
    QtCore.Qt.Key.Key_Control: "Control_L",
    QtCore.Qt.Key.Key_Alt: "Alt_L",
}


@contextmanager
def drawn_later(widgets: Iterable[RenderWidget]) -> Iterator[None]:
    """Draw the scene in none of the widgets until the block ends, as a computer does whose mouse is quicker than it."""
    chosen = [*widgets]
    for widget in chosen:
        widget._is_waiting = True
    try:
        yield
    finally:
        for widget in chosen:
            widget._is_waiting = False
            if widget._dirty:
                widget.scheduleRender()


@stand_in
class RenderWidget(qt.QWidget):
    """ctkVTKAbstractView.h (Libs/Visualization/VTK/Widgets of CTK): what the slice view and the 3-D view share."""

    def __init__(self, factory: Any, managers: tuple[str, ...], style: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._image: QtGui.QImage | None = None
        self._dirty = True
        self._is_waiting = False
        self._wheel = 0
        self._renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.ShowWindowOff()
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.EnableRenderOff()
        self._interactor.Initialize()
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        for manager in managers:
            if not factory.GetInstance().IsDisplayableManagerRegistered(manager):
                factory.GetInstance().RegisterDisplayableManager(manager)
        self._style = style
        self._update_tag: int | None = None
        self._group.Initialize(factory.GetInstance(), self._renderer)
        self._style.SetDisplayableManagers(self._group)
        self._update_tag = self._group.AddObserver(
            vtk.vtkCommand.UpdateEvent, lambda *_: self.scheduleRender()
        )
        QtWidgets.QWidget.setMouseTracking(self, True)
        QtWidgets.QWidget.setFocusPolicy(self, QtCore.Qt.FocusPolicy.StrongFocus)
        QtWidgets.QWidget.setAttribute(self, QtCore.Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMinimumSize(64, 64)

    def _release(self) -> None:
        """Let go of VTK before the interpreter ends; the widget shows nothing afterwards."""
        if self._update_tag is not None:
            self._group.RemoveObserver(self._update_tag)
            self._update_tag = None
            self._style.SetInteractor(None)
            self._group.SetMRMLDisplayableNode(None)
            self._window.Finalize()

    def renderWindow(self) -> Any:
        """ctkVTKAbstractView::renderWindow."""
        return self._window

    def interactor(self) -> Any:
        """ctkVTKAbstractView::interactor."""
        return self._interactor

    def scheduleRender(self) -> None:
        """ctkVTKAbstractView::scheduleRender: draw when the event loop comes to it."""
        self._dirty = True
        if self._update_tag is not None:
            self.update()

    def forceRender(self) -> None:
        """ctkVTKAbstractView::forceRender: draw now."""
        self._dirty = True
        self._draw()
        self.update()

    def _prepare(self) -> None:
        """What to do before each drawing."""

    def _draw(self) -> None:
        ratio = self.devicePixelRatioF()
        width, height = max(1, round(self.width * ratio)), max(1, round(self.height * ratio))
        if tuple(self._window.GetSize()) != (width, height):
            self._window.SetSize(width, height)
            self._interactor.UpdateSize(width, height)
        self._prepare()
        self._window.Render()
        pixels = vtk.vtkUnsignedCharArray()
        self._window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 0, pixels)
        array = np.ascontiguousarray(vtk_to_numpy(pixels).reshape(height, width, 4)[::-1])
        array[..., 3] = 255
        image = QtGui.QImage(array.data, width, height, 4 * width, QtGui.QImage.Format.Format_RGBA8888).copy()
        image.setDevicePixelRatio(ratio)
        self._image = image
        self._dirty = False

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Draw the scene if it changed, then copy the picture."""
        if self._update_tag is None:
            return
        if self._image is None or (self._dirty and not self._is_waiting):
            self._draw()
        painter = QtGui.QPainter(self)
        painter.drawImage(0, 0, self._image)
        painter.end()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        """Another size is another picture."""
        ratio = self.devicePixelRatioF()
        self._window.SetSize(max(1, round(self.width * ratio)), max(1, round(self.height * ratio)))
        self._interactor.UpdateSize(*self._window.GetSize())
        self.scheduleRender()

    def _invoke(
        self,
        event: Any,
        name: str,
        position: QtCore.QPointF | None,
        key: str = "\0",
        keysym: str | None = None,
    ) -> None:
        modifiers = (
            event.modifiers() if hasattr(event, "modifiers") else QtCore.Qt.KeyboardModifier.NoModifier
        )
        control = bool(modifiers & QtCore.Qt.KeyboardModifier.ControlModifier)
        shift = bool(modifiers & QtCore.Qt.KeyboardModifier.ShiftModifier)
        if position is None:
            x, y = self._interactor.GetEventPosition()
        else:
            ratio = self.devicePixelRatioF()
            x, y = int(position.x() * ratio), int((self.height - 1 - position.y()) * ratio)
        repeats = 1 if name == "LeftButtonDoubleClickEvent" else 0
        self._interactor.SetEventInformation(x, y, int(control), int(shift), key, repeats, keysym)
        self._interactor.SetAltKey(int(bool(modifiers & QtCore.Qt.KeyboardModifier.AltModifier)))
        self._interactor.InvokeEvent(name)

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        """Forward."""
        self._invoke(event, "MouseMoveEvent", event.position())

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        """Forward."""
        if event.button() in _BUTTONS:
            self._invoke(event, f"{_BUTTONS[event.button()]}PressEvent", event.position())

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        """Forward."""
        if event.button() in _BUTTONS:
            self._invoke(event, f"{_BUTTONS[event.button()]}ReleaseEvent", event.position())

    def mouseDoubleClickEvent(self, event: QtGui.QMouseEvent) -> None:
        """Forward as a press and as a double click, as QVTKInteractorAdapter does."""
        if event.button() in _BUTTONS:
            self._invoke(event, f"{_BUTTONS[event.button()]}PressEvent", event.position())
            self._invoke(event, f"{_BUTTONS[event.button()]}DoubleClickEvent", event.position())

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        """One event for each notch of 120 eighths of a degree."""
        self._wheel += event.angleDelta().y()
        while abs(self._wheel) >= 120:
            forward = self._wheel > 0
            self._wheel -= 120 if forward else -120
            self._invoke(
                event, "MouseWheelForwardEvent" if forward else "MouseWheelBackwardEvent", event.position()
            )
        event.accept()

    def enterEvent(self, event: QtGui.QEnterEvent) -> None:
        """Forward."""
        self._invoke(event, "EnterEvent", event.position())

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        """Forward."""
        self._invoke(event, "LeaveEvent", None)

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        """Forward as a key press and a character."""
        keysym = _KEYSYMS.get(event.key(), event.text() or QtGui.QKeySequence(event.key()).toString().lower())
        text = event.text()
        character = text if len(text) == 1 and ord(text) < 128 else "\0"
        self._invoke(event, "KeyPressEvent", None, character, keysym)
        if character != "\0":
            self._invoke(event, "CharEvent", None, character, keysym)

    def keyReleaseEvent(self, event: QtGui.QKeyEvent) -> None:
        """Forward."""
        keysym = _KEYSYMS.get(event.key(), event.text() or "")
        self._invoke(event, "KeyReleaseEvent", None, "\0", keysym)
