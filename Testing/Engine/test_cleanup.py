"""What clean-up takes away and fills, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.engine.cleanup import clean, smooth_between_slices


def test_islands_go_and_small_holes_are_filled_when_asked() -> None:
    mask = np.zeros((6, 30, 30), bool)
    mask[1:4, 5:25, 5:25] = True
    mask[2, 10, 10] = False
    mask[5, 2:4, 2:4] = True
    tidy = clean(mask, SliceAxis.K, [2], "both")
    assert tidy.sum() == 3 * 400
    assert np.array_equal(clean(mask, SliceAxis.K, [2], "none"), mask)
    assert clean(mask, SliceAxis.K, [5], "islands").sum() == 4
    ring = np.zeros((1, 30, 30), bool)
    ring[0, 5:25, 5:25] = True
    ring[0, 8:22, 8:22] = False
    assert np.array_equal(clean(ring, SliceAxis.K, [0], "holes"), ring)


def test_smoothing_takes_jumps_from_slice_to_slice_and_keeps_both_ends() -> None:
    k, j, i = np.indices((20, 60, 60))
    shift = np.where(np.arange(20) % 2, 3, 0)[:, None, None]
    mask = (np.hypot(j - 30, i - 30 - shift) < 12) & (k > 2) & (k < 17)
    smooth = smooth_between_slices(mask, SliceAxis.K, (1.0, 1.0, 3.0))

    def jumps(volume: np.ndarray) -> int:
        return int((volume[4:16] != volume[5:17]).sum())

    assert jumps(smooth) < 0.4 * jumps(mask)
    assert np.array_equal(smooth[3], mask[3])
    assert np.array_equal(smooth[16], mask[16])
    assert not smooth[:3].any()
    assert 0.9 < smooth.sum() / mask.sum() < 1.1


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 5.0), (2.0, 1.0, 3.0)])
def test_smoothing_leaves_a_body_without_jumps_as_it_is(spacing: tuple[float, float, float]) -> None:
    k, j, i = np.indices((40, 70, 70))
    mask = ((k - 20) / 18) ** 2 + ((j - 35) / 22) ** 2 + ((i - 34) / 26) ** 2 < 1
    smooth = smooth_between_slices(mask, SliceAxis.K, spacing)
    assert 0.985 < smooth.sum() / mask.sum() < 1.0
    column = np.zeros((12, 40, 40), bool)
    column[2:10, 8:30, 5:33] = True
    assert np.array_equal(smooth_between_slices(column, SliceAxis.K, spacing), column)
    column[2:10] = True
    assert np.array_equal(smooth_between_slices(column, SliceAxis.K, spacing), column)


@pytest.mark.parametrize("axis", [SliceAxis.J, SliceAxis.I])
@pytest.mark.parametrize("radii", [(30, 30, 30), (15, 15, 30), (30, 20, 12)])
def test_smoothing_keeps_the_size_where_pixels_are_longer_than_wide(
    axis: SliceAxis, radii: tuple[float, float, float]
) -> None:
    spacing = (0.8, 0.8, 5.0)  # a CT of thick slices, segmented on its coronal or sagittal slices
    k, j, i = np.indices((16, 100, 100))
    places = (k - 7.6) * 5.0, (j - 49.2) * 0.8, (i - 49.7) * 0.8
    mask = sum((at / radius) ** 2 for at, radius in zip(places, radii, strict=True)) <= 1
    smooth = smooth_between_slices(mask, axis, spacing)
    assert smooth.sum() / mask.sum() == pytest.approx(1, abs=0.01)


def test_smoothing_works_along_every_axis_alike() -> None:
    mask = np.zeros((9, 30, 40), bool)
    mask[2:7, 10:20, 10:30] = True
    mask[4, 8:22] = mask[4, 10:12].any()
    for axis in SliceAxis:
        turned = np.moveaxis(mask, 0, int(axis))
        smooth = smooth_between_slices(np.ascontiguousarray(turned), axis, (1.0, 1.0, 1.0))
        back = np.moveaxis(smooth, int(axis), 0)
        assert np.array_equal(back, smooth_between_slices(mask, SliceAxis.K, (1.0, 1.0, 1.0)))
