"""Choices that a script writes into the module's parameter node while the panel is there: they are followed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import qt
import slicer

from ..models.registry import BUNDLED_ID
from ..scene.parameter_node import ParameterNode
from .context import Context

_NAMES = ("volume", "segmentation", "segment_id", "window_spec", "checkpoint", "tier", "overlap")


class ScriptedChoices:
    """Compares the node with what the controller works on, once Slicer is done with the event that changed it.

    What the controller refuses is shown as a message, and the node says again what is.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._node = ParameterNode(slicer.mrmlScene)
        self._known = _without_nodes(self._written())
        self._waiting = self._closed = False
        self._stop = self._node.observe(self._changed)

    def close(self) -> None:
        """Follow no longer."""
        self._closed = True
        self._stop()

    def _changed(self) -> None:
        if not self._waiting:
            self._waiting = True
            qt.QTimer.singleShot(0, self._follow)

    def _follow(self) -> None:
        self._waiting = False
        if self._closed or slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsImporting():
            return
        written, now = self._written(), self._present()
        kinds, present = _without_nodes(written), _without_nodes(now)
        asked = {
            name: value
            for name, value in written.items()
            if kinds[name] != self._known[name] and kinds[name] != present[name]
        }
        if asked.get("segment_id", "") is None:  # none in particular
            del asked["segment_id"]
        if asked:
            for name in asked:  # as it is; the steps below write what becomes of them
                setattr(self._node, name, now[name])
            for name, step in self._steps(asked).items():
                if name in asked:
                    self._context.attempt(step)
        self._known = _without_nodes(self._written())

    def _steps(self, asked: dict[str, Any]) -> dict[str, Callable[[], object]]:
        inputs, network = self._context.controller.inputs, self._context.controller.network
        steps: dict[str, Callable[[Any], object]] = {
            "volume": inputs.set_volume,
            "segmentation": inputs.set_segmentation,
            "segment_id": inputs.select_segment,
            "window_spec": network.set_window,
            "checkpoint": lambda name: network.set_checkpoint(name or BUNDLED_ID),
            "tier": network.set_tier,
            "overlap": network.set_overlap,
        }
        return {name: partial(step, asked.get(name)) for name, step in steps.items()}

    def _written(self) -> dict[str, Any]:
        return {name: getattr(self._node, name) for name in _NAMES}

    def _present(self) -> dict[str, Any]:
        inputs, network = self._context.controller.inputs, self._context.controller.network
        return {
            "volume": inputs.volume_node,
            "segmentation": inputs.segmentation_node,
            "segment_id": inputs.segment_id,
            "window_spec": network.window_spec,
            "checkpoint": network.checkpoint,
            "tier": network.tier,
            "overlap": network.overlap,
        }


def _without_nodes(choices: dict[str, Any]) -> dict[str, Any]:
    """Choices with the IDs of nodes in place of nodes, which must not be kept alive."""
    nodes = ("volume", "segmentation")
    return {
        name: value.GetID() if name in nodes and value is not None else value
        for name, value in choices.items()
    }
