"""What the segments show of the session's masks: raw or cleaned, written only where it differs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from ..core.cleanups import Cleanup
from ..core.errors import MedSAMError
from ..core.geometry import SliceAxis
from ..core.masks import PackedMask, StoredMask, slices_of, volume_of
from ..core.moving import Mover
from ..core.segment_object import SegmentObject
from .jobs import CleanJob
from .retakes import Asked, Retakes
from .state import Topic
from .workspace import Workspace

SURFACE_SECONDS = 0.5
"""How long after the last change of a segment its surface in the 3-D views is made again."""

_LONG_SECONDS = 0.1
"""A surface that takes longer than this to make waits until the user has put the prompt tool down."""

_REMEMBERED = 6  # cleaned versions, so that undo and redo need no new cleaning


class ShownMasks:
    """Keeps segments equal to what the session says.

    After a change only `refresh` has to be called: what was written before is remembered, so that a preview, a run, an
    undo and a clean-up all are the same to it.
    """

    def __init__(self, work: Workspace, take_edits: Callable[[], None]) -> None:
        self._work, self._take_edits = work, take_edits
        self._written: dict[int, tuple[SliceAxis, dict[int, PackedMask]]] = {}
        self._cleaned: dict[
            tuple[int, Cleanup, int], tuple[Mapping[int, StoredMask], dict[int, PackedMask]]
        ] = {}
        self._cleaning: set[tuple[int, Cleanup, int]] = set()
        self._retakes = Retakes()
        self._surface_seconds = 0.0

    def start_from(self, obj: SegmentObject) -> None:
        """The segment shows the masks of the object already."""
        if obj.axis is not None:
            masks = {index: stored.mask for index, stored in obj.masks.items()}
            self._written[obj.id] = (obj.axis, masks)

    def wrote(self, object_id: int, axis: SliceAxis, masks: Mapping[int, npt.NDArray[np.bool_]]) -> None:
        """Somebody else has written slices across `axis` of the segment."""
        known = self._along(object_id, axis)
        known.update((index, PackedMask.from_array(mask)) for index, mask in masks.items())
        self._written[object_id] = (axis, known)

    def move(self, move: Mover) -> None:
        """The volume lies elsewhere, and with it all prompts; the masks are of voxels and stay."""
        self._retakes.move(move)

    def forget(self, object_id: int | None = None) -> None:
        """The segment is gone, or all of them are."""
        for known in [*self._written] if object_id is None else [object_id]:
            self._written.pop(known, None)
            self._retakes.forget(known)
        if object_id is None:
            self._cleaned.clear()
            self._cleaning.clear()

    def refresh(self, object_ids: Iterable[int], asked: Asked | None = None) -> None:
        """Write what differs.

        Args:
            object_ids: whose.
            asked: the slices whose masks the user has just asked for, by a prompt or a run: they take back voxels
                that other segments took since, where the overlap allows that. None for undo and redo.
        """
        work = self._work
        self._take_edits()
        if work.session is None or work.masks is None:
            return
        for object_id in object_ids:
            obj = work.object(object_id)
            if obj is not None:
                self._clean(obj)
                self._write(obj, self._wanted(obj), asked)

    def shown(self, obj: SegmentObject) -> dict[int, PackedMask]:
        """Return what the segment shows of an object by slice: cleaned where that is wanted and known, else raw."""
        return self._wanted(obj)

    def _wanted(self, obj: SegmentObject) -> dict[int, PackedMask]:
        raw = {index: stored.mask for index, stored in obj.masks.items()}
        known = self._cleaned.get(_key(obj))
        return raw if known is None or not obj.cleanup.is_on else {**raw, **known[1]}

    def _write(self, obj: SegmentObject, wanted: Mapping[int, PackedMask], asked: Asked | None) -> None:
        work = self._work
        segment_id = work.segment_of(obj.id)
        if work.masks is None or work.geometry is None or segment_id not in work.segment_ids:
            return
        assert segment_id is not None
        axis = obj.axis if obj.axis is not None else self._written.get(obj.id, (None, {}))[0]
        if axis is None:
            return
        self._put(obj, segment_id, axis, self._along(obj.id, axis), wanted, asked)
        self._written[obj.id] = (axis, dict(wanted))

    def _along(self, object_id: int, axis: SliceAxis) -> dict[int, PackedMask]:
        """Return what was written for an object, by slice across `axis`."""
        before, written = self._written.get(object_id, (axis, {}))
        if before == axis or self._work.geometry is None:
            return written
        return slices_of(volume_of(written, before, self._work.geometry.shape), axis)

    def _put(
        self,
        obj: SegmentObject,
        segment_id: str,
        axis: SliceAxis,
        written: Mapping[int, PackedMask],
        wanted: Mapping[int, PackedMask],
        asked: Asked | None,
    ) -> None:
        work = self._work
        assert work.masks is not None
        assert work.geometry is not None
        empty = np.zeros(work.geometry.slice_shape(axis), np.bool_)
        changed = {
            index: empty for index, mask in written.items() if index not in wanted and not mask.is_empty
        }
        for index, mask in wanted.items():
            before = written.get(index)
            if before is not mask and before != mask and not (before is None and mask.is_empty):
                changed[index] = mask.to_array()
        if asked is not None:
            self._retakes.renew(obj.id)
        retaking = self._retakes.done_again(obj) if asked is None else [asked]
        indices = {index for each in retaking for index in each.indices if index in wanted}
        orders = work.masks.orders(segment_id, axis, indices) if work.overlap != "none" else {}
        again = {index: wanted[index].to_array() for index in orders}
        plain = {index: mask for index, mask in changed.items() if index not in again}
        undone = self._retakes.undone(obj) if asked is None else []
        if not (plain or again or undone):
            return
        locked = work.masks.locked(segment_id)
        work.masks.set_locked(segment_id, False)  # only what was decided before the lock is written: an undo
        try:
            if plain:
                work.masks.write_slices(segment_id, axis, plain, work.overlap)
            if again:
                work.masks.write_slices(segment_id, axis, again, work.overlap, retake=True)
                self._retakes.note(obj.id, retaking, orders)
            if undone:
                work.masks.put_back(undone)
        finally:
            work.masks.set_locked(segment_id, locked)
        self._surface_later()

    def _surface_later(self) -> None:
        """Make surfaces again that were shown, once nothing changes any more for a moment."""
        masks = self._work.masks
        if masks is not None and masks.surface_lacks and not masks.is_streaming:
            self._work.poller.schedule("surface", SURFACE_SECONDS, self._make_surface, restart=True)

    def _make_surface(self) -> None:
        masks = self._work.masks
        if masks is None or masks.is_streaming:
            return  # it is made at the end of the run
        if self._surface_seconds > _LONG_SECONDS and self._work.placing_tool is not None:
            self._surface_later()
            return
        began = time.perf_counter()
        masks.update_surface()
        self._surface_seconds = time.perf_counter() - began

    def _clean(self, obj: SegmentObject) -> None:
        """Ask for the cleaned masks if they are wanted, not known, and nothing is streaming in."""
        key, work = _key(obj), self._work
        busy = work.running is not None and bool(obj.unfinished)
        if not obj.cleanup.is_on or obj.axis is None or not obj.masks or busy:
            return
        if key in self._cleaned or key in self._cleaning or work.geometry is None:
            return
        self._cleaning.add(key)
        masks = {index: stored.mask for index, stored in obj.masks.items()}

        def take(changed: dict[int, PackedMask]) -> None:
            while len(self._cleaned) >= _REMEMBERED:
                del self._cleaned[next(iter(self._cleaned))]
            self._cleaned[key] = (obj.masks, changed)
            self.refresh([obj.id])
            work.notify(Topic.MASKS)

        def end(error: MedSAMError | None) -> None:
            self._cleaning.discard(key)
            if error is not None:
                work.show_error(error)

        job = CleanJob(work.geometry, obj.axis, masks, obj.key_slices, obj.kept_slices, obj.cleanup)
        work.worker.submit(job, take, end)
        work.poller.start()


def _key(obj: SegmentObject) -> tuple[int, Cleanup, int]:
    """Masks are immutable and kept alive beside the key, so that their address stands for them."""
    return obj.id, obj.cleanup, id(obj.masks)
