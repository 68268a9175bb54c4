"""The longest diameter of a mask and the longest one perpendicular to it, as a lesion is measured on one slice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .geometry import FloatArray
from .masks import PackedMask, bounding_box

_STEP, _MOST_LINES = 0.25, 512  # of a pixel, between the lines along which a perpendicular is looked for
_PARALLEL = 1e-9  # to rows or columns: of a line's direction


@dataclass(frozen=True)
class Diameters:
    """The diameters of an object on one slice.

    Attributes:
        index: of the slice.
        longest_mm: between two points of the outline.
        perpendicular_mm: of the longest line within the mask at a right angle to that.
        ends: column and row of both ends of the longest diameter, voxel centers at integers.
    """

    index: int
    longest_mm: float
    perpendicular_mm: float
    ends: tuple[tuple[float, float], tuple[float, float]]


def diameters(
    masks: Mapping[int, PackedMask], spacing: tuple[float, float], cosine: float = 0.0
) -> Diameters | None:
    """Measure the slice whose diameter is the longest; None where all masks are empty.

    Args:
        masks: by slice index.
        spacing: mm between rows and between columns.
        cosine: of the angle between the directions of rows and columns, which is 0 unless the volume is sheared.
    """
    row_mm, column_mm = spacing
    steps = np.array([[column_mm, 0], [row_mm * cosine, row_mm * math.sqrt(1 - cosine**2)]])
    best: tuple[float, int, FloatArray] | None = None
    largest_first = sorted(masks.items(), key=lambda each: (-_diagonal(each[1], steps), each[0]))
    for index, packed in largest_first:  # so that few slices are measured
        if packed.is_empty or (best is not None and _diagonal(packed, steps) <= best[0]):
            continue
        length, ends = _longest(packed.to_array(), steps)
        if best is None or length > best[0]:
            best = length, index, ends
    if best is None:
        return None
    length, index, ends = best
    across = _perpendicular(masks[index].to_array(), ends, steps, _STEP * min(spacing))
    (x0, y0), (x1, y1) = ends.tolist()
    return Diameters(index, length, across, ((x0, y0), (x1, y1)))


def _diagonal(packed: PackedMask, steps: FloatArray) -> float:
    """The longer diagonal in mm of the box around a mask; `steps` are the ways of a column and of a row in mm."""
    rows, columns = packed.extent
    return float(max(np.linalg.norm((columns, sign * rows) @ steps) for sign in (1, -1)))


def _longest(mask: npt.NDArray[np.bool_], steps: FloatArray) -> tuple[float, FloatArray]:
    """Length in mm, and both ends (2, 2) as columns and rows, of the longest line between points of the outline.

    Points of the outline are the middles of the outer sides of pixels.
    """
    points = _hull(_outline(mask) @ steps)
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    one, other = np.unravel_index(int(squared.argmax()), squared.shape)
    ends = points[[one, other]] @ np.linalg.inv(steps)
    return float(math.sqrt(squared[one, other])), np.asarray(ends)


def _outline(mask: npt.NDArray[np.bool_]) -> FloatArray:
    """(N, 2) columns and rows of the outermost sides of a mask in each of its rows and columns."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    width, height = mask.shape[1] - 1, mask.shape[0] - 1
    left, right = mask[rows].argmax(axis=1), width - mask[rows, ::-1].argmax(axis=1)
    top, bottom = mask[:, columns].argmax(axis=0), height - mask[::-1, columns].argmax(axis=0)
    return np.concatenate(
        [
            np.stack([left - 0.5, rows], axis=1),
            np.stack([right + 0.5, rows], axis=1),
            np.stack([columns, top - 0.5], axis=1),
            np.stack([columns, bottom + 0.5], axis=1),
        ]
    ).astype(np.float64)


def _hull(points: FloatArray) -> FloatArray:
    """The corners of the convex hull of points (N, 2), by Andrew's monotone chain."""
    ordered = sorted({(x, y) for x, y in points.tolist()})
    chains: list[list[tuple[float, float]]] = []
    for order in (ordered, ordered[::-1]):
        chain: list[tuple[float, float]] = []
        for x, y in order:
            while len(chain) > 1:
                (x0, y0), (x1, y1) = chain[-2:]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                chain.pop()
            chain.append((x, y))
        chains.append(chain[:-1])
    return np.array([*chains[0], *chains[1]])


def _perpendicular(
    mask: npt.NDArray[np.bool_], ends: FloatArray, steps: FloatArray, apart_mm: float
) -> float:
    """Length in mm of the longest line within a mask at a right angle to the line between `ends`.

    Lines are `apart_mm` apart, or more where they would be too many; each is cut where it leaves one pixel for the
    next, so that lengths are exact.
    """
    box = bounding_box(mask)
    assert box is not None
    part, to_pixels = mask[box], np.linalg.inv(steps)
    start, end = (ends - (box[1].start, box[0].start)) @ steps
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    apart_mm = max(apart_mm, length / _MOST_LINES)
    starts = (start + np.arange(apart_mm / 2, length, apart_mm)[:, None] * along) @ to_pixels
    across = np.array([-along[1], along[0]]) @ to_pixels  # pixels per mm
    cuts = [
        (np.arange(size + 1) - 0.5 - starts[:, n, None]) / across[n]
        for n, size in enumerate(reversed(part.shape))
        if abs(across[n]) > _PARALLEL
    ]
    at = np.sort(np.concatenate(cuts, axis=1), axis=1)  # mm from the line's start
    middles = starts[:, None] + (at[:, 1:] + at[:, :-1])[..., None] / 2 * across
    x, y = np.moveaxis(np.floor(middles + 0.5).astype(np.int64), -1, 0)
    within = (x >= 0) & (y >= 0) & (x < part.shape[1]) & (y < part.shape[0])
    inside = np.zeros(within.shape, np.bool_)
    inside[within] = part[y[within], x[within]]
    return _longest_run(inside, np.diff(at, axis=1))


def _longest_run(inside: npt.NDArray[np.bool_], lengths: FloatArray) -> float:
    """The greatest length of pieces (lines, pieces) in a row that are inside, on any line."""
    traveled = np.cumsum(lengths, axis=1)
    entered = np.maximum.accumulate(np.where(inside, 0.0, traveled), axis=1)
    return float((traveled - entered).max(initial=0.0))
