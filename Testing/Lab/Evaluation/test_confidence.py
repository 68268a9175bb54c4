"""The rank correlation of confidence and Dice, and what confidence is."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.engine.slice_mask import confidence_of
from MedSAMSlicerLib.lab.evaluation.confidence import Judged, correlate, judge, spearman


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_is_that_of_scipy_also_with_equal_values(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")  # importing it takes seconds
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 6, (2, 40)).astype(float)
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


def test_rank_correlation_of_what_never_changes_is_not_a_number() -> None:
    assert np.isnan(spearman([1.0, 1.0, 1.0], [0.1, 0.2, 0.3]))
    assert np.isnan(spearman([], []))


def test_objects_count_on_their_own_and_together() -> None:
    rising = [Judged(0, "liver", n, n / 10, n / 10) for n in range(6)]
    falling = [Judged(0, "spleen", n, n / 10, 1 - n / 10) for n in range(6)]
    found = correlate(rising + falling)
    assert (found.slices, found.objects) == (12, 2)
    assert found.within == pytest.approx(0.0)
    assert correlate(rising).pooled == pytest.approx(1.0)


def test_confidence_of_a_mask_is_the_overlap_that_the_network_expects() -> None:
    assert confidence_of(0.7, 3.0, False) == 0.7
    assert confidence_of(1.2, 3.0, False) == 1.0
    assert confidence_of(-0.1, 3.0, False) == 0.0


def test_confidence_of_an_empty_slice_is_the_certainty_that_the_object_is_gone() -> None:
    assert confidence_of(0.7, -8.0, True) > 0.99
    assert confidence_of(0.7, 8.0, True) < 0.01
    assert confidence_of(0.7, 0.0, True) == pytest.approx(0.5)
    assert confidence_of(0.7, 1e9, True) < 1e-9
    assert confidence_of(0.7, -1e9, True) == pytest.approx(1.0)


def test_every_slice_but_the_prompted_one_is_judged() -> None:
    from MedSAMSlicerLib.models import Registry
    from MedSAMSlicerLib.models.registry import BUNDLED_ID
    from MedSAMSlicerLib.sam2.checkpoint import load

    model = load(Registry.from_environment().open(BUNDLED_ID).path)[0]
    judged = list(judge(model, seed=0, shape=(10, 32, 32)))
    assert judged
    assert all(0 <= each.confidence <= 1 and 0 <= each.dice <= 1 for each in judged)
    by_organ: dict[str, list[int]] = {}
    for each in judged:
        by_organ.setdefault(each.organ, []).append(each.index)
    assert all(len(indices) == len(set(indices)) for indices in by_organ.values())
