"""Suggestions: what the network finds on a slice by itself, as segments to accept or reject."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from ..app.proposing import Candidate
from ..app.state import Action, Topic
from .context import Context, SignalsBlocked

_BUTTONS = (
    ("suggestionAcceptButton", "Accept"),
    ("suggestionRejectButton", "Delete"),
    ("rejectRestButton", "Delete"),
)


class SuggestionsSection:
    """The section."""

    def __init__(self, context: Context) -> None:
        self._context = context
        ui, steps = context.ui, (self.accept, self.reject, self.reject_rest)
        context.set_up_button("suggestButton", "Suggest").connect("clicked()", self.suggest)
        for (name, icon), step in zip(_BUTTONS, steps, strict=True):
            context.set_up_button(name, icon).connect("clicked()", step)
        ui.suggestionsTable.setHeaderLabels([_("Suggestion"), _("mm\N{SUPERSCRIPT TWO}"), _("Certainty")])
        ui.suggestionsTable.connect("itemSelectionChanged()", self._selected)
        self._shown: tuple[Candidate, ...] = ()

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        controller = self._context.controller
        if topics & {Topic.INPUTS, Topic.SEGMENTS, Topic.RUN}:
            self._list(controller.proposing.candidates)
        self._context.allow("suggestButton", Action.SUGGEST)
        left = None if self._shown else _("There is no suggestion: ask for some first.")
        chosen = None if self._chosen is not None else _("Select a suggestion in the list first.")
        for name in ("suggestionAcceptButton", "suggestionRejectButton"):
            self._context.allow_unless(name, left or chosen)
        self._context.allow_unless("rejectRestButton", left)

    def close(self) -> None:
        """See Section."""
        self._context.ui.suggestionsTable.disconnect("itemSelectionChanged()", self._selected)

    def suggest(self) -> None:
        """Search the slice in view."""
        self._context.attempt(self._context.controller.proposing.suggest)

    def accept(self) -> None:
        """Keep the suggestion that is selected as a segment."""
        chosen = self._chosen
        if chosen is not None:
            self._context.attempt(lambda: self._context.controller.proposing.accept(chosen.segment_id))

    def reject(self) -> None:
        """Delete the suggestion that is selected."""
        chosen = self._chosen
        if chosen is not None:
            self._context.attempt(lambda: self._context.controller.proposing.reject(chosen.segment_id))

    def reject_rest(self) -> None:
        """Delete all suggestions that were not accepted."""
        self._context.attempt(self._context.controller.proposing.reject_rest)

    @property
    def _chosen(self) -> Candidate | None:
        """The suggestion whose segment is selected."""
        selected = self._context.controller.inputs.segment_id
        return next((each for each in self._shown if each.segment_id == selected), None)

    def _list(self, candidates: tuple[Candidate, ...]) -> None:
        ui, selected = self._context.ui, self._context.controller.inputs.segment_id
        table, self._shown = ui.suggestionsTable, candidates
        with SignalsBlocked(table):
            table.clear()
            for each in candidates:
                item = qt.QTreeWidgetItem(table)
                for column, text in enumerate(
                    (each.name, f"{each.area_mm2:.0f}", f"{100 * each.certainty:.0f} %")
                ):
                    item.setText(column, text)
                if each.segment_id == selected:
                    table.setCurrentItem(item)
        for column in range(3):
            table.resizeColumnToContents(column)
        ui.suggestionsSection.text = (
            _("Suggestions: {count}").format(count=len(candidates)) if candidates else _("Suggestions")
        )

    def _selected(self) -> None:
        chosen = self._context.ui.suggestionsTable.selectedItems()
        place = int(self._context.ui.suggestionsTable.indexOfTopLevelItem(chosen[0])) if chosen else -1
        if 0 <= place < len(self._shown):
            segment_id = self._shown[place].segment_id
            self._context.attempt(lambda: self._context.controller.inputs.select_segment(segment_id))
