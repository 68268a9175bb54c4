"""Statistics of scores."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.lab.evaluation.statistics import (
    area_under_curve,
    mean_curve,
    mean_of,
    median_of,
    share_beating,
    summarize,
)


def test_mean_median_and_interval() -> None:
    scores = np.random.default_rng(0).normal(0.8, 0.05, 200)
    found = summarize(scores.tolist(), [str(n) for n in range(200)])
    assert (found.count, found.mean) == (200, pytest.approx(scores.mean()))
    assert found.median == pytest.approx(np.median(scores))
    half = 1.96 * scores.std() / np.sqrt(200)
    assert [found.low, found.high] == pytest.approx([scores.mean() - half, scores.mean() + half], abs=0.002)


def test_targets_of_one_case_count_as_one_draw() -> None:
    scores = [0.5] * 10 + [0.9] * 10
    apart = summarize(scores, [str(n) for n in range(20)])
    together = summarize(scores, ["a"] * 10 + ["b"] * 10)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_one_case_has_no_width() -> None:
    found = summarize([0.4, 0.6], ["a", "a"])
    assert (found.low, found.mean, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_target_is_won_against_the_best_baseline_alone() -> None:
    ours = {"a": 0.9, "b": 0.7, "c": 0.5, "d": 1.0}
    won, count, lost = share_beating(ours, [{"a": 0.8, "b": 0.6, "c": 0.5}, {"a": 0.1, "b": 0.9, "c": 0.2}])
    assert (won, count, lost) == (1, 3, ["b", "c"])


def test_area_under_curve() -> None:
    assert area_under_curve([0.5]) == 0.5
    assert area_under_curve([0.0, 1.0]) == 0.5
    assert area_under_curve([0.4, 0.8, 0.8]) == pytest.approx(0.7)


def test_the_same_seed_draws_the_same_interval_and_another_seed_another_one() -> None:
    scores = np.random.default_rng(0).uniform(size=24).tolist()
    cases = [str(n // 2) for n in range(24)]
    assert summarize(scores, cases, seed=3) == summarize(scores, cases, seed=3)
    assert summarize(scores, cases, seed=3) != summarize(scores, cases, seed=4)


def test_each_point_of_a_mean_curve_has_the_interval_of_its_scores() -> None:
    curves = np.random.default_rng(0).uniform(size=(9, 3))
    cases = [str(n // 2) for n in range(9)]
    mean, low, high = mean_curve(curves, cases, seed=5)
    for point in range(3):
        found = summarize(curves[:, point].tolist(), cases, seed=5)
        assert (mean[point], low[point], high[point]) == pytest.approx((found.mean, found.low, found.high))


def test_what_is_not_known_is_not_in_a_mean() -> None:
    assert mean_of([1.0, None, 2.0, float("nan"), float("inf")]) == 1.5
    assert median_of([1.0, None, 5.0, 2.0]) == 2.0
    assert mean_of([None]) is None
    assert median_of([]) is None
