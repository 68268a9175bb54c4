"""The two published implementations of SAM 2, with the weights of one of our networks, to compare with."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from MedSAMSlicerLib.lab.evaluation.official import OfficialSession, build_official_predictor
from MedSAMSlicerLib.lab.evaluation.official_transformers import TransformersSession, build_transformers_model
from MedSAMSlicerLib.sam2 import SAM2, Config
from MedSAMSlicerLib.sam2.checkpoint import seeded

__all__ = [
    "OfficialSession",
    "TransformersSession",
    "build_transformers_model",
    "intersection_over_union",
    "official_predictor",
    "phantom",
    "relative_error",
    "seeded_at",
    "shaken",
]


def seeded_at(config: Config, size: int, seed: int = 0) -> SAM2:
    """A network with the weights of `seeded`, for images of another size."""
    return seeded(replace(config, image_size=size), seed)


def shaken(model: SAM2, seed: int = 0) -> SAM2:
    """The same network with every weight moved by at most one unit in the last place.

    What comes out differently is the noise of the computation itself: another processor, which adds in another order,
    gives as much. Seeded networks magnify it much more than trained ones.
    """
    moved = copy.deepcopy(model)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in moved.parameters():
            step = torch.randint(-1, 2, weight.shape, generator=random)
            weight.mul_(1 + step * torch.finfo(torch.float32).eps)
    return moved


def phantom(slices: int, size: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A (slices, size, size) volume: a body with five ellipsoids in it, and noise."""
    random = np.random.default_rng(seed)
    z, y, x = np.mgrid[0:slices, 0:size, 0:size].astype(np.float32)
    volume = np.full((slices, size, size), 40, np.float32)
    volume[((y - size / 2) / (size * 0.42)) ** 2 + ((x - size / 2) / (size * 0.46)) ** 2 < 1] = 90
    for _ in range(5):
        row, column = random.uniform(0.3, 0.7, 2) * size
        height, width = random.uniform(0.05, 0.13, 2) * size
        depth = (z - slices / 2) / (slices * 0.8)
        volume[((y - row) / height) ** 2 + ((x - column) / width) ** 2 + depth**2 < 1] = random.uniform(
            110, 220
        )
    return np.clip(volume + random.normal(0, 6, volume.shape), 0, 255).astype(np.uint8)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, as a part of the largest value."""
    assert ours.shape == theirs.shape
    return float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max())


def intersection_over_union(ours: Tensor, theirs: Tensor) -> float:
    """Of the two masks that the logits draw; 1 if both are empty."""
    a, b = ours > 0, theirs > 0
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def official_predictor(model: SAM2) -> Any:
    """The `sam2` package's video predictor; feed it through `OfficialSession(predictor, frames)`."""
    config = model.config
    return build_official_predictor(config.name, model.state_dict(), image_size=config.image_size)
