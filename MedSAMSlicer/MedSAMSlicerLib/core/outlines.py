"""Closed outlines on a slice: as a prompt, and the voxels that they enclose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .errors import PromptError
from .geometry import FloatArray, VolumeGeometry
from .prompts import Lasso, SliceRef, validate

_POINTS = 96  # kept of an outline, at equal distances


def lasso_from_outline(
    geometry: VolumeGeometry, slice: SliceRef, outline: Sequence[Sequence[float]], positive: bool = True
) -> Lasso:
    """The lasso whose outline runs through places in RAS mm, brought onto a slice and kept within the volume.

    Raises:
        PromptError: the outline encloses no voxel.
    """
    xy = geometry.ras_to_slice(outline, slice.axis)[0] if len(outline) else np.empty((0, 2))
    rows, columns = geometry.slice_shape(slice.axis)
    xy = _spaced(np.clip(xy, -0.5, np.array([columns, rows]) - 0.5))
    if len(xy) < 3 or not enclosed(xy, (rows, columns)).any():
        raise PromptError(
            f"The lasso on slice {slice.index} encloses no voxel: "
            "draw a larger outline, with the mouse button held down."
        )
    points = geometry.slice_to_ras(xy, slice.index, slice.axis)
    lasso = Lasso(slice, tuple((r, a, s) for r, a, s in points.tolist()), positive)
    validate(lasso, geometry)
    return lasso


def enclosed(xy: FloatArray, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The pixels whose centers a closed outline encloses, bool (rows, columns), by the even-odd rule.

    Args:
        xy: (N, 2) columns and rows, voxel centers at integers.
        shape: (rows, columns) of the slice.
    """
    mask = np.zeros(shape, np.bool_)
    x, y = np.asarray(xy, np.float64).T
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    centers = np.arange(shape[1])
    for row in range(max(0, int(np.ceil(y.min()))), min(shape[0] - 1, int(np.floor(y.max()))) + 1):
        crosses = (y <= row) != (y_next <= row)
        part = (row - y[crosses]) / (y_next - y)[crosses]
        at = np.sort(x[crosses] + part * (x_next - x)[crosses])
        mask[row] = np.searchsorted(at, centers, side="right") % 2 == 1
    return mask


def _spaced(xy: FloatArray) -> FloatArray:
    """The closed outline through points (N, 2) as at most `_POINTS` points at equal distances."""
    if len(xy) <= _POINTS:
        return xy
    closed = np.concatenate([xy, xy[:1]])
    traveled = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.arange(_POINTS) / _POINTS * traveled[-1]
    return np.stack([np.interp(at, traveled, closed[:, side]) for side in (0, 1)], axis=1)
