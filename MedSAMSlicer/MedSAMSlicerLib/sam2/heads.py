"""Small heads on what a frozen network computes anyway, trained by the user and kept in files of their own.

==========  ===========================================================================================================
head        what it draws from what (idea of)
==========  ===========================================================================================================
`patch`     where something of interest lies on a slice, from its features, without a prompt (ESP-MedSAM, SqueezeSAM)
`volume`    masks of named organs in a stack of slices, from the features of each, without a prompt (SAM3D)
`implicit`  a mask at any resolution and how certain each place is, from the decoder's last map (I-MedSAM)
==========  ===========================================================================================================

They are built from the papers' formulas with fewer channels; published weights of these systems are not read. A file
holds the hash of the network that the head was trained on, and is refused on any other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import CheckpointError, MedSAMError
from .adapters import base_hash
from .layers import LayerNorm2d
from .tensors import MALFORMED, read_tensors, tensors_bytes

_FORMAT = "medsamslicer head 1"
_FEWEST = 8  # channels
_MOST_CLASSES, _MOST_CHANNELS = 256, 4096
_OCTAVES = 6
_UNCERTAIN = 0.125  # part of the places that is drawn again
_FINE_GRID = 48  # features along a side from which on two by two of them are one cell


@dataclass(frozen=True)
class HeadConfig:
    """The description of a head.

    Args:
        kind: one of `KINDS`.
        channels: of the map that it reads.
        levels: of "volume": how often rows and columns are doubled until they are those of the frame.
        grid: of "patch": features along a side of a frame.
        classes: names of what it draws.
    """

    kind: str
    channels: int
    levels: int = 0
    grid: int = 0
    classes: tuple[str, ...] = ("object",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.kind not in KINDS:
            raise MedSAMError(f"There is no head {self.kind!r}; known are {', '.join(KINDS)}.")
        sizes = (0 < self.channels <= _MOST_CHANNELS, 0 <= self.levels <= 6, 0 <= self.grid <= 4096)
        if not all(sizes) or not 0 < len(self.classes) <= _MOST_CLASSES:
            raise MedSAMError(f"The head {self.kind} has sizes that cannot be used: {self}.")


class PatchHead(nn.Module):
    """Features (N, C, h, w) -> logits (N, 1, h', w') of the cells of a slice: something of interest lies there."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        stride = 2 if config.grid >= _FINE_GRID else 1
        hidden = max(_FEWEST, min(64, config.channels))
        self.conv1 = nn.Conv2d(config.channels, hidden, 3, stride=stride, padding=1)
        self.norm = LayerNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.conv2(functional.gelu(self.norm(self.conv1(features))))
        return out


