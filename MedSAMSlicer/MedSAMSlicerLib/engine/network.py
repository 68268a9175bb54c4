"""The network over the slices of one volume: features that are computed once, and the steps between them and masks.

Everything here is batched over objects; slices of a batch may differ, since features carry the batch as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..sam2.model import SAM2, DecoderPrompts, MaskOutput
from .bank import Recollection, SliceMemory
from .features import FeatureStore, SliceFeatures
from .memory_attention import FastMemoryAttention, MemoryKeys
from .view import FrameView

PREVIOUS_LOGIT_LIMIT = 32.0
"""Logits of an earlier mask are cut to this before the network sees them again, as the official predictor does."""

LOGIT_LIMIT = 16.0
"""Logits of a finished slice are cut to this for the volume stage; where the object is not they are minus this."""


@dataclass(frozen=True)
class NetworkFacts:
    """The properties of a network that the engine must know to carry an object with it.

    Args:
        name: for messages.
        image_size: side of the frames it was trained for, in pixels.
        stride: pixels per feature.
        crop_margin: see `Config`.
        num_memories: slices that it remembers, conditioning ones included.
        max_object_pointers: see `Config`.
        pointer_channels: numbers in an object pointer.
        shown_previous: it is shown the mask of the slice before, and where the range ends (`dense_prompts`).
        prompts: kinds of prompts that it was trained with: "box", "point", "mask".
    """

    name: str
    image_size: int
    stride: int
    crop_margin: float | None = None
    num_memories: int = 1
    max_object_pointers: int = 1
    pointer_channels: int = 1
    shown_previous: bool = False
    prompts: tuple[str, ...] = ("box", "point", "mask")


class SliceNetwork(Protocol):
    """A network over the slices of one volume; batched over objects.

    `remembers` is false for networks without memory, which carry an object from the mask of the slice before.
    `mask_token` names the mask that counts of those that the decoder draws; set it before anything is drawn. auto = as
    the network's authors choose, by the prompts; single = the one meant for prompts that leave no doubt; first, best =
    of the alternatives meant for other prompts the first one, or the one with the highest predicted IoU.
    """

    remembers: bool
    mask_token: str
    facts: NetworkFacts
    store: FeatureStore
    slice_count: int
    device: torch.device

    def features(self, slices: Sequence[tuple[int, FrameView]]) -> SliceFeatures:
        """The features of B slices, each through its view, stacked along the batch."""
        ...

    def condition(self, features: SliceFeatures, recollections: Sequence[Recollection], span: int) -> Tensor:
        """(B, C, h, w): the slices in the light of what is remembered of B objects."""
        ...

    def decode(
        self, features: SliceFeatures, conditioned: Tensor, prompts: DecoderPrompts, count: int = 0
    ) -> MaskOutput:
        """The masks of B objects; `count` is the number of points each is prompted with (a box counts as two)."""
        ...

    def decode_given_mask(self, features: SliceFeatures, mask: Tensor) -> MaskOutput:
        """A mask (B, 1, S, S) of zeros and ones that the user gave, as the answer."""
        ...

    def remember(
        self, features: SliceFeatures, logits: Tensor, score: Tensor, pointer: Tensor, prompted: bool
    ) -> list[SliceMemory]:
        """The memories of B objects of their slices and masks."""
        ...

    def low_logits(self, view: FrameView, logits: npt.NDArray[np.floating]) -> Tensor:
        """Logits of a slice (rows, columns) as the network sees them through `view`, (1, 1, 4h, 4w)."""
        ...


class SliceViews:
    """The common part of every network over slices: features through views, and logits seen through a view.

    Args:
        store: the features of the volume's slices.
        slice_count: number of slices along the axis.
        facts: of the network.
        device: the network's.
    """

    def __init__(
        self, store: FeatureStore, slice_count: int, facts: NetworkFacts, device: torch.device
    ) -> None:
        self.store, self.slice_count, self.facts, self.device = store, slice_count, facts, device
        self.mask_token = "auto"

    def features(self, slices: Sequence[tuple[int, FrameView]]) -> SliceFeatures:
        """The features of B slices, each through its view, stacked along the batch."""
        found = [self.store.get(index, view) for index, view in slices]
        return found[0] if len(found) == 1 else _stacked(found)

    def low_logits(self, view: FrameView, logits: npt.NDArray[np.floating]) -> Tensor:
        """Logits of a slice (rows, columns) as the network sees them through `view`, (1, 1, 4h, 4w)."""
        side = 4 * view.size // self.facts.stride
        return torch.from_numpy(view.logits_from_mask(logits, side))[None, None].to(self.device)


class MemoryNetwork(SliceViews):
    """A network of SAM 2, its fast memory attention and the features of one volume across one axis.

    Args:
        model: in evaluation mode, on its device.
        attention: made from the same model.
        store: the features of the volume's slices.
        slice_count: number of slices along the axis.
    """

    remembers = True

    def __init__(
        self, model: SAM2, attention: FastMemoryAttention, store: FeatureStore, slice_count: int
    ) -> None:
        config = model.config
        facts = NetworkFacts(
            config.name,
            config.image_size,
            config.stride,
            config.crop_margin,
            config.num_memories,
            config.max_object_pointers,
            config.hidden_dim,
            config.dense_prompts,
        )
        super().__init__(store, slice_count, facts, next(model.parameters()).device)
        self.model = model
        self.attention = attention

    def condition(self, features: SliceFeatures, recollections: Sequence[Recollection], span: int) -> Tensor:
        """(B, C, h, w): the slices in the light of what is remembered of B objects.

        Args:
            features: of the B slices.
            recollections: B of them, all with the same signature; without any memory the slice stands alone.
            span: slices over which pointers reach (`MemoryBank.pointer_span`).
        """
        memories = [
            (MemoryKeys.join([recollection.memories[n][0] for recollection in recollections]), index)
            for n, (_, index) in enumerate(recollections[0].memories)
        ]
        if not memories:
            return self.model.condition_first(features.top.float())
        pointers = [
            (torch.cat([recollection.pointers[n][0] for recollection in recollections]), distance)
            for n, (_, distance) in enumerate(recollections[0].pointers)
        ]
        return self.attention.attend(features.attended, memories, pointers, span)

    def decode(
        self, features: SliceFeatures, conditioned: Tensor, prompts: DecoderPrompts, count: int = 0
    ) -> MaskOutput:
        """The masks of B objects; `count` is the number of points each is prompted with (a box counts as two)."""
        with self.attention.arithmetic.decoding():
            return self.model.decode(
                conditioned.float(),
                features.mid.float(),
                features.fine.float(),
                prompts,
                multimask=self.model.multimask_for(count),
                token=self.mask_token,
            )

    def remember(
        self, features: SliceFeatures, logits: Tensor, score: Tensor, pointer: Tensor, prompted: bool
    ) -> list[SliceMemory]:
        """The memories of B objects of their slices and masks, as :meth:`SAM2.encode_memory`."""
        with self.attention.arithmetic.encoding():
            memory = self.model.encode_memory(features.top.float(), logits, score, prompted)
        keys = self.attention.remember(memory)
        count = len(pointer)
        return [SliceMemory(pointer[n : n + 1], keys if count == 1 else keys.take([n])) for n in range(count)]

    def decode_given_mask(self, features: SliceFeatures, mask: Tensor) -> MaskOutput:
        """A mask (B, 1, S, S) that the user gave, as the answer; see :meth:`SAM2.decode_mask_as_output`."""
        return self.model.decode_mask_as_output(
            features.top.float(), features.mid.float(), features.fine.float(), mask
        )


def _stacked(found: Sequence[SliceFeatures]) -> SliceFeatures:
    return SliceFeatures(*(torch.cat(levels) for levels in zip(*found, strict=True)))
