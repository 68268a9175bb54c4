"""Segments of the scene as files that other programs read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PySide6 import QtGui

from MedSAMSlicerLib.core.errors import OutputError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.io.labels import read_label
from MedSAMSlicerLib.io.volumes import read_volume

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "IO"))  # pytest's importlib mode leaves it out
from dicom_files import write_series


class Database:
    """What the module asks of ctkDICOMDatabase: files by the UID of their instance; `insert` takes a copy."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files, self.isOpen = files, True

    def fileForInstance(self, uid: str) -> str:  # noqa: N802 - of CTK
        return self.files.get(uid, "")

    def insert(self, path: str) -> None:
        import pydicom

        copy = Path(path).with_suffix(".copy")
        copy.write_bytes(Path(path).read_bytes())
        self.files[pydicom.dcmread(copy).SOPInstanceUID] = str(copy)


@pytest.fixture
def segmented(host):
    """A volume with two overlapping segments of one name; returns volume node, segmentation node and masks."""
    from MedSAMSlicerLib.scene.segments import SegmentMasks, create_segmentation

    array = np.random.default_rng(0).integers(-100, 200, (6, 20, 24)).astype(np.int16)
    matrix = np.diag([-0.5, -0.75, 2.5, 1.0])
    matrix[:3, 3] = [100.0, 80.0, 40.0]
    volume = host.add_volume(array, matrix, "Head")
    segmentation = create_segmentation(host.scene, volume)
    masks = np.zeros((2, *array.shape), dtype=bool)
    masks[0, 1:4, 5:12, 5:12] = True
    masks[1, 2:5, 10:15, 10:15] = True
    segments = SegmentMasks(segmentation, volume)
    for mask in masks:
        segment_id = segments.add("Lesion", (0.9, 0.6, 0.0))
        planes = {index: plane for index, plane in enumerate(mask) if plane.any()}
        segments.write_slices(segment_id, SliceAxis.K, planes)
    found = [segments.read_slices(segment_id, SliceAxis.K) for segment_id in segments.segment_ids()]
    segments.close()
    drawn = np.zeros_like(masks)
    for number, planes in enumerate(found):
        for index, plane in planes.items():
            drawn[number, index] = plane
    return volume, segmentation, drawn


def test_segments_of_one_name_get_different_ones(segmented):
    from MedSAMSlicerLib.scene.export_files import SegmentMasksByName

    volume, segmentation, drawn = segmented
    masks = SegmentMasksByName(segmentation, volume)
    assert list(masks) == ["Lesion", "Lesion 2"]
    assert masks.colors["Lesion"] == pytest.approx((0.9, 0.6, 0.0))
    assert (masks["Lesion"] == drawn[0]).all()
    assert (masks["Lesion 2"] == drawn[1]).all()


def test_nifti_holds_every_voxel_in_its_place(segmented, tmp_path):
    from MedSAMSlicerLib.scene.export_files import export_nifti
    from MedSAMSlicerLib.scene.nodes import volume_geometry

    volume, segmentation, drawn = segmented
    export_nifti(segmentation, volume, tmp_path / "out.nii.gz")
    labels = read_label(tmp_path / "out.nii.gz", volume_geometry(volume))
    assert ((labels > 0) == drawn.any(axis=0)).all()


def test_slicer_writes_its_own_format_and_says_so_when_it_cannot(segmented, tmp_path):
    from MedSAMSlicerLib.scene.export_files import export_segmentation

    _volume, segmentation, _drawn = segmented
    export_segmentation(segmentation, tmp_path / "out.seg.nrrd")
    assert b"Segment0_Name:=Lesion" in (tmp_path / "out.seg.nrrd").read_bytes()


def test_dicom_seg_needs_a_volume_from_the_dicom_database(segmented, tmp_path):
    from MedSAMSlicerLib.scene.export_files import export_dicom, series_files

    volume, segmentation, _drawn = segmented
    assert series_files(volume) == []
    with pytest.raises(OutputError, match="DICOM database"):
        export_dicom(segmentation, volume, tmp_path / "out.dcm")


