"""Live: the mask grows outward by itself after each prompt, while that is switched on."""

from __future__ import annotations

from .editing import Editing
from .enabled import reason
from .propagation import Propagation
from .state import Action, Topic
from .workspace import Workspace

_MOMENT = 0.05  # seconds, so that changes which follow each other start one run


class Growing:
    """Starts a propagation once the preview of a prompt is there.

    Attributes:
        on: whether it does; the user's choice.
    """

    def __init__(self, work: Workspace, runs: Propagation, editing: Editing) -> None:
        self.on = False
        self._work, self._runs = work, runs
        self._waiting: int | None = None  # the object whose prompts were changed last
        work.observe(self._changed)
        work.time_left.connect(self._forget)
        editing.prompts_changed.connect(self.prompts_changed)

    def prompts_changed(self, object_id: int) -> None:
        """The user gave, moved or removed a prompt."""
        if self.on:
            self._waiting = object_id
            self._work.poller.schedule("grow", _MOMENT, self._grow, restart=True)

    def _forget(self) -> None:
        """Another time point of a sequence is to be shown: nothing grows there by what was prompted here."""
        self._waiting = None
        self._work.poller.unschedule("grow")

    def _changed(self, topic: Topic) -> None:
        if self._waiting is not None and topic in (Topic.MASKS, Topic.RUN, Topic.NETWORK):
            self._work.poller.schedule("grow", _MOMENT, self._grow, restart=True)

    def _grow(self) -> None:
        work, obj = self._work, self._work.selected_object
        if self._waiting is None or work.running is not None:
            return  # a run continues by itself with new prompts of its object
        if not self.on or obj is None or obj.id != self._waiting:
            self._waiting = None
        elif not obj.pending_previews():
            self._waiting = None
            if reason(work, Action.PROPAGATE) is None:
                self._runs.propagate()
