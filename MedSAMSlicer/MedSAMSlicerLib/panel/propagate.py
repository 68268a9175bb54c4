"""Propagate: the primary button, what it will take, range, progress and Cancel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import slicer
from slicer.i18n import tr as _

from ..app.growing import LIVE_SECONDS
from ..app.state import Action, NetworkState, RunEstimate, Topic
from .context import Context, SignalsBlocked

if TYPE_CHECKING:
    from ..app.carrying import Carrying
    from ..app.growing import Growing
    from ..app.propagation import Propagation
    from ..app.proposing import Proposing
    from ..app.scoring import Scoring


class PropagateSection:
    """The section."""

    def __init__(self, context: Context) -> None:
        self._context = context
        ui = context.ui
        self._asked: tuple[object, ...] | None = None
        self._canceling = False  # the run ends once the slice under way is done
        context.set_up_button("propagateButton", "Propagate", "propagate").connect(
            "clicked()", self.propagate
        )
        context.set_up_button("cancelButton", "Cancel", "cancel").connect("clicked()", self.cancel)
        ui.cancelButton.setVisible(False)
        ui.progressBar.setVisible(False)
        ui.rangeBox.connect("toggled(bool)", self._range_toggled)
        ui.rangeWidget.connect("valuesChanged(double,double)", self._range_chosen)
        for box in slicer.util.findChildren(ui.rangeWidget):
            if hasattr(box, "setKeyboardTracking"):
                box.setKeyboardTracking(False)  # a number counts when it is complete: masks beyond it go
        ui.liveBox.checked = context.controller.growing.on = context.settings.live
        ui.liveBox.connect("toggled(bool)", self._live_toggled)
        ui.allSegmentsBox.connect("toggled(bool)", self._all_toggled)

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        ui, controller = self._context.ui, self._context.controller
        action = Action.PROPAGATE_ALL if ui.allSegmentsBox.checked else Action.PROPAGATE
        self._context.allow("propagateButton", action)
        self._context.allow("cancelButton", Action.CANCEL)
        several = len(controller.inputs.segment_ids) > 1
        one = controller.editing.is_one_slice
        ui.propagateSection.setVisible(not one or controller.inputs.times.shown is not None)
        for widget in (ui.rangeBox, ui.rangeWidget, ui.liveBox):
            widget.setVisible(not one)
        ui.allSegmentsBox.setVisible(several or bool(ui.allSegmentsBox.checked))
        self._show_progress()
        if topics & {Topic.INPUTS, Topic.SEGMENTS, Topic.PROMPTS, Topic.HISTORY}:
            self._show_range()
        self._show_estimate(action)

    def close(self) -> None:
        """See Section."""

    def actions(self) -> Mapping[str, Callable[[], object]]:
        """Return what the shortcuts of this section do."""
        return {
            "propagate": self.propagate,
            "cancel": self.cancel,
            "range_first": lambda: self._set_range_end(first=True),
            "range_last": lambda: self._set_range_end(first=False),
        }

    def propagate(self) -> None:
        """Start a propagation."""
        every = bool(self._context.ui.allSegmentsBox.checked)
        self._context.attempt(lambda: self._context.controller.runs.propagate(all_segments=every))

    def cancel(self) -> None:
        """End what is under way: masks carried through time, the propagation, or else the review."""
        self._canceling = self._context.attempt(self._active().cancel)
        self._show_progress()

    def _active(self) -> Carrying | Propagation | Scoring | Proposing:
        """The task that Cancel would end; the propagation if nothing is running."""
        controller = self._context.controller
        if controller.carrying.busy:
            return controller.carrying
        if controller.proposing.busy:
            return controller.proposing
        return controller.runs if controller.runs.busy or not controller.scoring.busy else controller.scoring

    # ------------------------------------------------------------------------------------------------------- range

    def _range_toggled(self, on: bool) -> None:
        editing = self._context.controller.editing
        self._context.attempt(editing.begin_range if on else editing.clear_range)
        self._show_range()

    def _range_chosen(self, first: float, last: float) -> None:
        controller = self._context.controller
        chosen = round(first), round(last)
        if controller.editing.slice_range not in (None, chosen):
            self._context.attempt(lambda: controller.editing.set_range(*chosen))

    def _set_range_end(self, first: bool) -> None:
        self._context.attempt(lambda: self._context.controller.editing.set_range_end(first))

    def _show_range(self) -> None:
        ui, controller = self._context.ui, self._context.controller
        reason = controller.reason(Action.SET_RANGE)
        slice_range = controller.editing.slice_range
        self._context.allow_unless(
            "rangeBox", reason if slice_range is None else controller.reason(Action.CLEAR_RANGE)
        )
        self._context.allow_unless(
            "rangeWidget", reason or (None if slice_range else _("Check the box to choose slices."))
        )
        with SignalsBlocked(ui.rangeBox, ui.rangeWidget):
            ui.rangeBox.checked = slice_range is not None
            if controller.editing.axis is not None and controller.inputs.geometry is not None:
                last = controller.inputs.geometry.slice_count(controller.editing.axis) - 1
                ui.rangeWidget.setRange(0, last)
                ui.rangeWidget.setValues(*(slice_range or (0, last)))

    def _live_toggled(self, on: bool) -> None:
        self._context.settings.live = bool(on)
        self._context.controller.growing.switch(bool(on))
        self.refresh(frozenset())

    def _all_toggled(self, _on: bool) -> None:
        self.refresh(frozenset())

    # ----------------------------------------------------------------------------------------- progress and estimate

    def _show_progress(self) -> None:
        ui, controller = self._context.ui, self._context.controller
        active = self._active()
        progress, busy = active.progress, active.busy
        self._canceling = self._canceling and busy
        ui.cancelButton.text = _("Canceling...") if self._canceling else _("Cancel")
        if self._canceling:
            ui.cancelButton.enabled = False
        ui.progressBar.setVisible(busy)
        shown = not busy and not controller.editing.is_one_slice
        ui.estimateLabel.setVisible(shown)
        ui.cancelButton.setVisible(busy)
        ui.propagateButton.setVisible(shown)  # no room for both; its shortcut goes on working in a review
        if not busy:
            return
        if progress is None:
            ui.progressBar.setRange(0, 0)
            ui.progressBar.setFormat("")
            return
        ui.progressBar.setRange(0, max(1, progress.total))
        ui.progressBar.setValue(progress.done)
        if active is controller.carrying or active is controller.proposing:
            ui.progressBar.setFormat(progress.text)
            return
        text = _("{done} of {total} slices").format(done=progress.done, total=progress.total)
        if progress.seconds_left is not None:
            text = _("{slices}, {time} left").format(slices=text, time=in_words(progress.seconds_left))
        ui.progressBar.setFormat(text if progress.done else progress.text)

    def _show_estimate(self, action: Action) -> None:
        """Return what the run will take; asked for once for each state in which one is possible."""
        ui, controller = self._context.ui, self._context.controller
        if controller.runs.busy or controller.carrying.busy:
            return
        if controller.reason(action) is not None or controller.network.state is not NetworkState.READY:
            self._asked = None
            ui.estimateLabel.text = live_text(controller.growing)
            return
        state = (
            controller.inputs.segment_id,
            controller.editing.slice_range,
            controller.network.checkpoint,
            controller.history.undo_label,
        )
        if self._asked != state and controller.reason(Action.ESTIMATE) is None:
            self._asked = state
            self._context.controller.runs.estimate()
        found = controller.runs.run_estimate
        text = "" if found is None else estimate_text(found)
        if found is not None and controller.growing.on and found.seconds > LIVE_SECONDS:
            text = _("{estimate}: too long for Live, press Propagate").format(estimate=text)
        ui.estimateLabel.text = text


def live_text(growing: Growing) -> str:
    """Return whether the mask grows by itself on this computer, and why; "" where the user does not want that."""
    if not growing.on:
        return ""
    found = growing.expected
    if found is None:
        limit = in_words(LIVE_SECONDS)
        return _("Live: propagates by itself if that takes at most {limit} on this computer").format(
            limit=limit
        )
    expected = _("about {time} for {count} slices").format(time=in_words(found.seconds), count=found.slices)
    text = (
        _("Not live, this takes {expected}: press Propagate") if growing.held_back else _("Live: {expected}")
    )
    return text.format(expected=expected)


def estimate_text(estimate: RunEstimate) -> str:
    """Time and memory of a run in words."""
    text = _("About {time} and {memory} for {count} slices").format(
        time=in_words(estimate.seconds), memory=_bytes(estimate.peak_bytes), count=estimate.slices
    )
    if estimate.free_bytes is not None and estimate.peak_bytes > estimate.free_bytes:
        return _("{text}, but only {free} are free: choose fewer slices or a smaller model").format(
            text=text, free=_bytes(estimate.free_bytes)
        )
    return text


def in_words(seconds: float) -> str:
    """A time in words, rounded."""
    if seconds < 90:
        return _("{count} s").format(count=max(1, round(seconds)))
    if seconds < 90 * 60:
        return _("{count} min").format(count=round(seconds / 60))
    return _("{count:.1f} h").format(count=seconds / 3600)


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
