"""VideoTracker: the official SAM 2 video predictor's order and memory, for comparison and benchmarks.

All prompted slices condition every slice, whatever lies between, and the history of tracked slices runs across key
slices and across passes. A correction becomes a conditioning slice (the official
`add_all_frames_to_correct_as_cond`; with its default the correction would be overwritten by the next pass).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..core.errors import ObjectError
from ..sam2.model import DecoderPrompts
from .bank import MemoryBank
from .key_slice import KeySlice, Prior, key_from_output, prompted
from .network import PREVIOUS_LOGIT_LIMIT, SliceNetwork
from .propagate import Cancel, ProgressCounter, stop_if
from .slice_mask import SliceMask, slice_mask
from .slice_prompts import SlicePrompts
from .view import FrameView


class VideoTracker:
    """One object through a whole volume.

    Args:
        network: of the volume.
        object_name: goes into the results.
        view: the same for all slices.
        corrected: slices that later rounds will prompt; what was computed there and around is kept for them.
        memory: which of the remembered slices count, one of `MEMORY_POLICIES`.
    """

    def __init__(
        self,
        network: SliceNetwork,
        object_name: str,
        view: FrameView,
        corrected: frozenset[int] = frozenset(),
        memory: str = "all",
    ) -> None:
        self.object_name, self.view = object_name, view
        self._network, self._corrected = network, corrected
        self._bank = MemoryBank(
            network.facts.num_memories,
            network.facts.max_object_pointers,
            network.slice_count,
            policy=memory,
        )
        self._keys: dict[int, KeySlice] = {}
        self._pending: dict[int, KeySlice] = {}
        self._steps: dict[int, int] = {}
        self._priors: dict[int, Prior] = {}
        self._previous: Tensor | None = None

    def prompt(self, index: int, prompts: SlicePrompts) -> SliceMask:
        """Prompt an object on a slice; on one that was tracked before this corrects the mask.

        Args:
            index: the slice.
            prompts: all its prompts, earlier rounds included.
        """
        recollection = self._bank.recall(index, self._steps[index]) if index in self._steps else None
        prior = self._priors.get(index)
        output = prompted(
            self._network, index, self.view, prompts, recollection, self._bank.pointer_span, prior
        )
        self._pending[index] = key_from_output(index, self.view, self.view, output, prompts)
        mask = slice_mask(self.object_name, index, self.view, output, is_key=True)
        self._priors[index] = Prior(self.view, mask.low)
        return mask

    def propagate(
        self, step: int, last: int, cancel: Cancel | None = None, counter: ProgressCounter | None = None
    ) -> Iterator[SliceMask]:
        """Track from the lowest prompted slice (itself included) to slice `last`, toward +1 or -1.

        Raises:
            PromptError: If nothing was prompted.
            Canceled: If `cancel()` became true.
        """
        self._merge()
        if not self._keys:
            raise ObjectError("There are no prompts for {object} yet.", self.object_name)
        start = min(self._keys)
        for index in range(start, last + step, step):
            stop_if(cancel)
            key = self._keys.get(index)
            mask = self._track(index, step) if key is None else key.as_mask(self.object_name)
            if key is not None:
                self._previous = key.low.clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
            self._steps[index] = step
            if index in self._corrected and key is None:
                self._priors[index] = Prior(self.view, mask.low)
            self._forget(index + step, start)
            if counter is not None:
                counter.add(index)
            yield mask

    def _merge(self) -> None:
        for index, key in self._pending.items():
            self._keys[index] = key
            self._bank.conditioning[index] = key.memory(self._network, self.view)
            self._bank.history.pop(index, None)
        self._pending.clear()

    def _track(self, index: int, step: int) -> SliceMask:
        features = self._network.features([(index, self.view)])
        conditioned = self._network.condition(
            features, [self._bank.recall(index, step)], self._bank.pointer_span
        )
        shown = self._previous if self._network.facts.shown_previous else None
        output = self._network.decode(features, conditioned, DecoderPrompts(mask=shown))
        self._previous = output.logits.clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
        mask = slice_mask(self.object_name, index, self.view, output, is_key=False)
        [self._bank.history[index]] = self._network.remember(
            features, output.logits, output.object_score, output.pointer, prompted=False
        )
        return mask

    def _forget(self, following: int, start: int) -> None:
        anchors = {following, start, *self._corrected}
        self._bank.forget(lambda at, reach: any(abs(anchor - at) <= reach for anchor in anchors))
