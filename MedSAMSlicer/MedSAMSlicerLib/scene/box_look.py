"""The look of a box in the slice views: a thin frame, and handles only where the mouse is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk

from .drag_placing import slice_interactors
from .nodes import applied, matrix_array, remove_with_display
from .observers import Observers

FRAME_NAME = "MedSAMSlicer box frame"
_FRAME_PIXELS = 1  # Slicer draws the outline of a ROI 3 pixels wide, whatever its display node says
_NEAR = 10.0  # pixels around a box in which its handles are shown
_LARGEST_SCALE = 1.7  # percent of the screen; Slicer's own 3 hide a small organ
_DIAMETER = 0.01  # of a handle, as a part of screen diagonal x screen scale factor x interaction handle scale
_PART_OF_BOX = 0.5  # of the shorter side on the screen, that a handle covers at most
_CENTERED_MM = 1e-3


class BoxLook:
    """Draws the frame of each box that is watched, and gives the one under the mouse its handles.

    The frame is where a model, which is neither listed nor saved, meets the slice. Handles are shown in the view that
    the mouse is in, and stay while they are dragged.

    Args:
        scene: the MRML scene.
        is_dragged: whether the user holds a handle of a node.
    """

    def __init__(self, scene: Any, is_dragged: Callable[[Any], bool]) -> None:
        self._scene = scene
        self._is_dragged = is_dragged
        self._frames: dict[str, str] = {}  # ID of the model, by that of the ROI
        self._observers: dict[str, Observers] = {}  # by the ID of the ROI
        self._mouse = Observers()
        self._hovered: tuple[str, list[str]] | None = None  # ROI, and the views it was limited to before

    def watch(self, roi: Any) -> None:
        """Draw the frame of a ROI from now on; once is enough."""
        if not self._mouse:
            crosshair = self._scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
            if crosshair is not None:  # it follows the mouse over all views
                event = slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent
                self._mouse.add(crosshair, event, self._mouse_moved)
        if roi.GetID() not in self._observers:
            observers = self._observers[roi.GetID()] = Observers()
            for event in (
                vtk.vtkCommand.ModifiedEvent,
                slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent,
                slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
            ):
                observers.add(roi, event, self._changed)
            _show_handles(roi.GetDisplayNode(), False)
        self._draw(roi)

    def release(self, roi_id: str) -> None:
        """Draw the frame of a ROI no longer; the ROI may be gone."""
        self._observers.pop(roi_id, Observers()).close()
        if self._hovered is not None and self._hovered[0] == roi_id:
            self._hovered = None
        self._remove_frame(roi_id)

    def close(self) -> None:
        """Remove every observer and frame; Slicer draws the outlines again."""
        self._leave()
        self._mouse.close()
        for roi_id in list(self._observers):
            self._observers.pop(roi_id).close()
            roi = self._scene.GetNodeByID(roi_id)
            if roi is not None and roi.GetDisplayNode() is not None:
                roi.GetDisplayNode().SetOutlineVisibility(True)
        for roi_id in list(self._frames):
            self._remove_frame(roi_id)

    # -- frames

    def _changed(self, roi: Any, _event: str) -> None:
        if not self._scene.IsClosing() and roi.GetScene() is not None:
            self._draw(roi)

    def _draw(self, roi: Any) -> None:
        """Make the frame equal to the ROI: place, color, and whether it is shown."""
        display = roi.GetDisplayNode()
        shown = _is_shown(roi, display) and sum(part > 0 for part in roi.GetSize()) >= 2
        frame = self._scene.GetNodeByID(self._frames.get(roi.GetID(), ""))
        if frame is not None:  # not removed: this may be an observer of another removal
            frame.SetDisplayVisibility(shown)
        if not shown:
            return
        if frame is None:
            frame = self._new_frame()
            self._frames[roi.GetID()] = frame.GetID()
        if frame.GetTransformNodeID() != roi.GetTransformNodeID():
            frame.SetAndObserveTransformNodeID(roi.GetTransformNodeID())
        frame.SetAndObservePolyData(_cuboid(roi))
        frame.GetDisplayNode().SetColor(*display.GetSelectedColor())
        display.SetOutlineVisibility(False)
        if roi.GetControlPointPlacementComplete() and roi.GetNthControlPointVisibility(0):
            roi.SetNthControlPointVisibility(0, False)  # the dot at its middle, as large as a small object

    def _new_frame(self) -> Any:
        frame = self._scene.CreateNodeByClass("vtkMRMLModelNode")
        frame.UnRegister(None)  # CreateNodeByClass hands over a reference
        frame.SetName(FRAME_NAME)
        frame.SetHideFromEditors(True)  # before it is added: the tree of the Data module looks only then
        frame.SetSaveWithScene(False)
        frame.SetSelectable(False)
        frame = self._scene.AddNode(frame)
        frame.CreateDefaultDisplayNodes()
        display = frame.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetVisibility3D(False)
        display.SetVisibility2D(True)
        display.SetSliceIntersectionThickness(_FRAME_PIXELS)
        return frame

    def _remove_frame(self, roi_id: str) -> None:
        frame_id = self._frames.pop(roi_id, None)
        frame = None if frame_id is None else self._scene.GetNodeByID(frame_id)
        if frame is not None and not self._scene.IsClosing():
            remove_with_display(frame)

    # -- handles

    def _mouse_moved(self, crosshair: Any, _event: str) -> None:
        if self._scene.IsClosing():
            return
        hovered = None if self._hovered is None else self._scene.GetNodeByID(self._hovered[0])
        if hovered is not None and self._is_dragged(hovered):
            return
        place, view = [0.0, 0.0, 0.0], crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0])
        over = None
        if view is not None and crosshair.GetCursorPositionRAS(place) and not self._is_placing():
            over = self._under(place, view)
        if hovered is not None and over is not hovered:
            self._leave()
        if over is not None and view is not None:
            self._enter(over, view)

    def _enter(self, roi: Any, view: Any) -> None:
        display = roi.GetDisplayNode()
        was_modifying = display.StartModify()
        if self._hovered is None:
            self._hovered = (
                roi.GetID(),
                [display.GetNthViewNodeID(number) for number in range(display.GetNumberOfViewNodeIDs())],
            )
        if [*display.GetViewNodeIDs()] != [view.GetID()]:
            display.RemoveAllViewNodeIDs()
            display.AddViewNodeID(view.GetID())
        display.SetInteractionHandleScale(_handle_scale(roi, view))
        _show_handles(display, True)
        display.EndModify(was_modifying)

    def _leave(self) -> None:
        hovered, self._hovered = self._hovered, None
        roi = None if hovered is None else self._scene.GetNodeByID(hovered[0])
        if hovered is None or roi is None or roi.GetDisplayNode() is None:
            return
        display = roi.GetDisplayNode()
        was_modifying = display.StartModify()
        display.RemoveAllViewNodeIDs()
        for view_id in hovered[1]:
            display.AddViewNodeID(view_id)
        _show_handles(display, False)
        display.EndModify(was_modifying)

    def _is_placing(self) -> bool:
        interaction = self._scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        placing = slicer.vtkMRMLInteractionNode.Place
        return interaction is not None and interaction.GetCurrentInteractionMode() == placing

    def _under(self, place: list[float], view: Any) -> Any | None:
        """The smallest shown box that a place in a slice view, world RAS in mm, lies in or near."""
        found = []
        for roi_id in self._frames:
            roi = self._scene.GetNodeByID(roi_id)
            shown = roi is not None and not roi.GetLocked() and _is_shown(roi, roi.GetDisplayNode())
            if shown and _is_near(roi, place, view):
                found.append((float(np.prod(roi.GetSize())), roi_id, roi))
        return min(found)[2] if found else None


def _is_shown(roi: Any, display: Any | None) -> bool:
    if display is None or not (roi.GetDisplayVisibility() and display.GetVisibility2D()):
        return False
    return bool(slicer.vtkMRMLFolderDisplayNode.GetHierarchyVisibility(roi))


def _show_handles(display: Any | None, shown: bool) -> None:
    if display is not None and bool(display.GetHandlesInteractive()) != shown:
        display.SetHandlesInteractive(shown)


def _cuboid(roi: Any) -> Any:
    """The six sides of a ROI in the coordinates of its node, as vtkPolyData."""
    source, place, moved = vtk.vtkCubeSource(), vtk.vtkTransform(), vtk.vtkTransformPolyDataFilter()
    source.SetXLength(roi.GetSize()[0])
    source.SetYLength(roi.GetSize()[1])
    source.SetZLength(roi.GetSize()[2])
    place.SetMatrix(roi.GetObjectToNodeMatrix())
    moved.SetInputConnection(source.GetOutputPort())
    moved.SetTransform(place)
    moved.Update()
    return moved.GetOutput()


def _is_near(roi: Any, place: list[float], view: Any) -> bool:
    """Return whether a place of a view, world RAS in mm, lies on the slices of a ROI and in it or close by."""
    object_to_world = matrix_array(roi.GetObjectToWorldMatrix())
    normal = object_to_world[:3, :3].T @ matrix_array(view.GetSliceToRAS())[:3, 2]
    allowed = np.full(3, _NEAR * _mm_per_pixel(view))
    allowed[np.abs(normal).argmax()] = _CENTERED_MM
    inside = applied(np.linalg.inv(object_to_world), [place])[0]
    return bool((np.abs(inside) - np.array(roi.GetSize()) / 2 <= allowed).all())


def _mm_per_pixel(view: Any) -> float:
    return float(np.linalg.norm(matrix_array(view.GetXYToRAS())[:3, 0]))


def _handle_scale(roi: Any, view: Any) -> float:
    """The interaction handle scale with which a handle covers no more than half the shorter side of a box."""
    normal = matrix_array(roi.GetObjectToWorldMatrix())[:3, :3].T @ matrix_array(view.GetSliceToRAS())[:3, 2]
    sides = np.delete(np.array(roi.GetSize()), np.abs(normal).argmax())
    pixels = float(sides.min()) / _mm_per_pixel(view) * _PART_OF_BOX
    diagonal = 1000.0  # what Slicer takes while a view has no screen
    for interactor, node in slice_interactors():
        if node is view:
            diagonal = math.hypot(*interactor.GetRenderWindow().GetScreenSize()) or diagonal
    return min(_LARGEST_SCALE, pixels / (_DIAMETER * diagonal * view.GetScreenScaleFactor()))
