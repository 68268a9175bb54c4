"""What decides between two networks' masks in a box is learned from labeled volumes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main
from MedSAMSlicerLib.core.tiers import SECOND_NETWORK
from MedSAMSlicerLib.io.nifti import write_nifti
from MedSAMSlicerLib.lab.training.box_choice import DrawnTwice, _cross_validated, _regression
from MedSAMSlicerLib.phantom.ct import ct_phantom

ROWS = 200


@pytest.fixture
def rows() -> list[DrawnTwice]:
    """Slices of 40 patients; the mask with the smoother outline is the better one, the rest is noise."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(ROWS):
        fill, tightness = rng.normal(0, 0.1, 2)
        outline = rng.normal(0, 1)
        found.append(DrawnTwice(f"p{number % 40:02d}", 0.8, 0.8 - 0.05 * outline, (fill, tightness, outline)))
    return found


def test_the_smoother_mask_is_learned_to_be_the_better_one(rows: list[DrawnTwice]) -> None:
    apart = np.array([row.difference for row in rows])
    better = np.array([row.second - row.first for row in rows])
    fill, tightness, outline = np.array(_regression(apart, better)) * (0.1, 0.1, 1.0)
    assert outline < -1
    assert max(abs(fill), abs(tightness)) < 0.2 * abs(outline)
    taken = _cross_validated(rows, apart, better, 0)
    assert (better[taken] > 0).mean() > 0.95
    assert taken.sum() > 0.3 * ROWS


def test_a_patient_that_is_judged_is_never_learned_from(rows: list[DrawnTwice]) -> None:
    apart = np.array([row.difference for row in rows])
    better = np.array([row.second - row.first for row in rows])
    own = np.array([row.patient == "p00" for row in rows])
    before = _cross_validated(rows, apart, better, 0)[own]
    spoiled = np.where(own, -10 * better, better)
    assert np.array_equal(_cross_validated(rows, apart, spoiled, 0)[own], before)


@pytest.mark.slow
def test_the_command_prints_the_weights_and_what_they_bring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECOND_NETWORK)
    array, geometry, truth = ct_phantom((8, 96, 96), seed=3)
    labels = truth["liver"] + 2 * truth["spleen"].astype(np.uint8)
    write_nifti(tmp_path / "a.nii.gz", array, geometry)
    write_nifti(tmp_path / "a_label.nii.gz", labels.astype(np.uint8), geometry)
    assert main(["train", "choice", "--data", str(tmp_path), "--threads", "1"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {"fill", "tightness", "outline"} <= printed.keys()
    assert printed["slices"] == 2
    assert printed["best"] >= max(printed["first"], printed["second"], printed["chosen"]) > 0.5


def test_the_command_asks_for_volumes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "choice"]) == 2
    assert "--data" in capsys.readouterr().err
