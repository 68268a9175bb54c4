"""Optional clean-up of a finished mask; the slices that corrections start from are never changed by it.

- **none**: the mask as the network drew it.
- **islands**: only the parts that hang together (over faces, edges and corners) with the mask on a key slice stay;
  floating islands go. If no part reaches a key slice, the largest stays.
- **holes**: holes within a slice are filled if they are smaller than a hundredth of the mask on that slice.
- **both**: islands, then holes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..core.geometry import SliceAxis

CLEANUPS = ("none", "islands", "holes", "both")

_LARGEST_HOLE = 0.01  # of the mask's area on the slice

BoolArray = npt.NDArray[np.bool_]


def clean(mask: BoolArray, axis: SliceAxis, key_slices: Sequence[int], cleanup: str) -> BoolArray:
    """Clean a mask (K, J, I); see the module's docstring for the choices of `cleanup`."""
    if cleanup in ("islands", "both"):
        mask = without_islands(mask, axis, key_slices)
    if cleanup in ("holes", "both"):
        mask = without_holes(mask, axis)
    return mask


def without_islands(mask: BoolArray, axis: SliceAxis, key_slices: Sequence[int]) -> BoolArray:
    """The parts of a mask (K, J, I) that reach its key slices across `axis`; the largest part if none does."""
    labels, count = _components(mask, fully=True)
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
        labels, _ = _components(~plane, fully=False)
        sizes = np.bincount(labels.ravel())
        small = np.flatnonzero(sizes < _LARGEST_HOLE * area)
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        plane[np.isin(labels, np.setdiff1d(small[small > 0], edge))] = True
    return np.asarray(filled, np.bool_)


def _components(mask: BoolArray, fully: bool) -> tuple[npt.NDArray[np.uint32], int]:
    import SimpleITK as sitk

    found = sitk.ConnectedComponentImageFilter()
    found.SetFullyConnected(fully)
    labels = found.Execute(sitk.GetImageFromArray(mask.astype(np.uint8)))
    return np.asarray(sitk.GetArrayFromImage(labels), np.uint32), int(found.GetObjectCount())
