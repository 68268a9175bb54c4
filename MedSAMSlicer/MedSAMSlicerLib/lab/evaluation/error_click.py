"""The click of interactive 3-D protocols: at the deepest voxel of the largest error of the whole volume.

The rules are those of the CVPR 2025 competition on interactive 3-D segmentation (CVPR25_iter_eval.py): what was missed
and what leaked are one error; its parts hang together over faces, edges and corners (26 neighbors); the part with the
most voxels counts; depth is the Euclidean distance to the outside of that part in voxels, whatever the spacing is; of
the deepest voxels one is drawn with the seed 42, again for each click.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...core.geometry import VolumeGeometry
from ...core.masks import bounding_box
from ...core.prompts import Point, SliceRef, point_from_voxel
from ...engine.cleanup import components
from .datasets import BoolVolume, Target

CLICK_3D, POSITIVE_CLICK_3D = "3-D click", "positive 3-D click"
SEED = 42
MOST_VOXELS = 60_000_000
"""Beyond it, with its margin, a part is halved along each axis before distances are measured."""

_MARGIN = 0.25  # of the part's extent, one voxel at least, on each side

Place = tuple[int, int, int]


def error_click_on(
    target: Target, shown: BoolVolume, geometry: VolumeGeometry, round: int, only_missed: bool = False
) -> Point | None:
    """The next click: positive where the object was missed, negative where it leaked; None when nothing is wrong.

    Args:
        target, geometry: the object and its volume.
        shown: (K, J, I) bool, what the user sees.
        round: that of the click.
        only_missed: whether the user looks at what was missed alone, so that all clicks are positive.
    """
    wrong = (target.mask & ~shown) if only_missed else (target.mask != shown)
    place = deepest_voxel(wrong)
    if place is None:
        return None
    axis = target.axis
    return point_from_voxel(
        geometry,
        SliceRef(axis, place[axis]),
        place[axis.column_axis],
        place[axis.row_axis],
        bool(target.mask[place]),
        round,
    )


def deepest_voxel(wrong: BoolVolume, most_voxels: int = MOST_VOXELS) -> Place | None:
    """(k, j, i) of the deepest voxel of the largest part of a mask; None where it is empty.

    Args:
        wrong: (K, J, I) bool.
        most_voxels: see :data:`MOST_VOXELS`.
    """
    around = bounding_box(wrong)
    if around is None:
        return None
    labels, _ = components(wrong[around], fully=True)
    part = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    inner = bounding_box(part)
    assert inner is not None
    part = part[inner]
    depth = _depth(part, most_voxels)
    if not depth.any():  # after halving only: the part has no voxel of its own any more
        depth = part.astype(np.float64)
    places = np.argwhere(depth == depth.max())
    chosen = places[np.random.RandomState(SEED).choice(len(places))]
    k, j, i = (
        int(place) + outer.start + within.start
        for place, outer, within in zip(chosen, around, inner, strict=True)
    )
    return k, j, i


def _depth(part: BoolVolume, most_voxels: int) -> npt.NDArray[np.float64]:
    """Distance in voxels of each voxel of a part, which fills its array up to the edges, from its outside."""
    from scipy.ndimage import distance_transform_edt

    margins = [max(int(extent * _MARGIN), 1) for extent in part.shape]
    padded = np.pad(part, [(margin, margin) for margin in margins])
    halved = padded.size > most_voxels
    if halved:
        padded = _halved(padded)
    depth: npt.NDArray[np.float64] = distance_transform_edt(padded)
    if halved:
        depth = depth.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    inside = tuple(slice(margin, margin + extent) for margin, extent in zip(margins, part.shape, strict=True))
    return np.asarray(depth[inside] * part, np.float64)


def _halved(mask: BoolVolume) -> BoolVolume:
    """Half as many voxels along each axis, true where any of the eight is."""
    even = np.pad(mask, [(0, extent % 2) for extent in mask.shape])
    k, j, i = (extent // 2 for extent in even.shape)
    return np.asarray(even.reshape(k, 2, j, 2, i, 2).any(axis=(1, 3, 5)), np.bool_)
