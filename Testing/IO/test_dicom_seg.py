"""DICOM SEG: each segment's voxels lie where they were, by the positions that the file itself gives."""

from __future__ import annotations

import builtins
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import OutputError
from MedSAMSlicerLib.io.dicom_seg import check_dicom_seg, unique_labels, write_dicom_seg
from MedSAMSlicerLib.io.terminology import terminology_from
from MedSAMSlicerLib.io.volumes import Volume, read_volume

from .dicom_files import ROOT, write_series
from .image_files import ramp, write_with_itk

hd: Any = pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")
pydicom: Any = pytest.importorskip("pydicom")


def masks_for(volume: Volume) -> dict[str, np.ndarray]:
    """Two overlapping segments without any symmetry, and one on a single slice."""
    rows, columns = volume.array.shape[1:]
    masks = {name: np.zeros(volume.array.shape, dtype=bool) for name in ("Leber", "Läsion", "one slice")}
    masks["Leber"][1:4, : rows // 2, columns // 3 :] = True
    masks["Läsion"][2:6, rows // 3 : rows // 2, : columns // 2] = True
    masks["one slice"][-1, -1, -2] = True
    return masks


def assert_places(path: Path, volume: Volume, masks: dict[str, np.ndarray]) -> Any:
    """Follows the standard by hand: every frame's plane position, the shared orientation and pixel measures."""
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    mm_row, mm_column = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    found = {name: np.zeros(volume.array.shape, dtype=bool) for name in masks}
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        rows, columns = np.nonzero(frame)
        lps = (
            position
            + np.outer(columns * mm_column, orientation[:3])
            + np.outer(rows * mm_row, orientation[3:])
        )
        ijk = volume.geometry.to_ijk(lps * [-1, -1, 1])
        assert np.abs(ijk - np.round(ijk)).max(initial=0.0) < 1e-3
        name = dataset.SegmentSequence[number - 1].SegmentLabel
        found[str(name)][tuple(np.round(ijk).astype(int)[:, ::-1].T)] = True
    for name, mask in masks.items():
        np.testing.assert_array_equal(found[name], mask)
    return dataset


@pytest.mark.parametrize(
    ("orientation", "step"),
    [
        ((1, 0, 0, 0, 1, 0), (0, 0, 2.5)),
        ((1, 0, 0, 0, 1, 0), (0, 0, -2.5)),
        ((1, 0, 0, 0, 1, 0), (0, 0.9, 2.5)),  # tilted gantry
        ((0.8, 0.6, 0, 0, 0, -1), (-1.5, 2.0, 0)),
    ],
)
def test_segments_lie_where_they_were(tmp_path: Path, orientation: Any, step: Any) -> None:
    write_series(tmp_path / "ct", ramp((7, 5, 6)), orientation=orientation, step=step)
    volume = read_volume(tmp_path / "ct")
    masks = masks_for(volume)
    write_dicom_seg(tmp_path / "out.dcm", masks, volume.geometry, volume.dicom_files)
    dataset = assert_places(tmp_path / "out.dcm", volume, masks)
    assert dataset.StudyInstanceUID == ROOT + "100"
    assert dataset.FrameOfReferenceUID == ROOT + "200"
    referenced = {
        item.ReferencedSOPInstanceUID for item in dataset.ReferencedSeriesSequence[0][0x0008114A].value
    }
    assert referenced == {f"{ROOT}1.{n + 1}" for n in range(7)}


def test_segments_of_a_real_oblique_series_lie_where_they_were(shared_data: Path, tmp_path: Path) -> None:
    volume = read_volume(shared_data / "dicom_mr_prostate_cor" / "dicom")
    masks = masks_for(volume)
    write_dicom_seg(tmp_path / "out.dcm", masks, volume.geometry, volume.dicom_files)
    assert_places(tmp_path / "out.dcm", volume, masks)
    again = hd.seg.segread(tmp_path / "out.dcm").get_volume(segment_numbers=[1], combine_segments=True)
    ras = again.affine * np.array([[-1], [-1], [1], [1]])
    ijk = volume.geometry.to_ijk(np.argwhere(again.array) @ ras[:3, :3].T + ras[:3, 3])
    assert {tuple(row) for row in np.round(ijk).astype(int)[:, ::-1].tolist()} == {
        tuple(row) for row in np.argwhere(masks["Leber"]).tolist()
    }


def test_series_emptied_by_anonymization_still_gives_a_segmentation(
    shared_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = read_volume(shared_data / "dicom_ct_abdomen" / "dicom")
    masks = masks_for(volume)
    with caplog.at_level(logging.WARNING):
        write_dicom_seg(tmp_path / "out.dcm", masks, volume.geometry, volume.dicom_files)
    assert_places(tmp_path / "out.dcm", volume, masks)
    assert "no SeriesInstanceUID, StudyInstanceUID" in caplog.text


def test_segments_of_an_enhanced_file_lie_where_they_were(tmp_path: Path) -> None:
    files = write_series(tmp_path / "series", ramp((7, 5, 6)))
    enhanced = hd.legacy.LegacyConvertedEnhancedCTImage(
        legacy_datasets=[pydicom.dcmread(files[n]) for n in (4, 0, 6, 2, 1, 5, 3)],
        series_instance_uid=ROOT + "7",
        series_number=7,
        sop_instance_uid=ROOT + "8",
        instance_number=1,
    )
    enhanced.save_as(tmp_path / "enhanced.dcm")
    volume = read_volume(tmp_path / "enhanced.dcm")
    masks = masks_for(volume)
    write_dicom_seg(tmp_path / "out.dcm", masks, volume.geometry, volume.dicom_files)
    assert_places(tmp_path / "out.dcm", volume, masks)


def test_colors_and_kind_are_stated(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", ramp((7, 5, 6)))
    volume = read_volume(tmp_path / "ct")
    write_dicom_seg(
        tmp_path / "out.dcm",
        masks_for(volume),
        volume.geometry,
        volume.dicom_files,
        {"Leber": (1.0, 0.0, 0.0)},
    )
    segment = hd.seg.segread(tmp_path / "out.dcm").get_segment_description(1)
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    lightness, a, b = (value / 65535 for value in segment.RecommendedDisplayCIELabValue)
    assert (lightness, a * 255 - 128, b * 255 - 128) == pytest.approx((0.532, 80.1, 67.2), abs=0.5)


def test_terminology_of_a_segment_is_written_with_its_modifier_and_region(tmp_path: Path) -> None:
    entry = (
        "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
        "SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~SCT^113345001^Abdomen~^^"
    )
    terms = terminology_from(entry)
    assert terms is not None
    write_series(tmp_path / "ct", ramp((7, 5, 6)))
    volume = read_volume(tmp_path / "ct")
    masks = masks_for(volume)
    write_dicom_seg(
        tmp_path / "out.dcm", masks, volume.geometry, volume.dicom_files, terms={next(iter(masks)): terms}
    )
    read = hd.seg.segread(tmp_path / "out.dcm")
    segment = read.get_segment_description(1)
    category, kind = segment.segmented_property_category, segment.segmented_property_type
    assert (category.value, category.meaning) == ("123037004", "Anatomical Structure")
    assert (kind.scheme_designator, kind.value, kind.meaning) == ("SCT", "64033007", "Kidney")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert [region.meaning for region in segment.anatomic_regions] == ["Abdomen"]
    if len(masks) > 1:
        assert read.get_segment_description(2).segmented_property_type.meaning == "Tissue"


@pytest.mark.parametrize(
    "entry", [None, "", "a name~^^~^^~^^~~^^~^^", "not serialized", "a~SCT^1^One~SCT^2~^^~~^^~^^"]
)
def test_entry_without_category_or_kind_is_no_terminology(entry: str | None) -> None:
    assert terminology_from(entry) is None


def test_volume_that_is_no_dicom_series_is_refused(tmp_path: Path) -> None:
    write_with_itk(tmp_path / "a.nrrd", ramp())
    volume = read_volume(tmp_path / "a.nrrd")
    with pytest.raises(OutputError, match=r"needs a DICOM series as its source; write a \.seg\.nrrd"):
        write_dicom_seg(tmp_path / "out.dcm", {"x": volume.array > 3}, volume.geometry, volume.dicom_files)


def test_empty_segmentation_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", ramp((7, 5, 6)))
    volume = read_volume(tmp_path / "ct")
    with pytest.raises(OutputError, match="empty segmentation"):
        write_dicom_seg(tmp_path / "out.dcm", {"x": volume.array < 0}, volume.geometry, volume.dicom_files)
    assert not (tmp_path / "out.dcm").exists()


def test_missing_highdicom_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("highdicom"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    write_series(tmp_path / "ct", ramp((7, 5, 6)))
    volume = read_volume(tmp_path / "ct")
    with pytest.raises(OutputError, match=r"pip install 'medsamslicer\[dicom\]'"):
        write_dicom_seg(tmp_path / "out.dcm", masks_for(volume), volume.geometry, volume.dicom_files)


# ------------------------------------------------------------------------------ what real series have and lack


@pytest.mark.parametrize(
    "change",
    [
        {"SliceThickness": None},
        {"SliceThickness": ""},
        {"SpecificCharacterSet": ""},
        {"PatientBirthDate": "1970-01-02"},
        {"StudyDate": "unknown", "PatientAge": "35", "PatientSex": "male"},
    ],
    ids=lambda change: ", ".join(f"{name} {value!r}" for name, value in change.items()),
)
def test_what_a_series_lacks_or_holds_wrongly_is_mended(tmp_path: Path, change: dict[str, Any]) -> None:
    for file in write_series(tmp_path / "series", ramp((7, 9, 10))):
        dataset = pydicom.dcmread(file)
        for name, value in change.items():
            if value is None:
                del dataset[name]
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    dataset[name] = pydicom.DataElement(
                        name, pydicom.datadict.dictionary_VR(name), value, validation_mode=0
                    )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.save_as(file, enforce_file_format=True)
    volume = read_volume(tmp_path / "series")
    masks = masks_for(volume)
    check_dicom_seg(tmp_path / "a.dcm", list(masks), volume.geometry, volume.dicom_files)
    assert not (tmp_path / "a.dcm").exists()
    write_dicom_seg(tmp_path / "a.dcm", masks, volume.geometry, volume.dicom_files)
    read = assert_places(tmp_path / "a.dcm", volume, masks)
    assert float(read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness) == 2.5
    assert hd.seg.segread(tmp_path / "a.dcm").number_of_segments == 3


def test_labels_are_short_and_unlike_and_without_backslash(caplog: pytest.LogCaptureFixture) -> None:
    long = "x" * 70
    with caplog.at_level(logging.WARNING):
        labels = unique_labels([long + " first", long + " second", "a\\b", "liver"])
    assert labels == ["x" * 64, "x" * 60 + " (2)", "a/b", "liver"]
    assert len(caplog.records) == 3
