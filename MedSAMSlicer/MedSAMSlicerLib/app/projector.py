"""From the session into the scene and back: compares what should be shown with what is, and writes the difference.

The session is authoritative about its objects: segments, locks, masks and prompts in the scene follow it after each
change. What another module changes in a segment is taken into the session first, as the user's own mask.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ..core.errors import GeometryError
from ..core.geometry import SliceAxis
from ..core.masks import PackedMask, slices_of, volume_of
from ..core.overlap import BEFORE_ALL, Claim, ClaimedMask, shown
from ..core.prompts import Prompt
from ..core.segment_object import SegmentObject
from ..core.translation import tr as _
from .cleaned_masks import CleanedMasks
from .ports import ObjectMarkups, Segments
from .segment_layers import Mask, ObjectMasks, OutsideSegments, Wanted
from .segment_status import StatusFollower
from .signals import Signal
from .state import Level, Topic
from .workspace import Workspace

logger = logging.getLogger(__name__)

EDIT_SECONDS = 0.2
"""How long after an edit of another module it is taken over."""

SURFACE_SECONDS = 0.5
"""How long after the last change of a segment its surface in the 3-D views is made again."""

_LONG_SECONDS = 0.1
"""A surface that takes longer than this to make waits until the user has put the prompt tool down."""

_NO_PROMPTS: Mapping[str, Sequence[Prompt]] = MappingProxyType({})
_MUCH = 0.5
"""This part of a mask on another segment, or of that segment taken by it, is worth a message."""


class Projector:
    """Makes the scene equal to the session.

    Signals:
        projected: the scene shows what the session holds.
    """

    def __init__(self, work: Workspace) -> None:
        self._work = work
        self.projected: Signal[[]] = Signal()
        self._cleaned = CleanedMasks(work)
        self._cleaned.ready.connect(self._show_cleaned)
        self._outside = OutsideSegments()
        self._status = StatusFollower(work)
        self._written: dict[int, tuple[SliceAxis, Wanted]] = {}  # by object
        self._noted: set[tuple[str, str, int]] = set()  # overlaps that a message was shown for
        self._surface_seconds = 0.0
        self._in_use, self._waiting_edits = True, False

    # -- from the session

    def after_change(self, object_ids: Iterable[int]) -> None:
        """These objects changed in the session, or went: show it."""
        object_ids = [*object_ids]
        self._segments(object_ids)
        self._locks_and_axes(object_ids)
        self.masks(object_ids)
        self.prompts()
        for object_id in object_ids:
            self._status.follow(object_id)
        self.projected.emit()
        self._work.notify(Topic.PROMPTS, Topic.MASKS, Topic.HISTORY, Topic.SEGMENTS)

    def start(self) -> None:
        """A session began or ended: forget what was known of the scene."""
        self._written.clear()
        self._noted.clear()
        self._outside.forget()
        self._cleaned.forget()
        self._status.forget()

    def restored(self) -> None:
        """The session has the masks of the segments, such as those of a scene that was loaded."""
        for obj in self._work.objects:
            self._locks_and_axes([obj.id], locks=False)
            self.is_shown(obj)
            self._status.known(obj)

    def is_shown(self, obj: SegmentObject) -> None:
        """The segment shows the masks of the object already."""
        if obj.axis is not None:
            self._written[obj.id] = (obj.axis, _wanted(obj, {}))

    def prompts(self) -> None:
        """Show the prompts of the session."""
        work = self._work
        if work.session is not None and work.volume_node is not None:
            work.prompt_nodes.sync([self.markups_of(obj) for obj in work.session.objects], work.volume_node)

    def markups_of(self, obj: SegmentObject) -> ObjectMarkups:
        """The prompts of an object as they are shown."""
        segment_id = self._work.segment_of(obj.id) or ""
        selected, axis = segment_id == self._work.segment_id, None if obj.is_free else obj.axis
        return ObjectMarkups(
            obj.id, segment_id, obj.name, obj.color, obj.prompts, obj.slice_range, selected, axis
        )

    def claim(self, segment_id: str | None) -> Claim:
        """The claim of masks that the user asks for now, by the choice about overlaps."""
        work = self._work
        assert work.session is not None
        masks, policy = work.masks, work.overlap
        takes = policy in ("visible", "all")
        spared = frozenset(
            other
            for other in (masks.segment_ids() if takes and masks is not None else ())
            if other != segment_id
            and masks is not None
            and (masks.locked(other) or (policy == "visible" and not masks.visible(other)))
        )
        return work.session.claims.new(takes, spared)

    def masks(self, object_ids: Iterable[int]) -> None:
        """Write the masks of these objects, and those of others that they take voxels from or give them back to."""
        self.take_edits()
        work = self._work
        if work.masks is None:
            return
        for object_id in object_ids:
            obj = work.object(object_id)
            if obj is not None:
                self._cleaned.ask(obj)
                self._write(work.masks, obj)

    def masks_of(self, obj: SegmentObject) -> dict[int, PackedMask]:
        """Return the masks of an object by slice, cleaned where that is wanted and known, before any overlap."""
        return {index: mask for index, (mask, _claim) in self._wanted(obj).items()}

    def shown_masks(self, obj: SegmentObject) -> dict[int, PackedMask]:
        """Return the masks of an object by slice as its segment shows them: without voxels that others took.

        Raises:
            GeometryError: segmentation and volume no longer lie on the same voxels.
        """
        found, masks, segment_id = self.masks_of(obj), self._work.masks, self._work.segment_of(obj.id)
        if masks is None or obj.axis is None or segment_id not in self._work.segment_ids:
            return found
        assert segment_id is not None
        filled = {index for index, mask in found.items() if not mask.is_empty}
        for index, mask in masks.read_slices(segment_id, obj.axis, self._perhaps_taken(obj, filled)).items():
            found[index] = PackedMask.from_array(mask)
        return found

    def _perhaps_taken(self, obj: SegmentObject, filled: set[int]) -> list[int]:
        """The filled slices of an object on which another one may have taken voxels."""
        taken: set[int] = set()
        for other, (axis, wanted) in self._written.items():
            taking = {index for index, (_mask, claim) in wanted.items() if claim.takes}
            if other != obj.id and taking:
                taken |= taking if axis == obj.axis else filled
        return sorted(taken & filled)

    def adopted_slices(self, segment_id: str, axis: SliceAxis) -> tuple[dict[int, Mask], Claim]:
        """Return the masks of a segment that becomes an object, with what was taken from it, and their claim."""
        assert self._work.masks is not None
        self.take_edits()
        self._work.masks.settle(segment_id)
        found = self._outside.whole(self._work.masks, segment_id, axis), self._outside.claim(segment_id)
        self._outside.forget(segment_id)
        return found

    def outside_segment_added(self, segment_id: str) -> None:
        """A segment that is no object was added."""
        if self._work.session is not None:
            self._outside.added(segment_id, self._work.session.claims.new())

    def outside_segment_gone(self, segment_id: str) -> None:
        """A segment that is no object was deleted."""
        self._outside.forget(segment_id)

    # -- what others do to the segments

    def edited_elsewhere(self) -> None:
        """Another module changed voxels, or may have: take that over in a moment, or when the module is opened."""
        if self._in_use:
            self._work.poller.schedule("edits", EDIT_SECONDS, self._take_edits_of_others)
        else:
            self._waiting_edits = True

    def _take_edits_of_others(self) -> None:
        masks = self._work.masks
        touched = masks is not None and masks.touched_elsewhere()
        self.take_edits()
        if touched:  # also segments without prompts, which can be exported now
            self._work.notify(Topic.MASKS)

    @property
    def in_use(self) -> bool:
        """Return whether the user works in the module."""
        return self._in_use

    def set_in_use(self, in_use: bool) -> None:
        """Say whether the user works in the module: edits of other modules are compared when he is back."""
        self._in_use = in_use
        if in_use and self._waiting_edits:
            self._waiting_edits = False
            self.edited_elsewhere()

    def take_edits(self, prompts: Mapping[str, Sequence[Prompt]] = _NO_PROMPTS) -> None:
        """Masks that another module changed become the user's own, one step each segment.

        To be called before the session changes and before anything is written: the voxels are compared with what was
        written, so that no edit is missed, whether or not an event came. `prompts` are those that led to the masks of
        a segment.
        """
        work = self._work
        work.poller.unschedule("edits")
        if work.masks is None or work.session is None:
            return
        try:
            edits = work.masks.edits({*work.object_ids, *self._outside.segment_ids})
        except GeometryError as error:  # nothing can be written either
            logger.warning("Edits cannot be followed: %s", error)
            return
        for segment_id, masks in edits.items():
            work.masks.settle(segment_id)
            obj = work.object(work.object_ids.get(segment_id))
            if obj is None:  # it is taken over with the first prompt
                self._outside.edited(segment_id, masks, SliceAxis.K)
            else:
                self._take_edit(segment_id, obj, masks, prompts.get(segment_id, ()))

    def edited_meanwhile(self, segment_id: str, masks: Mapping[int, Mask]) -> None:
        """A segment was changed while its session was suspended: these slices are the user's own."""
        obj = self._work.object(self._work.object_ids.get(segment_id))
        if obj is not None:
            self._take_edit(segment_id, obj, masks)

    def _take_edit(
        self,
        segment_id: str,
        obj: SegmentObject,
        masks: Mapping[int, Mask],
        prompts: Sequence[Prompt] = (),
    ) -> None:
        work, axis = self._work, obj.axis
        assert work.session is not None
        assert work.masks is not None
        if axis is None:  # all that is there, across the slices that the user sees
            shown = work.shown()
            axis = SliceAxis.K if shown is None else shown.axis
            axis = prompts[0].slice.axis if prompts else axis
            masks = work.masks.read_slices(segment_id, axis)
        if not masks:
            return
        known = self._along(obj.id, axis)
        for index, mask in masks.items():
            claim = known[index][1] if index in known else BEFORE_ALL
            known[index] = (PackedMask.from_array(mask), claim)
        self._written[obj.id] = (axis, known)
        lost = frozenset() if obj.locked or prompts else _emptied(obj, masks)
        if obj.locked:
            latest = max((known[index][1] for index in masks), key=lambda claim: claim.turn)
            work.session.adopt_masks(obj.id, masks, axis, work.session.claims.renewed(latest))
        else:
            drawn = {index: mask for index, mask in masks.items() if index not in lost}
            label = _("Accept in Segment Editor") if prompts else None
            work.session.edit_masks(obj.id, drawn, axis, label, sorted(lost), prompts, outside=True)
        self.after_change([obj.id])
        if lost:
            text = _(
                'Another module emptied {count} slices of "{segment}": the next propagation recomputes them, '
                "and Undo brings them back."
            )
            work.show_message(text.format(count=len(lost), segment=obj.name), Level.WARNING)

    # -- notes about overlaps

    def show_preview(self, obj: SegmentObject, index: int, mask: Mask) -> None:
        """Show a preview, and a message if it lies on another segment: which of them has the voxels is not to be seen.

        Args:
            obj: the object, whose session has the preview.
            index: of the slice.
            mask: the preview, bool (rows, columns).
        """
        segment_id, axis = self._work.segment_of(obj.id), obj.axis
        assert axis is not None
        before = self._others(segment_id, axis, index)
        self.masks([obj.id])
        self._work.notify(Topic.MASKS)
        after = self._others(segment_id, axis, index)
        if segment_id is None or not mask.any():
            return
        for other in before.keys() & after.keys():
            lost, shared = before[other] & ~after[other], after[other] & mask
            taken = bool(lost.sum() >= _MUCH * min(mask.sum(), max(1, before[other].sum())))
            much = taken or shared.sum() >= _MUCH * mask.sum()
            if much and (segment_id, other, index) not in self._noted:
                self._noted.add((segment_id, other, index))
                self._note(segment_id, other, index, taken)
                return

    def _others(self, segment_id: str | None, axis: SliceAxis, index: int) -> dict[str, Mask]:
        """The masks of all segments but one on a slice, as they are now."""
        masks = self._work.masks
        others = () if masks is None else (each for each in masks.segment_ids() if each != segment_id)
        return {
            other: masks.read_slices(other, axis, [index])[index] for other in others if masks is not None
        }

    def _note(self, segment_id: str, other: str, index: int, taken: bool) -> None:
        masks = self._work.masks
        assert masks is not None
        took = _(
            'The mask of "{segment}" took voxels of "{other}" on slice {index}, as chosen under "Where masks meet": '
            "Undo gives them back."
        )
        both = _(
            'The mask of "{segment}" overlaps "{other}", which keeps its voxels, so both have them: to continue '
            'with "{other}", select it in the table.'
        )
        names = {"segment": masks.name(segment_id), "other": masks.name(other), "index": index}
        self._work.show_message((took if taken else both).format(**names), Level.WARNING)

    # -- segments, locks, axes

    def _segments(self, object_ids: Iterable[int]) -> None:
        """Objects that came back get a segment again; the segments of those that went are deleted."""
        work = self._work
        if work.session is None or work.masks is None:
            return
        for object_id in object_ids:
            segment_id, obj = work.segment_of(object_id), work.object(object_id)
            there = segment_id is not None and segment_id in work.segment_ids
            if obj is not None and not there:
                self._written.pop(object_id, None)
                if segment_id is not None:
                    del work.object_ids[segment_id]
                removed = work.removed_ids.pop(object_id, segment_id)
                back = removed is not None and work.masks.bring_back(removed)
                added = removed if back and removed else work.masks.add(obj.name, obj.color, removed)
                work.object_ids[added] = object_id
                work.segment_id = work.segment_id or added
            elif obj is None:
                if segment_id is not None:
                    del work.object_ids[segment_id]
                    work.removed_ids[object_id] = segment_id
                    if there:
                        work.masks.remove(segment_id)
                self._give_back(work.masks, object_id)

    def _give_back(self, masks: Segments, object_id: int) -> None:
        """An object is gone: others get back what it had taken."""
        written = self._written.pop(object_id, None)
        self.take_edits()
        if written is not None and _takes(written[1]):
            filled = [index for index, (mask, _claim) in written[1].items() if not mask.is_empty]
            self._write_where_masks_meet(masks, written[0], filled, None)

    def _locks_and_axes(self, object_ids: Iterable[int], locks: bool = True) -> None:
        """Lock segments as their objects are, and compare them slice by slice across the axes of these."""
        work, chosen = self._work, {*object_ids}
        for obj in work.objects:
            segment_id = work.segment_of(obj.id)
            if obj.id not in chosen or work.masks is None or segment_id not in work.segment_ids:
                continue
            assert segment_id is not None
            if locks:
                work.masks.set_locked(segment_id, obj.locked)
            if obj.axis is not None:
                work.masks.set_axis(segment_id, obj.axis)

    # -- masks

    def _wanted(self, obj: SegmentObject) -> Wanted:
        return _wanted(obj, self._cleaned.changed(obj))

    def _show_cleaned(self, object_id: int) -> None:
        self.masks([object_id])
        self._work.notify(Topic.MASKS)

    def _along(self, object_id: int, axis: SliceAxis) -> Wanted:
        """Return what was written for an object, by slice across `axis`."""
        before, written = self._written.get(object_id, (axis, {}))
        if before == axis or self._work.geometry is None:
            return dict(written)
        masks = {index: mask for index, (mask, _claim) in written.items()}
        turned = slices_of(volume_of(masks, before, self._work.geometry.shape), axis)
        return {index: (mask, Claim()) for index, mask in turned.items()}

    def _write(self, masks: Segments, obj: SegmentObject) -> None:
        work, wanted = self._work, self._wanted(obj)
        segment_id = work.segment_of(obj.id)
        before = self._written.get(obj.id)
        axis = obj.axis if obj.axis is not None or before is None else before[0]
        if work.geometry is None or segment_id not in work.segment_ids or axis is None:
            return
        assert segment_id is not None
        turned = before is not None and before[0] != axis
        written = self._along(obj.id, axis)
        taking = _takes(wanted) or any(_takes(each) for _axis, each in self._written.values())
        indices = sorted(
            index
            for index in written.keys() | wanted.keys()
            if _differs(written.get(index), wanted.get(index), turned)
        )
        if indices and (taking or self._outside.segment_ids):
            self._write_where_masks_meet(masks, axis, indices, segment_id)
        elif indices:
            empty = PackedMask.empty(work.geometry.slice_shape(axis))
            changed = {index: wanted.get(index, (empty,))[0].to_array() for index in indices}
            _write_even_locked(masks, segment_id, axis, changed)
        self._written[obj.id] = (axis, wanted)
        if indices:
            self._surface_later()

    def _write_where_masks_meet(
        self, masks: Segments, axis: SliceAxis, indices: Iterable[int], segment_id: str | None
    ) -> None:
        """Write all segments on slices across `axis`; of locked ones only `segment_id`."""
        work = self._work
        assert work.geometry is not None
        shape = work.geometry.shape
        empty = np.zeros(work.geometry.slice_shape(axis), np.bool_)
        layers = []
        for obj in work.objects:
            known = work.segment_of(obj.id)
            if known is not None and obj.axis is not None:
                self._cleaned.ask(obj)
                layers.append(ObjectMasks(known, self._wanted(obj), obj.axis, shape))
        outside = [each for each in masks.segment_ids() if work.object(work.object_ids.get(each)) is None]
        changed: dict[str, dict[int, Mask]] = {}
        for index in indices:
            bases = {each: self._outside.base(masks, each, axis, index) for each in outside}
            claimed = [ClaimedMask(each, base, self._outside.claim(each)) for each, base in bases.items()]
            for layer in layers:
                claimed += layer.on(axis, index)
            found = shown(claimed)
            for each in masks.segment_ids():
                mask = found.get(each, empty)
                if each != segment_id and masks.locked(each):
                    continue
                if each in bases:
                    self._outside.keep(each, axis, index, bases[each] & ~mask, shape)
                if not np.array_equal(mask, masks.read_slices(each, axis, [index])[index]):
                    changed.setdefault(each, {})[index] = mask
        for each, slices in changed.items():
            _write_even_locked(masks, each, axis, slices)

    # -- surfaces

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


