"""Closed outlines drawn with the mouse in slice views: press, draw around something, release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import vtk

from .nodes import matrix_array
from .observers import Observers

_PRIORITY = 20.0  # before Slicer's own use of the mouse, such as window and level
_WIDTH = 2.0  # pixels of the line
COLORS = {True: (0.15, 0.85, 0.4), False: (0.95, 0.3, 0.25)}
"""Of outlines around the object, and around what is not the object; red, green and blue, 0..1."""

Outline = Callable[[Any, list[list[float]]], object]
"""Called with the vtkMRMLSliceNode of the view and the places, (N, 3) of world RAS in mm."""


class OutlineDrawing:
    """Draws while it is active; every outline is handed on when the button is released.

    Args:
        on_outline: see :data:`Outline`.
    """

    def __init__(self, on_outline: Outline) -> None:
        self._on_outline = on_outline
        self._observers = Observers()
        self._color = COLORS[True]
        self._places: list[tuple[int, int]] = []  # of the outline under way, in pixels of its view
        self._view: tuple[Any, Any] | None = None  # interactor and slice node of that view
        self._points, self._line = vtk.vtkPoints(), vtk.vtkPolyData()
        self._mapper, self._actor = vtk.vtkPolyDataMapper2D(), vtk.vtkActor2D()
        self._mapper.SetInputData(self._line)
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetLineWidth(_WIDTH)

    @property
    def active(self) -> bool:
        """Return whether the mouse draws."""
        return bool(self._observers)

    def start(self, views: list[tuple[Any, Any]], positive: bool) -> None:
        """Draw in views, each the vtkRenderWindowInteractor and the vtkMRMLSliceNode of one."""
        self.stop()
        self.set_positive(positive)
        for view in views:
            for event, act in (
                ("LeftButtonPressEvent", self._pressed),
                ("MouseMoveEvent", self._moved),
                ("LeftButtonReleaseEvent", self._released),
            ):
                self._observe(view, event, act)

    def set_positive(self, positive: bool) -> None:
        """The outlines from now on are around the object, or around something else."""
        self._color = COLORS[positive]

    def stop(self) -> None:
        """Release the mouse; an outline under way is dropped."""
        self._observers.close()
        self._end()

    def _observe(self, view: tuple[Any, Any], event: str, act: Callable[[tuple[Any, Any]], bool]) -> None:
        interactor = view[0]
        tags: list[int] = []

        def called(_caller: Any, _event: str) -> None:
            if act(view):
                interactor.GetCommand(tags[0]).SetAbortFlag(1)  # no other observer handles it

        tags.append(self._observers.add(interactor, event, called, _PRIORITY))

    def _pressed(self, view: tuple[Any, Any]) -> bool:
        self._end()
        self._view, self._places = view, [view[0].GetEventPosition()]
        self._actor.GetProperty().SetColor(*self._color)
        _renderer(view[0]).AddViewProp(self._actor)
        return True

    def _moved(self, view: tuple[Any, Any]) -> bool:
        if self._view is not view:
            return False
        self._places.append(view[0].GetEventPosition())
        self._show()
        return True

    def _released(self, view: tuple[Any, Any]) -> bool:
        if self._view is not view:
            return False
        places, node = [*self._places, view[0].GetEventPosition()], view[1]
        self._end()
        matrix = matrix_array(node.GetXYToRAS())
        xy = np.array([(x, y, 0.0, 1.0) for x, y in places], dtype=np.float64)
        self._on_outline(node, (xy @ matrix.T)[:, :3].tolist())
        return True

    def _show(self) -> None:
        """Draw the outline so far, closed."""
        count = len(self._places)
        self._points.Reset()
        lines = vtk.vtkCellArray()
        lines.InsertNextCell(count + 1)
        for number, (x, y) in enumerate(self._places):
            self._points.InsertNextPoint(x, y, 0.0)
            lines.InsertCellPoint(number)
        lines.InsertCellPoint(0)
        self._line.SetPoints(self._points)
        self._line.SetLines(lines)
        self._points.Modified()
        assert self._view is not None
        self._view[0].GetRenderWindow().Render()

    def _end(self) -> None:
        view, self._view, self._places = self._view, None, []
        if view is not None:
            _renderer(view[0]).RemoveViewProp(self._actor)
            self._line.Initialize()
            view[0].GetRenderWindow().Render()


def _renderer(interactor: Any) -> Any:
    return interactor.GetRenderWindow().GetRenderers().GetFirstRenderer()
