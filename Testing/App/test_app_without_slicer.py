"""`app/` runs in a Python without 3D Slicer, on ports in memory, from a prompt to exported files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.input_files import read_prompts
from MedSAMSlicerLib.io.volumes import read_volume

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def walked(folder: Path) -> dict[str, Any]:
    """What `without_slicer.py` found, in a process that refuses to import 3D Slicer."""
    command = [sys.executable, "-m", "Testing.App.without_slicer", str(folder)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_a_box_gives_a_preview_of_its_slice_and_the_propagation_the_body(walked: dict[str, Any]) -> None:
    assert walked["network"] == "ready"
    assert walked["preview_slices"] == [7]
    assert walked["preview_dice"] > 0.9
    assert walked["dice"] > 0.85


def test_undo_and_redo_give_each_mask_again(walked: dict[str, Any]) -> None:
    assert walked["undo_gives_the_preview_again"]
    assert walked["redo_gives_the_mask_again"]


def test_a_mask_takes_voxels_of_another_segment_and_undo_gives_them_back(walked: dict[str, Any]) -> None:
    assert walked["taken_on_slices"] == [7]
    assert walked["undo_gives_back_what_was_taken"]


def test_what_was_exported_reads_back(walked: dict[str, Any], folder: Path) -> None:
    volume = read_volume(folder / "mask.nii.gz")
    assert np.count_nonzero(volume.array) == walked["exported_voxels"]
    assert walked["files"] == ["prompts.json"]
    prompts = read_prompts(folder / "prompts.json", volume.geometry)
    assert [(obj.name, len(obj.prompts)) for obj in prompts.objects] == [("left", 1)]


def test_a_network_that_knows_boxes_alone_takes_points_once_there_is_a_box(walked: dict[str, Any]) -> None:
    assert walked["points_known"] == [None, None]
    point, stroke, box = walked["points_unknown"]
    assert point == stroke == "This network accepts only boxes: draw a box around the object first."
    assert box is None
    assert walked["points_after_a_box"] == [None, None]


def test_nothing_of_slicer_was_imported(walked: dict[str, Any]) -> None:
    assert walked["of_slicer"] == []
