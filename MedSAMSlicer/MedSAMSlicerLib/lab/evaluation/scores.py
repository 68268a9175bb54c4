"""The scores of a mask: Dice, normalized surface Dice and HD95 of one step of a measurement.

Time is no length: the surfaces of a video are the outlines in its frames, each frame measured by itself. NSD is the
mean over the frames that hold the object or the mask, HD95 over those that hold both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...core.geometry import SliceAxis
from ...core.metrics import dice
from .datasets import BoolVolume, Target
from .mask_metrics import check_surface_metrics, dice_of_slices, hd95, normalized_surface_dice
from .measurement import VIDEO, Step

TOLERANCE_MM = 2.0
"""How far two good readers may be apart: that of NSD."""

_DIGITS = 5  # as results are written down


def check_installed() -> None:
    """Stop before a run of hours begins; MedSAMError when the surface metrics are not installed."""
    check_surface_metrics()


def step_of(
    mask: BoolVolume,
    target: Target,
    spacing: Sequence[float],
    interactions: int,
    seconds: float,
    degrees: int | None = None,
) -> Step:
    """The scores of a mask.

    Args:
        mask: (K, J, I) bool.
        target: the truth.
        spacing: mm along (i, j, k).
        interactions: prompts given so far.
        seconds: waited for the mask.
        degrees: see :class:`Step`.
    """
    pairs = [(mask, target.mask)]
    if target.case.kind == VIDEO:
        frames = (
            (_frame(mask, target, at), _frame(target.mask, target, at))
            for at in range(mask.shape[target.axis])
        )
        pairs = [(seen, truth) for seen, truth in frames if seen.any() or truth.any()]
    surface = np.mean([normalized_surface_dice(*pair, spacing, TOLERANCE_MM) for pair in pairs])
    distances = [distance for pair in pairs if math.isfinite(distance := hd95(*pair, spacing))]
    return Step(
        interactions,
        round(float(dice(mask, target.mask)), _DIGITS),
        round(float(surface), _DIGITS),
        round(float(np.mean(distances)), 3) if distances else None,
        round(seconds, 4),
        degrees,
    )


def scores_by_slice(mask: BoolVolume, truth: BoolVolume, axis: SliceAxis) -> tuple[tuple[int, float], ...]:
    """(index, Dice) of every slice that holds the truth or the mask."""
    by_slice = dice_of_slices(mask, truth, axis)
    held = np.flatnonzero(np.isfinite(by_slice)).tolist()
    return tuple((index, round(float(by_slice[index]), 4)) for index in held)


def _frame(mask: BoolVolume, target: Target, index: int) -> BoolVolume:
    """A frame as a volume of one slice."""
    return np.take(mask, [index], axis=int(target.axis))
