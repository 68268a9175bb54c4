"""Placing prompts by mouse through Slicer's own place mode."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import slicer

from .prompt_markups import Kind, is_too_small
from .prompt_nodes import ObjectMarkups, PromptNodes


class Tool(enum.Enum):
    """What the next click in a slice view places."""

    POINT_POSITIVE = "point_positive"
    POINT_NEGATIVE = "point_negative"
    BOX = "box"
    LINE = "line"

    @property
    def kind(self) -> Kind:
        """The markups node that takes it."""
        kinds = {Tool.POINT_POSITIVE: Kind.POSITIVE, Tool.POINT_NEGATIVE: Kind.NEGATIVE}
        return kinds.get(self, Kind.BOX if self is Tool.BOX else Kind.LINE)


class Placing:
    """Puts Slicer into place mode for one tool and notices when the user leaves it.

    Points are placed one after the other until the user stops; a box or a line is one, then the mouse is free.

    Args:
        scene: the MRML scene.
        prompt_nodes: gives the nodes that take the clicks.
        on_left: called when place mode ends and `stop` was not called: by a right click (Escape does not), by another
            tool of Slicer, or because the box or line is complete. It gets the tool whose two clicks were at one
            place, else None.
    """

    def __init__(self, scene: Any, prompt_nodes: PromptNodes, on_left: Callable[[Tool | None], None]) -> None:
        self._scene = scene
        self._prompt_nodes = prompt_nodes
        self._on_left = on_left
        self._tool: Tool | None = None
        self._node_id: str | None = None
        self._starting = False
        self._observed: list[tuple[str, int]] = []

    @property
    def tool(self) -> Tool | None:
        """What is being placed; None while the mouse is free."""
        return self._tool

    def start(self, tool: Tool, obj: ObjectMarkups, volume_node: Any) -> None:
        """Let the next clicks place prompts of an object."""
        if self._tool is not None:
            self._end()
        node = self._prompt_nodes.node_for_placing(tool.kind, obj, volume_node)
        self._starting = True
        try:
            self._observe()
            self._tool, self._node_id = tool, node.GetID()
            interaction, selection = self._interaction(), self._selection()
            # The list last: markups that are added later would take the placement.
            selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
            selection.SetActivePlaceNodeID(node.GetID())
            interaction.SetPlaceModePersistence(1 if tool.kind.holds_points else 0)
            interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)
        finally:
            self._starting = False

    def stop(self) -> None:
        """Give the mouse back."""
        if self._tool is None:
            return
        self._end()
        interaction = self._interaction()
        if interaction is not None and self._is_place(interaction):
            interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)

    def close(self) -> None:
        """Stop and remove every observer."""
        self.stop()
        self._release()

    def _end(self) -> None:
        self._release()
        self._tool, self._node_id = None, None
        if not self._scene.IsClosing():
            self._prompt_nodes.drop_unfinished()

    def _observe(self) -> None:
        self._release()
        interaction, selection = self._interaction(), self._selection()
        events = (
            (interaction, interaction.InteractionModeChangedEvent),
            (selection, selection.ActivePlaceNodeIDChangedEvent),
        )
        for node, event in events:
            self._observed.append((node.GetID(), node.AddObserver(event, self._changed)))

    def _release(self) -> None:
        for node_id, tag in self._observed:
            node = self._scene.GetNodeByID(node_id)
            if node is not None:
                node.RemoveObserver(tag)
        self._observed.clear()

    def _changed(self, _caller: Any, _event: str) -> None:
        if self._starting or self._tool is None or self._scene.IsClosing():
            return
        ours = self._selection().GetActivePlaceNodeID() == self._node_id
        if self._is_place(self._interaction()) and ours:
            return
        node = self._scene.GetNodeByID(self._node_id) if ours else None
        too_small = self._tool if node is not None and is_too_small(node, self._tool.kind) else None
        self._end()
        self._on_left(too_small)

    def _interaction(self) -> Any:
        return self._scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")

    def _selection(self) -> Any:
        return self._scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")

    def _is_place(self, interaction: Any) -> bool:
        return bool(interaction.GetCurrentInteractionMode() == slicer.vtkMRMLInteractionNode.Place)
