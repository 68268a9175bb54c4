"""Many lesions: every box or line makes a segment of its own, all are computed, then each is reviewed.

Drawing: the tool stays active, and the next box or line is another lesion. Reviewing: each lesion is shown in the
middle of all views, to be accepted, marked as doubtful or rejected.
"""

from __future__ import annotations

import csv
import enum
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.diameters import Diameters
from ..core.errors import GeometryError, MedSAMError, SessionError
from ..core.masks import PackedMask
from ..core.segment_object import SegmentObject
from ..core.translation import tr as _
from ..io.atomic import write_bytes
from .editing import Editing
from .enabled import reason
from .inputs import Inputs
from .ports import Tool
from .projector import Projector
from .propagation import Propagation
from .review import Review
from .segment_facts import measured_masks
from .segment_status import LESION_TAG, SegmentStatus, set_status, status_of
from .state import Action, Level, NetworkState, Topic
from .workspace import Workspace

_TOOLS = (Tool.BOX, Tool.LINE)
_MOMENT = 0.05  # seconds, so that changes which follow each other are one


class LesionStep(enum.Enum):
    """The step of the workflow."""

    OFF = "off"
    DRAWING = "drawing"
    REVIEWING = "reviewing"


class LesionState(str, enum.Enum):
    """The state of one lesion."""

    COMPUTING = "computing"
    NEW = "new"
    ACCEPTED = "accepted"
    DOUBTFUL = "doubtful"


@dataclass(frozen=True)
class Lesion:
    """One lesion of the list.

    Attributes:
        segment_id, name: of its segment.
        state: see :class:`LesionState`.
        milliliters: its volume.
        measured: on the slice where it is longest; None while it has no mask.
        center_ras: of the middle of the longest diameter, in the volume's own RAS, mm; None likewise.
    """

    segment_id: str
    name: str
    state: LesionState
    milliliters: float
    measured: Diameters | None
    center_ras: tuple[float, float, float] | None


