"""What a DICOM series gives for its pixels and their size, and what it may leave out or write wrongly."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import OutputError, SpacingUnknownError, VolumeError
from MedSAMSlicerLib.core.intensity import choose_window
from MedSAMSlicerLib.io.dicom_seg import check_dicom_seg, write_dicom_seg
from MedSAMSlicerLib.io.volumes import read_volume

from .dicom_files import write_series
from .image_files import ramp

pydicom: Any = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
SLICES = np.random.default_rng(0).integers(-1000, 1000, (5, 9, 10)).astype(np.int16)


def edited(folder: Path, edit: Callable[[Any], None], array: Any = SLICES) -> list[Path]:
    """A series whose datasets were changed by `edit`."""
    files = write_series(folder, array)
    for file in files:
        dataset = pydicom.dcmread(file)
        edit(dataset)
        dataset.save_as(file, enforce_file_format=True)
    return files


def replaced(folder: Path, old: bytes, new: bytes) -> list[Path]:
    """A series in whose files the bytes `old` were replaced by as many others, which pydicom would not write."""
    files = write_series(folder, SLICES)
    for file in files:
        content = file.read_bytes()
        assert old in content
        assert len(old) == len(new)
        file.write_bytes(content.replace(old, new))
    return files


def moved_to(tag: str) -> Callable[[Any], None]:
    def edit(dataset: Any) -> None:
        setattr(dataset, tag, dataset.PixelSpacing)
        del dataset.PixelSpacing

    return edit


def without_spacing(dataset: Any) -> None:
    del dataset.PixelSpacing


def as_enhanced(dataset: Any, order: list[int], measures_per_frame: bool) -> None:
    """One enhanced MR file of interleaved stacks, made of a multi-frame dataset without a place."""
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    dataset.Modality = "MR"
    shared = pydicom.Dataset()
    measures = pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, "2.5"
    orientation = pydicom.Dataset()
    orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
    shared.PlaneOrientationSequence = [orientation]
    if not measures_per_frame:
        shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        frame, place, content = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = ["-100", "-80", f"{40 + 2.5 * k}"]
        content.StackID, content.InStackPositionNumber = str(1 + k % 2), 1 + k // 2
        frame.PlanePositionSequence, frame.FrameContentSequence = [place], [content]
        if measures_per_frame:
            frame.PixelMeasuresSequence = [measures]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.NumberOfFrames = len(order)
    for name in ("PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(dataset, name)


@pytest.mark.parametrize("measures_per_frame", [False, True], ids=["shared", "per frame"])
def test_interleaved_stacks_are_one_volume_with_the_spacing_of_its_functional_groups(
    tmp_path: Path, measures_per_frame: bool
) -> None:
    order = [0, 2, 4, 1, 3]
    file = write_series(tmp_path, SLICES[:1])[0]
    dataset = pydicom.dcmread(file)
    dataset.PixelData = np.ascontiguousarray(SLICES[order]).tobytes()
    as_enhanced(dataset, order, measures_per_frame)
    dataset.save_as(file, enforce_file_format=True)
    volume = read_volume(file)
    np.testing.assert_array_equal(volume.array, SLICES)
    assert volume.geometry.spacing == pytest.approx((0.5, 0.75, 2.5))
    np.testing.assert_allclose(volume.geometry.to_ras([[0, 0, 0]])[0], [100.0, 80.0, 40.0])


def test_spacing_is_read_in_the_order_of_the_standard(tmp_path: Path) -> None:
    edited(tmp_path / "nominal", moved_to("NominalScannedPixelSpacing"))
    assert read_volume(tmp_path / "nominal").geometry.spacing == pytest.approx((0.5, 0.75, 2.5))
    edited(tmp_path / "detector", moved_to("ImagerPixelSpacing"))
    volume = read_volume(tmp_path / "detector")
    assert volume.geometry.spacing == pytest.approx((0.5, 0.75, 2.5))
    assert "only at the detector" in volume.warnings[0]


@pytest.mark.parametrize("text", [b"0,75\\0,5", b"75e-2\\.5"])
def test_decimal_commas_and_exponents_are_numbers(tmp_path: Path, text: bytes) -> None:
    replaced(tmp_path, b"0.75\\0.5", text)
    assert read_volume(tmp_path).geometry.spacing == pytest.approx((0.5, 0.75, 2.5))


@pytest.mark.parametrize("text", [b"nan \\nan", b"-.75\\-.5", b"0.75    ", b"0.00\\0.0"])
def test_spacing_that_is_no_length_is_unknown(tmp_path: Path, text: bytes) -> None:
    replaced(tmp_path, b"0.75\\0.5", text)
    with pytest.raises(SpacingUnknownError, match="the size of its pixels"):
        read_volume(tmp_path)


def test_spacing_that_the_user_gives_is_used_only_where_the_files_have_none(tmp_path: Path) -> None:
    edited(tmp_path / "without", without_spacing)
    with pytest.raises(SpacingUnknownError, match="the size of its pixels"):
        read_volume(tmp_path / "without")
    volume = read_volume(tmp_path / "without", spacing=(0.5, 0.75))
    assert volume.geometry.spacing == pytest.approx((0.5, 0.75, 2.5))
    write_series(tmp_path / "with", SLICES)
    with pytest.raises(VolumeError, match=r"0\.5 x 0\.75 mm"):
        read_volume(tmp_path / "with", spacing=(1.0, 1.0))


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_rescaled_values_do_not_depend_on_monochrome1(tmp_path: Path, bits: int, signed: bool) -> None:
    offset = 0 if signed else 1000

    def edit(dataset: Any) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
        stored = np.frombuffer(dataset.PixelData, "<i2").astype(int) + offset
        dataset.PixelData = stored.astype("<i2").tobytes()
        dataset.RescaleIntercept = str(-offset)

    edited(tmp_path, edit)
    np.testing.assert_array_equal(read_volume(tmp_path).array, SLICES)


def test_a_signed_ct_in_monochrome1_without_rescaling_has_contrast_and_it_is_reported(tmp_path: Path) -> None:
    body = np.full((5, 40, 40), 1024 - 1000)
    body[:, 4:36, 4:36] = 1024 - 100
    body[:, 10:30, 10:30] = 1024 + 50

    def edit(dataset: Any) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        del dataset.RescaleSlope, dataset.RescaleIntercept

    edited(tmp_path, edit, (body + np.random.default_rng(1).normal(0, 8, body.shape)).astype(np.int16))
    volume, notes = read_volume(tmp_path), []
    assert ["values were inverted" in warning for warning in volume.warnings] == [True]
    gray = choose_window(volume.array, "auto", volume.modality, notes.append).apply(volume.array)
    assert abs(float(np.median(gray[:, 15:25, 15:25])) - float(np.median(gray[:, 5:9, 5:9]))) > 20
    assert ["do not look like HU" in note for note in notes] == [True]


@pytest.mark.parametrize("rows", [b"\xff\xff", b"\x0b\x00"], ids=["65535 rows", "two rows too many"])
def test_more_pixels_than_there_are_is_an_error(tmp_path: Path, rows: bytes) -> None:
    """Not memory that happens to be there, and no allocation of what is promised."""
    tag = b"\x28\x00\x10\x00US\x02\x00"
    replaced(tmp_path, tag + b"\x09\x00", tag + rows)
    with pytest.raises(VolumeError, match=r"is truncated or damaged: 180 of \d+ bytes are there"):
        read_volume(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_pipe_in_the_folder_of_a_series_is_passed_over(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES)
    os.mkfifo(tmp_path / "000a.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path).array, SLICES)


@pytest.mark.parametrize("first", [0x00080005, 0x00080008, 0x00080016], ids=hex)
def test_files_without_preamble_are_read_whatever_tag_comes_first(tmp_path: Path, first: int) -> None:
    for number, file in enumerate(write_series(tmp_path, SLICES)):
        dataset = pydicom.dcmread(file)
        if first == 0x00080005:
            dataset.SpecificCharacterSet = "ISO_IR 100"
        elif first == 0x00080008:
            dataset.ImageType = ["ORIGINAL", "PRIMARY"]
        del dataset.file_meta
        bare = tmp_path / f"{number * 3 % 5}x"
        dataset.save_as(bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
        file.unlink()
    np.testing.assert_array_equal(read_volume(tmp_path).array, SLICES)
    np.testing.assert_array_equal(read_volume(bare).array, SLICES)


def test_orientations_that_differ_by_less_than_a_pixel_belong_to_one_series(tmp_path: Path) -> None:
    write_series(
        tmp_path,
        SLICES,
        ImageOrientationPatient=lambda n: (
            ["1", "0", "0", "0", "1", "0"]
            if n % 2
            else ["0.99999996", "0.0003", "0", "-0.0003", "0.99999996", "0"]
        ),
    )
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, SLICES)
    assert volume.warnings == ()


def replacing(**tags: Any) -> Callable[[Any], None]:
    def edit(dataset: Any) -> None:
        for name, value in tags.items():
            if name in dataset:
                del dataset[name]
            if value is not None:
                element = pydicom.dataelem.DataElement(
                    pydicom.datadict.tag_for_keyword(name),
                    pydicom.datadict.dictionary_VR(name),
                    value,
                    validation_mode=pydicom.config.IGNORE,
                )
                dataset[name] = element

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        replacing(SliceThickness=None),
        replacing(SliceThickness=""),
        replacing(PatientBirthDate="1970-01-02"),
        replacing(PatientBirthDate="unknown", PatientAge="35", PatientSex="male"),
        replacing(StudyDate="2020.01.02", StudyTime="25:61"),
        replacing(SpecificCharacterSet=""),
        moved_to("ImagerPixelSpacing"),
        moved_to("NominalScannedPixelSpacing"),
    ],
    ids=[
        "no thickness",
        "empty thickness",
        "ACR-NEMA date",
        "patient",
        "study",
        "no set",
        "detector",
        "nominal",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_what_a_series_lacks_or_writes_wrongly_is_mended(tmp_path: Path, edit: Callable[[Any], None]) -> None:
    hd = pytest.importorskip("highdicom")
    edited(tmp_path / "ct", edit)
    volume = read_volume(tmp_path / "ct")
    mask = volume.array > 300
    check_dicom_seg(tmp_path / "out.dcm", ["a"], volume.geometry, volume.dicom_files)
    assert not (tmp_path / "out.dcm").exists()
    write_dicom_seg(tmp_path / "out.dcm", {"a": mask}, volume.geometry, volume.dicom_files)
    written = hd.seg.segread(tmp_path / "out.dcm")
    measures = written.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(value) for value in measures.PixelSpacing] == [0.75, 0.5]
    assert float(measures.SliceThickness) == 2.5
    assert written.pixel_array.sum() == mask.sum()


def test_comma_in_place_of_a_point_does_not_prevent_a_segmentation(tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom")
    replaced(tmp_path / "ct", b"0.75\\0.5", b"0,75\\0,5")
    volume = read_volume(tmp_path / "ct")
    write_dicom_seg(tmp_path / "out.dcm", {"a": volume.array > 300}, volume.geometry, volume.dicom_files)
    written = hd.seg.segread(tmp_path / "out.dcm")
    assert [
        float(v) for v in written.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    ] == [
        0.75,
        0.5,
    ]


def test_segments_keep_their_names_in_every_script_and_differ(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    write_series(tmp_path / "ct", SLICES, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    volume = read_volume(tmp_path / "ct")
    long = "Hypodense lesion of the left lateral section of the liver near the " + "x" * 10
    names = ("Lésion α", "肝臓", f"{long} first", f"{long} second", "a\\b")
    masks = dict.fromkeys(names, volume.array > 300)
    write_dicom_seg(tmp_path / "out.dcm", masks, volume.geometry, volume.dicom_files)
    written = pydicom.dcmread(tmp_path / "out.dcm")
    labels = [str(item.SegmentLabel) for item in written.SegmentSequence]
    assert labels[:2] == ["Lésion α", "肝臓"]
    assert labels[4] == "a/b"
    assert len(set(labels)) == 5
    assert max(map(len, labels)) <= 64
    assert str(written.PatientName) == "Müller^Jörg"


def test_slices_too_small_for_whole_bytes_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    write_series(tmp_path / "ct", ramp((7, 1, 7)))
    volume = read_volume(tmp_path / "ct")
    with pytest.raises(OutputError, match=r"these have only 1 x 7; write a \.seg\.nrrd"):
        check_dicom_seg(tmp_path / "out.dcm", ["a"], volume.geometry, volume.dicom_files)
