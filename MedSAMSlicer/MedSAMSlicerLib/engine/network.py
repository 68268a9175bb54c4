"""The network over the slices of one volume: features that are computed once, and the steps between them and masks.

Everything here is batched over objects; slices of a batch may differ, since features carry the batch as well.
"""

from __future__ import annotations

from collections.abc import Sequence

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
"""Earlier logits are cut to this before they are shown to the network again, as the official predictor does."""


class SliceNetwork:
    """A network, its fast memory attention and the features of one volume across one axis.

    Args:
        model: in evaluation mode, on its device.
        attention: made from the same model.
        store: the features of the volume's slices.
        slice_count: number of slices along the axis.
    """

    def __init__(
        self, model: SAM2, attention: FastMemoryAttention, store: FeatureStore, slice_count: int
    ) -> None:
        self.model = model
        self.config = model.config
        self.attention = attention
        self.store = store
        self.slice_count = slice_count
        self.device = next(model.parameters()).device

    def features(self, slices: Sequence[tuple[int, FrameView]]) -> SliceFeatures:
        """The features of B slices, each through its view, stacked along the batch."""
        found = [self.store.get(index, view) for index, view in slices]
        return found[0] if len(found) == 1 else _stacked(found)

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

    def low_logits(self, view: FrameView, logits: npt.NDArray[np.floating]) -> Tensor:
        """Logits of a slice (rows, columns) as the network sees them through `view`, (1, 1, 4h, 4w)."""
        side = 4 * view.size // self.config.stride
        return torch.from_numpy(view.logits_from_mask(logits, side))[None, None].to(self.device)


def _stacked(found: Sequence[SliceFeatures]) -> SliceFeatures:
    return SliceFeatures(*(torch.cat(levels) for levels in zip(*found, strict=True)))
