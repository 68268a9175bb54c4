"""The weights that learn: all, those of some parts, low-rank matrices beside all of them, or adapters alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from ...core.errors import MedSAMError
from ...sam2.adapters import AdapterConfig, attach
from ...sam2.config import ConvTrunkConfig
from ...sam2.model import SAM2
from ...sam2.networks import Network
from ...sam2.plug_ins import STACKED
from .lora import add_adapters

PARTS = {
    "decoder": ("mask_decoder",),
    "encoder-decoder": ("image_encoder", "mask_decoder"),
    "memory-decoder": ("memory_attention", "memory_encoder", "mask_decoder"),
}
"""What learns of the network, by the name of the choice; SAM 2 calls its decoder `sam_mask_decoder`."""

TUNE = ("all", *PARTS, "lora", "adapters")

BOTTLENECKS = AdapterConfig(
    "bottleneck", "image_encoder.*.attn image_encoder.*.mlp *mask_decoder.transformer.layers.*.mlp"
)
"""Beside attention and MLPs of image transformer and mask decoder (Wu et al. 2023, Med-SA)."""

_BLOCKS = "image_encoder.*blocks.? image_encoder.*blocks.??"
ADAPTERS = {
    "bottleneck": BOTTLENECKS,
    "channel-spatial": AdapterConfig("channel-spatial", "image_encoder.*.mlp"),
    "click-feature": AdapterConfig("click-feature", "*mask_decoder"),
    "depth": AdapterConfig("depth", "image_encoder.*.attn"),
    "depthwise-3d": AdapterConfig("depthwise-3d", _BLOCKS),
    "hyper": AdapterConfig("hyper", "*mask_decoder.transformer.layers.*.mlp", ratio=0.125),
    "parallel-conv": AdapterConfig("parallel-conv", _BLOCKS),
    "temporal": AdapterConfig("temporal", "image_encoder.*.attn"),
}
"""What "adapters" may add, several joined by +; those in `image_encoder` alone need a transformer there. SAM calls its
decoder `mask_decoder`, SAM 2 `sam_mask_decoder`."""


_BLOCK = re.compile(r"image_encoder\.(?:.*?)(?:blocks\.\d+|stages\.\d+)\.")
_HALVING = re.compile(r"image_encoder\..*?halvings\.(\d+)\.")


def choose_weights(model: Network, tune: str, rank: int, adapter: str = "bottleneck") -> list[nn.Parameter]:
    """The weights that learn, in their order in the network; all others are frozen.

    Raises MedSAMError for a `tune` that is none of `TUNE`, and adapters that there are not or that fit no layer.
    """
    if tune == "lora":
        return add_adapters(model, rank)
    if tune == "adapters":
        names = adapter.split("+")
        unknown = [name for name in names if name not in ADAPTERS]
        if unknown:
            raise MedSAMError(f"The adapter must be one of {', '.join(ADAPTERS)}, got {unknown[0]!r}.")
        _check_adapters(model, names)
        return attach(model, [ADAPTERS[name] for name in names])
    if tune not in TUNE:
        raise MedSAMError(f"What is tuned must be one of {', '.join(TUNE)}, got {tune!r}.")
    model.requires_grad_(tune == "all")
    parts = dict(model.named_children())
    for part in PARTS.get(tune, ()):
        learning = parts.get(part) or parts.get(f"sam_{part}")
        if learning is None:
            raise MedSAMError(f"{model.config.name} has no memory: {tune!r} cannot be tuned.")
        learning.requires_grad_(True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _check_adapters(model: Network, adapters: Sequence[str]) -> None:
    """Raise MedSAMError when adapters need clips or a transformer, and a network has none."""
    for name in adapters:
        if ADAPTERS[name].kind in STACKED and not isinstance(model, SAM2):
            raise MedSAMError(
                f"The adapter {name} looks along a clip, and {model.config.name} learns single slices: choose a "
                "checkpoint with memory, or another adapter."
            )
        if not isinstance(model.config.trunk, ConvTrunkConfig):
            continue
        if all(pattern.startswith("image_encoder.") for pattern in ADAPTERS[name].layers.split()):
            raise MedSAMError(
                f"The adapter {name} belongs into a transformer, and the image encoder of {model.config.name} is "
                "convolutional: choose another checkpoint, or the adapter bottleneck, hyper or click-feature."
            )


def parameter_groups(
    model: nn.Module, weight_decay: float, encoder_share: float = 1.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """The weights that learn, for an optimizer.

    Weight decay is for matrices and kernels only, not for biases, norms and single embeddings. `share` is the part of
    the learning rate that a group gets: 1 outside the image encoder, `encoder_share` inside, and in its trunk
    `layer_decay` times that for every block from there to the end.
    """
    depths = trunk_depths(model)
    behind = max(depths.values(), default=0) + 1
    shares: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            inside = encoder_share * layer_decay ** (behind - depths.get(name, behind))
            share = inside if name.startswith("image_encoder.") else 1.0
            shares.setdefault(round(share, 9), []).append(parameter)
    groups = []
    for share in sorted(shares, reverse=True):
        decayed = [p for p in shares[share] if p.ndim >= 2 and p.shape[0] > 1]
        chosen = {id(parameter) for parameter in decayed}
        rest = [parameter for parameter in shares[share] if id(parameter) not in chosen]
        groups.append({"params": decayed, "weight_decay": weight_decay, "share": share})
        groups.append({"params": rest, "weight_decay": 0.0, "share": share})
    return groups


def trunk_depths(model: nn.Module) -> dict[str, int]:
    """The depth of each weight of the image encoder's trunk: 0 before the first block, n in the n-th one.

    Blocks are those of a transformer, counted over all stages, or the stages of a convolutional trunk. Weights behind
    them, such as a neck, are not listed.
    """
    names = [name for name, _ in model.named_parameters() if name.startswith("image_encoder.")]
    blocks = list(dict.fromkeys(m[0] for name in names if (m := _BLOCK.match(name))))
    last = max((number for number, name in enumerate(names) if _BLOCK.match(name)), default=-1)
    depths, depth = {}, 0
    for name in names[: last + 1]:  # what lies between two blocks belongs to the first
        block = _BLOCK.match(name)
        depth = depth if block is None else blocks.index(block[0]) + 1
        depths[name] = depth
    return {**depths, **{name: int(m[1]) + 1 for name in names if (m := _HALVING.match(name))}}
