"""Stand-in of qMRMLSegmentEditorWidget with a round brush and the scripted effects that are registered.

Modules/Loadable/Segmentations/Widgets/qMRMLSegmentEditorWidget.h and EditorWidgets/qSlicerSegmentEditorAbstractEffect.h
of Slicer/Slicer. Only what is needed to take a brush in hand; it paints on the slice that is shown.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from shiboken6 import isValid

from .facade import qt
from .qmrml_widgets import qMRMLWidget
from .stand_ins import stand_in, stored


@stand_in
class qSlicerSegmentEditorPaintEffect(qt.QObject):
    """qSlicerSegmentEditorPaintEffect.h over qSlicerSegmentEditorAbstractEffect.h: a brush of so many mm."""

    name = stored(str, "name", "Paint")

    def __init__(self) -> None:
        super().__init__()
        self._parameters = {"BrushDiameterIsRelative": 1, "BrushAbsoluteDiameter": 10.0, "BrushSphere": 0}

    def setCommonParameter(self, name: str, value: Any) -> None:
        """Q_INVOKABLE."""
        if name not in self._parameters:
            raise AttributeError(f"The brush has no parameter {name!r}")
        self._parameters[name] = value

    def doubleParameter(self, name: str) -> float:
        """Q_INVOKABLE."""
        return float(self._parameters[name])


@stand_in
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """qMRMLSegmentEditorWidget.h: which segmentation, volume, segment and effect; here without its panel."""

    autoShowSourceVolumeNode = stored(bool, "autoShowSourceVolumeNode", True)
    undoEnabled = stored(bool, "undoEnabled", True)
    maximumNumberOfUndoStates = stored(int, "maximumNumberOfUndoStates", 10)
    readOnly = stored(bool, "readOnly", False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._parameters: Any = None
        self._paint = qSlicerSegmentEditorPaintEffect()
        self._active = False
        self._stroke: np.ndarray[Any, Any] | None = None
        self._observed: list[tuple[Any, int]] = []
        self._batch: tuple[Any, int] | None = None
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._effects: dict[str, Any] = {}
        self._effect: Any = None
        self._choices: tuple[Any, ...] = ()
        self._node_tag: tuple[Any, int] | None = None
        self._interaction: tuple[Any, int] | None = None
        self._shown = qt.QVBoxLayout(self)

    def setMRMLScene(self, scene: Any) -> None:
        """Slot; as qMRMLSegmentEditorWidget::setMRMLScene it observes the end of batches."""
        super().setMRMLScene(scene)
        if self._batch is not None:
            self._batch[0].RemoveObserver(self._batch[1])
            self._batch = None
        if scene is not None:
            this = weakref.ref(self)  # the scene outlives the widget

            def batch_ended(caller: Any, event: str) -> None:
                widget = this()
                if widget is not None and isValid(widget):
                    widget._batch_ended(caller)

            event = slicer.vtkMRMLScene.EndBatchProcessEvent
            self._batch = (scene, scene.AddObserver(event, batch_ended))
            self._logic.SetMRMLScene(scene)
            self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            self.updateEffectList()

    def updateEffectList(self) -> None:
        """Slot: a clone of every effect that is registered."""
        for name, effect in slicer.qSlicerSegmentEditorEffectFactory.instance()._effects.items():
            if name not in self._effects:
                clone = self._effects[name] = effect._call("clone")
                clone._editor = self
                self._shown.addWidget(clone._frame)
                clone._frame.setVisible(False)
                clone._call("setupOptionsFrame")

    def undo(self) -> None:
        """Slot."""
        self._logic.Undo()

    def redo(self) -> None:
        """Slot."""
        self._logic.Redo()

    def _batch_ended(self, caller: Any) -> None:
        """onMRMLSceneEndBatchProcessEvent: the choice becomes that of the selectors, which list no hidden node."""
        if self._parameters is None or caller.IsClosing():
            return
        if _listed(self.segmentationNode()) is not self.segmentationNode():
            self.setSegmentationNode(None)
        if _listed(self.sourceVolumeNode()) is not self.sourceVolumeNode():
            self.setSourceVolumeNode(None)

    def setUndoEnabled(self, enabled: bool) -> None:
        """Slot."""
        self.undoEnabled = enabled

    def setAutoShowSourceVolumeNode(self, enabled: bool) -> None:
        """Slot."""
        self.autoShowSourceVolumeNode = enabled

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        """Slot; what is chosen lives in this vtkMRMLSegmentEditorNode."""
        self._parameters = node
        self._logic.SetSegmentEditorNode(node)
        if self._node_tag is not None:
            self._node_tag[0].RemoveObserver(self._node_tag[1])
            self._node_tag = None
        if node is not None:
            self._node_tag = (node, node.AddObserver("ModifiedEvent", self._node_modified))

    def _node_modified(self, _caller: Any, _event: str) -> None:
        """updateWidgetFromMRML: the active effect looks at the node; another source volume is reported as well."""
        if not isValid(self):
            return
        before, self._choices = self._choices, (self.sourceVolumeNode(), self.segmentationNode())
        if self._effect is not None:
            if before and before[0] is not self._choices[0]:
                self._effect._call("sourceVolumeNodeChanged")
            self._effect._call("updateGUIFromMRML")

    def _interaction_modified(self, caller: Any, _event: str) -> None:
        """An effect is put down by place mode, unless it says otherwise."""
        if not isValid(self) or self._effect is None:
            return
        if hasattr(self._effect.self(), "interactionNodeModified"):
            self._effect._call("interactionNodeModified", caller)
        elif caller.GetCurrentInteractionMode() != caller.ViewTransform:
            self.setActiveEffectByName("")

    def mrmlSegmentEditorNode(self) -> Any:
        """Q_INVOKABLE."""
        return self._parameters

    def setSegmentationNode(self, node: Any) -> None:
        """Slot; another segmentation puts the effect down."""
        if self._parameters is not None and node is not self.segmentationNode():
            self._parameters.SetAndObserveSegmentationNode(node)
            self.setActiveEffect(None)
            if node is not None:
                self._hide_label_layer()

    def _hide_label_layer(self) -> None:
        """hideLabelLayer: the views show the segmentation instead."""
        layouts = slicer.app.layoutManager()
        for view in layouts.sliceViewNames():
            layouts.sliceWidget(view).mrmlSliceCompositeNode().SetLabelVolumeID(None)

    def segmentationNode(self) -> Any:
        """Q_INVOKABLE."""
        return None if self._parameters is None else self._parameters.GetSegmentationNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        """Slot."""
        if self._parameters is not None:
            self._parameters.SetAndObserveSourceVolumeNode(node)

    def sourceVolumeNode(self) -> Any:
        """Q_INVOKABLE."""
        return None if self._parameters is None else self._parameters.GetSourceVolumeNode()

    def setCurrentSegmentID(self, segment_id: str) -> None:
        """Slot."""
        if self._parameters is not None:
            self._parameters.SetSelectedSegmentID(segment_id)

    def currentSegmentID(self) -> str:
        """Q_INVOKABLE."""
        return "" if self._parameters is None else self._parameters.GetSelectedSegmentID() or ""

    def effectByName(self, name: str) -> Any:
        """Q_INVOKABLE: Paint, or a scripted effect."""
        return self._paint if name == "Paint" else self._effects.get(name)

    def activeEffect(self) -> Any:
        """Q_INVOKABLE."""
        return self._paint if self._active else self._effect

    def setActiveEffect(self, effect: Any) -> None:
        """Q_INVOKABLE: None puts the effect down."""
        self.setActiveEffectByName("" if effect is None else effect.name)

    def setActiveEffectByName(self, name: str) -> None:
        """Slot."""
        if name not in ("", "Paint", *self._effects):
            raise NotImplementedError(f"SlicerHost's Segment Editor has no effect {name!r}")
        if self._effect is not None:
            effect, self._effect = self._effect, None
            self._interaction[0].RemoveObserver(self._interaction[1])
            effect._frame.setVisible(False)
            effect._call("deactivate")
        for interactor, tag in self._observed:
            interactor.RemoveObserver(tag)
        self._observed.clear()
        self._active = name == "Paint"
        if self._parameters is not None:
            self._parameters.SetActiveEffectName(name)
        if name in self._effects:
            self._choices = (self.sourceVolumeNode(), self.segmentationNode())
            self._effect = self._effects[name]
            self._effect._frame.setVisible(True)
            node = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
            tag = node.AddObserver("ModifiedEvent", self._interaction_modified)
            self._interaction = (node, tag)
            self._effect._call("activate")
        if not self._active:
            return
        layouts = slicer.app.layoutManager()
        for view in layouts.sliceViewNames():
            widget = layouts.sliceWidget(view)
            interactor = widget.sliceView().interactor()
            for event in ("LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent"):
                tag = interactor.AddObserver(event, self._handler(widget), 10.0)
                self._observed.append((interactor, tag))

    def _handler(self, widget: Any) -> Any:
        def handle(interactor: Any, event: str) -> None:
            if event == "LeftButtonPressEvent":
                shape = slicer.util.arrayFromVolume(self.sourceVolumeNode()).shape
                self._stroke = np.zeros(shape, dtype=bool)
            if self._stroke is None:
                return
            self._dab(widget, interactor.GetEventPosition())
            if event == "LeftButtonReleaseEvent":
                self._apply()

        return handle

    def _dab(self, widget: Any, position: tuple[int, int]) -> None:
        """Mark the voxels of the shown slice within the brush."""
        volume, stroke = self.sourceVolumeNode(), self._stroke
        assert stroke is not None
        to_ijk = vtk.vtkMatrix4x4()
        volume.GetRASToIJKMatrix(to_ijk)
        if volume.GetParentTransformNode() is not None:
            from_world = vtk.vtkMatrix4x4()
            volume.GetParentTransformNode().GetMatrixTransformFromWorld(from_world)
            vtk.vtkMatrix4x4.Multiply4x4(to_ijk, from_world, to_ijk)
        matrix = slicer.util.arrayFromVTKMatrix(to_ijk)
        node = widget.mrmlSliceNode()
        right, up = (slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, n] for n in (0, 1))
        center = np.array(widget.sliceView().convertXYZToRAS((*position, 0.0)))
        radius = self._paint.doubleParameter("BrushAbsoluteDiameter") / 2
        step = min(volume.GetSpacing()) / 2
        offsets = np.arange(-radius, radius + step, step)
        a, b = (part.ravel() for part in np.meshgrid(offsets, offsets))
        inside = a**2 + b**2 <= radius**2
        places = center + a[inside, None] * right + b[inside, None] * up
        i, j, k = np.rint(places @ matrix[:3, :3].T + matrix[:3, 3]).astype(int).T
        known = (
            (k >= 0)
            & (j >= 0)
            & (i >= 0)
            & (k < stroke.shape[0])
            & (j < stroke.shape[1])
            & (i < stroke.shape[2])
        )
        stroke[k[known], j[known], i[known]] = True

    def _apply(self) -> None:
        """Add the stroke to the segment, on the source volume's grid."""
        node, segment_id, volume = self.segmentationNode(), self.currentSegmentID(), self.sourceVolumeNode()
        before = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)
        painted = self._stroke if before is None else self._stroke | before.astype(bool)
        self._stroke = None
        slicer.util.updateSegmentBinaryLabelmapFromArray(painted.astype(np.uint8), node, segment_id, volume)


def _listed(node: Any) -> Any:
    """The node, where a qMRMLNodeComboBox without showHidden lists it."""
    return None if node is None or node.GetHideFromEditors() else node
