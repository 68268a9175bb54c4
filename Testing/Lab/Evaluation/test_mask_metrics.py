from __future__ import annotations

import math
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.lab.evaluation.mask_metrics import dice_of_slices, hd95, normalized_surface_dice

EMPTY = np.zeros((6, 8, 10), dtype=bool)
masks = hnp.arrays(np.bool_, (3, 4, 5))


def block(k: slice, j: slice, i: slice, shape: tuple[int, int, int] = (20, 40, 40)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[k, j, i] = True
    return mask


@given(masks)
def test_each_slice_of_a_mask_agrees_with_itself(mask: np.ndarray) -> None:
    assert set(dice_of_slices(mask, mask)[mask.any(axis=(1, 2))]) <= {1.0}


@pytest.mark.parametrize("axis", SliceAxis)
def test_slices_where_both_are_empty_are_passed_over(axis: SliceAxis) -> None:
    mask, reference = EMPTY.copy(), EMPTY.copy()
    mask[1:3, 1:3, 1:3] = reference[1:4, 1:3, 1:3] = True
    scores = dice_of_slices(np.moveaxis(mask, 0, axis), np.moveaxis(reference, 0, axis), axis)
    assert scores == pytest.approx([math.nan, 1, 1, 0, math.nan, math.nan], nan_ok=True)


def test_empty_masks_agree_with_each_other_and_with_nothing_else() -> None:
    full = ~EMPTY
    assert normalized_surface_dice(EMPTY, EMPTY, (1, 1, 1), 1) == 1.0
    assert hd95(EMPTY, EMPTY, (1, 1, 1)) == 0.0
    for one, other in ((EMPTY, full), (full, EMPTY)):
        assert normalized_surface_dice(one, other, (1, 1, 1), 1) == 0.0
        assert hd95(one, other, (1, 1, 1)) == math.inf


@pytest.mark.parametrize("measure", [dice_of_slices, lambda a, b: hd95(a, b, (1, 1, 1))])
def test_masks_of_different_shape_are_refused(measure: object) -> None:
    with pytest.raises(MedSAMError, match=r"one shape, got \(6, 8, 10\) and \(6, 8, 9\)"):
        measure(EMPTY, EMPTY[:, :, 1:])
    with pytest.raises(MedSAMError, match="volumes of one shape"):
        measure(EMPTY[0], EMPTY[0])


def test_missing_package_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "surface_distance.lookup_tables", None)
    with pytest.raises(
        MedSAMError, match=r"need SciPy and surface-distance .* pip install 'medsamslicer\[lab\]'"
    ):
        hd95(~EMPTY, ~EMPTY, (1, 1, 1))


def surface_dice_by_monai(one: np.ndarray, other: np.ndarray, spacing: tuple, tolerance_mm: float) -> float:
    import torch
    from monai.metrics import compute_surface_dice

    pair = (torch.from_numpy(mask)[None, None] for mask in (one, other))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return float(
            compute_surface_dice(
                *pair, [tolerance_mm], include_background=True, spacing=spacing[::-1], use_subvoxels=True
            )
        )


def hd95_by_monai(one: np.ndarray, other: np.ndarray, spacing: tuple) -> float:
    import torch
    from monai.metrics import compute_hausdorff_distance

    pair = (torch.from_numpy(mask)[None, None] for mask in (one, other))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return float(
            compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing[::-1])
        )


