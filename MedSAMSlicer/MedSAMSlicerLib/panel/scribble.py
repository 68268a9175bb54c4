"""Strokes by Slicer's own brush: the Paint effect of a hidden Segment Editor on a hidden segmentation.

Each stroke is read from that segmentation, handed on as a mask of one slice, and wiped out again; the user's segments
are never painted on. The editor is made when the tool is first used (`qMRMLSegmentEditorWidget.h`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import qt
import slicer
from slicer.i18n import tr as _

from ..app.ports import ShownSlice
from ..core.errors import MedSAMError
from ..scene.labelmaps import create_segmentation
from ..scene.nodes import remove_with_display
from ..scene.observers import Observers
from ..scene.segments import SegmentMasks
from ..scene.slice_views import clicked_slice_node, composite_nodes, shown_slice, slice_nodes

logger = logging.getLogger(__name__)

Stroke = Callable[[npt.NDArray[np.bool_], bool, ShownSlice], None]
"""Called with the mask (rows, columns) of a stroke, whether it is positive, and its slice."""

_SEGMENTS = {True: ("organ", (0.11, 0.61, 0.33)), False: ("not_organ", (0.84, 0.25, 0.23))}


class Scribbler:
    """Paints while it is active.

    Args:
        scene: the vtkMRMLScene.
        on_stroke: gets each stroke, on the main thread.
    """

    def __init__(self, scene: Any, on_stroke: Stroke) -> None:
        self._scene = scene
        self._on_stroke = on_stroke
        self._editor: Any = None
        self._nodes: list[Any] = []
        self._masks: SegmentMasks | None = None
        self._volume: Any = None
        self._positive = True
        self._waiting = False
        self._view: Any = None  # the node of the view in which the stroke was painted
        self._diameter = 0.0
        self._labels: list[tuple[Any, str | None]] = []  # composite nodes, and the label layers that they had
        self._observers = Observers()

    @property
    def active(self) -> bool:
        """Return whether the brush is active."""
        return self._masks is not None

    def start(self, volume_node: Any, positive: bool, diameter_mm: float) -> None:
        """Activate the brush.

        Raises:
            MedSAMError: This Slicer has no Segment Editor.
        """
        self.stop()
        editor = self._editor_widget()
        self._volume, self._positive, self._diameter = volume_node, positive, diameter_mm
        segmentation = self._helper_segmentation(volume_node)
        self._nodes = [segmentation, self._editor_node()]
        self._masks = SegmentMasks(segmentation, volume_node, on_edit=self._painted)
        # Segment Editor takes the label layer out of the views when an effect is chosen.
        self._labels = [(node, node.GetLabelVolumeID()) for node in composite_nodes(self._scene)]
        editor.setMRMLSegmentEditorNode(self._nodes[1])
        self._arm()
        event = slicer.vtkMRMLScene.EndBatchProcessEvent
        self._observers.add(self._scene, event, self._batch_ended)

    def _arm(self) -> None:
        """Give the editor segmentation, volume, segment and effect."""
        editor, segmentation = self._editor, self._nodes[0]
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(self._volume)
        editor.setCurrentSegmentID(_SEGMENTS[self._positive][0])
        editor.setActiveEffectByName("Paint")
        self.set_diameter(self._diameter)

    def _batch_ended(self, _caller: Any, _event: str) -> None:
        """After a batch Segment Editor takes what its selector lists, and the hidden segmentation is not listed."""
        qt.QTimer.singleShot(0, self._arm_again)

    def _arm_again(self) -> None:
        if self.active and self._editor.activeEffect() is None and self._scene.IsNodePresent(self._nodes[0]):
            self._arm()

    def set_positive(self, positive: bool) -> None:
        """Strokes from now on mark the object, or background."""
        self._positive = positive
        if self.active:
            self._editor.setCurrentSegmentID(_SEGMENTS[positive][0])

    def set_diameter(self, diameter_mm: float) -> None:
        """Set the diameter of the brush in mm."""
        self._diameter = diameter_mm
        effect = self._editor.activeEffect() if self.active else None
        if effect is not None:
            effect.setCommonParameter("BrushDiameterIsRelative", 0)
            effect.setCommonParameter("BrushAbsoluteDiameter", float(diameter_mm))
            effect.setCommonParameter("BrushSphere", 0)

    def stop(self) -> None:
        """Deactivate the brush, and remove the hidden nodes."""
        if self._editor is not None:
            self._editor.setActiveEffect(None)
            self._editor.setSegmentationNode(None)
            self._editor.setMRMLSegmentEditorNode(None)
        if self._masks is not None:
            self._masks.close()
            self._masks = None
        self._observers.close()
        for node in self._nodes:
            remove_with_display(node)
        for node, label in self._labels:
            if label and self._scene.GetNodeByID(label) is not None and self._scene.IsNodePresent(node):
                node.SetLabelVolumeID(label)
        self._nodes.clear()
        self._labels.clear()
        self._volume = self._view = None

    def close(self) -> None:
        """Deactivate the brush for good."""
        self.stop()
        if self._editor is not None:
            self._editor.setMRMLScene(None)
            self._editor.deleteLater()
            self._editor = None

    def _editor_widget(self) -> Any:
        if self._editor is None:
            made = getattr(slicer, "qMRMLSegmentEditorWidget", None)
            if made is None:
                raise MedSAMError(_("Scribbles need Slicer's Segment Editor, which is not loaded here."))
            editor = made()
            editor.setUndoEnabled(False)
            editor.setAutoShowSourceVolumeNode(False)
            editor.setMRMLScene(self._scene)
            self._editor = editor
        return self._editor

    def _helper_segmentation(self, volume_node: Any) -> Any:
        node = create_segmentation(self._scene, volume_node, "MedSAMSlicer strokes", helper=True)
        for name, color in _SEGMENTS.values():
            node.GetSegmentation().AddEmptySegment(name, name, color)
        return node

    def _editor_node(self) -> Any:
        """Return what the editor keeps its choices in."""
        node = self._scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)  # CreateNodeByClass hands over a reference
        node.SetName("MedSAMSlicer brush")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        return self._scene.AddNode(node)

    def _painted(self, _segment_id: str) -> None:
        """A stroke has come into the segmentation; it is taken when the effect has finished with it."""
        # Now: the mouse may be outside of the view a moment later.
        self._view = clicked_slice_node(self._scene) or self._view_of_stroke()
        if not self._waiting:
            self._waiting = True
            qt.QTimer.singleShot(0, self._take)

    def _view_of_stroke(self) -> Any:
        """The node of the view whose slice holds all that was painted, where the mouse is in no view any more."""
        masks = self._masks
        if masks is None:
            return None
        for node in slice_nodes(self._scene):
            shown = shown_slice(node, self._volume)
            painted = [masks.read_slices(name, shown.axis) for name, _color in _SEGMENTS.values()]
            if {index for slices in painted for index in slices} == {shown.index}:
                return node
        return None

    def _take(self) -> None:
        self._waiting = False
        node, self._view = self._view, None
        if self._masks is None or node is None:
            return
        shown = shown_slice(node, self._volume)
        for positive, (segment_id, _color) in _SEGMENTS.items():
            painted = self._masks.read_slices(segment_id, shown.axis)
            stroke = painted.get(shown.index)
            self._masks.write_slices(
                segment_id, shown.axis, {index: np.zeros_like(mask) for index, mask in painted.items()}
            )
            if stroke is not None and stroke.any():
                self._on_stroke(stroke, positive, shown)
