"""What cannot be segmented is refused with one sentence that names the file, and nothing on the terminal."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.io.labels import read_slice_mask
from MedSAMSlicerLib.io.volumes import read_volume

from .image_files import ramp, write_raw_nifti, write_with_itk

FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


def refused(path: Path, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VolumeError, match=reason) as error:
        read_volume(path)
    assert path.name.split(".")[0] in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_missing_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    refused(tmp_path / "nothing.nii.gz", "does not exist", capfd)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", FORMATS)
def test_truncated_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, share: float, compress: bool
) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 32, 32)).astype(np.int16)
    path = tmp_path / f"cut{suffix}"
    write_with_itk(path, noise, compress=compress)
    data = path if suffix != ".mhd" else next(file for file in tmp_path.iterdir() if file.suffix != ".mhd")
    content = data.read_bytes()
    data.write_bytes(content[: int(len(content) * share)])
    refused(path, "truncated", capfd)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("length", [0, 1, 40])
def test_file_cut_off_inside_its_header(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, length: int
) -> None:
    path = tmp_path / f"cut{suffix}"
    write_with_itk(path, ramp())
    path.write_bytes(path.read_bytes()[:length])
    refused(path, "empty|not an image|truncated", capfd)


@pytest.mark.parametrize("suffix", [*FORMATS, ".txt", ".dcm", ""])
def test_file_that_is_not_an_image(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str) -> None:
    path = tmp_path / f"letter{suffix}"
    path.write_text("Dear colleague, thank you for referring this patient.\n" * 40)
    refused(path, "not an image", capfd)


@pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="only Linux has file names that are not UTF-8"
)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ""])
def test_name_that_is_not_utf8(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str) -> None:
    """SimpleITK would end the whole process."""
    whole = tmp_path / f"volume{suffix or '.nrrd'}"
    write_with_itk(whole, ramp())
    path = tmp_path / os.fsdecode(b"m\xe9ningiome" + suffix.encode())
    whole.rename(path)
    refused(path, "has a name that is not valid UTF-8; rename it", capfd)
    with pytest.raises(VolumeError, match="not valid UTF-8"):
        read_slice_mask(path, VolumeGeometry((4, 5, 6), np.eye(4)), SliceAxis.K, 0)


@pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="only Linux has file names that are not UTF-8"
)
def test_dicom_folder_with_a_name_that_is_not_utf8(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / os.fsdecode(b"p\xe9rez")
    folder.mkdir()
    (folder / "1.dcm").write_bytes(bytes(128) + b"DICM")
    refused(folder, "has a name that is not valid UTF-8; rename it", capfd)


def test_folder_without_dicom(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "without DICOM", capfd)
    (tmp_path / "empty" / "notes.txt").write_text("no images here")
    refused(tmp_path / "empty", "without DICOM", capfd)


@pytest.mark.parametrize("name", ["flat.png", "flat.nrrd", "flat.mha", "flat.nii"])
def test_two_dimensional_picture(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    write_with_itk(tmp_path / name, ramp((8, 9), "u1"))
    refused(tmp_path / name, r"2-D \(9 x 8 pixels\)", capfd)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_four_dimensional_volume(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str) -> None:
    images = [sitk.GetImageFromArray(ramp()) for _ in range(3)]
    sitk.WriteImage(sitk.JoinSeries(images), str(tmp_path / f"film{suffix}"))
    refused(tmp_path / f"film{suffix}", r"4-D \(6 x 5 x 4 x 3 voxels\)", capfd)


def test_header_is_judged_before_any_voxel_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A four-dimensional header over missing voxels is called four-dimensional, not truncated."""
    path = tmp_path / "film.nii"
    write_raw_nifti(path, ramp((2, 4, 5, 6)), np.eye(4))
    path.write_bytes(path.read_bytes()[:352])
    refused(path, "4-D", capfd)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_color_volume(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str) -> None:
    write_with_itk(tmp_path / f"rgb{suffix}", ramp((4, 5, 6, 3), "u1"), vector=True)
    refused(tmp_path / f"rgb{suffix}", "3 values per voxel|5-D|RGB", capfd)


@pytest.mark.parametrize("suffix", FORMATS)
def test_constant_volume(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str) -> None:
    write_with_itk(tmp_path / f"flat{suffix}", np.full((4, 5, 6), -1024, np.int16))
    refused(tmp_path / f"flat{suffix}", "every voxel is -1024", capfd)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_volume_without_a_number(tmp_path: Path, capfd: pytest.CaptureFixture[str], value: float) -> None:
    write_with_itk(tmp_path / "nan.nrrd", np.full((4, 5, 6), value, np.float32))
    refused(tmp_path / "nan.nrrd", "NaN or infinite", capfd)


def test_volume_without_voxels(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_raw_nifti(tmp_path / "none.nii", ramp(), np.eye(4), dim=(3, 6, 0, 4))
    refused(tmp_path / "none.nii", "empty: its size is 6 x 0 x 4", capfd)


@pytest.mark.parametrize("offset", [np.nan, np.inf, -np.inf, 1e30, 1e18])
def test_voxels_at_an_impossible_place_of_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], offset: float
) -> None:
    path = tmp_path / "far.nii"
    write_raw_nifti(path, ramp(), np.eye(4))
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 108, offset)
    path.write_bytes(content)
    refused(path, "is damaged: its header puts|is truncated", capfd)


def test_matrix_that_cannot_be_inverted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    flat[2, 1] = 1.0
    write_raw_nifti(tmp_path / "flat.nii", ramp(), flat)
    refused(tmp_path / "flat.nii", "no usable geometry", capfd)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fmri4d/nifti/fmri.nii.gz", "4-D"),
        ("echo4d_ultrasound/echo4d_ultrasound_image.nii.gz", "4-D"),
        ("video_colonoscopy_rgb/video_colonoscopy_rgb_image.nrrd", "3 values per voxel"),
        ("multiframe_us_rgb/dicom/examples_ybr_color.dcm", "color"),
    ],
)
def test_real_files_that_are_no_scalar_volume(
    shared_data: Path, capfd: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    refused(shared_data / name, reason, capfd)
