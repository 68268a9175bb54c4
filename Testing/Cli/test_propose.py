"""`medsamslicer propose` from end to end on a small volume, and its candidates through the volume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.core.input_files import read_prompts
from MedSAMSlicerLib.core.prompts import MaskPrompt

LOOSE = ("--points-per-side", "4", "--least-iou", "0", "--least-stability", "0", "--threads", "1", "--yes")


@pytest.fixture
def propose(cli: Any, ct_file: Path, random_checkpoint: Path) -> Any:
    def run(*words: Any) -> Any:
        return cli("propose", ct_file, "--slice", "6", "--model", random_checkpoint, *LOOSE, *words)

    return run


def test_candidates_are_written_on_their_slice_and_can_be_carried_through_the_volume(
    propose: Any,
    cli: Any,
    ct_file: Path,
    ct_geometry: VolumeGeometry,
    random_checkpoint: Path,
    tmp_path: Path,
) -> None:
    done = propose(
        "--most", "2", "--save-prompts", tmp_path / "two.json", "--json", "-o", tmp_path / "two.seg.nrrd"
    )
    assert done.code == 0, done
    found = json.loads(done.out)["proposals"]
    assert 1 <= len(found) <= 2
    assert found[0]["name"] == "Candidate_1"
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "two.seg.nrrd")))
    slices = np.flatnonzero(written.reshape(12, -1).any(1))
    assert slices.tolist() == [6]
    kept = read_prompts(tmp_path / "two.json", ct_geometry)
    assert [obj.name for obj in kept.objects] == [each["name"] for each in found]
    assert all(isinstance(prompt, MaskPrompt) for obj in kept.objects for prompt in obj.prompts)
    carried = cli(
        *("segment", ct_file, "--prompts", tmp_path / "two.json", "--model", random_checkpoint, "--yes"),
        *("--threads", "1", "--range", "5,7", "-o", tmp_path / "all.seg.nrrd"),
    )
    assert carried.code == 0, carried


def test_a_network_that_knows_boxes_alone_draws_in_boxes_around_similar_grays(
    cli: Any, ct_file: Path, tmp_path: Path
) -> None:
    done = cli("propose", ct_file, "--slice", "6", "--model", "litemedsam", "-o", tmp_path / "a.seg.nrrd")
    assert done.code == 0, done.err
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.seg.nrrd")))
    assert np.flatnonzero(written.reshape(12, -1).any(1)).tolist() == [6]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--slice", "99"), "Slice 99 does not exist: axis k has slices 0 to 11"),
        (("--crop-layers", "9"), "crop layers must be 0 to 4"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(propose: Any, tmp_path: Path, words: Any, sentence: str) -> None:
    done = propose(*words, "-o", tmp_path / "a.seg.nrrd")
    assert done.code == 1
    assert sentence in done.err


def test_dicom_is_no_format_for_candidates(propose: Any, tmp_path: Path) -> None:
    done = propose("-o", tmp_path / "a.dcm")
    assert done.code == 1
    assert "cannot be written as DICOM SEG" in done.err
