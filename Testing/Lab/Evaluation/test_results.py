"""A folder of results: written at once, read again whatever happened, one run at a time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import MedSAMError, OutputError
from MedSAMSlicerLib.lab.evaluation.measurement import VOLUME, Measurement, Step
from MedSAMSlicerLib.lab.evaluation.results import (
    HEADER,
    LOCK,
    RESULTS,
    CasePlan,
    PackedMasks,
    ResultsFile,
    load_masks,
    mask_path,
)

ABOUT = {"sha256": "a", "threads": 1}
MADE_WITH: dict[str, Any] = {
    "version": "1", "data": "set", "seed": 0, "most": 4, "runners": {"net": ABOUT}, "threads": 1, "processor": "chip",
}  # fmt: skip
PLAN = CasePlan("case", (10, 20), ("box", "click"), ("net", "baseline"), (
    ("one", "box", "net"), ("one", "box", "baseline"), ("one", "click", "net"), ("two", "click", "net"),
))  # fmt: skip


def measured(target: str = "one", runner: str = "net") -> Measurement:
    return Measurement(
        "case", target, "CT", VOLUME, False, runner, "box", 7, (1, 3), (2,), (Step(1, 0.5, 0.25, None, 0.125),),
        0.5, ((1, 0.5), (2, 0.75)), 0.0625, 12.5,
    )  # fmt: skip


def with_(**changes: Any) -> dict[str, Any]:
    return {**MADE_WITH, **changes}


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    with ResultsFile(tmp_path, MADE_WITH) as results:
        results.plan(PLAN)
        results.add(measured())
        results.add(measured("two"))
    with ResultsFile(tmp_path, MADE_WITH) as again:
        assert again.measurements == {each.key: each for each in (measured(), measured("two"))}
        assert again.plans == {"case": PLAN}


def test_a_line_that_was_being_written_when_the_run_was_killed_is_dropped(tmp_path: Path) -> None:
    with ResultsFile(tmp_path, MADE_WITH) as results:
        results.add(measured())
    path = tmp_path / RESULTS
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    with ResultsFile(tmp_path, MADE_WITH) as again:
        again.add(measured("two"))
    with ResultsFile(tmp_path, MADE_WITH) as again:
        assert [each.target for each in again.measurements.values()] == ["one", "two"]


def test_a_line_that_cannot_be_read_is_reported_and_measured_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ResultsFile(tmp_path, MADE_WITH) as results:
        results.add(measured())
        results.add(measured("two"))
    path = tmp_path / RESULTS
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first[:50] + b"\n" + second)
    with ResultsFile(tmp_path, MADE_WITH) as again:
        assert [each.target for each in again.measurements.values()] == ["two"]
    assert "line 1 of" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "holds results with seed 0, not 1"),
        ({"data": "other"}, "holds results with data 'set', not 'other'"),
        ({"version": "2"}, "holds results with version '1', not '2'"),
        ({"runners": {"net": {"sha256": "b", "threads": 1}}}, "another net, which differs in sha256: choose"),
    ],
)
def test_results_of_something_else_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    ResultsFile(tmp_path, MADE_WITH).__exit__(None, None, None)
    before = (tmp_path / HEADER).read_bytes()
    with pytest.raises(MedSAMError, match=message):
        ResultsFile(tmp_path, with_(**change))
    assert (tmp_path / HEADER).read_bytes() == before
    with ResultsFile(tmp_path, MADE_WITH):  # the lock was let go
        pass


@pytest.mark.parametrize("content", ['{"version": "1", "runners": {}}', "[]", "{", '{"runners": 1}'])
def test_a_folder_of_an_older_benchmark_or_a_damaged_one_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / HEADER).write_text(content, encoding="utf-8")
    with pytest.raises(MedSAMError, match=r"older benchmark|cannot be read") as refusal:
        ResultsFile(tmp_path, MADE_WITH)
    assert str(refusal.value).count(". ") == 0


def test_another_number_of_threads_is_no_other_runner_and_the_machine_before_is_remembered(
    tmp_path: Path,
) -> None:
    ResultsFile(tmp_path, MADE_WITH).__exit__(None, None, None)
    changed = with_(threads=2, runners={"net": {**ABOUT, "threads": 2}, "more": {}})
    with ResultsFile(tmp_path, changed) as results:
        assert results.header["earlier"] == [
            {"processor": "chip", "gpu": None, "threads": 1, "processes": None, "torch": None}
        ]
        assert set(results.header["runners"]) == {"net", "more"}
    assert json.loads((tmp_path / HEADER).read_text(encoding="utf-8"))["threads"] == 2


def test_two_runs_into_one_folder_are_refused_and_a_dead_one_does_not_matter(tmp_path: Path) -> None:
    with (
        ResultsFile(tmp_path, MADE_WITH),
        pytest.raises(OutputError, match=rf"Another run \(process {os.getpid()}\) is writing into"),
    ):
        ResultsFile(tmp_path, MADE_WITH)
    code = textwrap.dedent(f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parents[3] / "MedSAMSlicer")!r})
        from pathlib import Path
        from MedSAMSlicerLib.lab.evaluation.results import ResultsFile
        results = ResultsFile(Path({str(tmp_path)!r}), {MADE_WITH!r})
        os.kill(os.getpid(), 9)
    """)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (tmp_path / LOCK).read_text(encoding="ascii") != f"{os.getpid()}\n"
    with ResultsFile(tmp_path, MADE_WITH):
        assert (tmp_path / LOCK).read_text(encoding="ascii") == f"{os.getpid()}\n"


