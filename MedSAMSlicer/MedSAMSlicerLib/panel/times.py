"""Time points of a sequence: which one is shown, and masks that are carried to others."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..app.state import Action, Topic
from .context import Context


class TimesSection:
    """The part of the section Propagate that is there for volumes of a sequence."""

    def __init__(self, context: Context) -> None:
        self._context = context
        ui = context.ui
        ui.carryNextButton.connect("clicked()", self._carry_next)
        ui.carryAllButton.connect("clicked()", self._carry_all)

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        ui, controller = self._context.ui, self._context.controller
        shown = controller.inputs.times.shown
        ui.timeFrame.setVisible(shown is not None)
        if shown is None:
            return
        place = _("Time point {number} of {count}: {text}")
        ui.timeLabel.text = place.format(number=shown.number + 1, count=shown.count, text=shown.text)
        self._context.allow("carryNextButton", Action.CARRY_NEXT)
        self._context.allow("carryAllButton", Action.CARRY_ALL)

    def close(self) -> None:
        """See Section."""

    def _carry_next(self) -> None:
        self._carry(all_times=False)

    def _carry_all(self) -> None:
        self._carry(all_times=True)

    def _carry(self, all_times: bool) -> None:
        ui, carrying = self._context.ui, self._context.controller.carrying
        every_slice, all_segments = bool(ui.everySliceBox.checked), bool(ui.allSegmentsBox.checked)
        self._context.attempt(lambda: carrying.carry(all_times, every_slice, all_segments))
