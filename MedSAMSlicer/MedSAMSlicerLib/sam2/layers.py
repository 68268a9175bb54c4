"""The building blocks that several parts of the network share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerNorm2d(nn.Module):
    """Layer normalization over the channels of (N, C, H, W), pixel by pixel."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def embedding_neck(width: int, channels: int) -> nn.Sequential:
    """Return what turns the tokens (N, width, h, w) of a plain transformer into the decoder's (N, channels, h, w)."""
    return nn.Sequential(
        nn.Conv2d(width, channels, 1, bias=False),
        LayerNorm2d(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        LayerNorm2d(channels),
    )


class MLP(nn.Module):
    """Linear layers with an activation between them."""

    def __init__(
        self,
        channels_in: int,
        hidden: int,
        channels_out: int,
        layers: int = 2,
        activation: Callable[[Tensor], Tensor] = functional.relu,
    ) -> None:
        super().__init__()
        widths = [channels_in, *[hidden] * (layers - 1), channels_out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class Attention(nn.Module):
    """Scaled dot-product attention with projections; `inner` channels may be fewer than those of the tokens."""

    def __init__(
        self,
        channels: int,
        heads: int,
        inner: int | None = None,
        key_channels: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inner = channels if inner is None else inner
        key_channels = channels if key_channels is None else key_channels
        self.heads = heads
        self.dropout = dropout
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(key_channels, inner)
        self.v_proj = nn.Linear(key_channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def split(self, tokens: Tensor) -> Tensor:
        """(B, L, inner) -> (B, heads, L, inner / heads)."""
        split: Tensor = tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return split

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Projected and split queries, keys and values -> (B, L, C)."""
        dropout = self.dropout if self.training else 0.0
        out = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        projected: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return projected

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, L, C) queries, (B, M, key_channels) keys and values -> (B, L, C)."""
        q, k, v = self.split(self.q_proj(q)), self.split(self.k_proj(k)), self.split(self.v_proj(v))
        return self.attend(q, k, v)
