"""Closed outlines: the voxels that they enclose, and the prompt that they make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.outlines import enclosed, lasso_from_outline
from MedSAMSlicerLib.core.prompts import Lasso, ObjectPrompts, PromptSet, SliceRef, in_slice

GEOMETRY = VolumeGeometry.from_spacing((9, 30, 40), (0.8, 0.9, 5.0), (-20.0, 10.0, 100.0))
PLACE = SliceRef(SliceAxis.K, 4)


def outline(*xy: tuple[float, float], slice: SliceRef = PLACE) -> list[list[float]]:
    return GEOMETRY.slice_to_ras(xy, slice.index, slice.axis).tolist()


@given(left=st.integers(0, 20), top=st.integers(0, 15), wide=st.integers(1, 15), high=st.integers(1, 12))
def test_outline_along_voxel_edges_encloses_exactly_its_voxels(left, top, wide, high) -> None:
    x0, y0, x1, y1 = left - 0.5, top - 0.5, left + wide - 0.5, top + high - 0.5
    mask = enclosed(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), (30, 40))
    expected = np.zeros((30, 40), bool)
    expected[top : top + high, left : left + wide] = True
    assert np.array_equal(mask, expected)


def test_circle_encloses_its_area_and_its_direction_is_of_no_account() -> None:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.stack([20.3 + 8 * np.cos(angles), 15.2 + 8 * np.sin(angles)], axis=1)
    mask = enclosed(circle, (30, 40))
    assert abs(mask.sum() - np.pi * 64) < 6
    assert np.array_equal(enclosed(circle[::-1], (30, 40)), mask)
    assert mask[15, 20]
    assert not mask[15, 29]


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_lasso_lies_on_its_slice_and_comes_back_from_json(axis: SliceAxis) -> None:
    place = SliceRef(axis, 3)
    given_outline = GEOMETRY.slice_to_ras([(2, 2), (6, 2), (5, 7)], 3.4, axis).tolist()  # a little beside it
    lasso = lasso_from_outline(GEOMETRY, place, given_outline, positive=False)
    xy, position = GEOMETRY.ras_to_slice(lasso.points_ras, axis)
    assert np.allclose(position, 3)
    assert np.allclose(xy, [(2, 2), (6, 2), (5, 7)])
    prompts = PromptSet(GEOMETRY, axis, (ObjectPrompts("liver", (1, 0, 0), (lasso,)),))
    assert PromptSet.from_json(prompts.to_json(), GEOMETRY) == prompts


def test_long_outline_is_thinned_and_encloses_nearly_the_same() -> None:
    angles = np.linspace(0, 2 * np.pi, 900, endpoint=False)
    drawn = np.stack([20 + 9 * np.cos(angles), 15 + 9 * np.sin(angles)], axis=1)
    lasso = lasso_from_outline(GEOMETRY, PLACE, outline(*drawn.tolist()))
    assert len(lasso.points_ras) < 100
    both = enclosed(in_slice(lasso, GEOMETRY), (30, 40)), enclosed(drawn, (30, 40))
    assert (both[0] ^ both[1]).sum() <= 4


def test_outline_beyond_the_volume_is_kept_within_it() -> None:
    lasso = lasso_from_outline(GEOMETRY, PLACE, outline((-30, -30), (90, -30), (90, 90), (-30, 90)))
    assert enclosed(in_slice(lasso, GEOMETRY), (30, 40)).all()


def test_outline_without_a_voxel_inside_is_refused() -> None:
    with pytest.raises(PromptError, match="lasso on slice 4 encloses no voxel"):
        lasso_from_outline(GEOMETRY, PLACE, outline((5, 5), (5, 5), (5, 5)))
    with pytest.raises(PromptError, match="lasso on slice 4 encloses no voxel"):
        lasso_from_outline(GEOMETRY, PLACE, [])
    with pytest.raises(PromptError, match="at least three points, got 2"):
        Lasso(PLACE, ((0, 0, 0), (1, 1, 1)))


def test_only_a_lasso_around_the_object_gives_its_size() -> None:
    points = outline((5, 5), (9, 5), (9, 9))
    assert lasso_from_outline(GEOMETRY, PLACE, points).has_extent
    assert not lasso_from_outline(GEOMETRY, PLACE, points, positive=False).has_extent
