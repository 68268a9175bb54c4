"""The accuracy benchmark measures everything once, goes on after a kill, and repeats with its seed."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import MedSAMError, VolumeError
from MedSAMSlicerLib.lab.evaluation.accuracy import AccuracyBenchmark, run_accuracy_benchmark
from MedSAMSlicerLib.lab.evaluation.measurement import Measurement
from MedSAMSlicerLib.lab.evaluation.progress import BenchmarkProgress
from MedSAMSlicerLib.lab.evaluation.protocol import PROTOCOLS, PromptProtocol
from MedSAMSlicerLib.lab.evaluation.report_data import AccuracyReport
from MedSAMSlicerLib.lab.evaluation.results import HEADER, RESULTS, load_masks
from MedSAMSlicerLib.lab.evaluation.runner_specs import RunnerSpec, build

from .labeled_volumes import SHAPE, data_set, write

pytestmark = pytest.mark.usefixtures("own_runners")

REFERENCE = (PROTOCOLS["box+range"],)
LOOSE = (PROTOCOLS["loose box+range"],)
BOX = RunnerSpec("box")


def own(name: str) -> RunnerSpec:
    return RunnerSpec("own", f"own_runners:{name}")


def run(
    folder: Path,
    *specs: RunnerSpec,
    protocols: tuple[PromptProtocol, ...] = REFERENCE,
    watch: Any = None,
    **more: Any,
) -> AccuracyReport:
    data = folder / "data"
    if not data.exists():
        data.mkdir()
        data_set(data)
    benchmark = AccuracyBenchmark(data, folder / "out", protocols, **more)
    return run_accuracy_benchmark(benchmark, specs or (own("obedient"),), watch)


def scores(report: AccuracyReport) -> list[Measurement]:
    """All but seconds and memory."""
    return [
        replace(
            found,
            first_seconds=None,
            peak_mb=None,
            steps=tuple(replace(step, seconds=0.0) for step in found.steps),
        )
        for found in report.measurements
    ]


def keys(folder: Path) -> list[str]:
    lines = (folder / "out" / RESULTS).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["key"] for line in lines if "key" in json.loads(line)]


def test_every_target_is_measured_by_every_runner_in_the_order_of_the_cases(tmp_path: Path) -> None:
    report = run(tmp_path, own("obedient"), BOX)
    assert [(each.case, each.target, each.runner) for each in report.measurements] == [
        (case, target, runner)
        for case in ("first", "second")
        for target in ("egg", "rest")
        for runner in ("obedient", "box")
    ]


def test_a_damaged_case_is_reported_and_skipped(tmp_path: Path) -> None:
    report = run(tmp_path, BOX)
    [broken] = [entry for entry in report.skipped if entry.case == "broken"]
    assert broken.reason.startswith("DATA/broken/image.nii.gz is not an image")
    assert {each.case for each in report.measurements} == {"first", "second"}


def test_a_case_without_its_label_or_without_voxels_in_it_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = data_set(tmp_path / "data")
    (data / "first" / "label.nii.gz").unlink()
    write(data / "second" / "label.nii.gz", np.zeros(SHAPE, np.uint8))
    reasons = {entry.case: entry.reason for entry in run(tmp_path, BOX).skipped}
    assert "DATA/first/label.nii.gz" in reasons["first"]
    assert reasons["second"] == "DATA/second/label.nii.gz labels no voxel."


def test_a_second_run_measures_nothing_again_and_opens_no_case(tmp_path: Path) -> None:
    runner: Any = build(own("obedient"))
    report = run(tmp_path, only=("first", "second"))
    asked, shown = runner.asked, list[BenchmarkProgress]()
    again = run(tmp_path, only=("first", "second"), watch=shown.append)
    assert asked > 0
    assert runner.asked == asked
    assert again.measurements == report.measurements
    assert [(where.cases_done, where.share) for where in shown] == [(2, 1.0)]


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, own("stopped"))
    assert len(keys(tmp_path)) == 2
    assert len(run(tmp_path, own("patient")).measurements) == 4
    assert len(keys(tmp_path)) == 4


def test_a_run_that_is_killed_goes_on_and_measures_nothing_twice(tmp_path: Path, own_runners: Path) -> None:
    (tmp_path / "data").mkdir()
    data_set(tmp_path / "data")
    package = Path(__file__).parents[3] / "MedSAMSlicer"
    code = textwrap.dedent(f"""
        import sys
        sys.path[:0] = [{str(own_runners)!r}, {str(package)!r}]
        from MedSAMSlicerLib.lab.evaluation.accuracy import *
        benchmark = AccuracyBenchmark(Path("data"), Path("out"), (PROTOCOLS["box+range"],))
        run_accuracy_benchmark(benchmark, [RunnerSpec("own", "own_runners:leisurely")])
    """)
    program = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    try:
        while not (tmp_path / "out" / RESULTS).exists() or len(keys(tmp_path)) < 2:
            assert program.poll() is None
            time.sleep(0.02)
    finally:
        program.kill()
        program.wait()
    done = keys(tmp_path)
    assert 2 <= len(done) < 4
    report = run(tmp_path, own("leisurely"))
    assert sorted(keys(tmp_path)) == sorted(found.key for found in report.measurements)
    assert len(report.measurements) == len(set(keys(tmp_path))) == 4
    assert keys(tmp_path)[: len(done)] == done


@pytest.mark.parametrize(
    ("change", "message"), [({"seed": 1}, "seed 0, not 1"), ({"most": 1}, "most 4, not 1")]
)
def test_a_folder_of_another_run_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run(tmp_path, BOX, only=("first",))
    with pytest.raises(MedSAMError, match=message):
        run(tmp_path, BOX, only=("first",), **change)


def test_results_of_other_files_of_a_case_are_refused(tmp_path: Path) -> None:
    run(tmp_path, BOX, only=("first",))
    label = tmp_path / "data" / "first" / "label.nii.gz"
    label.write_bytes(label.read_bytes() + b"\0")
    with pytest.raises(MedSAMError, match="other files of the case first"):
        run(tmp_path, BOX, only=("first",))


def test_another_runner_and_another_way_of_working_are_added_to_a_folder(tmp_path: Path) -> None:
    run(tmp_path, own("obedient"), only=("first",))
    both = (*LOOSE, *REFERENCE)
    report = run(tmp_path, own("second"), own("obedient"), protocols=both, only=("first",))
    assert len(report.measurements) == len(keys(tmp_path)) == 8
    runners = json.loads((tmp_path / "out" / HEADER).read_text(encoding="utf-8"))["runners"]
    assert set(runners) == {"obedient", "second"}


def test_what_is_not_wanted_any_more_is_not_reported(tmp_path: Path) -> None:
    run(tmp_path, own("obedient"), BOX, protocols=(*REFERENCE, *LOOSE))
    report = run(tmp_path, BOX, protocols=LOOSE, only=("second",))
    assert [each.key for each in report.measurements] == [
        f"second|{target}|loose box+range|box" for target in ("egg", "rest")
    ]


def test_the_same_seed_gives_the_same_results_and_another_one_others(tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        found.append(scores(run(tmp_path / name, BOX, protocols=LOOSE, seed=seed)))
    assert found[0] == found[1] != found[2]


def test_what_is_left_to_chance_does_not_depend_on_which_cases_are_measured(tmp_path: Path) -> None:
    both = scores(run(tmp_path, BOX, protocols=LOOSE))
    (tmp_path / "alone").mkdir()
    alone = scores(run(tmp_path / "alone", BOX, protocols=LOOSE, only=("second",)))
    assert alone == [found for found in both if found.case == "second"]


def test_a_runner_that_fails_is_a_measurement_without_steps(tmp_path: Path) -> None:
    report = run(tmp_path, own("failing"), only=("first",))
    assert [(each.steps, each.error) for each in report.measurements] == [((), "Nothing was understood.")] * 2
    assert not report.skipped


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("faulty", "a fault of the program (ZeroDivisionError: division by zero)."),
        ("hungry", "there is not enough memory."),
    ],
)
def test_a_fault_is_reported_with_its_place_and_the_rest_is_measured(
    name: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = run(tmp_path, own(name), BOX, only=("first",))
    assert [entry.reason for entry in report.skipped] == [
        f"{target}, {name}, box+range: {reason}" for target in ("egg", "rest")
    ]
    assert [each.runner for each in report.measurements] == ["box", "box"]
    [record, _] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "own_runners.py" in record.getMessage()  # where it happened


def test_no_case_of_that_name_is_reported(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="no labeled case named like nothing"):
        run(tmp_path, only=("nothing",))
    with pytest.raises(VolumeError, match="no labeled case named like frist"):
        run(tmp_path, only=("first", "frist"))  # nor is a slip of the pen passed over


def test_two_runners_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MedSAMError, match="Two runners have the same name: obedient, obedient"):
        run(tmp_path, own("obedient"), own("namesake"))


def test_masks_of_the_reference_way_are_kept_and_others_on_demand(tmp_path: Path) -> None:
    report = run(tmp_path, own("obedient"), protocols=(*REFERENCE, *LOOSE), only=("first",))
    for found in report.measurements:
        kept = load_masks(tmp_path / "out", found.key)
        assert (kept is not None) == (found.protocol == "box+range")
        if kept is not None:
            first, last = kept
            assert first.shape == last.shape == SHAPE
            assert last.sum() > first.sum() > 0
    report = run(tmp_path, BOX, protocols=LOOSE, only=("first",), keep_masks=True)
    assert all(load_masks(tmp_path / "out", found.key) is not None for found in report.measurements)


def test_the_header_says_what_it_was_measured_with(tmp_path: Path) -> None:
    header = run(tmp_path, BOX, only=("first",), command="medsamslicer benchmark accuracy", threads=1).run
    assert header["data"] == "data"
    assert header["command"] == "medsamslicer benchmark accuracy"
    assert (header["threads"], header["processes"], header["gpu"]) == (1, 1, None)
    for name in ("version", "python", "torch", "numpy", "SimpleITK", "processor", "system", "date"):
        assert isinstance(header[name], str), name
    assert "-" not in header["system"]  # nobody's own build of a kernel
    assert {"surface-distance", "scipy"} <= set(header["packages"])  # the surface metrics are theirs
    assert header["memory_gb"] is None or header["memory_gb"] > 0
    assert str(tmp_path) not in json.dumps(dict(header))


def test_progress_shows_cases_share_and_what_is_measured(tmp_path: Path) -> None:
    shown: list[BenchmarkProgress] = []
    run(tmp_path, own("obedient"), BOX, watch=shown.append)
    shares = [where.share for where in shown]
    assert shown[0].left_seconds is None
    assert (shown[-1].cases_done, shown[-1].cases, shares[-1]) == (3, 3, 1.0)
    assert "first, egg: obedient, box+range" in {where.text for where in shown}
    assert any(where.left_seconds for where in shown)
