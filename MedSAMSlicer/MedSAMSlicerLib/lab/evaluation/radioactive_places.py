"""The places of RadioActive's prompts: pixels of a slice, and slices of an object.

Planes are (rows, columns) bool; a pixel is (row, column). Parts hang together over corners too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...engine.cleanup import components

Plane = npt.NDArray[np.bool_]
Pixel = tuple[int, int]

CONTOUR_DISTANCE = 2  # pixels between an object and a scribble beside it
SCRIBBLE_LENGTH = 0.6  # of the contour
RING = (2, 3)  # radii in pixels: how far the ring is from the object, and how wide it is


def random_pixels(
    plane: Plane, count: int, chance: np.random.RandomState, repeat: bool = True
) -> list[Pixel]:
    """`count` different pixels of a plane; where there are fewer, all, and with `repeat` some of them twice."""
    pixels = np.argwhere(plane)
    if len(pixels) >= count:
        chosen = chance.choice(len(pixels), count, replace=False)
    else:
        chosen = np.arange(len(pixels))
        if repeat:
            chosen = np.concatenate([chosen, chance.choice(len(pixels), count - len(pixels), replace=True)])
    return [(y, x) for y, x in pixels[chosen].tolist()]


def ring(plane: Plane) -> Plane:
    """The pixels beside an object: farther than two pixels, within five."""
    from scipy.ndimage import binary_dilation

    near = binary_dilation(plane, disk(RING[0]))
    return np.asarray(binary_dilation(near, disk(RING[1])) & ~near, np.bool_)


def disk(radius: int) -> Plane:
    """A disk in a square of 2 x radius + 1 pixels."""
    rows, columns = np.indices((2 * radius + 1, 2 * radius + 1)) - radius
    return np.asarray(rows**2 + columns**2 <= radius**2, np.bool_)


def largest_part(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest part of a plane or a volume, the first of equals; it must hold something."""
    labels, count = components(mask, fully=True)
    if count < 2:
        return mask
    return np.asarray(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()), np.bool_)


def mass_center(plane: Plane) -> Pixel:
    """The pixel of the largest part that is nearest to its center of mass."""
    part = largest_part(plane)
    return _nearest(part, np.argwhere(part).mean(axis=0).round())


def box_center(plane: Plane) -> Pixel:
    """The pixel of the largest part that is nearest to the center of its box."""
    part = largest_part(plane)
    pixels = np.argwhere(part)
    return _nearest(part, ((pixels.min(axis=0) + pixels.max(axis=0)) / 2).round())


def median_slice(held: npt.NDArray[np.bool_]) -> int:
    """The median of the slices that hold an object, or the nearest one that does."""
    indices = np.flatnonzero(held)
    median = int(np.median(indices))
    return int(indices[np.abs(indices - median).argmin()])


def spread_slices(held: npt.NDArray[np.bool_], count: int) -> list[int]:
    """`count` slices at equal distances from the first to the last that hold an object; in gaps the nearest that does.

    Where fewer slices hold it, there are fewer.
    """
    indices = np.flatnonzero(held)
    count = min(count, len(indices))
    if count == 1:
        return [median_slice(held)]
    wanted = np.linspace(indices[0], indices[-1], count, dtype=int)
    return sorted({int(indices[np.abs(indices - index).argmin()]) for index in wanted})


def interpolated(seeds: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """(slice, numbers) on all slices from the first to the last seed, linear between seeds, rounded."""
    values = np.array(sorted(seeds), np.float64)
    slices = np.arange(int(values[0, 0]), int(values[-1, 0]) + 1)
    columns = [np.interp(slices, values[:, 0], column).round() for column in values[:, 1:].T]
    return [tuple(row) for row in np.column_stack([slices, *columns]).astype(int).tolist()]


def scribble_beside(truth: Plane, seen: Plane, chance: np.random.RandomState) -> Plane:
    """A stroke along the contour two pixels outside an object, where a mask leaked; nothing where none lies there.

    The stroke is 0.6 of the contour long, around a random place of the contour in the mask; of its parts the largest is
    kept, and of that what lies in the mask. Without an object it is the column with the most pixels of the mask.

    Args:
        truth: the object on a plane.
        seen: the mask there.
        chance: draws the place.
    """
    stroke = np.zeros_like(truth)
    if not truth.any():
        stroke[:, int(np.count_nonzero(seen, axis=0).argmax())] = True
        return stroke & seen
    contour = _contour(truth)
    if not len(contour):
        return stroke
    inside = np.flatnonzero(seen[contour[:, 0], contour[:, 1]])
    if not len(inside):
        return stroke
    length = round(len(contour) * SCRIBBLE_LENGTH)
    begin = int(inside[chance.randint(len(inside))]) - length // 2
    rows, columns = np.take(contour, range(begin, begin + length), axis=0, mode="wrap").T
    stroke[rows, columns] = True
    return largest_part(stroke) & seen & ~truth


def _contour(truth: Plane) -> npt.NDArray[np.int64]:
    """(N, 2) pixels along the contour at a distance of an object, in order."""
    from scipy.ndimage import binary_dilation
    from skimage.measure import find_contours

    grown = binary_dilation(truth, disk(CONTOUR_DISTANCE))
    found = find_contours(grown.astype(np.float64), 0.5)
    if not found:
        return np.zeros((0, 2), np.int64)
    return np.asarray(np.round(np.concatenate(found)), np.int64)


def _nearest(plane: Plane, place: npt.NDArray[np.float64]) -> Pixel:
    pixels = np.argwhere(plane)
    y, x = pixels[((pixels - place) ** 2).sum(axis=1).argmin()].tolist()
    return y, x
