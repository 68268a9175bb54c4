"""Undo and redo, prompts and masks together."""

from __future__ import annotations

from ..core.errors import SessionError
from ..core.translation import tr as _
from .projector import Projector
from .propagation import Propagation
from .signals import Signal
from .workspace import Workspace


class UndoRedo:
    """The steps of the session.

    Signals:
        asked: the user undoes or redoes something.
    """

    def __init__(self, work: Workspace, projector: Projector, runs: Propagation) -> None:
        self._work, self._projector, self._runs = work, projector, runs
        self.asked: Signal[[]] = Signal()

    @property
    def undo_label(self) -> str | None:
        """Return what `undo` would take back."""
        return self._work.session.undo_label if self._work.session else None

    @property
    def redo_label(self) -> str | None:
        """Return what `redo` would do again."""
        return self._work.session.redo_label if self._work.session else None

    @property
    def steps(self) -> tuple[int, str | None]:
        """Changes with every step of the history: how many can be undone, and what could be redone."""
        session = self._work.session
        return (session.step_count if session else 0, self.redo_label)

    def undo(self) -> None:
        """Undo the last step, prompts and masks together; cancel a run that it belongs to."""
        session = self._work.usable_volume()[1]
        self.asked.emit()
        self._projector.take_edits()
        if session.next_undo() & (self._work.running or frozenset()):
            self._runs.cancel()
            return
        command = session.undo()
        if command is None:
            raise SessionError(_("There is nothing to undo."))
        self._projector.after_change(command.after)

    def redo(self) -> None:
        """Redo the last undone step last."""
        session = self._work.usable_volume()[1]
        if self._work.running is not None:
            raise SessionError(_("A propagation is running: cancel it or wait until it ends."))
        self.asked.emit()
        command = session.redo()
        if command is None:
            raise SessionError(_("There is nothing to redo."))
        self._projector.after_change(command.after)
