"""Baselines use corrections as a user of the same tool would: clicks are painted, boxes are drawn on further slices."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.core.prompts import Point, SliceRef, point_from_voxel
from MedSAMSlicerLib.lab.evaluation.baselines import Baseline
from MedSAMSlicerLib.lab.evaluation.datasets import Case, Target
from MedSAMSlicerLib.lab.evaluation.growcut import growcut_baseline
from MedSAMSlicerLib.lab.evaluation.interpolation import interpolation_baseline
from MedSAMSlicerLib.lab.evaluation.random_walker import MOST_VOXELS, binning, random_walker_baseline

from .baseline_requests import answer, ask_about, geometry_of
from .labeled_volumes import bright, target_of

SHAPE = (21, 60, 60)
SEEDED = [
    pytest.param(
        growcut_baseline, marks=pytest.mark.skipif(find_spec("slicer") is None, reason="slicer-core")
    ),
    random_walker_baseline,
]


def ball(radius: float = 9.4, middle: tuple[float, float, float] = (10, 30, 30)) -> np.ndarray:
    grid = np.indices(SHAPE)
    return sum((axis - place) ** 2 for axis, place in zip(grid, middle, strict=True)) <= radius**2


def click(mask: np.ndarray, index: int, x: float, y: float, positive: bool) -> Point:
    return point_from_voxel(geometry_of(mask), SliceRef(SliceAxis.K, index), x, y, positive, 1)


def two_blobs() -> tuple[np.ndarray, np.ndarray]:
    """A bright ball, the target, and one as bright beside it, apart from it."""
    return ball(9.4, (10, 30, 20)), ball(5.0, (10, 30, 46))


def test_interpolation_of_three_boxes_is_close_to_a_ball() -> None:
    truth = ball()
    assert dice(answer(interpolation_baseline(), truth, boxed=(5, 10, 15)), truth) > 0.9


def test_every_box_brings_interpolation_closer_to_a_bent_tube() -> None:
    truth = np.zeros(SHAPE, bool)
    rows, columns = np.indices(SHAPE[1:])
    for index in range(SHAPE[0]):
        middle = 15 + 0.075 * index**2
        truth[index] = (rows - 30) ** 2 + (columns - middle) ** 2 <= 64
    scores = [
        dice(answer(interpolation_baseline(), truth, boxed=boxed), truth)
        for boxed in ((10,), (0, 10, 20), (0, 5, 10, 15, 20))
    ]
    assert scores == sorted(scores)
    assert scores[0] < 0.75
    assert scores[-1] > 0.93


def test_interpolation_fills_the_gap_beside_boxes_on_neighboring_slices() -> None:
    # Given all contours at once, ITK's filter leaves out such a gap.
    found = answer(interpolation_baseline(), ball(), boxed=(13, 14, 15, 16))
    assert found[ball().any((1, 2))].any((1, 2)).all()


def test_interpolation_does_not_lose_small_contours() -> None:
    truth = np.zeros(SHAPE, bool)
    truth[2:9, 30, 20:22] = True
    assert answer(interpolation_baseline(), truth, boxed=(2, 8))[2:9].any((1, 2)).all()


def test_the_random_walker_separates_two_flat_regions_exactly() -> None:
    truth = np.zeros(SHAPE, bool)
    truth[4:17, 18:41, 20:47] = True
    assert np.array_equal(
        ask_about(random_walker_baseline(), (truth * 100 + 50).astype(np.int16), target_of(truth)), truth
    )


def test_the_random_walker_answers_where_the_box_shows_nothing() -> None:
    truth = ball()
    array = np.zeros(SHAPE, np.int16)
    array[0, 0, 0] = 100  # a window is chosen, but the box is flat
    found = ask_about(random_walker_baseline(), array, target_of(truth))
    assert 0 < np.count_nonzero(found) <= 19 * 19 * 19


def test_a_box_over_the_whole_picture_leaves_no_background_to_walk_to() -> None:
    truth = np.ones((1, 20, 24), bool)
    assert ask_about(random_walker_baseline(), bright(truth, 3.0), target_of(truth)).all()


@pytest.mark.parametrize("baseline", SEEDED)
def test_a_positive_click_beyond_the_box_adds_what_is_there(baseline: Callable[[], Baseline]) -> None:
    target, beside = two_blobs()
    array = bright(target | beside)
    before = ask_about(baseline(), array, target_of(target))
    assert not (before & beside).any()
    after = ask_about(baseline(), array, target_of(target), corrections=(click(target, 10, 46, 30, True),))
    assert np.count_nonzero(after & beside) > np.count_nonzero(before & beside) + 5
    assert after[10, 30, 46]
    assert dice(after & target, target) > 0.95


@pytest.mark.parametrize("baseline", SEEDED)
def test_a_negative_click_takes_away_what_leaked(baseline: Callable[[], Baseline]) -> None:
    truth = ball(9.4, (10, 30, 30))
    leak = np.zeros(SHAPE, bool)
    leak[8:13, 20:23, 36:40] = True  # in the corner of the box, apart from the ball, but as bright
    joined = leak.copy()
    joined[8:13, 22:27, 35:37] = True
    array = bright(truth | joined)
    before = ask_about(baseline(), array, target_of(truth))
    assert before[10, 21, 37]
    after = ask_about(baseline(), array, target_of(truth), corrections=(click(truth, 10, 37, 21, False),))
    assert not after[10, 21, 37]
    assert np.count_nonzero(after & leak) < np.count_nonzero(before & leak)


@pytest.mark.parametrize("baseline", SEEDED)
def test_the_later_of_two_clicks_at_a_place_counts(baseline: Callable[[], Baseline]) -> None:
    truth = ball()
    clicks = [click(truth, 10, 30, 24, positive) for positive in (True, False)]
    for order in (clicks, clicks[::-1]):
        found = ask_about(baseline(), bright(truth), target_of(truth), corrections=tuple(order))
        assert found[10, 24, 30] == order[-1].positive


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_a_click_is_found_on_any_axis(axis: SliceAxis) -> None:
    truth, place = ball(), [10, 30, 34]
    index, row, column = place[axis], place[axis.row_axis], place[axis.column_axis]
    geometry = geometry_of(truth)
    negative = point_from_voxel(geometry, SliceRef(axis, index), column, row, False, 1)
    found = ask_about(
        random_walker_baseline(), bright(truth), target_of(truth, axis), corrections=(negative,)
    )
    assert not found[10, 30, 34]


def test_a_large_box_is_walked_through_in_bounded_time() -> None:
    assert binning((40, 512, 512)) == 4
    assert binning((40, 100, 100)) == 1
    assert binning((MOST_VOXELS + 1, 30, 20)) <= 30
    grid = np.indices((12, 420, 420), np.float32)
    middles, radii = (5.5, 209.5, 209.5), (5.6, 180.0, 190.0)
    truth = sum(((axis - m) / r) ** 2 for axis, m, r in zip(grid, middles, radii, strict=True)) <= 1
    target = Target(Case("case", None, None), "object", truth)  # type: ignore[arg-type]  # no file is read
    began = time.perf_counter()
    found = ask_about(random_walker_baseline(), bright(truth), target)
    assert time.perf_counter() - began < 60
    assert binning(truth.shape) > 1
    assert dice(found, truth) > 0.95
