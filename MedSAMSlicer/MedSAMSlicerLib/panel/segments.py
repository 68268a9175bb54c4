"""Segments: Slicer's own table, and what concerns one segment."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ..app.segment_facts import SegmentFact
from ..app.state import Action, Topic
from ..core.cleanups import Cleanup
from ..core.diameters import Diameters
from ..core.geometry import volume_text
from ..scene.terminologies import known_terms
from .context import Context, SignalsBlocked

_COUNT_MS = 300
"""How long after the last change voxels are counted, which reads all labelmaps."""

_ROW_HEIGHT, _FRAME_HEIGHT, _MOST_ROWS = 28, 10, 5

_CLEANUPS = ("keepPromptedBox", "fillHolesBox", "smoothBox")


class SegmentsSection:
    """The section."""

    def __init__(self, context: Context) -> None:
        self._context = context
        ui = context.ui
        context.set_up_button("addSegmentButton", "Add").connect("clicked()", self.add)
        terms = known_terms()
        self._terms = {name.lower(): entry for name, entry in terms.items()}
        completer = qt.QCompleter(sorted(terms), ui.segmentNameEdit)
        completer.setCaseSensitivity(qt.Qt.CaseInsensitive)
        completer.setFilterMode(qt.Qt.MatchContains)
        ui.segmentNameEdit.setCompleter(completer)
        ui.segmentNameEdit.connect("returnPressed()", self.add)
        context.set_up_button("deleteSegmentButton", "Delete").connect("clicked()", self.delete)
        context.set_up_button("lockButton", "Lock").connect("clicked(bool)", self.set_locked)
        context.set_up_button("editorButton", "CurrentMask").connect("clicked()", self.continue_in_editor)
        context.set_up_button("statisticsButton", "Statistics").connect("clicked()", self.open_statistics)
        ui.segmentsTable.connect("selectionChanged(QItemSelection,QItemSelection)", self._selected)
        for text, policy in (
            (_("New masks stop at visible segments"), "stop"),
            (_("Allow overlap"), "none"),
            (_("Overwrite visible segments"), "visible"),
            (_("Overwrite all segments"), "all"),
        ):
            ui.overlapSelector.addItem(text, policy)
        ui.overlapSelector.connect("currentIndexChanged(int)", self._overlap_chosen)
        for name in _CLEANUPS:
            getattr(ui, name).connect("toggled(bool)", self._cleanup_chosen)
        ui.cleanupBox.connect("toggled(bool)", self._cleanup_switched)
        self._fact: SegmentFact | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_COUNT_MS)
        self._timer.connect("timeout()", self._count)

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        if not topics & {Topic.INPUTS, Topic.SEGMENTS, Topic.PROMPTS, Topic.MASKS, Topic.RUN}:
            return
        ui, controller = self._context.ui, self._context.controller
        segment_id = controller.inputs.segment_id
        if topics & {Topic.INPUTS, Topic.SEGMENTS}:
            self._show_selection()
        self._context.allow("addSegmentButton", Action.ADD_SEGMENT)
        self._context.allow("segmentNameEdit", Action.ADD_SEGMENT)
        none = None if segment_id else _("Select a segment first.")
        locked = segment_id is not None and controller.editing.is_locked(segment_id)
        self._context.allow_unless("deleteSegmentButton", none or (_("It is locked.") if locked else None))
        self._context.allow_unless("editorButton", none)
        self._context.allow_unless("lockButton", none or controller.reason(Action.LOCK))
        self._context.allow_unless("statisticsButton", self._why_no_statistics())
        with SignalsBlocked(
            ui.lockButton,
            ui.overlapSelector,
            ui.cleanupBox,
            *(getattr(ui, name) for name in _CLEANUPS),
        ):
            ui.lockButton.checked = locked
            ui.lockButton.text = _("Locked") if locked else _("Lock")
            position = ui.overlapSelector.findData(controller.network.overlap)
            ui.overlapSelector.setCurrentIndex(max(0, position))
            cleanup = controller.editing.cleanup(segment_id) if segment_id else Cleanup()
            ui.cleanupBox.checked = cleanup.is_on
            ui.keepPromptedBox.checked = cleanup.keep_prompted
            ui.fillHolesBox.checked = cleanup.fill_holes
            ui.smoothBox.checked = cleanup.smooth
        reason = none or controller.reason(Action.CLEANUP)
        for name in ("cleanupBox", *_CLEANUPS):
            self._context.allow_unless(name, reason)
        ui.segmentStateLabel.text = self._about_segment(segment_id)
        if topics & {Topic.INPUTS, Topic.SEGMENTS, Topic.MASKS}:
            self._timer.start()

    def close(self) -> None:
        """See Section."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self._count)
        table = self._context.ui.segmentsTable
        table.disconnect("selectionChanged(QItemSelection,QItemSelection)", self._selected)

    def add(self) -> None:
        """Add an empty segment, of the name that was typed; a name of Slicer's terminology says what it is, too."""
        edit, controller = self._context.ui.segmentNameEdit, self._context.controller
        name = str(edit.text).strip()
        term = self._terms.get(name.lower())
        if self._context.attempt(lambda: controller.inputs.add_segment(name or None, term)):
            edit.text = ""
            edit.clearFocus()  # the next letters are shortcuts again

    def delete(self) -> None:
        """Delete the selected segment, as the table's own menu and Segment Editor do."""
        controller = self._context.controller
        segmentation, segment_id = controller.inputs.segmentation_node, controller.inputs.segment_id
        if segmentation is not None and segment_id and not controller.editing.is_locked(segment_id):
            self._context.attempt(lambda: segmentation.GetSegmentation().RemoveSegment(segment_id))

    def set_locked(self, locked: bool) -> None:
        """Lock the selected segment, or unlock it."""
        controller, segment_id = self._context.controller, self._context.controller.inputs.segment_id
        if segment_id:
            self._context.attempt(lambda: controller.editing.set_locked(segment_id, bool(locked)))

    def continue_in_editor(self) -> None:
        """Open Segment Editor with the volume, the segmentation and the segment that are chosen here."""
        controller = self._context.controller
        editor = slicer.util.getModuleWidget("SegmentEditor").editor
        editor.setSegmentationNode(controller.inputs.segmentation_node)
        editor.setSourceVolumeNode(controller.inputs.volume_node)
        editor.setCurrentSegmentID(controller.inputs.segment_id)
        slicer.util.selectModule("SegmentEditor")

    def open_statistics(self) -> None:
        """Open Slicer's module Segment Statistics with the segmentation and the volume that are chosen here."""
        inputs = self._context.controller.inputs
        statistics = slicer.util.getModuleWidget("SegmentStatistics")
        slicer.util.selectModule("SegmentStatistics")
        statistics.segmentationSelector.setCurrentNode(inputs.segmentation_node)
        statistics.scalarSelector.setCurrentNode(inputs.volume_node)

    def _why_no_statistics(self) -> str | None:
        if not hasattr(slicer.modules, "segmentstatistics"):
            return _("The module Segment Statistics is not available here.")
        return None if self._context.controller.inputs.segment_ids else _("There is no segment yet.")

    def _count(self) -> None:
        """Nothing has changed for a moment: count voxels, unless masks are streaming in."""
        controller = self._context.controller
        if controller.runs.busy:
            self._timer.start()
            return
        self._fact = controller.review.measure()
        self._context.ui.segmentStateLabel.text = self._about_segment(controller.inputs.segment_id)

    def _about_segment(self, segment_id: str | None) -> str:
        """Prompts, slices and volume of the selected segment: prompts and slices, diameters, volume, overlaps."""
        controller = self._context.controller
        state, fact = controller.editing.segment_states.get(segment_id or "", ""), self._fact
        parts = [state] if state else []
        if fact is not None and fact.segment_id == segment_id and fact.milliliters:
            if fact.measured is not None:
                parts.append(_diameters(fact.measured))
            parts.append(_milliliters(fact.milliliters))
            parts += [
                _("{volume} of it also in {segment}").format(volume=_milliliters(volume), segment=name)
                for name, volume in fact.shared.items()
            ]
        return ", ".join(parts)

    def _selected(self, *_selections: object) -> None:
        controller = self._context.controller
        chosen = list(self._context.ui.segmentsTable.selectedSegmentIDs())
        if len(chosen) == 1 and chosen[0] != controller.inputs.segment_id:
            self._context.attempt(lambda: controller.inputs.select_segment(chosen[0]))

    def _overlap_chosen(self, _index: int) -> None:
        policy = str(self._context.ui.overlapSelector.currentData)
        self._context.attempt(lambda: self._context.controller.network.set_overlap(policy))

    def _cleanup_switched(self, on: bool) -> None:
        """All of the clean-up at once: the usual one, or none."""
        controller, segment_id = self._context.controller, self._context.controller.inputs.segment_id
        if segment_id is not None:
            wanted = Cleanup.usual() if on else Cleanup()
            self._context.attempt(lambda: controller.editing.set_cleanup(segment_id, wanted))

    def _cleanup_chosen(self, _on: bool) -> None:
        ui, controller = self._context.ui, self._context.controller
        segment_id = controller.inputs.segment_id
        if segment_id is None:
            return
        wanted = Cleanup(
            keep_prompted=bool(ui.keepPromptedBox.checked),
            fill_holes=bool(ui.fillHolesBox.checked),
            smooth=bool(ui.smoothBox.checked),
        )
        self._context.attempt(lambda: controller.editing.set_cleanup(segment_id, wanted))

    def _show_selection(self) -> None:
        table, controller = self._context.ui.segmentsTable, self._context.controller
        table.minimumHeight = table.maximumHeight = _height(len(controller.inputs.segment_ids))
        with SignalsBlocked(table):
            table.setSegmentationNode(controller.inputs.segmentation_node)
            self._context.ui.surfaceButton.setSegmentationNode(controller.inputs.segmentation_node)
            wanted = [controller.inputs.segment_id] if controller.inputs.segment_id else []
            if list(table.selectedSegmentIDs()) != wanted:
                table.setSelectedSegmentIDs(wanted)


def _height(rows: int) -> int:
    """The height of the table in pixels: as tall as its rows, up to a few, which can then be scrolled."""
    return _ROW_HEIGHT * min(max(rows, 1), _MOST_ROWS) + _FRAME_HEIGHT


def _diameters(found: Diameters) -> str:
    """The longest diameter and the one perpendicular to it, as radiologists write them."""
    both = found.longest_mm, found.perpendicular_mm
    longest, across = (f"{each:.0f}" if each >= 10 else f"{each:.1f}" for each in both)
    return _("{longest} × {across} mm").format(longest=longest, across=across)


def _milliliters(volume: float) -> str:
    return _("{volume} mL").format(volume=volume_text(volume))
