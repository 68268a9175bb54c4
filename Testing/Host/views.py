"""Slicer's slice view and 3-D view: its own displayable managers and interactor styles in Qt widgets."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .render_widget import RenderWidget
from .stand_ins import stand_in

_SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
)
# vtkMRMLSliceNode.cxx, redColor() and the like, which Python cannot reach.
_COLORS = {
    "Red": (0.952941, 0.290196, 0.2),
    "Green": (0.431373, 0.690196, 0.294118),
    "Yellow": (0.929412, 0.835294, 0.298039),
}
_THREE_D_MANAGERS = (
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
)


@stand_in
class qMRMLSliceView(RenderWidget):
    """qMRMLSliceView.h over ctkVTKSliceView.h: reformatted volumes, and what the 2-D managers draw on them."""

    def __init__(self, logic: Any, name: str, orientation: str, parent: Any = None) -> None:
        style = slicer.vtkMRMLSliceViewInteractorStyle()
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory, _SLICE_MANAGERS, style, parent)
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._overlay = vtk.vtkRenderer()
        self._overlay.GetActiveCamera().ParallelProjectionOn()
        self._overlay.SetLayer(1)
        self._window.SetNumberOfLayers(2)
        self._window.AddRenderer(self._overlay)
        self._window.SetAlphaBitPlanes(1)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._actor)
        self._logic = logic
        self._style.SetSliceLogic(logic)
        self._node = logic.AddSliceNode(name)
        self._node.SetOrientation(orientation)
        self._node.SetLayoutLabel(name[0])
        self._node.SetLayoutColor(*_COLORS[name])
        self._node.SetMappedInLayout(1)
        self._style.SetInteractor(self._interactor)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._group.SetMRMLDisplayableNode(self._node)
        self._tag = logic.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.scheduleRender())

    def mrmlSliceNode(self) -> Any:
        """The node of this view."""
        return self._node

    def setViewCursor(self, cursor: Any) -> None:
        """Q_INVOKABLE: the cursor over the view."""
        self.setCursor(cursor)

    def unsetViewCursor(self) -> None:
        """Q_INVOKABLE: the usual cursor again."""
        self.unsetCursor()

    def setDefaultViewCursor(self, cursor: Any) -> None:
        """Q_INVOKABLE: the cursor that the view goes back to."""
        self._default_cursor = cursor

    def convertRASToXYZ(self, ras: Any) -> list[float]:
        """Place in the view, in pixels from the lower left, of a place in RAS (mm)."""
        to_ras = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._node.GetXYToRAS(), to_ras)
        return list(to_ras.MultiplyPoint((*ras, 1.0))[:3])

    def convertXYZToRAS(self, xyz: Any) -> list[float]:
        """Place in RAS (mm) of a place in the view."""
        return list(self._node.GetXYToRAS().MultiplyPoint((*xyz, 1.0))[:3])

    def _prepare(self) -> None:
        connection = self._logic.GetImageDataConnection()
        self._actor.SetVisibility(connection is not None)
        if connection is not None:
            self._mapper.SetInputConnection(connection)

    def resizeEvent(self, event: Any) -> None:
        """The field of view follows the widget."""
        super().resizeEvent(event)
        self._logic.ResizeSliceNode(*self._window.GetSize())

    def _release(self) -> None:
        if self._update_tag is not None:
            self._logic.RemoveObserver(self._tag)
            self._actor.SetVisibility(False)
            self._mapper.RemoveAllInputs()
        super()._release()


@stand_in
class qMRMLThreeDView(RenderWidget):
    """qMRMLThreeDView.h over ctkVTKRenderView.h: what the 3-D managers draw, lit from the camera."""

    def __init__(self, logic: Any, name: str, parent: Any = None) -> None:
        style = slicer.vtkMRMLThreeDViewInteractorStyle()
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, _THREE_D_MANAGERS, style, parent)
        self._style.SetInteractor(self._interactor)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyle3D())
        self._logic = logic
        self._node = logic.AddViewNode(name)
        self._node.SetMappedInLayout(1)
        self._group.SetMRMLDisplayableNode(self._node)
        self._renderer.GradientBackgroundOn()

    def mrmlViewNode(self) -> Any:
        """The node of this view."""
        return self._node

    def renderer(self) -> Any:
        """ctkVTKRenderView::renderer."""
        return self._renderer

    def cameraNode(self) -> Any:
        """The camera of this view."""
        manager = self._group.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager")
        return manager.GetCameraNode()

    def resetFocalPoint(self) -> None:
        """ctkVTKRenderView::resetFocalPoint: turn around the middle of what is shown."""
        bounds = [0.0] * 6
        self._renderer.ComputeVisiblePropBounds(bounds)
        if bounds[0] <= bounds[1]:
            middle = [(bounds[n] + bounds[n + 1]) / 2 for n in (0, 2, 4)]
            self._renderer.GetActiveCamera().SetFocalPoint(middle)
            self.scheduleRender()

    def resetCamera(self) -> None:
        """Show everything that is there."""
        self._renderer.ResetCamera()
        self.scheduleRender()

    def _prepare(self) -> None:
        self._renderer.UpdateLightsGeometryToFollowCamera()
        self._renderer.ResetCameraClippingRange()
