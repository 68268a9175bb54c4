"""Stand-ins of the qMRML widgets that the module uses; they observe the real scene.

Sources are in Slicer/Slicer, folder Libs/MRML/Widgets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .facade import qt
from .stand_ins import Watched, stand_in, stored


@stand_in
class qMRMLWidget(qt.QWidget):
    """qMRMLWidget.h: a widget that knows a scene."""

    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        """The scene, or None."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Slot."""
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged(scene)


@stand_in
class qMRMLNodeComboBox(qt.QWidget):
    """qMRMLNodeComboBox.h: choose, make, rename or remove a node of the scene."""

    SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "currentNodeIsValid",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
        "currentNodeRenamed(QString)": "currentNodeRenamed",
    }
    currentNodeChanged = Signal(object)
    currentNodeIsValid = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    currentNodeRenamed = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._current = ""
        self._watched, self._watched_current = Watched(self), Watched(self)
        self._adding = False
        self._box = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.activated.connect(self._activated)
        self._box.setEnabled(False)

    noneEnabled = stored(bool, "noneEnabled", False, lambda self: self._refresh())
    addEnabled = stored(bool, "addEnabled", True, lambda self: self._refresh())
    removeEnabled = stored(bool, "removeEnabled", True, lambda self: self._refresh())
    renameEnabled = stored(bool, "renameEnabled", False, lambda self: self._refresh())
    editEnabled = stored(bool, "editEnabled", False)
    showHidden = stored(bool, "showHidden", False, lambda self: self._refresh())
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, lambda self: self._refresh())
    hideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", [], lambda self: self._refresh())
    nodeTypes = stored("QStringList", "nodeTypes", [], lambda self: self._refresh())
    baseName = stored(str, "baseName", "")
    noneDisplay = stored(str, "noneDisplay", "None", lambda self: self._refresh())
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    interactionNodeSingletonTag = stored(str, "interactionNodeSingletonTag", "")
    currentNodeID = Property(
        str, lambda self: self._current, lambda self, value: self.setCurrentNodeID(value)
    )

    def mrmlScene(self) -> Any:
        """The scene, or None."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Slot."""
        if scene is self._scene:
            return
        self._watched.forget()
        self._scene = scene
        if scene is not None:
            kind = slicer.vtkMRMLScene
            self._watched.add(scene, kind.NodeAddedEvent, self._on_node_added)
            self._watched.add(scene, kind.NodeAboutToBeRemovedEvent, self._on_node_removed)
            for event in (kind.EndBatchProcessEvent, kind.NodeRemovedEvent):
                self._watched.add(scene, event, lambda *_: self._refresh())
        self._box.setEnabled(scene is not None)
        self._refresh()

    def currentNode(self) -> Any:
        """Q_INVOKABLE: the chosen node, or None."""
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        """Slot, for a node or its ID."""
        self.setCurrentNodeID(node if isinstance(node, str) else "" if node is None else node.GetID())

    def setCurrentNodeID(self, node_id: str | None) -> None:
        """Slot; an ID that is not offered chooses none."""
        offered = {node.GetID() for node in self._offered_nodes()}
        self._choose(node_id if node_id in offered else "")

    def nodeCount(self) -> int:
        """Q_INVOKABLE: how many nodes are offered."""
        return len(self._offered_nodes())

    def nodeFromIndex(self, index: int) -> Any:
        """Q_INVOKABLE: the node of a row, or None."""
        nodes = self._offered_nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addNode(self, node_type: str | None = None) -> Any:
        """Slot: make a node as the entry `Create new ...` does."""
        kind = node_type or self.nodeTypes[0]
        label = self._scene.GetTagByClassName(kind)
        name = self._scene.GenerateUniqueName(self.baseName or label)
        self._adding = True
        try:
            node = self._scene.AddNewNodeByClass(kind, name)
        finally:
            self._adding = False
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser(node)
        return node

    def removeCurrentNode(self) -> None:
        """Slot."""
        node = self.currentNode()
        if node is not None:
            self._scene.RemoveNode(node)

    def _offered_nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        is_offered = self._is_offered()
        nodes = (self._scene.GetNthNode(n) for n in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if is_offered(node)]

    def _is_offered(self) -> Callable[[Any], bool]:
        """What says of a node whether it is offered, by the properties as they are; read once for a whole scene."""
        kinds, hidden_kinds, with_hidden = self.nodeTypes, self.hideChildNodeTypes, self.showHidden
        with_children = self.showChildNodeTypes

        def is_offered(node: Any) -> bool:
            fits = any(map(node.IsA, kinds)) if with_children else node.GetClassName() in kinds
            if not fits or (node.GetHideFromEditors() and not with_hidden):
                return False
            return not any(map(node.IsA, hidden_kinds))

        return is_offered

    def _choose(self, node_id: str) -> None:
        if node_id == self._current:
            return
        self._watched_current.forget()
        self._current = node_id
        node = self.currentNode()
        if node is not None:
            self._watched_current.add(node, "ModifiedEvent", self._on_node_modified)
        self._fill()
        self.currentNodeChanged(node)
        self.currentNodeIsValid(node is not None)
        self.currentNodeIDChanged(node_id)

    def _refresh(self) -> None:
        """Rows as the scene is now; without `None` the first node is chosen by itself."""
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        offered = [node.GetID() for node in self._offered_nodes()]
        chosen = self._current if self._current in offered else ""
        if not chosen and offered and not self.noneEnabled:
            chosen = offered[0]
        self._choose(chosen)
        self._fill()

    def _fill(self) -> None:
        self._box.blockSignals(True)
        self._box.clear()
        nodes = self._offered_nodes()
        if self.noneEnabled or not nodes:
            self._box.addItem(self.noneDisplay if self.noneEnabled else "", ("node", ""))
        for node in nodes:
            self._box.addItem(node.GetName(), ("node", node.GetID()))
        extra = [("Create new {}", "add")] if self.addEnabled else []
        extra += [("Rename current {}", "rename")] if self.renameEnabled else []
        extra += [("Delete current {}", "remove")] if self.removeEnabled else []
        tags = (
            {kind: self._scene.GetTagByClassName(kind) for kind in self.nodeTypes[:1]} if self._scene else {}
        )
        for text, action in extra:
            for tag in tags.values():
                self._box.addItem(text.format(tag), (action, ""))
        if extra:
            self._box.insertSeparator(len(nodes) + bool(self.noneEnabled or not nodes))
        row = next(
            (r for r in range(self._box.count()) if self._box.itemData(r) == ("node", self._current)), -1
        )
        self._box.setCurrentIndex(row)
        self._box.blockSignals(False)

    def _activated(self, row: int) -> None:
        action, node_id = self._box.itemData(row)
        if action == "node":
            self._choose(node_id)
            self.nodeActivated(self.currentNode())
        elif action == "add":
            self.addNode()
        elif action == "remove":
            self.removeCurrentNode()
        else:
            name = qt.QInputDialog.getText(None, "Rename", "New name:")
            if name and self.currentNode() is not None:
                self.currentNode().SetName(name)
        self._fill()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_added(self, caller: Any, event: str, node: Any = None) -> None:
        if node is None or self._scene.IsBatchProcessing() or not self._is_offered()(node):
            return
        self._refresh()
        self.nodeAdded(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_removed(self, caller: Any, event: str, node: Any = None) -> None:
        if node is None or not self._is_offered()(node):
            return
        self.nodeAboutToBeRemoved(node)
        if node.GetID() == self._current:
            others = [other.GetID() for other in self._offered_nodes() if other is not node]
            self._choose("" if self.noneEnabled or not others else others[0])

    def _on_node_modified(self, caller: Any, event: str) -> None:
        row = self._box.currentIndex()
        if row >= 0 and self._box.itemText(row) != caller.GetName():
            self._fill()
            self.currentNodeRenamed(caller.GetName())


WIDGETS = {"qMRMLWidget": qMRMLWidget, "qMRMLNodeComboBox": qMRMLNodeComboBox}
