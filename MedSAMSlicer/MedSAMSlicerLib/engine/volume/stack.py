"""The evidence as the learned stage takes it in, and the fused logit that it corrects."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .channels import Channels, binned
from .evidence import VolumeEvidence

Floats = npt.NDArray[np.float32]

READING = slice(16, 20)
"""The channels of the second network's reading in a stack; all 0 where there is none."""


def fused(found: Channels, evidence: VolumeEvidence) -> Floats:
    """The logit of all evidence together, (slices, rows, columns)."""
    logits = found.logits
    smooth = logits.copy()
    smooth[1:-1] = (logits[:-2] + 2 * logits[1:-1] + logits[2:]) / 4
    total = (
        0.35 * smooth.clip(-8, 8)
        + 0.4 * found.likelihood
        + 2.0 * found.grown
        + 2.0 * found.regrown
        + 1.5 * found.shape.clip(-1, 1)
        + 3.0 * found.clicks
        - 10.0 * np.maximum(-found.edge - 0.2, 0)
    )
    total[: evidence.first] = -12
    total[evidence.last + 1 :] = -12
    return np.asarray(total.clip(-12, 12), np.float32)


def stacked(found: Channels, evidence: VolumeEvidence, fused_logit: Floats, factor: int = 1) -> Floats:
    """(channels, slices, rows, columns) float32 on the working grid.

    Args:
        found: the channels of the evidence.
        evidence: of one object.
        fused_logit: of :func:`fused`.
        factor: pixels of a slice along each side that make one of the working grid.
    """
    gray = binned(evidence.gray, factor)
    shape = found.logits.shape
    count = shape[0]
    keys = np.flatnonzero(evidence.keys)
    z = np.arange(count)
    nearest = np.abs(z[:, None] - keys[None]).min(1)
    in_range = ((z >= evidence.first) & (z <= evidence.last)).astype(np.float32)
    flat = [
        evidence.keys.astype(np.float32),
        np.exp(-nearest / 6).astype(np.float32),
        evidence.iou.astype(np.float32),
        in_range,
        np.full(count, float(evidence.ranged), np.float32),
    ]
    ratio = np.log(evidence.spacing[0] / evidence.spacing[1])
    parts: list[npt.NDArray[np.floating[Any]]] = [
        found.logits / 4,
        gray / 128 - 1,
        found.gray / 2,
        found.likelihood,
        found.grown,
        found.regrown,
        found.shape,
        found.edge,
        found.clicks,
        fused_logit / 4,
        *(values[:, None, None] for values in flat),
        np.full(shape, ratio, np.float32),
        *_second_reading(evidence, factor),
    ]
    return np.stack([np.broadcast_to(part, shape) for part in parts]).astype(np.float32)


def _second_reading(evidence: VolumeEvidence, factor: int) -> list[Floats]:
    """The logits of a second network, where they are known, and the agreement of both on key slices and every slice."""
    reading, shape = evidence.reading, (len(evidence.gray), 1, 1)
    if reading is None:
        return [np.zeros(shape, np.float32)] * 4
    known = reading.known.astype(np.float32)[:, None, None]
    agreement = reading.agreement[:, None, None]
    logits = binned(reading.logits / 4, factor)
    return [logits, known, np.full(shape, reading.on_keys, np.float32), agreement]
