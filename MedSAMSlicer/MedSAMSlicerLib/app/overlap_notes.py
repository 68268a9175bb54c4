"""Says when a mask that the user asked for lies on another segment: whose voxels these are then is not to be seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..core.geometry import SliceAxis
from ..core.translation import tr as _
from .state import Level
from .workspace import Workspace

_MUCH = 0.5
"""This part of a mask on another segment, or of that segment taken by it, is worth a sentence."""

Masks = dict[str, npt.NDArray[np.bool_]]


class OverlapNotes:
    """Compares the other segments before and after a mask was written; each pair is told once for a slice."""

    def __init__(self, work: Workspace) -> None:
        self._work = work
        self._shown: set[tuple[str, str, int]] = set()

    def forget(self) -> None:
        """The session ends."""
        self._shown.clear()

    def others(self, segment_id: str | None, axis: SliceAxis, index: int) -> Masks:
        """The masks of all segments but one on a slice, as they are now."""
        masks = self._work.masks
        if masks is None:
            return {}
        return {
            other: masks.read_slices(other, axis, [index])[index]
            for other in masks.segment_ids()
            if other != segment_id
        }

    def compare(
        self, segment_id: str, axis: SliceAxis, index: int, mask: npt.NDArray[np.bool_], before: Masks
    ) -> None:
        """`mask`, bool (rows, columns), was written into a segment: say so if it lies on another one."""
        masks = self._work.masks
        if masks is None or not mask.any():
            return
        after = self.others(segment_id, axis, index)
        for other in before.keys() & after.keys():
            lost, shared = before[other] & ~after[other], after[other] & mask
            taken = lost.sum() >= _MUCH * min(mask.sum(), max(1, before[other].sum()))
            if not taken and shared.sum() < _MUCH * mask.sum():
                continue
            pair = (segment_id, other, index)
            if pair not in self._shown:
                self._shown.add(pair)
                self._show(segment_id, other, index, taken)
                return

    def _show(self, segment_id: str, other: str, index: int, taken: bool) -> None:
        masks = self._work.masks
        assert masks is not None
        took = _(
            'The mask of "{segment}" took voxels of "{other}" on slice {index}, as chosen under "Where masks meet": '
            "Undo gives them back."
        )
        both = _(
            'The mask of "{segment}" lies on "{other}", which keeps its voxels, so both hold them: to go on with '
            '"{other}", select it in the table.'
        )
        names = {"segment": masks.name(segment_id), "other": masks.name(other), "index": index}
        self._work.show_message((took if taken else both).format(**names), Level.WARNING)
