"""Lesions: drawing one after another, the list of all, and reviewing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..app.lesions import Lesion, LesionState, LesionStep
from ..app.state import Action, Topic
from ..core.geometry import volume_text
from .context import Context, SignalsBlocked
from .export import write_chosen

_MEASURE_MS = 300
"""How long after the last change lesions are measured again."""

_BUTTONS = (
    ("lesionAcceptButton", "Accept", "accept"),
    ("lesionDoubtButton", "NextDoubtful", "doubtful"),
    ("lesionRejectButton", "Delete", "reject"),
)


class LesionsSection:
    """The section.

    Args:
        context: of the panel.
        reveal: called with a widget that is to be scrolled to.
    """

    def __init__(self, context: Context, reveal: Callable[[Any], object]) -> None:
        self._context, self._reveal = context, reveal
        ui = context.ui
        context.set_up_button("drawLesionsButton", "Box", "lesions").connect("clicked()", self.next_step)
        steps = {"accept": self._accept, "doubtful": self._doubt, "reject": self._reject}
        for name, icon, action in _BUTTONS:
            context.set_up_button(name, icon, action).connect("clicked()", steps[action])
        context.set_up_button("lesionCsvButton", "Export").connect("clicked()", self.export_csv)
        ui.newSegmentBox.connect("toggled(bool)", self._new_segment_chosen)
        ui.lesionsTable.setHeaderLabels(
            [_("Lesion"), _("mL"), _("mm \N{MULTIPLICATION SIGN} mm"), _("State")]
        )
        ui.lesionsTable.connect("itemSelectionChanged()", self._selected)
        self._shown: tuple[Lesion, ...] = ()
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_MEASURE_MS)
        self._timer.connect("timeout()", self._measure)

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        lesions = self._context.controller.lesions
        button, step = self._context.ui.drawLesionsButton, lesions.step
        with SignalsBlocked(button):
            button.checked = step is LesionStep.DRAWING
        self._context.allow("drawLesionsButton", Action.ADD_SEGMENT)
        why = None if step is LesionStep.REVIEWING else _("Select a lesion in the list first.")
        for name, _icon, _action in _BUTTONS:
            self._context.allow_unless(name, why)
        none = None if lesions.has_lesions else _("There is no lesion yet.")
        self._context.allow_unless("lesionCsvButton", none)
        changed = topics & {Topic.INPUTS, Topic.SEGMENTS, Topic.MASKS, Topic.RUN, Topic.TOOL}
        if changed and not self._timer.active:  # not begun again: while slices stream in it would never end
            self._timer.start()

    def close(self) -> None:
        """See Section."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self._measure)
        self._context.ui.lesionsTable.disconnect("itemSelectionChanged()", self._selected)

    def _new_segment_chosen(self, on: bool) -> None:
        self._context.controller.editing.new_segment_per_click = bool(on)

    @property
    def is_reviewing(self) -> bool:
        """Return whether lesions are being reviewed, so that the keys act on the whole lesion."""
        return self._context.controller.lesions.step is LesionStep.REVIEWING

    def actions(self, otherwise: Mapping[str, Callable[[], object]]) -> Mapping[str, Callable[[], object]]:
        """Return what the shortcuts of this section do; `otherwise` is what they do when no lesion is reviewed."""

        def either(reviewing: Callable[[], None], action: str) -> Callable[[], None]:
            def act() -> None:
                (reviewing if self.is_reviewing else otherwise[action])()

            return act

        return {
            "lesions": self.next_step,
            "reject": self._reject,
            "accept": either(self._accept, "accept"),
            "doubtful": either(self._doubt, "doubtful"),
            "accept_all": either(self._accept_rest, "accept_all"),
        }

    def next_step(self) -> None:
        """Begin to draw lesions; the next time, review them one by one; then stop."""
        lesions, ui = self._context.controller.lesions, self._context.ui
        if lesions.step is LesionStep.OFF:
            if self._context.attempt(lesions.draw):
                ui.lesionsSection.collapsed = False
                self._reveal(ui.lesionRejectButton)
        elif lesions.step is LesionStep.DRAWING and (len(lesions.lesions) > 0):
            self._context.attempt(lesions.review)
            self._reveal(ui.lesionRejectButton)
        else:
            self._context.attempt(lesions.stop)

    def hint(self) -> str | None:
        """Return what to do next, while lesions are drawn or reviewed."""
        step = self._context.controller.lesions.step
        if step is LesionStep.DRAWING:
            return _("Draw a box or a line around each lesion; press Shift+L to review them one by one.")
        if step is LesionStep.REVIEWING:
            return _("A: accept this lesion, U: doubtful, Del: reject, Shift+A: accept all that are left.")
        return None

    def export_csv(self) -> None:
        """Ask for a name and write the list."""
        lesions = self._context.controller.lesions
        write_chosen(self._context, _("Table (*.csv)"), ".csv", lesions.save)

    def _accept(self) -> None:
        self._context.attempt(self._context.controller.lesions.accept)

    def _doubt(self) -> None:
        self._context.attempt(self._context.controller.lesions.doubt)

    def _reject(self) -> None:
        self._context.attempt(self._context.controller.lesions.reject)

    def _accept_rest(self) -> None:
        self._context.attempt(self._context.controller.lesions.accept_rest)

    def _selected(self) -> None:
        chosen = self._context.ui.lesionsTable.selectedItems()
        if not chosen:
            return
        place = int(self._context.ui.lesionsTable.indexOfTopLevelItem(chosen[0]))
        if 0 <= place < len(self._shown):
            segment_id = self._shown[place].segment_id
            self._context.attempt(lambda: self._context.controller.lesions.review(segment_id))

    def _measure(self) -> None:
        """List the lesions as they are now; called once nothing has changed for a moment."""
        ui, controller = self._context.ui, self._context.controller
        self._shown = controller.lesions.lesions
        table = ui.lesionsTable
        with SignalsBlocked(table):
            table.clear()
            for lesion in self._shown:
                item = qt.QTreeWidgetItem(table)
                for column, text in enumerate(_texts(lesion)):
                    item.setText(column, text)
                if self.is_reviewing and lesion.segment_id == controller.inputs.segment_id:
                    table.setCurrentItem(item)
        for column in range(4):
            table.resizeColumnToContents(column)
        ui.lesionsSection.text = (
            _("Lesions: {count}").format(count=len(self._shown)) if self._shown else _("Lesions")
        )


def _texts(lesion: Lesion) -> tuple[str, str, str, str]:
    """The cells of one lesion."""
    found = lesion.measured
    size = (
        ""
        if found is None
        else f"{found.longest_mm:.1f} \N{MULTIPLICATION SIGN} {found.perpendicular_mm:.1f}"
    )
    states = {
        LesionState.COMPUTING: _("computing"),
        LesionState.NEW: _("to review"),
        LesionState.ACCEPTED: _("accepted"),
        LesionState.DOUBTFUL: _("doubtful"),
    }
    return lesion.name, volume_text(lesion.milliliters), size, states[lesion.state]
