"""Volume nodes as geometry and array: the same voxel at the same place, whatever Slicer did with the file."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from Testing.IO.image_files import read_image

from MedSAMSlicerLib.core.errors import GeometryError, VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry

from .conftest import MrmlScene
from .test_segmentations_in_slicer import IMAGES
from .volumes import CASES, case, geometries, node_of, put_under, transforms

pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
from MedSAMSlicerLib.scene import nodes, slice_views

pytestmark = pytest.mark.slicer
ANY = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@ANY
@given(geometry=geometries(), transform=transforms(), data=st.data())
def test_a_voxel_of_the_array_is_the_voxel_that_slicer_shows(
    mrml: MrmlScene, geometry, transform, data
) -> None:
    volume = node_of(mrml, geometry, transform)
    found, array = nodes.volume_geometry(volume), nodes.volume_array(volume)
    k, j, i = (data.draw(st.integers(0, size - 1)) for size in geometry.shape)
    assert found.shape == geometry.shape
    np.testing.assert_allclose(found.ijk_to_ras, geometry.ijk_to_ras, rtol=0, atol=1e-9)
    # By Slicer's own means: world to RAS to IJK, then the value of the image.
    world = nodes.to_world(volume, found.to_ras([(i, j, k)]))[0]
    local = [0.0] * 3
    volume.TransformPointFromWorld(world.tolist(), local)
    matrix = mrml.slicer.util.vtkMatrixFromArray(np.eye(4))
    volume.GetRASToIJKMatrix(matrix)
    ijk = np.rint(matrix.MultiplyPoint([*local, 1.0])[:3]).astype(int)
    assert volume.GetImageData().GetScalarComponentAsDouble(*ijk.tolist(), 0) == array[k, j, i]
    np.testing.assert_allclose(nodes.from_world(volume, [world])[0], local, rtol=0, atol=1e-6)
    mrml.clear()


@pytest.mark.parametrize("name", IMAGES)
def test_every_real_volume_has_the_values_of_its_file_at_their_places(
    mrml: MrmlScene, shared_data: Path, name: str
) -> None:
    path = shared_data / name / f"{name}_image.nii.gz"
    array, geometry, _ = read_image(path)
    node = mrml.load_volume(path)
    found = nodes.volume_geometry(node)
    voxels = np.random.default_rng(1).integers(0, array.shape, size=(300, 3))
    ijk = np.rint(found.to_ijk(geometry.to_ras(voxels[:, ::-1]))).astype(int)
    np.testing.assert_array_equal(nodes.volume_array(node)[tuple(ijk[:, ::-1].T)], array[tuple(voxels.T)])
    np.testing.assert_allclose(found.to_ras(ijk), geometry.to_ras(voxels[:, ::-1]), rtol=0, atol=1e-3)


def test_an_array_is_a_view_that_cannot_be_written(mrml: MrmlScene) -> None:
    volume = node_of(mrml, VolumeGeometry((4, 5, 6), np.eye(4)))
    array = nodes.volume_array(volume)
    assert np.shares_memory(array, mrml.slicer.util.arrayFromVolume(volume))
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0, 0] = 1
    mrml.slicer.util.arrayFromVolume(volume)[1, 2, 3] = 4711  # Slicer itself still may
    assert array[1, 2, 3] == 4711


def test_an_array_outlives_its_node(mrml: MrmlScene) -> None:
    volume = node_of(mrml, VolumeGeometry((40, 50, 60), np.eye(4)))
    array = nodes.volume_array(volume)
    expected = array.copy()
    mrml.scene.RemoveNode(volume)
    del volume
    gc.collect()
    np.testing.assert_array_equal(array, expected)


def test_voxels_that_start_elsewhere_than_at_zero_keep_their_places(mrml: MrmlScene) -> None:
    volume = node_of(mrml, VolumeGeometry((4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0])))
    volume.GetImageData().SetExtent(1, 6, 2, 6, 3, 6)
    np.testing.assert_allclose(nodes.volume_geometry(volume).to_ras([(0, 0, 0)]), [(2, 6, 12)])


def test_colors_are_refused(mrml: MrmlScene) -> None:
    volume = mrml.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    mrml.slicer.util.updateVolumeFromArray(volume, np.zeros((2, 3, 4, 3), dtype=np.uint8))
    with pytest.raises(VolumeError, match=r'"photo" has 3 values per voxel'):
        nodes.check_usable(volume)
    with pytest.raises(VolumeError, match="3 values"):
        nodes.volume_array(volume)


def test_a_volume_without_an_image_is_refused(mrml: MrmlScene) -> None:
    volume = mrml.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(VolumeError, match='"empty" has no image'):
        nodes.check_usable(volume)
    with pytest.raises(VolumeError, match="has no image"):
        nodes.check_usable(None)


def test_a_non_linear_transform_is_refused_and_the_sentence_says_what_to_do(mrml: MrmlScene) -> None:
    volume = node_of(mrml, VolumeGeometry((4, 5, 6), np.eye(4)))
    nodes.check_usable(volume)
    warp = mrml.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    import vtk

    spline = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for place in ((0, 0, 0), (5, 0, 0), (0, 5, 0), (0, 0, 5), (3, 4, 5)):
        points.InsertNextPoint(place)
    moved = vtk.vtkPoints()
    moved.DeepCopy(points)
    moved.SetPoint(4, 4, 6, 8)
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    spline.SetBasisToR()
    warp.SetAndObserveTransformToParent(spline)
    volume.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(
        GeometryError, match=r'under the non-linear transform "warp", .* with the transform hardened'
    ):
        nodes.check_usable(volume)
    with pytest.raises(GeometryError, match="non-linear"):
        nodes.to_world(volume, [(0, 0, 0)])


def slice_view(mrml: MrmlScene, orientation: str, name: str = "Red"):
    node = mrml.scene.CreateNodeByClass("vtkMRMLSliceNode")
    node.UnRegister(None)
    node.SetName(name)
    node.SetLayoutName(name)
    node = mrml.scene.AddNode(node)
    node.SetOrientation(orientation)
    return node


@ANY
@given(geometry=geometries(), transform=transforms(), data=st.data())
def test_a_view_turned_to_a_slice_shows_that_slice(mrml: MrmlScene, geometry, transform, data) -> None:
    volume = node_of(mrml, geometry, transform)
    axis = data.draw(st.sampled_from(SliceAxis))
    index = data.draw(st.integers(0, geometry.slice_count(axis) - 1))
    node = slice_view(mrml, "Axial")
    places = nodes.to_world(volume, geometry.slice_to_ras([(0, 0), (1, 0), (0, 1)], index, axis))
    across, down = places[1] - places[0], places[2] - places[0]
    normal = np.cross(across, down)
    node.SetSliceToRASByNTP(
        *(normal / np.linalg.norm(normal)), *(across / np.linalg.norm(across)), *places[0], 0
    )
    shown = slice_views.shown_slice(node, volume)
    assert (shown.axis, shown.index) == (axis, index)
    assert shown.off_degrees < 1e-5
    assert not shown.is_oblique
    wanted = data.draw(st.integers(0, geometry.slice_count(axis) - 1))
    slice_views.show_slice(mrml.scene, volume, axis, wanted)
    assert slice_views.shown_slice(node, volume).index == wanted
    mrml.clear()


def test_an_oblique_view_says_by_how_much(mrml: MrmlScene) -> None:
    volume = node_of(mrml, VolumeGeometry((20, 20, 20), np.diag([1.0, 1.0, 2.0, 1.0])))
    node = slice_view(mrml, "Axial")
    angle = np.radians(20)
    node.SetSliceToRASByNTP(0, np.sin(angle), np.cos(angle), 1, 0, 0, 5, 5, 12.2, 0)
    shown = slice_views.shown_slice(node, volume)
    assert (shown.axis, shown.index, shown.view_name) == (SliceAxis.K, 6, "Red")
    assert shown.off_degrees == pytest.approx(20)
    assert shown.is_oblique


def test_a_view_beside_the_volume_shows_its_last_slice(mrml: MrmlScene) -> None:
    volume = node_of(mrml, VolumeGeometry((20, 20, 20), np.eye(4)))
    node = slice_view(mrml, "Axial")
    node.JumpSliceByOffsetting(0, 0, 400)
    assert slice_views.shown_slice(node, volume).index == 19


def test_showing_a_slice_moves_only_the_views_that_cut_its_axis(mrml: MrmlScene) -> None:
    volume = node_of(mrml, VolumeGeometry((20, 20, 20), np.eye(4)))
    red, green = slice_view(mrml, "Axial"), slice_view(mrml, "Coronal", "Green")
    green.JumpSliceByOffsetting(0, 7, 0)
    slice_views.show_slice(mrml.scene, volume, SliceAxis.K, 13)
    assert red.GetSliceOffset() == pytest.approx(13)
    assert green.GetSliceOffset() == pytest.approx(7)
    assert slice_views.first_slice_node(mrml.scene, SliceAxis.J, volume) is green
    assert slice_views.first_slice_node(mrml.scene, SliceAxis.I, volume) is None


def test_the_clicked_view_is_the_one_under_the_mouse(mrml: MrmlScene) -> None:
    red = slice_view(mrml, "Axial")
    crosshair = mrml.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCursorPositionXYZ([1.0, 2.0, 0.0], red)
    assert slice_views.clicked_slice_node(mrml.scene) is red
    crosshair.SetCursorPositionInvalid()
    assert slice_views.clicked_slice_node(mrml.scene) is None


def test_hardening_a_transform_moves_no_voxel(mrml: MrmlScene) -> None:
    geometry = VolumeGeometry((4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))
    matrix = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    volume = node_of(mrml, geometry)
    put_under(mrml, volume, matrix)
    before = nodes.to_world(volume, nodes.volume_geometry(volume).to_ras([(1, 2, 3)]))
    volume.HardenTransform()
    np.testing.assert_allclose(
        nodes.to_world(volume, nodes.volume_geometry(volume).to_ras([(1, 2, 3)])), before
    )


@pytest.mark.parametrize("name", CASES)
def test_each_axis_of_a_volume_has_a_word_of_its_own(mrml: MrmlScene, name: str) -> None:
    volume = node_of(mrml, case(name))
    words = [slice_views.orientation(volume, axis) for axis in SliceAxis]
    assert sorted(words) == ["axial", "coronal", "sagittal"]


def test_a_transform_above_the_volume_counts_for_the_words(mrml: MrmlScene) -> None:
    volume = node_of(mrml, case("as scanned"))
    assert slice_views.orientation(volume, SliceAxis.K) == "axial"
    put_under(mrml, volume, np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]]))
    assert slice_views.orientation(volume, SliceAxis.K) == "coronal"
    assert slice_views.orientation(volume, SliceAxis.J) == "axial"


@pytest.mark.parametrize(
    ("first", "step", "texts"),
    [
        (-12.04, 2.0, ["-12.0", "-10.0", "-8.0"]),
        (-0.3, 0.3, ["-0.30", "0.00", "0.30"]),
        (-0.003, 0.002, ["-0.003", "-0.001", "0.001"]),
        (2.02, -2.03, ["2.0", "0.0", "-2.0"]),
    ],
)
def test_position_of_a_slice_differs_from_those_of_its_neighbors(first, step, texts) -> None:
    positions = slice_views.ViewPositions("S", first, step)
    assert [positions.millimeters(index) for index in range(3)] == texts