def test_a_full_disk_is_reported_and_what_was_measured_stays_readable(tmp_path: Path) -> None:
    with ResultsFile(tmp_path, MADE_WITH) as results:
        results.add(measured())
        size = (tmp_path / RESULTS).stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, limits[1]))
        try:
            with pytest.raises(OutputError, match=r"Cannot write .*results\.jsonl: "):
                results.add(measured("two"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / RESULTS).stat().st_size == size
    with ResultsFile(tmp_path, MADE_WITH) as again:
        assert list(again.measurements) == [measured().key]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot write results into"):
        ResultsFile(tmp_path / "file" / "out", MADE_WITH)


def test_a_plan_covers_what_is_part_of_it_alone() -> None:
    narrowed = PLAN.narrowed(("click", "box"), ("net",))
    assert narrowed is not None
    assert narrowed.keys == ("case|one|click|net", "case|one|box|net", "case|two|click|net")
    assert PLAN.narrowed(("line",), ("net",)) is None
    assert PLAN.narrowed(("box",), ("third",)) is None


def test_a_plan_that_is_part_of_the_one_that_is_there_does_not_take_its_place(tmp_path: Path) -> None:
    narrowed = PLAN.narrowed(("click",), ("net",))
    assert narrowed is not None
    with ResultsFile(tmp_path, MADE_WITH) as results:
        for plan in (PLAN, narrowed):
            results.plan(plan)
        assert results.plans == {"case": PLAN}


def test_masks_come_back_as_they_were_and_are_small(tmp_path: Path) -> None:
    first, last = np.zeros((2, 40, 200, 300), bool)
    first[3:9, 50:90, 100:130] = np.random.default_rng(0).random((6, 40, 30)) > 0.5
    with ResultsFile(tmp_path, MADE_WITH) as results:
        results.keep_masks("case|one|box|net", PackedMasks.of(first, last))
    found = load_masks(tmp_path, "case|one|box|net")
    assert found is not None
    np.testing.assert_array_equal(found[0], first)
    np.testing.assert_array_equal(found[1], last)
    assert mask_path(tmp_path, "case|one|box|net").stat().st_size < 3000
    assert load_masks(tmp_path, "case|two|box|net") is None


def test_keys_that_differ_in_odd_letters_alone_have_masks_of_their_own(tmp_path: Path) -> None:
    assert mask_path(tmp_path, "a b|c") != mask_path(tmp_path, "a_b|c")
    assert mask_path(tmp_path, "ä/../b" * 90).parent == tmp_path / "masks"


def test_damaged_masks_are_reported(tmp_path: Path) -> None:
    path = mask_path(tmp_path, "key")
    path.parent.mkdir()
    path.write_bytes(b"PK damaged")
    with pytest.raises(OutputError, match="cannot be read"):
        load_masks(tmp_path, "key")
