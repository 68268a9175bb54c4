"""What the strip above a slice view shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAMSlicerLib.app.state import SliceMark, SliceState
from MedSAMSlicerLib.panel.strip_drawing import (
    CERTAIN,
    DOUBTFUL,
    HEIGHT,
    KEPT,
    KEY,
    PENDING,
    RANGE,
    SHOWN,
    STARTED,
    WHOLE,
    blocks,
    brackets,
    confidence_color,
    end_at,
    ends_of,
    index_at,
    place_of,
)


def states(*marks: tuple[SliceMark, float | None]) -> list[SliceState]:
    return [SliceState(index, confidence, mark) for index, (mark, confidence) in enumerate(marks)]


@given(count=st.integers(1, 700), width=st.integers(1, 900), flipped=st.booleans(), data=st.data())
def test_a_click_in_the_middle_of_a_column_finds_its_slice_again(count, width, flipped, data):
    index = data.draw(st.integers(0, count - 1))
    first, end = place_of(index, count, width, flipped)
    found = index_at((first + end) / 2, count, width, flipped)
    assert abs(found - index) <= (0 if count <= width else -(-count // width))


@pytest.mark.parametrize("x", [-50.0, 0.0, 99.9, 1e6])
def test_a_click_beside_the_strip_finds_the_nearest_slice(x):
    assert 0 <= index_at(x, 10, 100, False) <= 9
    assert index_at(-50.0, 10, 100, True) == 9


@given(
    confidences=st.lists(st.floats(-1, 2), max_size=40),
    width=st.integers(0, 500),
    flipped=st.booleans(),
    shown=st.integers(-3, 50) | st.none(),
)
def test_nothing_is_drawn_outside_the_strip_but_the_corner_of_a_diamond(confidences, width, flipped, shown):
    drawn = blocks(states(*((SliceMark.PREDICTED, c) for c in confidences)), shown, width, flipped)
    for block in drawn:
        assert block.y >= 0
        assert block.y + block.height <= HEIGHT
        assert block.x >= 0
        assert block.x + block.width <= max(width, block.x + 1)


def test_a_certain_slice_is_taller_and_of_another_color_than_a_doubtful_one():
    drawn = blocks(states((SliceMark.PREDICTED, 0.05), (SliceMark.PREDICTED, 0.95)), None, 200)
    doubtful, certain = drawn[1:]
    assert doubtful.height < certain.height
    assert doubtful.color != certain.color
    assert confidence_color(0.0) == DOUBTFUL
    assert confidence_color(1.0) == CERTAIN


def test_colors_stay_apart_for_people_who_cannot_tell_red_from_green():
    """Without red against green what remains is blue against yellow and lightness."""

    def seen(color: tuple[int, int, int]) -> tuple[float, float]:
        red, green, blue = color
        yellow = (red + green) / 2
        return yellow - blue, 0.3 * red + 0.6 * green + 0.1 * blue

    (low_hue, low_light), (high_hue, high_light) = seen(DOUBTFUL), seen(CERTAIN)
    assert low_hue > 60
    assert high_hue < -60
    assert high_light - low_light > 20


def test_prompts_accepted_slices_and_the_slice_in_view_are_marked():
    drawn = blocks(
        states((SliceMark.PROMPTED, 0.9), (SliceMark.ACCEPTED, 0.8), (SliceMark.PREDICTED, 0.7)), 2, 90
    )
    colors = [block.color for block in drawn]
    assert KEY in colors
    assert KEPT in colors
    frame = [block for block in drawn if block.color == SHOWN and block.height == HEIGHT]
    assert [block.x for block in frame] == [58, 89]


def test_slices_outside_the_range_do_not_wait_for_propagation():
    waiting = states(*((SliceMark.PENDING, None) for _ in range(10)))
    every = [b for b in blocks(waiting, None, 100) if b.color == PENDING]
    some = [b for b in blocks(waiting, None, 100, slice_range=(3, 5)) if b.color == PENDING]
    assert len(every) == 10
    assert len(some) == 3


def test_a_flipped_strip_has_the_first_slice_on_the_right():
    one = states((SliceMark.PREDICTED, 0.5), (SliceMark.NONE, None))
    assert blocks(one, None, 100)[1].x == 0
    assert blocks(one, None, 100, flipped=True)[1].x == 50


def test_slice_of_the_start_has_a_low_gray_bar_whose_color_says_no_certainty():
    (_ground, bar) = blocks(states((SliceMark.STARTED, None)), None, 10)
    assert bar.color == STARTED
    assert bar.color not in {confidence_color(step / 20) for step in range(21)}
    assert bar.height < blocks(states((SliceMark.PREDICTED, 0.9)), None, 10)[1].height


@given(
    count=st.integers(0, 600),
    width=st.integers(0, 900),
    flipped=st.booleans(),
    ranged=st.booleans(),
    data=st.data(),
)
def test_both_ends_of_any_range_can_be_taken_hold_of_inside_the_strip(count, width, flipped, ranged, data):
    last = data.draw(st.integers(0, max(0, count - 1)))
    chosen = (data.draw(st.integers(0, last)), last) if ranged and count else None
    ends = ends_of(chosen, count, width, flipped)
    assert set(ends) in (set(), {"first", "last"})
    for end, (pixel, _opens) in ends.items():
        assert 0 <= pixel <= width - 3
        assert end_at(pixel + 1.5, chosen, count, width, flipped) == end
    for block in brackets(chosen, count, width, flipped):
        assert block.x >= 0
        assert block.x + block.width <= width
        assert block.color == (WHOLE if chosen is None else RANGE)


def test_brackets_stand_beside_the_columns_of_the_range():
    assert ends_of((2, 4), 10, 200, False) == {"first": (39, 1), "last": (98, -1)}
    assert ends_of((2, 4), 10, 200, True) == {"first": (158, -1), "last": (99, 1)}
    assert ends_of(None, 1, 200, False) == {}
    assert end_at(70.0, (2, 4), 10, 200, False) is None
