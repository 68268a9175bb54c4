"""A user who knows the truth: the prompts a person would give, and the corrections a person would make.

Everything follows from the truth, the mask shown and a seed. Places are where a person aims: the middle of a shape is
the pixel farthest from its edge, in mm. Slices are looked at within the range that was given to the engine.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.prompts import (
    Box,
    MaskPrompt,
    Point,
    Prompt,
    RecistLine,
    SliceRef,
    box_from_voxels,
    in_slice,
    line_from_voxels,
    point_from_voxel,
)
from .datasets import BoolVolume, Target, largest_component

Plane = npt.NDArray[np.bool_]
_OUTLINE_POINTS = 400


def box_on(
    target: Target,
    geometry: VolumeGeometry,
    index: int,
    jitter: float = 0.0,
    rng: np.random.Generator | None = None,
    round: int = 0,
) -> Box:
    """The box around the object on a slice that holds it; tight, or as a hasty hand draws it.

    Args:
        target, geometry: the object and its volume.
        index: the slice.
        jitter: each side moves in or out by up to this part of the box's extent across it; needs `rng`.
        rng: where chance comes from.
        round: that of the prompt.
    """
    x0, y0, x1, y1 = tight_box(plane_of(target.mask, target.axis, index))
    if jitter and rng is not None:
        left, right, top, bottom = rng.uniform(-jitter, jitter, 4)
        height, width = geometry.slice_shape(target.axis)
        wide, high = x1 - x0, y1 - y0
        x0, x1 = np.clip([x0 + left * wide, x1 + right * wide], 0, width)
        y0, y1 = np.clip([y0 + top * high, y1 + bottom * high], 0, height)
    return box_from_voxels(
        geometry, SliceRef(target.axis, index), float(x0), float(y0), float(x1), float(y1), round
    )


def click_on(target: Target, geometry: VolumeGeometry, index: int) -> Point:
    """A click into the middle of the object on a slice: into that of its largest part there."""
    plane = largest_component(plane_of(target.mask, target.axis, index))
    x, y = middle(plane, geometry.in_plane_spacing(target.axis))
    return point_from_voxel(geometry, SliceRef(target.axis, index), x, y)


def line_on(target: Target, geometry: VolumeGeometry, index: int) -> RecistLine:
    """The longest diameter in mm of the object's largest part on a slice, between voxel centers (RECIST)."""
    plane = largest_component(plane_of(target.mask, target.axis, index))
    rows, columns = np.nonzero(plane & (depth_inside(plane, (1.0, 1.0)) <= 0.6))
    step = -(-len(rows) // _OUTLINE_POINTS)
    rows, columns = rows[::step], columns[::step]
    row_mm, column_mm = geometry.in_plane_spacing(target.axis)
    apart = np.hypot(np.subtract.outer(rows, rows) * row_mm, np.subtract.outer(columns, columns) * column_mm)
    a, b = np.unravel_index(int(apart.argmax()), apart.shape)
    if a == b:  # one voxel: the line reaches over it
        x, y = float(columns[a]), float(rows[a])
        return line_from_voxels(geometry, SliceRef(target.axis, index), x - 0.4, y, x + 0.4, y)
    ends = (float(columns[a]), float(rows[a]), float(columns[b]), float(rows[b]))
    return line_from_voxels(geometry, SliceRef(target.axis, index), *ends)


def rough_mask_on(target: Target, index: int, looseness_mm: float, geometry: VolumeGeometry) -> MaskPrompt:
    """The object on a slice as a thick brush paints it: grown by `looseness_mm`, or shrunk by less than none."""
    plane = plane_of(target.mask, target.axis, index)
    spacing = geometry.in_plane_spacing(target.axis)
    if looseness_mm >= 0:
        rough = plane | (depth_inside(~plane, spacing, bordered=False) <= looseness_mm)
    else:
        rough = plane & (depth_inside(plane, spacing) > -looseness_mm)
    return MaskPrompt(SliceRef(target.axis, index), rough if rough.any() else plane)


def correction(
    target: Target,
    shown: BoolVolume,
    geometry: VolumeGeometry,
    given: Iterable[Prompt],
    round: int,
    slice_range: tuple[int, int] | None = None,
) -> Point | None:
    """The click that a person gives next: on the worst slice, into the middle of the largest error there.

    The worst slice is the one with the largest part in error. No pixel is clicked twice: where all of that part was
    clicked already, and the runner did not obey, the next worst slice is looked at.

    Args:
        target, geometry: the object and its volume.
        shown: (K, J, I) bool, what the person sees.
        given: all prompts given so far.
        round: that of the new click.
        slice_range: where the person looks; None = everywhere.

    Returns:
        A positive click where the object was missed, a negative one where it leaked; None when nothing is wrong.
    """
    clicked = [prompt for prompt in given if isinstance(prompt, Point)]
    among = np.arange(target.mask.shape[target.axis])
    while (index := worst_slice(target, shown, slice_range, among)) is not None:
        truth, seen = (plane_of(mask, target.axis, index) for mask in (target.mask, shown))
        free, positive = largest_error(truth, seen)
        for point in clicked:
            if point.slice.index == index:
                x, y = np.rint(in_slice(point, geometry)[0]).astype(int)
                free[y, x] = False
        if free.any():
            place = middle(free, geometry.in_plane_spacing(target.axis))
            return point_from_voxel(geometry, SliceRef(target.axis, index), *place, positive, round)
        among = among[among != index]
    return None


def second_box(
    target: Target,
    shown: BoolVolume,
    geometry: VolumeGeometry,
    given: Iterable[Prompt],
    round: int,
    slice_range: tuple[int, int] | None = None,
) -> Box | None:
    """A tight box on the worst slice of those that hold the object and have no box yet.

    Args:
        target, geometry, shown, given, round, slice_range: as in :func:`correction`.

    Returns:
        None when nothing is wrong on any of those slices.
    """
    boxed = [prompt.slice.index for prompt in given if isinstance(prompt, Box)]
    free = np.setdiff1d(np.flatnonzero(target.areas), boxed)
    index = worst_slice(target, shown, slice_range, free)
    return None if index is None else box_on(target, geometry, index, round=round)


def worst_slice(
    target: Target,
    shown: BoolVolume,
    slice_range: tuple[int, int] | None = None,
    among: npt.NDArray[np.int64] | None = None,
) -> int | None:
    """The slice with the largest connected error, the first of equals; None when there is no error.

    Args:
        target: the object.
        shown: (K, J, I) bool, what the person sees.
        slice_range: where the person looks; None = everywhere.
        among: the slices that count; None = all.
    """
    first, last = slice_range or (0, target.mask.shape[target.axis] - 1)
    worst, most = None, 0
    for index in (
        range(first, last + 1) if among is None else among[(among >= first) & (among <= last)].tolist()
    ):
        truth, seen = (plane_of(mask, target.axis, index) for mask in (target.mask, shown))
        if np.count_nonzero(truth != seen) <= most:  # no part of it can be larger
            continue
        size = int(np.count_nonzero(largest_error(truth, seen)[0]))
        if size > most:
            worst, most = index, size
    return worst


def middle(plane: Plane, spacing: tuple[float, float]) -> tuple[float, float]:
    """(column, row) of the pixel of a shape that is farthest from its edge; `spacing` is mm per row and column."""
    row, column = np.unravel_index(int(depth_inside(plane, spacing).argmax()), plane.shape)
    return float(column), float(row)


def plane_of(mask: BoolVolume, axis: SliceAxis, index: int) -> Plane:
    """One slice of a volume, (rows, columns)."""
    return np.asarray(np.take(mask, index, axis=int(axis)), np.bool_)


def tight_box(plane: Plane) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the tight box around a plane that is not empty, far edges exclusive."""
    rows, columns = np.nonzero(plane)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def largest_error(truth: Plane, seen: Plane) -> tuple[Plane, bool]:
    """The largest connected part of what was missed or of what leaked, and whether it was missed."""
    missed, leaked = (largest_component(wrong) for wrong in (truth & ~seen, seen & ~truth))
    positive = bool(np.count_nonzero(missed) >= np.count_nonzero(leaked))
    return (missed if positive else leaked).copy(), positive


def depth_inside(
    plane: Plane, spacing: tuple[float, float], bordered: bool = True
) -> npt.NDArray[np.float32]:
    """Distance in mm of each pixel of a shape from its outside, the picture's border too if so chosen; else 0."""
    padded = np.pad(plane, 1) if bordered else np.pad(plane, 1, mode="edge")
    image = sitk.GetImageFromArray(padded.astype(np.uint8))
    image.SetSpacing((spacing[1], spacing[0]))
    distance = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
    )
    # ITK measures from the shape's own border pixels; half a step more makes those deeper than nothing.
    inner = sitk.GetArrayFromImage(distance)[1:-1, 1:-1] + min(spacing) / 2
    return np.asarray(np.where(plane, inner, 0.0), np.float32)
