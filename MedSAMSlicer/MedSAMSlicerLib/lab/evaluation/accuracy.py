"""The accuracy of runners: every runner on every target in every protocol, resumable.

A measurement is written into the output folder as soon as it is known (:mod:`.results`); what is there already is not
measured again, so that a killed run continues. Cases are measured by an executor (:mod:`.executors`): in this process,
in several, or on a cluster; the report does not depend on it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import MedSAMError, VolumeError
from .datasets import MOST_TARGETS, Case, find_cases
from .executors import Executor, SerialExecutor
from .progress import ProgressBook, Watch
from .protocol import DEFAULT_SUITE, PROTOCOLS, SUITES, PromptProtocol
from .report_data import AccuracyReport, CaseSkipped
from .results import CasePlan, ResultsFile
from .run_header import describe_run
from .runner_specs import RunnerSpec, build, forget_built
from .scores import check_installed
from .work import CaseDone, CaseTask, Fault, Measured, Outcome, TrialBegun

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AccuracyBenchmark:
    """The settings of the measurement.

    Args:
        data: a manifest, its folder, or a folder of image and label pairs.
        out: the folder of results; made when it is not there.
        protocols: protocols.
        seed: of all that is left to chance.
        most: targets a case, the largest labels.
        only: parts of case names; a case is measured if its name holds one of them. None = all.
        keep_masks: whether masks are kept of all protocols, not of the reference way alone.
        command: that repeats it, for the report.
        threads: of each process, for the report; None = those of torch in this one.
    """

    data: Path
    out: Path
    protocols: tuple[PromptProtocol, ...] = field(
        default_factory=lambda: tuple(PROTOCOLS[name] for name in SUITES[DEFAULT_SUITE])
    )
    seed: int = 0
    most: int = MOST_TARGETS
    only: tuple[str, ...] = ()
    keep_masks: bool = False
    command: str = ""
    threads: int | None = None


def run_accuracy_benchmark(
    benchmark: AccuracyBenchmark,
    specs: Sequence[RunnerSpec],
    progress: Watch | None = None,
    executor: Executor | None = None,
) -> AccuracyReport:
    """Measure what is not in the folder yet.

    Ctrl-C leaves what is done in the folder. A case that cannot be used is skipped; the report says why.

    Args:
        benchmark: what.
        specs: the runners.
        progress: called with where the run is.
        executor: who measures; None = this process.

    Raises:
        MedSAMError: no data, a runner that cannot be used, or the folder holds other results or cannot be written.
        KeyboardInterrupt: as it came.
    """
    check_installed()
    executor = executor or SerialExecutor()
    cases = chosen_cases(benchmark.data, benchmark.only)
    runners = [build(spec) for spec in specs]
    names = [runner.name for runner in runners]
    if len(set(names)) < len(names):
        raise MedSAMError(f"Two runners have the same name: {', '.join(names)}.")
    header = {
        **describe_run(specs, runners, executor.processes, benchmark.threads),
        "data": benchmark.data.resolve().name,
        "seed": benchmark.seed,
        "most": benchmark.most,
        "command": benchmark.command,
    }
    if executor.processes != 1:  # each process has its own
        del runners
        forget_built()
    with ResultsFile(benchmark.out, header) as results:
        run = _AccuracyRun(benchmark, names, cases, results)
        tasks = run.tasks(specs)
        run.show_progress(progress, "")
        with contextlib.closing(executor.run(tasks)) as outcomes:  # type: ignore[type-var]
            for outcome in outcomes:
                run.take(outcome)
                run.show_progress(progress, str(outcome) if isinstance(outcome, TrialBegun) else None)
        return run.report()


def chosen_cases(data: Path, only: Sequence[str] = ()) -> list[Case]:
    """The cases whose names hold one of the parts `only`; all without. Raises VolumeError for a part of none."""
    cases = find_cases(data)
    unknown = [part for part in only if not any(part in case.name for case in cases)]
    if unknown:  # a slip of the pen would else leave a case out, and nobody would know
        raise VolumeError(f"{data} has no labeled case named like {', '.join(unknown)}.")
    return [case for case in cases if not only or any(part in case.name for part in only)]


class _AccuracyRun:
    """A run into a folder: what is wanted, what came, what was skipped."""

    def __init__(
        self,
        benchmark: AccuracyBenchmark,
        runners: Sequence[str],
        cases: Sequence[Case],
        results: ResultsFile,
    ) -> None:
        self._benchmark, self._results, self._runners = benchmark, results, tuple(runners)
        self._cases = {case.name: case for case in cases}
        self._protocols = tuple(protocol.name for protocol in benchmark.protocols)
        self._plans: dict[str, CasePlan] = {}
        self._skipped: dict[str, list[CaseSkipped]] = {}
        self._book = ProgressBook(list(self._cases), results.measurements.values())
        self._text = ""

    def tasks(self, specs: Sequence[RunnerSpec]) -> list[CaseTask]:
        """The cases of which something is to be measured; those whose measurements are all there are not opened."""
        found, done = [], frozenset(self._results.measurements)
        for name, case in self._cases.items():
            size = (size_of(case.image), size_of(case.label))
            self._results.check_files(name, size)
            known = self._results.plans.get(name)
            plan = known and known.narrowed(self._protocols, self._runners)
            if plan is not None:
                self._planned(plan)
                if done.issuperset(plan.keys):
                    self._book.over(name)
                    continue
            own = frozenset(
                key for key, measurement in self._results.measurements.items() if measurement.case == name
            )
            found.append(
                CaseTask(
                    case, self._benchmark.most, self._benchmark.protocols, tuple(specs), self._benchmark.seed,
                    own, self._benchmark.keep_masks, size,
                )
            )  # fmt: skip
        return found

    def take(self, outcome: Outcome) -> None:
        """Write down what came."""
        if isinstance(outcome, CasePlan):
            self._results.plan(outcome)
            self._planned(outcome)
        elif isinstance(outcome, Measured):
            measurement = outcome.measurement
            if outcome.masks is not None:
                self._results.keep_masks(measurement.key, outcome.masks)
            self._results.add(measurement)
            self._book.measured(measurement, outcome.wall_seconds)
        elif isinstance(outcome, CaseSkipped):
            self._skip(outcome)
        elif isinstance(outcome, Fault):
            logger.error("%s: %s\n%s", outcome.skipped.case, outcome.skipped.reason, outcome.trace)
            self._skip(outcome.skipped)
        elif isinstance(outcome, CaseDone):
            self._book.over(outcome.case)

    def show_progress(self, progress: Watch | None, text: str | None) -> None:
        """Show where the run is; `text` is what is measured, None = as before."""
        self._text = self._text if text is None else text
        if progress is not None:
            progress(self._book.now(self._text))

    def report(self) -> AccuracyReport:
        """Return what there is of what was wanted, in an order of its own."""
        measurements = self._results.measurements
        found = [
            measurements[key]
            for name in self._cases
            if name in self._plans
            for key in self._plans[name].keys
            if key in measurements
        ]
        skipped = [skipped_case for name in self._cases for skipped_case in self._skipped.get(name, ())]
        header: dict[str, Any] = self._results.header
        return AccuracyReport(header, tuple(found), tuple(skipped))

    def _planned(self, plan: CasePlan) -> None:
        self._plans[plan.case] = plan
        self._book.plan(plan, self._results.measurements)

    def _skip(self, skipped: CaseSkipped) -> None:
        logger.info("skipped %s: %s", skipped.case, skipped.reason)  # the report lists it
        reason = skipped.reason
        data = self._benchmark.data
        folder = data.parent if data.is_file() else data
        for place in (str(folder.resolve()), str(folder.absolute()), str(folder)):
            reason = reason.replace(place, "DATA")  # where it lies is nobody's concern
        self._skipped.setdefault(skipped.case, []).append(CaseSkipped(skipped.case, reason))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; 0 when it is not there."""
    try:
        files = [path] if path.is_file() else [found for found in path.rglob("*") if found.is_file()]
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0
