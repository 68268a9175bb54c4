from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from MedSAMSlicerLib.core.errors import SessionError
from MedSAMSlicerLib.core.masks import PackedMask, predicted_mask

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(masks)
def test_packed_mask_comes_back_exactly(mask: np.ndarray) -> None:
    packed = PackedMask.from_array(mask)
    assert np.array_equal(packed.to_array(), mask)
    assert packed.is_empty == (not mask.any())
    assert packed == PackedMask.from_array(np.asfortranarray(mask))
    assert hash(packed) == hash(PackedMask.from_array(mask.copy()))


@given(masks, masks)
def test_packed_masks_are_equal_when_their_pixels_are(one: np.ndarray, other: np.ndarray) -> None:
    assert (PackedMask.from_array(one) == PackedMask.from_array(other)) == np.array_equal(one, other)


def test_unpacked_mask_may_be_written_to() -> None:
    packed = PackedMask.from_array(np.ones((3, 4), dtype=bool))
    packed.to_array()[:] = False
    assert packed.to_array().all()


def test_masks_of_a_large_organ_fit_into_a_megabyte() -> None:
    rows, columns = np.mgrid[:512, :512]
    size = 0
    for index in range(300):
        organ = (rows - 250) ** 2 / 120**2 + (columns - 260 - index / 3) ** 2 / 90**2 < 1 + 0.1 * np.sin(
            columns / 9
        )
        size += len(PackedMask.from_array(organ).bits)
    assert size < 2**20  # 75 MB as bool


@pytest.mark.parametrize("mask", [np.zeros((2, 2), dtype=np.uint8), np.zeros((1, 2, 2), dtype=bool)])
def test_array_that_is_no_mask_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(SessionError, match="must be bool"):
        PackedMask.from_array(mask)


@given(masks, masks)
def test_mask_that_stops_at_others_has_none_of_their_pixels_and_all_of_its_own(
    one: np.ndarray, other: np.ndarray
) -> None:
    rows, columns = min(one.shape[0], other.shape[0]), min(one.shape[1], other.shape[1])
    mask, others = one[:rows, :columns], other[:rows, :columns]
    stored = predicted_mask(PackedMask.from_array(mask), 0.5, others=others)
    assert np.array_equal(stored.mask.to_array(), mask & ~others)
    if (mask & others).any():
        assert stored.barred is not None
        assert not (mask & others & ~stored.barred.to_array()).any()
    assert predicted_mask(PackedMask.from_array(mask), 0.5).barred is None
