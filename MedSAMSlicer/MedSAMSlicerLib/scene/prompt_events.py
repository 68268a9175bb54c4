"""Observers of our markups nodes and of the volume's transform, which the nodes follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk

from .observers import Observers
from .prompt_markups import VOLUME_ROLE, node_kind


class MarkupsEvents:
    """Reports which node changed, once nothing is being dragged, and which one was deleted or went with its scene."""

    def __init__(
        self, scene: Any, on_changed: Callable[[Any], None], on_removed: Callable[[str], None]
    ) -> None:
        self._scene = scene
        self._on_changed, self._on_removed = on_changed, on_removed
        self._nodes: dict[str, Observers] = {}
        self._dragged: set[str] = set()
        self._volume_id: str | None = None
        self._of_volume, self._of_scene = Observers(), Observers()

        def removed(_scene: Any, _event: str, node: Any) -> None:
            self._node_removed(node)

        vtk.calldata_type(vtk.VTK_OBJECT)(removed)  # makes VTK hand over the node
        self._of_scene.add(scene, slicer.vtkMRMLScene.NodeRemovedEvent, removed)

    def watch(self, node: Any) -> None:
        """Observe a node; once is enough."""
        if node.GetID() in self._nodes:
            return
        kinds = slicer.vtkMRMLMarkupsNode
        events = (
            kinds.PointPositionDefinedEvent,
            kinds.PointPositionUndefinedEvent,
            kinds.PointModifiedEvent,
            kinds.PointRemovedEvent,
            vtk.vtkCommand.ModifiedEvent,
        )
        observers = self._nodes[node.GetID()] = Observers()
        for event in events:
            observers.add(node, event, self._changed)
        observers.add(node, kinds.PointStartInteractionEvent, self._drag_started)
        observers.add(node, kinds.PointEndInteractionEvent, self._drag_ended)

    def release(self, node: Any) -> None:
        """Observe a node no longer."""
        self._dragged.discard(node.GetID())
        self._nodes.pop(node.GetID(), Observers()).close()

    def is_dragged(self, node: Any) -> bool:
        """Return whether the user holds a handle of the node."""
        return node.GetID() in self._dragged

    def follow_transform_of(self, volume_node: Any | None) -> None:
        """Put our nodes of a volume under its transform, now and whenever it gets another one."""
        volume_id = None if volume_node is None else volume_node.GetID()
        if volume_id != self._volume_id:
            self._of_volume.close()
            self._volume_id = volume_id
            if volume_node is not None:
                event = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
                self._of_volume.add(volume_node, event, self._transform_changed)
        if volume_node is not None:
            self._transform_changed(volume_node, "")

    def close(self) -> None:
        """Remove every observer."""
        self.follow_transform_of(None)
        for observers in self._nodes.values():
            observers.close()
        self._nodes.clear()
        self._of_scene.close()

    def _changed(self, caller: Any, _event: str) -> None:
        if caller.GetID() not in self._dragged:
            self._on_changed(caller)

    def _drag_started(self, caller: Any, _event: str) -> None:
        self._dragged.add(caller.GetID())

    def _drag_ended(self, caller: Any, _event: str) -> None:
        self._dragged.discard(caller.GetID())
        self._on_changed(caller)

    def _node_removed(self, node: Any) -> None:
        node_id = node.GetID() if node is not None else None
        if node_id not in self._nodes:
            return
        # The node may live on in an undo stack; its observers must not.
        self.release(node)
        self._on_removed(node_id)

    def _transform_changed(self, caller: Any, _event: str) -> None:
        for number in range(self._scene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode")):
            node = self._scene.GetNthNodeByClass(number, "vtkMRMLMarkupsNode")
            ours = node_kind(node) is not None and node.GetNodeReferenceID(VOLUME_ROLE) == caller.GetID()
            if ours and node.GetTransformNodeID() != caller.GetTransformNodeID():
                node.SetAndObserveTransformNodeID(caller.GetTransformNodeID())
