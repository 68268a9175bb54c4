"""What we write, 3D Slicer's own classes read back with every voxel where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from Testing.IO.image_files import read_image

from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.io.segmentations import write_labelmap, write_seg_nrrd
from MedSAMSlicerLib.io.volumes import read_volume

from .conftest import MrmlScene
from .places import farthest, node_matrix, segment_places, volume_places

pytestmark = pytest.mark.slicer

TOLERANCE_MM = 1e-6
IMAGES = (
    "brats13_0001_flair",
    "brats13_0001_t1c",
    "brats13_0005_flair",
    "brats13_0005_t1c",
    "ct_abdomen_ts",
    "ct_lesion_a",
    "ct_lesion_b",
    "ct_lungtumour_ibsi",
    "ct_spleen",
    "mr_brain_itksnap",
    "mr_cord_sag",
    "mr_gbm_thick1",
    "mr_lung_cor_0004",
    "mr_prostate_0",
    "ms_flair_p26",
    "sts006_ct",
    "sts006_mr_t1",
    "sts006_pet",
    "sts015_mr_t1",
    "sts041_ct",
    "sts041_mr_t1",
)
SERIES = (
    "dicom_ct_abdomen/dicom",
    "dicom_mr_prostate_cor/dicom",
    "multiframe_mr_cine/dicom/MR-MONO2-8-16x-heart.dcm",
)
LABELS = ("dicom_ct_abdomen/label.nii.gz", "video_colonoscopy_rgb/video_colonoscopy_rgb_label.nii.gz")
SHEARED = np.array([[1, 0, 0, 3], [0, 1.2, 0.6, -7], [0, 0, 2.5, 11], [0, 0, 0, 1]])


def blobs(shape: tuple[int, int, int], seed: int, count: int = 3) -> dict[str, np.ndarray[Any, Any]]:
    """Boxes and single voxels without any symmetry, some overlapping, one at the very corner."""
    random = np.random.default_rng(seed)
    masks = {}
    for number in range(count):
        mask = np.zeros(shape, dtype=bool)
        low = [random.integers(0, max(1, size - 1)) for size in shape]
        high = [start + 1 + random.integers(0, size - start) for start, size in zip(low, shape, strict=True)]
        mask[tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))] = True
        mask &= random.random(shape) < 0.7
        masks[f"object {number}"] = mask
    masks["object 0"][0, 0, 0] = masks["object 0"][-1, -1, -1] = True
    return masks


def assert_same_places(mrml: MrmlScene, path: Path, masks: Any, geometry: VolumeGeometry) -> Any:
    node = mrml.load_segmentation(path)
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegment(n).GetName() for n in range(len(masks))] == list(masks)
    for number, mask in enumerate(masks.values()):
        found = segment_places(node, segmentation.GetNthSegmentID(number))
        expected = volume_places(mask, geometry.ijk_to_ras)
        assert farthest(found, expected, geometry.ras_to_ijk) < TOLERANCE_MM
    return node


def assert_exported_on(mrml: MrmlScene, node: Any, volume: Any, masks: Any, geometry: VolumeGeometry) -> None:
    """Each segment, sampled by Slicer on the grid of a volume node, is the mask, voxel by voxel."""
    matrix = node_matrix(volume)
    for number, mask in enumerate(masks.values()):
        segment_id = node.GetSegmentation().GetNthSegmentID(number)
        exported = mrml.slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)
        found = volume_places(exported, matrix)
        expected = volume_places(mask, geometry.ijk_to_ras)
        assert farthest(found, expected, geometry.ras_to_ijk) < 1e-4


def assert_same_volume(mrml: MrmlScene, path: Path, node: Any) -> None:
    """The node shows every value of the volume where we say it is.

    Slicer stores a left-handed file with its slices in reverse; that moves no voxel.
    """
    array, geometry, _ = read_image(path)
    matrix = geometry.ijk_to_ras
    if np.linalg.det(matrix[:3, :3]) < 0:
        reverse = np.eye(4)
        reverse[2, 2:] = -1, len(array) - 1
        matrix, array = matrix @ reverse, array[::-1]
    np.testing.assert_allclose(node_matrix(node), matrix, atol=TOLERANCE_MM)
    np.testing.assert_array_equal(mrml.slicer.util.arrayFromVolume(node), array)


@pytest.mark.parametrize("name", IMAGES)
def test_volume_lies_where_slicer_shows_it(mrml: MrmlScene, shared_data: Path, name: str) -> None:
    for kind in ("image", "label"):
        path = shared_data / name / f"{name}_{kind}.nii.gz"
        assert_same_volume(mrml, path, mrml.load_volume(path))


@pytest.mark.parametrize("name", LABELS)
def test_label_without_an_image_of_its_own_lies_where_slicer_shows_it(
    mrml: MrmlScene, shared_data: Path, tmp_path: Path, name: str
) -> None:
    volume = read_volume(shared_data / name)
    node = mrml.load_volume(shared_data / name)
    assert_same_volume(mrml, shared_data / name, node)
    masks = blobs(volume.geometry.shape, seed=2)
    write_seg_nrrd(tmp_path / "out.seg.nrrd", masks, volume.geometry)
    written = assert_same_places(mrml, tmp_path / "out.seg.nrrd", masks, volume.geometry)
    assert_exported_on(mrml, written, node, masks, volume.geometry)


@pytest.mark.parametrize("name", IMAGES)
def test_segmentation_of_a_real_volume_keeps_every_voxel(
    mrml: MrmlScene, shared_data: Path, tmp_path: Path, name: str
) -> None:
    image = shared_data / name / f"{name}_image.nii.gz"
    volume = read_volume(image)
    labels = read_volume(shared_data / name / f"{name}_label.nii.gz").array
    masks = {f"label {value}": labels == value for value in np.unique(labels)[1:4]}
    masks["overlapping corner"] = np.zeros(labels.shape, dtype=bool)
    masks["overlapping corner"][-3:, -5:, -9:] = True
    masks["overlapping corner"] |= labels == np.unique(labels)[1]
    write_seg_nrrd(tmp_path / "out.seg.nrrd", masks, volume.geometry)
    node = assert_same_places(mrml, tmp_path / "out.seg.nrrd", masks, volume.geometry)
    assert_exported_on(mrml, node, mrml.load_volume(image), masks, volume.geometry)


@pytest.mark.parametrize("name", SERIES)
def test_segmentation_of_a_dicom_series_keeps_every_voxel(
    mrml: MrmlScene, shared_data: Path, tmp_path: Path, name: str
) -> None:
    # The film does not give the size of its pixels; Slicer takes 1 mm.
    volume = read_volume(shared_data / name, spacing=(1.0, 1.0) if name == SERIES[2] else None)
    masks = blobs(volume.geometry.shape, seed=4)
    write_seg_nrrd(tmp_path / "out.seg.nrrd", masks, volume.geometry)
    node = assert_same_places(mrml, tmp_path / "out.seg.nrrd", masks, volume.geometry)
    reference = mrml.volume_node(volume.array, volume.geometry.ijk_to_ras)
    assert_exported_on(mrml, node, reference, masks, volume.geometry)


def test_oblique_dicom_series_lies_where_slicer_shows_it(mrml: MrmlScene, shared_data: Path) -> None:
    folder = shared_data / "dicom_mr_prostate_cor" / "dicom"
    node = mrml.load_volume(sorted(folder.iterdir())[0])
    volume = read_volume(folder)
    np.testing.assert_allclose(node_matrix(node), volume.geometry.ijk_to_ras, atol=1e-5)
    np.testing.assert_array_equal(mrml.slicer.util.arrayFromVolume(node), volume.array)


@st.composite
def geometries(draw: st.DrawFn) -> VolumeGeometry:
    """Oblique, left-handed, permuted, mirrored, anisotropic and, sometimes, sheared."""
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3).filter(lambda sizes: max(sizes) > 1))
    angles = [draw(st.floats(-np.pi, np.pi)) for _ in range(3)]
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    matrix = matrix[:, draw(st.permutations(range(3)))]
    matrix *= [draw(st.sampled_from((1, -1))) * draw(st.floats(0.2, 9.0)) for _ in range(3)]
    if draw(st.booleans()):
        matrix[:, 2] += draw(st.floats(-0.5, 0.5)) * matrix[:, 1]
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    return VolumeGeometry((shape[0], shape[1], shape[2]), affine)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(geometry=geometries(), seed=st.integers(0, 1000))
def test_segmentation_of_any_geometry_keeps_every_voxel(
    mrml: MrmlScene, tmp_path: Path, geometry: VolumeGeometry, seed: int
) -> None:
    masks = blobs(geometry.shape, seed)
    write_seg_nrrd(tmp_path / "out.seg.nrrd", masks, geometry)
    node = assert_same_places(mrml, tmp_path / "out.seg.nrrd", masks, geometry)
    reference = mrml.volume_node(np.zeros(geometry.shape, np.int16), geometry.ijk_to_ras)
    assert_exported_on(mrml, node, reference, masks, geometry)
    mrml.clear()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(geometry=geometries(), seed=st.integers(0, 1000))
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_labelmap_of_any_geometry_loads_as_a_volume_in_the_same_place(
    mrml: MrmlScene, tmp_path: Path, geometry: VolumeGeometry, seed: int, suffix: str
) -> None:
    path = tmp_path / f"out{suffix}"
    write_labelmap(path, blobs(geometry.shape, seed, count=1), geometry)
    assert read_image(path)[1].distance_to(geometry) < TOLERANCE_MM
    assert_same_volume(mrml, path, mrml.load_volume(path))
    mrml.clear()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_labelmap_loads_as_a_volume_in_the_same_place(
    mrml: MrmlScene, tmp_path: Path, suffix: str
) -> None:
    turn = np.array([[0.0, -0.6, 0.8], [0.0, 0.8, 0.6], [-1.0, 0.0, 0.0]])
    for direction in (turn, -turn):  # right- and left-handed
        geometry = VolumeGeometry.from_spacing((5, 6, 7), (0.7, 1.3, 4.0), (-120.5, 33.25, 710.0), direction)
        path = tmp_path / f"out{suffix}"
        write_labelmap(path, blobs(geometry.shape, 3, count=1), geometry)
        assert read_volume(path).geometry.distance_to(geometry) < 1e-3  # the format has 32-bit numbers
        assert_same_volume(mrml, path, mrml.load_volume(path))


def test_names_colors_and_overlaps_survive(mrml: MrmlScene, tmp_path: Path) -> None:
    geometry = VolumeGeometry.from_spacing((6, 7, 8), (1, 2, 3))
    masks = {
        name: np.zeros(geometry.shape, dtype=bool) for name in ("Tumör «links»", "a|b ~ c^d", "no voxels")
    }
    masks["Tumör «links»"][1:4, 2:5, 2:6] = True
    masks["a|b ~ c^d"][3:5, 4:7, 5:8] = True
    colors = {
        "Tumör «links»": (0.25, 0.5, 0.75),
        "a|b ~ c^d": (1.0, 0.0, 0.125),
        "no voxels": (0.1, 0.2, 0.3),
    }
    write_seg_nrrd(tmp_path / "out.seg.nrrd", masks, geometry, colors, reference_name="CT of the chest")
    node = assert_same_places(mrml, tmp_path / "out.seg.nrrd", masks, geometry)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfLayers() == 2
    for number, color in enumerate(colors.values()):
        np.testing.assert_allclose(segmentation.GetNthSegment(number).GetColor(), color, atol=1e-6)
        assert not segmentation.GetNthSegment(number).GetNameAutoGenerated()
    assert [segmentation.GetNthSegmentID(n) for n in range(3)] == ["Segment_1", "Segment_2", "Segment_3"]


def test_slicer_knows_the_reference_geometry_of_the_segmentation(mrml: MrmlScene, tmp_path: Path) -> None:
    geometry = VolumeGeometry((4, 5, 6), SHEARED)
    write_seg_nrrd(tmp_path / "out.seg.nrrd", blobs(geometry.shape, 1), geometry)
    node = mrml.load_segmentation(tmp_path / "out.seg.nrrd")
    name = mrml.slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    image = mrml.slicer.vtkOrientedImageData()
    text = node.GetSegmentation().GetConversionParameter(name)
    assert mrml.slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False)
    assert image.GetDimensions() == (6, 5, 4)


def test_more_than_255_segments_keep_their_names(mrml: MrmlScene, tmp_path: Path) -> None:
    geometry = VolumeGeometry.from_spacing((7, 7, 7), (1, 1, 1))
    masks = {}
    for number in range(300):
        masks[f"lesion {number}"] = np.zeros(geometry.shape, dtype=bool)
        masks[f"lesion {number}"].flat[number] = True
    write_seg_nrrd(tmp_path / "out.seg.nrrd", masks, geometry)
    assert_same_places(mrml, tmp_path / "out.seg.nrrd", masks, geometry)


def test_segmentation_saved_again_by_slicer_reads_the_same(mrml: MrmlScene, tmp_path: Path) -> None:
    """Slicer crops what it saves; read_label puts it back."""
    from MedSAMSlicerLib.io.labels import read_label

    geometry = VolumeGeometry((6, 7, 8), SHEARED)
    mask = np.zeros(geometry.shape, dtype=bool)
    mask[2:4, 3:6, 1:7] = True
    write_seg_nrrd(tmp_path / "out.seg.nrrd", {"lesion": mask}, geometry)
    node = mrml.load_segmentation(tmp_path / "out.seg.nrrd")
    storage = node.GetStorageNode()
    storage.SetFileName(str(tmp_path / "again.seg.nrrd"))
    storage.SetCropToMinimumExtent(True)
    assert storage.WriteData(node) == 1
    np.testing.assert_array_equal(read_label(tmp_path / "again.seg.nrrd", geometry) != 0, mask)


@pytest.mark.parametrize(
    "space", ["right-anterior-superior", "left-anterior-superior", "left-posterior-superior", ""]
)
def test_nrrd_of_any_space_lies_where_slicer_shows_it(mrml: MrmlScene, tmp_path: Path, space: str) -> None:
    place = f"space: {space}\nspace directions: (0,2,0) (1,0,0) (0,0.5,-3)\nspace origin: (5,-6,7)\n"
    header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\n{place if space else 'spacings: 1 2 3'}"
    text = f"{header.rstrip()}\nendian: little\nencoding: raw\n\n"
    path = tmp_path / "space.nrrd"
    path.write_bytes(text.encode() + np.arange(120, dtype="<i2").tobytes())
    assert_same_volume(mrml, path, mrml.load_volume(path))
