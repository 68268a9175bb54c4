"""Memory attention of SAM 2 with the same result for a third of the time.

The weights are those of :class:`~..sam2.memory.MemoryAttention`, where the plain form can be read. What is different:

- The first layer's self-attention depends on the slice alone: :meth:`FastMemoryAttention.prepare` does it once.
- Rows of softmax sum to one, so ``softmax (m Wv + b) = (softmax m) Wv + b``: attention mixes the memories themselves,
  which have a quarter of the channels, and value and output projection are one matrix.
- Channels of queries and keys are permuted, which no product of the two notices, so that turning them by their place
  (rotary embedding) works on contiguous real numbers; and so that half of the channels knows only the column and half
  only the row of a token.
- Keys are a sum, ``R(Wk (memory + place)) + R(Wk time + b)``: the first part is computed once per remembered slice, the
  second once per network, as one line of columns and one of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from typing import cast as as_type

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..sam2.memory import MemoryAttentionLayer
from ..sam2.model import SAM2, Memory
from ..sam2.position import rotary_table, sine_embedding_2d
from .arithmetic import Arithmetic
from .precision import Precision


class _Linear(NamedTuple):
    weight: Tensor  # (m, n)
    bias: Tensor | None  # (m,)


@dataclass(frozen=True)
class MemoryKeys:
    """One remembered slice of B objects, ready to be attended to.

    Args:
        keys: (B, h * w, C) for each layer, turned by their place; empty if they are to be computed when needed.
        tokens: (B, h * w, D) memory plus place, from which keys are made.
        values: (B, D, h * w) the memory itself.
    """

    keys: tuple[Tensor, ...]
    tokens: Tensor
    values: Tensor

    @property
    def batch(self) -> int:
        """The number of objects."""
        return self.values.shape[0]

    @property
    def num_bytes(self) -> int:
        """Memory held, in bytes."""
        return sum(t.numel() * t.element_size() for t in (*self.keys, self.tokens, self.values))

    def take(self, objects: Sequence[int]) -> MemoryKeys:
        """Some of the objects, in this order; an object may be taken several times."""
        rows = torch.tensor(objects, device=self.values.device)
        return MemoryKeys(tuple(key[rows] for key in self.keys), self.tokens[rows], self.values[rows])

    @staticmethod
    def join(parts: Sequence[MemoryKeys]) -> MemoryKeys:
        """All objects of all parts as one batch, e.g. those of both directions."""
        if len(parts) == 1:
            return parts[0]
        layers = zip(*(part.keys for part in parts), strict=True) if all(part.keys for part in parts) else ()
        keys = tuple(torch.cat(layer) for layer in layers)
        return MemoryKeys(
            keys, torch.cat([part.tokens for part in parts]), torch.cat([part.values for part in parts])
        )


class FastMemoryAttention:
    """The computation of :meth:`SAM2.condition_on_memory`, cut into the parts that can be kept.

    Exact tier: differs from the plain network by rounding only (measured: 2e-6 of the largest value). Works for every
    config and every number of objects B; slices may be shared by all objects or be different ones. Several
    threads may use one at the same time.

    Args:
        model: Weights are copied and combined in float64 (about 3 MB per layer); later changes are not seen.
        precision: From :func:`~.precision.choose`.
        keys_limit_bytes: Keys of a remembered slice are kept per object only up to this size (4 MB at 512 pixels, 17 MB
            at 1024, in float32; bfloat16 half of it), else computed again at each use.
    """

    def __init__(self, model: SAM2, precision: Precision, *, keys_limit_bytes: int = 10 << 20) -> None:
        self.model = model
        self.precision = precision
        self.arithmetic = Arithmetic(precision)
        self.keys_limit_bytes = keys_limit_bytes
        self._dtype = precision.dtype
        self._norm = model.memory_attention.norm
        with torch.inference_mode():
            layers = as_type("list[MemoryAttentionLayer]", list(model.memory_attention.layers))
            self._layers = [_Layer(layer, self._dtype) for layer in layers]
        self._grids: dict[tuple[int, int], _TokenGrid] = {}

    # ----------------------------------------------------------------------------------------- once per slice

    @torch.inference_mode()
    def prepare(self, top: Tensor) -> Tensor:
        """(N, C, h, w) image features -> (N, h * w, C) float32 tokens after the first layer's self-attention."""
        _, channels, height, width = top.shape
        position = sine_embedding_2d(channels, height, width, top.device)
        x = (top.float() + 0.1 * position).flatten(2).transpose(1, 2).contiguous()
        return self._attend_self(self._layers[0], x, self._grid(height, width))

    # ------------------------------------------------------------------------------------ once per memory slice

    @torch.inference_mode()
    def remember(self, memory: Memory) -> MemoryKeys:
        """Make a memory of B objects ready; its bytes are those of `num_bytes`."""
        height, width = memory.features.shape[-2:]
        values = memory.features.to(self._dtype).flatten(2).contiguous()  # (B, D, hw)
        tokens = (memory.features.float() + memory.position.float()).flatten(2).transpose(1, 2)
        tokens = tokens.to(self._dtype).contiguous()  # (B, hw, D)
        channels = self.model.config.hidden_dim
        size = len(self._layers) * height * width * channels * self._dtype.itemsize
        if size > self.keys_limit_bytes:
            return MemoryKeys((), tokens, values)
        grid = self._grid(height, width)
        keys = tuple(self._place_keys(layer, tokens, grid) for layer in self._layers)
        return MemoryKeys(keys, tokens, values)

    # ----------------------------------------------------------------------------------- once per slice and object

    @torch.inference_mode()
    def attend(
        self,
        attended: Tensor,
        memories: Sequence[tuple[MemoryKeys, int]],
        pointers: Sequence[tuple[Tensor, float]] = (),
        pointer_span: int | None = None,
    ) -> Tensor:
        """Let slices attend to what is remembered of their objects.

        Args:
            attended: (B, h * w, C) from :meth:`prepare`, or (1, h * w, C) if all objects are on one slice.
            memories: At least one, each with its temporal index as for :meth:`SAM2.condition_on_memory`.
            pointers, pointer_span: As for :meth:`SAM2.condition_on_memory`.

        Returns:
            (B, C, h, w) float32 conditioned features for the mask decoder.

        Raises:
            ValueError: If there is no memory.
        """
        if not memories:
            raise ValueError("Memory attention needs at least one memory, got none")
        side = round(attended.shape[1] ** 0.5)
        grid = self._grid(side, side)
        tokens, places = self.model.pointer_tokens(pointers, pointer_span)
        batch = max(memories[0][0].batch, attended.shape[0])
        remembered = memories[0][0].batch
        values = [keys.values for keys, _ in memories] + [self._narrow(tokens.mT, remembered)]
        recalled = _Recalled(list(memories), torch.cat(values, 2), self._narrow(tokens + places, remembered))
        x = attended.float()
        for index, layer in enumerate(self._layers):
            if index > 0:
                x = self._attend_self(layer, x, grid)
            x = x + self._attend_memories(index, x, recalled, grid, batch)
            hidden = self.arithmetic.linear(self._normed(layer.norm3, x), *layer.up, activation="relu")
            x += self.arithmetic.linear(hidden, *layer.down)
        conditioned: Tensor = self._layer_norm(self._norm, x).transpose(1, 2).unflatten(2, (side, side))
        return conditioned

    # -------------------------------------------------------------------------------------------------- the parts

    def _attend_self(self, layer: _Layer, x: Tensor, grid: _TokenGrid) -> Tensor:
        """(N, hw, C) float32 -> the same with what the tokens say to each other added."""
        normed = self._normed(layer.norm1, x)
        queries, keys = self.arithmetic.linear(normed, *layer.self_queries_keys).chunk(2, -1)
        values = normed.transpose(1, 2).contiguous()
        mixed = self.arithmetic.attend(grid.rotate(queries), grid.rotate(keys), values)
        return x + self.arithmetic.linear(mixed, *layer.self_values)

    def _attend_memories(
        self, index: int, x: Tensor, recalled: _Recalled, grid: _TokenGrid, batch: int
    ) -> Tensor:
        """Return what the memories say to (B or 1, hw, C) tokens in one layer, (B, hw, C)."""
        layer = self._layers[index]
        queries = self.arithmetic.linear(self._normed(layer.norm2, x), *layer.memory_queries)
        queries = grid.rotate(queries).expand(batch, -1, -1)
        values = recalled.values.expand(batch, -1, -1)
        # on the CPU the keys of one object at a time are in memory
        together = 1 if x.device.type == "cpu" else batch
        keys = x.new_empty(together, values.shape[2], queries.shape[2], dtype=self._dtype)
        mixed = queries.new_empty(batch, queries.shape[1], values.shape[1])
        for start in range(0, batch, together):
            some = slice(start, start + together)
            if start == 0 or recalled.values.shape[0] > 1:
                self._fill_keys(keys, index, recalled, some, grid)
            mixed[some] = self.arithmetic.attend(queries[some], keys, values[some])
        return self.arithmetic.linear(mixed, *layer.memory_values)

    def _fill_keys(self, out: Tensor, index: int, recalled: _Recalled, some: slice, grid: _TokenGrid) -> None:
        """Write the keys of all memories and pointers of some objects to (objects, L, C)."""
        layer, count = self._layers[index], grid.shape[0] * grid.shape[1]
        for number, (memory, time) in enumerate(recalled.memories):
            kept = memory.keys[index][some] if memory.keys else None
            keys = self._place_keys(layer, memory.tokens[some], grid) if kept is None else kept
            grid.add_time(keys, index, time, out[:, number * count : (number + 1) * count])
        if recalled.pointers.shape[1]:
            pointers = self.arithmetic.linear(recalled.pointers[some], *layer.memory_keys)
            out[:, len(recalled.memories) * count :] = pointers

    def _place_keys(self, layer: _Layer, tokens: Tensor, grid: _TokenGrid) -> Tensor:
        """(B, hw, D) memory plus place -> (B, hw, C) keys without time."""
        return grid.rotate(self.arithmetic.linear(tokens, layer.memory_keys.weight))

    def _narrow(self, tokens: Tensor, batch: int) -> Tensor:
        return tokens.to(self._dtype).expand(batch, -1, -1).contiguous()

    def _layer_norm(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        return functional.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def _normed(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        return self._layer_norm(norm, x).to(self._dtype)

    def _grid(self, height: int, width: int) -> _TokenGrid:
        grid = self._grids.get((height, width))
        if grid is None:
            times = [layer.time_keys(self.model.maskmem_tpos_enc) for layer in self._layers]
            grid = self._grids[height, width] = _TokenGrid(height, width, times, self._dtype)
        return grid


class _Recalled(NamedTuple):
    """The keys and values that one call attends to."""

    memories: list[tuple[MemoryKeys, int]]
    values: Tensor  # (B, D, L)
    pointers: Tensor  # (B, P, D), with their place in time


class _Layer:
    """Combined weights of one layer: rows of queries and keys permuted, queries scaled, values fused with output."""

    def __init__(self, layer: MemoryAttentionLayer, dtype: torch.dtype) -> None:
        own, memory = layer.self_attn, layer.cross_attn_image
        channels = own.q_proj.weight.shape[0]
        order, scale = channel_order(channels), channels**-0.5
        cast = partial(_cast, dtype=dtype, device=own.q_proj.weight.device)
        self_queries = _double(own.q_proj, order, scale)
        self_keys = _double(own.k_proj, order)
        self.self_queries_keys = cast(
            *(torch.cat(parts) for parts in zip(self_queries, self_keys, strict=True))
        )
        self.self_values = cast(*_fused(own.v_proj, own.out_proj))
        self.memory_queries = cast(*_double(memory.q_proj, order, scale))
        self._exact_keys = _double(memory.k_proj, order)
        self.memory_keys = cast(*self._exact_keys)
        self.memory_values = cast(*_fused(memory.v_proj, memory.out_proj))
        self.up = cast(layer.linear1.weight, layer.linear1.bias)
        self.down = cast(layer.linear2.weight, layer.linear2.bias)
        self.norm1, self.norm2, self.norm3 = layer.norm1, layer.norm2, layer.norm3

    def time_keys(self, times: Tensor) -> Tensor:
        """(T, 1, 1, D) temporal embeddings -> (T, C) their share of the keys, bias included, before it is turned."""
        weight, bias = self._exact_keys
        return (times.flatten(1).cpu().double() @ weight.T + bias).float().to(times.device)


def channel_order(channels: int) -> Tensor:
    """(C,) which channel of the plain network comes where: (column, row) x (real, imaginary) x C / 4 frequencies.

    The plain order is that of the pairs: real and imaginary part in turn, first all pairs turned by the column.
    """
    return torch.arange(channels).view(2, channels // 4, 2).transpose(1, 2).flatten()


def _double(linear: nn.Linear, order: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Weight and bias in float64, on the CPU, since Apple GPUs have no float64."""
    weight, bias = linear.weight.detach().cpu().double(), linear.bias.detach().cpu().double()
    return (weight, bias) if order is None else (weight[order] * scale, bias[order] * scale)


def _fused(value: nn.Linear, out: nn.Linear) -> tuple[Tensor, Tensor]:
    (weight, bias), (out_weight, out_bias) = _double(value), _double(out)
    return out_weight @ weight, out_weight @ bias + out_bias


def _cast(weight: Tensor, bias: Tensor, dtype: torch.dtype, device: torch.device) -> _Linear:
    return _Linear(
        weight.detach().to(device, dtype).contiguous(), bias.detach().to(device, dtype).contiguous()
    )


class _TokenGrid:
    """Turns tokens of one grid, whose channels are in the order of :func:`channel_order`.

    Args:
        times: For each layer (T, C), see :meth:`_Layer.time_keys`.
        dtype: Of the tokens.
    """

    def __init__(self, height: int, width: int, times: Sequence[Tensor], dtype: torch.dtype) -> None:
        self.shape = (height, width)
        channels, device = times[0].shape[1], times[0].device
        table = rotary_table(channels, height, width, device)
        cos, sin = (part.view(height, width, 2, channels // 4) for part in table)
        self._cos, self._sin = cos.to(dtype), sin.to(dtype)
        columns, rows = (cos[0, :, 0], sin[0, :, 0]), (cos[:, 0, 1], sin[:, 0, 1])
        self._times = [
            (_turned_constants(time[:, : channels // 2], *columns).to(dtype),  # (T, w, C / 2)
             _turned_constants(time[:, channels // 2 :], *rows).to(dtype)[:, :, None])  # (T, h, 1, C / 2)
            for time in times
        ]  # fmt: skip

    def rotate(self, tokens: Tensor) -> Tensor:
        """(B, hw, C) -> the same, each channel pair turned by the token's place."""
        pairs = tokens.unflatten(2, (2, 2, -1)).unflatten(1, self.shape)  # (B, h, w, 2, 2, C / 4)
        real, imaginary = pairs.unbind(4)
        out = torch.empty(pairs.shape, dtype=tokens.dtype, device=tokens.device)
        out[..., 0, :] = (real * self._cos).addcmul_(imaginary, self._sin, value=-1)
        out[..., 1, :] = (real * self._sin).addcmul_(imaginary, self._cos)
        return out.flatten(3).flatten(1, 2)

    def add_time(self, keys: Tensor, layer: int, time: int, out: Tensor) -> None:
        """Write keys (B, hw, C) plus the turned share of one temporal index to `out`, of the same shape."""
        columns, rows = self._times[layer]
        half = keys.shape[2] // 2
        source, target = keys.unflatten(1, self.shape), out.unflatten(1, self.shape)
        torch.add(source[..., :half], columns[time], out=target[..., :half])
        torch.add(source[..., half:], rows[time], out=target[..., half:])


def _turned_constants(constants: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(T, 2 * f) real and imaginary parts, turned by the angles (n, f) of a line of n tokens -> (T, n, 2 * f)."""
    real, imaginary = constants[:, None].chunk(2, -1)
    return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], -1)
