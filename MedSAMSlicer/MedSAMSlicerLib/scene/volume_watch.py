"""Watches one volume: its voxels, its grid, its transform and how it is displayed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk

from ..app.ports import Scheduler
from ..core.errors import MedSAMError
from .nodes import volume_array, volume_geometry
from .observers import Observers

_SETTLE_SECONDS = 0.1
_DISPLAY_SECONDS = 0.3


class VolumeWatch:
    """Reports what really changed, a moment after it did, until `close`.

    Args:
        node: the volume.
        array: its voxels as they are now, (K, J, I).
        poller: for the moment.
        on_voxels: voxels or grid are others than before, or there are none any more.
        on_moved: the transform above the volume changed.
        on_display: the display changed, such as its window.
    """

    def __init__(
        self,
        node: Any,
        array: npt.NDArray[Any],
        poller: Scheduler,
        on_voxels: Callable[[], None],
        on_moved: Callable[[], None],
        on_display: Callable[[], None],
    ) -> None:
        self._node, self._poller = node, poller
        self._on_voxels, self._on_moved, self._on_display = on_voxels, on_moved, on_display
        self._content = _checksum(array)
        self._geometry = volume_geometry(node)
        volume_class = slicer.vtkMRMLVolumeNode
        self._observers = Observers()
        self._observers.add(node, volume_class.ImageDataModifiedEvent, self._look_soon)
        self._observers.add(node, vtk.vtkCommand.ModifiedEvent, self._look_soon)
        self._observers.add(node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._moved)
        self._observers.add(node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, self._displayed)
        self._image_time = self._time()

    def close(self) -> None:
        """Remove every observer."""
        self._observers.close()
        for key in ("volume", "transform", "display"):
            self._poller.unschedule(key)

    def _look_soon(self, *_: object) -> None:
        self._poller.schedule("volume", _SETTLE_SECONDS, self._look, restart=True)

    def _moved(self, *_: object) -> None:
        self._poller.schedule("transform", 0.0, self._report_moved)

    def _displayed(self, *_: object) -> None:
        self._poller.schedule("display", _DISPLAY_SECONDS, self._on_display, restart=True)

    @property
    def voxels_are_the_same(self) -> bool:
        """Return whether the volume holds what it held, wherever that lies now."""
        try:
            geometry = volume_geometry(self._node)
            same = (
                self._time() == self._image_time
                or _checksum(volume_array(self._node, color=True)) == self._content
            )
        except MedSAMError:
            return False
        return geometry.shape == self._geometry.shape and same

    def _report_moved(self) -> None:
        """A transform that is hardened goes, and the volume has another grid: that is to be known first."""
        if self._is_as_before():
            self._on_moved()

    def _look(self) -> None:
        self._is_as_before()

    def _is_as_before(self) -> bool:
        """Compare with what was there, and return whether it is; a node also reports changes that change nothing."""
        if self._node.GetScene() is None:
            return False
        try:
            same = volume_geometry(self._node) == self._geometry and self.voxels_are_the_same
        except MedSAMError:
            same = False
        if same:
            self._image_time = self._time()
        else:
            self._on_voxels()
        return same

    def _time(self) -> int:
        image = self._node.GetImageData()
        return 0 if image is None else int(image.GetMTime())


def _checksum(array: npt.NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
