"""How far a run is and how long it will take: from what was measured, in this run and in earlier ones."""

from __future__ import annotations

import pytest

from MedSAMSlicerLib.lab.evaluation.measurement import VOLUME, Measurement, Step
from MedSAMSlicerLib.lab.evaluation.progress import ProgressBook
from MedSAMSlicerLib.lab.evaluation.results import CasePlan


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def plan(case: str, *runners: str) -> CasePlan:
    return CasePlan(case, (1, 1), ("box",), runners, tuple(("egg", "box", runner) for runner in runners))


def measured(case: str, runner: str, seconds: float) -> Measurement:
    step = Step(1, 0.5, 0.5, 1.0, seconds)
    return Measurement(case, "egg", "CT", VOLUME, False, runner, "box", 1, (0, 0), (0,), (step,))


def test_nothing_is_foretold_before_something_was_measured() -> None:
    where = ProgressBook(["a", "b"]).now("a: loading")
    assert (where.cases_done, where.cases, where.share, where.left_seconds) == (0, 2, 0.0, None)
    assert where.text == "a: loading"


def test_slow_runners_count_more_than_quick_ones() -> None:
    clock = Clock()
    book = ProgressBook(["a", "b"], clock=clock)
    book.plan(plan("a", "slow", "quick"), ())
    clock.now += 9
    book.measured(measured("a", "slow", 9), 9.0)
    clock.now += 1
    book.measured(measured("a", "quick", 1), 1.0)
    book.over("a")
    book.plan(plan("b", "slow", "quick"), ())
    clock.now += 9
    book.measured(measured("b", "slow", 9), 9.0)
    where = book.now("")
    assert where.share == pytest.approx(0.95)
    assert where.left_seconds == pytest.approx(1.0)
    assert where.cases_done == 1


def test_two_processes_halve_the_time_left() -> None:
    clock = Clock()
    book = ProgressBook(["a", "b", "c", "d"], clock=clock)
    clock.now += 10
    for case in ("a", "b"):
        book.plan(plan(case, "net"), ())
        book.measured(measured(case, "net", 10), 10.0)
        book.over(case)
    assert book.now("").left_seconds == pytest.approx(10.0)


def test_after_a_resume_what_was_there_counts_as_done_and_predicts_the_costs() -> None:
    clock = Clock()
    earlier = [measured("a", "net", 8), measured("b", "net", 8)]
    book = ProgressBook(["a", "b", "c", "d"], earlier, clock)
    for each in earlier:
        book.plan(plan(each.case, "net"), {each.key})
        book.over(each.case)
    assert book.now("").share == pytest.approx(0.5)
    book.plan(plan("c", "net"), ())
    clock.now += 8
    book.measured(measured("c", "net", 8), 8.0)
    where = book.now("")
    assert where.share == pytest.approx(0.75)
    assert where.left_seconds == pytest.approx(8.0)


def test_a_case_that_cannot_be_used_is_over() -> None:
    book = ProgressBook(["broken"])
    book.over("broken")
    where = book.now("")
    assert (where.cases_done, where.share) == (1, 1.0)
