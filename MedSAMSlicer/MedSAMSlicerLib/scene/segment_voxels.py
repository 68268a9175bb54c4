"""Voxels of segments, read and written through their labelmaps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.digests import Mask
from ..core.geometry import SliceAxis
from ..core.masks import bounding_box
from .labelmaps import LABELMAP, Labelmap, VolumeGrid, labelmap_of, segment_ids

Places = npt.NDArray[np.int64]  # (N, 3): k, j, i


class SegmentVoxels:
    """The labelmaps of one segmentation on the grid of one volume, for the time of one call."""

    def __init__(self, segmentation_node: Any, volume_node: Any) -> None:
        self._node = segmentation_node
        self.grid = VolumeGrid(segmentation_node, volume_node)
        self.shape = self.grid.geometry.shape
        self._values: dict[tuple[Any, SliceAxis], list[npt.NDArray[np.int64]]] = {}  # by labelmap and axis

    def read(self, segment_id: str, axis: SliceAxis, indices: Iterable[int] | None = None) -> dict[int, Mask]:
        """New masks of the slices `indices`, or of all that are not empty."""
        return self.read_segment(self._node.GetSegmentation().GetSegment(segment_id), axis, indices)

    def read_segment(
        self, segment: Any, axis: SliceAxis, indices: Iterable[int] | None = None
    ) -> dict[int, Mask]:
        """As `read`, of a vtkSegment that need not be in the segmentation any more."""
        image = segment.GetRepresentation(LABELMAP)
        if image is None:
            return {}
        labels, first = Labelmap(image, self.grid).cut()
        value = segment.GetLabelValue()
        if indices is None:
            if not labels.size:
                return {}
            indices = self._slices_with(image, value, labels, axis, first[axis])
        return {index: self._mask(labels, first, value, axis, index) for index in indices}

    def volume(self, segment_id: str) -> Mask:
        """A new mask of all voxels, bool (K, J, I) as those of the volume."""
        mask = np.zeros(self.shape, dtype=np.bool_)
        image = labelmap_of(self._node, segment_id)
        if image is not None:
            labels, first = Labelmap(image, self.grid).cut()
            box = tuple(slice(at, at + size) for at, size in zip(first, labels.shape, strict=True))
            np.equal(labels, self._value(segment_id), out=mask[box])
        return mask

    def count(self, segment_id: str) -> int:
        """The number of voxels of a segment."""
        labels, _first = self._labelmap(segment_id).cut()
        value = self._value(segment_id)
        return sum(int(np.count_nonzero(plane == value)) for plane in labels)

    def shared(self, segment_id: str) -> dict[str, int]:
        """The number of voxels that a segment has in common with each other one; those with none are left out.

        Within one labelmap a voxel belongs to one segment, so that nothing is read where there is no other labelmap.
        """
        image = labelmap_of(self._node, segment_id)
        elsewhere = [
            other for other in segment_ids(self._node) if labelmap_of(self._node, other) is not image
        ]
        others = self._by_image(elsewhere)
        if not others:
            return {}
        labels, first = Labelmap(image, self.grid).cut()
        value = self._value(segment_id)
        counts: dict[str, int] = {}
        for theirs, begin, values in others:
            low = np.maximum(first, begin)
            high = np.minimum(np.add(first, labels.shape), np.add(begin, theirs.shape))
            if (low >= high).any():
                continue
            own, other = (
                array[tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))]
                for array, origin in ((labels, first), (theirs, begin))
            )
            for plane, plane_of_others in zip(own, other, strict=True):
                for met, count in _counted(plane_of_others[plane == value], values).items():
                    counts[met] = counts.get(met, 0) + count
        return counts

    def union(self, segment_ids: Collection[str], axis: SliceAxis, indices: Iterable[int]) -> dict[int, Mask]:
        """New masks of slices across `axis`: what any of some segments has; slices with nothing are left out."""
        maps = [(labels, first, [*values.values()]) for labels, first, values in self._by_image(segment_ids)]
        found: dict[int, Mask] = {}
        for index in indices:
            mask = np.zeros((self.shape[axis.row_axis], self.shape[axis.column_axis]), dtype=np.bool_)
            for labels, first, values in maps:
                window, plane = self._window(labels, first, axis, index)
                mask[window] |= np.isin(plane, values)
            if mask.any():
                found[index] = mask
        return found

    def count_under(self, axis: SliceAxis, masks: Mapping[int, Mask]) -> dict[str, int]:
        """The pixels of masks, by slice across `axis`, that each segment has, counted; those with none are left out."""
        counts: dict[str, int] = {}
        for labels, first, values in self._by_image(segment_ids(self._node)):
            for index, mask in masks.items():
                window, plane = self._window(labels, first, axis, index)
                for met, count in _counted(plane[mask[window]], values).items():
                    counts[met] = counts.get(met, 0) + count
        return counts

    def _by_image(
        self, chosen: Iterable[str]
    ) -> list[tuple[npt.NDArray[Any], tuple[int, int, int], dict[str, int]]]:
        """Each labelmap of some segments once: its labels, where they begin, and the value of each segment there."""
        images: dict[Any, dict[str, int]] = {}
        for segment_id in chosen:
            image = labelmap_of(self._node, segment_id)
            if image is not None:
                images.setdefault(image, {})[segment_id] = self._value(segment_id)
        return [(*Labelmap(image, self.grid).cut(), values) for image, values in images.items()]

    def _window(
        self, labels: npt.NDArray[Any], first: tuple[int, int, int], axis: SliceAxis, index: int
    ) -> tuple[tuple[slice, slice], npt.NDArray[Any]]:
        """The part of a slice that a labelmap covers, and its labels there."""
        row, column = first[axis.row_axis], first[axis.column_axis]
        if not labels.size or not 0 <= index - first[axis] < labels.shape[axis]:
            return (slice(0, 0), slice(0, 0)), np.empty((0, 0), labels.dtype)
        plane = labels[_at(axis, index - first[axis])]
        return (slice(row, row + plane.shape[0]), slice(column, column + plane.shape[1])), plane

    def _slices_with(
        self, image: Any, value: int, labels: npt.NDArray[Any], axis: SliceAxis, first: int
    ) -> list[int]:
        """The slices on which a label lies; a labelmap that several segments share is looked through once for all."""
        if sum(labelmap_of(self._node, each) is image for each in segment_ids(self._node)) < 2:
            others = tuple(other for other in range(3) if other != axis)
            return [first + int(n) for n in np.flatnonzero((labels == value).any(axis=others))]
        key = (image, axis)
        if key not in self._values:
            self._values[key] = [_values_in(plane) for plane in np.moveaxis(labels, int(axis), 0)]
        return [first + n for n, values in enumerate(self._values[key]) if value in values]

    def write(self, segment_id: str, axis: SliceAxis, masks: Mapping[int, Mask]) -> bool:
        """Make these slices of a segment equal to `masks`, and say whether that changed any voxel.

        Where another segment has voxels in the same labelmap, that one keeps them and the segment gets its own.
        """
        before = self.read(segment_id, axis, masks)
        changed = {index: mask for index, mask in masks.items() if not np.array_equal(mask, before[index])}
        if changed and not self._sharing(segment_id):
            self._write_alone(segment_id, axis, changed)
        elif changed:
            leaving = self._places(axis, {n: before[n] & ~mask for n, mask in changed.items()})
            entering = self._places(axis, {n: mask & ~before[n] for n, mask in changed.items()})
            self._set(segment_id, leaving, inside=False)
            if len(self._foreign(segment_id, entering)):
                self._values.clear()
                self._node.GetSegmentation().SeparateSegmentLabelmap(segment_id)
            self._set(segment_id, entering, inside=True)
        return bool(changed)

    # -- inside

    def _write_alone(self, segment_id: str, axis: SliceAxis, masks: Mapping[int, Mask]) -> None:
        """Write a segment whose labelmap nobody shares: whole slices at once."""
        own = self._labelmap(segment_id)
        boxes = [box for index, mask in masks.items() if (box := _box(axis, index, mask)) is not None]
        if boxes:
            own.reserve(
                np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0)
            )
        labels, first = own.cut()
        value = self._value(segment_id)
        self._values.clear()
        for index, mask in masks.items():
            if not labels.size or not 0 <= index - first[axis] < labels.shape[axis]:
                continue  # an empty mask where the labelmap has no voxels
            plane = labels[_at(axis, index - first[axis])]
            row, column = first[axis.row_axis], first[axis.column_axis]
            plane[...] = mask[row : row + plane.shape[0], column : column + plane.shape[1]]
            if value != 1:
                plane *= value

    def _foreign(self, segment_id: str, places: Places) -> npt.NDArray[Any]:
        """Labels of other segments that lie at `places` in the labelmap of this one."""
        if not len(places) or not self._sharing(segment_id):
            return np.empty(0)
        labels, first = self._labelmap(segment_id).cut()
        _, at = _within(places, labels.shape, first)
        found = labels[at] if len(at[0]) else np.empty(0, dtype=labels.dtype)
        return np.asarray(found[(found != 0) & (found != self._value(segment_id))])

    def _set(self, segment_id: str, places: Places, inside: bool) -> None:
        if not len(places):
            return
        self._values.clear()
        labelmap = self._labelmap(segment_id)
        if inside:
            labelmap.reserve(places.min(axis=0), places.max(axis=0))
        labels, first = labelmap.cut()
        _, at = _within(places, labels.shape, first)
        value = self._value(segment_id)
        labels[at] = value if inside else np.where(labels[at] == value, 0, labels[at])

    def _sharing(self, segment_id: str) -> bool:
        """Return whether another segment has its voxels in the same labelmap."""
        # vtkSegmentation::IsSharedBinaryLabelmap answers the opposite of its name (Slicer 5.10 to 5.13).
        image = labelmap_of(self._node, segment_id)
        others = (other for other in segment_ids(self._node) if other != segment_id)
        return any(labelmap_of(self._node, other) is image for other in others)

    def _labelmap(self, segment_id: str) -> Labelmap:
        return Labelmap(labelmap_of(self._node, segment_id), self.grid)

    def _value(self, segment_id: str) -> int:
        return int(self._node.GetSegmentation().GetSegment(segment_id).GetLabelValue())

    def _mask(
        self, labels: npt.NDArray[Any], first: tuple[int, int, int], value: int, axis: SliceAxis, index: int
    ) -> Mask:
        mask = np.zeros((self.shape[axis.row_axis], self.shape[axis.column_axis]), dtype=np.bool_)
        if labels.size and 0 <= index - first[axis] < labels.shape[axis]:
            plane = labels[_at(axis, index - first[axis])]
            row, column = first[axis.row_axis], first[axis.column_axis]
            np.equal(plane, value, out=mask[row : row + plane.shape[0], column : column + plane.shape[1]])
        return mask

    def _places(self, axis: SliceAxis, masks: Mapping[int, Mask]) -> Places:
        found = [np.empty((0, 3), dtype=np.int64)]
        for index, mask in masks.items():
            rows, columns = np.nonzero(mask)
            places = np.empty((len(rows), 3), dtype=np.int64)
            places[:, axis], places[:, axis.row_axis], places[:, axis.column_axis] = index, rows, columns
            found.append(places)
        return np.concatenate(found)


def _counted(labels: npt.NDArray[Any], values: Mapping[str, int]) -> dict[str, int]:
    """The number of some labels that each segment has, by the value of each; those with none are left out."""
    met, times = np.unique(labels, return_counts=True)
    known = dict(zip(met.tolist(), times.tolist(), strict=True))
    return {segment_id: known[value] for segment_id, value in values.items() if value in known}


def _values_in(plane: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The labels that lie on a slice."""
    flat = np.ascontiguousarray(plane).ravel()
    if flat.dtype == np.uint8:  # by far the commonest; sorting takes ten times as long
        return np.flatnonzero(np.bincount(flat))
    return np.asarray(np.unique(flat), dtype=np.int64)


def _at(axis: SliceAxis, index: int) -> tuple[Any, ...]:
    return (*[slice(None)] * axis, index)


def _within(
    places: Places, shape: tuple[int, ...], first: tuple[int, int, int]
) -> tuple[npt.NDArray[np.bool_], tuple[npt.NDArray[np.int64], ...]]:
    """The places that lie in a box of voxels, and their indices there."""
    at = places - np.array(first)
    inside = ((at >= 0) & (at < np.array(shape))).all(axis=1)
    return inside, tuple(at[inside].T)


def _box(axis: SliceAxis, index: int, mask: Mask) -> tuple[list[int], list[int]] | None:
    """First and last voxel (k, j, i) of a mask; None when it is empty."""
    box = bounding_box(mask)
    if box is None:
        return None
    low, high = [index] * 3, [index] * 3
    for along, side in zip((axis.row_axis, axis.column_axis), box, strict=True):
        low[along], high[along] = side.start, side.stop - 1
    return low, high
