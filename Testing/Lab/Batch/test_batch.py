"""`medsamslicer batch`: many volumes with a table of prompts, killed and resumed, here and on a cluster."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from Testing.IO.image_files import read_image
from Testing.small_networks import SMALL

from MedSAMSlicerLib.cli import main
from MedSAMSlicerLib.core.errors import PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import Box, Point
from MedSAMSlicerLib.core.tiers import SECOND_NETWORK, second_network_is_off
from MedSAMSlicerLib.io.labels import read_label
from MedSAMSlicerLib.io.nifti import write_nifti
from MedSAMSlicerLib.lab.batch.case import BatchCase, BatchOptions
from MedSAMSlicerLib.lab.batch.run import run_batch
from MedSAMSlicerLib.lab.batch.table import prompts_of, read_table
from MedSAMSlicerLib.sam2.checkpoint import save, seeded

from .generated_cases import write_cases

PACKAGE = Path(__file__).parents[3] / "MedSAMSlicer"
SHAPE = (8, 32, 40)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (1.0, 1.0, 2.0))
CASES = ("one", "two", "three")


@pytest.fixture(autouse=True, scope="module")
def own_hashes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Confirmed hashes are kept in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSAMSLICER_MODELS", str(tmp_path_factory.mktemp("models")))
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights: its masks mean nothing, but are the same each time."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save(seeded(SMALL, 3), path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three volumes and a table with two objects in each."""
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(CASES):
        array = np.random.default_rng(number).normal(0, 20, SHAPE)
        array[2:6, 10:22, 12:28] += 150
        write_nifti(folder / f"{name}.nii.gz", array.round().astype(np.int16), GEOMETRY)
    lines = ["case,object,slice,box,point,range"]
    for name in CASES:
        lines += [f"{name},liver,3,11 9 29 23,,1-6", f"{name},lesion,4,,20 15,", f"{name},lesion,4,,2 2 -,"]
    (folder / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def words(data: Path, out: Path, checkpoint: Path) -> list[str]:
    table = str(data / "table.csv")
    return [
        *("batch", str(data), "--prompts", table, "-o", str(out), "--model", str(checkpoint), "--yes"),
        *("--threads", "1", "--device", "cpu"),
    ]


def report_of(out: Path) -> list[dict[str, str]]:
    with (out / "report.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path, checkpoint: Path) -> Path:
    """A batch that ran in this process from the first to the last case."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(words(data, out, checkpoint)) == 0
    return out


def labels(out: Path) -> dict[str, np.ndarray]:
    return {name: read_label(out / f"{name}.nii.gz", GEOMETRY) for name in CASES}


def test_each_case_has_its_file_and_each_object_its_line_in_the_report(finished: Path) -> None:
    rows = report_of(finished)
    assert [(row["case"], row["object"], row["status"]) for row in rows] == [
        (name, obj, "done") for name in CASES for obj in ("liver", "lesion")
    ]
    for row in rows:
        assert (finished / row["output"]).is_file()
        assert float(row["milliliters"]) >= 0


def test_a_batch_that_is_done_is_not_computed_again_unless_its_table_changes(
    finished: Path, data: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*.seg.nrrd")}
    assert len(before) == len(CASES)
    assert main(words(data, finished, checkpoint)) == 0
    assert "0 cases done, 3 were done before, 0 failed" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = tmp_path / "other.csv"
    text = (data / "table.csv").read_text(encoding="utf-8")
    other.write_text(text.replace("two,liver,3,11 9 29 23", "two,liver,3,12 9 29 23"), encoding="utf-8")
    changed = [
        each if each != str(data / "table.csv") else str(other) for each in words(data, finished, checkpoint)
    ]
    assert main(changed) == 0
    assert "1 cases done, 2 were done before, 0 failed" in capsys.readouterr().out


def test_a_killed_batch_goes_on_where_it_was_and_gives_the_same_masks(
    data: Path, checkpoint: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    labeled = ["--format", ".nii.gz"]
    code = "import sys; from MedSAMSlicerLib.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words(data, killed, checkpoint), *labeled],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while not [*killed.glob("records/*.json")] and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    done = {path.name: path.stat().st_mtime_ns for path in killed.glob("records/*.json")}
    assert len(done) >= 1
    assert main([*words(data, killed, checkpoint), *labeled]) == 0
    assert {name: (killed / "records" / name).stat().st_mtime_ns for name in done} == done
    assert main([*words(data, whole, checkpoint), *labeled]) == 0
    for name, label in labels(killed).items():
        np.testing.assert_array_equal(label, labels(whole)[name])
    assert len(report_of(killed)) == 2 * len(CASES)


@pytest.mark.slow
def test_a_cluster_gives_the_same_masks(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install '.[lab]'")
    here, there = tmp_path / "here", tmp_path / "there"
    labeled = ["--format", ".nii.gz"]
    assert main([*words(data, here, checkpoint), *labeled]) == 0
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        assert (
            main([*words(data, there, checkpoint), *labeled, "--scheduler", cluster.scheduler_address]) == 0
        )
    for name, label in labels(there).items():
        np.testing.assert_array_equal(label, labels(here)[name])


@pytest.mark.soak
def test_twenty_cases_on_a_cluster_are_killed_and_resumed(tmp_path: Path) -> None:
    """The bundled network on generated abdomens: docs/web.md."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install '.[lab]'")
    cases, out = tmp_path / "data", tmp_path / "out"
    table = write_cases(cases, 20)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        batch = ["batch", str(cases), "--prompts", str(table), "-o", str(out), "--format", ".nii.gz"]
        command = [*batch, "--scheduler", cluster.scheduler_address]
        code = "import sys; from MedSAMSlicerLib.cli import main; sys.exit(main())"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *command], env={**os.environ, "PYTHONPATH": str(PACKAGE)}
        )
        records = out / "records"
        deadline = time.monotonic() + 600
        while len([*records.glob("*.json")]) < 5 and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        done = {path.name: path.stat().st_mtime_ns for path in records.glob("*.json")}
        assert 5 <= len(done) < 20
        assert main(command) == 0
    assert {name: (records / name).stat().st_mtime_ns for name in done} == done
    assert [row["status"] for row in report_of(out)] == ["done"] * 60
    for number in range(20):
        name = f"case{number:02d}.nii.gz"
        found, truth = (read_image(folder / name)[0] for folder in (out, cases / "truth"))
        assert 2 * ((found > 0) & (truth > 0)).sum() / ((found > 0).sum() + (truth > 0).sum()) > 0.7, name


