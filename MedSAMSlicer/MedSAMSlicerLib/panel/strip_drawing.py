"""What the strip above a slice view looks like: which columns and marks, in pixels. No Slicer, no Qt.

One bar for each slice, as high as the network is certain and colored from orange (doubtful) to light blue (certain),
two colors that people with any common color blindness tell apart. No bar: nothing was found there, or, with a thin
line, nothing was computed yet. A low gray bar: the mask that the segment started from, before it was reviewed. White
under a bar: the user accepted it. A diamond: the user prompted it. A white frame: the slice in view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..app.state import SliceMark, SliceState

HEIGHT = 26
"""Of the strip in pixels."""

Color = tuple[int, int, int]

BACKGROUND: Color = (35, 39, 43)
DOUBTFUL: Color = (236, 106, 20)
BETWEEN: Color = (222, 205, 150)
CERTAIN: Color = (86, 180, 233)
STARTED: Color = (120, 132, 142)
PENDING: Color = (98, 106, 114)
KEPT: Color = (255, 255, 255)
KEY: Color = (255, 214, 64)
SHOWN: Color = (255, 255, 255)

_TOP, _BOTTOM = 7, 21  # of the bars
_LEAST = 0.12  # height of a bar without any confidence, as a part of the highest


@dataclass(frozen=True)
class Rectangle:
    """A filled rectangle in pixels from the upper left corner."""

    x: int
    y: int
    width: int
    height: int
    color: Color


def confidence_color(confidence: float) -> Color:
    """From orange over sand to light blue for a confidence of 0, 0.5 and 1."""
    clipped = min(1.0, max(0.0, confidence))
    if clipped < 0.5:
        return _mixed(DOUBTFUL, BETWEEN, 2.0 * clipped)
    return _mixed(BETWEEN, CERTAIN, 2.0 * clipped - 1.0)


def place_of(index: int, count: int, width: int, flipped: bool) -> tuple[int, int]:
    """First pixel of the column of slice `index` and the first one after it."""
    position = count - 1 - index if flipped else index
    first = position * width // count
    return first, max(first + 1, (position + 1) * width // count)


def index_at(x: float, count: int, width: int, flipped: bool) -> int:
    """The slice whose column is at pixel `x`, kept within the slices there are."""
    pixel = min(max(0, width - 1), max(0, int(x)))
    position = min(count - 1, -(-(pixel + 1) * count // max(1, width)) - 1)  # the inverse of `place_of`
    return count - 1 - position if flipped else position


def blocks(
    slices: Sequence[SliceState],
    shown: int | None,
    width: int,
    flipped: bool = False,
    slice_range: tuple[int, int] | None = None,
) -> list[Rectangle]:
    """The rectangles of a strip, those on top last.

    Args:
        slices: every slice of the segment, in order of their index.
        shown: the slice in view.
        width: of the strip in pixels.
        flipped: the first slice is on the right, where its view has it.
        slice_range: first and last slice to propagate over; bars outside are left out where there is no mask.
    """
    found = [Rectangle(0, 0, width, HEIGHT, BACKGROUND)]
    count = len(slices)
    if not count or width < 1:
        return found
    marks: list[Rectangle] = []
    gap = 1 if width >= 4 * count else 0
    for state in slices:
        left, right = place_of(state.index, count, width, flipped)
        inner = max(1, right - left - gap)
        found += _bar(state, left, inner, slice_range)
        if state.state is SliceMark.PROMPTED or state.state is SliceMark.EDITED:
            marks += _diamond((left + right) // 2)
    if shown is not None and 0 <= shown < count:
        left, right = place_of(shown, count, width, flipped)
        marks += _frame(left, right, width)
    return found + marks


def _bar(state: SliceState, left: int, width: int, slice_range: tuple[int, int] | None) -> list[Rectangle]:
    if state.state is SliceMark.STARTED and state.confidence is None:
        return [Rectangle(left, (_TOP + _BOTTOM) // 2, width, _BOTTOM - (_TOP + _BOTTOM) // 2, STARTED)]
    kept = state.state in (SliceMark.ACCEPTED, SliceMark.EDITED)
    under = [Rectangle(left, _BOTTOM + 1, width, 2, KEPT)] if kept else []
    if state.confidence is None:
        waits = state.state in (SliceMark.PENDING, SliceMark.PROMPTED)
        outside = slice_range is not None and not slice_range[0] <= state.index <= slice_range[1]
        return [Rectangle(left, _BOTTOM - 1, width, 1, PENDING)] if waits and not outside else under
    part = _LEAST + (1 - _LEAST) * min(1.0, max(0.0, state.confidence))
    height = max(1, round(part * (_BOTTOM - _TOP)))
    return [Rectangle(left, _BOTTOM - height, width, height, confidence_color(state.confidence)), *under]


def _diamond(middle: int) -> list[Rectangle]:
    rows = ((1, 0), (2, 1), (3, 2), (4, 3), (5, 2), (6, 1), (7, 0))
    edge = [Rectangle(middle - half - 1, y, 2 * half + 3, 1, BACKGROUND) for y, half in rows]
    return edge + [Rectangle(middle - half, y, 2 * half + 1, 1, KEY) for y, half in rows]


def _frame(left: int, right: int, width: int) -> list[Rectangle]:
    first, last = max(0, left - 2), min(width - 1, right + 1)
    across = last - first + 1
    return [
        Rectangle(first, 0, 1, HEIGHT, SHOWN),
        Rectangle(last, 0, 1, HEIGHT, SHOWN),
        Rectangle(first, 0, across, 1, SHOWN),
        Rectangle(first, HEIGHT - 1, across, 1, SHOWN),
    ]


def _mixed(a: Color, b: Color, part: float) -> Color:
    red, green, blue = (round(x + (y - x) * part) for x, y in zip(a, b, strict=True))
    return red, green, blue
