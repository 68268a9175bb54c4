"""The positions of features: fixed sine embeddings and rotary angles, kept for the next call on the same grid.

The tables are shared between calls: never change one in place.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

TEMPERATURE = 10000.0


def _wavelengths(count: int, device: torch.device) -> Tensor:
    """(count,) sine and cosine of one frequency share a wavelength, so they come in pairs."""
    index = torch.arange(count, dtype=torch.float32, device=device)
    return TEMPERATURE ** (2 * (index // 2) / count)


def sine_embedding_1d(positions: Tensor, dim: int) -> Tensor:
    """(n,) positions -> (n, dim) sines, then cosines (Vaswani et al. 2017)."""
    angles = positions.float()[:, None] / _wavelengths(dim // 2, positions.device)
    return torch.cat([angles.sin(), angles.cos()], 1)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def sine_embedding_2d(dim: int, height: int, width: int, device: torch.device) -> Tensor:
    """(1, dim, height, width) float32: the first half of the channels encodes the row, the second the column."""

    def encode(length: int) -> Tensor:
        steps = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        angles = (steps / (length + 1e-6) * 2 * math.pi)[:, None] / _wavelengths(dim // 2, device)
        return (
            torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], 2).flatten(1).T
        )  # (dim / 2, length)

    rows = encode(height)[:, :, None].expand(-1, -1, width)
    columns = encode(width)[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns])[None]


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def rotary_table(dim: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (height * width, dim / 2) that turn each pair of channels by the token's place.

    The first half of the pairs turns with the column, the second with the row (Su et al. 2021, Heo et al. 2024).
    """
    frequencies = TEMPERATURE ** -(torch.arange(0, dim, 4, dtype=torch.float32, device=device) / dim)
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    angles = torch.cat([columns.reshape(-1, 1) * frequencies, rows.reshape(-1, 1) * frequencies], 1)
    return angles.cos(), angles.sin()


def rotate(tokens: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the channel pairs of (..., n * height * width, dim) tokens by the table, which repeats for every grid."""
    cosine, sine = table
    pairs = (
        tokens.float().unflatten(-2, (-1, cosine.shape[0])).unflatten(-1, (-1, 2))
    )  # (..., n, hw, dim / 2, 2)
    real, imaginary = pairs.unbind(-1)
    turned = torch.stack([real * cosine - imaginary * sine, real * sine + imaginary * cosine], -1)
    return turned.flatten(-2).flatten(-3, -2).to(tokens.dtype)
