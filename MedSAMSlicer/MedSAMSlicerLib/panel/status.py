"""The message line: what to do next, or what went wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from ..app.state import Action, Level, Message, NetworkState, SliceMark, Topic
from ..scene.sample_data import load_generated
from .context import Connections, Context
from .install import Missing, missing, needed_sentence
from .prompts import placing_hint

if TYPE_CHECKING:
    from ..app.controller import Controller

_ICONS = {Level.INFO: "Information", Level.WARNING: "Warning", Level.ERROR: "Error"}

_READING_SECONDS = 8.0
"""A warning stays that long at least, unless the user does something else."""


class StatusSection:
    """Shows the last message until the next step makes it old, then what to do next.

    Args:
        context: what the sections share.
        tool_hint: returns what to do with the active tool; None where there is nothing to say.
        lesion_hint: the same while lesions are drawn or reviewed, also while masks are computed.
    """

    def __init__(
        self, context: Context, tool_hint: Callable[[], str | None], lesion_hint: Callable[[], str | None]
    ) -> None:
        self._context, self._tool_hint, self._lesion_hint = context, tool_hint, lesion_hint
        self._message: Message | None = None
        self._hint_then = ""
        self._shown_at = 0.0
        self._closed = False
        self._steps_then: tuple[int, str | None] = (0, None)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(round(1000 * _READING_SECONDS) + 100)
        self._timer.connect("timeout()", self._look_at_the_time)
        self._missing: Missing | None = None
        self._shown: tuple[str, Level] | None = None
        self._disconnect = context.message_given.connect(self.show_message)
        ui = context.ui
        ui.offerButton.connect("clicked()", self._take_offer)
        ui.offerButton.setVisible(False)
        context.set_up_button("loadButton", "Import").connect("clicked()", self._load)
        context.set_up_button("sampleButton", "Sample").connect("clicked()", self._draw_sample)
        self._connections = Connections(
            *(
                (ui.volumeSelector, f"{signal}(vtkMRMLNode*)", self._volumes_changed)
                for signal in ("nodeAdded", "nodeAboutToBeRemoved")
            )
        )
        ui.installButton.setVisible(False)

    def show_message(self, message: Message | None) -> None:
        """Show a message; None = what was shown before is over."""
        self._message = message
        self._note()
        self._show()

    def check_again(self) -> None:
        """Check again what is installed."""
        self._missing = None
        self._show()

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        controller = self._context.controller
        if Topic.MESSAGE in topics and controller.message is not None:
            self._message = controller.message
            self._note()
        elif self._is_old():
            self._message = None
        self._show()

    def close(self) -> None:
        """See Section."""
        self._disconnect()
        self._closed = True
        self._connections.close()
        self._timer.stop()
        self._timer.disconnect(
            "timeout()", self._look_at_the_time
        )  # which keeps this object, and with it all

    @property
    def missing(self) -> Missing:
        """Return what has to be installed before the network can run."""
        if self._missing is None:
            self._missing = missing()
        return self._missing

    def _note(self) -> None:
        """Remember when and where the user was shown something."""
        self._hint_then, self._shown_at = self._hint(), time.monotonic()
        self._steps_then = self._context.controller.history.steps
        if self._message is not None:  # the message line may be scrolled out of sight
            slicer.util.showStatusMessage(self._message.text, round(1000 * _READING_SECONDS))
        self._timer.start()

    def _look_at_the_time(self) -> None:
        if self._is_old():
            self._message = None
            self._show()

    def _is_old(self) -> bool:
        """Return whether the message can go: the user went on, or there is a next step and there was time to read."""
        message = self._message
        if message is None or message.offer is not None:
            return False
        if self._context.controller.history.steps != self._steps_then:
            return True
        if self._hint() == self._hint_then:
            return False
        return message.level is Level.INFO or time.monotonic() - self._shown_at > _READING_SECONDS

    def _hint(self) -> str:
        controller = self._context.controller
        if controller.network.state is NetworkState.NOT_INSTALLED or self.missing:
            return needed_sentence(self.missing)
        about_lesions = self._lesion_hint()
        if about_lesions is not None:
            return about_lesions
        if controller.inputs.volume_node is not None and not controller.runs.busy:
            about_tool = self._tool_hint()
            if about_tool is not None:
                return about_tool
        if self._is_empty:
            return _("Load a CT or MR volume, or try the module on the sample.")
        return next_step(controller)

    @property
    def _is_empty(self) -> bool:
        """Return whether there is no volume to choose."""
        return (
            self._context.controller.inputs.volume_node is None
            and not self._context.ui.volumeSelector.nodeCount()
        )

    def _show(self) -> None:
        ui, message = self._context.ui, self._message
        text, level = (message.text, message.level) if message is not None else (self._hint(), Level.INFO)
        offer = message.offer if message is not None else None
        ui.offerButton.setVisible(bool(offer))
        if offer:
            ui.offerButton.text = offer
        ui.installButton.setVisible(bool(self.missing))
        for button in (ui.loadButton, ui.sampleButton):
            button.setVisible(self._is_empty and not offer and not self.missing)
        if (text, level) == self._shown:
            return
        self._shown = (text, level)
        ui.messageLabel.text = text
        ui.messageIcon.setPixmap(self._context.icon(_ICONS[level]).pixmap(20, 20))

    def _take_offer(self) -> None:
        self._message = None
        self._context.attempt(self._context.controller.take_offer)

    def _load(self) -> None:
        slicer.util.openAddDataDialog()

    def _draw_sample(self) -> None:
        """Do what Slicer's Sample Data does for the sample of this module."""
        with slicer.util.WaitCursor():
            self._context.attempt(load_generated)

    def _volumes_changed(self, _node: Any) -> None:
        """A volume comes or goes: the next moment there is one, or none."""
        qt.QTimer.singleShot(0, self._look_for_volumes)

    def _look_for_volumes(self) -> None:
        if not self._closed:
            self._show()


