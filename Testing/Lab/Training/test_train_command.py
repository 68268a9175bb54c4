"""`medsamslicer train` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main


def test_a_contact_sheet_is_written(tmp_path: Path) -> None:
    assert main(["train", "--contact-sheet", str(tmp_path / "sheet.png"), "--seed", "3"]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_a_contact_sheet_for_a_missing_folder_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--contact-sheet", str(tmp_path / "nowhere" / "sheet.png")]) == 1
    assert "its folder does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(("place", "reason"), [("file", "is a file"), ("file/run", "Cannot write")])
def test_a_place_that_cannot_be_a_folder_is_refused_at_once(
    tmp_path: Path, place: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["train", "--out", str(tmp_path / place), "--steps", "1"]) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert "fault" not in error


def test_train_without_a_folder_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 2
    assert "--out" in capsys.readouterr().err


def test_learning_without_ranges_is_for_the_volume_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--no-range", "--out", str(tmp_path / "run")]) == 2
    assert "--no-range goes with train volume" in capsys.readouterr().err


def test_a_size_that_does_not_fit_the_network_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--out", str(tmp_path / "run"), "--size", "100"]) == 2
    assert "100" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("few_validation_clips")
def test_a_short_leg_leaves_weights_and_prints_its_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "train",
        "--out",
        str(tmp_path / "run"),
        "--minutes",
        "0.05",
        "--size",
        "32",
        "--frames",
        "4",
        "--workers",
        "0",
    ]
    assert main([*arguments, "--threads", "1"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"box", "point", "neighbor", "clip", "clip_last"}
    assert (tmp_path / "run" / "best.safetensors").is_file()
