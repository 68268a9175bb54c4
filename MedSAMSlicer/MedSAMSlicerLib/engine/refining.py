"""Refiner: the volume stage as the objects of one volume use it, from tracked slices to refined ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.prompts import ObjectPrompts
from .network import SliceNetwork
from .propagate import Cancel, stop_if
from .result import StoredSlice
from .slice_mask import SliceMask
from .view import OUTSIDE_LOGIT
from .volume.evidence import FramePart, gather
from .volume.stage import VolumeStage

_PRESENT, _ABSENT = 10.0, -10.0  # object scores where the network gave none


class Refiner:
    """Refines objects of one volume along one axis.

    Args:
        stage: what looks at all slices together.
        network: of the volume.
        geometry, axis: of the volume and its slices.
        frame: see :data:`~.volume.evidence.FramePart`.
    """

    def __init__(
        self,
        stage: VolumeStage,
        network: SliceNetwork,
        geometry: VolumeGeometry,
        axis: SliceAxis,
        frame: FramePart,
    ) -> None:
        self._stage, self._network, self._frame = stage, network, frame
        self._geometry, self._axis = geometry, axis

    def refine(
        self,
        prompts: ObjectPrompts,
        tracked: Mapping[int, StoredSlice],
        searched: Collection[int],
        wanted: Collection[int],
        cancel: Cancel | None = None,
    ) -> Iterator[SliceMask]:
        """The slices of an object as they look when all are seen together; nothing where nothing is to be gained.

        Args:
            prompts: everything that led to `tracked`.
            tracked: what the network drew, by slice index, key slices among them.
            searched: slices that were computed or given up; of the others nothing is known.
            wanted: those of them to refine.
            cancel: asked before each slice.

        Yields:
            Masks of slices that are not key slices, in ascending order.

        Raises:
            Cancelled: If `cancel()` became true.
        """
        if all(index in tracked and tracked[index].is_key for index in wanted):
            return
        evidence = gather(prompts, tracked, self._geometry, self._axis, self._frame, searched)
        found = None if evidence is None else self._stage.refine(evidence)
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
