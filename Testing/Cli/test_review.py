"""`medsamslicer review` from end to end: the spoiled slices head the table, and no file is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.io.segmentations import write_labelmap
from MedSAMSlicerLib.lab.evaluation.faults import spoiled
from MedSAMSlicerLib.phantom.ct import ct_phantom

WRONG = (4, 8, 12)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a part of a generated CT and two organs of it, the kidney spoiled."""
    folder = tmp_path_factory.mktemp("review")
    array, geometry, truth = ct_phantom((48, 128, 128), seed=3)
    chosen = slice(12, 29)
    part = VolumeGeometry((17, *geometry.shape[1:]), geometry.ijk_to_ras)
    kidney = spoiled(truth["left_kidney"][chosen], WRONG)
    organs = {"spleen": truth["spleen"][chosen] & ~kidney, "kidney": kidney}
    write_labelmap(folder / "organs.nii.gz", organs, part)
    import SimpleITK as sitk

    labels = sitk.ReadImage(str(folder / "organs.nii.gz"))
    image = sitk.GetImageFromArray(np.ascontiguousarray(array[chosen]))
    image.CopyInformation(labels)
    sitk.WriteImage(image, str(folder / "ct.nii.gz"))
    return folder


def test_spoiled_slices_head_the_table(cli: Any, files: Path) -> None:
    before = sorted(files.iterdir())
    done = cli(
        *("review", files / "ct.nii.gz", "--mask", f"{files / 'organs.nii.gz'},kidney", "--threads", "1"),
        *("--window", "soft-tissue", "--most", "3"),
    )
    assert done.code == 0, done
    header, *rows = done.out.splitlines()
    assert header.split() == ["slice", "doubted", "pixels", "mask", "pixels", "confidence"]
    assert {int(row.split()[0]) for row in rows} == {*WRONG}
    assert sorted(files.iterdir()) == before
    done = cli(
        *("review", files / "ct.nii.gz", "--mask", f"{files / 'organs.nii.gz'},2", "--threads", "1"),
        *("--window", "soft-tissue", "--most", "3", "--json"),
    )
    assert [each["slice"] for each in json.loads(done.out)["slices"]] == [int(row.split()[0]) for row in rows]


def test_mask_that_is_not_clear_or_not_there_is_one_sentence(cli: Any, files: Path) -> None:
    several = cli("review", files / "ct.nii.gz", "--mask", files / "organs.nii.gz")
    assert several.code == 1
    assert "several labels (1, 2)" in several.err
    nothing = cli("review", files / "ct.nii.gz", "--mask", f"{files / 'organs.nii.gz'},7")
    assert nothing.code == 1
    assert "contains no mask: there is nothing to review" in nothing.err
