"""The progress of a run and the time that is left, from what was measured so far."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass

from .measurement import Measurement
from .results import CasePlan

Kind = tuple[str, str]
"""(protocol, runner) of a trial."""


@dataclass(frozen=True)
class BenchmarkProgress:
    """The progress that a person is shown while a run goes on.

    Args:
        cases_done, cases: how many.
        share: of the work, 0..1, by seconds; earlier runs into the same folder count.
        left_seconds: None until something was measured.
        text: what is measured.
    """

    cases_done: int
    cases: int
    share: float
    left_seconds: float | None
    text: str


Watch = Callable[[BenchmarkProgress], None]


class ProgressBook:
    """Keeps count of trials, and of what trials of each kind cost.

    A trial is expected to take as long as others of the same runner in the same protocol took, in this run or an
    earlier one; a case that was not opened yet, as long as the mean of those that were. How long the clock takes for a
    second of trials, which includes several processes and the reading of files, is measured.

    Args:
        cases: names of all that are wanted.
        earlier: measurements of earlier runs.
        clock: seconds.
    """

    def __init__(
        self,
        cases: Sequence[str],
        earlier: Iterable[Measurement] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cases, self._clock, self._began = frozenset(cases), clock, clock()
        self._costs: dict[Kind, _Cost] = defaultdict(_Cost)
        for measurement in earlier:
            self._note(measurement, sum(step.seconds for step in measurement.steps))
        self._all: Counter[Kind] = Counter()
        self._left: dict[str, Counter[Kind]] = {}
        self._planned: set[str] = set()
        self._over: set[str] = set()
        self._measured = 0.0

    def plan(self, plan: CasePlan, done: Container[str]) -> None:
        """A case is opened, of which the trials `done` (keys) are measured already."""
        if plan.case not in self._planned:
            self._planned.add(plan.case)
            self._all.update((protocol, runner) for _, protocol, runner in plan.trials)
        self._left[plan.case] = Counter(
            (protocol, runner)
            for key, (_, protocol, runner) in zip(plan.keys, plan.trials, strict=True)
            if key not in done
        )

    def measured(self, measurement: Measurement, wall_seconds: float) -> None:
        """A trial is done."""
        self._note(measurement, wall_seconds)
        self._measured += wall_seconds
        self._left[measurement.case][measurement.protocol, measurement.runner] -= 1

    def over(self, case: str) -> None:
        """Nothing more comes of a case."""
        self._over.add(case)
        self._left.pop(case, None)

    def now(self, text: str) -> BenchmarkProgress:
        """The progress of the run at present."""
        whole = self._sum(self._all)
        left = sum(map(self._sum, self._left.values()))
        unopened = len(self._cases - self._planned - self._over)
        usual = whole / len(self._planned) if self._planned else 1.0
        whole, left = whole + unopened * usual, left + unopened * usual
        pace = (self._clock() - self._began) / self._measured if self._measured > 0 else None
        return BenchmarkProgress(
            cases_done=len(self._over),
            cases=len(self._cases),
            share=1 - left / whole if whole > 0 else 1.0,
            left_seconds=None if pace is None else left * pace,
            text=text,
        )

    def _note(self, measurement: Measurement, seconds: float) -> None:
        if not measurement.error:
            cost = self._costs[measurement.protocol, measurement.runner]
            cost.count += 1
            cost.seconds += seconds

    def _sum(self, kinds: Counter[Kind]) -> float:
        """Seconds that trials are expected to take: as others of their kind, else of their runner, else as any."""
        total = 0.0
        for kind, count in kinds.items():
            known = [self._costs[kind]] if kind in self._costs else []
            known = known or [cost for (_, runner), cost in self._costs.items() if runner == kind[1]]
            known = known or list(self._costs.values())
            counted = sum(cost.count for cost in known)
            total += count * (sum(cost.seconds for cost in known) / counted if counted else 1.0)
        return total


@dataclass
class _Cost:
    """Seconds of so many trials."""

    count: int = 0
    seconds: float = 0.0
