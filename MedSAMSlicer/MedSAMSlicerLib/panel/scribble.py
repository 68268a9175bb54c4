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

from ..core.errors import MedSAMError
from ..scene.segments import SegmentMasks
from ..scene.slice_views import ShownSlice, clicked_slice_node, shown_slice

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

    @property
    def active(self) -> bool:
        """Whether the brush is in the user's hand."""
        return self._masks is not None

    def start(self, volume_node: Any, positive: bool, diameter_mm: float) -> None:
        """Take the brush.

        Raises:
            MedSAMError: This Slicer has no Segment Editor.
        """
        self.stop()
        editor = self._editor_widget()
        segmentation = self._helper_segmentation(volume_node)
        parameters = self._scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "MedSAMSlicer brush")
        for node in (segmentation, parameters):
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
        self._nodes = [segmentation, parameters]
        self._volume, self._positive = volume_node, positive
        self._masks = SegmentMasks(segmentation, volume_node, on_edit=self._painted)
        editor.setMRMLSegmentEditorNode(parameters)
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume_node)
        editor.setCurrentSegmentID(_SEGMENTS[positive][0])
        editor.setActiveEffectByName("Paint")
        self.set_diameter(diameter_mm)

    def set_positive(self, positive: bool) -> None:
        """Strokes from now on mark the organ, or what is not the organ."""
        self._positive = positive
        if self.active:
            self._editor.setCurrentSegmentID(_SEGMENTS[positive][0])

    def set_diameter(self, diameter_mm: float) -> None:
        """Set the diameter of the brush in mm."""
        effect = self._editor.activeEffect() if self.active else None
        if effect is not None:
            effect.setCommonParameter("BrushDiameterIsRelative", 0)
            effect.setCommonParameter("BrushAbsoluteDiameter", float(diameter_mm))
            effect.setCommonParameter("BrushSphere", 0)

    def stop(self) -> None:
        """Put the brush down; the hidden nodes go."""
        if self._editor is not None:
            self._editor.setActiveEffect(None)
            self._editor.setSegmentationNode(None)
            self._editor.setMRMLSegmentEditorNode(None)
        if self._masks is not None:
            self._masks.close()
            self._masks = None
        for node in self._nodes:
            if self._scene.IsNodePresent(node):
                self._scene.RemoveNode(node)
        self._nodes.clear()
        self._volume = None

    def close(self) -> None:
        """Put the brush down for good."""
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
        node = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "MedSAMSlicer strokes")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        for name, color in _SEGMENTS.values():
            node.GetSegmentation().AddEmptySegment(name, name, color)
        return node

    def _painted(self, _segment_id: str) -> None:
        """A stroke has come into the segmentation; it is taken when the effect has finished with it."""
        if not self._waiting:
            self._waiting = True
            qt.QTimer.singleShot(0, self._take)

    def _take(self) -> None:
        self._waiting = False
        node = clicked_slice_node(self._scene)
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
