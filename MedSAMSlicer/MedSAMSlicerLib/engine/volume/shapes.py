"""Shapes between key slices: signed distances of their masks, interpolated, and shrunk toward both ends."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

Floats = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]


def signed_distance(plane: Masks, spacing: tuple[float, float]) -> Floats:
    """Distance in mm of each pixel (rows, columns) from a shape's edge, positive inside."""
    if not plane.any() or plane.all():
        return np.full(plane.shape, 1e3 if plane.any() else -1e3, np.float32)
    image = sitk.GetImageFromArray(plane.astype(np.uint8))
    image.SetSpacing((spacing[1], spacing[0]))
    distance = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(
            image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
        )
    )
    half = np.float32(min(spacing) / 2)  # ITK measures from the shape's own border pixels
    return np.asarray(distance + half, np.float32)


def interpolated(
    masks: dict[int, Masks], count: int, first: int, last: int, spacing: tuple[float, float]
) -> tuple[Floats, Floats]:
    """The shape expected on every slice from the masks of the key slices.

    Between two key slices signed distances are interpolated; beyond the outermost ones the shape shrinks like half an
    ellipsoid that ends one slice after the range.

    Args:
        masks: (rows, columns) of each key slice, none empty.
        count: of slices.
        first, last: the range.
        spacing: mm of rows and columns.

    Returns:
        (slices, rows, columns) float32 signed distance in units of the shape's half width (its largest distance), and
        (slices,) float32 half width in mm.
    """
    places = sorted(masks)
    known = {index: signed_distance(masks[index], spacing) for index in places}
    depths = {index: max(float(known[index].max()), min(spacing)) for index in places}
    shape = known[places[0]].shape
    found = np.empty((count, *shape), np.float32)
    widths = np.empty(count, np.float32)
    for index in range(count):
        below = max((place for place in places if place <= index), default=None)
        above = min((place for place in places if place >= index), default=None)
        if below is None or above is None:
            place = places[0] if below is None else places[-1]
            reach = (place - first if below is None else last - place) + 1
            part = min(abs(index - place) / max(reach, 1), 1.0)
            widths[index] = depths[place]
            found[index] = known[place] - np.float32(depths[place] * (1 - (1 - part**2) ** 0.5))
        else:
            weight = 0.0 if above == below else (index - below) / (above - below)
            found[index] = (1 - weight) * known[below] + weight * known[above]
            widths[index] = (1 - weight) * depths[below] + weight * depths[above]
    return np.asarray(found / widths[:, None, None], np.float32), widths
