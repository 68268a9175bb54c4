"""From gray values or colors to what a network's first layer was trained with; see :class:`~.config.InputRule`."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import InputRule

_LEAST_SPAN = 1e-8  # of a frame that is stretched to 0..1, as the published programs have it


def normalized(rule: InputRule, frames: Tensor, inside: Tensor | None = None) -> Tensor:
    """Frames as a network reads them.

    Args:
        rule: the network's.
        frames: values 0..255 (uint8 or float), gray (N, S, S) or in color (N, S, S, 3).
        inside: (N, S, S) booleans, which pixels show the slice; None = all.

    Returns:
        (N, channels, S, S) float32.
    """
    channels = frames[:, None] if frames.ndim == 3 else frames.permute(0, 3, 1, 2).contiguous()
    values = channels.to(torch.float32)  # (N, 1 or channels, S, S)
    if rule.range == "min-max":
        values = _stretched(values, inside)
    else:
        mean = values.new_tensor(rule.mean).view(1, -1, 1, 1)
        deviation = values.new_tensor(rule.deviation).view(1, -1, 1, 1)
        values = (values / 255 - mean) / deviation
    values = values.expand(-1, rule.channels, -1, -1)
    if rule.padding == "zero" and inside is not None:
        values = values * inside[:, None]
    return values.contiguous()


def _stretched(values: Tensor, inside: Tensor | None) -> Tensor:
    """Each frame from its least value, 0, to its largest, 1; what lies beyond the slice does not count."""
    lowest, highest = values, values
    if inside is not None:
        lowest = values.where(inside[:, None], torch.inf)
        highest = values.where(inside[:, None], -torch.inf)
    least = lowest.amin((1, 2, 3), keepdim=True)
    span = (highest.amax((1, 2, 3), keepdim=True) - least).clamp(min=_LEAST_SPAN)
    return ((values - least) / span).clamp(0, 1)
