"""The simulated user says what a person would say who knows the truth."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import in_slice
from MedSAMSlicerLib.lab.evaluation.simulated_user import (
    box_on,
    click_on,
    correction,
    line_on,
    rough_mask_on,
    second_box,
    worst_slice,
)

from .labeled_volumes import GEOMETRY, SHAPE, brick, ellipsoid, target_of


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_the_box_is_tight_along_every_axis(axis: SliceAxis) -> None:
    target = target_of(brick(), axis)
    box = box_on(target, GEOMETRY, target.largest_slice)
    low, high = in_slice(box, GEOMETRY)
    edges = [(3, 12), (8, 25), (10, 31)]
    x, y = edges[axis.column_axis], edges[axis.row_axis]
    assert low == pytest.approx([x[0] - 0.5, y[0] - 0.5])
    assert high == pytest.approx([x[1] - 0.5, y[1] - 0.5])


def test_a_hasty_box_is_off_by_no_more_than_stated_and_repeats_with_its_seed() -> None:
    target = target_of(brick())
    boxes = [box_on(target, GEOMETRY, 7, 0.1, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert boxes[0] == boxes[1] != boxes[2]
    tight = in_slice(box_on(target, GEOMETRY, 7), GEOMETRY)
    assert (np.abs(in_slice(boxes[2], GEOMETRY) - tight) <= [2.1, 1.7]).all()


def test_a_hasty_box_stays_inside_the_volume() -> None:
    target = target_of(np.ones(SHAPE, bool))
    for seed in range(8):
        box_on(target, GEOMETRY, 7, 0.1, np.random.default_rng(seed))  # raises if it does not


def test_the_click_is_in_the_middle_of_the_largest_part() -> None:
    mask = brick()
    mask[7, 30:33, 2:5] = True
    assert in_slice(click_on(target_of(mask), GEOMETRY, 7), GEOMETRY)[0, 1] == 16


def test_the_click_is_on_the_object_even_if_that_is_hollow() -> None:
    mask = ellipsoid() & ~ellipsoid(radii=(4, 7, 9))
    x, y = in_slice(click_on(target_of(mask), GEOMETRY, 7), GEOMETRY)[0].astype(int)
    assert mask[7, y, x]


def test_the_line_is_the_longest_diameter() -> None:
    line = in_slice(line_on(target_of(ellipsoid()), GEOMETRY, 7), GEOMETRY)
    assert sorted(line.tolist()) == [[8, 18], [32, 18]]


def test_a_line_on_a_single_voxel_has_a_length() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[7, 5, 5] = True
    line_on(target_of(mask), GEOMETRY, 7)  # raises if it has none


def test_a_rough_mask_is_larger_or_smaller_all_around() -> None:
    target, plane = target_of(brick()), brick()[7]
    larger = rough_mask_on(target, 7, 1.0, GEOMETRY).mask
    smaller = rough_mask_on(target, 7, -1.0, GEOMETRY).mask
    assert larger[plane].all()
    assert (np.count_nonzero(larger), np.count_nonzero(smaller)) == (19 * 23, 15 * 19)
    assert np.array_equal(rough_mask_on(target, 7, 0.0, GEOMETRY).mask, plane)


def test_what_was_missed_gets_a_positive_click_on_the_worst_slice() -> None:
    truth = brick()
    shown = truth.copy()
    shown[5, 10:14, 12:16] = False
    shown[9, 8:22, 10:20] = False
    click = correction(target_of(truth), shown, GEOMETRY, (), 1)
    assert click is not None
    assert (click.slice.index, click.positive, click.round) == (9, True, 1)
    x, y = in_slice(click, GEOMETRY)[0].astype(int)
    assert truth[9, y, x]
    assert not shown[9, y, x]


def test_what_leaked_gets_a_negative_click() -> None:
    truth = brick()
    shown = truth.copy()
    shown[4, 26:34, 10:30] = True
    click = correction(target_of(truth), shown, GEOMETRY, (), 1)
    assert click is not None
    assert (click.slice.index, click.positive) == (4, False)
    assert in_slice(click, GEOMETRY)[0, 1] in (29, 30)


def test_a_person_does_not_click_the_same_pixel_twice() -> None:
    truth, shown = brick(), np.zeros(SHAPE, bool)
    target = target_of(truth)
    clicks = []
    for round_ in range(1, 5):
        click = correction(target, shown, GEOMETRY, clicks, round_)
        assert click is not None
        clicks.append(click)
    assert len({(click.slice.index, click.ras) for click in clicks}) == 4


def test_a_single_pixel_that_stays_wrong_is_not_clicked_again() -> None:
    truth = brick()
    shown = truth.copy()
    shown[5, 20, 20] = False
    shown[9, 30, 15:17] = True
    clicks = []
    for round_ in range(1, 4):
        click = correction(target_of(truth), shown, GEOMETRY, clicks, round_)
        assert click is not None
        clicks.append(click)
    assert sorted((click.slice.index, click.positive) for click in clicks) == [
        (5, True),
        (9, False),
        (9, False),
    ]
    assert correction(target_of(truth), shown, GEOMETRY, clicks, 4) is None


def test_what_is_shown_where_the_object_is_away_for_a_while_gets_a_negative_click() -> None:
    truth = brick()
    shown = truth.copy()
    truth[6:8] = False
    shown[7] = False
    click = correction(target_of(truth), shown, GEOMETRY, (), 1, target_of(truth).slice_range)
    assert click is not None
    assert (click.slice.index, click.positive) == (6, False)


def test_a_picture_is_corrected_as_a_slice_is() -> None:
    truth = brick()[7:8]
    geometry = VolumeGeometry.from_spacing(truth.shape, (1.0, 1.0, 1.0))
    shown = truth.copy()
    shown[0, 10:20, 12:20] = False
    click = correction(target_of(truth), shown, geometry, (), 1, (0, 0))
    assert click is not None
    assert (click.slice.index, click.positive) == (0, True)
    x, y = in_slice(click, geometry)[0].astype(int)
    assert truth[0, y, x]
    assert not shown[0, y, x]


def test_a_person_looks_within_the_range_only() -> None:
    truth = brick()
    shown = truth.copy()
    shown[0] = True
    assert worst_slice(target_of(truth), shown) == 0
    assert worst_slice(target_of(truth), shown, (3, 11)) is None
    assert correction(target_of(truth), shown, GEOMETRY, (), 1, (3, 11)) is None


def test_the_second_box_lies_on_the_worst_slice_of_the_object() -> None:
    truth = brick()
    shown = truth.copy()
    shown[0] = True
    assert second_box(target_of(truth), shown, GEOMETRY, (), 1) is None
    shown[10] = False
    shown[4, 8:20] = False
    box = second_box(target_of(truth), shown, GEOMETRY, (), 1)
    assert box is not None
    assert (box.slice.index, box.round) == (10, 1)
    again = second_box(target_of(truth), shown, GEOMETRY, (box,), 2)
    assert again is not None
    assert (again.slice.index, again.round) == (4, 2)
    assert second_box(target_of(truth), shown, GEOMETRY, (box, again), 3) is None
