"""Segmentations and labelmaps keep their masks; labels of another geometry are refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import GeometryError, OutputError, VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.io.labels import read_label, read_slice_mask
from MedSAMSlicerLib.io.nifti import write_nifti
from MedSAMSlicerLib.io.segmentations import PALETTE, in_layers, write_labelmap, write_seg_nrrd
from MedSAMSlicerLib.io.volumes import read_volume

from .image_files import SHEARED, ramp, read_image, write_with_itk

SHAPE = (4, 5, 6)
GEOMETRY = VolumeGeometry(SHAPE, SHEARED)
UPRIGHT = VolumeGeometry.from_spacing(SHAPE, (0.5, 0.75, 3.0), (7.0, -8.0, 9.0))


def box(*ranges: tuple[int, int], shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*pair) for pair in ranges)] = True
    return mask


MASKS = {
    "liver": box((0, 2), (1, 4), (0, 3)),
    "spleen": box((2, 4), (0, 2), (3, 6)),
    "lesion": box((1, 2), (2, 3), (1, 3)),
}


@given(st.lists(st.integers(0, 2**12 - 1), max_size=6))
def test_layers_hold_every_mask_whatever_overlaps(bits: list[int]) -> None:
    shape = (2, 2, 3)
    masks = [np.array([value >> n & 1 for n in range(12)], dtype=bool).reshape(shape) for value in bits]
    layers = in_layers(masks, shape)
    assert layers.array.shape[:3] == shape
    for mask, (layer, label) in zip(masks, layers.places, strict=True):
        np.testing.assert_array_equal(layers.array[..., layer] == label, mask)


def test_masks_without_overlap_share_one_layer() -> None:
    assert in_layers([MASKS["liver"], MASKS["spleen"]], SHAPE).array.shape == (*SHAPE, 1)
    assert in_layers(list(MASKS.values()), SHAPE).array.shape == (*SHAPE, 2)


def test_segmentation_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    for name in ("a.seg.nrrd", "b.seg.nrrd"):
        write_seg_nrrd(tmp_path / name, MASKS, GEOMETRY)
    assert (tmp_path / "a.seg.nrrd").read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()


def test_segmentation_is_readable_by_simpleitk(tmp_path: Path) -> None:
    write_seg_nrrd(tmp_path / "out.seg.nrrd", MASKS, UPRIGHT, {"liver": (1.0, 0.5, 0.25)}, "CT abdomen")
    image = sitk.ReadImage(str(tmp_path / "out.seg.nrrd"))
    assert image.GetNumberOfComponentsPerPixel() == 2
    assert image.GetMetaData("Segment0_Name") == "liver"
    assert image.GetMetaData("Segment0_Color") == "1 0.5 0.25"
    assert image.GetMetaData("MedSAMSlicer_ReferenceVolume") == "CT abdomen"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image)[..., 1] == 1, MASKS["lesion"])


def test_extents_are_those_of_the_layer(tmp_path: Path) -> None:
    write_seg_nrrd(tmp_path / "out.seg.nrrd", MASKS, UPRIGHT)
    image = sitk.ReadImage(str(tmp_path / "out.seg.nrrd"))
    assert image.GetMetaData("Segment0_Extent") == image.GetMetaData("Segment1_Extent") == "0 5 0 3 0 3"
    assert image.GetMetaData("Segment2_Extent") == "1 2 2 2 1 1"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_labelmap_keeps_masks_and_names(tmp_path: Path, suffix: str) -> None:
    masks = {"Niere (links)": MASKS["liver"], "Milz – groß": MASKS["spleen"]}
    path = tmp_path / f"organs{suffix}"
    assert write_labelmap(path, masks, GEOMETRY, {"Niere (links)": (1, 0, 0)}) == 0
    array, geometry, _ = read_image(path)
    assert array.dtype == np.uint8
    assert geometry.distance_to(GEOMETRY) < 1e-9
    for label, mask in enumerate(masks.values(), start=1):
        np.testing.assert_array_equal(array == label, mask)
    if suffix == ".nrrd":
        assert "Segment1_Name:=Milz – groß\n".encode() in path.read_bytes()
        assert not (tmp_path / "organs.labels.json").exists()
        return
    labels = json.loads((tmp_path / "organs.labels.json").read_text("utf-8"))["labels"]
    assert labels["1"] == {"name": "Niere (links)", "color": [1, 0, 0], "voxels": 18}
    assert labels["2"]["name"] == "Milz – groß"
    assert labels["2"]["color"] == list(PALETTE[1])


def test_overlap_in_a_labelmap_is_counted_and_stated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert write_labelmap(tmp_path / "out.nii", MASKS, UPRIGHT) == 2
    assert "2 voxels" in caplog.text
    array = read_image(tmp_path / "out.nii")[0]
    np.testing.assert_array_equal(array == 3, MASKS["lesion"])
    named = json.loads((tmp_path / "out.labels.json").read_text("utf-8"))["labels"]
    counted = np.bincount(array.ravel(), minlength=4)[1:].tolist()
    assert [named[str(label)]["voxels"] for label in (1, 2, 3)] == counted


def test_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    for write in (write_seg_nrrd, write_labelmap):
        with pytest.raises(OutputError, match=r"'liver' has shape \(1, 2, 3\), the volume \(4, 5, 6\)"):
            write(tmp_path / "out.nrrd", {"liver": np.zeros((1, 2, 3), bool)}, UPRIGHT)
    assert list(tmp_path.iterdir()) == []


def test_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"must end in \.nii\.gz"):
        write_labelmap(tmp_path / "out.jpg", MASKS, UPRIGHT)


# Labels


def turned(array: Any, geometry: VolumeGeometry, order: tuple[int, int, int], flips: tuple[int, ...]) -> Any:
    """The same voxels stored with array axes in another order, some of them backwards."""
    matrix = geometry.ijk_to_ras.copy()
    for axis in flips:
        array = np.flip(array, axis)
        column = 2 - axis
        matrix[:3, 3] += matrix[:3, column] * (geometry.shape[axis] - 1)
        matrix[:3, column] *= -1
    columns = [2 - order[2 - n] for n in range(3)]
    matrix[:3, :3] = matrix[:3, columns]
    array = np.transpose(array, order)
    return array, VolumeGeometry(array.shape, matrix)


@given(st.permutations([0, 1, 2]), st.sets(st.integers(0, 2)), st.booleans())
def test_label_stored_in_another_order_is_put_in_place(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], flips: set[int], sheared: bool
) -> None:
    geometry = GEOMETRY if sheared else UPRIGHT
    labels = ramp(SHAPE, "u1")
    array, other = turned(labels, geometry, (order[0], order[1], order[2]), tuple(flips))
    path = tmp_path_factory.mktemp("labels") / "label.nii"
    write_nifti(path, array, other)
    np.testing.assert_array_equal(read_label(path, geometry), labels)


def test_real_label_stored_upside_down_is_put_in_place(shared_data: Path) -> None:
    folder = shared_data / "dicom_ct_abdomen"
    volume = read_volume(folder / "dicom")
    stored = read_volume(folder / "label.nii.gz")
    label = read_label(folder / "label.nii.gz", volume.geometry)
    assert np.linalg.det(stored.geometry.ijk_to_ras[:3, :3]) * np.linalg.det(
        volume.geometry.ijk_to_ras[:3, :3]
    ) != pytest.approx(0.0)
    assert np.bincount(label.ravel()).tolist() == np.bincount(stored.array.ravel()).tolist()
    places = volume.geometry.to_ras(np.argwhere(label == 5)[:, ::-1])
    inside = np.round(stored.geometry.to_ijk(places)).astype(int)
    assert (stored.array[tuple(inside[:, ::-1].T)] == 5).all()


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (VolumeGeometry.from_spacing((4, 5, 7), (0.5, 0.75, 3.0), (7, -8, 9)), r"it has 4 x 5 x 7 voxels"),
        (VolumeGeometry.from_spacing(SHAPE, (0.5, 0.75, 2.0), (7, -8, 9)), r"0.5 x 0.75 x 2 mm, those of"),
        (
            VolumeGeometry.from_spacing(SHAPE, (0.5, 0.75, 3.0), (7, -7.8, 9)),
            r"lies 0.2 mm .0.4 voxels. away",
        ),
        (VolumeGeometry.from_spacing(SHAPE, (0.5, 0.75, 3.0), (7, -8, 12)), r"lies 3 mm .6 voxels. away"),
        (VolumeGeometry(SHAPE, SHEARED), "mm, those of the volume"),
    ],
)
def test_label_of_another_geometry_is_refused_with_the_difference(
    tmp_path: Path, other: VolumeGeometry, difference: str
) -> None:
    path = tmp_path / "label.nii"
    write_nifti(path, np.ones(other.shape, np.uint8), other)
    with pytest.raises(GeometryError, match=difference) as error:
        read_label(path, UPRIGHT)
    assert "label.nii does not fit the volume" in str(error.value)


def test_label_turned_by_a_few_degrees_is_refused(tmp_path: Path) -> None:
    angle = np.deg2rad(3)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    other = VolumeGeometry.from_spacing(SHAPE, (0.5, 0.75, 3.0), (7, -8, 9), turn)
    write_nifti(tmp_path / "label.nii", np.ones(SHAPE, np.uint8), other)
    with pytest.raises(GeometryError, match="axes point in other directions"):
        read_label(tmp_path / "label.nii", UPRIGHT)


def test_label_of_whole_numbers_in_floats_is_read(tmp_path: Path) -> None:
    write_with_itk(tmp_path / "label.nrrd", ramp(SHAPE, "f4"))
    geometry = read_image(tmp_path / "label.nrrd")[1]
    assert np.issubdtype(read_label(tmp_path / "label.nrrd", geometry).dtype, np.integer)
    write_with_itk(tmp_path / "label.nrrd", ramp(SHAPE, "f4") / 2)
    with pytest.raises(VolumeError, match="not whole numbers"):
        read_label(tmp_path / "label.nrrd", geometry)


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_mask_of_a_slice_comes_from_a_volume_or_a_picture(tmp_path: Path, axis: SliceAxis) -> None:
    write_labelmap(tmp_path / "mask.nii.gz", {"liver": MASKS["liver"]}, UPRIGHT)
    expected = np.take(MASKS["liver"], 1, axis=axis)
    np.testing.assert_array_equal(read_slice_mask(tmp_path / "mask.nii.gz", UPRIGHT, axis, 1), expected)
    write_with_itk(tmp_path / "mask.png", expected.astype(np.uint8) * 255)
    np.testing.assert_array_equal(read_slice_mask(tmp_path / "mask.png", UPRIGHT, axis, 1), expected)


def test_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    write_with_itk(tmp_path / "mask.png", np.ones((6, 5), np.uint8))
    with pytest.raises(GeometryError, match=r"6 x 5 pixels, but a slice along k has 5 x 6"):
        read_slice_mask(tmp_path / "mask.png", UPRIGHT, SliceAxis.K, 0)
    with pytest.raises(VolumeError, match="does not exist"):
        read_slice_mask(tmp_path / "none.png", UPRIGHT, SliceAxis.K, 0)


@pytest.mark.parametrize(("geometry", "warned"), [(GEOMETRY, True), (UPRIGHT, False)])
def test_a_nifti_file_that_slicer_will_not_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, geometry: VolumeGeometry, warned: bool
) -> None:
    with caplog.at_level(logging.WARNING):
        write_labelmap(tmp_path / "a.nii.gz", {"box": box((1, 2), (1, 3), (1, 3))}, geometry)
    assert ("shear" in caplog.text) is warned
