"""What a lasso, and a box around what is not the object, make of the prompts of their slice."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import ObjectError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.outlines import enclosed, lasso_from_outline
from MedSAMSlicerLib.core.prompts import SliceRef, box_from_voxels, in_slice, point_from_voxel
from MedSAMSlicerLib.engine.slice_prompts import slice_prompts

GEOMETRY = VolumeGeometry.from_spacing((9, 48, 56), (0.8, 0.8, 3.0), (0.0, 0.0, 0.0))
PLACE = SliceRef(SliceAxis.K, 4)


def lasso(left: float, top: float, right: float, bottom: float, positive: bool = True):
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    outline = GEOMETRY.slice_to_ras(corners, PLACE.index, PLACE.axis).tolist()
    return lasso_from_outline(GEOMETRY, PLACE, outline, positive)


def test_lasso_around_the_object_is_its_box_and_nothing_outside_belongs_to_it() -> None:
    drawn = lasso(10, 8, 30, 28)
    prompts = slice_prompts([drawn], GEOMETRY)
    assert prompts.box == pytest.approx((10, 8, 30, 28))
    assert prompts.points == ()
    assert np.array_equal(prompts.allowed, enclosed(in_slice(drawn, GEOMETRY), (48, 56)))


def test_lasso_around_something_else_is_a_point_that_is_not_the_object_and_forbids_its_inside() -> None:
    drawn = lasso(20, 20, 30, 30, positive=False)
    prompts = slice_prompts([point_from_voxel(GEOMETRY, PLACE, 12, 12), drawn], GEOMETRY)
    assert [positive for _x, _y, positive in prompts.points] == [True, False]
    assert not prompts.allowed[25, 25]
    assert prompts.allowed[12, 12]
    with pytest.raises(ObjectError, match="no prompt marks the inside"):
        slice_prompts([drawn], GEOMETRY)


def test_point_on_the_object_outside_of_a_lasso_counts_more_than_the_lasso() -> None:
    outside = point_from_voxel(GEOMETRY, PLACE, 40, 40)
    assert slice_prompts([lasso(10, 8, 30, 28), outside], GEOMETRY).allowed is None
    inside = point_from_voxel(GEOMETRY, PLACE, 20, 20)
    assert slice_prompts([lasso(10, 8, 30, 28), inside], GEOMETRY).allowed is not None


def test_two_lassos_around_one_object_are_refused() -> None:
    with pytest.raises(ObjectError, match="two boxes, lines or lassos"):
        slice_prompts([lasso(10, 8, 30, 28), lasso(12, 8, 30, 28)], GEOMETRY)


def test_box_around_something_else_forbids_its_pixels_and_is_no_box_of_the_object() -> None:
    around = box_from_voxels(GEOMETRY, PLACE, 10, 8, 31, 29)
    other = box_from_voxels(GEOMETRY, PLACE, 20, 12, 26, 16, positive=False)
    prompts = slice_prompts([around, other], GEOMETRY)
    assert prompts.box == pytest.approx((9.5, 7.5, 30.5, 28.5))
    wanted = np.ones((48, 56), np.bool_)
    wanted[12:16, 20:26] = False
    assert np.array_equal(prompts.allowed, wanted)
    [(x, y, positive)] = prompts.points
    assert not positive
    assert not wanted[int(y), int(x)]
    with pytest.raises(ObjectError, match="no prompt marks the inside"):
        slice_prompts([other], GEOMETRY)


def test_box_between_the_centers_of_all_pixels_forbids_the_nearest_one() -> None:
    around = box_from_voxels(GEOMETRY, PLACE, 10, 8, 31, 29)
    tiny = box_from_voxels(GEOMETRY, PLACE, 20.7, 12.7, 20.9, 12.9, positive=False)
    allowed = slice_prompts([around, tiny], GEOMETRY).allowed
    assert np.argwhere(~allowed).tolist() == [[12, 20]]
