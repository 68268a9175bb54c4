"""Prompts, locks, clean-up and masks of the user into the session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ..core.cleanups import Cleanup
from ..core.errors import DrawnSliceError, MedSAMError, OtherVolumeError, SessionError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.masks import MaskState, PackedMask
from ..core.prompts import MaskPrompt, Point, Prompt, SliceRef, in_slice
from ..core.segment_object import SegmentObject
from ..core.session import Session
from ..core.translation import tr as _
from .ports import PromptEdit, ShownSlice, Tool
from .projector import Projector
from .segment_status import LESION_TAG
from .signals import Signal
from .state import Level, Topic
from .workspace import Workspace

T = TypeVar("T")
DRAG_SECONDS = 1.0
"""Changes of one prompt that follow each other this fast are one step of undo."""


class Editing:
    """Prompts, locks, clean-up and masks of the user.

    Args:
        work: the document.
        projector: shows it.
        add_segment: makes a segment when there is none, and selects it.

    Attributes:
        new_segment_per_click: a point where no segment has a voxel begins a new one, which is listed as a lesion; the
            user's choice.

    Signals:
        prompts_changed: the prompts of an object are others.
        range_changed: the slice range of an object is another.
    """

    def __init__(self, work: Workspace, projector: Projector, add_segment: Callable[[], str]) -> None:
        self._work, self._projector, self._add_segment = work, projector, add_segment
        self.new_segment_per_click = False
        self.prompts_changed: Signal[[int]] = Signal()
        self.range_changed: Signal[[int]] = Signal()
        self._range: tuple[int, int] | None = None  # object and run of the last change of a range
        self.refused: PromptEdit | None = None  # on a slice that was drawn elsewhere
        self._drag: tuple[int, int, int, float] | None = None  # object, position, run, when
        work.prompt_edited.connect(self.apply_edit)
        work.tool_left.connect(self._tool_left)
        work.time_reached.connect(self._time_reached)

    def forget(self) -> None:
        """The session ends: nothing that is done from now on belongs to a step of it."""
        self._range = self._drag = self.refused = None

    def _time_reached(self, tool: Tool | None) -> None:
        """The session of another time point is there: the active tool continues with it."""
        if tool is not None and self._work.segment_id is not None:
            try:
                self.start_placing(tool)
            except MedSAMError as error:
                self._work.show_error(error)

    # ---------------------------------------------------------------------------------------------- what there is

    @property
    def is_one_slice(self) -> bool:
        """Return whether there is one slice alone, as in a radiograph: nothing is propagated."""
        return self._work.is_one_slice

    @property
    def axis(self) -> SliceAxis | None:
        """The slice axis of the selected segment, None before its first prompt."""
        obj = self._work.selected_object
        return obj.axis if obj else None

    @property
    def slice_range(self) -> tuple[int, int] | None:
        """First and last slice to propagate over; None = all."""
        obj = self._work.selected_object
        return obj.slice_range if obj else None

    @property
    def placing(self) -> Tool | None:
        """The active tool."""
        return self._work.placing_tool

    @property
    def segment_states(self) -> Mapping[str, str]:
        """By segment id, one short text for the table: "3 prompts", "120 slices, 2 accepted", ..."""
        states = {}
        for obj in self._work.objects:
            segment_id = self._work.segment_of(obj.id)
            if segment_id is not None:
                states[segment_id] = state_of(obj, self._projector.masks_of(obj).values())
        return states

    @property
    def awaits_previews(self) -> bool:
        """Return whether a slice has prompts that were neither propagated nor previewed as they are now."""
        return any(obj.pending_previews() for obj in self._work.objects)

    def is_locked(self, segment_id: str) -> bool:
        """Return whether a segment is locked."""
        return self._work.is_locked(segment_id)

    def cleanup(self, segment_id: str) -> Cleanup:
        """The clean-up of a segment."""
        obj = self._work.object(self._work.object_ids.get(segment_id))
        return self._work.cleanup if obj is None else obj.cleanup

    # ------------------------------------------------------------------------------------------------ objects

    def object_of(self, segment_id: str) -> int:
        """The object of a segment, taken into the session if it is new there."""
        work = self._work
        session = work.usable_volume()[1]
        if work.masks is None or segment_id not in work.segment_ids:
            raise SessionError(_("There is no segment {segment!r}.").format(segment=segment_id))
        known = work.object_ids.get(segment_id)
        if known is None or work.object(known) is None:
            name = unused_name(session, work.masks.name(segment_id))
            color, locked = work.masks.color(segment_id), work.masks.locked(segment_id)
            known = session.adopt_object(name, color, locked, work.cleanup)
            work.object_ids[segment_id] = known
            self._adopt_masks(segment_id, known)
        return known

    def _adopt_masks(self, segment_id: str, object_id: int) -> None:
        """Masks that a segment had before its first prompt are the user's own."""
        work, session = self._work, self._session()
        assert work.masks is not None
        shown = work.shown()
        axis = SliceAxis.K if shown is None else shown.axis
        there, claim = self._projector.adopted_slices(segment_id, axis)
        if there:
            session.adopt_masks(object_id, there, axis, claim)
            work.masks.set_axis(segment_id, axis)
            self._projector.is_shown(session.object(object_id))

    def selected(self) -> int:
        """The object of the selected segment; a sentence when none is selected or it is locked."""
        if self._work.segment_id is None:
            raise SessionError(_("Add or select a segment first."))
        self._projector.take_edits()
        object_id = self.object_of(self._work.segment_id)
        obj = self._session().object(object_id)
        if obj.locked:
            raise SessionError(_('"{segment}" is locked: unlock it first.').format(segment=obj.name))
        return object_id

    def set_locked(self, segment_id: str, locked: bool) -> None:
        """Keep prompts and masks of a segment as they are, or let them change again; one step of undo."""
        object_id = self.object_of(segment_id)
        obj = self._session().object(object_id)
        if locked and obj.run and obj.unfinished and self._work.running is not None:
            text = _("{name!r} is being propagated: cancel it or wait until it ends, then lock the segment.")
            raise SessionError(text.format(name=obj.name))
        self.change(object_id, lambda session: session.set_locked(object_id, locked))

    def set_cleanup(self, segment_id: str, cleanup: Cleanup) -> None:
        """Clean the masks of a segment as they are shown; the raw ones come back when it is switched off.

        Segments that are added from now on begin with the same.
        """
        object_id = self.object_of(segment_id)
        self.change(object_id, lambda session: session.set_cleanup(object_id, cleanup))
        self._work.cleanup = cleanup

    # ------------------------------------------------------------------------------------------------ prompts

    def prompts_of(self, segment_id: str) -> tuple[Prompt, ...]:
        """The prompts of a segment, in the order in which they were given."""
        obj = self._work.object(self._work.object_ids.get(segment_id))
        return () if obj is None else obj.prompts

    def start_placing(self, tool: Tool) -> None:
        """Let the user place prompts of one kind for the selected segment; one is added if there is none."""
        volume = self._work.usable_volume()[0]
        if self._work.segment_id is None:
            self._add_segment()
        obj = self._session().object(self.selected())
        self._projector.prompts()
        self._work.placing.start(tool, self._projector.markups_of(obj), volume)
        self._work.notify(Topic.TOOL)

    def stop_placing(self) -> None:
        """Leave place mode."""
        self._work.placing.stop()
        self._work.notify(Topic.TOOL)

    def segment_selected(self) -> None:
        """Another segment is selected: the active tool continues with it."""
        if self.placing is None:
            return
        try:
            self.start_placing(self.placing)
        except MedSAMError as error:
            self.stop_placing()
            self._work.show_error(error)

    def _tool_left(self, too_small: Tool | None) -> None:
        self._work.notify(Topic.TOOL)
        if too_small is not None:  # Slicer leaves place mode only after this
            self._work.poller.soon(lambda: self._place_again(too_small))

    def _place_again(self, tool: Tool) -> None:
        """All clicks of a box or line were at one place: say so, and let the user draw it again."""
        if self._work.segment_id is None or self.placing is not None:
            return
        try:
            self.start_placing(tool)
        except MedSAMError as error:
            self._work.show_error(error)
        else:
            box = _("Both clicks were at the same place: click two opposite corners of the box.")
            line = _("Both clicks were at the same place: click the two ends of the diameter.")
            texts = {Tool.BOX: box, Tool.BOX_NEGATIVE: box, Tool.LINE: line}
            again = _("All clicks were at the same place: draw it again.")
            self._work.show_message(texts.get(tool, again), Level.WARNING)

    def apply_edit(self, edit: PromptEdit) -> None:
        """Take over what the user did to a prompt; for what is refused a message is shown, and the prompt as before."""
        if self._work.session is None or self._work.volume_node is None:
            return
        try:
            if edit.error is not None:
                raise edit.error
            self._take(edit)
        except MedSAMError as error:
            if isinstance(error, DrawnSliceError):
                self.refused = edit
            self._work.show_error(error)
            self._projector.prompts()

    def _take(self, edit: PromptEdit) -> None:
        session = self._work.usable_volume()[1]
        self._projector.take_edits()
        obj = session.object(edit.object_id)
        if obj.locked:
            raise SessionError(_('"{segment}" is locked: unlock it first.').format(segment=obj.name))
        if edit.kind == "remove" and edit.position is not None:
            position = edit.position
            self.change(obj.id, lambda session: session.remove_prompt(obj.id, position))
            return
        if edit.prompt is None:
            return
        prompt, ranged, slice_range = edit.prompt, edit.range_changed, edit.slice_range
        if edit.kind == "add":
            self._check_view(edit.view)
            if self.new_segment_per_click and isinstance(prompt, Point) and prompt.positive:
                if not (obj.prompts or obj.masks):
                    self._list_as_lesion()
                elif self._is_in_no_segment(prompt):
                    self._projector.prompts()  # the point does not stay with this segment
                    self._work.poller.soon(lambda: self._begin_segment(prompt))
                    return
        self._check_free(obj, prompt)
        others = [other for place, other in enumerate(obj.prompts) if place != edit.position]
        before = slice_range if ranged else obj.slice_range
        reaching = covering(before, (*others, prompt))
        if reaching != before:
            ranged, slice_range = True, reaching
            self._show_range(reaching)
        if edit.kind == "add":
            self.change(obj.id, lambda session: session.add_prompt(obj.id, prompt, ranged, slice_range))
            self._show_first(obj, prompt)
            if edit.view is not None and edit.view.is_oblique:
                text = _(
                    "The view {view} is rotated by {degrees}° from the voxel grid: the prompt went to the nearest "
                    "slice, {index}."
                ).format(
                    view=edit.view.view_name,
                    degrees=f"{edit.view.off_degrees:.0f}",
                    index=prompt.slice.index,
                )
                self._work.show_message(text, Level.WARNING)
        elif edit.position is not None:
            position = edit.position
            run = self._drag_run(obj.id, position)
            self.change(
                obj.id,
                lambda session: session.replace_prompt(obj.id, position, prompt, ranged, slice_range, run),
            )

    def _is_in_no_segment(self, prompt: Point) -> bool:
        """Return whether a point lies beside all segments."""
        masks, geometry = self._work.masks, self._session().geometry
        clicked = np.zeros(geometry.slice_shape(prompt.slice.axis), np.bool_)
        column, row = np.rint(in_slice(prompt, geometry)[0]).astype(int).tolist()
        clicked[row, column] = True
        return masks is not None and not masks.count_under(prompt.slice.axis, {prompt.slice.index: clicked})

    def _list_as_lesion(self) -> None:
        """The list of lesions shows the selected segment."""
        if self._work.masks is not None and self._work.segment_id is not None:
            self._work.masks.set_tag(self._work.segment_id, LESION_TAG, "1")

    def _begin_segment(self, prompt: Prompt) -> None:
        """A click where there is no segment begins one; the active tool continues with it."""
        try:
            self._add_segment()
            self._list_as_lesion()
            self.add_prompt(prompt)
        except MedSAMError as error:
            self._work.show_error(error)

    def add_drawn(
        self, make: Callable[[VolumeGeometry, SliceRef], Prompt], shown: ShownSlice | None = None
    ) -> None:
        """Add a prompt that was drawn by hand on a slice, by default the one shown; `make` turns it into a prompt."""
        self._check_view(shown)
        obj = self._session().object(self.selected())
        shown = shown or self._shown()
        if not obj.is_free and obj.axis not in (None, shown.axis):
            text = _('This view cuts across the slices of "{segment}": draw on the {slices}.')
            raise SessionError(text.format(segment=obj.name, slices=self._slices(obj)))
        self.add_prompt(make(self._session().geometry, SliceRef(shown.axis, shown.index)))

    def add_prompt(self, prompt: Prompt) -> None:
        """Add a prompt of any kind to the selected segment; the range grows where it lies outside of it."""
        object_id = self.selected()
        obj = self._session().object(object_id)
        self._check_free(obj, prompt)
        reaching = covering(obj.slice_range, (prompt,))
        ranged = reaching != obj.slice_range
        if ranged:
            self._show_range(reaching)
        self.change(object_id, lambda session: session.add_prompt(object_id, prompt, ranged, reaching))
        self._show_first(obj, prompt)

    def use_current_mask(self) -> None:
        """Keep the mask that the segment has on the shown slice as it is, as a key slice."""
        object_id = self.selected()
        shown, work = self._shown(), self._work
        assert work.masks is not None
        assert work.segment_id is not None
        obj = self._session().object(object_id)
        if obj.axis not in (None, shown.axis):
            text = _('"{segment}" is drawn on {slices}: show them in a view first.')
            raise SessionError(text.format(segment=obj.name, slices=self._slices(obj)))
        mask = work.masks.read_slices(work.segment_id, shown.axis, [shown.index])[shown.index]
        if not mask.any():
            text = _('"{segment}" has no mask on slice {index}.')
            raise SessionError(text.format(segment=obj.name, index=shown.index))
        masks, label = {shown.index: mask}, _("Use the mask of slice {index}").format(index=shown.index)
        self.change(object_id, lambda session: session.edit_masks(object_id, masks, shown.axis, label))

    def set_range(self, first: int, last: int) -> None:
        """Propagate the selected segment from slice `first` to `last` only, both included.

        Masks of the network beyond them go. Changes of the range that follow each other are one step of undo, in
        which a wider range brings back what a narrower one took.
        """
        self._set_range((first, last))

    def drag_range(self, first: int, last: int) -> None:
        """As `set_range`, as one step of undo for itself; see :meth:`.SegmentObject.dragged_range`."""
        obj = self._session().object(self.selected())
        self._range = None
        self._set_range(obj.dragged_range(first, last, self._slice_count(obj)))

    def begin_range(self) -> None:
        """Let the range of the selected segment be what its mask reaches over now, or all slices; see `set_range`."""
        obj = self._session().object(self.selected())
        self._set_range(obj.reach(self._slice_count(obj)))

    def clear_range(self) -> None:
        """Propagate the selected segment over the whole volume."""
        self._set_range(None)

    def _set_range(self, slice_range: tuple[int, int] | None) -> None:
        object_id = self.selected()
        reaching = covering(slice_range, self._session().object(object_id).prompts)
        if reaching != slice_range:
            self._show_range(reaching)
        run = self._range_run(object_id)
        self.change(object_id, lambda session: session.set_slice_range(object_id, reaching, run))
        self.range_changed.emit(object_id)

    def set_range_end(self, first: bool) -> None:
        """Let the range of the selected segment begin at the shown slice, or end there; see `drag_range`."""
        obj = self._session().object(self.selected())
        index = self._index_or_shown(None)
        low, high = obj.reach(self._slice_count(obj))
        self._set_range((index, max(index, high)) if first else (min(index, low), index))

    def _slice_count(self, obj: SegmentObject) -> int:
        axis = obj.axis if obj.axis is not None else self._shown().axis
        return self._session().geometry.slice_count(axis)

    def remove_prompt(self, position: int) -> None:
        """Remove one prompt of the selected segment, counted from 0 in the order in which they were given."""
        object_id = self.selected()
        self.change(object_id, lambda session: session.remove_prompt(object_id, position))

    def remove_prompts(self) -> None:
        """Remove all prompts of the selected segment, in one step; its masks stay but for previews."""
        object_id = self.selected()
        self.change(object_id, lambda session: session.remove_prompts(object_id))

    # ---------------------------------------------------------------------------------------- masks of the user

    def accept_outside(self, segment_id: str, prompts: Sequence[Prompt]) -> None:
        """Segment Editor has taken over masks that `prompts` led to: both become one step of undo."""
        self._projector.take_edits({segment_id: prompts})

    def accept_slice(self, index: int | None = None) -> None:
        """Keep the mask of a slice (the shown one) from ever being overwritten."""
        self._accept([self._index_or_shown(index)])

    def accept_all(self) -> None:
        """Keep the masks of all slices of the selected segment."""
        self._accept(None)

    def release_slice(self, index: int | None = None) -> None:
        """Let propagations replace the mask of a slice (the shown one) again."""
        chosen, object_id = [self._index_or_shown(index)], self.selected()
        self.change(object_id, lambda session: session.release(object_id, chosen))

    def _accept(self, indices: Iterable[int] | None) -> None:
        """Accept slices; None = all that have a mask."""
        object_id = self.selected()
        obj = self._session().object(object_id)
        chosen = [*obj.masks] if indices is None else [*indices]
        shown = self._projector.masks_of(obj)

        def accepted(value: SegmentObject) -> SegmentObject:
            masks = {index: value.masks[index] for index in chosen}
            return value.accepted({n: replace(stored, mask=shown[n]) for n, stored in masks.items()})

        if all(index in obj.masks for index in chosen):
            self.change(object_id, lambda session: session.change(object_id, "Accept slices", accepted))
        else:  # which says what is missing
            self.change(object_id, lambda session: session.accept(object_id, chosen))

    def _index_or_shown(self, index: int | None) -> int:
        """The slice meant: `index`, or the shown one."""
        if index is not None:
            return index
        shown, obj = self._shown(), self._work.selected_object
        if obj is not None and obj.axis not in (None, shown.axis):
            text = _('"{segment}" is drawn on {slices}: show them in a view first.')
            raise SessionError(text.format(segment=obj.name, slices=self._slices(obj)))
        return shown.index

    # ------------------------------------------------------------------------------------------------- inside

    def change(self, object_id: int, act: Callable[[Session], T]) -> T:
        """Do one thing to the session and show it; a run of that object is planned again."""
        session = self._session()
        self._projector.take_edits()
        before = session.object(object_id)
        done = act(session)
        self._projector.after_change([object_id])
        after = self._work.object(object_id)
        if after is not None and after.prompts != before.prompts:
            self.prompts_changed.emit(object_id)
        return done

    def _show_range(self, reaching: tuple[int, int] | None) -> None:
        assert reaching is not None
        text = _(
            "The range is now slices {first} to {last}, so that it includes every prompt of the segment."
        )
        self._work.show_message(text.format(first=reaching[0], last=reaching[1]))

    def _session(self) -> Session:
        return self._work.usable_volume()[1]

    def _shown(self) -> ShownSlice:
        shown = self._work.shown()
        if shown is None:
            raise SessionError(_("No slice view shows the volume."))
        return shown

    def _show_first(self, obj: SegmentObject, prompt: Prompt) -> None:
        """Let the other views show the place where an object is begun."""
        if obj.key_slices or isinstance(prompt, MaskPrompt):
            return
        xy = in_slice(prompt, self._session().geometry).mean(axis=0)
        place = self._session().geometry.slice_to_ras([xy], prompt.slice.index, prompt.slice.axis)[0]
        self._work.scene.views.show_place_elsewhere(self._work.volume_node, place.tolist())

    def _slices(self, obj: SegmentObject) -> str:
        """The slices of an object in words."""
        assert obj.axis is not None
        return self._work.scene.views.slices_in_words(self._work.volume_node, obj.axis)

    def _check_view(self, view: ShownSlice | None) -> None:
        """A view of another volume takes no prompt, but offers to turn to it: what is seen is what is segmented."""
        work = self._work
        if view is None or work.volume_node is None:
            return
        volumes = work.scene.volumes
        other = work.scene.views.other_volume(view.view_name, work.volume_node)
        if other is None:
            return
        work.offered_volume_id = volumes.identifier(other)
        shown, segmented = volumes.name(other), volumes.name(work.volume_node)
        names = {"view": view.view_name, "other": shown, "volume": segmented}
        text = _(
            'The view {view} shows "{other}", but you are segmenting "{volume}": show that volume in the '
            "view, or switch to the other one."
        )
        error = OtherVolumeError(text.format(**names))
        error.offer = _("Switch to {other}").format(**names)
        raise error

    def _check_free(self, obj: SegmentObject, prompt: Prompt) -> None:
        """Slices of the user take no prompt."""
        axis, index = prompt.slice.axis, prompt.slice.index
        session = self._session()
        along = obj.turned(axis, session.geometry.shape) if obj.is_free else obj
        stored = along.masks.get(index)
        if stored is not None and stored.state in (MaskState.ACCEPTED, MaskState.EDITED):
            kept = _(
                'The mask of "{segment}" on slice {index} is accepted and stays as it is: release the slice to correct '
                "it with prompts."
            )
            drawn = _(
                'The mask of "{segment}" on slice {index} was drawn by you and stays as it is: release the slice to '
                "correct it with prompts."
            )
            names = {"segment": obj.name, "index": index}
            if stored.state is MaskState.ACCEPTED or not obj.is_free:
                accepted = stored.state is MaskState.ACCEPTED
                raise SessionError((kept if accepted else drawn).format(**names))
            self._work.offered_start_id, self._work.offered_volume_id = self._work.segment_of(obj.id), None
            self.refused = None
            error = DrawnSliceError(drawn.format(**names))
            error.offer = _("Start from this segment")
            raise error

    def _drag_run(self, object_id: int, position: int) -> int:
        """Changes of one prompt that follow each other fast share a run, and with it their step of undo."""
        now, session = self._work.clock(), self._session()
        last = self._drag
        if (
            last is not None
            and last[:2] == (object_id, position)
            and now - last[3] < DRAG_SECONDS
            and session.last_run == last[2]
        ):
            run = last[2]
        else:
            run = session.new_run()
        self._drag = (object_id, position, run, now)
        return run

    def _range_run(self, object_id: int) -> int:
        """Changes of the range that follow each other are one step of undo."""
        session, last = self._session(), self._range
        if last is None or last[0] != object_id or session.last_run != last[1]:
            self._range = last = object_id, session.new_run()
        return last[1]


