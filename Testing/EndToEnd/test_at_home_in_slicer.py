"""The module among Slicer's other modules: what it leaves as it was, and what it finds again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PySide6 import QtCore

from .user import User, largest

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


def nodes(user: User) -> dict[str, Any]:
    """All nodes of the scene by their identifiers."""
    scene = user.host.scene
    found = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    return {node.GetID(): node for node in found}


def selection(user: User) -> Any:
    return user.host.node("vtkMRMLSelectionNode")


def interaction(user: User) -> Any:
    return user.host.node("vtkMRMLInteractionNode")


def stroke(user: User) -> None:
    """Drag the brush, which is in hand, over the left kidney."""
    _index, low, high = largest(user.truth[KIDNEY])
    middle = (low[1] + high[1]) / 2
    ends = [(low[0] + 3, middle, low[2]), (high[0] - 3, middle, low[2])]
    user.host.show_slice("Red", user.world(*ends[0]))
    user.host.drag("Red", [user.world(*end) for end in ends])


def test_segmentation_made_in_the_selector_is_shown(user: User) -> None:
    node = user.ui.segmentationSelector.addNode()
    user.settled()
    assert user.controller.inputs.segmentation_node is node
    index = user.box_around(KIDNEY)
    assert node.GetDisplayNode() is not None
    k, j, i = np.argwhere(user.mask())[0]
    place = user.host.position("Red", user.world(i, j, k))
    pixel = user.host.picture(user.host._canvas("Red")).pixelColor(place)
    assert k == index
    assert max(pixel.red(), pixel.green(), pixel.blue()) > min(pixel.red(), pixel.green(), pixel.blue())


def test_place_mode_is_left_as_it_was(user: User) -> None:
    other = user.host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "of another module")
    before = interaction(user).GetPlaceModePersistence(), selection(user).GetActivePlaceNodeID()
    assert before == (0, other.GetID())
    user.point((40.0, 60.0, 5.0))
    user.box_around(KIDNEY)
    user.settled()
    assert (interaction(user).GetPlaceModePersistence(), selection(user).GetActivePlaceNodeID()) == before
    user.host.leave_module()
    prompts = user.prompts()
    interaction(user).SetCurrentInteractionMode(interaction(user).Place)
    user.host.click("Red", user.world(60, 60, 5))
    user.settled()
    assert other.GetNumberOfControlPoints() == 1
    assert user.prompts() == prompts
    interaction(user).SetCurrentInteractionMode(interaction(user).ViewTransform)
    user.host.enter_module()


def test_point_that_no_tool_of_ours_has_placed_is_no_prompt(user: User) -> None:
    user.point((40.0, 60.0, 5.0))
    prompts, node = user.prompts(), user.markups("vtkMRMLMarkupsFiducialNode")[0]
    assert len(prompts) == 1
    node.AddControlPointWorld(*user.world(60, 60, 5))
    user.settled()
    assert user.prompts() == prompts
    assert node.GetNumberOfControlPoints() == 1


def test_undo_while_a_point_tool_is_in_hand_leaves_it_in_hand(user: User) -> None:
    user.box_around(KIDNEY)
    user.press("removePromptsButton")
    user.settled()
    user.press("positiveButton")
    user.press("undoButton")  # makes the box's markup again
    user.settled()
    assert user.controller.editing.placing is not None
    user.host.click("Red", user.world(60, 60, 5))
    user.settled()
    assert len(user.prompts()) == 2
    assert [node.GetNumberOfControlPoints() for node in user.markups("vtkMRMLMarkupsFiducialNode")] == [1]
    user.press("positiveButton")


def test_brush_leaves_no_node_and_saves_none(user: User) -> None:
    before = nodes(user)
    flags = []

    def added(_scene: Any, _event: str) -> None:
        flags.extend(
            (n.GetName(), n.GetHideFromEditors()) for n in nodes(user).values() if n.GetID() not in before
        )

    tag = user.host.scene.AddObserver(user.host.scene.NodeAddedEvent, added)
    user.press("scribbleButton")
    user.host.scene.RemoveObserver(tag)
    helpers = [node for node_id, node in nodes(user).items() if node_id not in before]
    assert len(helpers) >= 3  # segmentation, its display, choices of the editor
    assert not any(node.GetSaveWithScene() for node in helpers)
    assert {hidden for name, hidden in flags if name in ("MedSAMSlicer strokes", "MedSAMSlicer brush")} == {
        True
    }
    user.press("scribbleButton")
    user.settled()
    assert nodes(user).keys() == before.keys()


def test_brush_goes_on_after_a_batch_of_changes_to_the_scene(user: User) -> None:
    user.press("scribbleButton")
    scene = user.host.scene
    scene.StartState(scene.BatchProcessState)
    scene.EndState(scene.BatchProcessState)
    user.host.process_events(0.02)
    stroke(user)
    user.settled()
    assert len(user.prompts()) == 1
    user.press("scribbleButton")


def test_stroke_released_outside_the_view_is_a_prompt(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.press("scribbleButton")
    canvas = user.host._canvas("Red")
    with monkeypatch.context() as patch:
        patch.setattr(user.host._mouse, "_process_events", lambda: None)  # all of it at once
        stroke(user)
        QtCore.QCoreApplication.sendEvent(canvas, QtCore.QEvent(QtCore.QEvent.Type.Leave))
        patch.setattr(user.host._mouse, "_over", None)
    user.host.process_events(0.02)
    user.settled()
    assert len(user.prompts()) == 1
    user.press("scribbleButton")


def test_label_layer_of_the_views_comes_back_when_the_brush_is_put_down(user: User) -> None:
    import slicer

    label = user.host.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(label, np.zeros((2, 8, 8), np.uint8))
    composite = user.host.view("Red").mrmlSliceCompositeNode()
    composite.SetLabelVolumeID(label.GetID())
    user.press("scribbleButton")
    assert composite.GetLabelVolumeID() is None
    user.press("scribbleButton")
    user.settled()
    assert composite.GetLabelVolumeID() == label.GetID()


def test_changes_that_are_shown_are_no_result_of_the_user(user: User) -> None:
    index = user.box_around(KIDNEY)
    user.choose_range(index - 1, index + 1)
    user.propagate()
    before = nodes(user)
    user.press("changesButton")
    user.settled()
    helpers = [node for node_id, node in nodes(user).items() if node_id not in before]
    assert len(helpers) == 2  # segmentation and its display
    assert not any(node.GetSaveWithScene() for node in helpers)
    user.press("changesButton")
    user.settled()
    assert nodes(user).keys() == before.keys()


def test_segmentation_stands_in_the_study_of_its_volume_and_prompts_in_one_folder(user: User) -> None:
    import slicer

    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(user.host.scene)
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "Doe")
    study = tree.CreateStudyItem(patient, "CT of the abdomen")
    tree.SetItemParent(tree.GetItemByDataNode(user.volume), study)
    user.point((40.0, 60.0, 5.0))
    user.box_around(KIDNEY)
    assert tree.GetItemParent(tree.GetItemByDataNode(user.segmentation)) == study
    folders = {tree.GetItemParent(tree.GetItemByDataNode(node)) for node in user.markups()}
    assert len(user.markups()) == 2
    assert [tree.GetItemName(folder) for folder in folders] == ["MedSAMSlicer prompts"]
    assert tree.GetItemParent(folders.pop()) == study
    user.press("deleteSegmentButton")
    user.settled()
    assert user.markups() == []
    assert not tree.GetItemChildWithName(study, "MedSAMSlicer prompts")
    assert not any(
        tree.GetItemName(tree.GetItemByDataNode(n)) == "MedSAMSlicer strokes" for n in nodes(user).values()
    )


def test_mask_in_use_is_that_of_a_view_of_the_layout(user: User) -> None:
    import slicer

    user.press("addSegmentButton")
    voxels = np.zeros(slicer.util.arrayFromVolume(user.volume).shape, np.uint8)
    voxels[5:9, 50:70, 60:80] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        voxels, user.segmentation, user.controller.inputs.segment_id, user.volume
    )
    user.settled()
    red = user.host.view("Red").mrmlSliceNode()
    red.SetMappedInLayout(0)  # as in a layout of the coronal view alone
    user.host.show_slice("Green", user.world(70, 60, 7))
    user.press("currentMaskButton")
    user.settled()
    red.SetMappedInLayout(1)
    assert user.controller.editing.axis.name == "J"
    assert user.controller.review.slices[60].state.value == "edited"


def test_volume_that_the_dicom_import_bent_is_segmented_on_a_hardened_copy(user: User) -> None:
    import slicer
    import vtk

    bend = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for k in (0, 9, 19):  # slices that were acquired at uneven distances
        for i, j in ((0, 0), (120, 0), (0, 120), (120, 120)):
            place = np.array(user.world(i, j, k))
            source.InsertNextPoint(place)
            target.InsertNextPoint(place + np.array([0.0, 0.0, 6.0 if k == 9 else 0.0]))
    bend.SetSourceLandmarks(source)
    bend.SetTargetLandmarks(target)
    bend.SetBasisToR()
    transform = user.host.scene.AddNewNodeByClass("vtkMRMLTransformNode", "acquisition transform")
    transform.SetAndObserveTransformToParent(bend)
    other = user.host.add_volume(slicer.util.arrayFromVolume(user.volume), user.matrix, name="bent")
    other.SetAndObserveTransformNodeID(transform.GetID())
    user.ui.volumeSelector.setCurrentNode(other)
    user.settled()
    assert user.controller.inputs.volume_node is user.volume
    assert "non-linear transform" in user.message
    assert user.ui.offerButton.text == "Harden a copy"
    user.press("offerButton")
    user.settled()
    copy = user.controller.inputs.volume_node
    assert copy.GetName() == "bent hardened"
    assert copy.GetParentTransformNode() is None
    assert user.host.view("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID() == copy.GetID()
    assert other.GetTransformNodeID() == transform.GetID()
    assert not np.array_equal(slicer.util.arrayFromVolume(copy), slicer.util.arrayFromVolume(other))


def test_prompt_on_a_view_of_another_volume_is_refused_with_a_button_that_turns_to_it(user: User) -> None:
    import slicer

    other = user.host.add_volume(
        slicer.util.arrayFromVolume(user.volume) // 2, user.matrix, name="MR", show=False
    )
    user.point((40.0, 60.0, 5.0))
    composite = user.host.view("Red").mrmlSliceCompositeNode()
    composite.SetBackgroundVolumeID(other.GetID())
    prompts = user.prompts()
    user.point((60.0, 60.0, 5.0))
    assert user.prompts() == prompts
    assert [node.GetNumberOfControlPoints() for node in user.markups("vtkMRMLMarkupsFiducialNode")] == [1]
    assert user.message.startswith('The view Red shows "MR", but you are segmenting "CT"')
    composite.SetForegroundVolumeID(user.volume.GetID())
    composite.SetForegroundOpacity(0.5)  # both are seen
    user.point((60.0, 60.0, 5.0))
    assert len(user.prompts()) == 2
    composite.SetForegroundVolumeID(None)
    user.point((50.0, 60.0, 5.0))
    user.press("offerButton")
    user.settled()
    assert user.controller.inputs.volume_node is other


def test_window_is_that_of_the_command_line_until_somebody_sets_one_in_the_views(user: User) -> None:
    """What Slicer shows of a CT at first, nearly all values, costs .02 of Dice."""
    display = user.volume.GetDisplayNode()
    display.AutoWindowLevelOn()
    user.until(lambda: "automatic" in user.ui.networkLabel.text)
    assert "Window -160 to 240, automatic until you set one in the views." in user.ui.networkLabel.text
    assert display.GetWindow() > 1000  # what is seen
    user.host.set_window(user.volume, 1500, -600)
    user.until(lambda: "as in the views" in user.ui.networkLabel.text)
    assert "Window -1350 to 150, as in the views until the first prompt." in user.ui.networkLabel.text
    display.AutoWindowLevelOn()
    user.until(lambda: "automatic" in user.ui.networkLabel.text)
    user.box_around(KIDNEY)
    user.host.set_window(user.volume, 1500, -600)
    user.settled()
    assert "Window -160 to 240, fixed at the first prompt." in user.ui.networkLabel.text


def test_window_of_the_network_is_reported_and_a_new_one_draws_the_previews_again(user: User) -> None:
    assert "Window -160 to 240, as in the views until the first prompt." in user.ui.networkLabel.text
    user.box_around(KIDNEY)
    assert "Window -160 to 240, fixed at the first prompt." in user.ui.networkLabel.text
    before, steps = user.mask(), user.controller.history.steps
    user.controller.network.set_window("-1000,3000")
    user.until(lambda: user.controller.network.state.name == "READY")
    user.settled()
    assert "Window -1000 to 3000." in user.ui.networkLabel.text
    assert not np.array_equal(user.mask(), before)
    assert user.controller.history.steps == steps
    user.controller.network.set_window("-160,240")
    user.until(lambda: user.controller.network.state.name == "READY")
    user.settled()
    assert np.array_equal(user.mask(), before)
