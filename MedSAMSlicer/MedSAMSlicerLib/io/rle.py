"""Masks as run lengths in the form of the COCO data set, which annotation tools and `pycocotools` read.

Runs follow the columns from top to bottom and then from left to right, the first being background. The compressed
form writes each run, from the fourth on as its difference from the run two before, in groups of five bits, lowest
first, as letters from "0" on; the sixth bit of a letter says that the number goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import VolumeError

Mask = npt.NDArray[np.bool_]

_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48


def encode_rle(mask: Mask) -> dict[str, Any]:
    """A mask, (rows, columns) bool -> {"size": [rows, columns], "counts": text}."""
    runs = run_lengths(np.asarray(mask, np.bool_).ravel(order="F"))
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": _compressed(runs)}


def run_lengths(values: Mask) -> list[int]:
    """The lengths of alternating runs of (N,) bool, the first one of False, which may be 0."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate(([0], changes, [values.size]))).tolist()
    return [0, *runs] if values.size and values[0] else runs


def decode_rle(content: Mapping[str, Any]) -> Mask:
    """The mask, (rows, columns) bool, of run lengths as text or as a list of numbers.

    Raises:
        VolumeError: If they do not fill the size that they name.
    """
    rows, columns = (int(length) for length in content["size"])
    counts = content["counts"]
    runs = _runs(counts) if isinstance(counts, str) else [int(run) for run in counts]
    if min(rows, columns, *runs, 0) < 0 or sum(runs) != rows * columns:
        raise VolumeError(
            f"Run lengths of {sum(runs)} pixels do not fill a mask of {columns} x {rows} pixels."
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.asarray(np.repeat(values, runs).reshape((rows, columns), order="F"), np.bool_)


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


def _runs(text: str) -> list[int]:
    runs: list[int] = []
    number = shift = 0
    for letter in text:
        group = ord(letter) - _FIRST
        number |= (group & (_MORE - 1)) << shift
        shift += _BITS
        if group & _MORE:
            continue
        if group & _SIGN:
            number -= 1 << shift
        runs.append(number + runs[-2] if len(runs) > 2 else number)
        number = shift = 0
    return runs
