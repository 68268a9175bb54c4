"""Labelled cases are found, and their targets are the largest components of the largest labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.evaluation.datasets import find_cases, largest_component, load_case

from .labelled_volumes import SHAPE, brick, bright, data_set, ellipsoid, write


def test_a_manifest_names_the_labelled_cases(tmp_path: Path) -> None:
    cases = find_cases(data_set(tmp_path))
    assert [case.name for case in cases] == ["first", "broken", "second"]
    assert find_cases(tmp_path / "manifest.json") == cases
    assert cases[0].modality == "CT"


def test_the_largest_labels_are_the_targets(tmp_path: Path) -> None:
    volume, targets = load_case(find_cases(data_set(tmp_path))[0])
    assert volume.array.shape == SHAPE
    assert {target.name for target in targets} == {"egg", "rest"}
    sizes = [np.count_nonzero(target.mask) for target in targets]
    assert sizes == sorted(sizes, reverse=True)
    assert len(load_case(find_cases(tmp_path)[0], most=1)[1]) == 1


def test_labels_that_the_manifest_joins_are_one_target(tmp_path: Path) -> None:
    data_set(tmp_path)
    entries = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    entries[0]["target"] = "whole = labels 1-2 (FLAIR); egg = 1"
    (tmp_path / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    _, targets = load_case(find_cases(tmp_path)[0])
    assert [target.name for target in targets] == ["whole"]
    assert np.array_equal(targets[0].mask, ellipsoid() | brick())


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a/x_image.nii.gz", "a/x_label.nii.gz"),
        ("x.nrrd", "x_seg.nrrd"),
        ("imagesTr/x_0000.nii.gz", "labelsTr/x.nii.gz"),
        ("images/x.mha", "labels/x.nii.gz"),
    ],
)
def test_pairs_are_found_by_their_names(tmp_path: Path, image: str, label: str) -> None:
    write(tmp_path / image, bright(ellipsoid()))
    write(tmp_path / label, ellipsoid().astype(np.uint8))
    write(tmp_path / "lonely.nii.gz", bright(ellipsoid()))
    [case] = find_cases(tmp_path)
    assert (case.image, case.label) == (tmp_path / image, tmp_path / label)
    _, [target] = load_case(case)
    assert np.array_equal(target.mask, ellipsoid())
    assert target.largest_slice == 7
    assert target.slice_range == (2, 12)


def test_cases_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder / "image.nii.gz", bright(ellipsoid()))
        write(tmp_path / folder / "image_label.nii.gz", ellipsoid().astype(np.uint8))
    assert [case.name for case in find_cases(tmp_path)] == ["a/image", "b/image"]


def test_of_a_label_in_pieces_the_largest_counts() -> None:
    mask = ellipsoid()
    mask[0, 0, 0:3] = True
    assert np.array_equal(largest_component(mask), ellipsoid())


def test_a_folder_without_labels_is_told(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="holds no labelled volume"):
        find_cases(tmp_path)
    with pytest.raises(VolumeError, match="does not exist"):
        find_cases(tmp_path / "nowhere")


def test_a_damaged_manifest_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[{]", encoding="utf-8")
    with pytest.raises(VolumeError, match=r"manifest.*cannot be read"):
        find_cases(tmp_path)


def test_a_label_without_voxels_is_told(tmp_path: Path) -> None:
    write(tmp_path / "x.nii.gz", bright(ellipsoid()))
    write(tmp_path / "x_label.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(VolumeError, match="labels no voxel"):
        load_case(find_cases(tmp_path)[0])
