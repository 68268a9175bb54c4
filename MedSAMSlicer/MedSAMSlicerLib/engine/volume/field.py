"""Mean field over the six neighbors of a voxel: labels are pulled to agree, less so across an edge of gray."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def mean_field(
    unary: Floats, gray: Floats, spacing: tuple[float, float, float], strength: float, rounds: int
) -> Floats:
    """Logits after some rounds of mean field in an Ising model (Potts with two labels).

    Args:
        unary: (slices, rows, columns) logits.
        gray: of the same shape, in units in which 1 is a strong edge.
        spacing: mm along each axis; what lies farther apart is tied less.
        strength: logits that a voxel gains from one neighbor that is certain and as gray as itself.
        rounds: of updates.
    """
    ties = []
    for axis, mm in enumerate(spacing):
        likeness = np.exp(-2 * np.square(np.diff(gray, axis=axis)))
        ties.append((strength * min(spacing) / mm * likeness).astype(np.float32))
    logits = unary
    for _ in range(rounds):
        lean = np.tanh(logits / 2)
        logits = unary.copy()
        for axis, tie in enumerate(ties):
            low, high = _shifted(axis)
            logits[low] += tie * lean[high]
            logits[high] += tie * lean[low]
    return logits


def _shifted(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low, high = [slice(None)] * 3, [slice(None)] * 3
    low[axis], high[axis] = slice(0, -1), slice(1, None)
    return tuple(low), tuple(high)
