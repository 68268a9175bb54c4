"""Adapters: small trained parts on named layers of a frozen network, saved alone.

A plug-in is added by name to the layers whose names match a pattern. Its last layer starts at zero, so that the network
computes at first what it computed without. Adapters are submodules of their hosts: a copy of the network has copies of
them, and what learns is every parameter with `adapter_` in its name.

==================  =================================================================================================
plug-in             what it adds to the output of its layer (idea of)
==================  =================================================================================================
`lora`              a low-rank product of the layer's input; on linear layers (Hu et al. 2021)
`bottleneck`        down, GELU, up: of the output of attention, of the input of an MLP (Wu et al. 2023, Med-SA)
`hyper`             the same with matrices made from the prompt's embedding between down and up (Med-SA)
`depth`             the layer's own attention along the slices of a stack, then down, GELU, up (Med-SA)
`temporal`          attention to a mixture of the clip's frames, weighted by distance (Kim et al. 2023, MediViSTA)
`channel-spatial`   gated channels and a detour over half the grid; beside an MLP (Cheng et al. 2023, SAM-Med2D)
`depthwise-3d`      a depth-wise 3-D convolution over a stack, between down and up (Gong et al. 2023, 3DSAM-adapter)
`parallel-conv`     maps of a small convolutional branch on the image itself (Huang et al. 2024, SAM-UNet)
`modality`          a bottleneck for each modality, beside an MLP or attention (Xu et al. 2024, ESP-MedSAM)
==================  =================================================================================================

Those that look along a stack take the batch of slices as one, in order; :func:`set_stack` says how many slices belong
together, :func:`set_prompt` gives `hyper` its embedding, :func:`set_modality` chooses among those of `modality`. They
are built from the papers' formulas; published weights of these adapters fit the published networks alone and are not
read.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import CheckpointError, MedSAMError
from .tensors import read_tensors, tensors_bytes, write_replacing
from .vit import ChannelSpatialAdapter

PREFIX = "adapter_"
_FORMAT = "medsamslicer adapters 1"
_PROMPT_CHANNELS = 256
_CONTEXT, _ADAPTERS = (
    "adapter_context",
    "adapter_configs",
)  # attributes of the image encoder and of the network
_BRANCH_CHANNELS = 32

MODALITIES = ("ct", "mr", "pet", "ultrasound", "x-ray", "dermoscopy", "endoscopy", "fundus", "microscopy")
"""The kinds of images that `modality` tells apart."""
_ALIASES = {
    "mri": "mr",
    "pt": "pet",
    "us": "ultrasound",
    "cr": "x-ray",
    "dx": "x-ray",
    "xray": "x-ray",
    "x": "x-ray",
    "es": "endoscopy",
    "op": "fundus",
    "sm": "microscopy",
}


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
            raise MedSAMError(f"No adapter is called {self.kind!r}; there are {', '.join(KINDS)}.")
        if not (
            0 < self.ratio <= 4 and 1 <= self.rank <= 1024 and 0 < self.scale <= 100 and 1 <= self.stack <= 64
        ):
            raise MedSAMError(f"The sizes of the adapter {self.kind} make no sense: {self}.")


class AdapterContext:
    """What all adapters of a network are told: the length of a stack, the prompt, the image under way."""

    def __init__(self) -> None:
        self.stack = 1
        self.prompt: Tensor | None = None
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
            raise MedSAMError(f"{slices} slices are not whole stacks of {depth}.")
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

    def __init__(self, channels: int, config: AdapterConfig) -> None:
        super().__init__(channels, config)
        hidden = self.down.out_features
        self.makers = nn.ModuleList(nn.Linear(_PROMPT_CHANNELS, hidden * hidden) for _ in range(2))

    def narrow(self, x: Tensor) -> Tensor:
        hidden = self.down(x)
        if self.context.prompt is not None:
            prompt = self.context.prompt.mean(0)
            for maker in self.makers:
                matrix = maker(prompt).view(hidden.shape[-1], hidden.shape[-1])
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


# kind -> (how it is made from channels, what a layer must have)
_MAKERS: Mapping[str, tuple[Callable[..., Adapter], str]] = {
    "lora": (Lora, "weight"),
    "bottleneck": (AdapterBottleneck, ""),
    "hyper": (Hyper, ""),
    "depth": (Depth, "qkv"),
    "temporal": (Temporal, "qkv"),
    "channel-spatial": (ChannelSpatial, ""),
    "depthwise-3d": (Depthwise3d, ""),
    "parallel-conv": (ParallelConv, ""),
    "modality": (Modality, ""),
}
KINDS = tuple(_MAKERS)
STACKED = frozenset({"depth", "temporal", "depthwise-3d"})
"""Plug-ins that look along a stack of slices."""


def attach(model: nn.Module, configs: Sequence[AdapterConfig]) -> list[nn.Parameter]:
    """Freeze a network and add adapters to it; what learns, in the order of the network.

    Raises:
        MedSAMError: If a plug-in fits no layer of that name, or one is there already.
    """
    if adapters_of(model):
        raise MedSAMError("This network has adapters already: load it again.")
    model.requires_grad_(False)
    context = AdapterContext()
    for config in configs:
        make, needed = _MAKERS[config.kind]
        hosts = [
            (name, module)
            for name, module in model.named_modules()
            if PREFIX not in name and _matches(name, config.layers) and _has(module, needed)
        ]
        if not hosts:
            raise MedSAMError(f"The adapter {config.kind} fits no layer called {config.layers!r}.")
        for name, host in hosts:
            sizes = _channels(host)
            if sizes is None or (config.kind == "lora") != isinstance(host, nn.Linear):
                raise MedSAMError(f"The adapter {config.kind} does not fit the layer {name}.")
            adapter = make(sizes[0], config, sizes[1]) if config.kind == "lora" else make(sizes[1], config)
            adapter.context = context
            adapter.to(next(model.parameters()).device)
            key = PREFIX + config.kind.replace("-", "_")
            if hasattr(host, key):
                raise MedSAMError(f"The layer {name} has an adapter {config.kind} already.")
            host.add_module(key, adapter)
            if not any(hook is _add for hook in host._forward_hooks.values()):
                host.register_forward_hook(_add)
    encoder = cast(nn.Module, model.image_encoder)
    encoder.__dict__[_CONTEXT] = context  # no parameter, buffer or module
    encoder.register_forward_pre_hook(_remember_image)
    model.__dict__[_ADAPTERS] = tuple(configs)
    return [parameter for name, parameter in model.named_parameters() if PREFIX in name]


def adapters_of(model: nn.Module) -> tuple[AdapterConfig, ...]:
    """The plug-ins of a network."""
    return cast(tuple[AdapterConfig, ...], getattr(model, _ADAPTERS, ()))


def stack_of(model: nn.Module) -> int:
    """How many slices a network's plug-ins look at together; 1 without such plug-ins."""
    return max((config.stack for config in adapters_of(model) if config.kind in STACKED), default=1)


