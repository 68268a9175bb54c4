"""A box or line by press, drag and release: Slicer's place mode takes two clicks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from .observers import Observers

_FAR = 6  # pixels; a hand that clicks moves less
_FIRST = 10.0  # what Slicer does with an event may end it


def slice_interactors() -> list[tuple[Any, Any]]:
    """The vtkRenderWindowInteractor and the vtkMRMLSliceNode of each slice view; none without a main window."""
    application = getattr(slicer, "app", None)
    layouts = None if application is None else application.layoutManager()
    if layouts is None:
        return []
    widgets = [layouts.sliceWidget(name) for name in layouts.sliceViewNames()]
    return [(widget.sliceView().interactor(), widget.mrmlSliceNode()) for widget in widgets]


class DragPlacing:
    """While it is started, the first place of a drag is clicked as soon as the mouse has moved away from it.

    Slicer's markups place a point where the button is released, so that the release of the drag gives the other one.

    Args:
        is_placing: whether a corner or an end is still to be placed.
    """

    def __init__(self, is_placing: Callable[[], bool]) -> None:
        self._is_placing = is_placing
        self._observers = Observers()
        self._pressed_at: tuple[int, int] | None = None
        self._count = 0  # of places so far
        self._clicking = False

    def start(self) -> None:
        """Watch the slice views."""
        self.stop()
        events = (
            ("LeftButtonPressEvent", self._pressed),
            ("MouseMoveEvent", self._moved),
            ("LeftButtonReleaseEvent", self._released),
        )
        for interactor, _node in slice_interactors():
            for event, act in events:
                self._observers.add(interactor, event, act, _FIRST)

    def stop(self) -> None:
        """Watch no longer."""
        self._observers.close()
        self._pressed_at, self._count = None, 0

    def _pressed(self, interactor: Any, _event: str) -> None:
        if not self._clicking:
            self._pressed_at = interactor.GetEventPosition()

    def _moved(self, interactor: Any, _event: str) -> None:
        begun = self._pressed_at
        if begun is None or self._count or self._clicking or not self._is_placing():
            return
        x, y = interactor.GetEventPosition()
        if max(abs(x - begun[0]), abs(y - begun[1])) <= _FAR:
            return
        self._clicking = True
        try:
            interactor.SetEventPosition(*begun)
            interactor.InvokeEvent("LeftButtonReleaseEvent")
            interactor.InvokeEvent("LeftButtonPressEvent")
        finally:
            interactor.SetEventPosition(x, y)
            self._clicking = False
        self._count = 1

    def _released(self, _interactor: Any, _event: str) -> None:
        if not self._clicking:
            self._pressed_at = None
            self._count += 1
