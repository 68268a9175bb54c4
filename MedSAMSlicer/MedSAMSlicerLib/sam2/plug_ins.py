"""The plug-ins that adapters are made of; :mod:`.adapters` puts them onto the layers of a network.

Each adds something to what its host computes and starts as zeros. They are built from the papers' formulas; the table
of them is in :mod:`.adapters`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import MedSAMError
from .vit import ChannelSpatialAdapter

_BRANCH_CHANNELS = 32

MODALITIES = ("ct", "mr", "pet", "ultrasound", "x-ray", "dermoscopy", "endoscopy", "fundus", "microscopy")
"""The kinds of images that `modality` tells apart."""


@dataclass(frozen=True)
class AdapterConfig:
    """One plug-in on some layers.

    Args:
        kind: one of `KINDS`.
        layers: which, as shell patterns of module names separated by spaces, such as "image_encoder.*.attn".
        ratio: hidden channels / channels of the layer.
        rank: of `lora`.
        scale: of what is added.
        stack: slices that `depth`, `temporal` and `depthwise-3d` look at together where a network is used.

    Raises:
        MedSAMError: If there is no such plug-in, or a number makes no sense.
    """

    kind: str
    layers: str
    ratio: float = 0.25
    rank: int = 4
    scale: float = 0.5
    stack: int = 8

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise MedSAMError(f"There is no adapter {self.kind!r}; known are {', '.join(KINDS)}.")
        if not (
            0 < self.ratio <= 4 and 1 <= self.rank <= 1024 and 0 < self.scale <= 100 and 1 <= self.stack <= 64
        ):
            raise MedSAMError(f"The adapter {self.kind} has sizes that cannot be used: {self}.")


class Clicks(NamedTuple):
    """The points of B objects: (B, P, 2) in pixels of an image of `side` pixels, and their labels (B, P)."""

    points: Tensor
    labels: Tensor
    side: int


class AdapterContext:
    """The common state of all adapters of a network: the length of a stack, the prompts, the image under way.

    `drawn` holds the prompts, (B, tokens, C), while the mask decoder draws B objects; else it is None.
    """

    def __init__(self) -> None:
        self.stack = 1
        self.drawn: Tensor | None = None
        self.clicks: Clicks | None = None
        self.image: Tensor | None = None
        self.modality: int | None = None


class Adapter(nn.Module):
    """The base of all plug-ins: `added` gives what comes on top of the output of the host layer."""

    context: AdapterContext

    def added(self, host: nn.Module, given: Tensor, output: Tensor) -> Tensor:
        """From the input and the output of the layer, (..., C) each; starts as zeros."""
        raise NotImplementedError

    def stacked(self, x: Tensor) -> Tensor:
        """(B D windows, h, w, C) -> (B, D, windows h w, C): the places of a slice, whatever windows they are in."""
        depth, image = self.context.stack, self.context.image
        slices = x.shape[0] if image is None else image.shape[0]
        if depth < 1 or slices % depth:
            raise MedSAMError(f"{slices} slices cannot be divided into stacks of {depth}.")
        places: Tensor = x.unflatten(0, (slices // depth, depth, -1)).flatten(2, -2)
        return places


class AdapterBottleneck(Adapter):
    """Down, GELU, up; the MLP of a block is adapted from its input, everything else from its output."""

    def __init__(self, channels: int, config: AdapterConfig) -> None:
        super().__init__()
        self.scale = config.scale
        hidden = max(1, round(channels * config.ratio))
        self.down = nn.Linear(channels, hidden)
        self.up = _zero(nn.Linear(hidden, channels))

    def added(self, host: nn.Module, given: Tensor, output: Tensor) -> Tensor:
        return self.narrow(given if _is_mlp(host) else output)

    def narrow(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        out: Tensor = self.scale * self.up(functional.gelu(self.down(x)))
        return out


class Lora(Adapter):
    """Two matrices of low rank beside that of a linear layer."""

    def __init__(self, channels: int, config: AdapterConfig, channels_out: int) -> None:
        super().__init__()
        self.scale = config.scale
        self.down = nn.Linear(channels, config.rank, bias=False)
        self.up = _zero(nn.Linear(config.rank, channels_out, bias=False))

    def added(self, host: nn.Module, given: Tensor, output: Tensor) -> Tensor:
        out: Tensor = self.scale * self.up(self.down(given))
        return out


class Hyper(AdapterBottleneck):
    """A bottleneck with matrices between, which a prompt's embedding is turned into; plain without a prompt."""

    def __init__(self, channels: int, config: AdapterConfig, prompt_channels: int) -> None:
        super().__init__(channels, config)
        hidden = self.down.out_features
        self.makers = nn.ModuleList(nn.Linear(prompt_channels, hidden * hidden) for _ in range(2))

    def narrow(self, x: Tensor) -> Tensor:
        hidden = self.down(x)
        if self.context.drawn is not None:
            prompt = self.context.drawn.mean(-2)  # (B, C)
            for maker in self.makers:
                matrix = maker(prompt).unflatten(-1, (hidden.shape[-1], hidden.shape[-1]))
                hidden = functional.gelu(hidden @ matrix / math.sqrt(hidden.shape[-1]))
        out: Tensor = self.scale * self.up(functional.gelu(hidden))
        return out


