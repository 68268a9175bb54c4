"""From the session into the scene and back: segments, locks, masks and prompts.

The session is the only truth about its objects: the scene follows it after each change. What somebody else changes in
a segment is taken into the session first, as the user's own mask.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ..core.errors import GeometryError
from ..core.geometry import SliceAxis
from ..core.prompts import Prompt
from ..core.segment_object import SegmentObject
from ..core.translation import tr as _
from .overlap_notes import OverlapNotes
from .ports import Mask, ObjectMarkups
from .retakes import Asked
from .shown_masks import ShownMasks
from .signals import Signal
from .state import Level, Topic
from .workspace import Workspace

logger = logging.getLogger(__name__)

EDIT_SECONDS = 0.2
"""How long an edit of another module may rest before it is taken over."""


class Projector:
    """Makes the scene equal to the session.

    Signals:
        projected: the scene shows what the session holds.
    """

    def __init__(self, work: Workspace) -> None:
        self._work = work
        self.projected: Signal[[]] = Signal()
        self.shown_masks = ShownMasks(work, self.take_edits)
        self._notes = OverlapNotes(work)
        self._in_use, self._waiting_edits = True, False

    def after_change(self, object_ids: Iterable[int]) -> None:
        """These objects changed in the session, or went: show it."""
        object_ids = [*object_ids]
        self._segments(object_ids)
        self._locks(object_ids)
        self._axes(object_ids)
        self.shown_masks.refresh(object_ids)
        self.prompts()
        self.projected.emit()
        self._work.notify(Topic.PROMPTS, Topic.MASKS, Topic.HISTORY, Topic.SEGMENTS)

    def restored(self) -> None:
        """The session has the masks of the segments, such as those of a scene that was loaded."""
        work = self._work
        for obj in work.objects:
            self._axes([obj.id])
            self.shown_masks.start_from(obj)

    def start(self) -> None:
        """Nothing is known of the scene: a session began or ended."""
        self.shown_masks.forget()
        self._notes.forget()

    def prompts(self) -> None:
        """Show the prompts of the session."""
        work = self._work
        if work.session is None or work.volume_node is None:
            return
        objects = [self.markups_of(obj) for obj in work.session.objects]
        work.prompt_nodes.sync(objects, work.volume_node)

    def markups_of(self, obj: SegmentObject) -> ObjectMarkups:
        """The prompts of an object as they are shown."""
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

    def preview_shown(self, obj: SegmentObject, index: int, prompts: tuple[Prompt, ...], mask: Mask) -> None:
        """Show a preview that the session took in, and a message if it lies on another segment."""
        segment_id, axis = self._work.segment_of(obj.id), obj.axis
        assert axis is not None
        others = self._notes.others(segment_id, axis, index)
        self.shown_masks.refresh([obj.id], Asked(frozenset({index}), prompts))
        self._work.notify(Topic.MASKS)
        if segment_id is not None:
            self._notes.compare(segment_id, axis, index, mask, others)

    # -- what others do to the segments

    def edited_elsewhere(self) -> None:
        """Somebody else changed voxels, or may have: take that over in a moment, or when the module is opened."""
        if self._in_use:
            self._work.poller.schedule("edits", EDIT_SECONDS, self.take_edits)
        else:
            self._waiting_edits = True

    def set_in_use(self, in_use: bool) -> None:
        """Say whether the user works in the module: edits of other modules are compared when he is back."""
        self._in_use = in_use
        if in_use and self._waiting_edits:
            self._waiting_edits = False
            self.edited_elsewhere()

    def take_edits(self) -> None:
        """Masks that somebody else changed become the user's own, one step each segment.

        To be called before the session changes and before anything is written: the voxels are compared with what was
        written, so that no edit is missed, whether or not an event came.
        """
        work = self._work
        work.poller.unschedule("edits")
        if work.masks is None or work.session is None:
            return
        try:
            edits = work.masks.edits(work.object_ids)
        except GeometryError as error:  # nothing can be written either
            logger.warning("Edits cannot be followed: %s", error)
            return
        for segment_id, masks in edits.items():
            work.masks.settle(segment_id)
            obj = work.object(work.object_ids.get(segment_id))
            if obj is not None:  # else it is taken over with the first prompt
                self._take_edit(segment_id, obj, masks)

    def _take_edit(self, segment_id: str, obj: SegmentObject, masks: Mapping[int, Mask]) -> None:
        work, axis = self._work, obj.axis
        assert work.session is not None
        assert work.masks is not None
        if axis is None:  # all that is there, across the slices that the user sees
            shown = work.shown()
            axis = SliceAxis.K if shown is None else shown.axis
            masks = work.masks.read_slices(segment_id, axis)
        if not masks:
            return
        self.shown_masks.wrote(obj.id, axis, masks)
        lost = frozenset() if obj.locked else _emptied(obj, masks)
        if obj.locked:
            work.session.adopt_masks(obj.id, masks, axis)
        else:
            drawn = {index: mask for index, mask in masks.items() if index not in lost}
            work.session.edit_masks(obj.id, drawn, axis, lost=sorted(lost))
        self.after_change([obj.id])
        if lost:
            text = _(
                'Another module emptied {count} slices of "{segment}": the next propagation computes them again, '
                "and Undo brings them back."
            )
            work.show_message(text.format(count=len(lost), segment=obj.name), Level.WARNING)

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


def _emptied(obj: SegmentObject, masks: Mapping[int, Mask]) -> frozenset[int]:
    """The slices on which a mask of the network is gone, as after Undo in Segment Editor, which has its own history."""
    before = {index: obj.masks[index] for index in masks if index in obj.masks}
    return frozenset(
        index
        for index, stored in before.items()
        if not stored.is_kept and not stored.mask.is_empty and not masks[index].any()
    )
