"""The plain vision transformer of SAM (Li et al. 2022, arXiv 2203.16527) and, without relative positions, EfficientTAM.

A slice (N, 3, S, S) becomes tokens of 16 x 16 pixels on a grid; most blocks attend within windows, a few to the whole
grid; the neck turns the tokens into the (N, 256, S / 16, S / 16) embedding that the mask decoder reads. Parameter names
are those of the published checkpoints of SAM; :mod:`.dialects` knows the others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import ViTConfig
from .hiera import join_windows, split_windows
from .layers import MLP, embedding_neck

PATCH = 16
_MOST_LOGITS = 1 << 25  # attention logits in memory at one time, where they get a part for the distance


class ViT(nn.Module):
    """(N, channels_in, S, S) -> (N, channels_out, S / 16, S / 16); S is a multiple of 16."""

    def __init__(self, config: ViTConfig, channels_out: int, channels_in: int = 3) -> None:
        super().__init__()
        self.config = config
        stored = config.position_grid or config.grid
        shape = (1, stored * stored + 1) if config.class_token else (1, stored, stored)
        self.patch_embed = PlainPatchEmbedding(channels_in, config.width)
        self.pos_embed = nn.Parameter(torch.zeros(*shape, config.width))
        self.blocks = nn.ModuleList(
            ViTBlock(config, window=0 if index in config.global_blocks else config.window)
            for index in range(config.depth)
        )
        self.neck = embedding_neck(config.width, channels_out)

    def forward(self, frames: Tensor, pause: Callable[[], object] | None = None) -> Tensor:
        """`pause` is called between the blocks."""
        x = self.patch_embed(frames)  # (N, h, w, C)
        x = x + self.position(x.shape[1], x.shape[2]).to(x.dtype)
        for block in self.blocks:
            if pause is not None:
                pause()
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out

    def position(self, height: int, width: int) -> Tensor:
        """(1, height, width, C): the stored position embedding, resampled where the grid is another."""
        stored: Tensor = self.pos_embed
        mode = "bilinear"
        if self.config.class_token:
            side = self.config.position_grid or self.config.grid
            stored, mode = stored[:, 1:].unflatten(1, (side, side)), "bicubic"
        if stored.shape[1:3] == (height, width):
            return stored
        resampled = functional.interpolate(stored.permute(0, 3, 1, 2), (height, width), mode=mode)
        return resampled.permute(0, 2, 3, 1)


class PlainPatchEmbedding(nn.Module):
    """(N, channels_in, S, S) -> (N, S / 16, S / 16, C)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels_in, channels, PATCH, stride=PATCH)

    def forward(self, frames: Tensor) -> Tensor:
        patches: Tensor = self.proj(frames)
        return patches.permute(0, 2, 3, 1)


class ViTBlock(nn.Module):
    """One transformer block on (N, h, w, C); `window` 0 = it attends to the whole grid."""

    def __init__(self, config: ViTConfig, window: int) -> None:
        super().__init__()
        channels = config.width
        self.window = window
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = GridAttention(
            channels, config.heads, (window or config.grid) if config.relative_positions else None
        )
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP(channels, 4 * channels, channels, activation=functional.gelu)
        if config.adapters:
            self.Adapter = ChannelSpatialAdapter(channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        normed = self.norm1(x)
        if self.window:
            windows, rows, columns = split_windows(normed, self.window)
            attended = join_windows(self.attn(windows), rows, columns)[:, :height, :width]
        else:
            attended = self.attn(normed)
        x = x + attended
        normed = self.norm2(x)
        out: Tensor = x + self.mlp(normed)
        return out + self.Adapter(normed) if hasattr(self, "Adapter") else out


class GridAttention(nn.Module):
    """Attention among all tokens of (N, h, w, C).

    With a `side`, the logit of two tokens also has a learned part for the rows and one for the columns between them:
    the query times an entry of `rel_pos_h` and of `rel_pos_w`. The tables are made for a grid of that side.
    """

    def __init__(self, channels: int, heads: int, side: int | None) -> None:
        super().__init__()
        self.heads = heads
        self.side = side
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        if side is not None:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))

    def forward(self, x: Tensor) -> Tensor:
        count, height, width, _ = x.shape
        qkv = self.qkv(x).flatten(1, 2).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (N, heads, h w, d) each
        if self.side is None:
            out = functional.scaled_dot_product_attention(q, k, v)
        else:
            rows = relative_table(self.rel_pos_h, height).to(q.dtype)
            columns = relative_table(self.rel_pos_w, width).to(q.dtype)
            together = max(1, _MOST_LOGITS // (count * (height * width) ** 2))
            out = torch.cat(
                [
                    functional.scaled_dot_product_attention(
                        some, keys, values, attn_mask=_distance_logits(some, rows, columns)
                    )
                    for some, keys, values in zip(
                        q.split(together, 1), k.split(together, 1), v.split(together, 1), strict=True
                    )
                ],
                1,
            )
        grid: Tensor = self.proj(out.transpose(1, 2).flatten(2)).unflatten(1, (height, width))
        return grid


def relative_table(stored: Tensor, side: int) -> Tensor:
    """(2 s - 1, d) embeddings of distances -> (side, side, d) those of query i and key j; resampled to another side."""
    if len(stored) != 2 * side - 1:
        stored = functional.interpolate(stored.T[None], 2 * side - 1, mode="linear")[0].T
    place = torch.arange(side, device=stored.device)
    return stored[place[:, None] - place[None] + side - 1]


def _distance_logits(queries: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(N, heads, h w, d) queries, which are not scaled here -> (N, heads, h w, h w)."""
    placed = queries.unflatten(2, (len(rows), len(columns)))
    of_rows = torch.einsum("nayxd,yjd->nayxj", placed, rows)
    of_columns = torch.einsum("nayxd,xjd->nayxj", placed, columns)
    return (of_rows[..., :, None] + of_columns[..., None, :]).flatten(4).flatten(2, 3)


class ChannelSpatialAdapter(nn.Module):
    """(N, h, w, C) -> the same: channels gated by their mean, a detour over half the grid, then a layer norm.

    The adapter of SAM-Med2D (Cheng et al. 2023, arXiv 2308.16184). Without its weights it is not the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.channel = nn.Sequential(
            nn.Linear(channels, channels // 4, bias=False),
            nn.ReLU(),
            nn.Linear(channels // 4, channels, bias=False),
            nn.Sigmoid(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        gated = x * self.channel(x.mean((1, 2)))[:, None, None]
        detour = self.spatial(gated.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = self.norm(x + detour)
        return out
