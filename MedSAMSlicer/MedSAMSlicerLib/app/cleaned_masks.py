"""Masks as a clean-up leaves them, asked of the worker when they are wanted and remembered for undo and redo."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.cleanups import Cleanup
from ..core.errors import MedSAMError
from ..core.masks import PackedMask, StoredMask
from ..core.segment_object import SegmentObject
from .jobs import CleanJob
from .signals import Signal
from .workspace import Workspace

_REMEMBERED = 6  # versions that were shown before, so that undo and redo need no new cleaning
Key = tuple[int, Cleanup, int]


class CleanedMasks:
    """The cleaned masks that are known.

    Signals:
        ready: the cleaned masks of an object are known now.
    """

    def __init__(self, work: Workspace) -> None:
        self._work = work
        self.ready: Signal[[int]] = Signal()
        self._known: dict[Key, tuple[Mapping[int, StoredMask], dict[int, PackedMask]]] = {}
        self._latest: dict[int, Key] = {}  # by object
        self._asked: set[Key] = set()

    def forget(self) -> None:
        """The session ends."""
        self._known.clear()
        self._latest.clear()
        self._asked.clear()

    def changed(self, obj: SegmentObject) -> Mapping[int, PackedMask]:
        """The slices that look otherwise when cleaned, as far as that is known."""
        known = self._known.get(_key(obj))
        return {} if known is None or not obj.cleanup.is_on else known[1]

    def ask(self, obj: SegmentObject) -> None:
        """Ask for the cleaned masks if they are wanted, not known, and nothing is streaming in."""
        key, work = _key(obj), self._work
        busy = work.running is not None and bool(obj.unfinished)
        if not obj.cleanup.is_on or obj.axis is None or not obj.masks or busy:
            return
        if key in self._known:
            self._latest[obj.id] = key
        if key in self._known or key in self._asked or work.geometry is None:
            return
        self._asked.add(key)
        masks = {index: stored.mask for index, stored in obj.masks.items()}

        def take(changed: dict[int, PackedMask]) -> None:
            changed = {index: _without_barred(mask, obj.masks[index]) for index, mask in changed.items()}
            self._known[key], self._latest[obj.id] = (obj.masks, changed), key
            older = [each for each in self._known if each not in self._latest.values()]
            for each in older[:-_REMEMBERED]:
                del self._known[each]
            self.ready.emit(obj.id)

        def end(error: MedSAMError | None) -> None:
            self._asked.discard(key)
            if error is not None:
                work.show_error(error)

        job = CleanJob(work.geometry, obj.axis, masks, obj.key_slices, obj.kept_slices, obj.cleanup)
        work.worker.submit(job, take, end)
        work.poller.start()


def _without_barred(cleaned: PackedMask, stored: StoredMask) -> PackedMask:
    """A cleaned mask without what the clean-up added to it in segments at which it stopped."""
    if stored.barred is None or cleaned.is_empty:
        return cleaned
    return PackedMask.from_array(cleaned.to_array() & ~stored.barred.to_array())


def _key(obj: SegmentObject) -> Key:
    """Masks are immutable and kept alive beside the key, so that their address stands for them."""
    return obj.id, obj.cleanup, id(obj.masks)
