"""Masks into segments and back: every voxel where it belongs, nobody else's lost, edits by others noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import GeometryError, SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry

from .conftest import MrmlScene
from .places import farthest, volume_places
from .test_segmentations_in_slicer import IMAGES
from .volumes import CASES, case, geometries, node_of, put_under, transforms

pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
from MedSAMSlicerLib.scene import nodes
from MedSAMSlicerLib.scene.segments import (
    SegmentMasks,
    check_segmentation,
    create_segmentation,
    terminology_of,
)

pytestmark = pytest.mark.slicer
ANY = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def world_places(mrml: MrmlScene, segmentation: Any, segment_id: str) -> np.ndarray:
    """(N, 3) world places of a segment's voxels, by its own labelmap and transform, not through the code tested."""
    from .places import segment_places

    return nodes.to_world(segmentation, segment_places(segmentation, segment_id))


def masks_on(mrml: MrmlScene, geometry: VolumeGeometry, transform: Any = None, **callbacks: Any):
    volume = node_of(mrml, geometry, transform)
    segmentation = create_segmentation(mrml.scene, volume)
    return volume, segmentation, SegmentMasks(segmentation, volume, **callbacks)


def slices_of(array: np.ndarray, axis: SliceAxis) -> dict[int, np.ndarray]:
    return {n: np.ascontiguousarray(plane) for n, plane in enumerate(np.moveaxis(array, axis, 0))}


def blob(shape: tuple[int, int, int], seed: int, share: float = 0.3) -> np.ndarray:
    random = np.random.default_rng(seed)
    mask = random.random(shape) < share
    if seed % 3 == 0:
        mask[: shape[0] // 2] = False
    return mask


@ANY
@given(
    geometry=geometries(), transform=transforms(), axis=st.sampled_from(SliceAxis), seed=st.integers(0, 99)
)
def test_no_voxel_of_a_mask_lands_beside_its_place(mrml: MrmlScene, geometry, transform, axis, seed) -> None:
    volume, segmentation, masks = masks_on(mrml, geometry, transform)
    array = blob(geometry.shape, seed)
    first, second = masks.add("first"), masks.add("second")
    masks.write_slices(first, axis, slices_of(array, axis))
    masks.write_slices(second, axis, slices_of(~array, axis))
    for segment_id, wanted in ((first, array), (second, ~array)):
        expected = nodes.to_world(volume, volume_places(wanted, geometry.ijk_to_ras))
        found = world_places(mrml, segmentation, segment_id)
        to_ijk = geometry.ras_to_ijk @ np.linalg.inv(nodes.transform_to_world(volume))
        assert farthest(found, expected, to_ijk) < 1e-6
        exported = mrml.slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume)
        if wanted.any():
            np.testing.assert_array_equal(exported.astype(bool), wanted)
        for other_axis in SliceAxis:
            read = masks.read_slices(segment_id, other_axis, range(geometry.slice_count(other_axis)))
            for index, plane in slices_of(wanted, other_axis).items():
                np.testing.assert_array_equal(read[index], plane)
            filled = {n for n, plane in slices_of(wanted, other_axis).items() if plane.any()}
            assert set(masks.read_slices(segment_id, other_axis)) == filled
    assert masks.edits() == {}
    masks.close()
    mrml.clear()


@pytest.mark.parametrize("name", IMAGES)
def test_masks_of_every_real_volume_land_on_their_voxels(
    mrml: MrmlScene, shared_data: Any, name: str
) -> None:
    volume = mrml.load_volume(shared_data / name / f"{name}_image.nii.gz")
    label = mrml.load_volume(shared_data / name / f"{name}_label.nii.gz")
    wanted = nodes.volume_array(label) != 0
    assert nodes.volume_geometry(volume).distance_to(nodes.volume_geometry(label)) < 1e-2
    segmentation = create_segmentation(mrml.scene, volume)
    masks = SegmentMasks(segmentation, volume)
    segment_id = masks.add("label")
    axis = SliceAxis(len(name) % 3)
    filled = {n: plane for n, plane in slices_of(wanted, axis).items() if plane.any()}
    masks.write_slices(segment_id, axis, filled)
    # Slicer puts the segment on the label's own grid: had a voxel moved, it would not be the label.
    exported = mrml.slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, label)
    np.testing.assert_array_equal(exported != 0, wanted)
    masks.close()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stored", CASES)
