"""The statistics of many scores: means with bootstrap intervals, and comparisons of runners."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...core.geometry import FloatArray

_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)  # percentiles


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


def summarize(scores: Sequence[float], cases: Sequence[str], seed: int = 0) -> Summary:
    """Mean, median and a bootstrap interval of the mean.

    Args:
        scores: at least one.
        cases: of which case each score is; all scores of a case are drawn together.
        seed: of the draws.
    """
    values = np.asarray(scores, np.float64)
    [mean], [low], [high] = mean_curve(values[:, None], cases, seed)
    return Summary(len(values), float(mean), float(np.median(values)), float(low), float(high))


def mean_curve(
    scores: npt.ArrayLike, cases: Sequence[str], seed: int = 0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The mean of curves and its bootstrap interval at each of their points.

    Args:
        scores: (N, P), the P points of each of N curves; N is at least one.
        cases: of which case each curve is; all curves of a case are drawn together.
        seed: of the draws.

    Returns:
        (P,) mean, lower and upper end of the 95 % interval.
    """
    values = np.asarray(scores, np.float64)
    names, member = np.unique(np.asarray(cases), return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, member, values)
    counts = np.bincount(member)
    drawn = np.random.default_rng(seed).integers(len(names), size=(_RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)[:, None]
    low, high = np.percentile(means, _INTERVAL, axis=0)
    return values.mean(axis=0), low, high


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there and finite; None if there is none."""
    known = finite(values)
    return sum(known) / len(known) if known else None


def median_of(values: Iterable[float | None]) -> float | None:
    """The median of the values that are there and finite; None if there is none."""
    known = finite(values)
    return float(np.median(known)) if known else None


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that are there and finite."""
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def share_beating(
    ours: Mapping[str, float], baselines: Sequence[Mapping[str, float]]
) -> tuple[int, int, list[str]]:
    """On how many targets a score is above the best baseline's.

    Args:
        ours: score by target.
        baselines: the same of each baseline; targets that one of them lacks do not count.

    Returns:
        How many are won, how many count, and the targets that are lost, the widest first.
    """
    shared = [name for name in ours if baselines and all(name in baseline for baseline in baselines)]
    gaps = {name: ours[name] - max(baseline[name] for baseline in baselines) for name in shared}
    lost = sorted((name for name in shared if gaps[name] <= 0), key=lambda name: gaps[name])
    return len(shared) - len(lost), len(shared), lost


def area_under_curve(scores: Sequence[float]) -> float:
    """The mean height of a curve of scores over interactions (trapezoids), 0..1 for Dice; one score is its own area."""
    values = np.asarray(scores, np.float64)
    if len(values) < 2:
        return float(values[0])
    return float((values[1:] + values[:-1]).mean() / 2)
