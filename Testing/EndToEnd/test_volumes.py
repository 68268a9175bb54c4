"""Volumes that are not axial and right-handed, and real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .user import User, dice, largest, matrix_of, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


def turned(degrees: float, axis: int) -> np.ndarray:
    """(4, 4) rotation about a RAS axis."""
    a, b = (each for each in range(3) if each != axis)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    matrix[a, a] = matrix[b, b] = cos
    matrix[a, b], matrix[b, a] = -sin, sin
    return matrix


def test_volume_under_a_linear_transform_is_segmented_where_it_is_seen(user: User) -> None:
    import slicer

    transform = user.host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved = turned(90, 2)
    moved[:3, 3] = (30, -12, 7)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    user.volume.SetAndObserveTransformNodeID(transform.GetID())
    user.settled()
    index = user.box_around(KIDNEY)
    mask, truth = user.mask(), user.truth[KIDNEY]
    assert dice(mask[index], truth[index]) > 0.7
    [node] = user.markups("vtkMRMLMarkupsROINode")
    assert node.GetParentTransformNode() is transform
    before = user.prompts()
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4)))
    user.settled()
    assert user.prompts() == before
    assert same(user.mask(), mask)


@pytest.mark.parametrize("both", [False, True], ids=["volume", "volume and segmentation"])
def test_hardened_transform_takes_prompts_masks_and_undo_along(user: User, both: bool) -> None:
    import slicer

    transform = user.host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved = turned(25, 2) @ turned(10, 0)
    moved[:3, 3] = (30, -12, 7)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    user.volume.SetAndObserveTransformNodeID(transform.GetID())
    user.host.view("Red").mrmlSliceNode().RotateToVolumePlane(user.volume)
    user.settled()
    index = user.box_around(KIDNEY)
    user.choose_range(index - 2, index + 2)
    user.propagate()
    before, mask, [box] = user.controller.review.slices, user.mask(), user.prompts()
    matrix = user.matrix
    label, where = user.controller.history.undo_label, roi_center(user)
    user.volume.HardenTransform()
    if both:
        user.segmentation.HardenTransform()
    user.ready()
    assert "removed" not in user.message
    user.matrix = matrix_of(user.volume)
    assert np.allclose(user.matrix, moved @ matrix)
    [after] = user.prompts()
    assert np.allclose(after.corner, (moved @ [*box.corner, 1])[:3], atol=1e-4)
    assert after.slice == box.slice
    assert same(user.mask(), mask)
    assert user.controller.review.slices == before
    assert user.controller.history.undo_label == label
    assert np.allclose(roi_center(user), where, atol=1e-3)
    i, j = (float(part) for part in np.argwhere(user.truth[KIDNEY][index + 1])[0][::-1])
    user.point((i, j, float(index + 1)))
    assert len(user.prompts()) == 2
    user.press("undoButton")
    user.press("undoButton")
    user.settled()
    assert np.flatnonzero(user.mask().any(axis=(1, 2))).tolist() == [index]
    user.press("redoButton")
    user.settled()
    assert same(user.mask(), mask)


def test_volume_moved_without_its_segmentation_loses_its_prompts_with_a_sentence(user: User) -> None:
    user.box_around(KIDNEY)
    user.volume.SetOrigin(5.3, 1.2, 0.4)
    user.settled()
    assert "different voxel grid" in user.message
    assert user.markups() == []


def roi_center(user: User) -> list[float]:
    """World RAS in mm of the middle of the one box."""
    [node] = user.markups("vtkMRMLMarkupsROINode")
    center = [0.0, 0.0, 0.0]
    node.GetCenterWorld(center)
    return center


def test_volume_under_a_non_linear_transform_is_refused_with_what_to_do(user: User) -> None:
    user.box_around(KIDNEY)
    warp = user.host.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    user.volume.SetAndObserveTransformNodeID(warp.GetID())
    user.settled()
    assert "harden" in user.message.lower()
    assert user.controller.inputs.volume_node is None
    assert not user.ui.positiveButton.enabled
    assert user.markups() == []
    user.ui.volumeSelector.setCurrentNode(user.volume)
    user.settled()
    assert "harden" in user.message.lower()
    assert user.controller.inputs.volume_node is None
    user.volume.SetAndObserveTransformNodeID(None)
    user.turn_to(user.volume)
    assert len(user.prompts()) == 1
    assert len(user.markups()) == 1
    i, j, k = (float(part) for part in np.argwhere(user.truth[KIDNEY])[0][::-1])
    user.point((i, j, k))
    assert len(user.prompts()) == 2


def oblique(matrix: np.ndarray) -> np.ndarray:
    """The same volume mirrored and turned: left-handed, along no axis of the patient."""
    mirrored = matrix.copy()
    mirrored[:3, 2] *= -1
    mirrored[2, 3] *= -1
    return turned(20, 0) @ turned(15, 2) @ mirrored


def test_oblique_left_handed_volume_says_that_the_view_is_turned_and_maps_the_click(
    user: User, abdomen: Any
) -> None:
    matrix = oblique(abdomen[1])
    assert np.linalg.det(matrix[:3, :3]) * np.linalg.det(abdomen[1][:3, :3]) < 0
    user.turn_to(user.host.add_volume(abdomen[0], matrix, name="oblique"))
    user.host.set_window(user.volume, 400, 40)
    red = user.host.view("Red").mrmlSliceNode()
    red.SetOrientation("Axial")  # Slicer has turned the views to the volume
    index, *_ = largest(user.truth[KIDNEY])
    found = np.argwhere(user.truth[KIDNEY][index])
    j, i = found[np.abs(found - found.mean(axis=0)).sum(axis=1).argmin()]
    user.press("positiveButton")
    user.host.click("Red", user.world(float(i), float(j), float(index)))
    user.settled()
    assert "rotated" in user.message
    user.press("positiveButton")
    [point] = user.prompts()
    assert point.slice.index == index
    assert np.allclose(point.ras, (user.matrix @ [i, j, index, 1])[:3], atol=3.0)
    assert user.mask()[index, j, i]
    user.picture("oblique")
    # Turned to the volume again, boxes are drawn as on any other volume.
    red.RotateToVolumePlane(user.volume)
    user.host.process_events(0.1)
    user.press("removePromptsButton")
    user.settled()
    user.box_around(KIDNEY)
    assert dice(user.mask()[index], user.truth[KIDNEY][index]) > 0.7
    user.picture("oblique-aligned")


REAL = ("ct_spleen", "mr_prostate_0")


@pytest.mark.parametrize("name", REAL)
def test_real_volume_from_box_to_saved_scene(
    user: User, shared_data: Path, tmp_path: Path, name: str
) -> None:
    import SimpleITK as sitk

    folder = shared_data / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not among the real volumes")
    image = next(iter(folder.glob("*_image.nii.gz")))
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(next(iter(folder.glob("*_label.nii.gz"))))))
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    truth = labels == values[counts.argmax()]
    user.turn_to(user.host.load_volume(image))
    user.truth = {"organ": truth}
    checksum = user.checksum()
    axis = int(np.argmin(truth.shape))
    view = view_along(user, axis)
    index = user.box_around("organ", axis, view)
    shown, right = np.take(user.mask(), index, axis), np.take(truth, index, axis)
    assert shown.any()
    user.choose_range(max(0, index - 3), min(truth.shape[axis] - 1, index + 3))
    user.propagate()
    user.picture(f"real-{name}")
    assert dice(shown, right) > 0.5
    masks = user.mask()
    user.host.save_scene(tmp_path / "real.mrb")
    user.host.load_scene(tmp_path / "real.mrb")
    user.until(lambda: user.controller.inputs.volume_node is not None)
    user.volume = user.controller.inputs.volume_node
    user.ready()
    assert same(user.mask(), masks)
    assert user.checksum() == checksum


def view_along(user: User, axis: int) -> str:
    """The view that shows slices across an array axis."""
    from MedSAMSlicerLib.scene.slice_views import shown_slice

    for view in ("Red", "Green", "Yellow"):
        if int(shown_slice(user.host.view(view).mrmlSliceNode(), user.volume).axis) == axis:
            return view
    raise AssertionError("no view shows slices along that axis")


def test_saved_prompts_give_the_same_mask_on_the_command_line(
    user: User, abdomen: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import SimpleITK as sitk

    from MedSAMSlicerLib.cli import main

    array, matrix, _ = abdomen
    file, prompts, output = tmp_path / "ct.nrrd", tmp_path / "prompts.json", tmp_path / "mask.nrrd"
    write_volume(file, array, matrix)
    volume = user.host.load_volume(file)
    user.host.set_window(volume, 400, 40)
    user.turn_to(volume)
    index = user.box_around(KIDNEY)
    user.choose_range(index - 4, index + 4)
    user.propagate()
    found = np.argwhere(user.mask()[index + 3])
    j, i = found[len(found) // 2]
    user.point((float(i), float(j), float(index + 3)), positive=False)
    user.propagate()
    user.host.dialogs.answer(str(prompts))
    user.choose("exportButton", "Prompts")
    user.settled()
    user.host.dialogs.shown.clear()
    written = json.loads(prompts.read_text(encoding="utf-8"))
    assert written["tier"] == user.controller.network.tier_used
    assert main(["segment", str(file), "--prompts", str(prompts), "-o", str(output)]) == 0, (
        capsys.readouterr()
    )
    replayed = sitk.GetArrayFromImage(sitk.ReadImage(str(output))) > 0
    assert same(replayed, user.mask())


def write_volume(file: Path, array: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    """A NRRD file whose voxels and places are these."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_ras
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((to_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    sitk.WriteImage(image, str(file))