def test_a_labelmap_that_runs_along_other_axes_is_read_and_written_where_it_lies(
    mrml: MrmlScene, name: str, stored: str
) -> None:
    """Labelmaps of other programs may hold the same voxels in another order."""
    geometry = case(name)
    volume = node_of(mrml, geometry)
    segmentation = create_segmentation(mrml.scene, volume)
    array = blob(geometry.shape, 7)
    order, flips = {"permuted": ((2, 0, 1), (1, 1, 1)), "left-handed": ((0, 1, 2), (-1, 1, 1))}.get(
        stored, ((1, 0, 2), (1, -1, -1))
    )
    turned = array.transpose(order)[tuple(slice(None, None, sign) for sign in flips)]
    # Index in the labelmap -> index in the volume, both (k, j, i), as a matrix over (i, j, k).
    matrix = np.eye(4)
    matrix[:3] = 0
    for here, (axis, sign) in enumerate(zip(order, flips, strict=True)):
        matrix[2 - axis, 2 - here] = sign
        if sign < 0:
            matrix[2 - axis, 3] = geometry.shape[axis] - 1
    image = mrml.slicer.vtkOrientedImageData()
    image.SetExtent(0, turned.shape[2] - 1, 0, turned.shape[1] - 1, 0, turned.shape[0] - 1)
    image.AllocateScalars(3, 1)
    image.SetImageToWorldMatrix(nodes.vtk_matrix(geometry.ijk_to_ras @ matrix))
    from MedSAMSlicerLib.scene.labelmaps import raw_array

    raw_array(image)[...] = turned
    segmentation.AddSegmentFromBinaryLabelmapRepresentation(image, "theirs")
    masks = SegmentMasks(segmentation, volume)
    (segment_id,) = masks.segment_ids()
    for axis in SliceAxis:
        for index, plane in slices_of(array, axis).items():
            np.testing.assert_array_equal(masks.read_slices(segment_id, axis, [index])[index], plane)
    changed = blob(geometry.shape, 8)
    masks.write_slices(segment_id, SliceAxis.J, slices_of(changed, SliceAxis.J))
    found = world_places(mrml, segmentation, segment_id)
    assert farthest(found, volume_places(changed, geometry.ijk_to_ras), geometry.ras_to_ijk) < 1e-6
    masks.close()


# -- segments that were there before


def whole(masks: SegmentMasks, segment_id: str, shape: tuple[int, int, int]) -> np.ndarray:
    read = masks.read_slices(segment_id, SliceAxis.K, range(shape[0]))
    return np.stack([read[index] for index in range(shape[0])])


def shared_pair(mrml: MrmlScene, geometry: VolumeGeometry, **callbacks: Any):
    """Two segments of Slicer's own making that share a labelmap, and our access to them."""
    volume = node_of(mrml, geometry)
    segmentation = create_segmentation(mrml.scene, volume)
    left, right = np.zeros(geometry.shape, bool), np.zeros(geometry.shape, bool)
    left[:, :, :4], right[:, :, 4:] = True, True
    ids = [segmentation.GetSegmentation().AddEmptySegment("", name) for name in ("left", "right")]
    for segment_id, mask in zip(ids, (left, right), strict=True):
        set_by_slicer(mrml, segmentation, segment_id, volume, mask)
    first, second = (segmentation.GetBinaryLabelmapInternalRepresentation(n) for n in ids)
    assert first is second
    return segmentation, SegmentMasks(segmentation, volume, **callbacks), ids, (left, right)


def set_by_slicer(mrml: MrmlScene, segmentation: Any, segment_id: str, volume: Any, mask: np.ndarray) -> None:
    """As Segment Editor does: through the logic, with the neighbors to be overwritten."""
    image = mrml.slicer.vtkSlicerSegmentationsModuleLogic.CreateOrientedImageDataFromVolumeNode(volume)
    image.UnRegister(None)
    image.AllocateScalars(3, 1)
    from MedSAMSlicerLib.scene.labelmaps import raw_array

    raw_array(image)[...] = mask
    logic = mrml.slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(image, segmentation, segment_id, logic.MODE_REPLACE)


# -- edits by somebody else


