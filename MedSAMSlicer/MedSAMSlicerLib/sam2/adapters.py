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
`click-feature`     the image's features at a click, to the click's token; on the mask decoder (3DSAM-adapter)
`parallel-conv`     maps of a small convolutional branch on the image itself (Huang et al. 2024, SAM-UNet)
`modality`          a bottleneck for each modality, beside an MLP or attention (Xu et al. 2024, ESP-MedSAM)
==================  =================================================================================================

Those that look along a stack take the batch of slices as one, in order; :func:`set_stack` says how many slices belong
together, :func:`set_modality` chooses among those of `modality`. `hyper` in the mask decoder knows the prompts of each
object that is drawn; in the image encoder, which comes before any prompt, it is a bottleneck. The
plug-ins (:mod:`.plug_ins`) are built from the papers' formulas; published weights of these adapters fit the published
networks alone and are not read.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError, MedSAMError
from .plug_ins import (
    KINDS,
    MAKERS,
    MODALITIES,
    STACKED,
    Adapter,
    AdapterConfig,
    AdapterContext,
    ClickFeature,
    Clicks,
    Hyper,
    Lora,
)
from .tensors import read_tensors, tensors_bytes

__all__ = [
    "KINDS",
    "MODALITIES",
    "PREFIX",
    "STACKED",
    "AdapterConfig",
    "adapter_weights",
    "adapters_of",
    "attach",
    "base_hash",
    "load_adapters",
    "serialized_adapters",
    "set_modality",
    "set_stack",
    "stack_of",
]

PREFIX = "adapter_"
_FORMAT = "medsamslicer adapters 1"
_CONTEXT, _ADAPTERS = "adapter_context", "adapter_configs"  # attributes of parts and of the network
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


def attach(model: nn.Module, configs: Sequence[AdapterConfig]) -> list[nn.Parameter]:
    """Freeze a network and add adapters to it; what learns, in the order of the network.

    Raises:
        MedSAMError: If a plug-in fits no layer of that name, or one is there already.
    """
    if adapters_of(model):
        raise MedSAMError("This network already has adapters; load the network again to attach others.")
    model.requires_grad_(False)
    context = AdapterContext()
    parts = _parts(model)
    for config in configs:
        needed = MAKERS[config.kind][1]
        hosts = [
            (name, module)
            for name, module in model.named_modules()
            if PREFIX not in name and _matches(name, config.layers) and _has(module, needed)
        ]
        if not hosts:
            raise MedSAMError(
                f"The adapter {config.kind} fits no layer of this network: it belongs on {config.layers}."
            )
        for name, host in hosts:
            adapter = _made(config, host, parts.prompt_channels)
            if adapter is None:
                raise MedSAMError(f"The adapter {config.kind} does not fit the layer {name}.")
            adapter.context = context
            adapter.to(next(model.parameters()).device)
            key = PREFIX + config.kind.replace("-", "_")
            if hasattr(host, key):
                raise MedSAMError(f"The layer {name} already has an adapter {config.kind}.")
            host.add_module(key, adapter)
            hooked = any(hook is _add for hook in host._forward_hooks.values())
            if not hooked and not isinstance(adapter, ClickFeature):
                host.register_forward_hook(_add)
    for part in (parts.image_encoder, parts.prompt_encoder, parts.mask_decoder):
        part.__dict__[_CONTEXT] = context  # no parameter, buffer or module
    parts.image_encoder.register_forward_pre_hook(_remember_image)
    if {"hyper", "click-feature"} & {config.kind for config in configs}:
        parts.prompt_encoder.register_forward_pre_hook(_remember_clicks, with_kwargs=True)
        parts.mask_decoder.register_forward_pre_hook(_join_clicks)
        parts.mask_decoder.register_forward_hook(_forget_prompts, always_call=True)
    model.__dict__[_ADAPTERS] = tuple(configs)
    return [parameter for name, parameter in model.named_parameters() if PREFIX in name]


def adapters_of(model: nn.Module) -> tuple[AdapterConfig, ...]:
    """The plug-ins of a network."""
    return cast(tuple[AdapterConfig, ...], getattr(model, _ADAPTERS, ()))


