"""A zip of DICOM becomes a volume, and its masks a DICOM SEG that refers to the series."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from Testing.IO.dicom_files import write_series

from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.io import dicom
from MedSAMSlicerLib.web.exports import export
from MedSAMSlicerLib.web.limits import LimitError, Limits
from MedSAMSlicerLib.web.view import mask_volume, state_of

from .conftest import BOX, SHAPE, MakeStore, body

pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")


def zipped(path: Path, files: Sequence[Path]) -> Path:
    """An archive as a hospital's viewer makes it: folders, and files that are no images."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, f"STUDY/SERIES/{file.name}")
        archive.writestr("README.txt", "exported by a viewer")
        archive.writestr("__MACOSX/STUDY/._x.dcm", b"x")
    return path


def voxels() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 12, SHAPE)
    return np.rint(noise - 80 + 180 * body()).astype(np.int16)


def test_a_zip_of_dicom_is_segmented_and_exported_as_dicom_seg(make_store: MakeStore, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")
    session = make_store().new()
    session.open(zipped(session.new_path("study.zip"), write_series(tmp_path / "series", voxels())))
    volume = state_of(session)["volume"]
    assert (volume["shape_kji"], volume["modality"], volume["is_dicom"]) == (list(SHAPE), "CT", True)
    assert volume["name"] == "series 1"
    session.prompt("", "box", SliceAxis.K, 7, BOX)
    assert session.wait(60)
    file = pydicom.dcmread(export(session, "dcm"))
    assert file.Modality == "SEG"
    frames = np.atleast_3d(file.pixel_array)
    assert int(np.count_nonzero(frames)) == int(mask_volume(session, "").sum()) > 0
    [referenced] = file.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID.endswith("498.1")


def test_a_series_of_too_many_voxels_is_refused_before_its_pixels_are_read(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(dicom, "read_pixels", read.append)
    session = make_store(Limits(voxels=1000)).new()
    archive = zipped(session.new_path("study.zip"), write_series(tmp_path / "series", voxels()))
    with pytest.raises(LimitError, match=r"^study\.zip has 37,632 voxels, but this server takes"):
        session.open(archive)
    assert read == []


def test_a_zip_of_several_series_asks_for_one_of_them(make_store: MakeStore, tmp_path: Path) -> None:
    session = make_store().new()
    files = [
        *write_series(tmp_path / "one", voxels(), prefix="a"),
        *write_series(tmp_path / "two", voxels()[:10], series=2, prefix="b"),
    ]
    archive = zipped(session.new_path("study.zip"), files)
    session.open(archive)
    state = state_of(session)
    assert state["volume"] is None
    assert [each["uid"] for each in state["series"]] == [
        "1.2.826.0.1.3680043.8.498.1",
        "1.2.826.0.1.3680043.8.498.2",
    ]
    session.open(archive, state["series"][1]["uid"])
    state = state_of(session)
    assert state["volume"]["shape_kji"] == [10, *SHAPE[1:]]
    assert state["series"] == []