@pytest.mark.parametrize("reverse", [False, True], ids=["slices in order", "slices in the other order"])
def test_dicom_seg_puts_masks_on_the_images_they_were_drawn_on(segmented, tmp_path, monkeypatch, reverse):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    import slicer

    from MedSAMSlicerLib.scene.export_files import export_dicom
    from MedSAMSlicerLib.scene.nodes import volume_geometry

    volume, segmentation, drawn = segmented
    step = (0.0, 0.0, -2.5) if reverse else (0.0, 0.0, 2.5)
    origin = (-100.0, -80.0, 52.5) if reverse else (-100.0, -80.0, 40.0)
    array = slicer.util.arrayFromVolume(volume)
    files = write_series(tmp_path / "series", array[::-1] if reverse else array, origin=origin, step=step)
    known = {pydicom.dcmread(file).SOPInstanceUID: str(file) for file in files}
    monkeypatch.setattr(slicer, "dicomDatabase", Database(known), raising=False)
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(known))
    series = read_volume(files[0])
    assert series.geometry.shape == drawn.shape[1:]
    assert export_dicom(segmentation, volume, tmp_path / "out.dcm")
    written = pydicom.dcmread(tmp_path / "out.dcm")
    assert [item.SegmentLabel for item in written.SegmentSequence] == ["Lesion", "Lesion 2"]
    assert written.pixel_array.sum() == drawn.sum()
    for number, mask in enumerate(drawn, start=1):
        found = np.zeros_like(mask)
        found[
            tuple(np.rint(volume_geometry(volume).to_ijk(mask_places(written, number))).astype(int).T[::-1])
        ] = True
        assert (found == mask).all()
    kept = pydicom.dcmread(known[written.SOPInstanceUID])  # what the database has beside the series
    assert kept.StudyInstanceUID == pydicom.dcmread(files[0]).StudyInstanceUID
    assert kept.Modality == "SEG"
    slicer.dicomDatabase.isOpen = False
    del known[written.SOPInstanceUID]
    assert not export_dicom(segmentation, volume, tmp_path / "again.dcm")
    assert (tmp_path / "again.dcm").is_file()
    assert len(known) == len(files)


def mask_places(written, segment):
    """(N, 3) RAS of the pixels of a segment of a DICOM SEG, by the position of each of its frames."""
    shared = written.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    down, across = (float(mm) for mm in shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    for pixels, frame in zip(written.pixel_array, written.PerFrameFunctionalGroupsSequence, strict=True):
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment:
            position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
            found.append(position + np.argwhere(pixels)[:, ::-1] * (across, down) @ axes)
    return np.concatenate(found) * (-1, -1, 1)


def test_a_volume_whose_rows_and_columns_changed_places_is_refused(host, tmp_path, monkeypatch):
    pydicom = pytest.importorskip("pydicom")
    import slicer

    from MedSAMSlicerLib.scene.export_files import export_dicom
    from MedSAMSlicerLib.scene.segments import SegmentMasks, create_segmentation

    array = np.random.default_rng(0).integers(-100, 200, (6, 20, 20)).astype(np.int16)
    turned = np.array([[0, -0.5, 0, 100], [-0.5, 0, 0, 80], [0, 0, 2.5, 40], [0, 0, 0, 1.0]])
    volume = host.add_volume(
        array.swapaxes(1, 2), turned, "Head"
    )  # the same places, as another module may store them
    segmentation = create_segmentation(host.scene, volume)
    segments = SegmentMasks(segmentation, volume)
    mask = np.zeros((20, 20), np.bool_)
    mask[2:5, 8:15] = True
    segments.write_slices(segments.add("Lesion"), SliceAxis.K, {2: mask})
    segments.close()
    files = write_series(tmp_path / "series", array, spacing=(0.5, 0.5))
    known = {pydicom.dcmread(file).SOPInstanceUID: str(file) for file in files}
    monkeypatch.setattr(slicer, "dicomDatabase", Database(known), raising=False)
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(known))
    with pytest.raises(OutputError, match="no longer has the voxels"):
        export_dicom(segmentation, volume, tmp_path / "out.dcm")


