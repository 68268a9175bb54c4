"""The speed of this computer at what image encoders consist of, from which the time of a network is estimated."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.nn import functional

from .devices import chosen_device
from .precision import choose, torch_settings

_TOKENS, _WIDTH, _HEADS = 256, 256, 4
_TRIES = 20  # short ones, of which the quickest counts: what else the machine does can only slow one down

FLOPS = 2 * (12 * _TOKENS * _WIDTH**2 + 2 * _TOKENS**2 * _WIDTH)
"""Multiplications and additions of one block."""


@torch.inference_mode()
def measured_speed(device: str = "auto", threads: int | None = None) -> float:
    """Multiplications and additions a second in a block of a vision transformer, in float32; takes a moment.

    Raises:
        MedSAMError: The device is unknown, or not there.
    """
    precision = choose(chosen_device(device), "exact")
    generator = torch.Generator().manual_seed(0)
    shapes = ((3 * _WIDTH, _WIDTH), (_WIDTH, _WIDTH), (4 * _WIDTH, _WIDTH), (_WIDTH, 4 * _WIDTH))
    weights = [torch.randn(*shape, generator=generator).to(precision.device) / 16 for shape in shapes]
    tokens = torch.randn(1, _TOKENS, _WIDTH, generator=generator).to(precision.device)
    with torch_settings(precision, threads):
        _block(tokens, weights)  # the first time is slower than all others
        return FLOPS / min(_seconds(tokens, weights) for _ in range(_TRIES))


def _seconds(tokens: Tensor, weights: list[Tensor]) -> float:
    began = time.perf_counter()
    float(_block(tokens, weights)[0, 0, 0])  # waits for the device
    return time.perf_counter() - began


def _block(tokens: Tensor, weights: list[Tensor]) -> Tensor:
    """Attention and two layers, (1, N, C) -> (1, N, C)."""
    into, out, wide, narrow = weights
    normal = functional.layer_norm(tokens, (_WIDTH,))
    q, k, v = functional.linear(normal, into).view(1, _TOKENS, 3, _HEADS, -1).permute(2, 0, 3, 1, 4)
    attended = functional.scaled_dot_product_attention(q, k, v)
    tokens = tokens + functional.linear(attended.transpose(1, 2).flatten(2), out)
    hidden = functional.gelu(functional.linear(functional.layer_norm(tokens, (_WIDTH,)), wide))
    return tokens + functional.linear(hidden, narrow)
