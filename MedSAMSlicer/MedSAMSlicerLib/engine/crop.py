"""The part of a slice that the network looks at: the whole slice, or a square that follows the object.

A checkpoint trained on crops (`Config.crop_margin`) sees its object in a square `margin` times as wide as the object's
box. While the object is followed through the slices, the square stays where it is as long as it serves, since moving it
means that the memories of the last slices must be made again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..core.masks import bounding_box
from .view import FrameView

_SIZE_STEP = 64  # network pixels

Bounds = tuple[float, float, float, float]
"""Left, top, right and bottom of a box in slice index coordinates, on voxel edges."""


@dataclass(frozen=True)
class CropPolicy:
    """The rule by which a square follows its object.

    Args:
        margin: side of the square / longer side of the object's box.
        shrink, grow: a new square is made when the object would need one smaller or larger by these factors.
        drift: ... or when the object's center has left the square's by more than this part of the side.
        border: ... or when the mask comes closer to the square's side than this part of it.
        smallest_voxels: the square is never smaller than this many voxels (of the finer in-plane spacing).
        smallest_part: while following, the square never becomes smaller than this part of its first side, so that the
            end of an object is not mistaken for a small object.
        smallest_size: the square is resampled to as few network pixels as show what whole slices would show, but to no
            fewer than this; a multiple of 64. None = to as many as whole slices, so that more detail is seen.
    """

    margin: float
    shrink: float = 0.5
    grow: float = 1.6
    drift: float = 0.2
    border: float = 0.01
    smallest_voxels: float = 16.0
    smallest_part: float = 0.4
    smallest_size: int | None = None

    def around(self, whole: FrameView, bounds: Bounds) -> FrameView:
        """The square around an object's box; as wide as the whole slice's square at most."""
        center, longer_mm = _center_and_side(whole, bounds)
        smallest = self.smallest_voxels * min(whole.spacing)
        return self._square(whole, center, max(self.margin * longer_mm, smallest))

    def fits(self, view: FrameView, bounds: Bounds) -> bool:
        """Return whether an object with this box is still seen well in `view`."""
        center, longer_mm = _center_and_side(view, bounds)
        if not self.shrink <= self.margin * longer_mm / view.side_mm <= self.grow:
            return False
        off = [abs(a - b) * mm for a, b, mm in zip(center, view.center, reversed(view.spacing), strict=True)]
        return max(off) <= self.drift * view.side_mm and not self.touches(view, bounds)

    def touches(self, view: FrameView, bounds: Bounds) -> bool:
        """Return whether the box comes so near to the square's side, inside the slice, that the mask may be cut off."""
        rows, columns = view.extent
        left, top = view.left - 0.5, view.top - 0.5  # edge -> index coordinates
        gaps = [
            (bounds[0] - left, columns, left > -0.5),
            (bounds[1] - top, rows, top > -0.5),
            (left + columns - bounds[2], columns, left + columns < view.shape[1] - 0.5),
            (top + rows - bounds[3], rows, top + rows < view.shape[0] - 0.5),
        ]
        return any(inside and gap < self.border * extent for gap, extent, inside in gaps)

    def follow(
        self, view: FrameView, whole: FrameView, first_side_mm: float, bounds: Bounds | None
    ) -> FrameView:
        """The square for the next slice: `view` itself unless the object (None = not seen) has outgrown it."""
        if bounds is None or self.fits(view, bounds):
            return view
        wanted = self.around(whole, bounds)
        side_mm = max(wanted.side_mm, self.smallest_part * first_side_mm)
        moved = self._square(whole, wanted.center, side_mm)
        return view if _hardly_differ(view, moved) else moved

    def _square(self, whole: FrameView, center: tuple[float, float], side_mm: float) -> FrameView:
        side_mm = min(side_mm, whole.side_mm)
        view = whole.moved_to(center, side_mm)
        if self.smallest_size is None:
            return view
        as_sharp = _SIZE_STEP * math.ceil(whole.size * side_mm / whole.side_mm / _SIZE_STEP)
        return replace(view, size=min(whole.size, max(self.smallest_size, as_sharp)))


def bounds_of(mask: npt.NDArray[np.bool_]) -> Bounds | None:
    """The box around a mask (rows, columns), on voxel edges; None if the mask is empty."""
    box = bounding_box(mask)
    if box is None:
        return None
    rows, columns = box
    return columns.start - 0.5, rows.start - 0.5, columns.stop - 0.5, rows.stop - 0.5


def joined(*boxes: Bounds | None) -> Bounds | None:
    """The box around boxes; None if there is none."""
    given = np.array([box for box in boxes if box is not None], np.float64).reshape(-1, 4)
    if not len(given):
        return None
    left, top = given[:, :2].min(axis=0).tolist()
    right, bottom = given[:, 2:].max(axis=0).tolist()
    return left, top, right, bottom


def _center_and_side(view: FrameView, bounds: Bounds) -> tuple[tuple[float, float], float]:
    left, top, right, bottom = bounds
    longer_mm = max((right - left) * view.spacing[1], (bottom - top) * view.spacing[0])
    return ((left + right) / 2, (top + bottom) / 2), longer_mm


def _hardly_differ(a: FrameView, b: FrameView) -> bool:
    shifts = [abs(p - q) * mm for p, q, mm in zip(a.center, b.center, reversed(a.spacing), strict=True)]
    return max(shifts) < 0.05 * a.side_mm and abs(b.side_mm / a.side_mm - 1) < 0.05
