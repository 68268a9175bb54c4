"""The seeds that a user paints for GrowCut and the random walker, who knows boxes, a range and clicks.

Inside: the ellipsoid of boxes and range, shrunk to `SEED_PART` of its radii. Background: beyond the range and
everywhere farther from the box than `GAP` of its extent, since nobody paints background up to the object's edge; where
the image ends before, its outermost rows and columns beside the box. Each click paints a disc of `DISC_RADIUS` on
its slice, the later ones over the earlier ones; the radius was chosen on generated volumes: phantoms, training scenes.
What is found beyond the box is taken away again; a positive click beyond the box widens it on that slice so that the
disc fits in, as a box drawn there would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .baselines import Stack
from .boxes import Around, BoxedSlice, BoxesAndRange, Click

SEED_PART = 0.5
GAP = 0.2
DISC_RADIUS = 3.0  # voxels of the finer side
_MARGIN = 2  # voxels of background around the gap

INSIDE, BACKGROUND = 1, 2

ABOUT = (
    f"seeds: inside, the ellipsoid of boxes and range at {SEED_PART:g} of its radii; background, beyond the range and "
    f"farther from the box than {GAP:g} of its extent, or at the image's edge beside the box; a click paints a disc "
    f"with a radius of {DISC_RADIUS:g} voxels; cut off at the box, which a positive click beyond it widens"
)


@dataclass(frozen=True, eq=False)
class Seeds:
    """The seeds that are painted.

    Args:
        around: the part of the volume that is painted and looked at; all beyond it is background.
        painted: (slices, rows, columns) uint8 of that part: `INSIDE`, `BACKGROUND`, or 0 where nothing was painted.
        allowed: of the same shape, bool: where the object may be.
    """

    around: Around
    painted: npt.NDArray[np.uint8]
    allowed: npt.NDArray[np.bool_]


def paint(stack: Stack, boxes_and_range: BoxesAndRange) -> Seeds:
    """The seeds of boxes, range and clicks."""
    discs = [_Disc.of(click, stack.spacing) for click in boxes_and_range.clicks]
    wide = boxes_and_range.with_boxes(
        disc.box for disc in discs if disc.click.positive and disc.is_beyond(boxes_and_range)
    )
    loose = wide.grown(GAP)
    around = loose.surroundings(stack.shape, _MARGIN, 1)
    allowed = wide.inside(around)
    painted = np.where(loose.inside(around), 0, BACKGROUND).astype(np.uint8)
    painted[_border(around, stack.shape) & ~allowed] = BACKGROUND
    painted[boxes_and_range.inside(around) & (boxes_and_range.radius(around) <= SEED_PART)] = INSIDE
    for z, y, x in _unseeded(boxes_and_range, around, painted):
        painted[z, y, x] = INSIDE
    for disc in discs:
        index = disc.click.index - around[0].start
        if 0 <= index < len(painted):
            covered = disc.covers(around) & (allowed[index] | (not disc.click.positive))
            painted[index][covered] = INSIDE if disc.click.positive else BACKGROUND
    return Seeds(around, painted, allowed)


@dataclass(frozen=True)
class _Disc:
    """The disc of a click; its radii are in voxels along the columns and the rows."""

    click: Click
    across: float
    down: float

    @classmethod
    def of(cls, click: Click, spacing: tuple[float, float, float]) -> _Disc:
        _, row_mm, column_mm = spacing
        finer = min(row_mm, column_mm)
        return cls(click, DISC_RADIUS * finer / column_mm, DISC_RADIUS * finer / row_mm)

    @property
    def box(self) -> BoxedSlice:
        """The box around the disc, and around the clicked voxel at least."""
        x, y, across, down = self.click.x, self.click.y, self.across + 0.5, self.down + 0.5
        return BoxedSlice(self.click.index, x - across, y - down, x + across, y + down)

    def is_beyond(self, boxes_and_range: BoxesAndRange) -> bool:
        """Return whether the click lies beyond the box on its slice."""
        box = boxes_and_range.box_on(self.click.index)
        return not (box.left < self.click.x < box.right and box.top < self.click.y < box.bottom)

    def covers(self, around: Around) -> npt.NDArray[np.bool_]:
        """(rows, columns) of a part of the volume; the clicked voxel always."""
        _, y, x = np.ogrid[around]
        far = np.hypot((x - self.click.x) / self.across, (y - self.click.y) / self.down)[0]
        clicked = (np.abs(x - self.click.x) <= 0.5) & (np.abs(y - self.click.y) <= 0.5)
        return np.asarray((far <= 1.0) | clicked[0])


def _border(around: Around, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """(1, rows, columns) of a part of a volume: the volume's outermost rows and columns."""
    _, y, x = np.ogrid[around]
    return np.asarray((y == 0) | (y == shape[1] - 1) | (x == 0) | (x == shape[2] - 1))[:1]


def _unseeded(
    boxes_and_range: BoxesAndRange, around: Around, painted: npt.NDArray[np.uint8]
) -> Iterator[tuple[int, int, int]]:
    """The middle voxel of each box that is too small for a voxel of the shrunk ellipse."""
    for box in boxes_and_range.boxes:
        z = box.index - around[0].start
        if not (painted[z] == INSIDE).any():
            x = round((box.left + box.right) / 2) - around[2].start
            y = round((box.top + box.bottom) / 2) - around[1].start
            yield z, min(max(y, 0), painted.shape[1] - 1), min(max(x, 0), painted.shape[2] - 1)
