"""The memory of SAM 2: how a slice and its mask are remembered, and how a later slice reads what is remembered."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import Attention, LayerNorm2d
from .position import rotary_table, rotate


class MemoryEncoder(nn.Module):
    """(B, C, h, w) image features and (B, 1, S, S) masks -> (B, D, h, w) memories."""

    def __init__(self, channels: int, memory_channels: int, stride: int) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(channels, stride)
        self.pix_feat_proj = nn.Conv2d(channels, channels, 1)
        self.fuser = Fuser(channels)
        self.out_proj = nn.Conv2d(channels, memory_channels, 1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        memory: Tensor = self.out_proj(self.fuser(self.pix_feat_proj(image) + self.mask_downsampler(mask)))
        return memory


class MaskDownsampler(nn.Module):
    """(B, 1, S, S) -> (B, C, S / stride, S / stride): each halving has four times the channels."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential()
        halvings = int(math.log2(stride))
        for step in range(halvings):
            self.encoder.append(nn.Conv2d(4**step, 4 ** (step + 1), 3, stride=2, padding=1))
            self.encoder.append(LayerNorm2d(4 ** (step + 1)))
            self.encoder.append(nn.GELU())
        self.encoder.append(nn.Conv2d(4**halvings, channels, 1))

    def forward(self, mask: Tensor) -> Tensor:
        out: Tensor = self.encoder(mask)
        return out


class Fuser(nn.Module):
    """Two ConvNeXt blocks (Liu et al. 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNeXtBlock(channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class ConvNeXtBlock(nn.Module):
    """A wide depthwise convolution and a feed-forward part beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-2))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(functional.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class MemoryAttention(nn.Module):
    """The tokens of a slice attend to themselves and to the memories, layer after layer."""

    def __init__(
        self, channels: int, memory_channels: int, feedforward: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(channels, memory_channels, feedforward, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels)

    def forward(
        self,
        image: Tensor,
        image_position: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        grid: tuple[int, int],
        num_pointer_tokens: int = 0,
    ) -> Tensor:
        """Condition a slice on its memories.

        Args:
            image: (B, h * w, C) tokens of the slice.
            image_position: (1, h * w, C).
            memory: (B, L, D): any number of remembered grids of h * w tokens, then the pointer tokens.
            memory_position: (B, L, D).
            grid: h, w.
            num_pointer_tokens: How many tokens at the end have no place in the grid.

        Returns:
            (B, h * w, C).
        """
        x = image + 0.1 * image_position
        for layer in self.layers:
            x = layer(x, memory, memory + memory_position, grid, num_pointer_tokens)
        out: Tensor = self.norm(x)
        return out


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to the memories and a feed-forward part, each on normalized tokens."""

    def __init__(self, channels: int, memory_channels: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = RotaryAttention(channels, heads=1, dropout=dropout)
        self.cross_attn_image = RotaryAttention(
            channels, heads=1, key_channels=memory_channels, dropout=dropout
        )
        self.linear1 = nn.Linear(channels, feedforward)
        self.linear2 = nn.Linear(feedforward, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, memory: Tensor, memory_keys: Tensor, grid: tuple[int, int], num_pointer_tokens: int
    ) -> Tensor:
        normed = self.norm1(x)
        x = x + self.dropout(self.self_attn(normed, normed, normed, grid))
        normed = self.norm2(x)
        x = x + self.dropout(self.cross_attn_image(normed, memory_keys, memory, grid, num_pointer_tokens))
        hidden = self.dropout(functional.relu(self.linear1(self.norm3(x))))
        out: Tensor = x + self.dropout(self.linear2(hidden))
        return out


class RotaryAttention(Attention):
    """Attention whose queries and keys are turned by their place in the grid; the last `unplaced` keys have none."""

    def forward(  # type: ignore[override]
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int], unplaced: int = 0
    ) -> Tensor:
        q, k, v = self.split(self.q_proj(q)), self.split(self.k_proj(k)), self.split(self.v_proj(v))
        table = rotary_table(q.shape[-1], *grid, q.device)
        placed = k.shape[2] - unplaced
        k = torch.cat([rotate(k[:, :, :placed], table), k[:, :, placed:]], 2)
        return self.attend(rotate(q, table), k, v)
