from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.metrics import dice

EMPTY = np.zeros((6, 8, 10), dtype=bool)
masks = hnp.arrays(np.bool_, (3, 4, 5))


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


def test_labels_count_as_true() -> None:
    label = np.zeros((20, 40, 40), np.uint8)
    label[2:5, 2:5, 2:5] = 2
    assert dice(label, label > 0) == 1.0
    assert dice(label, label // 2) == 1.0


def test_empty_masks_agree_with_each_other_and_with_nothing_else() -> None:
    assert dice(EMPTY, EMPTY) == 1.0
    assert dice(EMPTY, ~EMPTY) == dice(~EMPTY, EMPTY) == 0.0


def test_masks_of_different_shape_are_refused() -> None:
    with pytest.raises(MedSAMError, match=r"one shape, got \(6, 8, 10\) and \(6, 8, 9\)"):
        dice(EMPTY, EMPTY[:, :, 1:])
    with pytest.raises(MedSAMError, match="volumes of one shape"):
        dice(EMPTY[0], EMPTY[0])
