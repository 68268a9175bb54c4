"""Stand-in of qMRMLSegmentationShow3DButton (Modules/Loadable/Segmentations/Widgets of Slicer/Slicer)."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtWidgets

from .facade import qt
from .stand_ins import Watched, stand_in, stored


@stand_in
class qMRMLSegmentationShow3DButton(qt.QPushButton):
    """qMRMLSegmentationShow3DButton.h: makes closed surfaces, or removes them; without its menu for smoothing."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__() if parent is None else super().__init__(parent)
        self._node: Any = None
        self._watched = Watched(self)
        self.setCheckable(True)
        self.setText("Show 3D")
        self.toggled.connect(self._on_toggled)
        self._update()

    locked = stored(bool, "locked", False, lambda self: self._update())

    def segmentationNode(self) -> Any:
        """Q_INVOKABLE: the node, or None."""
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        """Slot."""
        if node is self._node:
            return
        self._watched.forget()
        self._node = node
        if node is not None:
            segmentation = slicer.vtkSegmentation
            for event in (
                "ModifiedEvent",
                segmentation.SegmentAdded,
                segmentation.SegmentRemoved,
                segmentation.ContainedRepresentationNamesModified,
            ):
                self._watched.add(node, event, lambda *_: self._update())
        self._update()

    def _update(self) -> None:
        """updateWidgetFromMRML."""
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        usable = segmentation is not None and segmentation.GetNumberOfSegments() > 0 and not self.locked
        QtWidgets.QWidget.setEnabled(self, usable)
        if segmentation is not None:
            before = self.blockSignals(True)
            QtWidgets.QPushButton.setChecked(self, segmentation.ContainsRepresentation(surface))
            self.blockSignals(before)

    def _on_toggled(self, on: bool) -> None:
        """onToggled."""
        if self._node is None:
            return
        segmentation, display = self._node.GetSegmentation(), self._node.GetDisplayNode()
        converter = slicer.vtkSegmentationConverter
        surface = converter.GetSegmentationClosedSurfaceRepresentationName()
        labelmap = converter.GetSegmentationBinaryLabelmapRepresentationName()
        was_modifying = self._node.StartModify()
        if not on:
            segmentation.RemoveRepresentation(surface)
        elif segmentation.CreateRepresentation(surface) and display is not None:
            display.SetPreferredDisplayRepresentationName3D(surface)
            if segmentation.ContainsRepresentation(labelmap):
                display.SetPreferredDisplayRepresentationName2D(labelmap)
        self._node.EndModify(was_modifying)
