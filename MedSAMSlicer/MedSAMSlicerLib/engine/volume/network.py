"""The learned part of the volume stage: a small 3-D U-Net over the evidence, whose answer is added to the fused logit.

Slices are often much thicker than pixels are wide. Convolutions are split into one within the slices and one across
them, and slices are pooled only as far as voxels are then no longer than wide.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

IN_CHANNELS = 20
WIDTHS = (24, 40, 64)
_GROUPS = 8


class ConvBlock(nn.Module):
    """Within the slices, then across them, with a skip around both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.within = nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1))
        self.across = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0))
        self.norm = nn.GroupNorm(_GROUPS, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, slices, rows, columns), in and out."""
        y = functional.silu(self.norm(self.within(x)))
        return x + functional.silu(self.across(y))


class VolumeNet(nn.Module):
    """(1, IN_CHANNELS, slices, rows, columns) -> (1, 1, slices, rows, columns), what is added to the fused logit."""

    def __init__(self, channels: int = IN_CHANNELS, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.widths = widths
        self.stem = nn.Conv3d(channels * 4, widths[0], 1)
        self.down = nn.ModuleList(nn.Conv3d(a, b, 1) for a, b in pairwise(widths))
        self.encode = nn.ModuleList(nn.Sequential(ConvBlock(w), ConvBlock(w)) for w in widths)
        self.merge = nn.ModuleList(nn.Conv3d(a + b, a, 1) for a, b in pairwise(widths))
        self.decode = nn.ModuleList(nn.Sequential(ConvBlock(w), ConvBlock(w)) for w in widths[:-1])
        self.head = nn.Conv3d(widths[0], 4, 1)
        self.fine = nn.Conv3d(channels + 1, 16, 1)
        self.last = nn.Conv3d(16, 1, (1, 3, 3), padding=(0, 1, 1))
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, anisotropy: float) -> Tensor:
        """`anisotropy`: distance of slices / width of a pixel."""
        rows, columns = x.shape[-2:]
        padded = functional.pad(x, (0, columns % 2, 0, rows % 2, 0, 0), mode="replicate")
        y = self.stem(_to_depth(padded))
        ratio, kept = anisotropy / 2, []
        for level, encode in enumerate(self.encode):
            if level:
                steps = (2 if ratio < 0.75 and y.shape[2] > 1 else 1, 2, 2)
                ratio = ratio * steps[0] / 2
                y = functional.avg_pool3d(y, steps, steps, ceil_mode=True)
                y = self.down[level - 1](y)
            y = encode(y)
            kept.append(y)
        for level in reversed(range(len(self.decode))):
            upper = functional.interpolate(y, size=kept[level].shape[2:], mode="nearest")
            y = self.decode[level](self.merge[level](torch.cat([kept[level], upper], 1)))
        coarse = _from_depth(self.head(y))[..., :rows, :columns]
        found: Tensor = self.last(functional.silu(self.fine(torch.cat([x, coarse], 1))))
        return found


def _to_depth(x: Tensor) -> Tensor:
    """(N, C, S, 2R, 2C) -> (N, 4C, S, R, C)."""
    n, c, s, rows, columns = x.shape
    parts = x.view(n, c, s, rows // 2, 2, columns // 2, 2)
    return parts.permute(0, 1, 4, 6, 2, 3, 5).reshape(n, 4 * c, s, rows // 2, columns // 2)


def _from_depth(x: Tensor) -> Tensor:
    """(N, 4, S, R, C) -> (N, 1, S, 2R, 2C)."""
    n, _, s, rows, columns = x.shape
    parts = x.view(n, 2, 2, s, rows, columns)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(n, 1, s, 2 * rows, 2 * columns)
