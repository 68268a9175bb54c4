"""The unit of work of the accuracy benchmark, one case, as a value that can be sent to another process or machine."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ... import __version__
from ...core.errors import MedSAMError
from ...core.foreign_errors import first_line
from ...io.volumes import Volume
from .class_trial import run_class_trial
from .datasets import Case, Target, load_case, load_classes
from .measurement import VOLUME, Measurement, trial_key
from .protocol import REFERENCE, PromptProtocol
from .report_data import CaseSkipped
from .results import BoolVolume, CasePlan, PackedMasks
from .runner_specs import RunnerSpec, build
from .runners import Runner, RunnerAnswer
from .trial import is_measured, run_trial

ALL_LABELS = "all labels"
"""Shown as the target of a trial on all labels at once."""


@dataclass(frozen=True)
class CaseTask:
    """The measurements to be made on one case.

    Args:
        case: which.
        most: targets, the largest labels.
        protocols, specs: protocols, and the runners; each with each, as far as they fit.
        seed: of what is left to chance.
        done: keys of measurements that are there already.
        keep_masks: whether masks of all protocols are kept, not only those of the reference protocol.
        size: bytes of image and label; shows how expensive a case is.
    """

    case: Case
    most: int
    protocols: tuple[PromptProtocol, ...]
    specs: tuple[RunnerSpec, ...]
    seed: int = 0
    done: frozenset[str] = frozenset()
    keep_masks: bool = False
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class TrialBegun:
    """A runner begins on a target."""

    case: str
    target: str
    protocol: str
    runner: str

    @property
    def key(self) -> str:
        """That of the measurement it becomes."""
        return trial_key(self.case, self.target, self.protocol, self.runner)

    def __str__(self) -> str:
        return f"{self.case}, {self.target}: {self.runner}, {self.protocol}"


@dataclass(frozen=True, eq=False)
class Measured:
    """A measurement with its masks, where those are kept; `wall_seconds` includes the scoring."""

    measurement: Measurement
    masks: PackedMasks | None
    wall_seconds: float


@dataclass(frozen=True)
class Fault:
    """A case, or one trial of it, that ended with something unforeseen."""

    skipped: CaseSkipped
    trace: str


@dataclass(frozen=True)
class CaseDone:
    """Nothing more comes of this case."""

    case: str


Outcome = CasePlan | TrialBegun | Measured | CaseSkipped | Fault | CaseDone


def run_case(task: CaseTask) -> Iterator[Outcome]:
    """Measure what is not done yet; what goes wrong in one trial does not keep the others from being measured."""
    yield from _run_case(task)
    yield CaseDone(task.case.name)


def _run_case(task: CaseTask) -> Iterator[Outcome]:
    name = task.case.name
    try:
        runners = [build(spec) for spec in task.specs]
        trials, class_trials = _trials(task, runners), _class_trials(task, runners)
    except MedSAMError as error:
        yield CaseSkipped(name, str(error))
        return
    except Exception as error:  # noqa: BLE001 - a bug or too little memory: the other cases do not suffer
        yield Fault(CaseSkipped(name, reason_of(error)), traceback.format_exc())
        return
    yield CasePlan(
        name,
        task.size,
        tuple(protocol.name for protocol in task.protocols),
        tuple(runner.name for runner in runners),
        (
            *((target.name, protocol.name, runner.name) for _, target, protocol, runner in trials),
            *(
                (target.name, protocol.name, runner.name)
                for _, targets, protocol, runner in class_trials
                for target in targets
            ),
        ),
    )
    for volume, target, protocol, runner in trials:
        begun = TrialBegun(name, target.name, protocol.name, runner.name)
        if begun.key in task.done:
            continue
        yield begun
        kept = _Kept()
        start = time.perf_counter()
        try:
            measurement = run_trial(volume, target, protocol, runner, task.seed, kept.take)
        except Exception as error:  # noqa: BLE001 - nor do the other trials
            yield Fault(CaseSkipped(name, f"{_place(begun)}: {reason_of(error)}"), traceback.format_exc())
            continue
        wanted = task.keep_masks or protocol.name == REFERENCE
        yield Measured(measurement, kept.packed() if wanted else None, time.perf_counter() - start)
    for volume, targets, protocol, runner in class_trials:
        yield from _run_classes(task, volume, targets, protocol, runner)


def _trials(task: CaseTask, runners: Sequence[Runner]) -> list[tuple[Volume, Target, PromptProtocol, Runner]]:
    """The measurements that are made target by target; nothing is read where there is no such protocol."""
    protocols = [protocol for protocol in task.protocols if not protocol.all_classes]
    if not protocols:
        return []
    volume, targets = load_case(task.case, task.most)
    return [
        (volume, target, protocol, runner)
        for target in targets
        for protocol in protocols
        for runner in runners
        if is_measured(target, protocol, runner)
    ]


def _class_trials(
    task: CaseTask, runners: Sequence[Runner]
) -> list[tuple[Volume, list[Target], PromptProtocol, Runner]]:
    """The measurements on all labels at once; of a volume alone."""
    protocols = [protocol for protocol in task.protocols if protocol.all_classes]
    if not protocols or task.case.kind != VOLUME:
        return []
    volume, targets = load_classes(task.case)
    return [
        (volume, targets, protocol, runner)
        for protocol in protocols
        for runner in runners
        if all(is_measured(target, protocol, runner) for target in targets)
    ]


def _run_classes(
    task: CaseTask, volume: Volume, targets: Sequence[Target], protocol: PromptProtocol, runner: Runner
) -> Iterator[Outcome]:
    """Measure all labels of a case at once; again, when any of them is missing."""
    name = task.case.name
    begun = TrialBegun(name, ALL_LABELS, protocol.name, runner.name)
    keys = [trial_key(name, target.name, protocol.name, runner.name) for target in targets]
    if begun.key in task.done or task.done.issuperset(keys):
        return
    yield begun
    kept = [_Kept() for _ in targets]
    start = time.perf_counter()
    try:
        found = run_class_trial(
            volume, targets, protocol, runner, task.seed, lambda place, _, mask: kept[place].hold(mask)
        )
    except Exception as error:  # noqa: BLE001 - nor do the other trials
        yield Fault(CaseSkipped(name, f"{_place(begun)}: {reason_of(error)}"), traceback.format_exc())
        return
    wall = (time.perf_counter() - start) / len(targets)
    for measurement, masks in zip(found, kept, strict=True):
        if measurement.key not in task.done:
            yield Measured(measurement, masks.packed() if task.keep_masks else None, wall)


_ONE_AT_A_TIME = threading.Lock()


def measure_remotely(task: CaseTask, version: str = __version__) -> list[Outcome]:
    """All outcomes of a case, on a worker of a cluster; one case at a time in a process, so that seconds are honest.

    Args:
        task: which case.
        version: of the program that asks.
    """
    name, host = task.case.name, socket.gethostname()
    if version != __version__:
        return [
            CaseSkipped(name, f"the worker on {host} has version {__version__}, not {version}."),
            CaseDone(name),
        ]
    unseen = [path for path in (task.case.image, task.case.label) if not Path(path).exists()]
    if unseen:
        reason = (
            f"the worker on {host} does not see {unseen[0]}: data must lie at the same path on every machine."
        )
        return [CaseSkipped(name, reason), CaseDone(name)]
    with _ONE_AT_A_TIME:
        return list(run_case(task))


def reason_of(error: BaseException) -> str:
    """Return what was unforeseen, in one sentence."""
    if isinstance(error, MemoryError):
        return "there is not enough memory."
    first = first_line(error)
    return f"a fault of the program ({type(error).__name__}: {first})."


def lost(task: CaseTask, begun: TrialBegun | None, how: str) -> CaseSkipped:
    """Return the message about a case whose process ended by itself."""
    place = "" if begun is None else f"{_place(begun)}: "
    return CaseSkipped(task.case.name, f"{place}the process that measured it {how}.")


def _place(begun: TrialBegun) -> str:
    return f"{begun.target}, {begun.runner}, {begun.protocol}"


class _Kept:
    """The first and the last answer of a trial."""

    def __init__(self) -> None:
        self._first: BoolVolume | None = None
        self._last: BoolVolume | None = None

    def take(self, step: int, answer: RunnerAnswer) -> None:
        self.hold(answer.mask)

    def hold(self, mask: BoolVolume) -> None:
        """Keep a mask; of all, the first and the last stay."""
        if self._first is None:
            self._first = mask
        self._last = mask

    def packed(self) -> PackedMasks | None:
        if self._first is None or self._last is None:
            return None
        return PackedMasks.of(self._first, self._last)
