"""Masks as run lengths are those of COCO's own program."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from MedSAMSlicerLib.io.rle import encode_rle

from .rle_decoding import decode_rle

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(MASKS)
def test_a_mask_comes_back(mask: npt.NDArray[np.bool_]) -> None:
    assert np.array_equal(decode_rle(encode_rle(mask)), mask)


@given(MASKS)
@pytest.mark.parity
def test_the_text_is_that_of_pycocotools(mask: npt.NDArray[np.bool_]) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours = encode_rle(mask)
    assert ours == {"size": list(theirs["size"]), "counts": theirs["counts"].decode()}


def test_runs_longer_than_a_letter_holds_and_differences_below_zero_come_back() -> None:
    mask = np.zeros((500, 700), np.bool_)
    mask[10:400, 5] = mask[3, 100:650] = mask[499, 699] = True
    assert np.array_equal(decode_rle(encode_rle(mask)), mask)
