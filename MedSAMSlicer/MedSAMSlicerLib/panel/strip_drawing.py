"""The look of the strip above a slice view: its columns and marks, in pixels. No Slicer, no Qt.

One bar for each slice, as high as the network is certain and colored from orange (doubtful) to light blue (certain),
two colors that people with any common color blindness tell apart. No bar: nothing was found there, or, with a thin
line, nothing was computed yet. A low gray bar: the mask that the segment started from, before it was reviewed. White
under a bar: the user accepted it. A diamond: the user prompted it. A white frame: the slice in view. Two brackets: the
ends of the range that is propagated over, gray where it is the whole volume; the ground between them is lighter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..app.state import SliceMark, SliceState

HEIGHT = 26
"""Of the strip in pixels, without the line of text below."""

TEXT_HEIGHT = 14
"""Of the line of text in pixels."""

End = Literal["first", "last"]
"""One end of the range."""

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
RANGE: Color = (92, 214, 158)
RANGE_BACKGROUND: Color = (56, 63, 69)
WHOLE: Color = (150, 158, 166)

_TOP, _BOTTOM = 7, 21  # of the bars
_REACH = 7  # pixels beside an end of the range that still take hold of it
_THICK, _FOOT = 3, 7  # of a bracket
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


def ends_of(
    slice_range: tuple[int, int] | None, count: int, width: int, flipped: bool
) -> dict[End, tuple[int, int]]:
    """The places of a range's brackets (None = all slices): first pixel, and 1 where it opens to the right, else -1.

    Without slices, and with one alone, there is nothing to take hold of.
    """
    if count < 2 or width < 4 * _FOOT:
        return {}
    first, last = slice_range or (0, count - 1)
    low, high = place_of(first, count, width, flipped), place_of(last, count, width, flipped)
    left = max(0, min(low[0], high[0]) - 1)
    right = min(width - _THICK, max(left + 2 * _THICK, max(low[1], high[1]) - _THICK + 1))
    left = min(left, right - 2 * _THICK)
    return {"first": (right, -1), "last": (left, 1)} if flipped else {"first": (left, 1), "last": (right, -1)}


def end_at(
    x: float, slice_range: tuple[int, int] | None, count: int, width: int, flipped: bool
) -> End | None:
    """The end of the range that the mouse takes hold of at pixel `x`; None where it is too far from both."""
    near: dict[End, float] = {
        end: abs(x - (pixel + _THICK / 2))
        for end, (pixel, _opens) in ends_of(slice_range, count, width, flipped).items()
    }
    end = min(near, key=lambda each: near[each], default=None)
    return end if end is not None and near[end] <= _REACH else None


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
    if slice_range is not None:
        edges = [place_of(index, count, width, flipped) for index in slice_range]
        left, right = min(edge[0] for edge in edges), max(edge[1] for edge in edges)
        found.append(Rectangle(left, 0, right - left, HEIGHT, RANGE_BACKGROUND))
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


def brackets(
    slice_range: tuple[int, int] | None, count: int, width: int, flipped: bool = False
) -> list[Rectangle]:
    """The rectangles of the two ends of a range, None = of all slices, to be drawn on top of `blocks`."""
    color = WHOLE if slice_range is None else RANGE
    ends = ends_of(slice_range, count, width, flipped).values()
    return [part for pixel, opens in ends for part in _bracket(pixel, opens, color)]


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


def _bracket(pixel: int, opens: int, color: Color) -> list[Rectangle]:
    """A bracket whose bar begins at a pixel, and that opens to the right (1) or to the left (-1)."""
    foot = pixel if opens > 0 else pixel + _THICK - _FOOT
    return [
        Rectangle(pixel, 0, _THICK, HEIGHT, color),
        Rectangle(foot, 0, _FOOT, 2, color),
        Rectangle(foot, HEIGHT - 2, _FOOT, 2, color),
    ]


def _mixed(a: Color, b: Color, part: float) -> Color:
    red, green, blue = (round(x + (y - x) * part) for x, y in zip(a, b, strict=True))
    return red, green, blue
