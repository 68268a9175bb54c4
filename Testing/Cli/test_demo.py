"""`medsamslicer demo`: the main job without any file of the user's."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.cli.demo import REQUIRED_DICE, STRUCTURES
from MedSAMSlicerLib.io.atomic import reserved
from MedSAMSlicerLib.phantom import ct as phantom


@pytest.mark.slow
def test_the_demo_reaches_the_promised_dice_with_the_bundled_checkpoint(cli: Any, tmp_path: Path) -> None:
    done = cli("demo", "--output", tmp_path / "demo", "--json")
    assert done.code == 0, done
    content = json.loads(done.out)
    assert set(content["dice"]) == set(STRUCTURES)
    assert content["mean_dice"] >= REQUIRED_DICE
    assert content["mean_dice"] == pytest.approx(np.mean(list(content["dice"].values())))


def test_the_demo_writes_volume_segmentation_and_picture(
    cli: Any, random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phantom, "ct_phantom", partial(phantom.ct_phantom, (12, 64, 64)))  # for speed
    done = cli("demo", "--output", tmp_path / "demo", "--model", random_checkpoint, "--yes")
    assert done.code == 1  # random weights know no organs
    assert done.err == ""
    lines = done.out.splitlines()
    for name, line in zip([*STRUCTURES, "mean"], lines[: len(STRUCTURES) + 1], strict=True):
        assert line.startswith(name.replace("_", " "))
        assert "Dice 0." in line
    assert f"below {REQUIRED_DICE}" in done.out
    names = {file.name for file in (tmp_path / "demo").iterdir()}
    assert names == {"volume.nii.gz", "demo.seg.nrrd", "demo.png"}
    volume = sitk.ReadImage(str(tmp_path / "demo" / "volume.nii.gz"))
    segments = sitk.ReadImage(str(tmp_path / "demo" / "demo.seg.nrrd"))
    assert volume.GetSize() == segments.GetSize()
    assert segments.GetMetaData("Segment0_Name") == STRUCTURES[0]


def test_a_demo_folder_that_cannot_be_made_is_named(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = cli("demo", "--output", tmp_path / "file" / "demo")
    assert done.code == 1
    assert f"The folder {tmp_path / 'file' / 'demo'} cannot be created" in done.err


def test_a_second_demo_into_the_same_folder_is_refused_in_one_sentence(cli: Any, tmp_path: Path) -> None:
    with reserved(tmp_path):
        done = cli("demo", "--output", tmp_path)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert f"Cannot write {tmp_path}: another run is writing there" in done.err
