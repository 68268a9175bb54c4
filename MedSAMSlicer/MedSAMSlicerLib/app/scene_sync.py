"""From the session into the scene: segments, markups, locks, and the previews that lack."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.errors import Cancelled, MedSAMError
from ..core.prompts import Prompt
from ..core.segment_object import SegmentObject, kept_as_prompts
from ..core.session import Session
from .jobs import FillJob, ForgetJob, ObjectToRun, PreviewJob, SliceFound
from .overlap_notes import OverlapNotes
from .ports import ObjectMarkups
from .retakes import Asked
from .shown_masks import ShownMasks
from .state import NetworkState, Topic
from .workspace import Workspace


class SceneSync:
    """Makes the scene equal to the session; the scene is never asked what is true."""

    def __init__(self, work: Workspace) -> None:
        self._work = work
        self.shown_masks = ShownMasks(work)
        self._notes = OverlapNotes(work)
        self._asked: set[tuple[int, int, tuple[Prompt, ...]]] = set()

    def after_change(self, object_ids: Iterable[int]) -> None:
        """These objects changed in the session: show it, and ask for the previews that lack."""
        object_ids = [*object_ids]
        self._segments(object_ids)
        self._locks(object_ids)
        self._axes(object_ids)
        self.shown_masks.refresh(object_ids)
        self.prompts()
        self.ask_previews()
        self._work.notify(Topic.PROMPTS, Topic.MASKS, Topic.HISTORY, Topic.SEGMENTS)

    def restored(self) -> None:
        """The session has the masks of the segments, such as those of a scene that was loaded."""
        work = self._work
        for obj in work.session.objects if work.session else ():
            self._axes([obj.id])
            self.shown_masks.start_from(obj)

    def start(self) -> None:
        """Nothing is known of the scene: a session began or ended."""
        self.shown_masks.forget()
        self._notes.forget()
        self._asked.clear()

    def network_changed(self) -> None:
        """Previews that were asked of another network do not come any more."""
        self._asked.clear()
        self.ask_previews()

    def prompts(self) -> None:
        """Let the markups say what the session says."""
        work = self._work
        if work.session is None or work.volume_node is None:
            return
        objects = [self.markups_of(obj) for obj in work.session.objects]
        work.prompt_nodes.sync(objects, work.volume_node)

    def markups_of(self, obj: SegmentObject) -> ObjectMarkups:
        """An object for the markups."""
        segment_id = self._work.segment_of(obj.id) or ""
        return ObjectMarkups(
            obj.id,
            segment_id,
            obj.name,
            obj.color,
            obj.prompts,
            obj.slice_range,
            segment_id == self._work.segment_id,
            None if obj.is_free else obj.axis,
        )

    def ask_previews(self) -> None:
        """Ask for the masks of all slices whose prompts were not previewed as they are now."""
        work = self._work
        if work.session is None or work.network.state is not NetworkState.READY:
            return
        for obj in work.session.objects:
            for index in obj.pending_previews():
                self._ask_preview(work.session, obj, index)

    # -- inside

    def _segments(self, object_ids: Iterable[int]) -> None:
        """Objects that came back get a segment again; the segments of those that went are deleted."""
        work = self._work
        if work.session is None or work.masks is None:
            return
        objects = {obj.id: obj for obj in work.session.objects}
        for object_id in object_ids:
            segment_id, obj = work.segment_of(object_id), objects.get(object_id)
            there = segment_id is not None and segment_id in work.segment_ids
            if obj is not None and not there:
                self.shown_masks.forget(object_id)
                if segment_id is not None:
                    del work.object_ids[segment_id]
                removed = work.removed_ids.pop(object_id, segment_id)
                back = removed is not None and work.masks.bring_back(removed)
                added = removed if back and removed else work.masks.add(obj.name, obj.color)
                work.object_ids[added] = object_id
                work.segment_id = work.segment_id or added
            elif obj is None and segment_id is not None:
                del work.object_ids[segment_id]
                work.removed_ids[object_id] = segment_id
                self.shown_masks.forget(object_id)
                if there:
                    work.masks.remove(segment_id)

    def _axes(self, object_ids: Iterable[int]) -> None:
        """Compare the segments slice by slice across the axes of their objects."""
        work, chosen = self._work, {*object_ids}
        for obj in work.session.objects if work.session else ():
            segment_id = work.segment_of(obj.id)
            there = work.masks is not None and segment_id in work.segment_ids
            if obj.id in chosen and obj.axis is not None and there:
                assert work.masks is not None
                assert segment_id is not None
                work.masks.set_axis(segment_id, obj.axis)

    def _locks(self, object_ids: Iterable[int]) -> None:
        work = self._work
        chosen = {*object_ids}
        for obj in work.session.objects if work.session else ():
            segment_id = work.segment_of(obj.id)
            if obj.id in chosen and work.masks is not None and segment_id is not None:
                work.masks.set_locked(segment_id, obj.locked)

    def _ask_preview(self, session: Session, obj: SegmentObject, index: int) -> None:
        axis, prompts = obj.axis, obj.prompts_on(index)
        key = (obj.id, index, prompts)
        if axis is None or key in self._asked:
            return
        self._asked.add(key)
        work = self._work

        def show(found: SliceFound) -> None:
            if session is not work.session:
                return
            work.take_edits()
            if session.apply_preview(obj.id, index, prompts, found.mask, found.confidence):
                segment_id = work.segment_of(obj.id)
                others = self._notes.others(segment_id, axis, index)
                self.shown_masks.refresh([obj.id], Asked(frozenset({index}), prompts))
                work.notify(Topic.MASKS)
                if segment_id is not None:
                    self._notes.compare(segment_id, axis, index, found.mask, others)

        def end(error: MedSAMError | None) -> None:
            if error is None or isinstance(error, Cancelled):
                self._asked.discard(key)  # one that failed is not asked again: it would fail again
                if session is work.session:
                    self.ask_previews()  # prompts may be again those whose preview was given up or came too early
            else:
                work.show_error(error)
            if not work.run_is_on():
                work.worker.submit(FillJob(axis, index), _nothing, _nothing)

        to_run = ObjectToRun(obj.id, axis, kept_as_prompts(obj))
        work.worker.submit(PreviewJob(to_run, index), show, end)
        work.poller.start()

    def forget_in_engine(self, object_ids: tuple[int, ...] | None) -> None:
        """Let the worker forget objects, or the volume."""
        if self._work.worker.started:
            self._work.worker.submit(ForgetJob(object_ids), _nothing, _nothing)
            self._work.poller.start()


def _nothing(_: object) -> None:
    """Nobody waits for it."""
