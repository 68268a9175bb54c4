"""A DICOM series becomes a volume whose slices lie where each file says, or an error that says why not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import SpacingUnknownError, VolumeError
from MedSAMSlicerLib.io.dicom_frames import frame_order
from MedSAMSlicerLib.io.volumes import read_volume

from .dicom_files import ROOT, write_series
from .image_files import ramp

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
SLICES = ramp((7, 5, 6))


def lps_of_voxel(position: Any, orientation: Any, spacing: Any, column: int, row: int) -> np.ndarray:
    orientation = np.array(orientation, dtype=float)
    return np.array(position) + orientation[:3] * spacing[1] * column + orientation[3:] * spacing[0] * row


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), OBLIQUE, (0, 1, 0, 1, 0, 0)])
def test_every_voxel_lies_where_its_own_file_says(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    normal = np.cross(orientation[:3], orientation[3:])
    for sign in (1, -1):  # written upwards and downwards
        folder = tmp_path / f"{sign}"
        step = tuple(sign * 2.5 * normal)
        write_series(folder, SLICES, step=step, orientation=orientation)
        volume = read_volume(folder)
        for k, file in enumerate(volume.dicom_files or ()):
            index = int((SLICES[:, 0, 0] == volume.array[k, 0, 0]).argmax())
            assert file.name == f"{index * 7:03d}.dcm"
            np.testing.assert_array_equal(volume.array[k], SLICES[index])
            position = np.array((-100.0, -80.0, 40.0)) + index * np.array(step)
            lps = lps_of_voxel(position, orientation, (0.75, 0.5), column=4, row=3)
            np.testing.assert_allclose(volume.geometry.to_ras([[4, 3, k]])[0], lps * [-1, -1, 1], atol=1e-6)
        assert np.linalg.det(volume.geometry.ijk_to_ras[:3, :3]) > 0
        assert (volume.modality, volume.name, volume.warnings) == ("CT", "series 1", ())


def test_tilted_gantry_gives_a_sheared_volume(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, step=(0.0, 0.9, 2.5))
    volume = read_volume(tmp_path)
    np.testing.assert_allclose(volume.geometry.ijk_to_ras[:3, 2], [0.0, -0.9, 2.5], atol=1e-9)
    assert volume.warnings == ()


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    files = write_series(tmp_path, SLICES, series=1, prefix="a")
    write_series(tmp_path, SLICES[:6] + 1, series=2, prefix="b")
    np.testing.assert_array_equal(read_volume(files[3]).array, SLICES)


def test_two_series_of_like_size_are_a_question(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, series=1, prefix="a")
    write_series(tmp_path, SLICES[:6] + 1, series=2, prefix="b")
    with pytest.raises(VolumeError, match=rf"series 1 \(7 images\), UID {ROOT}1; series 2 \(6 images\)"):
        read_volume(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path, f"{ROOT}2").array, SLICES[:6] + 1)
    with pytest.raises(VolumeError, match=r"holds no series 1\.2\.3"):
        read_volume(tmp_path, "1.2.3")


def test_largest_series_is_taken_and_named(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, series=1, prefix="a")
    write_series(tmp_path, SLICES[:1], series=2, prefix="b")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, SLICES)
    assert "series 1 (7 images), not series 2 (1 image)" in volume.warnings[0]


def test_localiser_within_the_series_is_left_out(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, prefix="a")
    write_series(tmp_path, SLICES[:1] + 7, prefix="b", orientation=OBLIQUE, SOPInstanceUID="1.2.3.4")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, SLICES)
    assert volume.warnings == ("1 of 8 images were left out, because their orientation or size differs.",)


def test_missing_slice_is_an_error(tmp_path: Path) -> None:
    files = write_series(tmp_path, SLICES)
    files[3].unlink()
    with pytest.raises(VolumeError, match=r"slices 2 and 3 are 5\.00 mm apart, the others 2\.50 mm"):
        read_volume(tmp_path)


def test_changing_slice_distance_is_an_error(tmp_path: Path) -> None:
    positions = np.array([[0.0, 0.0, z] for z in (0, 2.5, 5, 7.5, 11, 13.5, 16)])
    write_series(tmp_path, SLICES, positions=positions)
    with pytest.raises(VolumeError, match="not evenly spaced"):
        read_volume(tmp_path)


def test_slices_off_the_line_are_an_error(tmp_path: Path) -> None:
    positions = np.array([[0.0, 4.0 if n == 3 else 0.0, 2.5 * n] for n in range(7)])
    write_series(tmp_path, SLICES, positions=positions)
    with pytest.raises(VolumeError, match="do not lie on one line"):
        read_volume(tmp_path)


def test_small_unevenness_is_stated(tmp_path: Path) -> None:
    positions = np.array([[0.0, 0.0, 2.5 * n + (0.1 if n == 3 else 0.0)] for n in range(7)])
    write_series(tmp_path, SLICES, positions=positions)
    assert "is 0.10 mm off its position" in read_volume(tmp_path).warnings[0]


def test_two_images_at_one_position_are_an_error(tmp_path: Path) -> None:
    files = write_series(tmp_path, SLICES)
    shutil.copy(files[2], tmp_path / "copy.dcm")
    with pytest.raises(VolumeError, match=r"several images at the same position \(1 of 8\)"):
        read_volume(tmp_path)


def test_truncated_slice_is_an_error_that_names_it(tmp_path: Path) -> None:
    files = write_series(tmp_path, SLICES)
    files[2].write_bytes(files[2].read_bytes()[:-30])
    with pytest.raises(VolumeError, match=r"014\.dcm is truncated"):
        read_volume(tmp_path)


def test_unreadable_file_is_named_in_a_warning(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES)
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, SLICES)
    assert volume.warnings == ("1 DICOM file without a readable image: broken.dcm.",)


def test_scaling_of_each_slice_is_applied(tmp_path: Path) -> None:
    """As in PET, where every slice has a slope of its own."""
    write_series(tmp_path, SLICES, RescaleSlope=lambda n: f"{1 + 0.25 * n}", RescaleIntercept="-3")
    expected = SLICES * (1 + 0.25 * np.arange(7))[:, None, None] - 3
    np.testing.assert_allclose(read_volume(tmp_path).array, expected, rtol=1e-6)


def test_one_slice_series_has_its_thickness(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES[:1])
    volume = read_volume(tmp_path)
    assert volume.geometry.shape == (1, 5, 6)
    assert volume.geometry.spacing == pytest.approx((0.5, 0.75, 2.5))


def test_series_in_subfolders_is_found(tmp_path: Path) -> None:
    write_series(tmp_path / "study" / "series", SLICES)
    (tmp_path / "README.txt").write_text("a DICOM disc")
    np.testing.assert_array_equal(read_volume(tmp_path).array, SLICES)


def test_images_without_positions_are_an_error(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    for file in write_series(tmp_path, SLICES):
        dataset = pydicom.dcmread(file)
        del dataset.ImagePositionPatient
        dataset.save_as(file)
    with pytest.raises(VolumeError, match="without usable positions"):
        read_volume(tmp_path)


def test_jpeg_2000_series_lies_where_its_label_says(
    shared_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    volume = read_volume(shared_data / "dicom_ct_abdomen" / "dicom")
    label = read_volume(shared_data / "dicom_ct_abdomen" / "label.nii.gz")
    assert volume.modality == "CT"
    assert volume.array.min() == -1024
    places = label.geometry.to_ras(np.argwhere(label.array == 5)[:, ::-1])  # liver
    ijk = np.round(volume.geometry.to_ijk(places)).astype(int)
    liver = volume.array[tuple(ijk[:, ::-1].T)]
    assert 40 < np.median(liver) < 160  # HU, with contrast
    assert np.mean((liver > -50) & (liver < 250)) > 0.98
    assert capfd.readouterr() == ("", "")


def test_film_without_positions_is_read_with_a_warning_once_its_pixel_size_is_known(
    shared_data: Path,
) -> None:
    film = shared_data / "multiframe_mr_cine" / "dicom" / "MR-MONO2-8-16x-heart.dcm"
    with pytest.raises(SpacingUnknownError, match="does not give the size of its pixels"):
        read_volume(film)
    volume = read_volume(film, spacing=(1.4, 1.4))
    assert volume.geometry.shape == (16, 256, 256)
    assert volume.geometry.spacing[:2] == pytest.approx((1.4, 1.4))
    assert "no positions for its 16 frames" in volume.warnings[0]


def test_enhanced_multi_frame_file_equals_its_series(tmp_path: Path) -> None:
    """Frames in any order, each with its own position, and the tilted gantry again."""
    pydicom = pytest.importorskip("pydicom")
    legacy = pytest.importorskip("highdicom.legacy", reason="the extra `dicom` is not installed")
    files = write_series(
        tmp_path / "series", SLICES, step=(0.0, 0.9, -2.5), RescaleSlope="2", RescaleIntercept="-1024"
    )
    order = [4, 0, 6, 2, 1, 5, 3]
    enhanced = legacy.LegacyConvertedEnhancedCTImage(
        legacy_datasets=[pydicom.dcmread(files[n]) for n in order],
        series_instance_uid=ROOT + "7",
        series_number=7,
        sop_instance_uid=ROOT + "8",
        instance_number=1,
    )
    enhanced.save_as(tmp_path / "enhanced.dcm")
    whole, many = read_volume(tmp_path / "series"), read_volume(tmp_path / "enhanced.dcm")
    np.testing.assert_array_equal(many.array, whole.array)
    assert many.geometry.distance_to(whole.geometry) < 1e-6
    assert many.dicom_files == (tmp_path / "enhanced.dcm",)
    written = [int(frame[0, 0]) for frame in enhanced.pixel_array]
    stored = (many.array[:, 0, 0] + 1024) // 2
    assert [written[n] for n in frame_order(tmp_path / "enhanced.dcm")] == stored.tolist()


def test_segmentation_beside_its_series_is_no_image_of_it(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")
    from MedSAMSlicerLib.io.dicom_seg import write_dicom_seg

    write_series(tmp_path, SLICES)
    volume = read_volume(tmp_path)
    write_dicom_seg(
        tmp_path / "result.dcm", {"lesion": volume.array > 100}, volume.geometry, volume.dicom_files
    )
    again = read_volume(tmp_path)
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.warnings == ()


def test_enhanced_file_of_one_frame_keeps_its_position(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    legacy = pytest.importorskip("highdicom.legacy", reason="the extra `dicom` is not installed")
    files = write_series(tmp_path / "series", SLICES[:1])
    enhanced = legacy.LegacyConvertedEnhancedCTImage(
        legacy_datasets=[pydicom.dcmread(files[0])],
        series_instance_uid=ROOT + "7",
        series_number=7,
        sop_instance_uid=ROOT + "8",
        instance_number=1,
    )
    enhanced.save_as(tmp_path / "enhanced.dcm")
    volume = read_volume(tmp_path / "enhanced.dcm")
    np.testing.assert_allclose(volume.geometry.to_ras([[0, 0, 0]])[0], [100.0, 80.0, 40.0])
    assert volume.geometry.shape == (1, 5, 6)


def test_orientation_that_spans_no_plane_is_an_error(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, ImageOrientationPatient=["1", "0", "0", "1", "0", "0"])
    with pytest.raises(VolumeError, match="without usable positions"):
        read_volume(tmp_path)


# ------------------------------------------------------------------------------------------------ how large pixels are


def without(*names: str) -> Any:
    """A tag function of `write_series` cannot take a tag away; so the files are written again."""

    def strip(folder: Path, **tags: Any) -> None:
        pydicom = pytest.importorskip("pydicom")
        for file in folder.iterdir():
            dataset = pydicom.dcmread(file)
            for name in names:
                del dataset[name]
            for name, value in tags.items():
                setattr(dataset, name, value)
            dataset.save_as(file, enforce_file_format=True)

    return strip


def test_without_any_pixel_size_a_series_is_refused_and_read_with_the_one_given(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES)
    without("PixelSpacing")(tmp_path)
    with pytest.raises(SpacingUnknownError, match="does not give the size of its pixels"):
        read_volume(tmp_path)
    assert read_volume(tmp_path, spacing=(0.5, 0.75)).geometry.spacing == pytest.approx((0.5, 0.75, 2.5))


def test_a_pixel_size_that_the_series_gives_is_not_overruled(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES)
    with pytest.raises(VolumeError, match=r"itself gives the size of its pixels, 0\.5 x 0\.75 mm"):
        read_volume(tmp_path, spacing=(1.0, 1.0))


@pytest.mark.parametrize(
    ("tags", "spacing", "warned"),
    [
        ({"NominalScannedPixelSpacing": [0.6, 0.4]}, (0.4, 0.6), False),
        ({"ImagerPixelSpacing": [0.6, 0.4]}, (0.4, 0.6), True),
        (
            {"ImagerPixelSpacing": [0.6, 0.4], "EstimatedRadiographicMagnificationFactor": 2},
            (0.2, 0.3),
            False,
        ),
    ],
    ids=["scanned film", "detector", "detector and magnification"],
)
def test_the_pixel_size_is_looked_for_where_the_standard_has_it(
    tmp_path: Path, tags: dict[str, Any], spacing: tuple[float, float], warned: bool
) -> None:
    write_series(tmp_path, SLICES)
    without("PixelSpacing")(tmp_path, **tags)
    volume = read_volume(tmp_path)
    assert volume.geometry.spacing[:2] == pytest.approx(spacing)
    assert any("only at the detector" in sentence for sentence in volume.warnings) == warned


def test_the_pixel_size_of_an_enhanced_file_stands_with_its_frames(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    legacy = pytest.importorskip("highdicom.legacy", reason="the extra `dicom` is not installed")
    files = write_series(tmp_path / "series", SLICES, spacing=(0.8, 0.6))
    enhanced = legacy.LegacyConvertedEnhancedCTImage(
        legacy_datasets=[pydicom.dcmread(file) for file in files],
        series_instance_uid=ROOT + "7",
        series_number=7,
        sop_instance_uid=ROOT + "8",
        instance_number=1,
    )
    enhanced.save_as(tmp_path / "enhanced.dcm")
    assert read_volume(tmp_path / "enhanced.dcm").geometry.spacing == pytest.approx((0.6, 0.8, 2.5))


def test_slices_that_differ_by_less_than_a_pixel_at_their_edge_are_parallel(tmp_path: Path) -> None:
    turned = lambda k: [1, 0.0003 * (k > 4), 0, 0, 1, 0]  # noqa: E731
    write_series(tmp_path, SLICES, ImageOrientationPatient=turned)
    assert read_volume(tmp_path).geometry.shape[0] == len(SLICES)


def test_ct_numbers_stay_what_they_are_where_black_is_stated_to_be_high(tmp_path: Path) -> None:
    tags = {"RescaleIntercept": "-1024", "RescaleSlope": "1", "BitsStored": 12, "HighBit": 11}
    write_series(tmp_path / "plain", SLICES, **tags)
    write_series(tmp_path / "turned", SLICES, PhotometricInterpretation="MONOCHROME1", **tags)
    plain, turned = read_volume(tmp_path / "plain"), read_volume(tmp_path / "turned")
    np.testing.assert_array_equal(turned.array, plain.array)


def test_more_pixels_than_the_file_could_hold_are_refused_before_they_are_given_memory(
    tmp_path: Path,
) -> None:
    files = write_series(tmp_path, SLICES[:1])
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(files[0])
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(files[0], enforce_file_format=True)
    with pytest.raises(VolumeError, match="truncated or damaged"):
        read_volume(tmp_path)


@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian"])
def test_files_without_preamble_and_ending_are_a_series(tmp_path: Path, syntax: str) -> None:
    pydicom = pytest.importorskip("pydicom")
    for number, file in enumerate(write_series(tmp_path / "made", SLICES)):
        dataset = pydicom.dcmread(file)
        implicit = syntax.startswith("Implicit")
        plain = pydicom.Dataset(dataset)
        (tmp_path / "bare").mkdir(exist_ok=True)
        plain.save_as(tmp_path / "bare" / f"x{number}", implicit_vr=implicit, little_endian=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "bare" / "x3").array, SLICES)
