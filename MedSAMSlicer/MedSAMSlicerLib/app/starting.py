"""Start from a segment that was made elsewhere: its masks stay, but for gaps around prompts that correct them."""

from __future__ import annotations

from ..core.errors import SessionError
from ..core.geometry import SliceAxis
from ..core.masks import PackedMask
from ..core.segment_object import SegmentObject
from ..core.start import started, usual_reach, with_reach
from ..core.translation import tr as _
from .editing import Editing
from .enabled import reason
from .state import Action
from .workspace import Workspace


class Starting:
    """The steps that take over a segment of TotalSegmentator, of a colleague or of yesterday."""

    def __init__(self, work: Workspace, editing: Editing) -> None:
        self._work, self._editing = work, editing
        self.chosen_reach: int | None = None  # what the user chose last
        self._run: tuple[int, int] | None = None  # object and run of the last change of the reach
        work.time_left.connect(self._forget)

    def _forget(self) -> None:
        """Another time point of a sequence is to be shown: its steps are others."""
        self._run = None

    def start(self, reach: int | None = None) -> None:
        """Take the masks that the selected segment has as a start, in one step of undo; its prompts go.

        Prompts then correct these masks, and only the slices within `reach` of a prompt are computed again (None =
        by the distance of slices, or as chosen last); all other slices keep their masks bit for bit.
        """
        work = self._work
        why = reason(work, Action.START_FROM_SEGMENT)
        if why is not None:
            raise SessionError(why)
        object_id, session = self._editing.selected(), work.usable_volume()[1]
        obj, shown = session.object(object_id), work.shown()
        axis = obj.axis if obj.axis is not None else SliceAxis.K if shown is None else shown.axis
        assert work.masks is not None
        assert work.segment_id is not None
        masks = work.masks.read_slices(work.segment_id, axis)
        if not masks:
            text = _('"{segment}" is empty: there is no mask to start from.')
            raise SessionError(text.format(segment=obj.name))
        packed = {index: PackedMask.from_array(mask) for index, mask in masks.items()}
        chosen = self.chosen_reach if reach is None else reach
        slices = self._usual_reach(axis) if chosen is None else chosen
        label = _("Start from {segment}").format(segment=obj.name)
        shape, claim = session.geometry.shape, session.claims.renewed(obj.latest_claim)

        def change(value: SegmentObject) -> SegmentObject:
            return started(value, packed, axis, shape, slices, claim)

        self._editing.change(object_id, lambda session: session.change(object_id, label, change))
        wide = _(
            '"{segment}" stays as it is. Correct a slice with a prompt: only the {reach} slices on either side of '
            "it are then recomputed."
        )
        narrow = _('"{segment}" stays as it is. Correct a slice with a prompt: only that slice changes.')
        work.show_message((wide if slices else narrow).format(segment=obj.name, reach=slices))

    def set_reach(self, reach: int) -> None:
        """Let corrections of a segment that was taken as a start change `reach` slices on either side."""
        object_id = self._editing.selected()
        session = self._work.usable_volume()[1]
        last = self._run
        if last is None or last[0] != object_id or session.last_run != last[1]:
            self._run = last = object_id, session.new_run()
        run, label = last[1], _("Change the reach of corrections")
        self._editing.change(
            object_id,
            lambda session: session.change(object_id, label, lambda value: with_reach(value, reach), run),
        )
        self.chosen_reach = reach

    @property
    def reach(self) -> int | None:
        """Slices on either side that a correction changes; None when the segment was not taken as a start."""
        obj = self._work.selected_object
        return None if obj is None or obj.start is None else obj.start.reach

    def take_offer(self) -> bool:
        """Start from the segment that refused a prompt, and give it that; False when it is not offered."""
        offered, self._work.offered_start_id = self._work.offered_start_id, None
        if offered is None or offered != self._work.segment_id:
            return False
        self.start()
        if self._editing.refused is not None:
            self._editing.apply_edit(self._editing.refused)
        return True

    def _usual_reach(self, axis: SliceAxis) -> int:
        geometry = self._work.usable_volume()[1].geometry
        return usual_reach(geometry.spacing[2 - int(axis)])
