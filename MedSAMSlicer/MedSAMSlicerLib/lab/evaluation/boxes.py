"""The knowledge of baselines: boxes on slices, the slice range, and clicks; all in slice index coordinates.

Between two boxed slices the edges of the box are interpolated linearly; beyond the outermost boxed slice they stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ...core.errors import PromptError
from ...core.geometry import FloatArray, VolumeGeometry
from ...core.prompts import Box, ObjectPrompts, Point, in_slice

Around = tuple[slice, slice, slice]
"""A part of a volume: of its slices, rows and columns."""


@dataclass(frozen=True)
class BoxedSlice:
    """A box on slice `index`; its four sides are on voxel edges."""

    index: int
    left: float
    top: float
    right: float
    bottom: float

    def around(self, other: BoxedSlice) -> BoxedSlice:
        """The box around both, on this slice."""
        return BoxedSlice(
            self.index,
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


@dataclass(frozen=True)
class Click:
    """A click on slice `index` at column `x` and row `y`, on the object or beside it."""

    index: int
    x: float
    y: float
    positive: bool


@dataclass(frozen=True)
class BoxesAndRange:
    """Boxes with the range, and clicks.

    Args:
        boxes: at least one, in ascending order of their slices, one a slice.
        first, last: the range; it holds all boxes and all positive clicks.
        clicks: in the order in which they were given.
    """

    boxes: tuple[BoxedSlice, ...]
    first: int
    last: int
    clicks: tuple[Click, ...] = field(default=())

    @classmethod
    def of(cls, given: ObjectPrompts, geometry: VolumeGeometry) -> BoxesAndRange:
        """From all prompts of an object; of two boxes on a slice the later one counts.

        Raises:
            PromptError: no box, no range, or something that is neither a box nor a click.
        """
        boxes = [prompt for prompt in given.prompts if isinstance(prompt, Box) and prompt.positive]
        points = [prompt for prompt in given.prompts if isinstance(prompt, Point)]
        if not boxes or len(boxes) + len(points) < len(given.prompts) or given.slice_range is None:
            raise PromptError(f"A baseline needs a box and the slice range, got {given.prompts!r}.")
        placed = {
            box.slice.index: BoxedSlice(box.slice.index, *in_slice(box, geometry).ravel().tolist())
            for box in boxes
        }
        places = [in_slice(point, geometry)[0].tolist() for point in points]
        clicks = tuple(
            Click(point.slice.index, x, y, point.positive)
            for point, (x, y) in zip(points, places, strict=True)
        )
        held = [*given.slice_range, *placed, *(click.index for click in clicks if click.positive)]
        return cls(tuple(placed[index] for index in sorted(placed)), min(held), max(held), clicks)

    def edges(self, index: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Left, top, right and bottom of the box on slices `index`, in its shape."""
        places = [box.index for box in self.boxes]
        left, top, right, bottom = (
            np.interp(np.asarray(index, np.float64), places, [getattr(box, side) for box in self.boxes])
            for side in ("left", "top", "right", "bottom")
        )
        return left, top, right, bottom

    def box_on(self, index: int) -> BoxedSlice:
        """The box on any slice."""
        left, top, right, bottom = (float(edge) for edge in self.edges(index))
        return BoxedSlice(index, left, top, right, bottom)

    def inside(self, around: Around) -> npt.NDArray[np.bool_]:
        """(slices, rows, columns) of a part of the volume: true in the box on every slice of the range."""
        z, y, x = np.ogrid[around]
        left, top, right, bottom = self.edges(z)
        held = (z >= self.first) & (z <= self.last) & (y > top) & (y < bottom)
        return np.asarray(held & (x > left) & (x < right))

    def radius(self, around: Around) -> FloatArray:
        """(slices, rows, columns) of a part of the volume: 0 in the middle, 1 on the ellipse in the box.

        Beyond the outermost boxed slices it is that of half an ellipsoid, 1 one slice beyond the range.
        """
        z, y, x = np.ogrid[around]
        left, top, right, bottom = self.edges(z)
        lowest, highest = self.boxes[0].index, self.boxes[-1].index
        outermost = np.clip(z, lowest, highest)
        reach = np.where(z >= highest, self.last + 1 - highest, lowest - self.first + 1)
        across = (x - (left + right) / 2) / ((right - left) / 2)
        down = (y - (top + bottom) / 2) / ((bottom - top) / 2)
        return np.sqrt(across**2 + down**2 + ((z - outermost) / reach) ** 2)

    def grown(self, part: float) -> BoxesAndRange:
        """With a gap of `part` of their extent, and one voxel at least, around the boxes."""
        boxes = []
        for box in self.boxes:
            x, y = (max(1.0, part * extent) for extent in (box.right - box.left, box.bottom - box.top))
            boxes.append(BoxedSlice(box.index, box.left - x, box.top - y, box.right + x, box.bottom + y))
        return replace(self, boxes=tuple(boxes))

    def with_boxes(self, added: Iterable[BoxedSlice]) -> BoxesAndRange:
        """With the box of each of `added` slices widened as far as it says."""
        given = self
        for box in added:
            placed = {other.index: other for other in given.boxes}
            placed[box.index] = given.box_on(box.index).around(box)
            given = replace(given, boxes=tuple(placed[index] for index in sorted(placed)))
        return given

    def surroundings(self, shape: tuple[int, int, int], margin: int = 0, slices: int = 0) -> Around:
        """The part of a volume of `shape` that holds all boxes and the range.

        Args:
            shape: (slices, rows, columns).
            margin: voxels more on each side within a slice.
            slices: slices more beyond each end of the range.
        """
        low = (self.first - 0.5, min(box.top for box in self.boxes), min(box.left for box in self.boxes))
        high = (self.last + 0.5, max(box.bottom for box in self.boxes), max(box.right for box in self.boxes))
        z, y, x = (
            slice(max(int(start + 0.5) - more, 0), min(int(np.ceil(end + 0.5)) + more, size))
            for start, end, more, size in zip(low, high, (slices, margin, margin), shape, strict=True)
        )
        return z, y, x
