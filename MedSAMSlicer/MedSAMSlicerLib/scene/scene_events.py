"""The events of the scene as a whole: nodes removed, scene closed, scene loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from .observers import Observers


class SceneEvents:
    """Observers on a scene until `close`.

    Args:
        scene: the vtkMRMLScene.
        removed, closing, closed, loaded: called as VTK calls an observer, (caller, event, callData=None), when a node
            was removed, before the scene is closed, after it, and after a scene was loaded.
    """

    def __init__(
        self,
        scene: Any,
        *,
        removed: Callable[..., None],
        closing: Callable[..., None],
        closed: Callable[..., None],
        loaded: Callable[..., None],
    ) -> None:
        kind = slicer.vtkMRMLScene
        events = {
            kind.NodeRemovedEvent: removed,
            kind.StartCloseEvent: closing,
            kind.EndCloseEvent: closed,
            kind.EndImportEvent: loaded,
        }
        self._observers = Observers()
        for event, act in events.items():
            self._observers.add(scene, event, act)

    def close(self) -> None:
        """Remove every observer."""
        self._observers.close()
