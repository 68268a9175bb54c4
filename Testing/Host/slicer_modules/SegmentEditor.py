"""Stand-in of Slicer's module Segment Editor, Modules/Scripted/SegmentEditor/SegmentEditor.py."""

from __future__ import annotations

import qt
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class SegmentEditor(ScriptedLoadableModule):
    """Title and category."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title, parent.categories = "Segment Editor", ["", "Segmentation"]

    def runTest(self, msec=100, **kwargs):
        """Slicer's own self test is of no use here."""


class SegmentEditorWidget(ScriptedLoadableModuleWidget):
    """The editor with its choices in the scene's vtkMRMLSegmentEditorNode, and buttons for its undo."""

    def setup(self):
        """Make the panel."""
        super().setup()
        self.parameterSetNode = None
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.selectParameterNode()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(self.editor)
        self.undoButton, self.redoButton = qt.QPushButton("Undo"), qt.QPushButton("Redo")
        self.undoButton.connect("clicked()", self.editor.undo)
        self.redoButton.connect("clicked()", self.editor.redo)
        for button in (self.undoButton, self.redoButton):
            self.layout.addWidget(button)
        self.layout.addStretch(1)

    def selectParameterNode(self):
        """The singleton of the scene."""
        node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag("SegmentEditor")
            node = slicer.mrmlScene.AddNode(node)
        if node is not self.parameterSetNode:
            self.parameterSetNode = node
            self.editor.setMRMLSegmentEditorNode(node)

    def enter(self):
        """The user opens the module."""
        self.selectParameterNode()

    def exit(self):
        """The user leaves it."""
        self.editor.setActiveEffect(None)
