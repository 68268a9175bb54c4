"""A small picture of a slice as the network sees it: through the window, with square millimeters."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import qt

from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.intensity import Window

_LARGEST = 512  # voxels along a side that are still shown one by one


def gray_slice(array: npt.NDArray[Any], axis: SliceAxis, index: int, window: Window) -> npt.NDArray[np.uint8]:
    """Slice `index` of an array (K, J, I) in gray values, uint8 (rows, columns), each side at most 512.

    Of several volumes that the network sees as colors, (K, J, I, 3) uint8, it is in color, (rows, columns, 3).
    """
    plane = np.take(array, index, axis=int(axis))
    rows, columns = (-(-side // _LARGEST) for side in plane.shape[:2])
    plane = plane[::rows, ::columns]
    return np.asarray(plane, np.uint8) if plane.ndim == 3 else window.apply(plane)


def pgm(gray: npt.NDArray[np.uint8]) -> bytes:
    """A gray image (rows, columns), or one in color (rows, columns, 3), as a file that every Qt reads."""
    rows, columns = gray.shape[:2]
    kind = "P6" if gray.ndim == 3 else "P5"
    return f"{kind} {columns} {rows} 255\n".encode("ascii") + np.ascontiguousarray(gray).tobytes()


def size_in(geometry: VolumeGeometry, axis: SliceAxis, room: int) -> tuple[int, int]:
    """Width and height in pixels of a slice in a square of `room` pixels, with its true proportions."""
    rows, columns = geometry.slice_shape(axis)
    high, wide = geometry.in_plane_spacing(axis)
    height, width = rows * high, columns * wide
    scale = room / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def pixmap_of(
    array: npt.NDArray[Any],
    geometry: VolumeGeometry,
    axis: SliceAxis,
    index: int,
    window: Window,
    room: int,
    ratio: float = 1.0,
) -> Any:
    """A QPixmap of a slice that fits into a square of `room` pixels, each of `ratio` pixels of the screen."""
    pixmap = qt.QPixmap()
    picture = gray_slice(array, axis, index, window)
    pixmap.loadFromData(pgm(picture), "PPM" if picture.ndim == 3 else "PGM")
    width, height = size_in(geometry, axis, round(room * ratio))
    scaled = pixmap.scaled(width, height, qt.Qt.IgnoreAspectRatio, qt.Qt.SmoothTransformation)
    scaled.setDevicePixelRatio(ratio)
    return scaled