class VolumeHead(nn.Module):
    """Features of D slices (1, C, D, h, w) -> logits (1, 1 + classes, D, H, W), the first being background.

    Each level is a residual pair of 3-D convolutions and doubles rows and columns. While it is trained the coarser
    levels draw, too.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels]
        for _ in range(config.levels):
            widths.append(max(_FEWEST, min(128, widths[-1] // 2)))
        self.levels = nn.ModuleList(_ResidualPair(fine, coarse) for fine, coarse in pairwise(widths))
        self.drawn = nn.ModuleList(nn.Conv3d(width, 1 + len(config.classes), 1) for width in widths[1:])

    def forward(self, features: Tensor) -> Tensor:
        return self.at_levels(features)[-1]

    def at_levels(self, features: Tensor) -> list[Tensor]:
        """The logits of every level, the coarsest first."""
        x, found = features, []
        for level, drawn in zip(self.levels, self.drawn, strict=True):
            x = functional.interpolate(level(x), scale_factor=(1.0, 2.0, 2.0), mode="nearest")
            found.append(drawn(x))
        return found


class _ResidualPair(nn.Module):
    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels_in, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv3d(channels_in, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.leaky_relu(functional.instance_norm(self.conv1(x)), 0.01)
        y = functional.instance_norm(self.conv2(y)) + functional.instance_norm(self.shortcut(x))
        return functional.leaky_relu(y, 0.01)


class ImplicitHead(nn.Module):
    """The decoder's last map and its logits -> the logit of any place, at first the bilinear one.

    A place is described by the map there, the logit there and its coordinates in several octaves. Where two passes
    with dropout differ most a second network draws it again; dropout stays on for these passes, also after training,
    since without it there would be no difference.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.coarse = nn.Sequential(
            nn.Linear(config.channels + 1 + 2 + 4 * _OCTAVES, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()
        )
        self.coarse_logit = nn.Linear(64, 1)
        self.fine = nn.Sequential(nn.Linear(64 + config.channels + 1, 64), nn.ReLU(), nn.Linear(64, 1))
        for last in (self.coarse_logit, cast(nn.Linear, self.fine[-1])):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, pixels: Tensor, logits: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw places.

        Args:
            pixels: (1, C, h, w), the decoder's last map.
            logits: (1, 1, h, w) of the mask.
            places: (P, 2) x and y in -1..1 across the map, as `grid_sample` has them.

        Returns:
            Coarse logits (P,), final logits (P,), and how far two passes with dropout were apart (P,).
        """
        grid = places.view(1, 1, -1, 2)
        sampled = [
            functional.grid_sample(each, grid, "bilinear", "border", align_corners=False)[0, :, 0].T
            for each in (pixels, logits)
        ]
        seen = torch.cat(sampled, 1)  # (P, C + 1)
        octaves = math.pi * 2.0 ** torch.arange(_OCTAVES, device=places.device, dtype=places.dtype)
        angles = (places[:, :, None] * octaves).flatten(1)
        hidden = self.coarse(torch.cat([seen, places, angles.sin(), angles.cos()], 1))
        base = sampled[1][:, 0]
        coarse = base + self.coarse_logit(hidden)[:, 0]
        passes = [self.coarse_logit(functional.dropout(hidden, 0.5, True))[:, 0] for _ in range(2)]
        apart = (passes[0] - passes[1]).abs().detach()
        again = apart.topk(max(1, round(_UNCERTAIN * len(apart)))).indices
        drawn = coarse.clone()
        drawn[again] = coarse[again] + self.fine(torch.cat([hidden[again], seen[again]], 1))[:, 0]
        return coarse, drawn, apart

    def drawn(self, pixels: Tensor, logits: Tensor, factor: int) -> tuple[Tensor, Tensor]:
        """The mask at `factor` times the resolution of the map: logits and uncertainty, (h factor, w factor) each."""
        height, width = (side * factor for side in logits.shape[-2:])
        y = (torch.arange(height, device=logits.device, dtype=logits.dtype) + 0.5) * 2 / height - 1
        x = (torch.arange(width, device=logits.device, dtype=logits.dtype) + 0.5) * 2 / width - 1
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        _, found, apart = self(pixels, logits, torch.stack([columns, rows], -1).view(-1, 2))
        return found.view(height, width), apart.view(height, width)


Head = PatchHead | VolumeHead | ImplicitHead
_MAKERS: dict[str, type[PatchHead] | type[VolumeHead] | type[ImplicitHead]] = {
    "patch": PatchHead,
    "volume": VolumeHead,
    "implicit": ImplicitHead,
}
KINDS = tuple(_MAKERS)


def made(config: HeadConfig) -> Head:
    """The head that a config describes, with random weights."""
    return _MAKERS[config.kind](config)


def serialized_head(head: Head, model: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file of a head, with its description and the hash of the network it was trained on."""
    texts = {"format": _FORMAT, "head": json.dumps(asdict(head.config)), "base": base_hash(model)}
    return tensors_bytes(head.state_dict(), {**(metadata or {}), **texts})


def load_head(path: Path, model: nn.Module, kind: str | None = None) -> Head:
    """The head of a file, in evaluation mode and on the network's device.

    Args:
        path: of the file.
        model: the network that reads the slices.
        kind: which head is needed; None = any.

    Raises:
        CheckpointError: If the file is missing or damaged, holds no or another head, or belongs to another network.
    """
    weights, texts = read_tensors(path, "a file of a head")
    if texts.get("format") != _FORMAT:
        raise CheckpointError(f"{path.name} is not a head file of MedSAMSlicer.")
    try:
        head = made(HeadConfig(**json.loads(texts["head"])))
        head.load_state_dict(weights)
    except (MedSAMError, *MALFORMED) as error:
        raise CheckpointError(f"{path.name} does not match its own description.") from error
    if kind is not None and head.config.kind != kind:
        raise CheckpointError(f"{path.name} holds the head {head.config.kind}, but {kind} is needed.")
    if texts.get("base") != base_hash(model):
        name = cast(Any, model.config).name
        raise CheckpointError(f"The head in {path.name} was trained for another network, not for {name}.")
    return head.eval().to(next(model.parameters()).device)
