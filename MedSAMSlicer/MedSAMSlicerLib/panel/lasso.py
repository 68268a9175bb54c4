"""The lasso: a closed outline drawn in a slice view, as a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer

from ..app.ports import ShownSlice
from ..scene.drag_placing import slice_interactors
from ..scene.nodes import from_world
from ..scene.outline_drawing import OutlineDrawing
from ..scene.slice_views import shown_slice

Drawn = Callable[[Sequence[Sequence[float]], bool, ShownSlice], object]
"""Called with the places (N, 3) in the volume's own RAS, mm, whether it is around the object, and its slice."""


class LassoTool:
    """Takes outlines while it is active.

    Args:
        on_drawn: see :data:`Drawn`.
    """

    def __init__(self, on_drawn: Drawn) -> None:
        self._on_drawn = on_drawn
        self._drawing = OutlineDrawing(self._take)
        self._volume_id = ""
        self._positive = True

    @property
    def active(self) -> bool:
        """Return whether the lasso is active."""
        return self._drawing.active

    def start(self, volume_node: Any, positive: bool) -> None:
        """Activate the lasso, for a volume."""
        self._volume_id, self._positive = volume_node.GetID(), positive
        self._drawing.start(slice_interactors(), positive)

    def set_positive(self, positive: bool) -> None:
        """Outlines from now on are around the object, or around something else."""
        self._positive = positive
        self._drawing.set_positive(positive)

    def stop(self) -> None:
        """Deactivate the lasso."""
        self._drawing.stop()

    def _take(self, slice_node: Any, places: list[list[float]]) -> None:
        volume = slicer.mrmlScene.GetNodeByID(self._volume_id)
        if volume is not None:
            shown = shown_slice(slice_node, volume)
            self._on_drawn(from_world(volume, places).tolist(), self._positive, shown)