class Depth(AdapterBottleneck):
    """The host's own attention, frozen as it is, among the same places of the slices of a stack."""

    def added(self, host: nn.Module, given: Tensor, output: Tensor) -> Tensor:
        if self.context.stack == 1:
            return torch.zeros_like(output)
        along = self.stacked(given).transpose(1, 2)  # (B, places, D, C)
        q, k, v = cast(nn.Linear, host.qkv)(along).chunk(3, -1)
        attended = cast(nn.Linear, host.proj)(_attend(q, k, v, cast(int, host.heads)))
        return self.narrow(attended.transpose(1, 2).reshape(output.shape))


class Temporal(Adapter):
    """Attention of each frame to a mixture of all frames of the clip at the same place, near ones counting more."""

    def __init__(self, channels: int, config: AdapterConfig, reach: float = 3.0) -> None:
        super().__init__()
        self.scale, self.reach = config.scale, reach
        self.up = _zero(nn.Linear(channels, channels))

    def added(self, host: nn.Module, given: Tensor, output: Tensor) -> Tensor:
        frames = torch.arange(self.context.stack, device=given.device, dtype=given.dtype)
        weights = torch.softmax(-(frames[:, None] - frames[None]).abs() / self.reach, 1)
        mixed = torch.einsum("ij,bjnc->binc", weights, self.stacked(given)).reshape(given.shape)
        mixed, own = mixed.flatten(1, -2), given.flatten(1, -2)
        qkv = cast(nn.Linear, host.qkv)
        q = qkv(own).chunk(3, -1)[0]
        _, k, v = qkv(mixed).chunk(3, -1)
        attended = _attend(q, k, v, cast(int, host.heads)).view_as(given)
        out: Tensor = self.scale * self.up(attended)
        return out


class ChannelSpatial(Adapter):
    """SAM-Med2D's adapter with a norm that starts at zero."""

    def __init__(self, channels: int, config: AdapterConfig) -> None:
        super().__init__()
        self.scale = config.scale
        self.inner = ChannelSpatialAdapter(channels)
        nn.init.zeros_(self.inner.norm.weight)

    def added(self, host: nn.Module, given: Tensor, output: Tensor) -> Tensor:
        out: Tensor = self.scale * self.inner(given)
        return out


class Depthwise3d(Adapter):
    """Down, a depth-wise convolution of 3 x 3 x 3 over the slices of a stack, up."""

    def __init__(self, channels: int, config: AdapterConfig) -> None:
        super().__init__()
        self.scale = config.scale
        hidden = max(1, round(channels * config.ratio))
        self.down = nn.Linear(channels, hidden)
        self.conv = nn.Conv3d(hidden, hidden, 3, padding=1, groups=hidden)
        self.up = _zero(nn.Linear(hidden, channels))

    def added(self, host: nn.Module, given: Tensor, output: Tensor) -> Tensor:
        hidden = torch.relu(self.down(output))  # (B D, h, w, hidden)
        stacks = self.stacked(hidden).unflatten(2, hidden.shape[1:3])
        mixed = torch.relu(self.conv(stacks.permute(0, 4, 1, 2, 3))).permute(0, 2, 3, 4, 1)
        out: Tensor = self.scale * self.up(mixed.flatten(0, 1))
        return out


