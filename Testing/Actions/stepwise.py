"""The worker without its thread and a clock without time, so that a sequence of actions is the same every time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from MedSAMSlicerLib.app.engine_state import Engine, NetworkChoice, _checkpoint_file
from MedSAMSlicerLib.app.worker import (
    Job,
    OnEnd,
    OnResult,
    Ticket,
    Worker,
    _canceled_error,
    _Outcome,
    sentence_for,
)
from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.models.registry import BUNDLED_ID
from MedSAMSlicerLib.sam2 import NANO
from MedSAMSlicerLib.sam2.model import SAM2

PIXELS = 64


class Clock:
    """Goes on by a second whenever it is asked to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds

    def tick(self) -> None:
        """Everything that is to be done later is due now."""
        self.seconds += 60.0


class SmallEngine(Engine):
    """The engine with a network of random weights that sees few pixels; all else is real."""

    _small: SAM2 | None = None

    def __init__(self) -> None:
        super().__init__()
        if SmallEngine._small is None:
            torch.manual_seed(0)
            SmallEngine._small = SAM2(replace(NANO, image_size=PIXELS)).eval()
        self._model = (_checkpoint_file(NetworkChoice(BUNDLED_ID)), SmallEngine._small)


class StepwiseWorker(Worker):
    """Each `dispatch` brings at most one result, and urgent jobs go first, as on the thread."""

    def __init__(self) -> None:
        super().__init__(SmallEngine)
        self._current: list[tuple[Ticket, Iterator[object]]] = []

    @property
    def filling(self) -> bool:
        """Nothing is computed in the background."""
        return False

    def submit(self, job: Job, result: OnResult, end: OnEnd) -> Ticket:
        """Hand in a job."""
        ticket = Ticket(job, result, end)
        if self._closing:
            return ticket
        self._open.append(ticket)
        for old in [old for old in self._waiting if job.replaces(old.job)]:
            self._waiting.remove(old)
            self._outcomes.put(_Outcome(old, ended=True, error=_canceled_error()))
        self._waiting.append(ticket)
        return ticket

    def dispatch(self, wait: float = 0.0, at_most: float = 0.03) -> bool:
        """Compute one step and take in one result."""
        if self._outcomes.empty():
            self._step()
        if self._outcomes.empty():
            return False
        self._deliver(self._outcomes.get())
        return True

    def _step(self) -> None:
        if self._tools is None:
            self._tools = self._make_tools()
        interrupts = not self._current or not self._current[-1][0].job.urgent
        urgent = next((ticket for ticket in self._waiting if ticket.job.urgent and interrupts), None)
        if urgent is not None or not self._current:
            if not self._waiting:
                return
            ticket = urgent or self._waiting[0]
            self._waiting.remove(ticket)
            self._current.append((ticket, ticket.job.run(self._tools, ticket.canceled.is_set)))
        ticket, steps = self._current[-1]
        error: MedSAMError | None = None
        try:
            if ticket.canceled.is_set():
                raise _canceled_error()
            self._outcomes.put(_Outcome(ticket, next(steps)))
            return
        except StopIteration:
            pass
        except MedSAMError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 - as on the thread
            error = sentence_for(raised)
        self._current.pop()
        close = getattr(steps, "close", None)
        if close is not None:
            close()
        self._outcomes.put(_Outcome(ticket, ended=True, error=error))

    def close(self, seconds: float = 0.0) -> bool:
        """Give everything up."""
        for _, steps in self._current:
            steps.close()  # type: ignore[attr-defined]
        self._current.clear()
        if self._tools is not None:
            self._tools.close()
        return super().close(seconds)
