"""The click of interactive 3-D protocols: the deepest voxel of the largest error, by hand on tiny arrays."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.prompts import in_slice
from MedSAMSlicerLib.lab.evaluation.error_click import deepest_voxel, error_click_on

from .labeled_volumes import GEOMETRY, SHAPE, brick, target_of


def test_the_deepest_voxel_of_a_cube_is_its_middle() -> None:
    wrong = np.zeros((9, 9, 9), bool)
    wrong[2:7, 1:6, 3:8] = True
    assert deepest_voxel(wrong) == (4, 3, 5)


def test_depth_is_counted_in_voxels_and_from_the_edges_of_the_volume_too() -> None:
    wrong = np.zeros((3, 5, 7), bool)
    wrong[:, :, :] = True  # 3 slices: nothing is deeper than 2 voxels, along the whole middle slice
    wrong[1, 2, 3] = True
    place = deepest_voxel(wrong)
    assert place is not None
    assert place[0] == 1
    assert 1 <= place[1] <= 3
    assert 1 <= place[2] <= 5


def test_parts_that_touch_at_a_corner_are_one_part() -> None:
    wrong = np.zeros((6, 12, 12), bool)
    wrong[1:3, 1:3, 1:3] = wrong[3:5, 3:5, 3:5] = True  # 16 voxels over a corner
    wrong[1:3, 8:11, 9:11] = True  # 12 voxels
    place = deepest_voxel(wrong)
    assert place is not None
    assert place[1] < 5


def test_of_equally_deep_voxels_one_is_drawn_with_the_seed_of_the_competition() -> None:
    wrong = np.zeros((1, 1, 10), bool)
    wrong[0, 0, 2:8] = True  # all six are one voxel deep
    drawn = 2 + int(np.random.RandomState(42).choice(6))
    assert deepest_voxel(wrong) == deepest_voxel(wrong) == (0, 0, drawn)


def test_a_part_that_is_too_large_is_halved_and_still_clicked_inside() -> None:
    wrong = np.zeros((12, 12, 12), bool)
    wrong[1:10, 1:10, 1:10] = True
    place = deepest_voxel(wrong, most_voxels=100)
    assert place is not None
    assert all(3 <= index <= 7 for index in place)
    wrong[:] = False
    wrong[5, 5, 3:9] = True
    place = deepest_voxel(wrong, most_voxels=1)
    assert place is not None
    assert wrong[place]


def test_no_error_is_not_clicked() -> None:
    target = target_of(brick())
    assert deepest_voxel(np.zeros(SHAPE, bool)) is None
    assert error_click_on(target, brick(), GEOMETRY, 1) is None


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_what_was_missed_and_what_leaked_are_one_error_and_the_truth_says_the_sign(axis: SliceAxis) -> None:
    target, shown = target_of(brick(), axis), brick()
    shown[5:10, 10:15, 12:17] = False  # 125 voxels are missed
    shown[3:6, 30:33, 12:15] = True  # 27 leaked
    missed = error_click_on(target, shown, GEOMETRY, 2)
    assert missed is not None
    middle = (7, 12, 14)
    assert (missed.positive, missed.round, missed.slice.index) == (True, 2, middle[axis])
    assert in_slice(missed, GEOMETRY)[0].tolist() == [middle[axis.column_axis], middle[axis.row_axis]]
    shown[5:10, 10:15, 12:17] = True
    leaked = error_click_on(target, shown, GEOMETRY, 2)
    assert leaked is not None
    assert not leaked.positive
    assert leaked.slice.index == (4, 31, 13)[axis]


def test_a_user_who_clicks_only_what_was_missed_never_clicks_beside() -> None:
    target, shown = target_of(brick()), brick()
    shown[:, 30:] = True
    assert error_click_on(target, shown, GEOMETRY, 1, only_missed=True) is None
    shown[7, 10, 12] = False
    click = error_click_on(target, shown, GEOMETRY, 1, only_missed=True)
    assert click is not None
    assert (click.positive, click.slice.index) == (True, 7)
