"""Weights of the learned volume stage on disk: safetensors, with what they were trained on."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from ...core.errors import CheckpointError
from ...core.folders import bundled_folders
from ...sam2.tensors import MALFORMED, check_finite, read_tensors, tensors_bytes
from .network import VolumeNet

BUNDLED = "medsamslicer_volume.safetensors"
UNRANGED = "medsamslicer_volume_unranged.safetensors"
"""For objects without a slice range: learned to see where they end."""
_LONGEST_DESCRIPTION, _MOST_LEVELS, _WIDEST = 1000, 8, 1024
FORMAT = "medsamslicer volume stage 2"
"""Which channels the network takes in; a file of another format is refused."""


def save_stage(network: VolumeNet, metadata: Mapping[str, str] | None = None) -> bytes:
    """The content of a file that :func:`load_stage` reads, in float16.

    Args:
        network: with finite weights.
        metadata: more text to keep, such as license and training data.

    Raises:
        CheckpointError: If a weight is not finite as float16.
    """
    weights = {name: value.half() for name, value in network.state_dict().items()}
    check_finite(weights, BUNDLED)
    widths = json.dumps(network.widths)
    return tensors_bytes(weights, {**(metadata or {}), "format": FORMAT, "widths": widths})


def load_stage(path: Path) -> VolumeNet:
    """The network of a file, in float32 and evaluation mode.

    Raises:
        CheckpointError: If the file is missing, damaged, of another format, or does not match its own description.
    """
    if not path.is_file():
        raise CheckpointError(f"There are no weights of the volume stage at {path}.")
    weights, texts = read_tensors(path, "a file of the volume stage")
    if texts.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} has the format {texts.get('format')!r}, not {FORMAT!r}.")
    try:
        network = VolumeNet(widths=_widths(texts["widths"]))
        network.load_state_dict({name: value.float() for name, value in weights.items()})
    except (ArithmeticError, *MALFORMED) as error:
        raise CheckpointError(f"{path.name} does not match its own description: {error}.") from error
    check_finite(weights, path.name)
    return network.eval()


def _widths(text: str) -> tuple[int, ...]:
    """The description of a network, checked before it is built; ValueError for one that cannot be."""
    widths = json.loads(text) if len(text) < _LONGEST_DESCRIPTION else None
    if not isinstance(widths, list) or not 1 <= len(widths) <= _MOST_LEVELS:
        raise ValueError(f"its widths are {text[:60]!r}")
    if not all(type(width) is int and 1 <= width <= _WIDEST for width in widths):
        raise ValueError(f"its widths are {text[:60]!r}")
    return tuple(widths)


@functools.cache
def bundled_stage(name: str = BUNDLED) -> VolumeNet | None:
    """One of the networks that come with the program; None where there is none."""
    for folder in bundled_folders():
        if (folder / name).is_file():
            return load_stage(folder / name)
    return None
