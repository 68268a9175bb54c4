"""What many scores say together: means with bootstrap intervals, and who beats whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """Scores of some targets.

    Args:
        count: how many.
        mean, median: of the scores.
        low, high: the 95 % interval of the mean; cases are drawn, not targets, since targets of one volume are alike.
    """

    count: int
    mean: float
    median: float
    low: float
    high: float


def summarise(scores: Sequence[float], cases: Sequence[str], seed: int = 0) -> Summary:
    """Mean, median and a bootstrap interval of the mean.

    Args:
        scores: at least one.
        cases: of which case each score is; all scores of a case are drawn together.
        seed: of the draws.
    """
    values = np.asarray(scores, np.float64)
    names, member = np.unique(np.asarray(cases), return_inverse=True)
    sums = np.bincount(member, weights=values)
    counts = np.bincount(member)
    drawn = np.random.default_rng(seed).integers(len(names), size=(_RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Summary(len(values), float(values.mean()), float(np.median(values)), float(low), float(high))


def share_beating(
    ours: Mapping[str, float], rivals: Sequence[Mapping[str, float]]
) -> tuple[int, int, list[str]]:
    """On how many targets a score is above the best rival's.

    Args:
        ours: score by target.
        rivals: the same of each rival; targets that one of them lacks do not count.

    Returns:
        How many are won, how many count, and the targets that are lost, the widest first.
    """
    shared = [name for name in ours if rivals and all(name in rival for rival in rivals)]
    gaps = {name: ours[name] - max(rival[name] for rival in rivals) for name in shared}
    lost = sorted((name for name in shared if gaps[name] <= 0), key=lambda name: gaps[name])
    return len(shared) - len(lost), len(shared), lost


def area_under_curve(scores: Sequence[float]) -> float:
    """The mean height of a curve of scores over interactions (trapezoids), 0..1 for Dice; one score is its own area."""
    values = np.asarray(scores, np.float64)
    if len(values) < 2:
        return float(values[0])
    return float((values[1:] + values[:-1]).mean() / 2)