def stack_of(model: nn.Module) -> int:
    """The number of slices that a network's plug-ins look at together; 1 without such plug-ins."""
    return max((config.stack for config in adapters_of(model) if config.kind in STACKED), default=1)


def set_stack(model: nn.Module, slices: int) -> None:
    """Set how many slices of a batch, one after another, belong together."""
    _context(model).stack = slices


def set_modality(model: nn.Module, name: str | None) -> None:
    """Set the kind of image to come, as a manifest or DICOM calls it; None, or one of no kind here, = not known."""
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


def load_adapters(model: nn.Module, path: Path) -> None:
    """Put saved adapters onto the network that they were trained for; adapters of the same kind are replaced.

    Raises:
        CheckpointError: If the file holds none, belongs to another network, or does not fit.
    """
    configs, base, weights = _read(path)
    found = base_hash(model)
    if found != base:
        raise CheckpointError(
            f"The adapters of {path.name} belong to another network: that network's weights have the SHA-256 "
            f"{base[:16]}…, those of this one {found[:16]}…."
        )
    if adapters_of(model) != tuple(configs):
        attach(model, configs)
    expected = adapter_weights(model)
    for name in sorted({*expected, *weights}):
        if name not in weights or name not in expected or weights[name].shape != expected[name].shape:
            raise CheckpointError(f"{path.name} does not match its own description at weight {name}.")
    model.load_state_dict(weights, strict=False)


def _read(path: Path) -> tuple[list[AdapterConfig], str, dict[str, Tensor]]:
    """Descriptions, hash of the base and weights in a file. Raises CheckpointError."""
    weights, texts = read_tensors(path, "a file of adapters")
    if texts.get("format") != _FORMAT:
        raise CheckpointError(f"{path.name} is not an adapter file of MedSAMSlicer.")
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


def _remember_clicks(encoder: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Before the prompt encoder: which points follow."""
    given = {**dict(zip(("points", "labels"), inputs, strict=False)), **named}
    context = cast(AdapterContext, getattr(encoder, _CONTEXT))
    points, labels = given.get("points"), given.get("labels")
    context.clicks = None if points is None or labels is None else Clicks(points, labels, given["side"])


def _join_clicks(decoder: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Before the mask decoder: its tokens with what the image shows at clicks, and which prompts it draws."""
    image, position, prompts, *others = inputs
    for adapter in _adapters_in(decoder):
        if isinstance(adapter, ClickFeature):
            prompts = adapter.joined(image, prompts)
    cast(AdapterContext, getattr(decoder, _CONTEXT)).drawn = prompts
    return (image, position, prompts, *others)


def _forget_prompts(decoder: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    cast(AdapterContext, getattr(decoder, _CONTEXT)).drawn = None


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


class _Parts(NamedTuple):
    """The parts of a network whose inputs adapters get."""

    image_encoder: nn.Module
    prompt_encoder: nn.Module
    mask_decoder: nn.Module

    @property
    def prompt_channels(self) -> int:
        """Channels of a prompt's token."""
        return int(cast(nn.Embedding, self.prompt_encoder.no_mask_embed).embedding_dim)


def _parts(model: nn.Module) -> _Parts:
    names = dict(model.named_children())
    prefix = "sam_" if "sam_mask_decoder" in names else ""
    return _Parts(names["image_encoder"], names[f"{prefix}prompt_encoder"], names[f"{prefix}mask_decoder"])


def _made(config: AdapterConfig, host: nn.Module, prompt_channels: int) -> Adapter | None:
    """The adapter of a layer; None when it does not fit."""
    make, _ = MAKERS[config.kind]
    if make is ClickFeature:
        return make(prompt_channels, config)
    sizes = _channels(host)
    if sizes is None or (make is Lora) != isinstance(host, nn.Linear):
        return None
    if make is Lora:
        return make(sizes[0], config, sizes[1])
    return make(sizes[1], config, prompt_channels) if make is Hyper else make(sizes[1], config)


def _channels(host: nn.Module) -> tuple[int, int] | None:
    """Channels of the input and of the output of a layer; None when they are unknown."""
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
