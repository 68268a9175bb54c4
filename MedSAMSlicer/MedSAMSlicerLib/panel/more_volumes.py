"""More volumes: the second and third volume that the network sees beside the first one, each with its window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..app.channels import MOST_FURTHER
from ..app.state import Topic
from .context import Connections, Context, SignalsBlocked
from .inputs import window_choices

_NAMES = ("second", "third")


class MoreVolumesSection:
    """The section."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._closed = False
        self._opened = (
            False  # it unfolds once a volume is there that was chosen elsewhere, such as in a saved scene
        )
        self._shown: list[str | None] = [None] * MOST_FURTHER  # IDs of the volumes that the selectors show
        self._connections = Connections()
        for position in range(MOST_FURTHER):
            volumes, windows = self._widgets(position)
            for text, spec in window_choices():
                windows.addItem(text, spec)
            self._connections.add(volumes, "currentNodeChanged(vtkMRMLNode*)", self._chosen_at(position))
            self._connections.add(windows, "currentIndexChanged(int)", self._choosing_window(position))

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        if not topics & {Topic.INPUTS, Topic.NETWORK, Topic.RUN, Topic.SEGMENTS}:
            return
        ui, controller = self._context.ui, self._context.controller
        chosen = controller.inputs.channels.chosen
        for position, name in enumerate(_NAMES):
            volumes, windows = self._widgets(position)
            with SignalsBlocked(volumes, windows):
                known = chosen[position] if position < len(chosen) else None
                volumes.setCurrentNode(None if known is None else known.node)
                self._shown[position] = None if known is None else known.node.GetID()
                windows.setCurrentIndex(max(0, windows.findData("display" if known is None else known.spec)))
            busy = _("A propagation is running: cancel it or wait until it ends.")
            why = busy if controller.runs.busy else controller.inputs.channels.reason(None, position)
            self._context.allow_unless(f"{name}VolumeSelector", why)
            lacks = _("Choose the volume first, then its window.") if known is None else None
            self._context.allow_unless(f"{name}WindowSelector", why or lacks)
        names = ", ".join(str(each.node.GetName()) for each in chosen)
        ui.moreVolumes.title = _("More volumes: {names}").format(names=names) if names else _("More volumes")
        if chosen and not self._opened:
            ui.moreVolumes.collapsed = False
        self._opened = bool(chosen)

    def close(self) -> None:
        """See Section."""
        self._closed = True
        self._connections.close()

    def _widgets(self, position: int) -> tuple[Any, Any]:
        ui, name = self._context.ui, _NAMES[position]
        return getattr(ui, f"{name}VolumeSelector"), getattr(ui, f"{name}WindowSelector")

    def _chosen_at(self, position: int) -> Callable[[Any], None]:
        """Not at once: where a node is deleted, the controller takes note of that first."""

        def chosen(_node: Any) -> None:
            qt.QTimer.singleShot(0, lambda: self._take_volume(position))

        return chosen

    def _take_volume(self, position: int) -> None:
        if self._closed:
            return
        channels, node = self._context.controller.inputs.channels, self._widgets(position)[0].currentNode()
        known = channels.chosen[position].node if position < len(channels.chosen) else None
        shown = self._shown[position]
        deleted = node is None and shown is not None and slicer.mrmlScene.GetNodeByID(shown) is None
        if node is known:
            return
        if deleted or not self._context.attempt(lambda: channels.choose(position, node)):
            self.refresh(frozenset({Topic.INPUTS}))

    def _choosing_window(self, position: int) -> Callable[[int], None]:
        def chosen(_index: int) -> None:
            channels = self._context.controller.inputs.channels
            spec = str(self._widgets(position)[1].currentData)
            if not self._context.attempt(lambda: channels.set_window(position, spec)):
                self.refresh(frozenset({Topic.INPUTS}))

        return chosen
