"""The phantom is a plausible CT: CT numbers, spacing, whole organs."""

from __future__ import annotations

import numpy
import pytest

from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.phantom.ct import ct_phantom

SHAPE = (30, 96, 96)


@pytest.fixture(scope="module")
def phantom():
    return ct_phantom(SHAPE, seed=0)


def test_array_geometry_and_masks_agree(phantom) -> None:
    image, geometry, masks = phantom
    assert image.dtype == numpy.int16
    assert image.shape == geometry.shape == SHAPE
    assert all(mask.shape == SHAPE and mask.dtype == bool for mask in masks.values())
    assert geometry.spacing[0] == pytest.approx(geometry.spacing[1])
    assert geometry.spacing[2] == pytest.approx(6.0)


def test_the_middle_of_the_volume_is_the_origin_of_space(phantom) -> None:
    _, geometry, _ = phantom
    center = (numpy.array(geometry.shape[::-1]) - 1) / 2
    ras = geometry.ijk_to_ras @ numpy.append(center, 1)
    assert ras[:3] == pytest.approx([0, 0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("organ", "low", "high"),
    [
        ("liver", 90, 140),
        ("spleen", 100, 145),
        ("aorta", 170, 260),
        ("gallbladder", -5, 40),
        ("left_kidney", 110, 210),
    ],
)
def test_organs_have_their_ct_numbers(phantom, organ: str, low: float, high: float) -> None:
    image, _, masks = phantom
    assert low < float(numpy.median(image[masks[organ]])) < high


def test_there_is_air_around_and_bone_inside(phantom) -> None:
    image, _, masks = phantom
    assert image[:, :3].mean() < -950
    assert image[masks["vertebrae"]].max() > 350


def test_the_liver_lies_on_the_patients_right_and_the_spleen_on_the_left(phantom) -> None:
    _, geometry, masks = phantom
    right = {}
    for organ in ("liver", "spleen"):
        k, j, i = numpy.argwhere(masks[organ]).mean(0)
        right[organ] = (geometry.ijk_to_ras @ [i, j, k, 1])[0]
    assert right["liver"] > 20
    assert right["spleen"] < -20


def test_organs_do_not_overlap_except_the_lesion_in_the_liver(phantom) -> None:
    _, _, masks = phantom
    assert (masks["liver"] | ~masks["liver_lesion"]).all()
    others = [mask for name, mask in masks.items() if name != "liver_lesion"]
    assert numpy.sum(others, 0).max() == 1


def test_a_seed_is_a_patient(phantom) -> None:
    image, _, _ = phantom
    assert numpy.array_equal(image, ct_phantom(SHAPE, seed=0)[0])
    assert not numpy.array_equal(image, ct_phantom(SHAPE, seed=1)[0])


def test_a_shape_that_is_too_small_is_refused() -> None:
    with pytest.raises(VolumeError, match="at least 8 voxels"):
        ct_phantom((4, 64, 64))
