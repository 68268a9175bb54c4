"""The other segments at which the masks of an object stop, and the voxels of these.

Where masks stop is decided when they are made, by the segments as they are then: a mask never changes because another
segment does, and no segment ever loses a voxel to a mask that stops.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..core.errors import MedSAMError
from ..core.geometry import SliceAxis
from ..core.masks import PackedMask
from ..core.segment_object import SegmentObject
from .segment_layers import Mask
from .workspace import Workspace

_MOST = 0.5
"""A segment that has this part of a mask on prompted slices holds the object, as the liver does its lesion."""


class Neighbors:
    """The segments around objects, by the choice about overlaps."""

    def __init__(self, work: Workspace) -> None:
        self._work = work

    def of(self, obj: SegmentObject, previewed: Mapping[int, Mask] | None = None) -> tuple[str, ...]:
        """The segments at which masks of an object stop: those that are visible, but for those that hold the object.

        A segment holds the object if a click or most of a stroke on the object lies in it, or most of its mask on the
        prompted slices.

        Args:
            obj: with prompts.
            previewed: masks, by slice, that are to be stored now.
        """
        work = self._work
        if work.overlap != "stop" or work.masks is None or obj.axis is None:
            return ()
        own = work.segment_of(obj.id)
        others = [each for each in work.masks.segment_ids() if each != own and work.masks.visible(each)]
        if not others:
            return ()
        prompted = {prompt.slice.index for prompt in obj.prompts}
        masks = {index: obj.masks[index].mask.to_array() for index in prompted & obj.masks.keys()}
        masks.update(previewed or {})
        size = sum(int(mask.sum()) for mask in masks.values())
        under = work.masks.count_under(obj.axis, masks)
        holding = {each for each, count in under.items() if count >= _MOST * size}
        for index, mask in self._marked(obj):
            count = int(mask.sum())
            there = work.masks.count_under(obj.axis, {index: mask})
            holding |= {each for each, part in there.items() if part > _MOST * count}
        return tuple(each for each in others if each not in holding)

    def voxels(
        self, segment_ids: tuple[str, ...], axis: SliceAxis, indices: Iterable[int]
    ) -> dict[int, Mask]:
        """Return what segments have on slices across `axis`; slices with nothing are left out."""
        masks = self._work.masks
        return masks.union(segment_ids, axis, indices) if segment_ids and masks is not None else {}

    def barred(self, obj: SegmentObject) -> dict[int, PackedMask]:
        """The voxels of other segments, by slice, that a run of an object is to stay out of."""
        geometry = self._work.geometry
        if obj.axis is None or geometry is None:
            return {}
        first, last = obj.slice_range or (0, geometry.slice_count(obj.axis) - 1)
        try:
            found = self.voxels(self.of(obj), obj.axis, range(first, last + 1))
        except (
            MedSAMError
        ):  # the segmentation lies on other voxels by now: the write refuses it in a sentence
            return {}
        return {index: PackedMask.from_array(mask) for index, mask in found.items()}

    def _marked(self, obj: SegmentObject) -> list[tuple[int, Mask]]:
        """The pixels that clicks and strokes mark as the object, each prompt with its slice."""
        session = self._work.session
        assert session is not None
        found = []
        for prompt in obj.prompts:
            if not prompt.marks_inside:
                continue
            shape = session.geometry.slice_shape(prompt.slice.axis)
            xy = session.geometry.ras_to_slice(prompt.places, prompt.slice.axis)[0]
            pixels = np.rint(xy).astype(int)
            mask = np.zeros(shape, np.bool_)
            mask[pixels[:, 1].clip(0, shape[0] - 1), pixels[:, 0].clip(0, shape[1] - 1)] = True
            found.append((prompt.slice.index, mask))
        return found
