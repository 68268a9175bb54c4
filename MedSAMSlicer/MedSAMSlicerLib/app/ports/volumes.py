"""Volumes, and what watches them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...core.geometry import VolumeGeometry
from ...core.intensity import Window

Handle = Any
"""A volume or a segmentation of the program around; compared by identity, never looked into."""


class Scheduler(Protocol):
    """Does things a moment later, on the main thread; see :class:`.poller.Poller`."""

    def schedule(self, key: str, seconds: float, action: Callable[[], None], restart: bool = False) -> None:
        """Do `action` in `seconds`; with `restart` the time begins at each call."""
        ...

    def unschedule(self, key: str) -> None:
        """Do not do it."""
        ...


@dataclass(frozen=True)
class VolumeListener:
    """The functions to call when a volume changes.

    Attributes:
        on_voxels: voxels or grid are others than before, or there are none any more.
        on_moved: the volume lies elsewhere.
        on_display: the display changed, such as its window.
    """

    on_voxels: Callable[[], None]
    on_moved: Callable[[], None]
    on_display: Callable[[], None]


class Watch(Protocol):
    """Watches one volume until `close`."""

    @property
    def voxels_are_the_same(self) -> bool:
        """Return whether the volume holds what it held when the watch began, wherever that lies now."""
        ...

    def close(self) -> None:
        """Watch no longer."""
        ...


class Volumes(Protocol):
    """Volumes of gray values."""

    def check_usable(self, volume: Handle) -> None:
        """Raise VolumeError or GeometryError, in one sentence for the user, unless the volume can be segmented."""
        ...

    def geometry(self, volume: Handle) -> VolumeGeometry:
        """Shape and IJK-to-RAS matrix (mm) of a volume in its own RAS."""
        ...

    def array(self, volume: Handle) -> npt.NDArray[Any]:
        """The voxels, (K, J, I), read-only."""
        ...

    def name(self, volume: Handle) -> str:
        """Return what the user calls it."""
        ...

    def modality(self, volume: Handle) -> str | None:
        """DICOM's modality, such as "CT"; None when it is not known."""
        ...

    def display_window(self, volume: Handle) -> Window | None:
        """The gray values that somebody chose to see as black and white; None while nobody did."""
        ...

    def is_there(self, volume: Handle) -> bool:
        """Return whether the volume was not deleted."""
        ...

    def identifier(self, volume: Handle) -> str:
        """Return what stands for the volume where it must not be kept alive."""
        ...

    def find(self, identifier: str) -> Handle | None:
        """The volume with this identifier; None when it was deleted."""
        ...

    def to_world(self, volume: Handle) -> npt.NDArray[np.float64]:
        """(4, 4) matrix in mm from the volume's own RAS to that of the world; GeometryError if it is not linear."""
        ...

    def hardened_copy(self, volume: Handle) -> Handle:
        """A copy of a volume, resampled as the transform above it bends it."""
        ...

    def watch(self, volume: Handle, scheduler: Scheduler, listener: VolumeListener) -> Watch:
        """Report what really changed, a moment after it did."""
        ...
