"""Products and attention in the arithmetic of a :class:`~.precision.Precision`: what encoder and memory share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

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

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """softmax(queries keys^T) values, for one head; the queries are scaled already.

        On the CPU some queries at a time, so that the scores stay in the cache: 3 times (float32) and 6 times
        (bfloat16) as fast as torch's own attention there, measured with 7,232 keys. CUDA and MPS: torch's own
        attention; not run, no such device available.

        Args:
            queries: (B, T, d).
            keys: (B, L, d).
            values: (B, e, L), transposed; e may be smaller than d.

        Returns:
            (B, T, e).
        """
        if not self._chunks:
            return _attend_fused(queries, keys, values)
        batch, count, _ = queries.shape
        out = queries.new_empty(batch, count, values.shape[1])
        rows = self.precision.chunk_rows(keys.shape[1])
        for b in range(batch):
            for start in range(0, count, rows):
                some = queries[b, start : start + rows].contiguous()
                scores = self.linear(some, keys[b])
                out[b, start : start + rows] = self.linear(torch.softmax(scores, -1), values[b])
        return out

    def attend_windows(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention inside many small windows: (W, T, d), (W, L, d), (W, L, d) -> (W, T, d); queries scaled already."""
        if not self._chunks:
            return functional.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return torch.bmm(torch.softmax(torch.bmm(queries, keys.mT), -1), values)

    # ------------------------------------------------------------------------------------- parts of the plain network

    def decoding(self) -> AbstractContextManager[object]:
        """Inside, the plain mask decoder runs in this arithmetic: float32 on the CPU, autocast on CUDA (not run)."""
        if self._fuses:
            return _FastLinear()
        half = self.precision.device.type == "cuda" and self.dtype != torch.float32
        return torch.autocast("cuda", self.dtype) if half else nullcontext()

    def encoding(self) -> AbstractContextManager[object]:
        """Inside, plain encoders run in this arithmetic: that of memories, and image encoders with convolutions.

        Memories are kept in bfloat16 in any tier.
        """
        if self.dtype == torch.float32:
            return self.decoding()
        return torch.autocast(self.precision.device.type, self.dtype)


def _attend_fused(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    # the fused kernels want values as wide as the keys
    width, channels = values.shape[1], keys.shape[2]
    padded = functional.pad(values.mT, (0, channels - width))
    out = functional.scaled_dot_product_attention(queries[:, None], keys[:, None], padded[:, None], scale=1.0)
    return out[:, 0, :, :width]


class _FastLinear(TorchFunctionMode):
    """Sends the linear layers of modules through oneDNN, in this thread."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch for each of its functions."""
        if func is functional.linear and not kwargs and args[0].dtype == torch.float32:
            return onednn_linear(args[0], args[1], args[2] if len(args) > 2 else None, "none")
        return func(*args, **(kwargs or {}))
