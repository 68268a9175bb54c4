"""The square of a slice that the network sees, and the way between voxels, network pixels and mask logits.

A network sees square frames of square pixels. A view cuts a square, square in millimeters, out of one slice and
resamples it, so a circle in the patient is a circle in the frame, whatever the in-plane spacing. What a view holds
beyond the slice is black, and no mask is drawn there.

Three coordinates are used; x goes along columns, y along rows, both zero-based:

- **index**: voxel centers at integers, as in :mod:`..core.geometry`;
- **edge**: index + 0.5, so that the first voxel reaches from 0 to 1;
- **network pixel**: pixel centers at integers, in the resampled square of `size` x `size` pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..core.errors import GeometryError
from ..core.geometry import SliceAxis, VolumeGeometry

FloatArray = npt.NDArray[np.float32]

OUTSIDE_LOGIT = -1024.0
"""The mask logit of voxels that a view does not show: as certain as the network's own "no object"."""

_MEMORY_OUTSIDE_LOGIT = -10.0  # what a mask prompt says outside the object
_MEMORY_LIMIT = 32.0  # as the official predictor clamps earlier logits


@dataclass(frozen=True)
class FrameView:
    """A square part of the slices of one volume across one axis, resampled to the network's size.

    Args:
        shape: (rows, columns) of the slices.
        spacing: (mm per row, mm per column).
        left: edge coordinate of the square's left side, in columns; may lie outside the slice.
        top: edge coordinate of the square's upper side, in rows.
        side_mm: side of the square in mm.
        size: side of the resampled square in network pixels.
        filter: how a slice is resampled, one of `FILTERS`; masks are always resampled linearly.

    Raises:
        GeometryError: If a number is not finite or a length is not positive.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float]
    left: float
    top: float
    side_mm: float
    size: int
    filter: str = "linear"

    def __post_init__(self) -> None:
        lengths = (*self.shape, *self.spacing, self.side_mm, self.size)
        if not all(math.isfinite(value) for value in (*lengths, self.left, self.top)) or min(lengths) <= 0:
            raise GeometryError(f"A view needs finite positions and positive lengths, got {self}.")

    @classmethod
    def whole(
        cls,
        geometry: VolumeGeometry,
        axis: SliceAxis,
        size: int,
        fit: str = "center",
        filter: str = "linear",
    ) -> FrameView:
        """The square that shows whole slices, as small as it may be.

        Args:
            geometry: that of the volume.
            axis: across which the slices lie.
            size: side of the square in network pixels.
            fit: where the slice lies in the square; see :class:`~..sam2.config.InputRule`. "stretch" measures rows and
                columns in units of their own, so that both fill the square.
            filter: how slices are resampled.
        """
        rows, columns = geometry.slice_shape(axis)
        row_mm, column_mm = geometry.in_plane_spacing(axis)
        side = max(rows * row_mm, columns * column_mm)
        if fit == "stretch":
            row_mm, column_mm = side / rows, side / columns
        left = top = 0.0
        if fit == "center":
            left, top = (columns - side / column_mm) / 2, (rows - side / row_mm) / 2
        return cls((rows, columns), (row_mm, column_mm), left, top, side, size, filter)

    @classmethod
    def around(
        cls, geometry: VolumeGeometry, axis: SliceAxis, center_xy: Sequence[float], side_mm: float, size: int
    ) -> FrameView:
        """The square of `side_mm` around a point given as (column, row) index."""
        spacing = geometry.in_plane_spacing(axis)
        return cls(geometry.slice_shape(axis), spacing, 0.0, 0.0, side_mm, size).moved_to(center_xy, side_mm)

    def moved_to(self, center_xy: Sequence[float], side_mm: float) -> FrameView:
        """The square of `side_mm` around another (column, row) index on the same slices."""
        left = float(center_xy[0]) + 0.5 - side_mm / self.spacing[1] / 2
        top = float(center_xy[1]) + 0.5 - side_mm / self.spacing[0] / 2
        return replace(self, left=left, top=top, side_mm=float(side_mm))

    @property
    def extent(self) -> tuple[float, float]:
        """(rows, columns) that the square covers; fractions of voxels are usual."""
        return self.side_mm / self.spacing[0], self.side_mm / self.spacing[1]

    @property
    def center(self) -> tuple[float, float]:
        """(column, row) index of the middle of the square."""
        rows, columns = self.extent
        return self.left + columns / 2 - 0.5, self.top + rows / 2 - 0.5

    # ------------------------------------------------------------------------------------------- points and boxes

    def to_network(self, xy: npt.ArrayLike) -> FloatArray:
        """(N, 2) column, row indices -> (N, 2) network pixels; a voxel's center lands on its pixel's center."""
        return np.asarray((self._edges(xy) * self._pixels_per_voxel - 0.5), np.float32)

    def box_to_network(self, first_xy: Sequence[float], far_xy: Sequence[float]) -> FloatArray:
        """The first and the last network pixel inside a box, (2, 2).

        Args:
            first_xy, far_xy: (column, row) indices of opposite corners on voxel edges, e.g. (x0 - 0.5, y0 - 0.5) and
                (x1 - 0.5, y1 - 0.5) for voxels x0..x1-1, y0..y1-1; in any order.
        """
        edges = np.sort(self._edges([first_xy, far_xy]), axis=0) * self._pixels_per_voxel
        return np.asarray(edges - ((0.0,), (1.0,)), np.float32)

    # --------------------------------------------------------------------------------------------- images and masks

    def frame(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A slice, (rows, columns) uint8 -> (size, size) uint8: resampled as `filter` says, black outside.

        A slice in color, (rows, columns, 3), gives (size, size, 3), each channel as it would be alone.

        Raises:
            GeometryError: If the slice has another shape than the view was made for.
        """
        if image.ndim == 3:
            return np.stack([self.frame(channel) for channel in np.moveaxis(image, -1, 0)], axis=-1)
        rows, columns = self._sampling(self.size, self.filter)
        values = self._checked(image).astype(np.float32)
        cubic = self.filter == "cubic"  # overshoots, which Pillow cuts off between the columns and the rows
        resampled = rows @ (values @ columns.T).clip(0, 255) if cubic else rows @ values @ columns.T
        return np.asarray(np.floor(resampled.clip(0, 255) + 0.5), np.uint8)

    def inside(self) -> npt.NDArray[np.bool_]:
        """(size, size) which pixels show the slice and not what lies beyond it."""
        rows, columns = self._sampling(self.size)
        return np.outer(rows.any(axis=1), columns.any(axis=1))

    def mask_from_logits(self, logits: npt.NDArray[np.floating]) -> FloatArray:
        """Logits of the whole view, (h, w) -> of the slice, (rows, columns) float32, OUTSIDE_LOGIT out of the view.

        Bilinear between pixel centers, as the official predictor enlarges its masks.
        """
        values = np.asarray(logits, np.float32)
        y, y_inside = self._taps(0, values.shape[0])
        x, x_inside = self._taps(1, values.shape[1])
        result = np.full(self.shape, OUTSIDE_LOGIT, np.float32)
        low, weight = y
        rows = (
            values[low] * (1 - weight)[:, None]
            + values[np.minimum(low + 1, values.shape[0] - 1)] * weight[:, None]
        )
        low, weight = x
        inside = rows[:, low] * (1 - weight) + rows[:, np.minimum(low + 1, values.shape[1] - 1)] * weight
        result[y_inside, x_inside] = inside
        return result

    def logits_from_mask(self, logits: npt.NDArray[np.floating], side: int) -> FloatArray:
        """Logits of a slice, (rows, columns) -> of the view, (side, side) float32, to show an earlier mask again.

        Certainty is limited to +-32 as the official predictor does with earlier logits; what lies outside the slice
        or outside an earlier view is background (-10).
        """
        values = self._checked(logits).astype(np.float32)
        values = np.where(
            values <= OUTSIDE_LOGIT, _MEMORY_OUTSIDE_LOGIT, values.clip(-_MEMORY_LIMIT, _MEMORY_LIMIT)
        )
        rows, columns = self._sampling(side)
        inside = np.outer(rows.any(axis=1), columns.any(axis=1))
        return np.asarray(np.where(inside, rows @ values @ columns.T, _MEMORY_OUTSIDE_LOGIT), np.float32)

    def mask_frame(self, mask: npt.NDArray[np.bool_]) -> FloatArray:
        """A mask of a slice, (rows, columns) bool -> (size, size) float32 zeros and ones, as a mask prompt."""
        rows, columns = self._sampling(self.size)
        return np.asarray(rows @ self._checked(mask).astype(np.float32) @ columns.T >= 0.5, np.float32)

    # ------------------------------------------------------------------------------------------------------ inside

    @property
    def _pixels_per_voxel(self) -> npt.NDArray[np.float64]:
        return np.array(
            [self.size * self.spacing[1] / self.side_mm, self.size * self.spacing[0] / self.side_mm]
        )

    def _edges(self, xy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(N, 2) indices -> (N, 2) edge coordinates counted from the square's own corner."""
        points = np.asarray(xy, np.float64).reshape(-1, 2)
        edges: npt.NDArray[np.float64] = points + 0.5 - (self.left, self.top)
        return edges

    def _sampling(self, side: int, filter: str = "linear") -> tuple[FloatArray, FloatArray]:
        """Weights that resample the rows and the columns of a slice to `side` pixels across the square."""
        rows, columns = self.extent
        return (
            _resampling_weights(filter, self.top, rows, side, self.shape[0]),
            _resampling_weights(filter, self.left, columns, side, self.shape[1]),
        )

    def _taps(self, dimension: int, count: int) -> tuple[tuple[npt.NDArray[np.intp], FloatArray], slice]:
        """For the voxels of one dimension inside the view: lower tap, weight of the upper one, and which they are."""
        start = (self.top, self.left)[dimension]
        extent = self.extent[dimension]
        first = max(0, math.ceil(start - 0.5))
        last = min(self.shape[dimension] - 1, math.floor(start + extent - 0.5))
        edges = np.arange(first, last + 1) + 0.5 - start
        position = (edges * (count / extent) - 0.5).clip(0, count - 1)
        low = np.floor(position).astype(np.intp)
        return (low, (position - low).astype(np.float32)), slice(first, max(last + 1, first))

    def _checked(self, image: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        if image.shape != self.shape:
            raise GeometryError(f"The view was made for slices of shape {self.shape}, got {image.shape}.")
        return image


@lru_cache(maxsize=64)
def _resampling_weights(filter: str, start: float, extent: float, count: int, length: int) -> FloatArray:
    """Return what :func:`resampling_weights` gives, in float32."""
    result = np.asarray(resampling_weights(filter, start, extent, count, length), np.float32)
    result.flags.writeable = False
    return result


def resampling_weights(
    filter: str, start: float, extent: float, count: int, length: int
) -> npt.NDArray[np.float64]:
    """(count, length) weights that resample `length` voxels to `count` pixels spread over start..start + extent.

    "linear" is a triangle and "cubic" Keys's kernel, each as wide as the larger of voxel and pixel: interpolation when
    enlarging, smoothing when shrinking. "area" is the share of each voxel in the pixel, when enlarging linear.
    "nearest" is one voxel. Pixels whose centers lie outside the voxels get no weight at all.
    """
    step = extent / count
    centers = start + (np.arange(count) + 0.5) * step  # edge coordinates
    width = max(1.0, step)
    apart = np.abs(centers[:, None] - (np.arange(length) + 0.5))
    if filter == "nearest":  # as OpenCV: the voxel in which the pixel's first edge lies
        first = np.floor(centers - step / 2 + 1e-9).clip(0, length - 1)
        weights = (first[:, None] == np.arange(length)).astype(np.float64)
    elif filter == "cubic":
        weights = _keys_cubic(apart / width)
    elif filter == "area" and step > 1:
        weights = ((step + 1) / 2 - apart).clip(0, 1)  # both have flat tops: their overlap, in voxels
    else:
        weights = np.maximum(0.0, 1.0 - apart / width)
    weights[(centers < 0) | (centers > length)] = 0.0
    totals = weights.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(weights, totals, out=weights, where=totals > 0), np.float64)


def _keys_cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The cubic kernel of Keys (1981) with a = -1/2, as Pillow has it, at distances x."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
