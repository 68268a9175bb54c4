"""Every format gives the same voxels in the same place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.io.nifti import write_nifti
from MedSAMSlicerLib.io.volumes import read_volume

from .image_files import SHEARED, ramp, write_nifti_2, write_raw_nifti, write_with_itk

OBLIQUE = (0.0, 0.8, -0.6, 1.0, 0.0, 0.0, 0.0, -0.6, -0.8)
LEFT_HANDED = (1, 0, 0, 0, -1, 0, 0, 0, 1)


@pytest.mark.parametrize("direction", [OBLIQUE, LEFT_HANDED])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_formats_agree_on_voxels_and_place(
    tmp_path: Path, suffix: str, compress: bool, direction: tuple[float, ...]
) -> None:
    path = tmp_path / f"head{suffix}"
    write_with_itk(path, ramp(), (0.5, 0.75, 3.0), (-12.5, 30.25, 100.0), direction, compress)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ramp())
    assert volume.array.dtype == np.int16
    assert (volume.name, volume.modality, volume.warnings) == ("head", None, ())
    lps = np.reshape(direction, (3, 3)) * [0.5, 0.75, 3.0] @ [1, 2, 3] + [-12.5, 30.25, 100.0]
    ras = lps * [-1, -1, 1]
    np.testing.assert_allclose(volume.geometry.to_ras([[1, 2, 3]])[0], ras, atol=1e-4)


def test_voxels_cannot_be_changed(tmp_path: Path) -> None:
    write_with_itk(tmp_path / "a.nrrd", ramp())
    with pytest.raises(ValueError, match="read-only"):
        read_volume(tmp_path / "a.nrrd").array[0, 0, 0] = 1


def test_real_files_hold_the_same_voxels_as_simpleitk_reads(shared_data: Path) -> None:
    entries = json.loads((shared_data / "manifest.json").read_text())
    checked = 0
    for entry in entries:
        path = shared_data / entry["image"]
        if not path.name.endswith(".nii.gz") or len(entry["shape_xyz"]) != 3:
            continue
        volume, image = read_volume(path), sitk.ReadImage(str(path))
        expected = sitk.GetArrayFromImage(image)
        assert volume.array.dtype == expected.dtype
        np.testing.assert_array_equal(volume.array, expected)
        last = [size - 1 for size in image.GetSize()]
        corner = np.array(image.TransformIndexToPhysicalPoint(last)) * [-1, -1, 1]
        np.testing.assert_allclose(volume.geometry.to_ras([last])[0], corner, atol=1e-9)
        checked += 1
    assert checked >= 20


def test_sheared_nifti_keeps_its_shear_and_says_so(tmp_path: Path) -> None:
    write_raw_nifti(tmp_path / "tilted.nii", ramp(), SHEARED, spacing=(1.0, 1.25, 2.55))
    volume = read_volume(tmp_path / "tilted.nii")
    np.testing.assert_array_equal(volume.geometry.ijk_to_ras, SHEARED)
    np.testing.assert_array_equal(volume.array, ramp())
    assert "not perpendicular" in volume.warnings[0]
    assert "tilted.nii" in volume.warnings[0]


def test_sheared_nifti_of_ours_reads_back_exactly(tmp_path: Path) -> None:
    write_nifti(tmp_path / "tilted.nii.gz", ramp(), VolumeGeometry((4, 5, 6), SHEARED))
    np.testing.assert_array_equal(read_volume(tmp_path / "tilted.nii.gz").geometry.ijk_to_ras, SHEARED)


def test_contradicting_positions_follow_slicer_and_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "two.nii"
    write_raw_nifti(path, ramp(), SHEARED, qform_offset=(10, -20, 30), spacing=(1, 1.25, 2.5))
    volume = read_volume(path)
    np.testing.assert_allclose(np.diag(volume.geometry.ijk_to_ras), [1, 1.25, 2.5, 1])
    assert "differs by up to 1.5 mm (1.5 voxels)" in volume.warnings[0]


def test_nifti_without_a_position_lies_as_slicer_shows_it(tmp_path: Path) -> None:
    write_raw_nifti(tmp_path / "bare.nii", ramp(), spacing=(1, 2, 3))
    matrix = read_volume(tmp_path / "bare.nii").geometry.ijk_to_ras
    np.testing.assert_array_equal(matrix, np.diag([-1.0, -2.0, 3.0, 1.0]))


def test_nifti_2_is_read(tmp_path: Path) -> None:
    write_nifti_2(tmp_path / "new.nii", ramp(), SHEARED)
    volume = read_volume(tmp_path / "new.nii")
    np.testing.assert_array_equal(volume.array, ramp())
    np.testing.assert_array_equal(volume.geometry.ijk_to_ras, SHEARED)


def test_big_endian_nifti_gives_native_numbers(tmp_path: Path) -> None:
    write_raw_nifti(tmp_path / "big.nii", ramp(), np.eye(4), order=">")
    volume = read_volume(tmp_path / "big.nii")
    np.testing.assert_array_equal(volume.array, ramp())
    assert volume.array.dtype.isnative


def test_scaled_nifti_gives_the_scaled_values(tmp_path: Path) -> None:
    write_raw_nifti(tmp_path / "scaled.nii.gz", ramp(), np.eye(4), scale=(0.5, -1024.0))
    volume = read_volume(tmp_path / "scaled.nii.gz")
    np.testing.assert_array_equal(volume.array, ramp() * 0.5 - 1024.0)
    assert volume.array.dtype == np.float32


def test_nifti_in_metres_lies_in_millimeters(tmp_path: Path) -> None:
    meters = np.diag([0.001, 0.002, 0.003, 1.0])
    for sform in (meters, np.array(meters) + np.eye(4, k=1) * [[0, 0, 0.0005, 0]] * [[0], [1], [0], [0]]):
        write_raw_nifti(tmp_path / "m.nii", ramp(), sform, spacing=(0.001, 0.002, 0.003), units=1)
        matrix = read_volume(tmp_path / "m.nii").geometry.ijk_to_ras
        np.testing.assert_allclose(matrix[:3, :3], sform[:3, :3] * 1000, rtol=1e-6)


def test_wrong_ending_of_a_nifti_does_not_matter(tmp_path: Path) -> None:
    write_raw_nifti(tmp_path / "packed.nii", ramp(), np.eye(4), compress=True)
    write_raw_nifti(tmp_path / "unpacked.nii.gz", ramp(), np.eye(4), compress=False)
    for name in ("packed.nii", "unpacked.nii.gz"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, ramp())


def test_one_slice_volume_is_read(tmp_path: Path) -> None:
    for name in ("one.nii", "one.nrrd", "one.mha"):
        write_with_itk(tmp_path / name, ramp((1, 5, 6)), (1, 1, 4))
        volume = read_volume(tmp_path / name)
        assert volume.geometry.shape == (1, 5, 6)
        assert volume.geometry.spacing == pytest.approx((1, 1, 4))


def test_fourth_axis_of_one_time_point_is_dropped(tmp_path: Path) -> None:
    write_raw_nifti(tmp_path / "t.nii", ramp((1, 4, 5, 6)), np.diag([1.0, 2.0, 3.0, 1.0]), spacing=(1, 2, 3))
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(ramp())]), str(tmp_path / "t.nrrd"))
    for name in ("t.nii", "t.nrrd"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, ramp())


def test_voxels_with_nan_and_infinity_are_kept(tmp_path: Path) -> None:
    array = ramp(dtype="f4")
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    write_raw_nifti(tmp_path / "holes.nii", array, np.eye(4))
    np.testing.assert_array_equal(read_volume(tmp_path / "holes.nii").array, array)


def test_nifti_with_a_qform_only_lies_where_itk_puts_it(tmp_path: Path) -> None:
    for direction in (OBLIQUE, LEFT_HANDED):
        path = tmp_path / "q.nii"
        write_with_itk(path, ramp(), (0.5, 0.75, 3.0), (-12.5, 30.25, 100.0), direction)
        both = read_volume(path).geometry
        content = bytearray(path.read_bytes())
        content[254:256] = b"\0\0"  # no sform
        path.write_bytes(content)
        volume = read_volume(path)
        assert volume.geometry.distance_to(both) < 1e-4
        assert volume.warnings == ()  # the header as we read it and as ITK reads it agree
