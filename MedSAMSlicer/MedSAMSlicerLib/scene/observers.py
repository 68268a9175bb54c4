"""Observers of VTK objects, removed together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vtk


class Observers:
    """Observers that one object of ours has on nodes, views or the scene, until `close`.

    The observed objects are not kept alive; one that is gone has taken its observers with it.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Any, int]] = []  # weak references, and the tags of the observers

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, observed: Any, event: int | str, act: Callable[..., None], priority: float = 0.0) -> int:
        """Call `act(caller, event)` at each such event; returns the tag of the observer.

        Args:
            observed: a vtkObject.
            event: number or name.
            act: as VTK calls it; with calldata, where it was decorated so.
            priority: observers with a higher one are called first.
        """
        tag: int = observed.AddObserver(event, act, priority)
        reference = vtk.vtkWeakReference()
        reference.Set(observed)
        self._kept.append((reference, tag))
        return tag

    def close(self) -> None:
        """Remove every observer. Safe to call twice."""
        kept, self._kept = self._kept, []
        for reference, tag in kept:
            observed = reference.Get()
            if observed is not None:
                observed.RemoveObserver(tag)
