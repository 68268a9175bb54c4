"""Voxels that other modules, scripts and notebooks change are the user's own, whichever way the change came."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from MedSAMSlicerLib.app.ports import PromptEdit
from MedSAMSlicerLib.app.state import NetworkState, Topic
from MedSAMSlicerLib.core.geometry import SliceAxis

from .controllers import LEFT, RIGHT, SHAPE, Driver
from .test_scene_saving import save_and_load

pytestmark = pytest.mark.slicer


def paint(driver: Driver, segment_id: str, voxels: npt.NDArray[np.bool_]) -> None:
    """As a script does it: all voxels of a segment at once."""
    driver.mrml.slicer.util.updateSegmentBinaryLabelmapFromArray(
        voxels.astype(np.uint8), driver.controller.inputs.segmentation_node, segment_id, driver.volume
    )


def stroke(*places: slice) -> npt.NDArray[np.bool_]:
    voxels = np.zeros(SHAPE, bool)
    voxels[places] = True
    return voxels


def test_edit_after_the_scene_was_reopened_is_kept(driver: Driver, tmp_path: Path) -> None:
    driver.prompted()
    controller = driver.controller
    controller.runs.propagate()
    driver.settle()
    save_and_load(driver.mrml, tmp_path, bundle=True)
    driver.settle()
    driver.volume = controller.inputs.volume_node
    segment = controller.inputs.segment_id
    assert segment is not None
    edited = driver.mask()
    edited[5, 20:26, 30:34] = True
    paint(driver, segment, edited)
    driver.settle()
    assert controller.history.undo_label == "Edit slice 5"
    driver.place(driver.point(3, 17, 24))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    assert np.array_equal(driver.mask()[5], edited[5])


def test_edit_without_any_event_is_kept_by_the_next_action(driver: Driver) -> None:
    driver.prompted()
    controller = driver.controller
    controller.runs.propagate()
    driver.settle()
    segment = controller.inputs.segment_id
    assert segment is not None
    labels = driver.mrml.slicer.util.arrayFromSegmentInternalBinaryLabelmap(
        controller.inputs.segmentation_node, segment
    )
    before = driver.mask()
    labels[labels.shape[0] // 2, :2, :2] = 1 - labels[labels.shape[0] // 2, :2, :2]
    edited = driver.mask()
    [index] = np.flatnonzero((edited != before).any(axis=(1, 2)))
    driver.place(driver.point(index - 1 if index > 6 else index + 1, 17, 24))
    assert controller._work.session.object(1).kept_slices == {index}
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    assert np.array_equal(driver.mask()[index], edited[index])


@pytest.mark.parametrize("shared", [False, True], ids=["labelmap of its own", "shared labelmap"])
@pytest.mark.parametrize("locked", [False, True], ids=["free", "locked"])
def test_edit_without_any_event_comes_back_with_the_deleted_segment(
    driver: Driver, shared: bool, locked: bool
) -> None:
    driver.prompted()
    controller = driver.controller
    segment, node = controller.inputs.segment_id, controller.inputs.segmentation_node
    assert segment is not None
    if shared:
        paint(driver, controller.inputs.add_segment("right"), stroke(slice(2, 4), slice(2, 6), slice(40, 44)))
        node.GetSegmentation().CollapseBinaryLabelmaps(False)
        driver.settle()
    controller.editing.set_locked(segment, locked)
    before = driver.mask(segment)
    labels = driver.mrml.slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment)
    value = node.GetSegmentation().GetSegment(segment).GetLabelValue()
    labels[labels.shape[0] // 2, :3, :3] = value
    edited = driver.mask(segment)
    assert (edited != before).any()
    node.GetSegmentation().RemoveSegment(segment)
    controller.history.undo()
    [returned] = [each for each, known in controller._work.object_ids.items() if known == 1]
    assert np.array_equal(driver.mask(returned), edited)


@pytest.mark.parametrize("axis", [SliceAxis.J, SliceAxis.I])
def test_painting_before_the_first_mask_is_read_along_the_axis_of_the_prompt(
    driver: Driver, axis: SliceAxis
) -> None:
    controller = driver.ready().controller
    segment = controller.inputs.add_segment("left")
    index = {SliceAxis.J: 24, SliceAxis.I: 17}[axis]
    driver.place(driver.point(index, 20, 7, axis=axis))  # its preview has not come yet
    painted = stroke(slice(3, 5), slice(18, 20), slice(10, 12))
    paint(driver, segment, painted)
    controller._projector.take_edits()
    obj = controller._work.session.object(1)
    assert obj.axis is axis
    assert obj.kept_slices == {*np.flatnonzero(np.moveaxis(painted, int(axis), 0).any(axis=(1, 2)))}
    assert np.array_equal(driver.session_mask(), painted)


def painted_without_prompts(driver: Driver) -> np.ndarray:
    """A segment whose prompt was undone, and what was then painted on it."""
    driver.prompted()
    segment = driver.controller.inputs.segment_id
    assert segment is not None
    driver.controller.history.undo()
    painted = stroke(slice(6, 9), slice(18, 20), slice(10, 12))
    paint(driver, segment, painted)
    driver.settle()
    return painted


def test_painting_on_a_segment_without_prompts_is_kept_from_redo(driver: Driver) -> None:
    controller, painted = driver.controller, painted_without_prompts(driver)
    assert controller.history.undo_label == "Edit 3 slices"
    assert controller.history.redo_label is None
    assert np.array_equal(driver.mask(), painted)
    controller.history.undo()
    assert not driver.mask().any()
    controller.history.redo()
    assert np.array_equal(driver.mask(), painted)


def test_painting_without_prompts_takes_a_prompt_of_another_view(driver: Driver) -> None:
    controller, painted = driver.controller, painted_without_prompts(driver)
    driver.place(driver.point(22, 24, 7, axis=SliceAxis.I))
    driver.settle()
    assert controller.editing.axis is SliceAxis.I
    assert np.array_equal(driver.mask()[:, :, 10:12], painted[:, :, 10:12])
    controller.runs.propagate()
    driver.settle()
    assert np.array_equal(driver.mask()[:, :, 10:12], painted[:, :, 10:12])
    for _ in range(2):
        controller.history.undo()
    assert np.array_equal(driver.mask(), painted)


def test_edit_made_while_the_session_was_away_is_the_users_own(driver: Driver) -> None:
    driver.prompted()
    controller = driver.controller
    controller.runs.propagate()
    driver.settle()
    segment, edited = controller.inputs.segment_id, driver.mask()
    assert segment is not None
    edited[4, 20:23, 14:17] ^= True
    edited[13, 2:4, 2:4] = True
    segmentation = controller._work.parameter.segmentation
    controller.inputs.set_volume(None)
    driver.mrml.slicer.util.updateSegmentBinaryLabelmapFromArray(
        edited.astype(np.uint8), segmentation, segment, driver.volume
    )
    controller.inputs.set_volume(driver.volume)
    assert controller._work.session.object(1).kept_slices == {4, 13}
    driver.until(lambda: controller.network.state is NetworkState.READY)
    driver.place(driver.point(3, 17, 24))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    assert np.array_equal(driver.mask()[[4, 13]], edited[[4, 13]])
    assert (driver.mask() & LEFT).any()


def test_a_session_with_a_range_on_an_object_without_prompts_is_saved(driver: Driver) -> None:
    controller = driver.ready().controller
    controller.inputs.add_segment("left")
    driver.place(driver.point(40, 20, 7, axis=SliceAxis.I))
    controller.editing.set_range(30, 45)
    object_id = controller._work.object_id
    controller.editing.change(object_id, lambda session: session.remove_prompt(object_id, 0))
    other = controller.inputs.add_segment("right")
    driver.place(driver.box(7, 8, 14, 27, 35), other)
    driver.settle()
    controller.inputs.set_volume(None)
    controller.inputs.set_volume(driver.volume)
    objects = controller._work.session.objects
    assert [(obj.name, obj.slice_range) for obj in objects] == [
        ("left", (30, 45)),
        ("right", None),
    ]
    assert objects[1].prompts


def test_an_empty_segment_moves_no_voxel_of_the_others_when_the_scene_is_saved(
    driver: Driver, tmp_path: Path
) -> None:
    controller = driver.ready().controller
    controller.inputs.add_segment("empty")
    painted = stroke(slice(8, 9), slice(12, 15), slice(15, 18))
    segment = controller.inputs.segmentation_node.GetSegmentation().AddEmptySegment("painted")
    paint(driver, segment, painted)
    save_and_load(driver.mrml, tmp_path, bundle=True)
    assert np.array_equal(driver.mask(segment), painted)


def test_segments_that_were_loaded_empty_move_no_voxel_when_the_scene_is_saved(
    driver: Driver, tmp_path: Path
) -> None:
    controller = driver.ready().controller
    for name in ("empty", "empty, too"):
        controller.inputs.add_segment(name)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    save_and_load(driver.mrml, tmp_path / "first", bundle=True)
    driver.volume = controller.inputs.volume_node
    segment = controller.inputs.add_segment("painted")
    painted = stroke(slice(8, 9), slice(12, 15), slice(15, 18))
    paint(driver, segment, painted)
    save_and_load(driver.mrml, tmp_path / "second", bundle=True)
    assert np.array_equal(driver.mask(segment), painted)


def test_preview_of_a_prompt_that_came_back_by_undo_comes(driver: Driver) -> None:
    controller = driver.ready().controller
    controller.inputs.add_segment("left")
    driver.place(driver.point(7, 17, 24))
    obj = controller._work.session.object(1)
    moved = driver.point(7, 18, 25)
    controller._work.prompt_edited.emit(PromptEdit("change", obj.id, 0, moved))  # no preview has come yet
    controller.history.undo()
    driver.settle()
    assert driver.mask()[7].any()
    assert controller._work.session.object(obj.id).pending_previews() == ()


def test_undo_of_segment_editor_leaves_slices_of_the_network_to_be_computed_again(driver: Driver) -> None:
    driver.prompted()
    controller, slicer = driver.controller, driver.mrml.slicer
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(controller.inputs.segmentation_node.GetSegmentation())
    history.SaveState()  # as Segment Editor does before a stroke
    shown = driver.mask()
    controller.runs.propagate()
    driver.settle()
    propagated = driver.mask()
    emptied = np.flatnonzero((propagated & ~shown).any(axis=(1, 2))).tolist()
    assert len(emptied) > 3
    assert history.RestorePreviousState()
    controller._projector.take_edits()
    driver.settle()
    assert np.array_equal(driver.mask(), shown)
    states = {state.index: state.state.value for state in controller.review.slices}
    assert {states[index] for index in emptied} == {"pending"}
    assert driver.texts[-1].startswith(f'Another module emptied {len(emptied)} slices of "left"')
    driver.place(driver.point(emptied[0], 17, 24))  # they refuse no prompt
    driver.settle()
    controller.history.undo()
    controller.runs.propagate()
    driver.settle()
    assert np.array_equal(driver.mask(), propagated)
    controller.history.undo()
    controller.history.undo()
    assert np.array_equal(driver.mask(), propagated)


def test_segment_that_undo_of_segment_editor_deletes_comes_back_by_undo(driver: Driver) -> None:
    controller, slicer = driver.ready().controller, driver.mrml.slicer
    controller.inputs.add_segment("painted elsewhere")
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(controller.inputs.segmentation_node.GetSegmentation())
    history.SaveState()
    segment = controller.inputs.add_segment("left")
    driver.place(driver.box(7, 8, 14, 27, 35), segment)
    driver.settle()
    mask = driver.mask(segment)
    history.RestorePreviousState()
    driver.settle()
    assert segment not in controller.inputs.segment_ids
    assert driver.texts[-1] == '"left" was deleted: Undo brings it back.'
    controller.history.undo()
    driver.settle()
    assert np.array_equal(driver.mask(segment), mask)


def test_deleted_segment_comes_back_as_it_was(driver: Driver) -> None:
    driver.prompted()
    controller, slicer = driver.controller, driver.mrml.slicer
    segment_id, mask = controller.inputs.segment_id, driver.mask()
    controller.inputs.add_segment("behind")
    node = controller.inputs.segmentation_node
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    segment = segmentation.GetSegment(segment_id)
    obj = "Segmentation category~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~^^~~^^~^^"
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), obj)
    segment.SetTag("Segmentation.Status", "inprogress")
    display.SetSegmentOpacity2DFill(segment_id, 0.25)
    display.SetSegmentVisibility3D(segment_id, False)
    looks = segment.GetName(), segment.GetColor()
    segmentation.RemoveSegment(segment_id)
    driver.settle()
    assert segment_id not in controller.inputs.segment_ids
    controller.history.undo()
    driver.settle()
    assert controller.inputs.segment_ids[0] == segment_id
    back = segmentation.GetSegment(segment_id)
    assert (back.GetName(), back.GetColor()) == looks
    tags = {name: driver.tag(back, name) for name in ("TerminologyEntry", "Segmentation.Status")}
    assert tags == {"TerminologyEntry": obj, "Segmentation.Status": "inprogress"}
    assert display.GetSegmentOpacity2DFill(segment_id) == 0.25
    assert not display.GetSegmentVisibility3D(segment_id)
    assert np.array_equal(driver.mask(segment_id), mask)


def test_stroke_on_a_shared_labelmap_reads_only_the_slice_that_changed(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MedSAMSlicerLib.scene.segment_voxels import SegmentVoxels

    driver.prompted()
    controller = driver.controller
    controller.runs.propagate()
    driver.settle()
    segmentation = controller.inputs.segmentation_node.GetSegmentation()
    for number in range(8):  # of another module, without prompts
        paint(
            driver,
            segmentation.AddEmptySegment(f"other {number}"),
            stroke(slice(2, 9), slice(4 * number, 4 * number + 3), slice(50, 54)),
        )
    segmentation.CollapseBinaryLabelmaps(False)
    driver.settle()
    controller.inputs.save()
    read: list[int] = []
    whole = SegmentVoxels._mask

    def counted(self, labels, first, value, axis, index):  # type: ignore[no-untyped-def]
        read.append(index)
        return whole(self, labels, first, value, axis, index)

    monkeypatch.setattr(SegmentVoxels, "_mask", counted)
    labels = driver.mrml.slicer.util.arrayFromSegmentInternalBinaryLabelmap(
        controller.inputs.segmentation_node, segmentation.GetSegmentIDs()[3]
    )
    labels[labels.shape[0] // 2, 0, 0] = segmentation.GetNthSegment(3).GetLabelValue()
    controller._projector.take_edits()
    assert len(set(read)) == 1
    assert len(read) == 1  # of the one segment with prompts, which shares the labelmap


def test_edits_are_compared_when_the_user_comes_back_to_the_module(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MedSAMSlicerLib.scene.segments import SegmentMasks

    driver.prompted()
    controller = driver.controller
    segment = controller.inputs.segment_id
    compared: list[int] = []
    edits = SegmentMasks.edits
    monkeypatch.setattr(
        SegmentMasks, "edits", lambda self, *given: (compared.append(1), edits(self, *given))[1]
    )
    controller.set_in_use(False)
    paint(driver, segment, stroke(slice(3, 4), slice(18, 20), slice(10, 12)) | driver.mask())
    driver.settle()
    assert compared == []
    assert controller.history.undo_label != "Edit slice 3"
    controller.set_in_use(True)
    driver.settle()
    assert controller.history.undo_label == "Edit slice 3"


def test_panel_is_refreshed_after_voxels_that_others_change_and_not_after_tags(driver: Driver) -> None:
    controller = driver.prompted().controller
    node = controller.inputs.segmentation_node
    theirs = node.GetSegmentation().AddEmptySegment("theirs")
    driver.settle()
    topics: list[Topic] = []
    controller.observe(topics.append)
    node.GetSegmentation().GetSegment(theirs).SetTag("Somebody.Note", "seen")
    node.GetSegmentation().GetSegment(controller.inputs.segment_id).SetTag("Somebody.Note", "seen")
    driver.settle()
    assert Topic.MASKS not in topics
    driver.mrml.slicer.util.updateSegmentBinaryLabelmapFromArray(
        RIGHT.astype(np.uint8), node, theirs, driver.volume
    )
    driver.settle()
    assert topics.count(Topic.MASKS) == 1
