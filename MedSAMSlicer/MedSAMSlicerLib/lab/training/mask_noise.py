"""Masks with the errors that tracking makes, so that a network learns to come back from its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .fields import Source

_LIMIT = 8.0


def corrupted(source: Source, logits: Tensor, strength: float = 1.0) -> Tensor:
    """Masks (B, 1, h, w) that are too large, too small, without a part, leaked to one side, or moved."""
    reach = source.integer(1, round(4 * strength))
    kind = source.pick(["large", "small", "part", "leak", "move"], [4.0, 1.0, 1.0, 4.0, 1.0])
    if kind == "large":
        return functional.max_pool2d(logits, 2 * reach + 1, 1, reach)
    if kind == "small":
        return -functional.max_pool2d(-logits, 2 * reach + 1, 1, reach)
    if kind == "part":
        return torch.minimum(logits, _half_plane(source, logits))
    rows, columns = source.integer(-3, 3), source.integer(-3, 3)
    if kind == "move":
        return moved(logits, rows * reach // 3, columns * reach // 3)
    return torch.maximum(logits, moved(logits, rows * reach, columns * reach))


def moved(logits: Tensor, rows: int, columns: int) -> Tensor:
    """Masks moved by whole rows and columns; nothing comes in from outside."""
    padded = functional.pad(logits, (abs(columns),) * 2 + (abs(rows),) * 2, value=-_LIMIT)
    height, width = padded.shape[-2:]
    rolled = padded.roll((rows, columns), (-2, -1))
    return rolled[..., abs(rows) : height - abs(rows), abs(columns) : width - abs(columns)]


def _half_plane(source: Source, logits: Tensor) -> Tensor:
    """(h, w) logits that are high on one side of a line near the middle."""
    rows, columns = (torch.linspace(-1, 1, side, device=logits.device) for side in logits.shape[-2:])
    angle, offset = source.uniform(0, math.tau), source.uniform(-0.3, 0.3)
    level = rows[:, None] * math.sin(angle) + columns * math.cos(angle) - offset
    return (60 * level).clamp(-_LIMIT, _LIMIT).to(logits.dtype)
