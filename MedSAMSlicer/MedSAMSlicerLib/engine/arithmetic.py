"""Products and attention in the arithmetic of a :class:`~.precision.Precision`: what encoder and memory share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from .precision import Precision, onednn_linear

Activation = Literal["none", "relu", "gelu"]


class Arithmetic:
    """The kernels of one precision. Inference only: nothing here is differentiable."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.dtype = precision.dtype
        on_cpu = precision.device.type == "cpu"
        self._fuses = on_cpu and precision.onednn
        self._chunks = on_cpu

    def linear(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: Activation = "none"
    ) -> Tensor:
        """(..., n) times (m, n), all of :attr:`dtype` -> (..., m)."""
        if self._fuses:
            return onednn_linear(x, weight, bias, activation)
        product = functional.linear(x, weight, bias)
        if activation == "none":
            return product
        return functional.relu(product) if activation == "relu" else functional.gelu(product)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """softmax(queries keys^T + bias) values, for one head; the queries are scaled already.

        On the CPU some queries at a time, so that the scores stay in the cache: 3 times (float32) and 6 times
        (bfloat16) as fast as torch's own attention there, measured with 7,232 keys. CUDA and MPS: torch's own
        attention; not run, no such device at hand.

        Args:
            queries: (B, T, d).
            keys: (B, L, d).
            values: (B, e, L), transposed; e may be smaller than d.
            bias: (L,) added to the scores of each key.

        Returns:
            (B, T, e).
        """
        if not self._chunks:
            return self._attend_fused(queries, keys, values, bias)
        batch, count, _ = queries.shape
        out = queries.new_empty(batch, count, values.shape[1])
        rows = self.precision.chunk_rows(keys.shape[1])
        for b in range(batch):
            for start in range(0, count, rows):
                some = queries[b, start : start + rows].contiguous()
                scores = self.linear(some, keys[b], bias)
                out[b, start : start + rows] = self.linear(torch.softmax(scores, -1), values[b])
        return out

    def _attend_fused(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        # the fused kernels want values as wide as the keys
        width, channels = values.shape[1], keys.shape[2]
        padded = functional.pad(values.mT, (0, channels - width)) if width < channels else values.mT
        out = functional.scaled_dot_product_attention(
            queries[:, None],
            keys[:, None],
            padded[:, None],
            attn_mask=None if bias is None else bias.expand(queries.shape[0], 1, queries.shape[1], -1),
            scale=1.0,
        )
        return out[:, 0, :, :width]

    def attend_windows(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention inside many small windows: (W, T, d), (W, L, d), (W, L, d) -> (W, T, d); queries scaled already."""
        if not self._chunks:
            return functional.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return torch.bmm(torch.softmax(torch.bmm(queries, keys.mT), -1), values)