def next_step(controller: Controller) -> str:
    """One sentence: what the user does next."""
    if controller.inputs.volume_node is None:
        return _("Choose a volume.")
    while_busy = _while_busy(controller)
    if while_busy is not None:
        return while_busy
    if controller.editing.placing is not None:
        return placing_hint(controller.editing.placing)
    marks = {state.state for state in controller.review.slices}
    if controller.changes.shown:
        return _("Green was added, magenta was removed: keep the changes or revert them.")
    if SliceMark.STARTED in marks and not marks & {SliceMark.PROMPTED, SliceMark.PREDICTED}:
        if controller.reason(Action.NEXT_DOUBTFUL) is None:
            return _("Go through the doubtful slices: correct one with a prompt, or accept it.")
        return _("Go to a slice that is wrong and correct it with a prompt: a box, or a point for a detail.")
    if not marks & {SliceMark.PROMPTED, SliceMark.PREDICTED, SliceMark.ACCEPTED, SliceMark.EDITED}:
        return _("Choose a prompt tool and click on the object in a slice view.")
    if controller.editing.is_one_slice:
        return _("Add points until the mask is right, then accept or export.")
    if controller.reason(Action.PROPAGATE) is None:
        if marks & {SliceMark.PREDICTED}:
            return _("Correct further, or press Propagate: only the gap around the correction is recomputed.")
        return _("Add points until the mask is right on this slice, then press Propagate.")
    if controller.network.state is NetworkState.PREPARING:
        return _("The network is being prepared; you can continue in the meantime.")
    if controller.growing.on and controller.editing.slice_range is None:
        return _(
            "If the mask goes too far, drag the ends of the range on the strip; then review the doubtful slices."
        )
    return _(
        "Review the doubtful slices: a new box for large errors, a point for details. Then accept or export."
    )


def _while_busy(controller: Controller) -> str | None:
    """The step under way, or the reason why nothing can be done; None otherwise."""
    if controller.network.failure:
        return controller.network.failure
    if controller.carrying.busy:
        return _("The masks are being carried to other time points. Cancel keeps those that are done.")
    if controller.runs.busy:
        return _("Watch the mask grow. Cancel leaves the segment as it was before.")
    if controller.proposing.busy:
        return _("The network is searching the slice for objects. Cancel stops the search.")
    if controller.scoring.busy:
        return _("The network is reviewing each slice; no voxel changes. Cancel keeps the scores so far.")
    return controller.reason(Action.ADD_SEGMENT)