def test_an_edit_by_segment_editor_is_found_slice_by_slice(mrml: MrmlScene) -> None:
    geometry = case("left-handed")
    notified: list[str] = []
    volume, segmentation, masks = masks_on(mrml, geometry, on_edit=notified.append)
    ours, other = masks.add("ours"), masks.add("other")
    mask = np.zeros(geometry.shape, bool)
    mask[1:5, 2:5, 2:6] = True
    masks.write_slices(ours, SliceAxis.J, slices_of(mask, SliceAxis.J))
    assert notified == []
    edited = mask.copy()
    edited[2, 3, 7] = True
    edited[:, 4] = False
    set_by_slicer(mrml, segmentation, ours, volume, edited)
    assert set(notified) == {ours}
    edits = masks.edits()
    assert set(edits) == {ours}
    assert set(edits[ours]) == {3, 4}
    np.testing.assert_array_equal(edits[ours][3], edited[:, 3])
    assert not edits[ours][4].any()
    masks.settle(ours)
    assert masks.edits() == {}
    notified.clear()
    masks.write_slices(other, SliceAxis.K, slices_of(edited, SliceAxis.K))
    masks.write_slices(ours, SliceAxis.K, slices_of(edited, SliceAxis.K))
    assert notified == []
    assert masks.edits() == {}
    masks.close()


def test_saving_which_brings_labelmaps_together_is_no_edit(mrml: MrmlScene, tmp_path: Any) -> None:
    geometry = case("oblique")
    notified: list[str] = []
    _, segmentation, masks = masks_on(mrml, geometry, on_edit=notified.append)
    ids = [masks.add(name) for name in "ab"]
    array = blob(geometry.shape, 5)
    for segment_id, mask in zip(ids, (array, ~array), strict=True):
        masks.write_slices(segment_id, SliceAxis.K, slices_of(mask, SliceAxis.K))
    assert segmentation.GetSegmentation().GetNumberOfLayers() == 2
    storage = mrml.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "out.seg.nrrd"))
    assert storage.WriteData(segmentation) == 1
    assert segmentation.GetSegmentation().GetNumberOfLayers() == 1
    assert notified == []
    masks.write_slices(ids[0], SliceAxis.K, slices_of(np.ones_like(array), SliceAxis.K))
    np.testing.assert_array_equal(whole(masks, ids[1], geometry.shape), ~array)
    assert whole(masks, ids[0], geometry.shape).all()
    masks.close()


# -- the table, the surface, the end


def test_names_colors_locks_and_terminology_are_slicers_own(mrml: MrmlScene) -> None:
    notified: list[tuple[str, str]] = []
    callbacks = {
        f"on_{what}": (lambda segment_id, *_edits, what=what: notified.append((what, segment_id)))
        for what in ("added", "removed", "renamed", "recolored")
    }
    _, segmentation, masks = masks_on(mrml, case("as scanned"), **callbacks)
    ours = masks.add("Leber", (0.25, 0.5, 0.75))
    theirs = segmentation.GetSegmentation().AddEmptySegment("", "Niere")
    assert notified == [("added", ours), ("added", theirs)]
    assert (masks.name(ours), masks.color(ours)) == ("Leber", (0.25, 0.5, 0.75))
    notified.clear()
    segmentation.GetSegmentation().GetSegment(ours).SetName("liver")
    segmentation.GetSegmentation().GetSegment(theirs).SetColor(1, 0, 0)
    masks.set_locked(ours, True)
    entry = (
        "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    )
    masks.set_terminology(ours, entry)
    assert terminology_of(segmentation.GetSegmentation().GetSegment(ours)) == entry
    segmentation.GetSegmentation().RemoveSegment(theirs)
    assert notified == [("renamed", ours), ("recolored", theirs), ("removed", theirs)]
    assert masks.locked(ours)
    with pytest.raises(SessionError, match="There is no segment"):
        masks.name(theirs)
    masks.close()


def test_only_the_surface_of_what_changed_is_made_again_and_only_at_the_end(mrml: MrmlScene) -> None:
    geometry = VolumeGeometry((12, 12, 12), CASES["oblique"])
    _, segmentation, masks = masks_on(mrml, geometry)
    ids = [masks.add(name) for name in "ab"]
    ball = np.zeros(geometry.shape, bool)
    ball[3:7, 3:7, 3:7] = True
    for segment_id in ids:
        masks.write_slices(segment_id, SliceAxis.K, slices_of(ball, SliceAxis.K))
    segmentation.CreateClosedSurfaceRepresentation()

    def surface(segment_id: str) -> Any:
        return segmentation.GetSegmentation().GetSegment(segment_id).GetRepresentation("Closed surface")

    untouched, before = surface(ids[1]), surface(ids[0]).GetNumberOfPoints()
    larger = ball.copy()
    larger[2:9, 2:9, 2:9] = True
    with masks.streaming():
        for index, mask in slices_of(larger, SliceAxis.K).items():
            masks.write_slices(ids[0], SliceAxis.K, {index: mask})
            assert surface(ids[0]).GetNumberOfPoints() == (0 if index >= 2 else before)
            assert surface(ids[1]) is untouched
    assert surface(ids[0]).GetNumberOfPoints() > before
    assert surface(ids[1]) is untouched
    np.testing.assert_array_equal(whole(masks, ids[0], geometry.shape), larger)
    assert masks.edits() == {}
    masks.close()


def test_a_segmentation_of_another_grid_is_refused_and_left_alone(mrml: MrmlScene) -> None:
    first = node_of(mrml, case("oblique"))
    other = node_of(mrml, VolumeGeometry((6, 7, 9), CASES["oblique"] @ np.diag([1.1, 1, 1, 1])))
    other.SetName("other")
    segmentation = create_segmentation(mrml.scene, first, "theirs")
    masks = SegmentMasks(segmentation, first)
    masks.write_slices(masks.add("a"), SliceAxis.K, slices_of(blob((6, 7, 9), 1), SliceAxis.K))
    masks.close()
    with pytest.raises(GeometryError, match='"theirs" has another voxel grid than the volume "other"'):
        SegmentMasks(segmentation, other)
    check_segmentation(segmentation, first)
    empty = create_segmentation(mrml.scene, first)
    masks = SegmentMasks(empty, other)  # it holds nothing yet, so it takes the grid of the volume
    masks.write_slices(masks.add("a"), SliceAxis.K, {0: np.ones((7, 9), bool)})
    assert empty.GetNodeReferenceID("referenceImageGeometryRef") == other.GetID()
    masks.close()


def test_a_segmentation_of_surfaces_is_refused(mrml: MrmlScene) -> None:
    import vtk

    volume = node_of(mrml, case("as scanned"))
    segmentation = mrml.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "planned")
    segmentation.SetSourceRepresentationToClosedSurface()
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    segmentation.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball")
    with pytest.raises(GeometryError, match='"planned" holds surfaces'):
        SegmentMasks(segmentation, volume)


