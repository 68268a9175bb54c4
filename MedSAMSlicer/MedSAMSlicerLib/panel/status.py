"""The message line: what to do next, or what went wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from ..app.verbs import Level, Message, NetworkState, SliceMark, Topic, Verb
from ..scene.placing import Tool
from .context import Context
from .install import Missing, missing, needed_sentence

if TYPE_CHECKING:
    from ..app.controller import Controller

_LOOKS = {
    Level.INFO: ("Information", "#2d7dd2"),
    Level.WARNING: ("Warning", "#d98200"),
    Level.ERROR: ("Error", "#d6403b"),
}

_READING_SECONDS = 8.0
"""A warning stays that long at least, unless the user does something else."""


class Status:
    """Shows the last message until the next step makes it old, then what to do next."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._told: Message | None = None
        self._told_at = ""
        self._told_when = 0.0
        self._told_after: tuple[int, str | None] = (0, None)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(round(1000 * _READING_SECONDS) + 100)
        self._timer.connect("timeout()", self._look_at_the_time)
        self._missing: Missing | None = None
        self._shown: tuple[str, Level] | None = None
        context.tell = self.tell
        ui = context.ui
        ui.offerButton.connect("clicked()", self._take_offer)
        ui.offerButton.setVisible(False)
        ui.installButton.setVisible(False)

    def tell(self, message: Message | None) -> None:
        """Show a message; None = what was told before is over."""
        self._told = message
        self._note()
        self._show()

    def look_again(self) -> None:
        """Find out anew what is installed."""
        self._missing = None
        self._show()

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        controller = self._context.controller
        if Topic.MESSAGE in topics and controller.message is not None:
            self._told = controller.message
            self._note()
        elif self._is_old():
            self._told = None
        self._show()

    def close(self) -> None:
        """See Section."""
        self._context.tell = lambda message: None
        self._timer.stop()

    @property
    def missing(self) -> Missing:
        """What has to be installed before the network can run."""
        if self._missing is None:
            self._missing = missing()
        return self._missing

    def _note(self) -> None:
        """Remember when and where the user was told something."""
        self._told_at, self._told_when = self._hint(), time.monotonic()
        self._told_after = self._context.controller.steps
        if self._told is not None:  # the message line may be scrolled out of sight
            slicer.util.showStatusMessage(self._told.text, round(1000 * _READING_SECONDS))
        self._timer.start()

    def _look_at_the_time(self) -> None:
        if self._is_old():
            self._told = None
            self._show()

    def _is_old(self) -> bool:
        """Whether what was told can go: the user went on, or there is a next step and there was time to read."""
        told = self._told
        if told is None or told.offer is not None:
            return False
        if self._context.controller.steps != self._told_after:
            return True
        if self._hint() == self._told_at:
            return False
        return told.level is Level.INFO or time.monotonic() - self._told_when > _READING_SECONDS

    def _hint(self) -> str:
        controller = self._context.controller
        if controller.network_state is NetworkState.NOT_INSTALLED or self.missing:
            return needed_sentence(self.missing)
        if controller.volume_node is not None and not controller.busy:
            in_hand = self._context.tool_hint()
            if in_hand is not None:
                return in_hand
        return next_step(controller)

    def _show(self) -> None:
        ui, told = self._context.ui, self._told
        text, level = (told.text, told.level) if told is not None else (self._hint(), Level.INFO)
        offer = told.offer if told is not None else None
        ui.offerButton.setVisible(bool(offer))
        if offer:
            ui.offerButton.text = offer
        ui.installButton.setVisible(bool(self.missing))
        if (text, level) == self._shown:
            return
        self._shown = (text, level)
        icon, color = _LOOKS[level]
        ui.messageLabel.text = text
        ui.messageIcon.setPixmap(self._context.icon(icon).pixmap(20, 20))
        ui.messageFrame.setStyleSheet(
            "#messageFrame { border: 1px solid palette(mid); border-left: 4px solid "
            f"{color}; border-radius: 3px; background: palette(base); }}"
        )

    def _take_offer(self) -> None:
        self._told = None
        self._context.attempt(self._context.controller.take_offer)


def next_step(controller: Controller) -> str:
    """One sentence: what the user does next."""
    if controller.volume_node is None:
        return _("Pick a volume.")
    if controller.network_failure:
        return controller.network_failure
    if controller.busy:
        return _("Watch the mask grow. Cancel leaves the segment as it was before.")
    if controller.placing is not None:
        return _placing_step(controller.placing)
    marks = {state.state for state in controller.slices}
    if controller.changes_shown:
        return _("Green was added, magenta was removed: keep the changes or revert them.")
    if not marks & {SliceMark.PROMPTED, SliceMark.PREDICTED, SliceMark.ACCEPTED, SliceMark.EDITED}:
        return _("Choose a prompt tool and click on the organ in a slice view.")
    if controller.reason(Verb.PROPAGATE) is None:
        if marks & {SliceMark.PREDICTED}:
            return _(
                "Correct further, or press Propagate: only the gap beside the correction is computed again."
            )
        return _("Add points until the mask is right on this slice, then press Propagate.")
    if controller.network_state is NetworkState.PREPARING:
        return _("The network is being prepared; go on meanwhile.")
    return _("Look at the doubtful slices. A new box corrects most, a point a detail. Then accept or export.")


def _placing_step(tool: Tool) -> str:
    """What to click with a tool in hand."""
    sentences = {
        Tool.POINT_POSITIVE: _("Click on the organ in a slice view; press the button again to stop."),
        Tool.POINT_NEGATIVE: _("Click where the mask must not be; press the button again to stop."),
        Tool.BOX: _("Click two opposite corners of a box around the organ on one slice."),
        Tool.LINE: _("Click both ends of the organ's longest diameter on one slice."),
    }
    return sentences[tool]
