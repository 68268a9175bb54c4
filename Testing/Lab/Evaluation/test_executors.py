"""This process, several processes and a Dask cluster measure the same; a process that dies costs one trial."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.lab.evaluation.accuracy import AccuracyBenchmark, run_accuracy_benchmark
from MedSAMSlicerLib.lab.evaluation.datasets import find_cases
from MedSAMSlicerLib.lab.evaluation.executors import DaskExecutor, Executor, ProcessExecutor
from MedSAMSlicerLib.lab.evaluation.protocol import PROTOCOLS
from MedSAMSlicerLib.lab.evaluation.report_data import AccuracyReport, CaseSkipped
from MedSAMSlicerLib.lab.evaluation.runner_specs import RunnerSpec
from MedSAMSlicerLib.lab.evaluation.work import CaseTask, measure_remotely
from MedSAMSlicerLib.sam2.checkpoint import save, seeded

from .labeled_volumes import data_set
from .own_runners import MARKS

pytestmark = pytest.mark.usefixtures("own_runners")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and weights."""
    place = tmp_path_factory.mktemp("executors")
    (place / "data").mkdir()
    data_set(place / "data")
    save(seeded(SMALL, 3), place / "net.safetensors")
    return place


def own(name: str) -> RunnerSpec:
    return RunnerSpec("own", f"own_runners:{name}")


def run(
    folder: Path, out: Path, executor: Executor | None, *specs: RunnerSpec, **more: Any
) -> AccuracyReport:
    benchmark = AccuracyBenchmark(folder / "data", out, (PROTOCOLS["loose box+range"],), **more)
    return run_accuracy_benchmark(benchmark, specs or (RunnerSpec("box"),), executor=executor)


def scores(report: AccuracyReport) -> list[dict[str, Any]]:
    """All but seconds and memory."""
    found = [asdict(measurement) for measurement in report.measurements]
    for values in found:
        del values["first_seconds"], values["peak_mb"]
        for step in values["steps"]:
            del step["seconds"]
    return found


@pytest.mark.slow
def test_processes_measure_what_this_process_measures(folder: Path, tmp_path: Path) -> None:
    net = RunnerSpec("engine", "net", str(folder / "net.safetensors"), threads=1)
    specs = (net, RunnerSpec("ellipsoid"))
    alone = run(folder, tmp_path / "alone", None, *specs)
    several = run(folder, tmp_path / "several", ProcessExecutor(2), *specs)
    assert len(alone.measurements) == 8
    assert scores(several) == scores(alone)
    assert several.skipped == alone.skipped
    assert several.run["processes"] == 2


def test_a_process_that_is_killed_costs_one_trial_and_is_reported(folder: Path, tmp_path: Path) -> None:
    report = run(folder, tmp_path, ProcessExecutor(1), own("deadly"), only=("first",))
    assert [entry.reason for entry in report.skipped] == [
        f"{target}, deadly, loose box+range: the process that measured it was killed (signal 9), "
        "perhaps for lack of memory."
        for target in ("egg", "rest")
    ]


def slow_task(folder: Path) -> CaseTask:
    [first] = [case for case in find_cases(folder / "data") if case.name == "first"]
    return CaseTask(first, 1, (PROTOCOLS["box+range"],), (own("slow"),))


def test_ctrl_c_ends_all_processes_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARKS, str(tmp_path))

    def press() -> None:
        waited_for(lambda: busy(tmp_path))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    outcomes = ProcessExecutor(1).run([slow_task(folder)])
    with pytest.raises(KeyboardInterrupt), contextlib.closing(outcomes):  # type: ignore[type-var]
        for _ in outcomes:
            pass
    assert not any(map(is_alive, busy(tmp_path)))


def test_processes_end_with_the_one_that_started_them(
    folder: Path, tmp_path: Path, own_runners: Path
) -> None:
    """kill -9 of the program leaves no process behind."""
    (tmp_path / "task.pickle").write_bytes(pickle.dumps(slow_task(folder)))
    code = textwrap.dedent(f"""
        import pickle, sys
        from pathlib import Path
        sys.path[:0] = [{str(own_runners)!r}, {str(Path(__file__).parents[3] / "MedSAMSlicer")!r}]
        from MedSAMSlicerLib.lab.evaluation.executors import ProcessExecutor
        task = pickle.loads(Path({str(tmp_path / "task.pickle")!r}).read_bytes())
        list(ProcessExecutor(1).run([task]))
    """)
    program = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, MARKS: str(tmp_path)})
    try:
        waited_for(lambda: busy(tmp_path))
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
    waited_for(lambda: not any(map(is_alive, busy(tmp_path))))


def test_what_a_worker_of_a_cluster_does_not_see_or_have_is_reported(folder: Path) -> None:
    task = slow_task(folder)
    hidden = replace(task, case=replace(task.case, label=folder / "gone.nii.gz"))
    [skipped, _] = measure_remotely(hidden)
    assert isinstance(skipped, CaseSkipped)
    assert "does not see" in skipped.reason
    assert "gone.nii.gz: data must lie at the same path on every machine." in skipped.reason
    [skipped, _] = measure_remotely(task, "0.0.1")
    assert isinstance(skipped, CaseSkipped)
    assert skipped.reason.endswith("not 0.0.1.")


@pytest.mark.slow
def test_a_dask_cluster_measures_what_this_process_measures(folder: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    alone = run(folder, tmp_path / "alone", None)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        clustered = run(folder, tmp_path / "dask", DaskExecutor(cluster.scheduler_address))
    assert scores(clustered) == scores(alone)
    assert clustered.skipped == alone.skipped
    assert clustered.run["processes"] is None


def test_a_scheduler_that_does_not_answer_is_reported() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(MedSAMError, match="No Dask scheduler answers at tcp://127"):
        list(DaskExecutor("tcp://127.0.0.1:9", timeout_s=1).run(()))
    for address in ("somewhere", "tcp://somewhere", "tcp://somewhere:port"):
        with pytest.raises(
            MedSAMError, match=f"'{address}' is no address of a Dask scheduler, such as tcp://HOST:8786"
        ):
            list(DaskExecutor(address).run(()))


def waited_for(condition: Any, seconds: float = 180) -> Any:
    """What the condition gives once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("this did not happen in time")


def busy(folder: Path) -> list[int]:
    """The processes that were at work for the slow runner."""
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def is_alive(process: int) -> bool:
    """Return whether a process runs; one that is dead and not yet reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
