"""The image encoder with the same result for less time and memory.

The weights are those of :class:`~..sam2.hiera.Hiera`, where the plain form can be read. What is different:

- Windows attend to themselves only, so a few rows of windows at a time go through a whole block: what lies between
  the steps stays in the cache, and no step makes a tensor of the whole image.
- Where windows reach beyond the grid, the plain network computes the padding too; here queries, keys and values of the
  padding are filled in (they are the bias) and nothing else is done with it.
- Between the neck and the mask decoder, two projections after each other are one.
- The position embedding depends on the grid alone and is computed once.
- Activations are fused into the linear layers, and products take the faster of BLAS and oneDNN.

Networks with a convolutional trunk or with adapters, and all on CUDA (not run: no such device available), run in their
plain form; in balanced and fast under torch's bfloat16 autocast.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..sam2.adapters import adapters_of
from ..sam2.hiera import Hiera, HieraBlock, halve
from ..sam2.model import SAM2, ImageFeatures
from ..sam2.neck import FeaturePyramid, Lateral
from ..sam2.networks import ImageNetwork, Network
from ..sam2.tinyvit import TinyViT
from .arithmetic import Arithmetic
from .compiled import ChosenEncoder, Encoder, Findings, PreparedNetwork, can_be_compiled
from .precision import Precision

_TOKENS_AT_ONCE = 2048


class FastEncoder:
    """The computation of :meth:`SAM2.encode_image`, in the arithmetic of a tier.

    Read-only after construction, so several threads may use one.

    Args:
        model: In exact its weights are used where they are. In balanced and fast a bfloat16 copy of the image encoder
            is kept (54 MB for hiera tiny, 424 MB for large).
        precision: From :func:`~.precision.choose`.
    """

    def __init__(self, model: SAM2, precision: Precision) -> None:
        self.model = model
        self.precision = precision
        trunk = getattr(model.image_encoder, "trunk", None)  # a plain transformer has none beside itself
        self._arithmetic = Arithmetic(precision)
        self._trunk: _FastHiera | None = None
        if isinstance(trunk, Hiera) and precision.device.type == "cpu" and not adapters_of(model):
            with torch.inference_mode():
                self._trunk = _FastHiera(model, trunk, precision)

    @torch.inference_mode()
    def __call__(self, frames: Tensor, pause: Callable[[], object] | None = None) -> ImageFeatures:
        """Encode frames.

        Args:
            frames: (N, 3, S, S) float32, from :meth:`SAM2.normalize`.
            pause: Called between the blocks, every few milliseconds; may block, or raise to give up.

        Returns:
            Float32 features.
        """
        if self._trunk is None:
            with self._arithmetic.encoding():
                return ImageFeatures(*(part.float() for part in self.model.encode_image(frames)))
        fine, mid, top, coarsest = self._trunk(frames, pause or _never)
        above = functional.interpolate(coarsest, top.shape[-2:], mode="nearest")
        return ImageFeatures(top.add_(above), mid, fine)


class Sam1Encoder:
    """The computation of :meth:`ImageNetwork.encode_image`, in bfloat16 where the precision has it.

    Of a TinyViT a copy is used, with its batch norms folded in and channels last; a plain transformer is used as it is.

    Args:
        model: stays as it is.
        precision: From :func:`~.precision.choose`.
    """

    def __init__(self, model: ImageNetwork, precision: Precision) -> None:
        self._encoder = model.image_encoder
        if isinstance(model.image_encoder, TinyViT) and not adapters_of(model):
            fused = copy.deepcopy(model.image_encoder).eval()
            fused.fuse()
            self._encoder = fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._arithmetic = Arithmetic(precision)

    @torch.inference_mode()
    def __call__(self, frames: Tensor, pause: Callable[[], object] | None = None) -> ImageFeatures:
        """(N, 3, S, S) float32 frames as `normalize` gives them -> embeddings, float32; there are no finer maps."""
        (pause or _never)()
        with self._arithmetic.encoding():
            top = (
                self._encoder(frames.contiguous(memory_format=torch.channels_last), pause)
                .float()
                .contiguous()
            )
        return ImageFeatures.alone(top)


def encoder_of(model: Network, precision: Precision) -> Encoder:
    """The encoder for a network, in the runtime of the precision where that serves it."""
    plain = FastEncoder(model, precision) if isinstance(model, SAM2) else Sam1Encoder(model, precision)
    if precision.runtime != "torch" and precision.device.type == "cpu" and can_be_compiled(model):
        return ChosenEncoder(plain, model, precision)
    return plain


def prepare(model: Network, precision: Precision) -> Findings:
    """Compile a network's image encoder for frames of its own size, compare it with torch, and time both.

    Args:
        model: in float32, on the CPU, without adapters.
        precision: From :func:`~.precision.choose`.

    Raises:
        MedSAMError: If OpenVINO is not there, or it cannot read the network.
        OSError: If the cache folder cannot be written.
    """
    plain = encoder_of(model, replace(precision, runtime="torch"))
    return PreparedNetwork.of(model, precision, model.config.image_size).prepare(plain)


def _never() -> None:
    pass


class _FastHiera:
    """(N, 3, S, S) -> four maps (N, S / s, S / s, C_i), s = 4, 8, 16, 32."""

    def __init__(self, model: SAM2, trunk: Hiera, precision: Precision) -> None:
        self._trunk = trunk
        self._dtype = precision.dtype
        self._arithmetic = Arithmetic(precision)
        self._patch = _cast(trunk.patch_embed.proj, precision.dtype)
        self._blocks = [_FastBlock(cast(HieraBlock, block), self._arithmetic) for block in trunk.blocks]
        self._positions: dict[tuple[int, int], Tensor] = {}
        self._laterals = _laterals(model, precision.dtype)

    def __call__(self, frames: Tensor, pause: Callable[[], object]) -> list[Tensor]:
        x = functional.conv2d(frames.to(self._dtype), *self._patch, stride=4, padding=3).permute(0, 2, 3, 1)
        x = x.contiguous().add_(self._position(x.shape[1], x.shape[2]))
        maps: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            x = block(x, pause)
            if index in self._trunk.last_blocks:
                lateral = self._arithmetic.linear(x, *self._laterals[len(maps)])
                maps.append(lateral.permute(0, 3, 1, 2).float().contiguous())
        return maps

    def _position(self, height: int, width: int) -> Tensor:
        if (height, width) not in self._positions:
            self._positions = {
                (height, width): self._trunk.position(height, width).to(self._dtype).contiguous()
            }
        return self._positions[height, width]


class _FastBlock:
    """One transformer block, (N, H, W, C) -> the same or, where it pools, (N, H / 2, W / 2, 2 C)."""

    def __init__(self, block: HieraBlock, arithmetic: Arithmetic) -> None:
        dtype = arithmetic.dtype
        self._arithmetic = arithmetic
        self._window, self._pool, self._heads = block.window, block.pool, block.attn.heads
        self._norm1, self._norm2 = _cast(block.norm1, dtype), _cast(block.norm2, dtype)
        self._qkv, self._proj = _cast(block.attn.qkv, dtype), _cast(block.attn.proj, dtype)
        self._up, self._down = (_cast(cast(nn.Linear, layer), dtype) for layer in block.mlp.layers)
        self._shortcut = _cast(block.proj, dtype) if block.pool else None

    def __call__(self, x: Tensor, pause: Callable[[], object]) -> Tensor:
        count, height, width, _ = x.shape
        scale = 2 if self._pool else 1
        out = x.new_empty(count, height // scale, width // scale, self._proj[0].shape[0])
        rows = height
        if self._window:
            rows = self._window * max(1, _TOKENS_AT_ONCE // (count * width * self._window))
        for start in range(0, height, rows):
            pause()
            band = self._attend(x[:, start : start + rows])
            for some in band.flatten(0, 2).split(_TOKENS_AT_ONCE):
                some += self._feed(some)
            out[:, start // scale : start // scale + band.shape[1]] = band
        return out

    def _feed(self, tokens: Tensor) -> Tensor:
        hidden = self._arithmetic.linear(_normed(tokens, self._norm2), *self._up, activation="gelu")
        return self._arithmetic.linear(hidden, *self._down)

    def _attend(self, x: Tensor) -> Tensor:
        """A band of whole windows with the result of attention added, and pooled; contiguous."""
        normed = _normed(x, self._norm1)
        if self._shortcut is not None:
            x = halve(self._arithmetic.linear(normed, *self._shortcut))
        height, width = x.shape[1:3]
        qkv = self._arithmetic.linear(normed, *self._qkv)
        queries, keys, values = self._split(self._padded(qkv)).unbind(
            6
        )  # (N, rows, w, columns, w, heads, d) each
        if self._pool:
            queries = _halve_windows(queries)
        attended = self._attend_windows(queries, keys, values)[:, :height, :width]
        return x + self._arithmetic.linear(attended, *self._proj)

    def _padded(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values of whole windows; padding is zero before the projection, so the bias after it."""
        if not self._window:
            return qkv
        count, height, width, channels = qkv.shape
        rows, columns = (-(-extent // self._window) * self._window for extent in (height, width))
        if (rows, columns) == (height, width):
            return qkv
        padded = self._qkv[1].expand(count, rows, columns, channels).contiguous()
        padded[:, :height, :width] = qkv
        return padded

    def _split(self, qkv: Tensor) -> Tensor:
        """(N, H, W, 3 heads d) -> (N, rows, w, columns, w, heads, 3, d) windows."""
        window_rows, window_columns = (self._window, self._window) if self._window else qkv.shape[1:3]
        windows: Tensor = qkv.unflatten(2, (-1, window_columns)).unflatten(1, (-1, window_rows))
        windows = windows.unflatten(5, (3, self._heads, -1))
        return windows.transpose(5, 6)

    def _attend_windows(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Windows as :meth:`_split` makes them -> (N, H, W, C)."""
        order = (0, 1, 3, 5, 2, 4, 6)  # (N, rows, columns, heads, w, w, d)
        channels = queries.shape[-1]
        queries, keys, values = (part.permute(order) for part in (queries, keys, values))
        lead, grid = queries.shape[:4], queries.shape[4:6]
        scaled = (
            torch.mul(queries, channels**-0.5, out=queries.new_empty(queries.shape))
            .flatten(4, 5)
            .flatten(0, 3)
        )
        keys, values = (part.flatten(4, 5).flatten(0, 3) for part in (keys, values))
        if self._window:
            attended = self._arithmetic.attend_windows(scaled, keys, values)
        else:
            attended = self._arithmetic.attend(scaled, keys, values.mT.contiguous())
        windows: Tensor = attended.unflatten(1, grid).unflatten(0, lead).permute(0, 1, 4, 2, 5, 3, 6)
        return windows.flatten(5, 6).flatten(3, 4).flatten(1, 2)


def _halve_windows(windows: Tensor) -> Tensor:
    """(N, rows, w, columns, w, heads, d) -> the maximum of every 2x2 cell inside the windows."""
    upper = torch.maximum(windows[:, :, 0::2], windows[:, :, 1::2])
    return torch.maximum(upper[:, :, :, :, 0::2], upper[:, :, :, :, 1::2])


def _normed(x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
    return functional.layer_norm(x, norm[0].shape, norm[0], norm[1], 1e-6)


def _cast(module: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weight and bias; float32 ones are those of the network itself."""
    return cast(Tensor, module.weight).detach().to(dtype), cast(Tensor, module.bias).detach().to(dtype)


def _laterals(model: SAM2, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """One projection for each map, finest first: that of the neck and, on the two finest, that of the mask decoder."""
    pyramid = cast(FeaturePyramid, model.image_encoder.neck)
    neck = [cast(Lateral, lateral).conv for lateral in pyramid.convs]
    decoder = model.sam_mask_decoder
    projections = []
    for level, lateral in enumerate(reversed(neck)):
        weight, bias = _cast(lateral, torch.float64)
        weight = weight.flatten(1)
        if level < 2:
            further, further_bias = _cast((decoder.conv_s0, decoder.conv_s1)[level], torch.float64)
            weight, bias = further.flatten(1) @ weight, further.flatten(1) @ bias + further_bias
        projections.append((weight.to(dtype).contiguous(), bias.to(dtype)))
    return projections
