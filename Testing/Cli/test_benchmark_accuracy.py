"""`medsamslicer benchmark accuracy` and `effort` on a tiny folder of generated volumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.cli import build_parser
from MedSAMSlicerLib.lab.cli.benchmark_accuracy import command_of

SHAPE = (5, 24, 26)
PACKAGE = Path(__file__).parents[2] / "MedSAMSlicer"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder of one good pair and one with a label on another grid."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    grid = np.indices(SHAPE)
    label = ((grid[0] - 2) / 2) ** 2 + ((grid[1] - 12) / 6) ** 2 + ((grid[2] - 13) / 7) ** 2 <= 1
    image = (100 + 80 * label + np.random.default_rng(0).normal(0, 4, SHAPE)).astype(np.int16)
    for name in ("good", "odd"):
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / f"{name}_image.nii.gz"))
        mask = label if name == "good" else label[:, 1:]
        sitk.WriteImage(sitk.GetImageFromArray(mask.astype(np.uint8)), str(folder / f"{name}_label.nii.gz"))
    return folder


@pytest.fixture
def benchmark(cli: Any, pairs: Path, random_checkpoint: Path, tmp_path: Path) -> Any:
    """The command on the folder, with random weights, one quick baseline and quick protocols."""

    def run(*words: Any, what: str = "accuracy", out: str = "out") -> Any:
        given = [
            "--data",
            pairs,
            "--out",
            tmp_path / out,
            "--threads",
            "1",
            "--model",
            random_checkpoint,
            "--yes",
        ]
        ways = ["--protocol", "click", "--protocol", "loose box+range"] if what == "accuracy" else []
        return cli("benchmark", what, *given, "--no-pictures", *ways, *words)

    return run


def test_a_folder_of_pairs_gives_a_report(benchmark: Any, tmp_path: Path) -> None:
    done = benchmark("--baseline", "box")
    assert done.code == 0, done
    assert "| loose box+range | box |" in done.out
    assert "warning: skipped odd: " in done.err
    written = {"report.md", "report.csv", "report.json", "report.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *written,
        "results.jsonl",
        "run.json",
        ".lock",
    }
    for name in written:
        assert f"- {tmp_path / 'out' / name}\n" in done.out
    assert "good | 1 |" not in done.out  # the table of targets is in the files


def test_the_same_command_again_gives_the_same_report_at_once(benchmark: Any) -> None:
    assert benchmark("--no-baselines").out == benchmark("--no-baselines").out


def test_the_same_seed_gives_the_same_scores_in_another_folder(benchmark: Any) -> None:
    words = ("--json", "--seed", "5", "--baseline", "ellipsoid")
    first, second = (json.loads(benchmark(*words, out=out).out) for out in ("a", "b"))
    assert [[step["dice"] for step in row["steps"]] for row in first["measurements"]] == [
        [step["dice"] for step in row["steps"]] for row in second["measurements"]
    ]
    assert first["run"]["seed"] == 5
    assert first["run"]["command"].startswith(
        "medsamslicer benchmark accuracy --data DATA --out a --protocol click "
    )
    assert len(first["run"]["runners"]) == 2


def test_without_baselines_only_the_network_is_measured(benchmark: Any) -> None:
    report = json.loads(benchmark("--json", "--no-baselines").out)
    assert len({row["runner"] for row in report["measurements"]}) == 1
    assert len(next(iter(report["run"]["runners"].values()))["sha256"]) == 64


def test_effort_measures_prompts_and_leads_with_them(benchmark: Any) -> None:
    done = benchmark("--baseline", "box", what="effort")
    assert done.code == 0, done
    assert "10 clicks" in done.out


def test_key_slices_are_boxed_and_drawn_and_stand_in_a_table_of_their_own(benchmark: Any) -> None:
    words = ("--no-baselines", "--key-slices", "2", "--json")
    report = json.loads(benchmark(*words).out)
    protocols = {row["protocol"] for row in report["measurements"]}
    assert {"2 boxed key slices+range", "2 drawn key slices+range"} <= protocols
    assert "--key-slices 2" in report["run"]["command"]
    assert "Key slices" in benchmark("--no-baselines", "--key-slices", "2").out


def test_the_protocol_of_cvpr_2025_is_measured_on_volumes_and_on_npz_files(
    cli: Any, random_checkpoint: Path, tmp_path: Path
) -> None:
    data = tmp_path / "npz"
    data.mkdir()
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 5:15, 5:12], labels[1:4, 5:15, 14:22] = 1, 2
    image = (40 + 60 * labels).astype(np.uint8)
    np.savez_compressed(data / "CT_a.npz", imgs=image, gts=labels, spacing=np.array([2.0, 1.0, 1.0]))
    words = [
        "--data",
        data,
        "--out",
        tmp_path / "out",
        "--threads",
        "1",
        "--model",
        random_checkpoint,
        "--yes",
    ]
    done = cli(
        "benchmark", "accuracy", *words, "--no-pictures", "--no-baselines", "--suite", "cvpr25", "--json"
    )
    assert done.code == 0, done
    report = json.loads(done.out)
    assert [row["target"] for row in report["measurements"]] == ["1", "2"]
    [row] = report["cvpr25"]
    assert (row["cases"], row["classes"], row["box_dice"]) == (1, 2, 0.0)  # the file gives no box
    assert 0 <= row["dice_area"] <= 4
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "CVPR 2025 interactive:" in text


def test_published_runners_that_cannot_compute_a_network_are_left_out_with_a_warning(benchmark: Any) -> None:
    done = benchmark("--official", "--no-baselines")
    assert done.code == 0, done
    assert done.err.count(" is left out: ") == 2
    assert ", sam2 is left out: " in done.err
    assert ", transformers is left out: " in done.err


def test_the_report_goes_into_a_document(benchmark: Any, tmp_path: Path) -> None:
    from MedSAMSlicerLib.lab.evaluation.documents import ORDERS

    names = [f"accuracy-{name}" for name in ORDERS["accuracy"]]
    document = tmp_path / "page.md"
    places = "\n".join(f"<!-- begin {name} -->\n<!-- end {name} -->" for name in names)
    document.write_text(f"# Page\n{places}\nthe end\n", encoding="utf-8")
    done = benchmark("--baseline", "box", "--into", document)
    assert done.code == 0, done
    text = document.read_text(encoding="utf-8")
    assert "| loose box+range | box |" in text
    assert text.endswith("the end\n")
    assert f"- {document}\n" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "telepathy"], "'telepathy' is not a protocol: box+range; box; "),
        (
            ["--suite", "all"],
            "'all' is not a suite of protocols: standard, prompts, pipelines, effort, key-slices",
        ),
        (["--key-slices", "4"], "--key-slices: invalid choice: 4"),
        (["--baseline", "doctor"], "'doctor'"),
        (["--tier", "best"], "'best'"),
        (["--threads", "0"], "--threads: a whole number of 1 or more is needed, not '0'"),
        (["--processes", "0"], "--processes: a whole number of 1 or more is needed, not '0'"),
        (["--processes", "-3"], "not '-3'"),
        (["--seed", "-1"], "--seed: a whole number of 0 or more is needed, not '-1'"),
        (["--scheduler", "tcp://127.0.0.1:9", "--processes", "2"], "cannot be combined"),
        (["--baseline", "box", "--no-baselines"], "cannot be combined"),
    ],
)
def test_wrong_words_are_reported_in_one_line(benchmark: Any, words: list[str], message: str) -> None:
    done = benchmark(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert message in done.err
    assert done.err.endswith("(see medsamslicer benchmark accuracy --help)\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["engine", "--cache-mb", "0"], "--cache-mb: a whole number of 1 or more is needed, not '0'"),
        (["engine", "--threads", "0"], "--threads: a whole number of 1 or more is needed, not '0'"),
        (["engine", "--slices", "-4"], "--slices: a whole number of 1 or more is needed, not '-4'"),
        (["engine", "--rounds", "-1"], "--rounds: a whole number of 0 or more is needed, not '-1'"),
        (["estimate", "--threads", "none"], "not 'none'"),
        (["accuracy"], "--data"),
        (["engine", "--data", "x"], "'--data'"),
        (["nothing"], "'nothing'"),
        ([], "WHAT"),
    ],
)
def test_wrong_usage_of_each_benchmark_is_one_line(cli: Any, words: list[str], message: str) -> None:
    done = cli("benchmark", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert message in done.err


def test_the_help_of_each_benchmark_has_its_own_options(cli: Any) -> None:
    texts = {
        what: cli("benchmark", what, "--help").out for what in ("accuracy", "effort", "engine", "estimate")
    }
    assert all(max(map(len, text.splitlines())) <= 120 for text in texts.values())
    assert all(f"medsamslicer benchmark {what}" in text for what, text in texts.items())
    assert {what for what, text in texts.items() if "--memory-slices" in text} == {"engine"}
    assert {what for what, text in texts.items() if "--suite" in text} == {"accuracy"}
    assert {what for what, text in texts.items() if "--scheduler" in text} == {"accuracy", "effort"}


def test_the_help_names_the_suites_that_there_are(cli: Any) -> None:
    from MedSAMSlicerLib.lab.evaluation.protocol import DEFAULT_SUITE, SUITES

    message = " ".join(cli("benchmark", "accuracy", "--help").out.split()).replace(
        "- ", "-"
    )  # lines end at hyphens
    assert f"{', '.join(SUITES)} (default: {DEFAULT_SUITE})" in message


def test_old_spellings_are_understood() -> None:
    parser = build_parser()
    engine = ["engine", "--slices", "8", "--rounds", "2", "--memory-slices", "0"]
    assert parser.parse_args(["benchmark", *engine]).memory_slices == 0
    assert parser.parse_args(["benchmark", "estimate", "--threads", "1"]).threads == 1
    accuracy = ["accuracy", "--data", "DATA", "--out", "results", "--threads", "1"]
    assert parser.parse_args(["benchmark", *accuracy, "--debug"]).debug
    assert not parser.parse_args(["benchmark", *accuracy]).debug


def test_the_command_in_the_report_names_no_place_of_this_computer() -> None:
    words = [
        "--data",
        "/volumes/mine/data",
        "--out",
        "/tmp/out",
        "--model",
        "/volumes/mine/net.pt",
        "--model",
        "sam2.1-tiny",
    ]
    words += [
        "--suite",
        "prompts",
        "--baseline",
        "random walker",
        "--processes",
        "3",
        "--seed",
        "4",
        "--keep-masks",
    ]
    message = command_of(build_parser().parse_args(["benchmark", "accuracy", *words]))
    assert message == (
        "medsamslicer benchmark accuracy --data DATA --out out --suite prompts --model net.pt --model sam2.1-tiny "
        "--baseline 'random walker' --processes 3 --seed 4 --keep-masks"
    )


def test_a_folder_of_another_seed_is_refused(benchmark: Any) -> None:
    benchmark("--no-baselines")
    done = benchmark("--no-baselines", "--seed", "1")
    assert done.code == 1
    assert "holds results with seed 0, not 1" in done.err


def test_data_that_are_not_there_are_reported(cli: Any, tmp_path: Path) -> None:
    done = cli(
        "benchmark", "accuracy", "--data", tmp_path / "gone", "--out", tmp_path / "out", "--no-baselines"
    )
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "does not exist" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ctrl_c_on_the_terminal_ends_all_processes_with_one_line(
    pairs: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "waiting.py").write_text(
        textwrap.dedent(f"""
        import os, time
        from pathlib import Path

        class Waiting:
            name = "waiting"
            def supports(self, protocol): return True
            def corrects(self, protocol): return False
            def describe(self): return {{}}
            def begin(self, volume, axis):
                Path({str(tmp_path)!r}, f"{{os.getpid()}}.busy").touch()
                time.sleep(60)
    """)
    )
    words = [
        "benchmark",
        "accuracy",
        "--data",
        pairs,
        "--out",
        tmp_path / "out",
        "--model",
        random_checkpoint,
    ]
    words += [
        "--yes",
        "--no-baselines",
        "--runner",
        "waiting:Waiting",
        "--processes",
        "2",
        "--protocol",
        "click",
    ]
    program = subprocess.Popen(
        [sys.executable, "-m", "MedSAMSlicerLib.cli", *map(str, words)],
        env={**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{tmp_path}"},
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        while not list(tmp_path.glob("*.busy")):
            assert program.poll() is None
            time.sleep(0.05)
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does
        _, message = program.communicate(timeout=180)
    finally:
        program.kill()
    assert program.returncode == 130
    *shown, last = message.splitlines()
    assert last == "medsamslicer: error: canceled; no file was left half-written."
    assert all(line.startswith("measuring ") for line in shown)
    [busy] = [int(path.stem) for path in tmp_path.glob("*.busy")]
    with pytest.raises(ProcessLookupError):
        os.kill(busy, 0)
    results = (tmp_path / "out" / "results.jsonl").read_text(encoding="utf-8")
    assert results.count('"key"') == 1
