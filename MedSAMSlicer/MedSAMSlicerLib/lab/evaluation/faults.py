"""Segments with a fault on some of their slices, for what finds such faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def spoiled(mask: Mask, slices: tuple[int, int, int]) -> Mask:
    """A mask (K, J, I) that is shifted on the first of three slices, lacks a part on the second, leaks on the third."""
    wrong = mask.copy()
    shifted, cut, leaking = slices
    side = np.sqrt(mask[shifted].sum())
    wrong[shifted] = np.roll(mask[shifted], (round(0.3 * side), round(0.2 * side)), (0, 1))
    wrong[cut] = cut_on(mask, (cut,))[cut]
    rows, last = np.flatnonzero(mask[leaking].any(axis=1)), _columns(mask[leaking])[-1]
    wrong[leaking] |= _disk(
        mask.shape[1:], float(rows.mean()), float(last), 0.4 * np.sqrt(mask[leaking].sum())
    )
    return wrong


def _columns(mask: Mask) -> npt.NDArray[np.intp]:
    return np.flatnonzero(mask.any(axis=0))


def _disk(shape: tuple[Any, ...], row: float, column: float, radius: float) -> Mask:
    rows, columns = np.indices(shape)
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def cut_on(mask: Mask, slices: Sequence[int]) -> Mask:
    """A mask (K, J, I) that lacks the same side on several slices."""
    wrong = mask.copy()
    for index in slices:
        columns = _columns(mask[index])
        wrong[index, :, columns[len(columns) // 2] :] = False
    return wrong
