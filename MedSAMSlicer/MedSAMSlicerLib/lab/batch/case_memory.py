"""Segmented cases as the memory for the next one: one-shot annotation of many alike slices or volumes.

A bank of a few entries, each a slice of an earlier case with its mask, is kept diverse: a new entry takes the place of
one that resembles another more than anything resembles the new one (Yan et al. 2024, BioSAM-2, arXiv 2408.03286). A
slice of the next case attends to the entries whose images are most like it, as if they were prompted slices of its own
volume, and needs no prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ...core.errors import MedSAMError
from ...core.geometry import SliceAxis
from ...engine.bank import Recollection
from ...engine.memory_attention import MemoryKeys
from ...engine.network import SliceNetwork
from ...engine.segmenter import VolumeSegmenter
from ...engine.view import FrameView
from ...sam2.model import DecoderPrompts

Mask = npt.NDArray[np.bool_]

BANK_SIZE = 16
_WORSE_BY = 0.1  # an entry may be replaced by one whose IoU is estimated at most this much lower
_CERTAIN = 10.0  # logit and score of a mask that is known


@dataclass(frozen=True, eq=False)
class CaseEntry:
    """One slice of an earlier case.

    Args:
        keys: the memory of slice and mask, ready to be attended to.
        memory: (n,) the same as a vector of length 1, which entries are compared by.
        image: (m,) the image's features as a vector of length 1, which slices to segment are compared by.
        iou: of the mask, 1 where a person drew it, else the network's estimate.
    """

    keys: MemoryKeys
    memory: Tensor
    image: Tensor
    iou: float


@dataclass(eq=False)
class CaseMemory:
    """The bank; `size` entries at most."""

    size: int = BANK_SIZE
    entries: list[CaseEntry] = field(default_factory=list)

    def offer(self, entry: CaseEntry) -> bool:
        """Take an entry in where it makes the bank more diverse; True if it was taken."""
        if len(self.entries) < self.size:
            self.entries.append(entry)
            return True
        bank = torch.stack([kept.memory for kept in self.entries])
        to_new = bank @ entry.memory
        least = int(to_new.argmin())
        among = bank @ bank[least]
        among[least] = -torch.inf
        twin = int(among.argmax())
        if to_new[least] < among[twin] and entry.iou > self.entries[twin].iou - _WORSE_BY:
            self.entries[twin] = entry
            return True
        return False

    def most_like(self, image: Tensor, count: int) -> list[CaseEntry]:
        """The entries whose images are most like features (1, C, h, w), the most alike last."""
        wanted = _unit(image)
        ranked = sorted(self.entries, key=lambda entry: float(entry.image @ wanted))
        return ranked[-count:]


def entries_of(
    segmenter: VolumeSegmenter, masks: Mask, axis: SliceAxis = SliceAxis.K, iou: float = 1.0
) -> Iterator[CaseEntry]:
    """Every slice of a segmented volume that shows the object, as an entry.

    Args:
        segmenter: of that volume.
        masks: (K, J, I) bool.
        axis: across which the slices lie.
        iou: of the masks: 1 = a person drew or accepted them.

    Raises:
        MedSAMError: If the network has no memory.
    """
    network, view = _with_memory(segmenter, axis), segmenter.whole(axis)
    planes = np.moveaxis(masks, int(axis), 0)
    with segmenter.settings(), torch.inference_mode():
        for index in np.flatnonzero(planes.reshape(len(planes), -1).any(1)).tolist():
            yield _entry(network, index, view, planes[index], iou)


def segment_from_memory(
    segmenter: VolumeSegmenter,
    memory: CaseMemory,
    axis: SliceAxis = SliceAxis.K,
    slices: Sequence[int] | None = None,
) -> Mask:
    """The object of the remembered cases in another volume, without a prompt.

    Args:
        segmenter: of the volume; of the same network, image size and arithmetic as those of the remembered cases.
        memory: with one entry at least.
        axis: across which the slices lie.
        slices: which; None = all.

    Returns:
        (K, J, I) bool.

    Raises:
        MedSAMError: If the network has no memory, or nothing is remembered.
    """
    network, view = _with_memory(segmenter, axis), segmenter.whole(axis)
    if not memory.entries:
        raise MedSAMError("No segmented case is remembered yet: segment one first.")
    facts = network.facts
    result = np.zeros(segmenter.geometry.shape, np.bool_)
    planes = np.moveaxis(result, int(axis), 0)
    with segmenter.settings(), torch.inference_mode():
        for index in range(len(planes)) if slices is None else slices:
            features = network.features([(index, view)])
            recalled = memory.most_like(features.top, facts.num_memories)
            memories = [(entry.keys, facts.num_memories - 1) for entry in recalled]
            conditioned = network.condition(features, [Recollection(memories, [])], 1)
            answer = network.decode(features, conditioned, DecoderPrompts())
            planes[index] = view.mask_from_logits(answer.logits[0, 0].float().cpu().numpy()) > 0
    return result


def _entry(network: SliceNetwork, index: int, view: FrameView, mask: Mask, iou: float) -> CaseEntry:
    features = network.features([(index, view)])
    logits = network.low_logits(view, np.where(mask, np.float32(_CERTAIN), np.float32(-_CERTAIN)))
    score = torch.full((1,), _CERTAIN, device=network.device)
    pointer = torch.zeros(1, network.facts.pointer_channels, device=network.device)
    [made] = network.remember(features, logits, score, pointer, True)
    assert made.keys is not None
    return CaseEntry(made.keys, _unit(made.keys.values), _unit(features.top), iou)


def _with_memory(segmenter: VolumeSegmenter, axis: SliceAxis) -> SliceNetwork:
    network = segmenter.network(axis)
    if not network.remembers:
        raise MedSAMError(f"{network.facts.name} has no memory: it cannot learn from segmented cases.")
    return network


def _unit(features: Tensor) -> Tensor:
    return functional.normalize(features.float().flatten(), dim=0)
