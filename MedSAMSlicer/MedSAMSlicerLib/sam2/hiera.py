"""Hiera, the image trunk of the published checkpoints: a vision transformer that halves its grid between stages.

Ryali et al. 2023 (arXiv 2306.00989), with the windowed position embedding of Bolya et al. 2023 (arXiv 2311.05613).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import HieraConfig
from .layers import MLP


class Hiera(nn.Module):
    """(N, 3, S, S) -> four maps (N, C_i, S / s, S / s), s = 4, 8, 16, 32; `channels` are the C_i, finest first."""

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        channels, heads = config.embed_dim, config.num_heads
        self.patch_embed = PatchEmbedding(channels)
        self.pos_embed = nn.Parameter(torch.zeros(1, channels, *config.position_embedding_size))
        self.pos_embed_window = nn.Parameter(
            torch.zeros(1, channels, config.window_sizes[0], config.window_sizes[0])
        )
        self.blocks = nn.ModuleList()
        self.channels = tuple(channels * 2**stage for stage in range(4))
        for stage, depth in enumerate(config.stages):
            for position in range(depth):
                first = stage > 0 and position == 0
                # the first block of a stage still works on the grid, and in the windows, of the stage before
                window = config.window_sizes[stage - 1 if first else stage]
                if len(self.blocks) in config.global_attention_blocks:
                    window = 0
                width = self.channels[stage]
                self.blocks.append(
                    HieraBlock(width // 2 if first else width, width, heads * 2**stage, window, pool=first)
                )
        self.last_blocks = {sum(config.stages[: stage + 1]) - 1 for stage in range(4)}

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = self.patch_embed(frames)  # (N, S/4, S/4, C)
        x = x + self.position(x.shape[1], x.shape[2])
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.last_blocks:
                maps.append(x.permute(0, 3, 1, 2))
        return maps

    def position(self, height: int, width: int) -> Tensor:
        """(1, height, width, C): a background stretched over the image plus a tile that repeats in every window."""
        background = functional.interpolate(self.pos_embed, (height, width), mode="bicubic")
        side = self.pos_embed_window.shape[-1]
        tiles = self.pos_embed_window.tile(1, 1, -(-height // side), -(-width // side))
        return (background + tiles[:, :, :height, :width]).permute(0, 2, 3, 1)


class PatchEmbedding(nn.Module):
    """(N, 3, S, S) -> (N, S/4, S/4, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, kernel_size=7, stride=4, padding=3)

    def forward(self, frames: Tensor) -> Tensor:
        patches: Tensor = self.proj(frames)
        return patches.permute(0, 2, 3, 1)


class HieraBlock(nn.Module):
    """One transformer block on (N, H, W, C); with `pool` it halves the grid (and the caller doubles the channels)."""

    def __init__(self, channels_in: int, channels: int, heads: int, window: int, pool: bool) -> None:
        super().__init__()
        self.window = window
        self.pool = pool
        self.norm1 = nn.LayerNorm(channels_in, eps=1e-6)
        self.attn = WindowAttention(channels_in, channels, heads, pool)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP(channels, 4 * channels, channels, activation=functional.gelu)
        if channels_in != channels:
            self.proj = nn.Linear(channels_in, channels)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        if self.pool:
            x = halve(self.proj(normed))
        height, width = x.shape[1:3]  # of the result
        if self.window == 0:
            x = x + self.attn(normed)
        else:
            windows, rows, columns = split_windows(normed, self.window)
            x = x + join_windows(self.attn(windows), rows, columns)[:, :height, :width]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class WindowAttention(nn.Module):
    """Attention among all tokens of (N, H, W, C); with `pool` the queries, and so the result, have half the grid."""

    def __init__(self, channels_in: int, channels: int, heads: int, pool: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool = pool
        self.qkv = nn.Linear(channels_in, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)  # (N, H, W, C) each
        if self.pool:
            q = halve(q)
        height, width = q.shape[1:3]
        q, k, v = (part.flatten(1, 2).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        out = functional.scaled_dot_product_attention(q, k, v)  # (N, heads, H W, C / heads)
        grid: Tensor = self.proj(out.transpose(1, 2).flatten(2)).unflatten(1, (height, width))
        return grid


def halve(x: Tensor) -> Tensor:
    """(N, H, W, C) -> (N, H/2, W/2, C), the maximum of every 2x2 cell."""
    return functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def split_windows(x: Tensor, window: int) -> tuple[Tensor, int, int]:
    """(N, H, W, C) -> (N * rows * columns, window, window, C), rows, columns; padded with zeros to whole windows."""
    height, width = x.shape[1:3]
    rows, columns = -(-height // window), -(-width // window)
    x = functional.pad(x, (0, 0, 0, columns * window - width, 0, rows * window - height))
    x = x.unflatten(2, (columns, window)).unflatten(1, (rows, window))  # (N, rows, w, columns, w, C)
    return x.transpose(2, 3).flatten(0, 2), rows, columns


def join_windows(windows: Tensor, rows: int, columns: int) -> Tensor:
    """(N * rows * columns, w, w, C) -> (N, rows * w, columns * w, C)."""
    x: Tensor = windows.unflatten(0, (-1, rows, columns)).transpose(2, 3)  # (N, rows, w, columns, w, C)
    return x.flatten(3, 4).flatten(1, 2)
