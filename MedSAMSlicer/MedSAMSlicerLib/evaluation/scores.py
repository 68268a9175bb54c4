"""What a mask is worth: Dice, normalised surface Dice and HD95 of one step of a measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..core.geometry import SliceAxis
from ..core.metrics import check_surface_metrics, dice, dice_of_slices, hd95, normalised_surface_dice
from .datasets import BoolVolume
from .measurement import Step

TOLERANCE_MM = 2.0
"""How far two good readers may be apart: that of NSD."""

_DIGITS = 5  # as results are written down


def check_installed() -> None:
    """Stop before a run of hours begins; MedSAMError when the surface metrics are not installed."""
    check_surface_metrics()


def step_of(
    mask: BoolVolume, truth: BoolVolume, spacing: Sequence[float], interactions: int, seconds: float
) -> Step:
    """The scores of a mask.

    Args:
        mask, truth: (K, J, I) bool.
        spacing: mm along (i, j, k).
        interactions: prompts given so far.
        seconds: waited for the mask.
    """
    distance = hd95(mask, truth, spacing)
    return Step(
        interactions,
        round(float(dice(mask, truth)), _DIGITS),
        round(normalised_surface_dice(mask, truth, spacing, TOLERANCE_MM), _DIGITS),
        round(distance, 3) if math.isfinite(distance) else None,
        round(seconds, 4),
    )


def scores_by_slice(mask: BoolVolume, truth: BoolVolume, axis: SliceAxis) -> tuple[tuple[int, float], ...]:
    """(index, Dice) of every slice that holds the truth or the mask."""
    by_slice = dice_of_slices(mask, truth, axis)
    held = np.flatnonzero(np.isfinite(by_slice)).tolist()
    return tuple((index, round(float(by_slice[index]), 4)) for index in held)