class TestSurfaces:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("surface_distance", reason="the surface metrics need the extra 'lab'")

    @pytest.mark.parametrize(("axis", "distance"), [(0, 5.0), (1, 0.9), (2, 0.5)])
    def test_distances_are_in_mm_along_each_axis(self, axis: int, distance: float) -> None:
        spacing = (0.5, 0.9, 5.0)
        cube = block(slice(5, 12), slice(10, 30), slice(10, 30))
        moved = np.roll(cube, 1, axis=axis)
        assert hd95(cube, moved, spacing) == pytest.approx(distance, abs=1e-5)
        assert normalized_surface_dice(cube, moved, spacing, distance + 0.01) == 1.0
        assert normalized_surface_dice(cube, moved, spacing, distance - 0.01) < 1.0
        assert hd95(cube, cube, spacing) == 0.0

    def test_surface_dice_weighs_by_area_in_thick_slices(self) -> None:
        # A cube of 20 mm in slices of 4 mm, and one that is 4 mm longer. What disagrees is one face of the cube,
        # and of the longer one its cap and the 4 mm of its four sides.
        cube = block(slice(5, 10), slice(10, 30), slice(10, 30))
        longer = block(slice(5, 10), slice(10, 30), slice(10, 34))
        face = 20 * 20
        surfaces, apart = 6 * face + 2 * face + 4 * 20 * 24, face + face + 4 * 20 * 4
        score = normalized_surface_dice(cube, longer, (1, 1, 4), 0.5)
        assert score == pytest.approx(1 - apart / surfaces, abs=0.03)

    @pytest.mark.slow
    def test_border_of_the_volume_closes_a_surface(self) -> None:
        # MONAI alone, on masks that touch no border, is the reference.
        pytest.importorskip("monai", reason="MONAI is the reference")
        inside = block(slice(5, 9), slice(10, 20), slice(10, 20), (20, 30, 30))
        grown = block(slice(5, 11), slice(10, 20), slice(10, 20), (20, 30, 30))
        spacing = (1.0, 1.0, 2.5)
        at_border, grown_at_border = (mask[5:11, 10:20, 10:20] for mask in (inside, grown))
        wanted = surface_dice_by_monai(inside, grown, spacing, 2.0)
        assert 0 < wanted < 1
        assert normalized_surface_dice(inside, grown, spacing, 2.0) == pytest.approx(wanted)
        assert normalized_surface_dice(at_border, grown_at_border, spacing, 2.0) == pytest.approx(wanted)
        assert hd95(at_border, grown_at_border, spacing) == pytest.approx(5.0)

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("tolerance_mm", [0.0, 1.0, 2.0])
    def test_surface_metrics_are_those_of_monai(self, seed: int, tolerance_mm: float) -> None:
        pytest.importorskip("monai", reason="MONAI is the reference")
        chance = np.random.default_rng(seed)
        shape = (1, 17, 19) if seed == 3 else (9, 17, 19)
        one, other = (chance.random(shape) > share for share in (0.6, 0.9))
        spacing = (0.8, 1.0, 2.5)
        pair, mm = ((one[0], other[0]), spacing[:2]) if seed == 3 else ((one, other), spacing)
        wanted = surface_dice_by_monai(*pair, mm, tolerance_mm)
        assert normalized_surface_dice(one, other, spacing, tolerance_mm) == pytest.approx(wanted, abs=1e-6)
        assert hd95(one, other, spacing) == pytest.approx(hd95_by_monai(*pair, mm), abs=1e-5)

    def test_single_voxels_have_a_distance(self) -> None:
        one = block(slice(3, 4), slice(3, 4), slice(3, 4))
        other = block(slice(3, 4), slice(3, 4), slice(7, 8))
        assert hd95(one, other, (2, 1, 1)) == pytest.approx(8.0)
        assert normalized_surface_dice(one, other, (2, 1, 1), 1.0) == 0.0

    @pytest.mark.parametrize("thin", SliceAxis)
    @pytest.mark.parametrize("between_mm", [0.1, 100.0])
    def test_a_picture_is_measured_in_its_plane(self, thin: SliceAxis, between_mm: float) -> None:
        # A square of 20 x 20 mm, and one that is 4 mm longer. Of the outlines, a side of the square and of the longer
        # one a side and two pieces of 4 mm disagree; corners are cut off a little.
        square, longer = (np.zeros((1, 40, 40), bool) for _ in range(2))
        square[0, 10:30, 10:30] = longer[0, 10:30, 10:34] = True
        one, other = (np.moveaxis(mask, 0, thin) for mask in (square, longer))
        spacing = [1.0, 1.0, 1.0]
        spacing[2 - thin] = between_mm
        assert hd95(one, other, spacing) == pytest.approx(4.0)
        assert hd95(one, one, spacing) == 0.0
        score = normalized_surface_dice(one, other, spacing, 0.5)
        assert score == pytest.approx(1 - (20 + 20 + 2 * 4) / (80 + 88), abs=0.02)
        assert normalized_surface_dice(one, other, spacing, 4.01) == 1.0

    def test_outlines_in_pictures_are_not_filled(self) -> None:
        # Taken as a volume of one slice, every pixel of the discs would be surface, and the two far apart seem close.
        y, x = np.indices((100, 100))
        large, small = (((y - 50) ** 2 + (x - 50) ** 2 <= radius**2)[None] for radius in (40, 20))
        assert hd95(large, small, (1, 1, 1)) == pytest.approx(20, abs=1)
        assert normalized_surface_dice(large, small, (1, 1, 1), 2) == 0.0
        assert hd95(large, small, (0.5, 0.5, 7)) == pytest.approx(10, abs=0.5)

    def test_spheres_are_as_far_apart_as_their_radii(self) -> None:
        k, j, i = np.indices((30, 60, 60))
        large, small = (
            ((2 * (k - 15)) ** 2 + (j - 30) ** 2 + (i - 30) ** 2 <= radius**2) for radius in (24, 20)
        )
        assert hd95(large, small, (1, 1, 2)) == pytest.approx(4, abs=1)
        assert normalized_surface_dice(large, small, (1, 1, 2), 6) == 1.0
        assert normalized_surface_dice(large, small, (1, 1, 2), 1) == pytest.approx(0, abs=0.02)

    @pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, math.nan)])
    def test_spacing_must_be_three_lengths(self, spacing: tuple) -> None:
        with pytest.raises(MedSAMError, match="three spacings in mm"):
            hd95(~EMPTY, ~EMPTY, spacing)
