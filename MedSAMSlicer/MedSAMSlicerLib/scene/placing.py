"""Placing prompts by mouse through Slicer's own place mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from ..app.ports import ObjectMarkups, Tool
from .drag_placing import DragPlacing
from .observers import Observers
from .prompt_markups import is_too_small, kind_of_tool
from .prompt_nodes import PromptNodes


class Placing:
    """Puts Slicer into place mode for one tool and notices when the user leaves it.

    Points are placed one after the other until the user stops; a box or a line is one, by two clicks or by press, drag
    and release, then the mouse is free.

    Args:
        scene: the MRML scene.
        prompt_nodes: gives the nodes that take the clicks.
        on_left: called when place mode ends and `stop` was not called: by a right click (Escape does not), by another
            tool of Slicer, or because the box or line is complete. It gets the tool whose two clicks were at one
            place, else None.
        schedule: how to run something after Slicer has finished with the event, such as a QTimer of 0 ms; at once when
            absent.
    """

    def __init__(
        self,
        scene: Any,
        prompt_nodes: PromptNodes,
        on_left: Callable[[Tool | None], None],
        schedule: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._scene = scene
        self._schedule = schedule or (lambda action: action())
        self._prompt_nodes = prompt_nodes
        self._on_left = on_left
        self._drags = DragPlacing(lambda: self._tool is not None)
        self._tool: Tool | None = None
        self._node_id: str | None = None
        self._starting = False
        self._observers = Observers()
        self._before: tuple[int, str | None, str | None] | None = None
        self._placed_id: str | None = None

    @property
    def tool(self) -> Tool | None:
        """Return what is being placed; None while the mouse is free."""
        return self._tool

    def start(self, tool: Tool, obj: ObjectMarkups, volume_node: Any) -> None:
        """Let the next clicks place prompts of an object."""
        if self._tool is not None:
            self._end()
        node = self._prompt_nodes.node_for_placing(kind_of_tool(tool), obj, volume_node)
        self._starting = True
        try:
            self._observe()
            self._tool, self._node_id = tool, node.GetID()
            self._placed_id = node.GetID()
            interaction, selection = self._interaction(), self._selection()
            if self._before is None:
                self._before = (
                    interaction.GetPlaceModePersistence(),
                    selection.GetActivePlaceNodeClassName(),
                    selection.GetActivePlaceNodeID(),
                )
            # The list last: markups that are added later would take the placement.
            selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
            selection.SetActivePlaceNodeID(node.GetID())
            interaction.SetPlaceModePersistence(1 if kind_of_tool(tool).holds_points else 0)
            interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)
            if not kind_of_tool(tool).holds_points:
                self._drags.start()
        finally:
            self._starting = False

    def stop(self) -> None:
        """Release the mouse."""
        if self._tool is None:
            return
        self._end()
        interaction = self._interaction()
        if interaction is not None and self._is_place(interaction):
            interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)
        self._restore()

    def close(self) -> None:
        """Stop and remove every observer."""
        self.stop()
        self._observers.close()

    def _end(self) -> None:
        self._observers.close()
        self._drags.stop()
        self._tool, self._node_id = None, None
        if not self._scene.IsClosing():
            self._prompt_nodes.drop_unfinished()

    def _restore(self) -> None:
        """Leave Slicer's place mode as it was: persistence, and the list that the next click goes to.

        What the user has chosen meanwhile stays.
        """
        before, node_id = self._before, self._placed_id
        self._before = self._placed_id = None
        interaction, selection = self._interaction(), self._selection()
        if before is None or interaction is None or selection is None or self._scene.IsClosing():
            return
        if self._is_place(interaction):  # another tool of Slicer is active now
            return
        persistence, class_name, active_id = before
        interaction.SetPlaceModePersistence(persistence)
        if selection.GetActivePlaceNodeID() in (node_id, None):
            there = active_id is not None and self._scene.GetNodeByID(active_id) is not None
            selection.SetReferenceActivePlaceNodeClassName(class_name)
            selection.SetActivePlaceNodeID(active_id if there else None)

    def _observe(self) -> None:
        self._observers.close()
        interaction, selection = self._interaction(), self._selection()
        events = (
            (interaction, interaction.InteractionModeChangedEvent),
            (selection, selection.ActivePlaceNodeIDChangedEvent),
        )
        for node, event in events:
            self._observers.add(node, event, self._changed)

    def _changed(self, _caller: Any, _event: str) -> None:
        if self._starting or self._tool is None or self._scene.IsClosing() or self._prompt_nodes.is_syncing:
            return
        ours = self._selection().GetActivePlaceNodeID() == self._node_id
        if self._is_place(self._interaction()) and ours:
            return
        node = self._scene.GetNodeByID(self._node_id) if ours else None
        too_small = self._tool if node is not None and is_too_small(node, kind_of_tool(self._tool)) else None
        self._end()
        self._schedule(self._restore_unless_placing)
        self._on_left(too_small)

    def _restore_unless_placing(self) -> None:
        if self._tool is None:
            self._restore()

    def _interaction(self) -> Any:
        return self._scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")

    def _selection(self) -> Any:
        return self._scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")

    def _is_place(self, interaction: Any) -> bool:
        return bool(interaction.GetCurrentInteractionMode() == slicer.vtkMRMLInteractionNode.Place)
