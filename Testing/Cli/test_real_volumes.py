"""Real CT and MR volumes from one box to a segmentation file, with the bundled checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.io.labels import read_label
from MedSAMSlicerLib.io.volumes import read_volume

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """A volume, the label values that are one object, and the Dice that must be reached."""

    image: str
    label: str
    values: tuple[int, ...]
    least: float


CASES = {
    "ct_spleen": Case("ct_spleen_image.nii.gz", "ct_spleen_label.nii.gz", (1,), 0.6),
    "sts041_mr_t1": Case("sts041_mr_t1_image.nii.gz", "sts041_mr_t1_label.nii.gz", (1,), 0.65),
    "brats13_0001_flair": Case(
        "brats13_0001_flair_image.nii.gz", "brats13_0001_flair_label.nii.gz", (1, 2, 3, 4), 0.4
    ),
    "mr_prostate_0": Case("mr_prostate_0_image.nii.gz", "mr_prostate_0_label.nii.gz", (1,), 0.7),
    "mr_lung_cor_0004": Case("mr_lung_cor_0004_image.nii.gz", "mr_lung_cor_0004_label.nii.gz", (1,), 0.6),
    "dicom_ct_abdomen": Case("dicom", "label.nii.gz", (5,), 0.7),
}


def box_and_range(mask: np.ndarray) -> list[str]:
    """The tight box on the largest slice, and the slices of the object."""
    index = int(mask.sum(axis=(1, 2)).argmax())
    rows, columns = mask[index].nonzero()
    box = f"{index},{columns.min()},{rows.min()},{columns.max() + 1},{rows.max() + 1}"
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    return ["--box", f"object={box}", "--range", f"{filled[0]},{filled[-1]}"]


@pytest.mark.parametrize("name", CASES)
def test_one_box_segments_a_real_volume(shared_data: Path, cli: Any, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    volume = read_volume(shared_data / name / case.image)
    truth = np.isin(read_label(shared_data / name / case.label, volume.geometry), case.values)
    output = tmp_path / "object.seg.nrrd"
    done = cli("segment", shared_data / name / case.image, *box_and_range(truth), "-o", output, "--json")
    assert done.code == 0, done
    mask = read_label(output, volume.geometry) > 0
    assert mask.sum() == json.loads(done.out)["objects"][0]["voxels"]
    assert dice(mask, truth) >= case.least


def test_a_dicom_series_becomes_a_dicom_segmentation(
    shared_data: Path, cli: Any, random_checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom", reason="needs the extra `dicom`")
    pydicom = pytest.importorskip("pydicom")
    folder = shared_data / "dicom_ct_abdomen" / "dicom"
    shape = read_volume(folder).geometry.shape
    box = f"liver={shape[0] // 2},{shape[2] // 4},{shape[1] // 4},{shape[2] // 2},{shape[1] // 2}"
    words = ["segment", folder, "--box", box, "--model", random_checkpoint, "--yes"]
    done = cli(*words, "--range", f"{shape[0] // 2},{shape[0] // 2 + 1}", "-o", tmp_path / "liver.dcm")
    assert done.code == 0, done
    written = pydicom.dcmread(tmp_path / "liver.dcm")
    assert written.Modality == "SEG"
    assert written.SegmentSequence[0].SegmentLabel == "liver"
