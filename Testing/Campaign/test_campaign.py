"""A small count of the campaign's rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import VolumeGeometry

from . import files, geometries

ROOT = Path(__file__).resolve().parents[2]


def campaign(*words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "MedSAMSlicer"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "Testing.Campaign", *words]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX systems")
def test_killed_runs_lose_nothing_and_leave_nothing() -> None:
    done = campaign("kills", "--count", "2", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| 2 | 0 |") == 4


@pytest.mark.skipif(os.name != "posix", reason="limits of memory of POSIX systems")
def test_damaged_files_are_refused_or_read_as_they_were() -> None:
    done = campaign("files", "--count", "12", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| 12 | 0 |") == 18


def test_geometries_come_back_from_independent_readers() -> None:
    done = campaign("geometries", "--count", "12", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| 12 | 0 |") == 13


def test_a_place_one_voxel_off_fails_every_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    write = geometries.write_nifti

    def shifted(path: Path, array: np.ndarray, geometry: VolumeGeometry) -> None:
        matrix = geometry.ijk_to_ras.copy()
        matrix[:3, 3] += matrix[:3, 0]
        write(path, array, VolumeGeometry(geometry.shape, matrix))

    monkeypatch.setattr(geometries, "write_nifti", shifted)
    what = "nibabel reads our .nii"
    row = geometries.check_often(what, geometries.CHECKS[what], 1, 5)
    assert (row.tried, row.failed) == (5, 5)
    assert "mm off" in row.first


@pytest.mark.skipif(os.name != "posix", reason="limits of memory of POSIX systems")
@pytest.mark.parametrize(
    "answer",
    [
        {"found": ["other voxels", []]},
        {"refused": "Something is wrong."},
        {"refused": "case.nii.gz\nis wrong."},
        {"crash": "-11"},
        {"printed": "libpng warning"},
    ],
)
def test_whatever_is_not_one_sentence_that_names_the_file_fails(answer: dict[str, Any]) -> None:
    class Odd(files.Reader):
        """Reads the sound file, which comes first, and answers to all others as it was told."""

        answers = iter([{"found": ["the voxels", []]}])

        def read(self, path: Path) -> dict[str, Any]:
            return next(self.answers, answer)

    with Odd() as reader:
        packed = next(form for form in files.FORMATS if form.name == ".nii.gz")
        row = files.damage_often(packed, 1, 5, reader)
    assert (row.tried, row.failed) == (5, 5)