def covering(slice_range: tuple[int, int] | None, prompts: Iterable[Prompt]) -> tuple[int, int] | None:
    """The range, grown where a prompt lies outside of it; None = all slices."""
    if slice_range is None:
        return None
    indices = [*slice_range, *(prompt.slice.index for prompt in prompts)]
    return min(indices), max(indices)


def state_of(obj: SegmentObject, shown: Iterable[PackedMask]) -> str:
    """One short text for the table; `shown` are its masks as the clean-up leaves them."""
    filled = sum(not mask.is_empty for mask in shown)
    states = [stored.state for stored in obj.masks.values()]
    unchanged = sum(
        stored.state is MaskState.STARTED and not stored.mask.is_empty for stored in obj.masks.values()
    )
    counts = (
        (len(obj.prompts), _("1 prompt"), _("{count} prompts")),
        (filled, _("1 slice"), _("{count} slices")),
        (states.count(MaskState.ACCEPTED), _("1 accepted"), _("{count} accepted")),
        (states.count(MaskState.EDITED), _("1 edited"), _("{count} edited")),
        (unchanged, _("1 unchanged"), _("{count} unchanged")),
    )
    return ", ".join(
        (one if count == 1 else many).format(count=count) for count, one, many in counts if count
    )


def unused_name(session: Session, name: str) -> str:
    """`name`, numbered where the session has it already; Slicer allows segments of one name."""
    taken = {obj.name for obj in session.objects}
    wanted = name.strip() or "Segment"
    candidates = (wanted, *(f"{wanted} ({number})" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)