def set_stack(model: nn.Module, slices: int) -> None:
    """Say how many slices of a batch, one after another, belong together."""
    _context(model).stack = slices


def set_prompt(model: nn.Module, embedding: Tensor | None) -> None:
    """Give the embedding of the prompt, (tokens, 256), to the adapters that depend on it."""
    _context(model).prompt = embedding


def set_modality(model: nn.Module, name: str | None) -> None:
    """Say what kind of image follows, as a manifest or DICOM calls it; None, or one of no kind here, = not known."""
    words = _ALIASES.get((name or "").strip().lower(), (name or "").strip().lower())
    _context(model).modality = MODALITIES.index(words) if words in MODALITIES else None


def adapter_weights(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' weights alone."""
    return {name: weight.detach().cpu() for name, weight in model.state_dict().items() if PREFIX in name}


def base_hash(model: nn.Module) -> str:
    """The SHA-256 of a network's own weights in float32, whatever file they came from."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        if PREFIX not in name:
            digest.update(name.encode())
            digest.update(weight.detach().cpu().to(torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def serialized_adapters(model: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """The adapters of a network alone as a safetensors file, with their description and the hash of the base.

    Raises:
        MedSAMError: If there are none.
    """
    if not adapters_of(model):
        raise MedSAMError("This network has no adapters.")
    described = json.dumps([asdict(config) for config in adapters_of(model)])
    texts = {**(metadata or {}), "format": _FORMAT, "adapters": described, "base": base_hash(model)}
    return tensors_bytes({name: weight.float() for name, weight in adapter_weights(model).items()}, texts)


def save_adapters(model: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write :func:`serialized_adapters` to a file. Raises MedSAMError, or OSError when it cannot be written."""
    write_replacing(path, serialized_adapters(model, metadata))


def load_adapters(model: nn.Module, path: Path) -> None:
    """Put saved adapters onto the network that they were trained for; adapters of the same kind are replaced.

    Raises:
        CheckpointError: If the file holds none, belongs to another network, or does not fit.
    """
    configs, base, weights = _read(path)
    found = base_hash(model)
    if found != base:
        raise CheckpointError(
            f"The adapters of {path.name} belong to another network: its weights have the SHA-256 "
            f"{base[:16]}…, not {found[:16]}…."
        )
    if adapters_of(model) != tuple(configs):
        attach(model, configs)
    expected = adapter_weights(model)
    for name in sorted({*expected, *weights}):
        if name not in weights or name not in expected or weights[name].shape != expected[name].shape:
            raise CheckpointError(f"{path.name} does not fit its own description at weight {name}.")
    model.load_state_dict(weights, strict=False)


def _read(path: Path) -> tuple[list[AdapterConfig], str, dict[str, Tensor]]:
    """Descriptions, hash of the base and weights in a file. Raises CheckpointError."""
    weights, texts = read_tensors(path, "a file of adapters")
    if texts.get("format") != _FORMAT:
        raise CheckpointError(f"{path.name} is not a file of adapters of this program.")
    try:
        return [AdapterConfig(**values) for values in json.loads(texts["adapters"])], texts["base"], weights
    except (ValueError, TypeError, KeyError, MedSAMError) as error:
        raise CheckpointError(f"The description of the adapters in {path.name} cannot be read.") from error


# ------------------------------------------------------------------------------------------------------- inside


def _add(host: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """A forward hook: the output of a layer with what its adapters add."""
    for adapter in _adapters_in(host):
        output = output + adapter.added(host, inputs[0], output)
    return output


def _remember_image(encoder: nn.Module, inputs: tuple[Any, ...]) -> None:
    cast(AdapterContext, getattr(encoder, _CONTEXT)).image = inputs[0]


def _adapters_in(host: nn.Module) -> Iterator[Adapter]:
    for name, module in host.named_children():
        if name.startswith(PREFIX):
            yield cast(Adapter, module)


def _context(model: nn.Module) -> AdapterContext:
    encoder = cast(nn.Module, model.image_encoder)
    context = getattr(encoder, _CONTEXT, None)
    if context is None:
        raise MedSAMError("This network has no adapters.")
    return cast(AdapterContext, context)


def _channels(host: nn.Module) -> tuple[int, int] | None:
    """Channels of the input and of the output of a layer; None when they cannot be told."""
    linears = [
        module
        for name, module in host.named_modules()
        if isinstance(module, nn.Linear) and PREFIX not in name
    ]
    if isinstance(host, nn.Linear):
        return host.in_features, host.out_features
    if hasattr(host, "qkv"):
        return cast(nn.Linear, host.qkv).in_features, cast(nn.Linear, host.proj).out_features
    return (linears[0].in_features, linears[-1].out_features) if linears else None


def _has(host: nn.Module, needed: str) -> bool:
    """Return whether a layer has what a plug-in uses; attention that pools or is laid out by heads has not."""
    if needed == "qkv" and (getattr(host, "pool", False) or hasattr(host, "attention_biases")):
        return False
    return not needed or hasattr(host, needed)


def _matches(name: str, patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns.split())


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
