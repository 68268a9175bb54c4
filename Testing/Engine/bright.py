"""A stand-in for the network that finds whatever is bright, so that what surrounds the network can be tested alone."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.engine.bank import Recollection, SliceMemory
from MedSAMSlicerLib.engine.crop import CropPolicy
from MedSAMSlicerLib.engine.features import SliceFeatures
from MedSAMSlicerLib.engine.live import LiveSegmentation
from MedSAMSlicerLib.engine.memory_attention import MemoryKeys
from MedSAMSlicerLib.engine.network import MemoryNetwork, NetworkFacts
from MedSAMSlicerLib.engine.propagate import Propagator
from MedSAMSlicerLib.engine.tracker import TrackingOptions
from MedSAMSlicerLib.engine.view import FrameView
from MedSAMSlicerLib.sam2 import NANO, DecoderPrompts, MaskOutput

SIZE = 64
CONFIG = replace(NANO, image_size=SIZE)


class BrightModel:
    """Only what a mask prompt asks of the model."""

    config = CONFIG

    def decode_mask_as_output(self, top: Tensor, mid: Tensor, fine: Tensor, mask: Tensor) -> MaskOutput:
        side = 4 * SIZE // CONFIG.stride
        logits = torch.nn.functional.interpolate(
            20 * mask - 10, (side, side), mode="bilinear", antialias=True
        )
        return MaskOutput(logits, torch.ones(1), torch.full((1,), 10.0), torch.zeros(1, 4))


class BrightNetwork(MemoryNetwork):
    """Draws every voxel brighter than 128; keeps a diary of what it was shown and what was remembered."""

    def __init__(self, array: npt.NDArray[np.uint8], axis: SliceAxis = SliceAxis.K) -> None:
        self.model, self.device = BrightModel(), torch.device("cpu")  # type: ignore[assignment]
        self.facts = NetworkFacts(
            CONFIG.name,
            SIZE,
            CONFIG.stride,
            CONFIG.crop_margin,
            CONFIG.num_memories,
            CONFIG.max_object_pointers,
            4,
            CONFIG.dense_prompts,
        )
        self.slice_count = array.shape[axis]
        self.array, self.axis = array, axis
        self.looked: list[tuple[int, FrameView]] = []
        self.recalled: list[Recollection] = []
        self.shown: list[Tensor | None] = []

    def features(self, slices: list[tuple[int, FrameView]]) -> SliceFeatures:  # type: ignore[override]
        self.looked += slices
        frames = [view.frame(np.take(self.array, index, axis=int(self.axis))) for index, view in slices]
        gray = torch.from_numpy(np.stack(frames))[:, None].float()
        side = 4 * SIZE // CONFIG.stride
        low = torch.nn.functional.interpolate(gray, (side, side), mode="area")
        return SliceFeatures(low, low, low, low)

    def condition(self, features: SliceFeatures, recollections: list[Recollection], span: int) -> Tensor:  # type: ignore[override]
        self.recalled += recollections
        return features.top

    def decode(
        self, features: SliceFeatures, conditioned: Tensor, prompts: DecoderPrompts, count: int = 0
    ) -> MaskOutput:
        self.shown.append(prompts.mask)
        logits = (conditioned - 128) / 8
        score = torch.where((logits > 0).flatten(1).any(1), 5.0, -5.0)
        return MaskOutput(logits, torch.full((len(logits),), 0.9), score, torch.zeros(len(logits), 4))

    def remember(
        self, features: SliceFeatures, logits: Tensor, score: Tensor, pointer: Tensor, prompted: bool
    ) -> list[SliceMemory]:
        keys = MemoryKeys((), torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
        return [SliceMemory(pointer[n : n + 1], keys) for n in range(len(pointer))]


def bright_segmentation(
    array: npt.NDArray[np.uint8],
    geometry: VolumeGeometry,
    axis: SliceAxis = SliceAxis.K,
    patience: int = 3,
    crop: CropPolicy | None = None,
) -> tuple[LiveSegmentation, BrightNetwork]:
    """A segmentation of what is bright."""
    network = BrightNetwork(array, axis)
    propagator = Propagator(network, TrackingOptions(patience, crop))
    whole = FrameView.whole(geometry, axis, SIZE)
    return LiveSegmentation(propagator, geometry, axis, whole, nullcontext), network
