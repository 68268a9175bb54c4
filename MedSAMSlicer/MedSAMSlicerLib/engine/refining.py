"""Refiner: the volume stage as the objects of one volume use it, from tracked slices to refined ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np

from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.prompts import MaskPrompt, ObjectPrompts
from .key_slice import KeySlice, within_limits
from .network import SliceNetwork
from .propagate import Cancel, ProgressCounter, stop_if
from .result import StoredSlice
from .second_reader import MOST_SLICES, SecondReader, drawn_throughout
from .slice_mask import SliceMask
from .slice_prompts import SlicePrompts
from .view import OUTSIDE_LOGIT
from .volume.evidence import Barred, FramePart, VolumeEvidence, gather
from .volume.stage import Refined, VolumeStage

_PRESENT, _ABSENT = 10.0, -10.0  # object scores where the network gave none


class Refiner:
    """Refines objects of one volume along one axis.

    Args:
        stage: what looks at all slices together.
        network: of the volume.
        geometry, axis: of the volume and its slices.
        frame: see :data:`~.volume.evidence.FramePart`.
        reader: gives the second network that reads the slices again, or None, when it is needed first; it may take
            a second to be loaded. None = there is none.
    """

    def __init__(
        self,
        stage: VolumeStage,
        network: SliceNetwork,
        geometry: VolumeGeometry,
        axis: SliceAxis,
        frame: FramePart,
        reader: Callable[[], SecondReader | None] | None = None,
    ) -> None:
        self._find_reader = reader
        self._stage, self._network, self._frame = stage, network, frame
        self._geometry, self._axis = geometry, axis

    def refine(
        self,
        prompts: ObjectPrompts,
        tracked: Mapping[int, StoredSlice],
        searched: Collection[int],
        wanted: Collection[int],
        cancel: Cancel | None = None,
        counter: ProgressCounter | None = None,
        barred: Barred | None = None,
    ) -> Iterator[SliceMask]:
        """The slices of an object as they look when all are seen together; nothing where nothing is to be gained.

        Args:
            prompts: everything that led to `tracked`.
            tracked: what the network drew, by slice index, key slices among them.
            searched: slices that were computed or given up; of the others nothing is known.
            wanted: those of them to refine.
            cancel: asked before each slice.
            counter: counts the slices that a second network reads.
            barred: voxels that surely are not of the object.

        Yields:
            Masks of slices that are not key slices, in ascending order.

        Raises:
            Canceled: If `cancel()` became true.
        """
        if all(index in tracked and tracked[index].is_key for index in wanted):
            return
        evidence = gather(prompts, tracked, self._geometry, self._axis, self._frame, searched, barred)
        found = None if evidence is None else self._refined(evidence, prompts, cancel, counter)
        if found is None:
            return
        nearest = next(stored for stored in tracked.values() if stored.is_key)
        empty = np.full(nearest.shape, OUTSIDE_LOGIT, np.float32)
        for index, _ in found.slices():
            if index not in wanted:
                continue
            stop_if(cancel)
            stored = tracked.get(index)
            prior = None if stored is None else stored.prior
            drawn = empty if prior is None else prior.view.mask_from_logits(prior.low)
            logits = found.pasted(index, drawn)
            mask = logits > 0
            view = nearest.view if stored is None else stored.view
            low = self._network.low_logits(view, logits)[0, 0].float().cpu().numpy()
            score = _PRESENT if mask.any() else _ABSENT
            iou = 0.0 if stored is None else stored.iou
            yield SliceMask(prompts.name, index, logits, mask, iou, score, False, view, low, True)

    def reads(self, prompts: SlicePrompts) -> bool:
        """Return whether a second network may draw a slice with these prompts, too: it knows boxes alone."""
        return (
            self._find_reader is not None
            and prompts.box is not None
            and not prompts.points
            and prompts.mask is None
        )

    def chosen(self, key: KeySlice, prompts: SlicePrompts) -> KeySlice:
        """A key slice that both networks can draw, as the one draws it that sees more of an object there."""
        assert prompts.box is not None
        reader = self._reader
        logits = None if reader is None else reader.drawn_better(key.index, prompts.box, key.mask)
        if logits is None:
            return key
        drawn = replace(
            key, low=self._network.low_logits(key.view, logits), logits=logits, mask=logits > 0, _memories={}
        )
        return within_limits(self._network, drawn, prompts)

    def slices_to_read(self, prompts: ObjectPrompts, first: int, last: int) -> int:
        """How many slices from `first` to `last` a second network is going to read, about."""
        if drawn_throughout(_drawn(prompts), first, last) or self._reader is None:
            return 0
        return min(last - first + 1, MOST_SLICES)

    @property
    def _reader(self) -> SecondReader | None:
        return None if self._find_reader is None else self._find_reader()

    def _refined(
        self,
        evidence: VolumeEvidence,
        prompts: ObjectPrompts,
        cancel: Cancel | None,
        counter: ProgressCounter | None,
    ) -> Refined | None:
        """What the stage makes of an object; once more with what the second network draws in the boxes of that."""
        found = self._stage.refine(evidence)
        start = evidence.corner[0]
        if found is None or drawn_throughout(_drawn(prompts), start + evidence.first, start + evidence.last):
            return found
        reader = self._reader
        if reader is None:
            return found
        masks = np.where(evidence.fixed[:, None, None], evidence.logits, found.logits) > 0
        masks[: evidence.first] = masks[evidence.last + 1 :] = False
        return self._stage.refine(reader.with_reading(evidence, masks, cancel, counter))


def _drawn(prompts: ObjectPrompts) -> set[int]:
    """The slices that the user drew or accepted."""
    return {prompt.slice.index for prompt in prompts.prompts if isinstance(prompt, MaskPrompt)}