def _wanted(obj: SegmentObject, cleaned: Mapping[int, PackedMask]) -> Wanted:
    return {index: (cleaned.get(index, stored.mask), stored.claim) for index, stored in obj.masks.items()}


def _takes(wanted: Wanted) -> bool:
    return any(claim.takes for _mask, claim in wanted.values())


def _differs(
    one: tuple[PackedMask, Claim] | None, other: tuple[PackedMask, Claim] | None, turned: bool
) -> bool:
    """Return whether a slice has to be written again; claims do not survive a turn to another axis."""
    if one is None or other is None:
        found = one or other
        return found is not None and not found[0].is_empty
    return (one[0] is not other[0] and one[0] != other[0]) or (not turned and one[1] != other[1])


def _write_even_locked(masks: Segments, segment_id: str, axis: SliceAxis, slices: Mapping[int, Mask]) -> None:
    """Write a segment; into a locked one only what was decided before the lock gets here, such as by undo."""
    locked = masks.locked(segment_id)
    masks.set_locked(segment_id, False)
    try:
        masks.write_slices(segment_id, axis, slices)
    finally:
        masks.set_locked(segment_id, locked)


def _emptied(obj: SegmentObject, masks: Mapping[int, Mask]) -> frozenset[int]:
    """The slices on which a mask of the network is gone, as after Undo in Segment Editor, which has its own history."""
    before = {index: obj.masks[index] for index in masks if index in obj.masks}
    return frozenset(
        index
        for index, stored in before.items()
        if not stored.is_kept and not stored.mask.is_empty and not masks[index].any()
    )
