"""The check that prompts, ranges, axes and masks fit an object's volume, with a sentence where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .errors import PromptError, SessionError
from .geometry import SliceAxis, VolumeGeometry
from .masks import PackedMask, StoredMask
from .prompts import Prompt, PromptSet, validate
from .segment_object import SegmentObject, letter_of

SliceRange = tuple[int, int] | None  # first and last slice, both included; None = all


def axis_of(obj: SegmentObject) -> SliceAxis:
    """The slice axis; SessionError for an object that has none yet."""
    if obj.axis is None:
        raise SessionError(f"{obj.name!r} has no prompt and no mask yet.")
    return obj.axis


def count_of(obj: SegmentObject, geometry: VolumeGeometry) -> int:
    """The number of slices along the object's axis."""
    return geometry.slice_count(axis_of(obj))


def along(
    obj: SegmentObject, geometry: VolumeGeometry, axis: SliceAxis | None, turning: bool = False
) -> SegmentObject:
    """The object with its slice axis, or with `axis` where it has none; `turning` one that is free for another."""
    if obj.axis is None and axis is None:
        raise SessionError(f"{obj.name!r} has no slice axis yet: add a prompt first.")
    if axis is not None and turning and obj.is_free:
        obj = obj.turned(axis, geometry.shape)
    if axis is not None and obj.axis not in (None, axis):
        raise SessionError(f"{obj.name!r} has slice axis {letter_of(obj.axis)}, not {letter_of(axis)}.")
    return replace(obj, axis=obj.axis if axis is None else axis)


def fitting_prompt(obj: SegmentObject, geometry: VolumeGeometry, prompt: Prompt) -> Prompt:
    """The prompt in the object's present round; PromptError where axis or place do not fit."""
    axis = obj.axis
    if axis is not None and prompt.slice.axis != axis:
        given, wanted = prompt.slice.axis.name.lower(), axis.name.lower()
        raise PromptError(f"The prompt is for slice axis {given}, {obj.name!r} is for {wanted}.")
    fitting = replace(prompt, round=obj.propagations)
    validate(fitting, geometry)
    return fitting


def ranged(
    obj: SegmentObject, geometry: VolumeGeometry, slice_range: SliceRange, axis: SliceAxis
) -> SegmentObject:
    """The object with a range; PromptError for one beyond the slices along the axis."""
    given = replace(obj.object_prompts, prompts=(), slice_range=slice_range)
    PromptSet(geometry, axis, (given,))
    return obj.with_range(slice_range, geometry.slice_count(axis))


def prompt_position(obj: SegmentObject, position: int) -> int:
    """The position of a prompt that is there; SessionError for another."""
    if 0 <= position < len(obj.prompts):
        return position
    raise SessionError(f"{obj.name!r} has {len(obj.prompts)} prompts, none at {position}.")


def mask_of(obj: SegmentObject, index: int) -> StoredMask:
    """The mask of a slice; SessionError where there is none."""
    if index not in obj.masks:
        raise SessionError(f"{obj.name!r} has no mask on slice {index}.")
    return obj.masks[index]


def empty_mask(obj: SegmentObject, geometry: VolumeGeometry) -> PackedMask:
    """A mask of a slice that holds nothing."""
    return PackedMask.empty(geometry.slice_shape(axis_of(obj)))


def packed_mask(
    obj: SegmentObject, geometry: VolumeGeometry, index: int, mask: npt.NDArray[np.bool_]
) -> PackedMask:
    """A mask, bool (rows, columns), packed; SessionError where slice or shape do not fit."""
    last = count_of(obj, geometry) - 1
    if not 0 <= index <= last:
        raise SessionError(f"Slice {index} does not exist: there are slices 0 to {last}.")
    packed = PackedMask.from_array(np.asarray(mask))
    wanted = geometry.slice_shape(axis_of(obj))
    if packed.shape != wanted:
        raise SessionError(f"The mask of slice {index} has shape {packed.shape}, the slice {wanted}.")
    return packed
