"""The knowledge of the volume stage about one object: the part of the volume around it, cut along the slice axis.

All arrays are (slices, rows, columns) of that part. Nothing is resampled: voxels are those of the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.masks import PackedMask
from ...core.prompts import ObjectPrompts
from ..crop import Bounds, bounds_of, joined
from ..network import LOGIT_LIMIT
from ..result import StoredSlice
from ..slice_prompts import SlicePrompts, slice_prompts

_MARGIN = 0.15  # of the prompted box's side that is always part of the crop
_REACH = 0.75  # ... and that is, if the carried mask reaches there
_LEAST = 4  # voxels

Barred = Mapping[int, PackedMask]
"""Voxels by slice index that surely are not of the object, such as those of other segments."""

FramePart = Callable[[int, slice, slice], npt.NDArray[np.uint8]]
"""Returns the gray values of a part of one slice: (index, rows, columns) -> (rows, columns) uint8."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The drawings of a second network on the slices of an object, see :mod:`..second_reader`.

    Args:
        logits: (slices, rows, columns) float32 within `LOGIT_LIMIT`; 0 where nothing was read.
        known: (slices,) bool, from the first slice that was read to the last.
        agreement: (slices,) float32, Dice of the logits and the mask in whose box they were drawn.
        on_keys: mean Dice of the logits and the masks of the slices that bind their neighbors; 0 without any.
    """

    logits: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    agreement: npt.NDArray[np.float32]
    on_keys: float


@dataclass(frozen=True, eq=False)
class VolumeEvidence:
    """One object's slices as the network drew them, with all that was prompted.

    Args:
        corner: (slice, row, column) of the first voxel of the part.
        spacing: mm between slices, rows and columns.
        gray: uint8, through the window; one slice beyond each end of a given range where there is one.
        logits: float32 within `LOGIT_LIMIT`, > 0 inside.
        keys: (slices,) bool, the slices whose masks bind their neighbors: those with a box, a line or a mask, and
            those that were clicked on before anything was propagated.
        fixed: (slices,) bool, all prompted slices. What the network makes of a click that corrects a slice stays on
            that slice as it is; beyond it the click counts, not the whole mask.
        iou: (slices,) float32, the network's own estimate; 0 where it was not asked.
        first, last: the slices of the range within the part, or all of them.
        ranged: whether the range was given by the user.
        boxes: (slice, left, top, right, bottom) in index coordinates of the part, on voxel edges.
        points: (slice, x, y, positive) in index coordinates of the part.
        reading: what a second network draws; None = none was asked.
        barred: bool, the voxels that surely are not of the object, on slices that are not fixed; None = there are none.
    """

    corner: tuple[int, int, int]
    spacing: tuple[float, float, float]
    gray: npt.NDArray[np.uint8]
    logits: npt.NDArray[np.float32]
    keys: npt.NDArray[np.bool_]
    fixed: npt.NDArray[np.bool_]
    iou: npt.NDArray[np.float32]
    first: int
    last: int
    ranged: bool
    boxes: tuple[tuple[int, float, float, float, float], ...] = ()
    points: tuple[tuple[int, float, float, bool], ...] = ()
    reading: Reading | None = None
    barred: npt.NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        slices, rows, columns = self.gray.shape
        return slices, rows, columns


def gather(
    prompts: ObjectPrompts,
    slices: Mapping[int, StoredSlice],
    geometry: VolumeGeometry,
    axis: SliceAxis,
    frame: FramePart,
    searched: Collection[int] | None = None,
    barred: Barred | None = None,
) -> VolumeEvidence | None:
    """Collect the evidence for one object; None where nothing was prompted on a slice that holds a mask.

    Args:
        prompts: everything given so far for the object.
        slices: what the network drew, by slice index, key slices among them.
        geometry, axis: of the volume and its slices.
        frame: see :data:`FramePart`.
        searched: slices that were computed, or given up because the object was gone; None = all. On the others
            nothing is known, and their logits are 0.
        barred: see :data:`Barred`; prompted slices stay as they are.
    """
    by_slice = _by_slice(prompts, geometry)
    masks = {
        index: stored.mask for index, stored in slices.items() if stored.low is not None or stored.is_key
    }
    drawn = {index: bounds_of(mask) for index, mask in masks.items()}
    base = joined(
        *(drawn[index] for index in drawn if slices[index].is_key), *(p.box for p in by_slice.values())
    )
    seen = sorted(index for index, bounds in drawn.items() if bounds is not None)
    if base is None or not seen:
        return None
    first, last = prompts.slice_range or (seen[0], seen[-1])
    count = geometry.slice_count(axis)
    start, stop = max(first - 1, 0), min(last + 2, count)
    rows, columns = _around(base, joined(*drawn.values()), geometry.slice_shape(axis))
    shape = (stop - start, rows.stop - rows.start, columns.stop - columns.start)
    gray = np.empty(shape, np.uint8)
    logits = np.full(shape, -LOGIT_LIMIT, np.float32)
    keys, fixed = np.zeros(shape[0], np.bool_), np.zeros(shape[0], np.bool_)
    iou = np.zeros(shape[0], np.float32)
    binding = {prompt.slice.index for prompt in prompts.prompts if prompt.has_extent or not prompt.round}
    for place, index in enumerate(range(start, stop)):
        gray[place] = frame(index, rows, columns)
        stored = slices.get(index)
        if not first <= index <= last:
            continue
        if stored is None:
            if searched is not None and index not in searched:
                logits[place] = 0
            continue
        fixed[place], iou[place] = stored.is_key, stored.iou
        keys[place] = stored.is_key and index in binding
        logits[place] = stored.logits[rows, columns]
    elsewhere = np.zeros(shape, np.bool_)
    for index in (barred or {}).keys() & set(range(start, stop)):
        if not fixed[index - start]:
            elsewhere[index - start] = (barred or {})[index].to_array()[rows, columns]
    logits[elsewhere] = -LOGIT_LIMIT
    spacing = (geometry.spacing[2 - axis], *geometry.in_plane_spacing(axis))
    return VolumeEvidence(
        (start, rows.start, columns.start),
        spacing,
        gray,
        logits,
        keys,
        fixed,
        iou,
        first - start,
        last - start,
        prompts.slice_range is not None,
        tuple(
            (
                index - start,
                p.box[0] - columns.start,
                p.box[1] - rows.start,
                p.box[2] - columns.start,
                p.box[3] - rows.start,
            )
            for index, p in by_slice.items()
            if p.box is not None
        ),
        tuple(
            (index - start, x - columns.start, y - rows.start, positive)
            for index, p in by_slice.items()
            for x, y, positive in p.points
        ),
        barred=elsewhere if elsewhere.any() else None,
    )


def _by_slice(prompts: ObjectPrompts, geometry: VolumeGeometry) -> dict[int, SlicePrompts]:
    indices = sorted({prompt.slice.index for prompt in prompts.prompts})
    return {
        index: slice_prompts([p for p in prompts.prompts if p.slice.index == index], geometry, prompts.name)
        for index in indices
    }


def _around(base: Bounds, carried: Bounds | None, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the part that is looked at."""
    found: list[slice] = []
    for axis in (1, 0):
        low, high = base[axis], base[axis + 2]
        side, size = high - low, shape[1 - axis]
        near, far = max(_MARGIN * side, _LEAST), max(_REACH * side, _LEAST)
        start, stop = low - near, high + near
        if carried is not None:
            start = min(start, max(carried[axis] - 2, low - far))
            stop = max(stop, min(carried[axis + 2] + 2, high + far))
        found.append(slice(max(int(np.floor(start + 0.5)), 0), min(int(np.ceil(stop + 0.5)), size)))
    return found[0], found[1]
