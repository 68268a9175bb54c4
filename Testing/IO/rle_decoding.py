"""The masks of run lengths in COCO's form, read independently of the code that writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def decode_rle(content: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """The mask, (rows, columns) bool, of compressed run lengths that must fill it."""
    rows, columns = content["size"]
    runs = _runs(content["counts"])
    assert min(runs) >= 0
    assert sum(runs) == rows * columns
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape((rows, columns), order="F")


def _runs(text: str) -> list[int]:
    """Lengths of runs; a letter holds five bits, lowest first, and a sixth that says that the number goes on."""
    runs: list[int] = []
    number = shift = 0
    for letter in text:
        group = ord(letter) - 48
        number |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            number -= 1 << shift
        runs.append(number + runs[-2] if len(runs) > 2 else number)
        number = shift = 0
    return runs
