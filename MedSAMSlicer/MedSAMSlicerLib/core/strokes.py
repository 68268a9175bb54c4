"""A painted stroke as a scribble: the line through its middle and its half width."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .errors import PromptError
from .geometry import VolumeGeometry
from .masks import bounding_box
from .prompts import RAS, Scribble, SliceRef, validate

_POINTS = 24  # the engine samples a few of them


def scribble_from_mask(
    geometry: VolumeGeometry, slice: SliceRef, mask: npt.NDArray[np.bool_], positive: bool = True
) -> Scribble:
    """The scribble whose stroke covers a painted mask, bool (rows, columns), on a slice.

    Of several strokes painted at once the one with the most pixels counts. Its line runs between the two pixels that
    lie farthest apart within the paint, through the middle of what lies equally far from the first.

    Raises:
        PromptError: nothing was painted, or the mask is not one of this slice.
    """
    if mask.shape != geometry.slice_shape(slice.axis) or mask.dtype != np.bool_:
        raise PromptError(
            f"The stroke on slice {slice.index} must be bool {geometry.slice_shape(slice.axis)}, "
            f"got {mask.dtype} {mask.shape}."
        )
    box = bounding_box(mask)
    if box is None:
        raise PromptError(f"Nothing was painted on slice {slice.index}.")
    top, left = (side.start for side in box)
    part = np.pad(mask[box], 1)
    steps = _largest(part)
    steps = _steps_from(steps >= 0, _farthest(steps))
    longest = int(steps.max())
    count = min(_POINTS, longest + 1)
    edges = np.linspace(0, longest + 1, count + 1)
    places = []
    for lower, upper in pairwise(edges.tolist()):
        found = np.argwhere((steps >= lower) & (steps < upper))
        if len(found):
            middle = found.mean(axis=0)
            places.append(found[np.argmin(((found - middle) ** 2).sum(axis=1))])
    xy = [(float(x + left - 1), float(y + top - 1)) for y, x in places]
    row_mm, column_mm = geometry.in_plane_spacing(slice.axis)
    area = float(np.count_nonzero(steps >= 0)) * row_mm * column_mm
    points = geometry.slice_to_ras(xy, slice.index, slice.axis)
    length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    radius = max(area / max(2 * length, np.sqrt(area)), min(row_mm, column_mm) / 2)
    ras: tuple[RAS, ...] = tuple((r, a, s) for r, a, s in points.tolist())
    scribble = Scribble(slice, ras, positive, float(radius))
    validate(scribble, geometry)
    return scribble


def _largest(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Steps from a pixel of the largest connected part, -1 outside of it."""
    left, best = mask.copy(), np.full(mask.shape, -1, np.int32)
    while left.any():
        start = np.argwhere(left)[0]
        steps = _steps_from(left, (int(start[0]), int(start[1])))
        left &= steps < 0
        if np.count_nonzero(steps >= 0) > np.count_nonzero(best >= 0):
            best = steps
    return best


def _farthest(steps: npt.NDArray[np.int32]) -> tuple[int, int]:
    row, column = np.unravel_index(int(steps.argmax()), steps.shape)
    return int(row), int(column)


def _steps_from(mask: npt.NDArray[np.bool_], start: tuple[int, int]) -> npt.NDArray[np.int32]:
    """The number of steps (over edges and corners) from a start to each pixel of a mask; -1 where none leads."""
    steps = np.full(mask.shape, -1, np.int32)
    front = np.zeros_like(mask)
    front[start] = True
    number = 0
    while front.any():
        steps[front] = number
        number += 1
        wide = front.copy()
        for axis in (0, 1):
            wide |= np.roll(wide, 1, axis) | np.roll(wide, -1, axis)
        front = wide & mask & (steps < 0)
    return steps
