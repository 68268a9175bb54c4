"""Optional clean-up of a finished mask; the slices that corrections start from are never changed by it.

- **none**: the mask as the network drew it.
- **islands**: only the parts that hang together (over faces, edges and corners) with the mask on a key slice stay;
  floating islands go. If no part reaches a key slice, the largest stays.
- **holes**: holes within a slice are filled if they are smaller than a hundredth of the mask on that slice.
- **both**: islands, then holes.

Besides, outlines can be smoothed from slice to slice, see :func:`smooth_between_slices`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..core.cleanups import Cleanup
from ..core.geometry import SliceAxis
from ..core.masks import bounding_box
from .volume.shapes import signed_distance

_LARGEST_HOLE = 0.01  # of the mask's area on the slice
_SMOOTHING_SLICES = 1.0  # standard deviation along the slice axis
_FARTHEST_MM = 4.0  # beyond it a slice has no say: an object that ends abruptly keeps its end

BoolArray = npt.NDArray[np.bool_]


def clean(mask: BoolArray, axis: SliceAxis, key_slices: Sequence[int], cleanup: str) -> BoolArray:
    """Clean a mask (K, J, I); see the module's docstring for the choices of `cleanup`."""
    wanted = Cleanup.from_prompt_set(cleanup)
    if wanted.keep_prompted:
        mask = without_islands(mask, axis, key_slices)
    if wanted.fill_holes:
        mask = without_holes(mask, axis)
    return mask


def without_islands(mask: BoolArray, axis: SliceAxis, key_slices: Sequence[int]) -> BoolArray:
    """The parts of a mask (K, J, I) that reach its key slices across `axis`; the largest part if none does."""
    labels, count = components(mask, fully=True)
    if count < 2:
        return mask
    kept = np.zeros(count + 1, np.bool_)
    for index in key_slices:
        kept[np.unique(np.take(labels, index, axis=int(axis)))] = True
    kept[0] = False
    if not kept.any():
        kept[np.bincount(labels.ravel())[1:].argmax() + 1] = True
    return np.asarray(kept[labels], np.bool_)


def without_holes(mask: BoolArray, axis: SliceAxis) -> BoolArray:
    """A mask (K, J, I) with small holes within its slices across `axis` filled."""
    filled = mask.copy()
    for plane in np.moveaxis(filled, int(axis), 0):
        area = int(plane.sum())
        if not area:
            continue
        labels, _ = components(~plane)
        sizes = np.bincount(labels.ravel())
        small = np.flatnonzero(sizes < _LARGEST_HOLE * area)
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        plane[np.isin(labels, np.setdiff1d(small[small > 0], edge))] = True
    return np.asarray(filled, np.bool_)


def smooth_between_slices(mask: BoolArray, axis: SliceAxis, spacing: tuple[float, float, float]) -> BoolArray:
    """A mask (K, J, I) whose outline no longer jumps from one slice across `axis` to the next.

    In each slice the distance to the outline is taken (mm, at most `_FARTHEST_MM`) and averaged with that of the
    neighboring slices by a Gaussian; a slice's own shape along its rows and columns is not blurred. First and last
    slice of the object stay those they were.

    Args:
        mask: bool.
        axis: along which is smoothed.
        spacing: mm along (i, j, k).
    """
    import SimpleITK as sitk

    slices = np.moveaxis(mask, int(axis), 0)
    held = bounding_box(slices)
    if held is None or np.count_nonzero(slices.any(axis=(1, 2))) < 3:
        return mask
    box = (held[0], _wider(held[1]), _wider(held[2]))
    part = slices[box]
    in_plane = (spacing[2 - axis.row_axis], spacing[2 - axis.column_axis])
    distances = np.full(part.shape, -_FARTHEST_MM, np.float32)
    for plane, distance in zip(part, distances, strict=True):
        if plane.any():
            distance[...] = np.clip(_from_outline(plane, in_plane), -_FARTHEST_MM, _FARTHEST_MM)
    stack = sitk.GetImageFromArray(distances)
    variance = (0.0, 0.0, _SMOOTHING_SLICES**2)
    smooth = sitk.GetArrayFromImage(sitk.DiscreteGaussian(stack, variance=variance, useImageSpacing=False))
    after = part.copy()
    after[1:-1] = smooth[1:-1] > 0.0
    result = mask.copy()
    np.moveaxis(result, int(axis), 0)[box] = after
    return np.asarray(result, np.bool_)


def _from_outline(plane: BoolArray, spacing: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Distance in mm of each pixel (rows, columns) from the outline, positive inside: 0 halfway between two pixels.

    :func:`signed_distance` alone is measured from the mask's own border pixels and half the smaller side of a pixel,
    which lies too far inward where pixels are longer than wide; with that of the background, both errors cancel.
    """
    return np.asarray((signed_distance(plane, spacing) - signed_distance(~plane, spacing)) / 2, np.float32)


def _wider(side: slice) -> slice:
    """One more index on each side."""
    return slice(max(side.start - 1, 0), side.stop + 1)


def components(mask: BoolArray, fully: bool = False) -> tuple[npt.NDArray[np.uint32], int]:
    """Labels 1..n of the parts of a mask that hang together over faces (2-D: edges) or `fully`, corners too; and n."""
    import SimpleITK as sitk

    found = sitk.ConnectedComponentImageFilter()
    found.SetFullyConnected(fully)
    labels = found.Execute(sitk.GetImageFromArray(mask.astype(np.uint8)))
    return np.asarray(sitk.GetArrayFromImage(labels), np.uint32), int(found.GetObjectCount())
