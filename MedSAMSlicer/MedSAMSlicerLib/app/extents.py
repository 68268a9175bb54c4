"""The place and size of an object, so that views can show it."""

from __future__ import annotations

import numpy as np

from ..core.geometry import VolumeGeometry
from ..core.segment_object import SegmentObject


def middle_of(obj: SegmentObject, index: int) -> tuple[float, float] | None:
    """Column and row in the middle of the object on a slice, or of its mask on the nearest slice that has one."""
    filled = [each for each, stored in obj.masks.items() if not stored.mask.is_empty]
    if not filled:
        return None
    mask = obj.masks[min(filled, key=lambda each: abs(each - index))].mask
    (top, left), (rows, columns) = mask.corner, mask.extent
    return left + (columns - 1) / 2, top + (rows - 1) / 2


def extent_mm(obj: SegmentObject, geometry: VolumeGeometry) -> float:
    """The longest side of the box around all masks of an object with a slice axis, in mm; 0 without any."""
    masks = {index: stored.mask for index, stored in obj.masks.items() if not stored.mask.is_empty}
    if not masks or obj.axis is None:
        return 0.0
    low = np.min([mask.corner for mask in masks.values()], axis=0)
    high = np.max([np.add(mask.corner, mask.extent) for mask in masks.values()], axis=0)
    sides = (high - low) * geometry.in_plane_spacing(obj.axis)
    depth = (max(masks) - min(masks) + 1) * geometry.spacing[2 - obj.axis]
    return float(max(*sides.tolist(), depth))
