"""Tracker: one object carried in one direction, slice after slice, from the key slice it starts at.

A tracker knows its bounding key slices and the slices it has just seen, nothing else. What it computes does therefore
not depend on other objects, other tracks or the order in which prompts were given.

From one prompted slice a forward track is bit for bit what the official predictor's order gives (:mod:`.video`). The
two differ on purpose where that order remembers more: its backward pass also recalls slices of the forward pass, and
every prompted slice conditions every other, while a track sees only the one or two that bound it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.plan import Track
from ..sam2.model import DecoderPrompts, MaskOutput
from .bank import MemoryBank, Recollection, SliceMemory
from .crop import CropPolicy, bounds_of
from .key_slice import KeySlice
from .network import PREVIOUS_LOGIT_LIMIT, SliceNetwork
from .slice_mask import SliceMask, TrackEnded, slice_mask
from .taper import tapered


@dataclass(frozen=True)
class TrackingOptions:
    """The settings by which objects are followed.

    Args:
        patience: a track that leads out of the volume ends after this many slices in a row without the object;
            0 = never. A track between two key slices never ends early.
        crop: the square that follows the object; None = whole slices.
        memory: which of the remembered slices count, one of `MEMORY_POLICIES`.
        tapers: whether an object ends where a given slice range ends, as in a volume; the frames of a video end
            where the user stopped looking.
    """

    patience: int = 3
    crop: CropPolicy | None = None
    memory: str = "all"
    tapers: bool = True


class Tracker:
    """One object on one track.

    Args:
        network: of the volume.
        object_name: goes into the results.
        track: which slices, in which order.
        key, other: the bounding key slices; `other` is None where the track leads out of the range.
        options: see :class:`TrackingOptions`.
    """

    def __init__(
        self,
        network: SliceNetwork,
        object_name: str,
        track: Track,
        key: KeySlice,
        other: KeySlice | None,
        options: TrackingOptions,
    ) -> None:
        self.object_name, self.track = object_name, track
        self.network, self._options = network, options
        self._keys = [key] if other is None else [key, other]
        self._position = 0
        self._last_seen = track.key
        self._missed = 0
        self._first_side_mm = key.view.side_mm
        self._bank = MemoryBank(
            network.facts.num_memories,
            network.facts.max_object_pointers,
            network.slice_count,
            policy=options.memory,
        )
        self._recent: deque[tuple[int, npt.NDArray[np.float32], float]] = deque(
            maxlen=network.facts.num_memories - 1
        )
        self.view = key.view
        self._previous = key.low
        self._follow(key.mask, key.logits)
        self._condition()

    @property
    def next_slice(self) -> int | None:
        """The slice to compute next; None at the end of the track."""
        slices = self.track.slices
        return slices[self._position] if self._position < len(slices) else None

    @property
    def remaining(self) -> tuple[int, ...]:
        """The slices that are still to be computed."""
        return self.track.slices[self._position :]

    @property
    def pointer_span(self) -> int:
        """Number of slices over which object pointers reach."""
        return self._bank.pointer_span

    @property
    def ended(self) -> TrackEnded | None:
        """That the object is gone, once that is so."""
        patience = self._options.patience
        if len(self._keys) > 1 or not patience or self._missed < patience or not self.remaining:
            return None
        return TrackEnded(self.object_name, self.track.key, self.track.step, self._last_seen, self.remaining)

    def recollection(self) -> Recollection:
        """Return what is remembered for the next slice."""
        return self._bank.recall(self._next(), self.track.step)

    def shown_mask(self) -> Tensor | None:
        """(1, 1, 4h, 4w) the previous slice's mask, for networks that are shown it.

        Where the track ends inside the volume, as a given range says, it is shown as it is expected there.
        """
        if self.network.remembers and not self.network.facts.shown_previous:
            return None
        shown = self._previous.clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
        if not self.network.remembers:
            return shown
        slices = self.track.slices
        at_end = slices[-1] in (0, self.network.slice_count - 1)
        if len(self._keys) > 1 or at_end or not self._options.tapers:
            return shown  # where the object ends is not known
        last = torch.tensor([float(len(slices))], device=shown.device)
        return tapered(shown, self._position + 1, last, self._key_area)

    def accept(self, output: MaskOutput, memory: SliceMemory) -> SliceMask:
        """Take the network's answer for the next slice (batch size 1) and its memory, and move on."""
        index = self._next()
        result = slice_mask(self.object_name, index, self.view, output, is_key=False)
        self._bank.history[index] = memory
        self._bank.forget(lambda at, reach: abs(index + self.track.step - at) <= reach)
        self._position += 1
        self._previous = output.logits
        if result.is_empty:
            self._missed += 1
        else:
            self._missed, self._last_seen = 0, index
        if self._options.crop is not None and self.next_slice is not None:
            self._recent.append((index, result.logits, result.object_score))
            self._follow(result.mask, result.logits)
        return result

    def _next(self) -> int:
        index = self.next_slice
        if index is None:
            raise IndexError(f"The track from slice {self.track.key} is at its end.")
        return index

    def _follow(self, mask: npt.NDArray[np.bool_], logits: npt.NDArray[np.float32]) -> None:
        """Move the square if the object has outgrown it, and remember the last slices as seen through the new one."""
        if self._options.crop is None:
            return
        whole = self._keys[0].whole
        view = self._options.crop.follow(self.view, whole, self._first_side_mm, bounds_of(mask))
        if view == self.view:
            return
        self.view = view
        self._previous = self.network.low_logits(view, logits)
        self._condition()
        for index, seen, score in self._recent:
            features = self.network.features([(index, view)])
            low = self.network.low_logits(view, seen)
            pointer = self._bank.history[index].pointer
            object_score = torch.tensor([score], device=low.device)
            [self._bank.history[index]] = self.network.remember(features, low, object_score, pointer, False)

    def _condition(self) -> None:
        for key in self._keys:
            self._bank.conditioning[key.index] = key.memory(self.network, self.view)
        low = self.network.low_logits(self.view, self._keys[0].logits)
        self._key_area = (low > 0).flatten(1).sum(1)


def advance(trackers: Sequence[Tracker], batched: bool) -> list[SliceMask]:
    """Compute the next slice of each tracker.

    Args:
        trackers: all of one network, none at its end.
        batched: compute those with equally many memories together; otherwise one after the other.
    """
    if not batched:
        return [_advance([tracker])[0] for tracker in trackers]
    groups: dict[object, list[Tracker]] = {}
    for tracker in trackers:
        groups.setdefault((tracker.view.size, tracker.recollection().signature), []).append(tracker)
    done = {
        id(tracker): mask
        for group in groups.values()
        for tracker, mask in zip(group, _advance(group), strict=True)
    }
    return [done[id(tracker)] for tracker in trackers]


def _advance(group: Sequence[Tracker]) -> list[SliceMask]:
    network = group[0].network
    features = network.features([(tracker.remaining[0], tracker.view) for tracker in group])
    recollections = [tracker.recollection() for tracker in group]
    conditioned = network.condition(features, recollections, group[0].pointer_span)
    shown = [mask for tracker in group if (mask := tracker.shown_mask()) is not None]
    output = network.decode(features, conditioned, DecoderPrompts(mask=torch.cat(shown) if shown else None))
    memories = network.remember(features, output.logits, output.object_score, output.pointer, prompted=False)
    return [
        tracker.accept(MaskOutput(*(value[n : n + 1] for value in output)), memory)
        for n, (tracker, memory) in enumerate(zip(group, memories, strict=True))
    ]
