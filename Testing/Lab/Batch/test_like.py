"""`medsamslicer batch --like`: segmented cases are the memory for the others, and nothing is prompted."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from Testing.clips import dice

pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main
from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.io.labels import read_mask
from MedSAMSlicerLib.io.nifti import write_nifti
from MedSAMSlicerLib.io.segmentations import write_seg_nrrd

SHAPE = (2, 96, 96)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (1.0, 1.0, 1.0))


def ellipse(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright ellipse with smaller blobs beside it on two slices, and where the ellipse is."""
    random = np.random.default_rng(seed)
    _, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(float)
    row, column = random.uniform(0.4, 0.6, 2) * SHAPE[1]
    height, width = random.uniform(0.16, 0.22, 2) * SHAPE[1]
    inside = ((y - row) / height) ** 2 + ((x - column) / width) ** 2 < 1
    volume = random.normal(60, 8, SHAPE)
    volume[inside] += random.uniform(70, 90)
    for _ in range(3):
        row, column = random.uniform(0.1, 0.9, 2) * SHAPE[1]
        volume[((y - row) ** 2 + (x - column) ** 2 < (0.06 * SHAPE[1]) ** 2) & ~inside] += 50
    return volume.clip(0, 255).astype(np.uint8), inside


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segmented cases, one of them named by 3D Slicer's kind of file, and two that are not."""
    folder = tmp_path_factory.mktemp("data")
    for seed in (1, 2, 3, 11, 12):
        volume, inside = ellipse(seed)
        write_nifti(folder / f"case{seed}.nii.gz", volume, GEOMETRY)
        if seed < 10:
            write_nifti(folder / f"case{seed}_label.nii.gz", 4 * inside.astype(np.uint8), GEOMETRY)
    return folder


@pytest.fixture(autouse=True)
def own_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))


def test_three_segmented_cases_segment_the_others_of_their_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["batch", str(data), "--like", str(data), "--threads", "1", "--window", "full"]
    words += ["--format", ".nii.gz", "-o", str(tmp_path / "out")]
    assert main(words) == 0
    assert "2 cases done, 0 were done before, 0 failed" in capsys.readouterr().out
    with (tmp_path / "out" / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["object"], row["slices"]) for row in rows] == [
        ("case11.nii.gz", "4", "2"),
        ("case12.nii.gz", "4", "2"),
    ]
    for seed in (11, 12):
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / f"case{seed}.nii.gz"))) > 0
        assert dice(found, ellipse(seed)[1]) > 0.9
    # what was made may be looked through and serve the next ones; a changed label is remembered again
    assert main(words) == 0
    assert "0 cases done, 2 were done before, 0 failed" in capsys.readouterr().out


def test_a_segment_keeps_the_name_that_3d_slicer_gave_it(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "done"
    folder.mkdir()
    volume, inside = ellipse(1)
    write_nifti(folder / "a.nii.gz", volume, GEOMETRY)
    write_seg_nrrd(folder / "a.seg.nrrd", {"Nucleus": inside}, GEOMETRY, {"Nucleus": (1.0, 0.0, 0.0)}, "a")
    write_nifti(folder / "b.nii.gz", ellipse(11)[0], GEOMETRY)
    words = ["batch", str(folder), "--like", str(folder), "--threads", "1", "--window", "full"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    assert read_mask(tmp_path / "out" / "b.seg.nrrd", GEOMETRY, "Nucleus").any()


def test_what_cannot_be_segmented_alike_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    like = ["--like", str(data), "-o", str(tmp_path / "out"), "--threads", "1"]
    for words, sentence, code in (
        ([str(data), *like, "--cleanup", "islands"], "--cleanup and --overlap go with --prompts", 2),
        ([str(data), "--axis", "j", "--prompts", "a.csv", "-o", "b"], "--axis goes with --like", 2),
        ([str(data), "--like", str(data), "-o", str(data)], "results would count as labels", 2),
        ([str(data), "-o", "b"], "one of the arguments --prompts --like is required", 2),
        ([str(tmp_path / "empty"), *like], "holds no volume that is not segmented already", 1),
        ([str(data), "--like", str(tmp_path / "empty"), "-o", "b"], "holds no image with labels", 1),
    ):
        assert main(["batch", *words]) == code
        assert sentence in capsys.readouterr().err


def test_a_labeled_case_that_cannot_be_used_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "done"
    folder.mkdir()
    write_nifti(folder / "a.nii.gz", ellipse(1)[0], GEOMETRY)
    label = folder / "a_label.nii.gz"
    words = ["batch", str(data), "--like", str(folder), "-o", str(tmp_path / "out"), "--threads", "1"]
    for shape, sentence in (
        (SHAPE, "The labeled cases hold no object"),
        ((2, 90, 96), "does not fit the volume: it has 2 x 90 x 96 voxels"),
    ):
        write_nifti(label, np.zeros(shape, np.uint8), VolumeGeometry.from_spacing(shape, (1.0, 1.0, 1.0)))
        assert main(words) == 1
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1
        assert not (tmp_path / "out" / "report.csv").exists()


def test_a_network_without_memory_is_refused_once_before_any_case_is_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from MedSAMSlicerLib.io import volumes

    monkeypatch.setattr(volumes, "read_volume", lambda *_: pytest.fail("a case was read"))
    words = ["batch", str(data), "--like", str(data), "-o", str(tmp_path / "out"), "--model", "litemedsam"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "litemedsam draws every slice by itself and remembers no segmented case: choose" in error
    assert not (tmp_path / "out").exists()
