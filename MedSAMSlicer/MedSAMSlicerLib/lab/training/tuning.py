"""Which weights learn: all, those of some parts, low-rank matrices beside all of them, or adapters alone."""

from __future__ import annotations

from typing import Any

from torch import nn

from ...core.errors import MedSAMError
from ...sam2.adapters import AdapterConfig, attach
from ...sam2.model import SAM2
from .lora import add_adapters

PARTS = {
    "decoder": ("sam_mask_decoder",),
    "encoder-decoder": ("image_encoder", "sam_mask_decoder"),
    "memory-decoder": ("memory_attention", "memory_encoder", "sam_mask_decoder"),
}
"""What learns of the network, by the name of the choice."""

TUNE = ("all", *PARTS, "lora", "adapters")

BOTTLENECKS = AdapterConfig(
    "bottleneck", "image_encoder.*.attn image_encoder.*.mlp sam_mask_decoder.transformer.layers.*.mlp"
)
"""Beside attention and MLPs of image transformer and mask decoder (Wu et al. 2023, Med-SA)."""

_BLOCKS = "image_encoder.*blocks.? image_encoder.*blocks.??"
ADAPTERS = {
    "bottleneck": BOTTLENECKS,
    "channel-spatial": AdapterConfig("channel-spatial", "image_encoder.*.mlp"),
    "depth": AdapterConfig("depth", "image_encoder.*.attn"),
    "depthwise-3d": AdapterConfig("depthwise-3d", _BLOCKS),
    "parallel-conv": AdapterConfig("parallel-conv", _BLOCKS),
    "temporal": AdapterConfig("temporal", "image_encoder.*.attn"),
}
"""What "adapters" may add; all but the first need a transformer as image encoder."""


def choose_weights(model: SAM2, tune: str, rank: int, adapter: str = "bottleneck") -> list[nn.Parameter]:
    """The weights that learn, in their order in the network; all others are frozen.

    Raises MedSAMError for a `tune` that is none of `TUNE`, and adapters that there are not or that fit no layer.
    """
    if tune == "lora":
        return add_adapters(model, rank)
    if tune == "adapters":
        if adapter not in ADAPTERS:
            raise MedSAMError(f"The adapter must be one of {', '.join(ADAPTERS)}, got {adapter!r}.")
        return attach(model, [ADAPTERS[adapter]])
    if tune not in TUNE:
        raise MedSAMError(f"What is tuned must be one of {', '.join(TUNE)}, got {tune!r}.")
    model.requires_grad_(tune == "all")
    for part in PARTS.get(tune, ()):
        getattr(model, part).requires_grad_(True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def parameter_groups(
    model: nn.Module, weight_decay: float, encoder_share: float = 1.0
) -> list[dict[str, Any]]:
    """The weights that learn, for an optimizer.

    Weight decay is for matrices and kernels only, not for biases, norms and single embeddings. `share` is the part of
    the learning rate that a group gets: `encoder_share` for the image encoder, 1 for all others.
    """
    learning = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = []
    for share in sorted({1.0, encoder_share}, reverse=True):
        of_share = [
            parameter
            for name, parameter in learning
            if (encoder_share if name.startswith("image_encoder.") else 1.0) == share
        ]
        decayed = [p for p in of_share if p.ndim >= 2 and p.shape[0] > 1]
        chosen = {id(parameter) for parameter in decayed}
        rest = [parameter for parameter in of_share if id(parameter) not in chosen]
        groups.append({"params": decayed, "weight_decay": weight_decay, "share": share})
        groups.append({"params": rest, "weight_decay": 0.0, "share": share})
    return groups
