"""The prompts of one object on one slice, in the coordinates of a network's view.

- A point is a point, a box is its two corners.
- A scribble is `SCRIBBLE_POINTS` points at equal distances along the stroke (fewer on a stroke shorter than that many
  voxels): more add nothing to what the network was trained with.
- A RECIST line is a lesion's longest diameter. It becomes the box around an ellipse with the line as its long axis
  and a short axis `RECIST_SHORT_AXIS` times as long, plus three points on the line, at a quarter, a half and three
  quarters.
- A lasso around the object is the box around it, and nothing outside of it belongs to the object, unless a point says
  so. Nothing within a lasso or box around something else belongs to it; a point in its middle marks it for the network.
- A mask is the answer itself; points given together with it correct it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.errors import ObjectError
from ..core.geometry import VolumeGeometry
from ..core.outlines import enclosed
from ..core.prompts import (
    Box,
    Lasso,
    MaskPrompt,
    ObjectPrompts,
    Point,
    Prompt,
    RecistLine,
    Scribble,
    in_slice,
    no_kind,
)
from .crop import Bounds, bounds_of, joined
from .view import FrameView

SCRIBBLE_POINTS = 6
RECIST_SHORT_AXIS = 0.75


@dataclass(frozen=True)
class SlicePrompts:
    """The prompts of one object on one slice, in slice index coordinates.

    Args:
        points: (x, y, positive) of every point, in the order in which they were given.
        box: left, top, right, bottom on voxel edges.
        mask: (rows, columns) bool.
        replaces: a box, line or mask was given last: what was computed on this slice before no longer counts.
        allowed: (rows, columns) bool, where the object may be; None = everywhere.
    """

    points: tuple[tuple[float, float, bool], ...]
    box: Bounds | None
    mask: npt.NDArray[np.bool_] | None
    replaces: bool
    allowed: npt.NDArray[np.bool_] | None = None

    @property
    def bounds(self) -> Bounds | None:
        """The box around all that is marked as inside the object."""
        positive = [(x, y, x, y) for x, y, inside in self.points if inside]
        if self.mask is not None:
            return joined(bounds_of(self.mask), *positive)
        return joined(self.box, *positive)

    @property
    def has_extent(self) -> bool:
        """Return whether a box, a line or a mask gives the object's size."""
        return self.box is not None or self.mask is not None

    @property
    def count(self) -> int:
        """Number of points the network is given; a box counts as two."""
        return len(self.points) + 2 * (self.box is not None)

    def in_network(self, view: FrameView, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        """Points (1, P, 2) in network pixels and labels (1, P), corners first; None without any."""
        pixels: list[npt.NDArray[np.float32]] = []
        labels: list[int] = []
        if self.box is not None:
            pixels.append(view.box_to_network(self.box[:2], self.box[2:]))
            labels += [2, 3]
        if self.points:
            pixels.append(view.to_network([(x, y) for x, y, _ in self.points]))
            labels += [int(positive) for _, _, positive in self.points]
        if not labels:
            return None, None
        points = torch.from_numpy(np.concatenate(pixels))[None].to(device)
        return points, torch.tensor([labels], dtype=torch.int32, device=device)


def slice_prompts(prompts: Sequence[Prompt], geometry: VolumeGeometry, name: str = "") -> SlicePrompts:
    """Return what an object's prompts on one slice say together.

    Of a box, a line and a mask, those of the latest round replace those of earlier rounds. A mask says all about a
    slice: what was given before it no longer counts, nor do clicks of earlier rounds.

    Args:
        prompts: at least one, all of one slice, in the order in which they were given.
        geometry: that of the volume.
        name: the object's, for messages.

    Raises:
        PromptError: Two boxes or lines in one round on one slice, or nothing marked as inside the object.
    """
    points: list[tuple[float, float, bool]] = []
    latest = max(prompt.round for prompt in prompts)
    outlines = [prompt for prompt in prompts if prompt.has_extent]
    valid = max((prompt.round for prompt in outlines), default=0)
    box: Bounds | None = None
    mask: npt.NDArray[np.bool_] | None = None
    within: npt.NDArray[np.bool_] | None = None
    without = np.zeros(geometry.slice_shape(prompts[0].slice.axis), np.bool_)
    redrawn = max((at for at, prompt in enumerate(prompts) if _redraws(prompt, valid)), default=-1)
    for at, prompt in enumerate(prompts):
        if at < redrawn and not _redraws(prompt, valid):
            continue
        if isinstance(prompt, MaskPrompt):
            if prompt.round == valid:
                mask = prompt.mask if mask is None else mask | prompt.mask
        elif isinstance(prompt, (Box, Lasso)) and not prompt.positive:
            region = _region(prompt, geometry, without.shape)
            without |= region
            points.append((*_middle(region), False))
        elif isinstance(prompt, (Box, RecistLine, Lasso)):
            if prompt.round < valid:
                continue
            if box is not None:
                raise ObjectError(
                    f"Slice {prompt.slice.index} has two boxes, lines or lassos for {{object}}: give only one per "
                    "slice and object, or create two objects.",
                    name,
                )
            box, more = _outline(prompt, geometry)
            points += more
            if isinstance(prompt, Lasso):
                within = enclosed(in_slice(prompt, geometry), without.shape)
        elif isinstance(prompt, (Point, Scribble)):
            xy = in_slice(prompt, geometry)
            if isinstance(prompt, Scribble):
                xy = _along(xy, SCRIBBLE_POINTS)
            points += [(float(x), float(y), prompt.positive) for x, y in xy]
        else:
            raise no_kind(prompt)
    replaces = bool(outlines) and valid == latest
    if not outlines and latest == 0 and not any(positive for _, _, positive in points):
        raise ObjectError(
            f"On slice {prompts[0].slice.index} no prompt marks the inside of {{object}}: add a point inside, "
            "a box, a line or a mask.",
            name,
        )
    return SlicePrompts(tuple(points), box, mask, replaces, _allowed(within, without, points))


def _redraws(prompt: Prompt, valid: int) -> bool:
    return isinstance(prompt, MaskPrompt) and prompt.round == valid


def check_first_prompts(
    objects: Sequence[ObjectPrompts], geometry: VolumeGeometry, boxes_only: str | None = None
) -> None:
    """Refuse first prompts that no network can be asked, or this one cannot, before anything is computed.

    Args:
        objects: all of them.
        geometry: that of the volume.
        boxes_only: the network's name where it was trained on boxes only, so that a click cannot begin a mask.

    Raises:
        PromptError: As :func:`slice_prompts`, or a slice begins with a click that the network does not know.
    """
    for obj in objects:
        first = [prompt for prompt in obj.prompts if prompt.round == 0]
        for index in sorted({prompt.slice.index for prompt in first}):
            given = slice_prompts([p for p in first if p.slice.index == index], geometry, obj.name)
            if boxes_only is not None and not given.has_extent:
                raise ObjectError(
                    f"{boxes_only} was trained on boxes only: draw a box around {{object}} on slice {index} first.",
                    obj.name,
                )


def _region(prompt: Box | Lasso, geometry: VolumeGeometry, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """The pixels (rows, columns) whose centers lie in a box or lasso; the nearest one to the middle where none does."""
    xy = in_slice(prompt, geometry)
    if isinstance(prompt, Lasso):
        region = enclosed(xy, (shape[0], shape[1]))
    else:
        left, top = np.ceil(xy.min(axis=0)).astype(int)
        right, bottom = np.floor(xy.max(axis=0)).astype(int)
        region = np.zeros(shape, np.bool_)
        region[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)] = True
    if not region.any():
        x, y = xy.mean(axis=0).tolist()
        region[pixel_at(x, y, shape)] = True
    return region


def pixel_at(x: float, y: float, shape: tuple[int, ...]) -> tuple[int, int]:
    """Row and column of the pixel of a slice (rows, columns) that is nearest to a place in slice index coordinates."""
    rows, columns = shape
    return min(max(round(y), 0), rows - 1), min(max(round(x), 0), columns - 1)


def _allowed(
    within: npt.NDArray[np.bool_] | None,
    without: npt.NDArray[np.bool_],
    points: Sequence[tuple[float, float, bool]],
) -> npt.NDArray[np.bool_] | None:
    """The pixels where the object may be; a point on the object outside of a lasso contradicts it, and counts more."""
    if within is not None and not all(
        within[pixel_at(x, y, within.shape)] for x, y, positive in points if positive
    ):
        within = None
    if within is None:
        return ~without if without.any() else None
    return within & ~without


def _middle(region: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Column and row of the pixel of a region that lies nearest to the middle of its pixels."""
    places = np.argwhere(region)
    nearest = places[np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))]
    return float(nearest[1]), float(nearest[0])


def _outline(
    prompt: Box | RecistLine | Lasso, geometry: VolumeGeometry
) -> tuple[Bounds, list[tuple[float, float, bool]]]:
    if isinstance(prompt, Lasso):
        xy = in_slice(prompt, geometry)
        (left, top), (right, bottom) = xy.min(axis=0).tolist(), xy.max(axis=0).tolist()
        return (left, top, right, bottom), []
    (x0, y0), (x1, y1) = in_slice(prompt, geometry).tolist()
    if isinstance(prompt, Box):
        return (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), []
    row_mm, column_mm = geometry.in_plane_spacing(prompt.slice.axis)
    rows, columns = geometry.slice_shape(prompt.slice.axis)
    long_x, long_y = (x1 - x0) * column_mm / 2, (y1 - y0) * row_mm / 2
    half_x = math.hypot(long_x, RECIST_SHORT_AXIS * long_y) / column_mm
    half_y = math.hypot(long_y, RECIST_SHORT_AXIS * long_x) / row_mm
    center_x, center_y = (x0 + x1) / 2, (y0 + y1) / 2
    box = (
        max(center_x - half_x, -0.5),
        max(center_y - half_y, -0.5),
        min(center_x + half_x, columns - 0.5),
        min(center_y + half_y, rows - 0.5),
    )
    points = [(x0 + part * (x1 - x0), y0 + part * (y1 - y0), True) for part in (0.25, 0.5, 0.75)]
    return box, points


def _along(xy: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Points at equal distances along a stroke (N, 2): the middles of equal parts, at most one part a voxel."""
    lengths = np.hypot(*np.diff(xy, axis=0).T)
    traveled = np.concatenate([[0.0], np.cumsum(lengths)])
    count = max(1, min(count, math.ceil(traveled[-1])))
    at = (np.arange(count) + 0.5) / count * traveled[-1]
    return np.stack([np.interp(at, traveled, xy[:, 0]), np.interp(at, traveled, xy[:, 1])], axis=1)
