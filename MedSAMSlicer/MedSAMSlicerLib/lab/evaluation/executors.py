"""The ways to measure cases: this process, several processes of this computer, or the workers of a Dask cluster.

All give the same measurements, but for seconds and memory, as long as the runners have the same number of threads.
Only the process that calls `run` may write results.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol, TypeVar

from ...core.errors import MedSAMError
from .report_data import CaseSkipped
from .work import (
    CaseDone,
    CaseTask,
    Measured,
    Outcome,
    TrialBegun,
    lost,
    measure_remotely,
    reason_of,
    run_case,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)  # fmt: skip
_END_S = 5.0  # how long a process may take to end by itself


class Executor(Protocol):
    """Something that measures cases."""

    processes: int | None
    """How many measure at once; None = as many as a cluster has."""

    def run(self, tasks: Sequence[CaseTask]) -> Iterator[Outcome]:
        """The results of the cases, in any order; each ends with `CaseDone`. Closing the iterator stops all work."""


class SerialExecutor:
    """One case after the other, in this process."""

    processes: int | None = 1

    def run(self, tasks: Sequence[CaseTask]) -> Iterator[Outcome]:
        """As they are given."""
        for task in tasks:
            yield from run_case(task)


class ProcessExecutor:
    """Several processes of this computer, which are started for this and import what they need.

    A process that dies, as when memory runs out, costs the trial that it was busy with: a new process goes on with the
    rest of its case. When this process ends in whatever way, the others end too.

    Args:
        count: of processes.
        threads: of each.
    """

    def __init__(self, count: int, threads: int = 1) -> None:
        self.processes: int | None = count
        self._count, self._threads = count, threads

    def run(self, tasks: Sequence[CaseTask]) -> Iterator[Outcome]:
        """The largest files first, so that no process is left alone with one of them at the end."""
        waiting = deque(sorted(tasks, key=lambda task: -sum(task.size)))
        workers: list[_Worker] = []
        try:
            while True:
                while waiting and len(workers) < self._count:
                    workers.append(_Worker(self._threads))
                for worker in workers:
                    if waiting and worker.task is None:
                        worker.give(waiting.popleft())
                busy = {worker.connection: worker for worker in workers if worker.task is not None}
                if not busy:
                    return
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]
                    try:
                        outcome = worker.receive()
                    except (EOFError, OSError):
                        workers.remove(worker)
                        yield from worker.buried(waiting)
                    else:
                        yield outcome
        finally:
            for worker in workers:
                worker.stop()


class DaskExecutor:
    """The workers of a Dask cluster (https://distributed.dask.org), each case a task.

    Data and weights must lie at the same paths on all machines, and the same version of this program must be installed.
    A worker should have one thread; it measures one case at a time. What it measured comes when the case is done.

    Args:
        address: of the scheduler, as `tcp://HOST:8786`.
        timeout_s: how long the scheduler and its first worker may take to answer.
    """

    processes: int | None = None

    def __init__(self, address: str, timeout_s: float = 30.0) -> None:
        self._address, self._timeout_s = address, timeout_s

    def run(self, tasks: Sequence[CaseTask]) -> Iterator[Outcome]:
        """The largest files first.

        Raises:
            MedSAMError: `distributed` is not installed, or there is no scheduler or no worker.
        """
        ordered = sorted(tasks, key=lambda task: -sum(task.size))
        for task, outcomes, error in self.results(measure_remotely, ordered):
            yield from _failed(task, error) if error is not None else outcomes or ()

    def results(
        self, function: Callable[[T], R], tasks: Sequence[T]
    ) -> Iterator[tuple[T, R | None, BaseException | None]]:
        """The result of a function for each task on the workers, or its failure, in the order in which they finish.

        Closing the iterator cancels what is left.

        Raises:
            MedSAMError: `distributed` is not installed, or there is no scheduler or no worker.
        """
        distributed = _distributed()
        with contextlib.closing(self._client(distributed)) as client:
            waiting: dict[Any, T] = {}
            try:
                for task in tasks:
                    waiting[client.submit(function, task, pure=False)] = task
                for future in distributed.as_completed(list(waiting), loop=client.loop):
                    task, error = waiting.pop(future), future.exception()
                    yield task, future.result() if error is None else None, error
            finally:
                if waiting:
                    with contextlib.suppress(
                        Exception
                    ):  # the cluster may be gone; nothing needs to be reported then
                        client.cancel(list(waiting), force=True)

    def _client(self, distributed: Any) -> Any:
        if re.fullmatch(r"(\w+://)?.+:\d+", self._address) is None:  # Dask would wait, and then leave a trace
            raise MedSAMError(
                f"{self._address!r} is no address of a Dask scheduler, such as tcp://HOST:8786."
            )
        try:
            client = distributed.Client(self._address, timeout=self._timeout_s, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise MedSAMError(f"No Dask scheduler answers at {self._address}.") from error
        try:
            client.wait_for_workers(1, timeout=self._timeout_s)
        except TimeoutError as error:
            client.close()
            raise MedSAMError(f"The Dask scheduler at {self._address} has no worker.") from error
        return client


@dataclass
class _Worker:
    """A process that measures one case at a time."""

    threads: int
    task: CaseTask | None = None
    _done: set[str] = field(default_factory=set)
    _begun: TrialBegun | None = None

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, self.threads), name="benchmark", daemon=True
        )
        with _few_threads(self.threads), _interrupts_held_back():
            self._process.start()
        theirs.close()

    def give(self, task: CaseTask) -> None:
        """Let it measure a case."""
        self.task, self._begun = task, None
        self._done.clear()
        with contextlib.suppress(OSError):  # it is dead: `receive` will find out
            self.connection.send(task)

    def receive(self) -> Outcome:
        """Return what it has to say. Raises EOFError or OSError when it is dead."""
        outcome: Outcome = self.connection.recv()
        if isinstance(outcome, TrialBegun):
            self._finish_trial()
            self._begun = outcome
        elif isinstance(outcome, Measured):
            self._finish_trial()
        elif isinstance(outcome, CaseDone):
            self.task = None
        return outcome

    def buried(self, waiting: deque[CaseTask]) -> Iterator[Outcome]:
        """Report what was lost with a dead process, and put the rest of its case in front of what is waiting."""
        self._process.join(_END_S)
        task, begun, code = self.task, self._begun, self._process.exitcode
        self.stop()
        if task is None:
            return
        killed = code is not None and code < 0
        how = (
            f"was killed (signal {-(code or 0)}), perhaps for lack of memory"
            if killed
            else f"ended (exit code {code})"
        )
        yield lost(task, begun, how)
        if begun is None:
            yield CaseDone(task.case.name)
        else:
            waiting.appendleft(replace(task, done=task.done | self._done | {begun.key}))

    def stop(self) -> None:
        """End the process: at once when it is busy, else in its own time."""
        self.connection.close()
        if self.task is None:
            self._process.join(_END_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _finish_trial(self) -> None:
        if self._begun is not None:
            self._done.add(self._begun.key)
        self._begun = None


def _serve(connection: Connection, threads: int) -> None:
    """The life of a process that measures: take a case and report its result, until the parent is gone."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes of a terminal; the first one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit_threads(threads)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            for outcome in run_case(connection.recv()):
                connection.send(outcome)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _limit_threads(threads: int) -> None:
    import SimpleITK as sitk
    import torch

    torch.set_num_threads(threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


@contextlib.contextmanager
def _few_threads(threads: int) -> Iterator[None]:
    """Processes that are started meanwhile use so many threads in the libraries that ask the environment."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, and never reaches processes that are started in it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MedSAMError(
            f"--scheduler needs Dask ({error}): install it with pip install 'medsamslicer[lab]'."
        ) from error
    return distributed


def _failed(task: CaseTask, error: BaseException) -> Iterator[Outcome]:
    """Return the message about a case that the cluster could not measure."""
    name = task.case.name
    if type(error).__name__ == "KilledWorker":
        yield lost(task, None, "was killed on several workers of the cluster, perhaps for lack of memory")
    elif isinstance(error, ImportError):
        yield CaseSkipped(name, f"a worker of the cluster lacks this program or a package of it ({error}).")
    else:
        logger.error("%s failed on the cluster", name, exc_info=error)
        yield CaseSkipped(name, reason_of(error))
    yield CaseDone(name)
