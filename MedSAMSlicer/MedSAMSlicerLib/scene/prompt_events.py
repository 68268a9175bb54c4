"""Observers of our markups nodes and of the volume's transform, which the nodes follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk

from .prompt_markups import VOLUME_ROLE, node_kind


class MarkupsEvents:
    """Tells which node changed, once nothing is being dragged, and which one the user deleted."""

    def __init__(
        self, scene: Any, on_changed: Callable[[Any], None], on_removed: Callable[[str], None]
    ) -> None:
        self._scene = scene
        self._on_changed, self._on_removed = on_changed, on_removed
        self._tags: dict[str, list[int]] = {}
        self._dragged: set[str] = set()
        self._volume: tuple[str, int] | None = None

        def removed(_scene: Any, _event: str, node: Any) -> None:
            self._node_removed(node)

        vtk.calldata_type(vtk.VTK_OBJECT)(removed)  # makes VTK hand over the node
        self._scene_tag: int | None = scene.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, removed)

    def watch(self, node: Any) -> None:
        """Observe a node; once is enough."""
        if node.GetID() in self._tags:
            return
        kinds = slicer.vtkMRMLMarkupsNode
        events = (
            kinds.PointPositionDefinedEvent,
            kinds.PointPositionUndefinedEvent,
            kinds.PointModifiedEvent,
            kinds.PointRemovedEvent,
            vtk.vtkCommand.ModifiedEvent,
        )
        tags = [node.AddObserver(event, self._changed) for event in events]
        tags.append(node.AddObserver(kinds.PointStartInteractionEvent, self._drag_started))
        tags.append(node.AddObserver(kinds.PointEndInteractionEvent, self._drag_ended))
        self._tags[node.GetID()] = tags

    def release(self, node: Any) -> None:
        """Observe a node no longer."""
        self._dragged.discard(node.GetID())
        for tag in self._tags.pop(node.GetID(), ()):
            node.RemoveObserver(tag)

    def is_dragged(self, node: Any) -> bool:
        """Return whether the user holds a handle of the node."""
        return node.GetID() in self._dragged

    def follow_transform_of(self, volume_node: Any | None) -> None:
        """Put our nodes of a volume under its transform, now and whenever it gets another one."""
        volume_id = None if volume_node is None else volume_node.GetID()
        if self._volume is not None and self._volume[0] != volume_id:
            observed = self._scene.GetNodeByID(self._volume[0])
            if observed is not None:
                observed.RemoveObserver(self._volume[1])
            self._volume = None
        if volume_node is not None and self._volume is None:
            event = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
            self._volume = (str(volume_id), volume_node.AddObserver(event, self._transform_changed))
        if volume_node is not None:
            self._transform_changed(volume_node, "")

    def close(self) -> None:
        """Remove every observer."""
        self.follow_transform_of(None)
        for node_id in list(self._tags):
            node = self._scene.GetNodeByID(node_id)
            if node is not None:
                self.release(node)
        self._tags.clear()
        if self._scene_tag is not None:
            self._scene.RemoveObserver(self._scene_tag)
            self._scene_tag = None

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
        if node_id not in self._tags:
            return
        # The node may live on in an undo stack; its observers must not.
        self.release(node)
        if not self._scene.IsClosing():
            self._on_removed(node_id)

    def _transform_changed(self, caller: Any, _event: str) -> None:
        for number in range(self._scene.GetNumberOfNodesByClass("vtkMRMLMarkupsNode")):
            node = self._scene.GetNthNodeByClass(number, "vtkMRMLMarkupsNode")
            ours = node_kind(node) is not None and node.GetNodeReferenceID(VOLUME_ROLE) == caller.GetID()
            if ours and node.GetTransformNodeID() != caller.GetTransformNodeID():
                node.SetAndObserveTransformNodeID(caller.GetTransformNodeID())