def test_a_volume_that_left_the_voxels_of_its_series_is_refused(segmented, tmp_path, monkeypatch):
    pydicom = pytest.importorskip("pydicom")
    import slicer

    from MedSAMSlicerLib.scene.export_files import export_dicom

    volume, segmentation, _drawn = segmented
    files = write_series(
        tmp_path / "series", np.zeros((9, 20, 24), dtype=np.int16) + np.arange(24, dtype=np.int16)
    )
    known = {pydicom.dcmread(file).SOPInstanceUID: str(file) for file in files}
    monkeypatch.setattr(slicer, "dicomDatabase", Database(known), raising=False)
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(known))
    with pytest.raises(OutputError, match="resampled or cropped"):
        export_dicom(segmentation, volume, tmp_path / "out.dcm")


def test_segments_that_no_dicom_seg_can_hold_are_written_beside_it(segmented, tmp_path, monkeypatch):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    import slicer

    from MedSAMSlicerLib.scene.export_files import export_dicom

    volume, segmentation, _drawn = segmented
    files = write_series(tmp_path / "series", slicer.util.arrayFromVolume(volume))
    known = {pydicom.dcmread(file).SOPInstanceUID: str(file) for file in files}
    monkeypatch.setattr(slicer, "dicomDatabase", Database(known), raising=False)
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(known))
    (tmp_path / "out.seg.nrrd").write_bytes(b"an older result")
    files[2].write_bytes(files[2].read_bytes()[:-30])
    with pytest.raises(OutputError, match=r"written to .*out-2\.seg\.nrrd instead"):
        export_dicom(segmentation, volume, tmp_path / "out.dcm")
    assert b"Segment1_Name:=Lesion" in (tmp_path / "out-2.seg.nrrd").read_bytes()
    assert (tmp_path / "out.seg.nrrd").read_bytes() == b"an older result"
    assert not (tmp_path / "out.dcm").exists()


def test_file_that_cannot_be_written_leaves_the_one_before_as_it_was(segmented, tmp_path, monkeypatch):
    import slicer

    from MedSAMSlicerLib.scene.export_files import export_segmentation

    _volume, segmentation, _drawn = segmented
    path = tmp_path / "Head.seg.nrrd"
    export_segmentation(segmentation, path)
    content = path.read_bytes()
    assert content.startswith(b"NRRD")

    class FullDisk:
        def SetFileName(self, name):  # noqa: N802 - of VTK
            Path(name).write_bytes(b"half")

        def WriteData(self, node):  # noqa: N802
            return 0

    monkeypatch.setattr(slicer, "vtkMRMLSegmentationStorageNode", FullDisk)
    with pytest.raises(OutputError, match=r"Head\.seg\.nrrd"):
        export_segmentation(segmentation, path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["Head.seg.nrrd"]
    with pytest.raises(OutputError, match="folder does not exist"):
        export_segmentation(segmentation, tmp_path / "nowhere" / "Head.seg.nrrd")


def test_panel_asks_the_dicom_database_once_for_a_volume(host, monkeypatch, tmp_path):
    import slicer

    asked = []
    file = tmp_path / "1.dcm"
    file.write_bytes(b"there")

    class Database:
        def fileForInstance(self, uid):  # noqa: N802
            asked.append(uid)
            return str(file)

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    volume = host.add_volume(np.zeros((4, 8, 8), np.int16), name="Series")
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(f"1.2.{number}" for number in range(300)))
    widget = host.open_module()
    for number in range(3):
        widget.controller.inputs.add_segment(f"segment {number}")
        host.process_events(0.05)
    node, (first, *_others) = widget.controller.inputs.segmentation_node, widget.controller.inputs.segment_ids
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.ones((4, 8, 8), np.uint8), node, first, volume)
    actions = widget.ui.exportButton.menu().actions()
    entry = next(each for each in actions if QtGui.QAction.text(each).startswith("DICOM"))
    assert host.wait_until(lambda: QtGui.QAction.isEnabled(entry), 10), QtGui.QAction.toolTip(entry)
    assert len(asked) == 1
