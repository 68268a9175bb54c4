"""`medsamslicer benchmark accuracy` on a tiny folder of generated volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.evaluation.accuracy_report import FILES

SHAPE = (5, 24, 26)


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
    """The command on the folder, with random weights and one quick way of working."""

    def run(*words: str, out: str = "out", network: Path | None = random_checkpoint) -> Any:
        model = ["--model", network, "--yes"] if network else []
        given = ["--data", pairs, "--out", tmp_path / out, "--threads", "1", *model]
        return cli(
            "benchmark", "accuracy", *given, "--protocol", "click", "--protocol", "loose box+range", *words
        )

    return run


def test_a_folder_of_pairs_gives_a_report(benchmark: Any, tmp_path: Path) -> None:
    done = benchmark()
    assert done.code == 0, done
    assert "| good | 1 | 5 |" in done.out
    assert "warning: skipped odd: " in done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*FILES, "results.jsonl", "run.json"]
    )
    assert (tmp_path / "out" / "report.md").read_text(encoding="utf-8") == done.out


def test_the_same_command_again_gives_the_same_report_at_once(benchmark: Any) -> None:
    assert benchmark().out == benchmark().out


def test_the_same_seed_gives_the_same_scores_in_another_folder(benchmark: Any) -> None:
    first, second = (json.loads(benchmark("--json", "--seed", "5", out=out).out) for out in ("a", "b"))
    assert [row["dice"] for row in first["rows"]] == [row["dice"] for row in second["rows"]]
    assert first["summary"] == second["summary"]
    assert first["run"]["seed"] == 5


def test_without_rivals_only_the_network_is_measured(benchmark: Any) -> None:
    report = json.loads(benchmark("--json", "--no-rivals").out)
    assert len({row["runner"] for row in report["rows"]}) == 1
    assert len(next(iter(report["run"]["runners"].values()))["sha256"]) == 64


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", ""], "does not exist|holds no labelled"),
        (["--protocol", "telepathy"], "'telepathy' is no way of working"),
    ],
)
def test_wrong_words_are_told_in_one_line(
    benchmark: Any, words: list[str], said: str, tmp_path: Path
) -> None:
    if words[1] == "":
        (tmp_path / "empty").mkdir()
        words = ["--data", str(tmp_path / "empty")]
    done = benchmark(*words)
    assert done.code in (1, 2)
    assert done.err.count("\n") == 1
    assert any(part in done.err for part in said.split("|"))


def test_data_must_be_named(cli: Any) -> None:
    done = cli("benchmark", "accuracy")
    assert (done.code, done.out) == (2, "")
    assert "needs --data DATA" in done.err


def test_a_folder_of_another_seed_is_refused(benchmark: Any) -> None:
    benchmark()
    done = benchmark("--seed", "1")
    assert done.code == 1
    assert "holds results with seed 0, not 1" in done.err
