"""A folder of labeled volumes is understood by a few naming rules, or by its manifest."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.io.nifti import write_nifti
from MedSAMSlicerLib.io.nrrd import write_nrrd
from MedSAMSlicerLib.io.segmentations import write_seg_nrrd
from MedSAMSlicerLib.lab.training.labeled import (
    DataSettings,
    TrainingCase,
    cases_with_images,
    find_cases,
    label_maps,
    read_case,
    read_cases,
    read_label_map,
    split,
)

SHAPE = (6, 20, 24)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (1.0, 1.0, 3.0))


def image() -> np.ndarray:
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


def labels() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 2:10, 3:9] = 1
    array[2:5, 12:18, 12:20] = 3
    array[0, 0, 0] = 3  # a single voxel is no object
    return array


@pytest.mark.parametrize(
    ("image_name", "label_name", "case"),
    [
        ("a.nii.gz", "a_label.nii.gz", "a"),
        ("a_image.nii.gz", "a_label.nii.gz", "a"),
        ("a_0000.nii", "a-seg.nii", "a"),
        ("images/a.nii.gz", "labels/a.nii.gz", "a"),
        ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "a"),
        ("patient1/ct.nii.gz", "patient1/ct_mask.nii.gz", "patient1/ct"),
        ("a.nii.gz", "a_segmentation.nrrd", "a"),
    ],
)
def test_pairs_are_found_by_name(tmp_path: Path, image_name: str, label_name: str, case: str) -> None:
    for name in (image_name, label_name):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_cases(tmp_path) == [TrainingCase(case, tmp_path / image_name, tmp_path / label_name)]


def test_a_segmentation_of_slicer_is_a_label(tmp_path: Path) -> None:
    write_nifti(tmp_path / "ct.nii.gz", image(), GEOMETRY)
    masks = {"liver": labels() == 1, "spleen": labels() == 3}
    write_seg_nrrd(tmp_path / "ct.seg.nrrd", masks, GEOMETRY)
    [case] = find_cases(tmp_path)
    assert case.label.name == "ct.seg.nrrd"
    assert sorted(t.mask.sum() for t in read_case(case).targets) == [3 * 8 * 6, 3 * 6 * 8]


def test_overlapping_segments_are_refused_in_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_nifti(tmp_path / "ct.nii.gz", image(), GEOMETRY)
    write_seg_nrrd(tmp_path / "ct.seg.nrrd", {"all": labels() > 0, "liver": labels() == 1}, GEOMETRY)
    with caplog.at_level(logging.WARNING), pytest.raises(VolumeError):
        read_cases(find_cases(tmp_path))
    [warning] = caplog.messages
    assert "contains overlapping segments (2 layers)" in warning
    assert "color" not in warning


def test_a_label_below_zero_is_no_object(tmp_path: Path) -> None:
    write_nifti(tmp_path / "ct.nii.gz", image(), GEOMETRY)
    signed = labels().astype(np.int16)
    signed[5] = -1  # such as "not labeled"
    write_nifti(tmp_path / "ct_label.nii.gz", signed, GEOMETRY)
    assert [target.name for target in read_case(find_cases(tmp_path)[0]).targets] == ["1", "3"]


def test_image_and_label_of_different_formats_belong_together(tmp_path: Path) -> None:
    with (tmp_path / "mr.nrrd").open("wb"):
        pass
    write_nrrd(tmp_path / "mr.nrrd", image(), GEOMETRY, {})
    write_nifti(tmp_path / "mr_label.nii.gz", labels(), GEOMETRY)
    assert len(read_cases(find_cases(tmp_path))[0].targets) == 2


def test_the_manifest_names_objects_windows_and_what_has_no_label(tmp_path: Path) -> None:
    write_nifti(tmp_path / "scan.nii.gz", image(), GEOMETRY)
    write_nifti(tmp_path / "truth.nii.gz", labels(), GEOMETRY)
    entry = {
        "name": "one",
        "image": "scan.nii.gz",
        "label": "truth.nii.gz",
        "objects": [[1, 3]],
        "window": "0,2880",
    }
    (tmp_path / "manifest.json").write_text(json.dumps([entry, {"image": "other.nii.gz", "label": None}]))
    [case] = find_cases(tmp_path)
    volume = read_case(case)
    assert (volume.name, volume.window.upper) == ("one", 2880.0)
    assert {target.name for target in volume.targets} == {"1+3"}


def test_label_maps_without_an_image_are_no_cases_to_read_and_a_dicom_folder_is_one(tmp_path: Path) -> None:
    write_nifti(tmp_path / "scan.nii.gz", image(), GEOMETRY)
    write_nifti(tmp_path / "truth.nii.gz", labels(), GEOMETRY)
    (tmp_path / "series").mkdir()
    images = ["scan.nii.gz", "series", "gone.nii.gz", None, ""]
    rows = [{"name": str(name), "image": name, "label": "truth.nii.gz"} for name in images]
    (tmp_path / "manifest.json").write_text(json.dumps(rows))
    assert len(find_cases(tmp_path)) == len(images), "fine-tuning warns of those that cannot be read"
    assert [case.name for case in cases_with_images(tmp_path)] == ["scan.nii.gz", "series"]
    assert label_maps(tmp_path) == [tmp_path / "truth.nii.gz"] * 2
    array, spacing = read_label_map(tmp_path / "truth.nii.gz")
    assert np.array_equal(array, labels())
    assert spacing == (3.0, 1.0, 1.0)


def test_objects_are_connected_and_know_their_place(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", image(), GEOMETRY)
    write_nifti(tmp_path / "a_label.nii.gz", labels(), GEOMETRY)
    targets = read_case(find_cases(tmp_path)[0]).targets
    assert [target.name for target in targets] == ["1", "3"]
    whole = labels() == 3
    whole[0, 0, 0] = False
    for axis in SliceAxis:
        for index in range(SHAPE[axis]):
            shown = targets[1].on_slice(GEOMETRY, axis, index)
            assert np.array_equal(shown, np.take(whole, index, axis=int(axis)))
            assert (index in targets[1].extent(axis)) == shown.any()


def test_what_does_not_fit_is_left_out_with_a_warning(
    tmp_path: Path, balls: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(balls, tmp_path / "data")
    write_nifti(tmp_path / "data" / "odd_image.nii.gz", image(), GEOMETRY)
    wrong = VolumeGeometry.from_spacing(SHAPE, (1.0, 1.0, 4.0))
    write_nifti(tmp_path / "data" / "odd_label.nii.gz", labels(), wrong)
    (tmp_path / "data" / "alone_label.nii.gz").touch()
    with caplog.at_level(logging.WARNING):
        assert len(read_cases(find_cases(tmp_path / "data"))) == 4
    assert "odd is left out" in caplog.text
    assert "alone_label.nii.gz is left out" in caplog.text


@pytest.mark.parametrize("content", ["{", '{"image": 1}', '[{"label": "x"}]', "[3]"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(VolumeError, match=r"manifest\.json"):
        find_cases(tmp_path)


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(VolumeError, match="no image with labels"):
        find_cases(tmp_path)
    with pytest.raises(VolumeError, match="does not exist"):
        find_cases(tmp_path / "nowhere")


def cases(count: int) -> list[TrainingCase]:
    return [TrainingCase(f"case{n}", Path("i"), Path("l")) for n in range(count)]


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_volumes_for_validation_are_never_trained_on(count: int) -> None:
    settings = DataSettings(Path())
    training, validation = split(cases(count), settings, seed=3)
    assert (training, validation) == split(cases(count), settings, seed=3)
    assert not {c.name for c in training} & {c.name for c in validation}
    assert len(training) + len(validation) == count
    assert len(validation) == max(1, round(0.2 * count))


def test_what_is_left_out_is_in_neither_part() -> None:
    training, validation = split(cases(12), DataSettings(Path(), leave_out=("case3", "case1*")), seed=0)
    names = {c.name for c in training + validation}
    assert names == {"case0", "case2", "case4", "case5", "case6", "case7", "case8", "case9"}
    chosen = DataSettings(Path(), only=("case[0-4]", "case11"), leave_out=("case1",))
    training, validation = split(cases(12), chosen, seed=0)
    assert {c.name for c in training + validation} == {"case0", "case2", "case3", "case4", "case11"}
    with pytest.raises(VolumeError, match="'case99'"):
        split(cases(3), DataSettings(Path(), leave_out=("case99",)), seed=0)
    with pytest.raises(VolumeError, match="left out"):
        split(cases(3), DataSettings(Path(), leave_out=("*",)), seed=0)


def test_no_volume_is_kept_for_validation_when_none_is_wanted() -> None:
    training, validation = split(cases(4), DataSettings(Path(), validation=0.0), seed=0)
    assert training == validation == cases(4)


def test_objects_that_are_too_small_to_learn_are_left_out(balls: Path) -> None:
    [first, *_] = cases = find_cases(balls)
    voxels = int(read_case(first).targets[0].mask.sum())
    assert len(read_cases(cases[:1], smallest=voxels)[0].targets) == 1
    with pytest.raises(VolumeError, match=f"holds no object of at least {voxels + 1} voxels"):
        read_cases(cases[:1], smallest=voxels + 1)
