"""How soon a review finds faults: the measures order slices, and the faults are what they say."""

from __future__ import annotations

import numpy as np

from MedSAMSlicerLib.lab.evaluation.faults import cut_on, spoiled
from MedSAMSlicerLib.lab.evaluation.review_scores import MEASURES, order_by


def column(slices: int = 9) -> np.ndarray:
    """(K, J, I): a square column."""
    mask = np.zeros((slices, 24, 24), np.bool_)
    mask[:, 6:16, 6:16] = True
    return mask


def test_fault_comes_first_and_agreement_knows_it_from_the_slices_beside_it() -> None:
    mask = column()
    wrong = cut_on(mask, (4,))
    drawn = {
        index: (wrong[index], [wrong[near] for near in (index - 1, index + 1)], [1.0, 1.0])
        for index in range(1, 8)
    }
    assert order_by("agreed and mean (used)", drawn, wrong)[0] == 4
    place, planes, trust = 3, *drawn[3][1:]
    assert MEASURES["mean difference"](place, mask[3], planes, trust) == 25
    assert MEASURES["agreed and mean (used)"](place, mask[3], planes, trust) < 9
    assert MEASURES["agreed and mean (used)"](place, mask[3], planes, [1.0, 0.0]) < 1


def test_spoiled_slices_are_shifted_cut_and_leaking_and_no_other_is_touched() -> None:
    mask = column()
    wrong = spoiled(mask, (1, 4, 7))
    changed = np.flatnonzero((wrong != mask).any(axis=(1, 2)))
    assert changed.tolist() == [1, 4, 7]
    assert wrong[1].sum() == mask[1].sum()
    assert wrong[4].sum() == mask[4].sum() / 2
    assert wrong[7].sum() > mask[7].sum()
    assert (wrong[7] & mask[7]).sum() == mask[7].sum()
