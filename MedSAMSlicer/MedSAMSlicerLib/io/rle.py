"""Masks as run lengths in the form of the COCO data set, which annotation tools and `pycocotools` read.

Runs follow the columns from top to bottom and then from left to right, the first being background. The compressed
form writes each run, from the fourth on as its difference from the run two before, in groups of five bits, lowest
first, as letters from "0" on; the sixth bit of a letter says that the number goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.masks import run_lengths

Mask = npt.NDArray[np.bool_]

_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48


def encode_rle(mask: Mask) -> dict[str, Any]:
    """A mask, (rows, columns) bool -> {"size": [rows, columns], "counts": text}."""
    runs = run_lengths(np.asarray(mask, np.bool_).ravel(order="F"))
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": _compressed(runs)}


def _compressed(runs: Sequence[int]) -> str:
    letters = []
    for place, run in enumerate(runs):
        number = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            group = number & (_MORE - 1)
            number >>= _BITS
            more = number != (-1 if group & _SIGN else 0)
            letters.append(chr(group + _MORE * more + _FIRST))
    return "".join(letters)
