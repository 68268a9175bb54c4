"""Live: the mask grows outward by itself after each prompt, while that is switched on and quick enough here."""

from __future__ import annotations

from .editing import Editing
from .enabled import reason
from .history import UndoRedo
from .projector import Projector
from .propagation import Propagation
from .proposing import is_candidate
from .state import Action, RunEstimate, Topic
from .workspace import Workspace

LIVE_SECONDS = 60.0
"""A propagation that takes longer is begun by the user."""

_MOMENT = 0.05  # seconds, so that changes which follow each other start one run


class Growing:
    """Starts a propagation once the preview of a prompt is there, if it takes at most `LIVE_SECONDS` on this computer.

    It does so while the user works in the module.

    Attributes:
        on: whether it does; the user's choice.
        suspended: nothing grows for now, as in the effect in Segment Editor, which has a button for it.
        expected: what the last run that was begun or held back was estimated to take; None before the first.
    """

    def __init__(
        self, work: Workspace, projector: Projector, runs: Propagation, editing: Editing, history: UndoRedo
    ) -> None:
        self.on = self.suspended = False
        self.expected: RunEstimate | None = None
        self._work, self._projector, self._runs = work, projector, runs
        self._waiting: int | None = None  # the object whose prompts or range were changed last
        self._asked = False  # how long it would take
        work.observe(self._changed)
        work.time_left.connect(self.forget)
        runs.canceled.connect(self.forget)
        history.asked.connect(self.forget)
        editing.prompts_changed.connect(self.changed)
        editing.range_changed.connect(self.changed)

    @property
    def held_back(self) -> bool:
        """Return whether the last run was not begun, as it would take too long or too much memory."""
        return self.expected is not None and not is_quick(self.expected)

    def switch(self, on: bool) -> None:
        """Grow by itself from now on, also what waits for it; or do not."""
        self.on = on
        obj = self._work.selected_object
        if not on:
            self.forget()
        elif obj is not None and self._work.due_objects([obj.id]):
            self.changed(obj.id)

    def changed(self, object_id: int) -> None:
        """The user gave, moved or removed a prompt of an object, or chose its range.

        What was suggested grows once it is accepted.
        """
        if is_candidate(self._work, self._work.segment_of(object_id)):
            return
        if self.on and not self.suspended and self._projector.in_use:
            self._waiting, self._asked = object_id, False
            self._work.poller.schedule("grow", _MOMENT, self._grow, restart=True)

    def forget(self) -> None:
        """Nothing grows by what was prompted so far: the user cancels, undoes, or shows another time point."""
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
            self._begin_if_quick()

    def _begin_if_quick(self) -> None:
        if reason(self._work, Action.PROPAGATE) is not None or self._work.is_one_slice:
            self._waiting = None
            return
        found = self._runs.run_estimate
        if found is not None:
            self._waiting, self.expected = None, found
            if is_quick(found):
                self._runs.propagate(by_itself=True)
            else:
                self._work.notify(Topic.RUN)
        elif not self._asked:
            self._asked = True
            self._runs.estimate()


def is_quick(found: RunEstimate) -> bool:
    """Return whether a run is short enough to begin by itself, and memory will do."""
    return found.seconds <= LIVE_SECONDS and (
        found.free_bytes is None or found.peak_bytes <= found.free_bytes
    )
