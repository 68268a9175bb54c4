from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.metrics import (
    dice,
    dice_of_slices,
    hd95,
    normalised_surface_dice,
    number_of_interactions,
)

EMPTY = np.zeros((6, 8, 10), dtype=bool)
masks = hnp.arrays(np.bool_, (3, 4, 5))


def block(k: slice, j: slice, i: slice, shape: tuple[int, int, int] = (20, 40, 40)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[k, j, i] = True
    return mask


@given(masks, masks)
def test_dice_is_symmetric_and_follows_its_definition(one: np.ndarray, other: np.ndarray) -> None:
    assert dice(one, other) == dice(other, one)
    if one.any() or other.any():
        assert dice(one, other) == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()))
    else:
        assert dice(one, other) == 1.0


@given(masks)
def test_a_mask_agrees_with_itself(mask: np.ndarray) -> None:
    assert dice(mask, mask) == 1.0
    assert set(dice_of_slices(mask, mask)[mask.any(axis=(1, 2))]) <= {1.0}


def test_labels_count_as_true() -> None:
    label = block(slice(2, 5), slice(2, 5), slice(2, 5)).astype(np.uint8) * 2
    assert dice(label, label > 0) == 1.0
    assert dice(label, label // 2) == 1.0


@pytest.mark.parametrize("axis", SliceAxis)
def test_slices_where_both_are_empty_are_passed_over(axis: SliceAxis) -> None:
    mask, reference = EMPTY.copy(), EMPTY.copy()
    mask[1:3, 1:3, 1:3] = reference[1:4, 1:3, 1:3] = True
    scores = dice_of_slices(np.moveaxis(mask, 0, axis), np.moveaxis(reference, 0, axis), axis)
    assert scores == pytest.approx([math.nan, 1, 1, 0, math.nan, math.nan], nan_ok=True)


def test_empty_masks_agree_with_each_other_and_with_nothing_else() -> None:
    full = ~EMPTY
    assert (
        dice(EMPTY, EMPTY),
        normalised_surface_dice(EMPTY, EMPTY, (1, 1, 1), 1),
        hd95(EMPTY, EMPTY, (1, 1, 1)),
    ) == (
        1.0,
        1.0,
        0.0,
    )
    for one, other in ((EMPTY, full), (full, EMPTY)):
        assert dice(one, other) == 0.0
        assert normalised_surface_dice(one, other, (1, 1, 1), 1) == 0.0
        assert hd95(one, other, (1, 1, 1)) == math.inf


@pytest.mark.parametrize("measure", [dice, dice_of_slices, lambda a, b: hd95(a, b, (1, 1, 1))])
def test_masks_of_different_shape_are_refused(measure: object) -> None:
    with pytest.raises(MedSAMError, match=r"one shape, got \(6, 8, 10\) and \(6, 8, 9\)"):
        measure(EMPTY, EMPTY[:, :, 1:])
    with pytest.raises(MedSAMError, match="volumes of one shape"):
        measure(EMPTY[0], EMPTY[0])


def test_interactions_are_counted_until_the_threshold() -> None:
    assert number_of_interactions([0.5, 0.84, 0.85, 0.7], 0.85) == 3
    assert number_of_interactions([0.9], 0.85) == 1
    assert number_of_interactions([0.5, math.nan], 0.85) is None
    assert number_of_interactions([], 0.85) is None


def test_missing_package_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.metrics", None)
    with pytest.raises(
        MedSAMError, match=r"need MONAI and SciPy .* pip install 'medsamslicer\[evaluation\]'"
    ):
        hd95(~EMPTY, ~EMPTY, (1, 1, 1))


class TestSurfaces:
    @pytest.fixture(autouse=True)
    def _monai(self) -> None:
        pytest.importorskip("monai", reason="the surface metrics need the extra 'evaluation'")

    @pytest.mark.parametrize(("axis", "distance"), [(0, 5.0), (1, 0.9), (2, 0.5)])
    def test_distances_are_in_mm_along_each_axis(self, axis: int, distance: float) -> None:
        spacing = (0.5, 0.9, 5.0)
        cube = block(slice(5, 12), slice(10, 30), slice(10, 30))
        moved = np.roll(cube, 1, axis=axis)
        assert hd95(cube, moved, spacing) == pytest.approx(distance, abs=1e-5)
        assert normalised_surface_dice(cube, moved, spacing, distance + 0.01) == 1.0
        assert normalised_surface_dice(cube, moved, spacing, distance - 0.01) < 1.0
        assert hd95(cube, cube, spacing) == 0.0

    def test_surface_dice_weighs_by_area(self) -> None:
        # A plate of 40 x 40 mm and 2 mm thickness that grows at one of its thin ends by 2 mm: nearly all agrees.
        plate = block(slice(5, 7), slice(0, 40), slice(0, 30))
        longer = block(slice(5, 7), slice(0, 40), slice(0, 32))
        assert normalised_surface_dice(plate, longer, (1, 1, 1), 0.5) > 0.9

    def test_border_of_the_volume_closes_a_surface(self) -> None:
        inside = block(slice(5, 9), slice(10, 20), slice(10, 20))
        at_border = block(slice(0, 4), slice(0, 10), slice(0, 10))
        grown, grown_at_border = (np.zeros_like(inside) for _ in range(2))
        grown[5:11, 10:20, 10:20] = grown_at_border[0:6, 0:10, 0:10] = True
        spacing = (1, 1, 1)
        assert normalised_surface_dice(inside, grown, spacing, 1) == pytest.approx(
            normalised_surface_dice(at_border, grown_at_border, spacing, 1)
        )
        assert hd95(inside, grown, spacing) == hd95(at_border, grown_at_border, spacing)

    def test_single_voxels_have_a_distance(self) -> None:
        one = block(slice(3, 4), slice(3, 4), slice(3, 4))
        other = block(slice(3, 4), slice(3, 4), slice(7, 8))
        assert hd95(one, other, (2, 1, 1)) == pytest.approx(8.0)
        assert normalised_surface_dice(one, other, (2, 1, 1), 1.0) == 0.0

    @pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, math.nan)])
    def test_spacing_must_be_three_lengths(self, spacing: tuple) -> None:
        with pytest.raises(MedSAMError, match="three spacings in mm"):
            hd95(~EMPTY, ~EMPTY, spacing)
