"""Prompts against their volume: made from voxels or RAS, found again in their slice, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .errors import PromptError
from .geometry import FloatArray, SliceAxis, VolumeGeometry, short
from .kinds import Box, MaskPrompt, PlacedPrompt, Point, Prompt, RecistLine
from .kinds.base import RAS, SliceRef, finite, ras_point

_EDGE_TOLERANCE = 1e-6  # voxels; the rounding of one way through RAS


def point_from_voxel(
    geometry: VolumeGeometry, slice: SliceRef, x: float, y: float, positive: bool = True, round: int = 0
) -> Point:
    """A point at column `x` and row `y` (voxel centers at integers); PromptError when outside."""
    point = Point(slice, _place(geometry, slice, [(x, y)])[0], positive, round)
    validate(point, geometry)
    return point


def box_from_voxels(
    geometry: VolumeGeometry,
    slice: SliceRef,
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    round: int = 0,
    *,
    positive: bool = True,
) -> Box:
    """A box around columns x0 to x1 - 1, rows y0 to y1 - 1; PromptError when outside, inverted or empty."""
    corners = [(x0 - 0.5, y0 - 0.5), (x1 - 0.5, y1 - 0.5)]
    corner, opposite = _place(geometry, slice, corners)
    box = Box(slice, corner, opposite, positive, round)
    validate(box, geometry)
    return box


def line_from_voxels(
    geometry: VolumeGeometry, slice: SliceRef, x0: float, y0: float, x1: float, y1: float, round: int = 0
) -> RecistLine:
    """A RECIST line between two voxel centers; PromptError when outside or without length."""
    start, end = _place(geometry, slice, [(x0, y0), (x1, y1)])
    line = RecistLine(slice, start, end, round)
    validate(line, geometry)
    return line


def point_from_ras(
    geometry: VolumeGeometry, axis: SliceAxis, ras: Sequence[float], positive: bool = True, round: int = 0
) -> Point:
    """A point at `ras` (mm) on the slice across `axis` that holds it.

    Raises:
        GeometryError, PromptError: the point lies outside the volume.
    """
    place = ras_point(ras, "point")
    point = Point(SliceRef(axis, geometry.slice_index(place, axis)), place, positive, round)
    validate(point, geometry)
    return point


def box_from_ras(
    geometry: VolumeGeometry,
    slice: SliceRef,
    corner: Sequence[float],
    opposite: Sequence[float],
    round: int = 0,
    *,
    positive: bool = True,
) -> Box:
    """A box between two places in RAS mm, moved along the slice axis onto `slice`, its corners in order."""
    corners = [ras_point(place, "box corner") for place in (corner, opposite)]
    xy, _ = geometry.ras_to_slice(corners, slice.axis)
    low, high = _place(geometry, slice, [xy.min(axis=0), xy.max(axis=0)])
    box = Box(slice, low, high, positive, round)
    validate(box, geometry)
    return box


def in_slice(prompt: PlacedPrompt, geometry: VolumeGeometry) -> FloatArray:
    """The places of a prompt in its slice: (N, 2) continuous (column, row) indices, voxel centers at integers.

    N is 1 for a point, 2 for the corners of a box (voxel edges) and the ends of a line, and the number of
    points of a scribble. A mask prompt is in slice coordinates already.
    """
    return geometry.ras_to_slice(prompt.places, prompt.slice.axis)[0]


def validate(prompt: Prompt, geometry: VolumeGeometry) -> None:
    """Raise PromptError, with the value, unless `prompt` lies within `geometry` and has a size."""
    axis, index = prompt.slice.axis, prompt.slice.index
    last = geometry.slice_count(axis) - 1
    if not 0 <= index <= last:
        raise PromptError(f"Slice {index} does not exist: axis {axis.name.lower()} has slices 0 to {last}.")
    rows, columns = geometry.slice_shape(axis)
    if isinstance(prompt, MaskPrompt):
        if prompt.mask.shape != (rows, columns):
            raise PromptError(
                f"The mask on slice {index} has shape {prompt.mask.shape}, the slice {(rows, columns)}."
            )
        prompt.check_size(np.empty((0, 2)))
        return
    xy, position = geometry.ras_to_slice(prompt.places, axis)
    kind = prompt.kind
    if np.abs(position - index).max() > 0.5 + _EDGE_TOLERANCE:
        furthest = float(position[np.abs(position - index).argmax()])
        raise PromptError(f"A {kind} of slice {index} does not lie on it, but at slice {short(furthest)}.")
    for x, y in xy.tolist():
        inside_x = -0.5 - _EDGE_TOLERANCE <= x <= columns - 0.5 + _EDGE_TOLERANCE
        if not inside_x or not -0.5 - _EDGE_TOLERANCE <= y <= rows - 0.5 + _EDGE_TOLERANCE:
            raise PromptError(
                f"A {kind} on slice {index} lies outside the volume: at column {short(x)}, row {short(y)}, "
                f"but the slice has {columns} columns and {rows} rows."
            )
    prompt.check_size(xy)


def _place(geometry: VolumeGeometry, slice: SliceRef, xy: Iterable[Sequence[float]]) -> list[RAS]:
    points = [tuple(finite(value, "voxel index") for value in pair) for pair in xy]
    return [
        ras_point(point, "place") for point in geometry.slice_to_ras(points, slice.index, slice.axis).tolist()
    ]
