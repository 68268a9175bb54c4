"""Worker: one persistent thread for the network, and the queue its results come back over. No Qt, no Slicer.

A job is a generator: whatever it yields goes to the main thread. Between two yields the worker looks whether the job
was canceled and does urgent jobs (previews) first, so that a long run neither delays them nor runs beside another.
`dispatch` takes results in on the main thread; its wait gives Python's lock to the worker, which inside 3D Slicer gets
it in no other way while the event loop idles.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.errors import Canceled, InsufficientMemoryError, MedSAMError
from ..core.foreign_errors import Failure, failure_of, on_one_line

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 10.0
"""How long `close` waits for the slice under way."""

EXIT_SECONDS = 60.0
"""How long the end of the process waits for what cannot be given up, such as the import of torch."""

IsCanceled = Callable[[], bool]


class Tools(Protocol):
    """The objects that the jobs work with; made, used and closed on the worker's thread."""

    @property
    def filling(self) -> bool:
        """Return whether something goes on in the background; asked from the main thread."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class Job:
    """One piece of work. `urgent` jobs go before others and interrupt them between two results."""

    urgent = False

    def run(self, tools: Any, canceled: IsCanceled) -> Iterator[object]:
        """Do it, handing out results; look at `canceled()` before each slice."""
        raise NotImplementedError

    def replaces(self, waiting: Job) -> bool:
        """Return whether a job that still waits is not worth doing any more, now that there is this one."""
        return False


OnResult = Callable[[Any], None]
OnEnd = Callable[[MedSAMError | None], None]


@dataclass(eq=False)
class Ticket:
    """A job that was handed in; `end` gets None when it is done, Canceled when it was given up, or what failed."""

    job: Job
    result: OnResult
    end: OnEnd
    canceled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, eq=False)
class _Outcome:
    ticket: Ticket
    value: object = None
    ended: bool = False
    error: MedSAMError | None = None


class Worker:
    """The thread and its queues. All public methods are for the main thread.

    Args:
        tools: makes what the jobs work with, on the thread, before the first job.
    """

    def __init__(self, tools: Callable[[], Tools]) -> None:
        self._make_tools = tools
        self._tools: Tools | None = None
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._outcomes: queue.Queue[_Outcome] = queue.Queue()
        self._open: list[Ticket] = []  # handed in, and their end not yet reported
        self._closing = False
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------------------------------ for the main thread

    @property
    def busy(self) -> bool:
        """Return whether a job waits, runs, or has results that were not taken in yet."""
        return bool(self._open)

    @property
    def filling(self) -> bool:
        """Return whether features are computed in the background."""
        tools = self._tools
        return tools is not None and tools.filling

    @property
    def started(self) -> bool:
        """Return whether there is a thread yet."""
        return self._thread is not None

    @property
    def closed(self) -> bool:
        """Return whether `close` was called."""
        return self._closing

    def submit(self, job: Job, result: OnResult, end: OnEnd) -> Ticket:
        """Hand in a job; the first one starts the thread. Jobs run in order, urgent ones first."""
        ticket = Ticket(job, result, end)
        if self._closing:
            return ticket
        self._open.append(ticket)
        with self._changed:
            for old in [old for old in self._waiting if job.replaces(old.job)]:
                self._waiting.remove(old)
                self._outcomes.put(_Outcome(old, ended=True, error=_canceled_error()))
            self._waiting.append(ticket)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="MedSAMSlicer network", daemon=True)
                _call_at_exit(self._exit)
                self._thread.start()
            self._changed.notify_all()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Give a job up, within one slice; its end is reported as for every job."""
        ticket.canceled.set()
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                self._outcomes.put(_Outcome(ticket, ended=True, error=_canceled_error()))

    def dispatch(self, wait: float = 0.0, at_most: float = 0.03) -> bool:
        """Take in what there is, waiting up to `wait` seconds for the first and going on for `at_most` seconds.

        Returns whether anything came.
        """
        until = time.perf_counter() + wait + at_most
        came = False
        while True:
            try:
                first = wait > 0 and not came
                outcome = self._outcomes.get(timeout=wait) if first else self._outcomes.get_nowait()
            except queue.Empty:
                return came
            came = True
            self._deliver(outcome)
            if time.perf_counter() > until:
                return True

    def close(self, seconds: float = CLOSE_SECONDS) -> bool:
        """End the thread within one slice; nothing is reported any more. False if it did not end within `seconds`."""
        self._closing = True
        for ticket in self._open:
            ticket.canceled.set()
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()
        self._open.clear()
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
            if thread.is_alive():
                logger.info("The network's thread did not end within %s seconds.", seconds)
                return False
            atexit.unregister(self._exit)
        self._outcomes = queue.Queue()
        return True

    def _exit(self) -> None:
        """The process ends: a thread that still imports torch would be torn apart, and torch would print errors."""
        self.close(EXIT_SECONDS)

    def _deliver(self, outcome: _Outcome) -> None:
        if outcome.ticket not in self._open:
            return
        if outcome.ended:
            self._open.remove(outcome.ticket)
            outcome.ticket.end(outcome.error)
        elif not outcome.ticket.canceled.is_set():
            outcome.ticket.result(outcome.value)

    # --------------------------------------------------------------------------------------------- on the thread

    def _run(self) -> None:
        try:
            while (ticket := self._next(urgent_only=False)) is not None:
                if self._tools is None:
                    self._tools = self._make_tools()
                self._work(ticket, self._tools)
        finally:
            if self._tools is not None:
                self._tools.close()

    def _next(self, urgent_only: bool) -> Ticket | None:
        """The next job; waits for one, unless only urgent ones are asked for. None: there is none, or all is over."""
        with self._changed:
            while True:
                if self._closing:
                    return None
                found = next((ticket for ticket in self._waiting if ticket.job.urgent), None)
                if found is None and self._waiting and not urgent_only:
                    found = self._waiting[0]
                if found is not None:
                    self._waiting.remove(found)
                    return found
                if urgent_only:
                    return None
                self._changed.wait()

    def _work(self, ticket: Ticket, tools: Tools) -> None:
        error: MedSAMError | None = None
        try:
            self._do(ticket, tools)
        except MedSAMError as raised:
            error = raised
        except Exception as raised:
            if not self._closing:  # what fails because everything ends is nobody's concern
                logger.exception("%s failed.", type(ticket.job).__name__)
            error = sentence_for(raised)
        self._outcomes.put(_Outcome(ticket, ended=True, error=error))

    def _do(self, ticket: Ticket, tools: Tools) -> None:
        def canceled() -> bool:
            return self._closing or ticket.canceled.is_set()

        steps = ticket.job.run(tools, canceled)
        try:
            if canceled():
                raise _canceled_error()
            for value in steps:
                self._outcomes.put(_Outcome(ticket, value))
                while not ticket.job.urgent and (urgent := self._next(urgent_only=True)) is not None:
                    self._work(urgent, tools)
                if canceled():
                    raise _canceled_error()
        finally:
            close = getattr(steps, "close", None)
            if close is not None:
                close()


def sentence_for(error: Exception) -> MedSAMError:
    """Return the message for an error that was not foreseen."""
    if failure_of(error, Failure.NO_MEMORY) is Failure.NO_MEMORY:
        return InsufficientMemoryError(
            "There is not enough memory for this: close other programs or volumes, choose a smaller model, or use "
            "the CPU instead of the GPU."
        )
    return MedSAMError(f"Unexpected error: {type(error).__name__}: {on_one_line(error)}.")


def _call_at_exit(function: Callable[[], object]) -> None:
    """Have a function called at the end of the process before any `weakref.finalize`, also before later ones.

    Python calls exit functions in reverse order and ignores those that are registered meanwhile. torch makes finalizers
    while it is imported: if these are the first of the process, nobody would call them before modules are torn down.
    """
    weakref.finalize(function, bool)  # registers the exit function of all finalizers, if nobody has yet
    atexit.register(function)


def _canceled_error() -> Canceled:
    return Canceled("The job was canceled.")
