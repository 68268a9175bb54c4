"""A small count of the campaign's rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import VolumeGeometry

from . import files, geometries
from .__main__ import main
from .rows import replaced_table

PAGE = "# Reliability\n\n<!-- begin campaign -->\nold\n<!-- end campaign -->\nthe end\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX systems")
def test_killed_runs_lose_nothing_and_leave_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a process of its own, beside that of another row, as `make campaign` does it; the table goes into a page."""
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    words = ["kills", "geometries", "--count", "2", "--seed", "1"]
    code = main([*words, "--processes", "2", "--into", str(page)])
    printed = capfd.readouterr()
    assert code == 0, printed.err
    assert printed.out.count("| 2 | 0 |") == 4 + 13
    assert page.read_text().partition("minutes:\n\n")[2] == f"{printed.out}<!-- end campaign -->\nthe end\n"
    assert (
        f"`python -m Testing.Campaign {' '.join([*words[:2], '--seed 1', '--count 2'])}" in page.read_text()
    )


@pytest.mark.skipif(os.name != "posix", reason="limits of memory of POSIX systems")
def test_damaged_files_are_refused_or_read_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["files", "--count", "12", "--seed", "1"]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.count("| 12 | 0 |") == 18


def test_geometries_come_back_from_independent_readers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["geometries", "--count", "12", "--seed", "1"]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.count("| 12 | 0 |") == 13


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="begin campaign"):
        replaced_table("# Reliability", "table")


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
        """Reads the sound file, which comes first, and answers to all others as it was asked."""

        answers = iter([{"found": ["the voxels", []]}])

        def read(self, path: Path) -> dict[str, Any]:
            return next(self.answers, answer)

    with Odd() as reader:
        packed = next(form for form in files.FORMATS if form.name == ".nii.gz")
        row = files.damage_often(packed, 1, 5, reader)
    assert (row.tried, row.failed) == (5, 5)