def test_whatever_changes_in_a_series_or_of_the_networks_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"one slice")
    case = BatchCase("series", series, tmp_path / "out.nii.gz", (), BatchOptions("net", "0" * 64))
    first = case.fingerprint
    times = (series / "1.dcm").stat()
    (series / "1.dcm").write_bytes(b"two slice")
    os.utime(series / "1.dcm", ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    second = case.fingerprint
    monkeypatch.setenv(SECOND_NETWORK, "on" if second_network_is_off() else "off")
    assert len({first, second, case.fingerprint}) == 3


def test_a_volume_that_is_gone_fails_alone(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    options = BatchOptions(str(checkpoint), "0" * 64)
    gone = BatchCase("gone", tmp_path / "gone.nii", tmp_path / "out" / "gone.nii.gz", (), options)
    summary = run_batch((gone,), tmp_path / "out")
    assert (summary.done, summary.failed) == (0, 1)
    assert "does not see" in report_of(tmp_path / "out")[0]["message"]


def test_a_case_that_fails_does_not_keep_the_others_from_being_done(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "data", tmp_path / "out"
    folder.mkdir()
    (folder / "bad.nii").write_bytes(b"no image")
    (folder / "good.nii.gz").write_bytes((data / "one.nii.gz").read_bytes())
    (folder / "table.csv").write_text(
        "case;object;slice;box\nbad.nii;liver;3;1,2,9,9\ngood.nii.gz;liver;3;11 9 29 23\ngood.nii.gz;far;3;1 1 99 9\n"
    )
    assert main(words(folder, out, checkpoint)) == 1
    assert [(row["case"], row["status"]) for row in report_of(out)] == [
        ("bad.nii", "failed"),
        ("good.nii.gz", "failed"),
    ]
    assert "Line 4: " in report_of(out)[1]["message"]
    (folder / "table.csv").write_text(
        "case;object;slice;box\nbad.nii;liver;3;1,2,9,9\ngood.nii.gz;liver;3;11 9 29 23\n"
    )
    assert main(words(folder, out, checkpoint)) == 1
    assert [row["status"] for row in report_of(out)] == ["failed", "done"]
    captured = capsys.readouterr()
    assert "1 cases done, 0 were done before, 1 failed" in captured.out
    assert "warning: 1 of 2: bad.nii failed: " in captured.err


def test_the_table_becomes_prompts(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "\ufeffcase, object, axis, slice, box, point, range\n"
        'a.nii, liver, j, 5, "1, 2, 9, 7", , 3-20\n'
        "a.nii, liver, j, 22, , 4 5 -,\n\n"
        "b, cyst, , 2, , 4;5,\n",
        encoding="utf-8",
    )
    rows = read_table(table)
    assert list(rows) == ["a.nii", "b"]
    [obj] = prompts_of(rows["a.nii"], GEOMETRY).objects
    assert [type(prompt) for prompt in obj.prompts] == [Box, Point]
    assert obj.prompts[1].positive is False  # type: ignore[union-attr]
    assert obj.slice_range == (3, 22), "the range holds every prompt"
    assert rows["b"][0].axis is SliceAxis.K


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("case,object\na,b\n", "needs the columns"),
        ("case,object,slice,box\n", "has no prompts"),
        (
            "case,object,slice,box\na,b,x,1 2 3 4\n",
            "line 2: the slice must be a whole number from 0, not 'x'",
        ),
        ("case,object,slice,box\na,b,1,1 2 3\n", "line 2: a box is written x0 y0 x1 y1, not '1 2 3'"),
        ("case,object,slice,box,point\na,b,1,1 2 3 4,1 1\n", "line 2: a row needs either a box or a point"),
        (
            "case,object,slice,box,range\na,b,1,1 2 3 4,9-2\n",
            "line 2: a range is written FIRST-LAST, not '9-2'",
        ),
        ("case,object,slice,box,axis\na,b,1,1 2 3 4,z\n", "line 2: the axis is k, j or i, not 'z'"),
        ("case,object,slice,box\n,b,1,1 2 3 4\n", "line 2: the column case is empty"),
        ("case,object,slice,box,size\na,b,1,1 2 3 4,9\n", "needs the columns"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_with_its_line(
    tmp_path: Path, text: str, sentence: str
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(PromptError, match=sentence):
        read_table(table)