class LesionWorkflow:
    """Draws, computes, shows and measures lesions.

    Attributes:
        step: whether lesions are being drawn, reviewed, or neither.
    """

    def __init__(
        self,
        work: Workspace,
        projector: Projector,
        editing: Editing,
        inputs: Inputs,
        runs: Propagation,
        review: Review,
    ) -> None:
        self._work, self._projector, self._editing, self._inputs = work, projector, editing, inputs
        self._runs, self._review = runs, review
        self.step = LesionStep.OFF
        self._tool = Tool.BOX
        self._drawn: str | None = None  # the segment that the active tool draws
        self._queue: list[int] = []  # objects to compute
        work.tool_left.connect(self._tool_left)
        work.observe(self._changed)
        inputs.session_ends.connect(self._forget)
        editing.prompts_changed.connect(self.prompts_changed)

    # ------------------------------------------------------------------------------------------------ drawing

    def draw(self, tool: Tool | None = None) -> None:
        """Take a tool, the box or the line, with which each drag makes a new segment from now on."""
        self._tool = tool if tool in _TOOLS else self._tool
        self._begin_next()
        self.step = LesionStep.DRAWING
        self._work.notify(Topic.TOOL)

    def stop(self) -> None:
        """End drawing or reviewing; what was drawn is still computed."""
        was, self.step = self.step, LesionStep.OFF
        if was is LesionStep.DRAWING and self._editing.placing is not None:
            self._editing.stop_placing()
        self._discard_empty()
        self._work.notify(Topic.TOOL, Topic.SEGMENTS)

    def prompts_changed(self, object_id: int) -> None:
        """Compute a lesion whose prompts were changed, once its preview is there."""
        segment_id = self._work.segment_of(object_id)
        if self.step is LesionStep.OFF or segment_id is None or not self._is_lesion(segment_id):
            return
        if object_id not in self._queue:
            self._queue.append(object_id)
        self._look_again()

    def _begin_next(self) -> None:
        """The tool goes on with a new lesion, or with the last one if that was not drawn yet."""
        work = self._work
        work.usable_volume()
        drawn = self._drawn
        if drawn is None or drawn not in work.segment_ids or self._has_prompts(drawn):
            drawn = self._drawn = self._inputs.add_segment(work.free_name(_("Lesion {number}")))
            assert work.masks is not None
            work.masks.set_tag(drawn, LESION_TAG, "1")
        self._inputs.select_segment(drawn)
        self._editing.start_placing(self._tool)

    def _tool_left(self, too_small: Tool | None) -> None:
        if self.step is LesionStep.DRAWING and too_small is None:
            self._work.poller.soon(self._go_on)

    def _go_on(self) -> None:
        """The tool is down: by a box or line that is complete, or because the user put it down."""
        if self.step is not LesionStep.DRAWING or self._editing.placing is not None:
            return
        try:
            if self._drawn is not None and self._has_prompts(self._drawn):
                self._begin_next()
            else:
                self.stop()
        except MedSAMError as error:
            self.step = LesionStep.OFF
            self._work.show_error(error)

    def _discard_empty(self) -> None:
        """Discard the lesion that the active tool was to draw, and did not."""
        drawn, self._drawn = self._drawn, None
        if drawn is not None and drawn in self._work.segment_ids and not self._has_prompts(drawn):
            self._inputs.discard_segment(drawn)

    # ------------------------------------------------------------------------------------------------ computing

    def _changed(self, topic: Topic) -> None:
        if topic is Topic.TOOL and self.step is LesionStep.DRAWING:
            placing = self._editing.placing
            if placing is not None and placing in _TOOLS:
                self._tool = placing
            else:
                self._work.poller.soon(self._go_on)
        if self._queue and topic in (Topic.MASKS, Topic.RUN, Topic.NETWORK):
            self._look_again()

    def _look_again(self) -> None:
        self._work.poller.schedule("lesions", _MOMENT, self._compute, restart=True)

    def _compute(self) -> None:
        """Start a run of all lesions whose previews are there, unless one is under way."""
        work = self._work
        if work.running is not None or work.network.state is not NetworkState.READY:
            return
        objects = [obj for obj in map(work.object, self._queue) if obj is not None and not obj.locked]
        due = work.due_objects(self._queue)
        ready = [obj for obj in due if obj.prompts and not obj.pending_previews()]
        self._queue = [obj.id for obj in objects if obj not in ready and obj.pending_previews()]
        if ready:
            try:
                self._runs.propagate_objects(tuple(obj.id for obj in ready))
            except MedSAMError as error:
                work.show_error(error)

    # ------------------------------------------------------------------------------------------------ reviewing

    def review(self, segment_id: str | None = None) -> None:
        """Show a lesion, the first one that is neither accepted nor doubtful unless one is named, in all views."""
        if self.step is LesionStep.DRAWING:
            self.stop()
        ids = self._ids()
        if not ids:
            raise SessionError(_("There is no lesion yet: draw a box or a line around one."))
        states = {each: self._state(each) for each in ids}
        new = [each for each in ids if states[each] in (LesionState.NEW, LesionState.COMPUTING)]
        self.step = LesionStep.REVIEWING
        self._show(segment_id if segment_id in ids else (new or ids)[0])

    def accept(self) -> None:
        """Accept all slices of this lesion, and go to the next one."""
        current = self._current()
        if self._state(current) is LesionState.COMPUTING:
            text = _(
                '"{segment}" is still being computed: wait until it is done, or review another one meanwhile.'
            )
            raise SessionError(text.format(segment=self._name(current)))
        self._accept(current)
        self._go_to_next(current)

    def doubt(self) -> None:
        """Mark this lesion as doubtful, and go to the next one."""
        current, masks = self._current(), self._work.masks
        assert masks is not None
        set_status(masks, current, SegmentStatus.FLAGGED)
        self._go_to_next(current)

    def reject(self) -> None:
        """Delete this lesion, and go to the next one; Undo brings it back."""
        current, masks = self._current(), self._work.masks
        assert masks is not None
        if self._work.is_locked(current):
            raise SessionError(
                _('"{segment}" is locked: unlock it first.').format(segment=self._name(current))
            )
        after = self._after(current)
        masks.remove(current)
        self._show_or_end(after)

    def accept_rest(self) -> None:
        """Accept all lesions that are neither accepted nor doubtful; those under way are left."""
        self._require_reviewing()
        left = 0
        for segment_id in self._ids():
            state = self._state(segment_id)
            left += state is LesionState.COMPUTING
            if state is LesionState.NEW:
                self._accept(segment_id)
        if left:
            text = _("{count} lesions are still being computed: accept them when they are finished.")
            self._work.show_message(text.format(count=left), Level.WARNING)
        else:
            self._end_review()

    def _accept(self, segment_id: str) -> None:
        self._inputs.select_segment(segment_id)
        if reason(self._work, Action.ACCEPT_ALL) is None:
            self._editing.accept_all()
        assert self._work.masks is not None
        set_status(self._work.masks, segment_id, SegmentStatus.COMPLETED)
        self._work.notify(Topic.SEGMENTS)

    def _current(self) -> str:
        """The lesion that is shown."""
        self._require_reviewing()
        selected = self._work.segment_id
        if selected is None or not self._is_lesion(selected):
            raise SessionError(_("Select a lesion in the list first."))
        return selected

    def _require_reviewing(self) -> None:
        if self.step is not LesionStep.REVIEWING:
            raise SessionError(_("Select a lesion in the list first."))

    def _after(self, segment_id: str) -> str | None:
        ids = self._ids()
        place = ids.index(segment_id) + 1
        return ids[place] if place < len(ids) else None

    def _go_to_next(self, current: str) -> None:
        self._show_or_end(self._after(current))

    def _show_or_end(self, segment_id: str | None) -> None:
        if segment_id is None:
            self._end_review()
        else:
            self._show(segment_id)

    def _end_review(self) -> None:
        self.step = LesionStep.OFF
        self._work.show_message(_("All lesions are reviewed."))
        self._work.notify(Topic.TOOL, Topic.SEGMENTS)

    def _show(self, segment_id: str) -> None:
        self._inputs.select_segment(segment_id)
        obj = self._work.selected_object
        if obj is not None and obj.axis is not None:
            found = self._measured(obj)
            index = next(iter(sorted(obj.key_slices)), 0) if found is None else found.index
            self._review.show_object(index)
        self._work.notify(Topic.TOOL, Topic.SEGMENTS)

    # ------------------------------------------------------------------------------------------------ the list

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """All lesions with a prompt or a mask, in the order of the table, measured now."""
        return tuple(self._lesion(segment_id) for segment_id in self._ids())

    @property
    def has_lesions(self) -> bool:
        """Return whether there is any."""
        return bool(self._ids())

    def save(self, path: Path) -> None:
        """Write the list as a CSV file. Raises OutputError naming the path."""
        write_bytes(path, self.csv_text().encode("utf-8"))

    def csv_text(self) -> str:
        """The list as text of a CSV file: one line a lesion, measures in mL and mm, the center in RAS mm."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            [
                "name",
                "state",
                "volume_ml",
                "longest_mm",
                "perpendicular_mm",
                "slice",
                "center_r",
                "center_a",
                "center_s",
            ]
        )
        for lesion in self.lesions:
            found, center = lesion.measured, lesion.center_ras
            measures = (
                ["", "", ""]
                if found is None
                else [f"{found.longest_mm:.1f}", f"{found.perpendicular_mm:.1f}", str(found.index)]
            )
            place = ["", "", ""] if center is None else [f"{value:.1f}" for value in center]
            row = [lesion.name, lesion.state.value, f"{lesion.milliliters:.6g}", *measures, *place]
            writer.writerow(row)
        return text.getvalue()

    def _lesion(self, segment_id: str) -> Lesion:
        work = self._work
        obj = work.object(work.object_ids.get(segment_id))
        assert obj is not None
        session = work.session
        assert session is not None
        geometry = session.geometry
        found, center, count = None, None, 0
        if obj.axis is not None:
            masks = self._masks(obj)
            count = sum(mask.count for mask in masks.values())
            found = measured_masks(masks, geometry, obj.axis)
        if found is not None and obj.axis is not None:
            middle = np.mean(found.ends, axis=0)
            r, a, s = geometry.slice_to_ras([middle], found.index, obj.axis)[0].tolist()
            center = (r, a, s)
        milliliters = geometry.voxel_milliliters * count
        return Lesion(segment_id, self._name(segment_id), self._state(segment_id), milliliters, found, center)

    def _measured(self, obj: SegmentObject) -> Diameters | None:
        assert obj.axis is not None
        assert self._work.session is not None
        return measured_masks(self._masks(obj), self._work.session.geometry, obj.axis)

    def _masks(self, obj: SegmentObject) -> dict[int, PackedMask]:
        """The masks of a lesion as its segment shows them, by slice."""
        try:
            return self._projector.shown_masks(obj)
        except GeometryError:  # the segmentation was moved: what the session has is all that is known
            return self._projector.masks_of(obj)

    def _ids(self) -> list[str]:
        return [each for each in self._work.segment_ids if self._is_lesion(each) and self._has_prompts(each)]

    def _is_lesion(self, segment_id: str) -> bool:
        masks = self._work.masks
        known = masks is not None and segment_id in masks.segment_ids()
        return known and masks is not None and masks.tag(segment_id, LESION_TAG) is not None

    def _has_prompts(self, segment_id: str) -> bool:
        obj = self._work.object(self._work.object_ids.get(segment_id))
        return obj is not None and bool(obj.prompts or obj.masks)

    def _name(self, segment_id: str) -> str:
        assert self._work.masks is not None
        return self._work.masks.name(segment_id)

    def _state(self, segment_id: str) -> LesionState:
        work = self._work
        obj = work.object(work.object_ids.get(segment_id))
        assert obj is not None
        assert work.masks is not None
        running = work.running is not None and obj.id in work.running
        if running or obj.id in self._queue or obj.pending_previews():
            return LesionState.COMPUTING
        if obj.masks and len(obj.kept_slices) == len(obj.masks):
            return LesionState.ACCEPTED
        flagged = status_of(work.masks, segment_id) is SegmentStatus.FLAGGED
        return LesionState.DOUBTFUL if flagged else LesionState.NEW

    def _forget(self) -> None:
        """The session ends."""
        self.step, self._drawn = LesionStep.OFF, None
        self._queue.clear()