class ClickFeature(Adapter):
    """The features of the image at a click join the click's token; corners of boxes and padding get nothing."""

    def __init__(self, channels: int, config: AdapterConfig) -> None:
        super().__init__()
        self.scale = config.scale
        self.down = nn.Linear(channels, max(1, round(channels * config.ratio)))
        self.up = _zero(nn.Linear(self.down.out_features, channels))

    def joined(self, image: Tensor, prompts: Tensor) -> Tensor:
        """Prompt tokens (B, P', C) with the features of the image (B, C, h, w) at their places; P' >= P."""
        clicks = self.context.clicks
        if clicks is None or not clicks.points.shape[1]:
            return prompts
        places = 2 * (clicks.points.float() + 0.5) / clicks.side - 1
        seen = functional.grid_sample(image.float(), places[:, None], align_corners=False)[:, :, 0]
        found = self.scale * self.up(functional.gelu(self.down(seen.transpose(1, 2))))  # (B, P, C)
        found = found * ((clicks.labels == 0) | (clicks.labels == 1))[..., None]
        padding = prompts.shape[1] - found.shape[1]
        return prompts + functional.pad(found, (0, 0, 0, padding)).to(prompts.dtype)


class ParallelConv(Adapter):
    """A small convolutional branch on the image, brought to the layer's grid and channels."""

    def __init__(self, channels: int, config: AdapterConfig) -> None:
        super().__init__()
        self.scale = config.scale
        widths = [3, *[_BRANCH_CHANNELS] * 4]
        self.branch = nn.Sequential(
            *(
                layer
                for fine, coarse in pairwise(widths)
                for layer in (nn.Conv2d(fine, coarse, 3, stride=2, padding=1), nn.GELU())
            )
        )
        self.up = _zero(nn.Linear(_BRANCH_CHANNELS, channels))

    def added(self, host: nn.Module, given: Tensor, output: Tensor) -> Tensor:
        if self.context.image is None:
            raise MedSAMError("A convolutional branch needs the image: call the network's image encoder.")
        maps = self.branch(self.context.image.to(output.dtype))
        maps = functional.interpolate(maps, output.shape[1:3], mode="bilinear", align_corners=False)
        out: Tensor = self.scale * self.up(maps.permute(0, 2, 3, 1))
        return out


class Modality(AdapterBottleneck):
    """A bottleneck whose upper half is chosen by the modality of the image; nothing where that is not known."""

    def __init__(self, channels: int, config: AdapterConfig) -> None:
        super().__init__(channels, config)
        hidden = self.down.out_features
        del self.up
        self.ups = nn.ModuleList(_zero(nn.Linear(hidden, channels)) for _ in MODALITIES)

    def narrow(self, x: Tensor) -> Tensor:
        if self.context.modality is None:
            return torch.zeros_like(x)
        out: Tensor = self.scale * self.ups[self.context.modality](functional.gelu(self.down(x)))
        return out


# kind -> (its class, what a layer must have)
MAKERS: Mapping[str, tuple[Callable[..., Adapter], str]] = {
    "lora": (Lora, "weight"),
    "bottleneck": (AdapterBottleneck, ""),
    "hyper": (Hyper, ""),
    "depth": (Depth, "qkv"),
    "temporal": (Temporal, "qkv"),
    "channel-spatial": (ChannelSpatial, ""),
    "depthwise-3d": (Depthwise3d, ""),
    "click-feature": (ClickFeature, "mask_tokens"),
    "parallel-conv": (ParallelConv, ""),
    "modality": (Modality, ""),
}
KINDS = tuple(MAKERS)
STACKED = frozenset({"depth", "temporal", "depthwise-3d"})
"""Plug-ins that look along a stack of slices."""


# ------------------------------------------------------------------------------------------------------- inside


def _is_mlp(host: nn.Module) -> bool:
    return not hasattr(host, "qkv") and not hasattr(host, "attn")


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """(..., L, C) queries, keys and values -> (..., L, C)."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(-2, -3) for part in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2)
