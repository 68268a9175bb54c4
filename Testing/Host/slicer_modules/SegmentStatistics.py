"""Stand-in of Slicer's module Segment Statistics, Modules/Scripted/SegmentStatistics/SegmentStatistics.py."""

from __future__ import annotations

import qt
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class SegmentStatistics(ScriptedLoadableModule):
    """Title and category."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title, parent.categories = "Segment Statistics", ["Quantification"]

    def runTest(self, msec=100, **kwargs):
        """Slicer's own self test is of no use here."""


class SegmentStatisticsWidget(ScriptedLoadableModuleWidget):
    """The inputs, under the names that they have in Slicer; nothing is computed."""

    def setup(self):
        """Make the panel."""
        super().setup()
        self.segmentationSelector = self._selector("vtkMRMLSegmentationNode")
        self.scalarSelector = self._selector("vtkMRMLScalarVolumeNode")
        self.scalarSelector.noneEnabled = True
        self.applyButton = qt.QPushButton("Apply")
        self.layout.addWidget(self.applyButton)
        self.layout.addStretch(1)

    def enter(self):
        """The user opens the module: with no segmentation chosen, the first one of the scene is."""
        if self.segmentationSelector.currentNode() is None:
            self.segmentationSelector.setCurrentNode(
                slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
            )

    def _selector(self, kind):
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = [kind]
        selector.addEnabled = False
        selector.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(selector)
        return selector