def test_a_segmentation_follows_when_its_volume_gets_another_transform(mrml: MrmlScene) -> None:
    geometry = case("permuted")
    volume, segmentation, masks = masks_on(mrml, geometry)
    segment_id = masks.add("a")
    mask = blob(geometry.shape, 4)
    masks.write_slices(segment_id, SliceAxis.K, slices_of(mask, SliceAxis.K))
    transform = put_under(mrml, volume, np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]]))
    expected = nodes.to_world(volume, volume_places(mask, geometry.ijk_to_ras))
    to_ijk = geometry.ras_to_ijk @ np.linalg.inv(nodes.transform_to_world(volume))
    assert farthest(world_places(mrml, segmentation, segment_id), expected, to_ijk) < 1e-6
    masks.write_slices(segment_id, SliceAxis.K, {0: np.ones(geometry.slice_shape(SliceAxis.K), bool)})
    volume.HardenTransform()  # moves the voxels of the volume; the segment stays where it is in the world
    assert segmentation.GetTransformNodeID() == transform.GetID()
    assert len(masks.read_slices(segment_id, SliceAxis.K, [0])[0]) == 7
    masks.close()


def test_masks_that_do_not_fit_are_refused(mrml: MrmlScene) -> None:
    _, _, masks = masks_on(mrml, case("as scanned"))
    segment_id = masks.add("a")
    with pytest.raises(SessionError, match="Slice 6 does not exist: there are slices 0 to 5"):
        masks.write_slices(segment_id, SliceAxis.K, {6: np.ones((7, 9), bool)})
    with pytest.raises(SessionError, match=r"must be bool \(7, 9\), got uint8"):
        masks.write_slices(segment_id, SliceAxis.K, {5: np.ones((7, 9), np.uint8)})
    masks.close()


def observers(node: Any) -> int:
    return sum(bool(node.HasObserver(event)) for event in ("AnyEvent", *range(62100, 62110), 15000))


def test_nothing_is_observed_after_close_and_nodes_can_be_deleted_before(mrml: MrmlScene) -> None:
    volume = node_of(mrml, case("as scanned"))
    segmentation = create_segmentation(mrml.scene, volume)
    before = observers(volume), observers(segmentation)
    masks = SegmentMasks(segmentation, volume)
    assert observers(segmentation) > before[1]
    masks.close()
    assert (observers(volume), observers(segmentation)) == before
    masks = SegmentMasks(segmentation, volume)
    segment_id = masks.add("a")
    gone = []
    segmentation.AddObserver("DeleteEvent", lambda *_: gone.append(True))
    mrml.scene.RemoveNode(segmentation)
    del segmentation
    assert gone == [True]
    with pytest.raises(SessionError, match="was deleted"):
        masks.read_slices(segment_id, SliceAxis.K)
    masks.close()
