"""What belongs to the user: accepted slices, edits of Segment Editor, locked segments, and neighbors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PySide6 import QtWidgets

from .user import Mask, User, largest, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


def propagated(user: User, reach: int = 4) -> int:
    index = user.box_around(KIDNEY)
    user.choose_range(index - reach, index + reach)
    user.propagate()
    return index


def paint(user: User, segment_id: str, path: list[tuple[float, float, float]]) -> None:
    """Drag Segment Editor's brush along voxels (i, j, k) of one slice."""
    import slicer

    editor = slicer.qMRMLSegmentEditorWidget()
    editor.setMRMLScene(slicer.mrmlScene)
    node = user.host.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.setMRMLSegmentEditorNode(node)
    editor.setSegmentationNode(user.segmentation)
    editor.setSourceVolumeNode(user.volume)
    editor.setCurrentSegmentID(segment_id)
    editor.setActiveEffectByName("Paint")
    editor.activeEffect().setCommonParameter("BrushAbsoluteDiameter", 12.0)
    places = [user.world(*place) for place in path]
    user.host.show_slice("Red", places[0])
    user.host.drag("Red", places)
    editor.setActiveEffect(None)
    user.host.scene.RemoveNode(node)


def overlapping(user: User) -> tuple[str, Mask, str]:
    """Two segments prompted over the same place: id and mask of the first, id of the second."""
    index, low, high = largest(user.truth[KIDNEY])
    user.box(low, high)
    first, mask = user.controller.inputs.segment_id, user.mask()
    user.press("addSegmentButton")
    user.settled()
    user.box(low, (high[0] + 6, high[1], index))
    assert user.controller.inputs.segment_id != first
    return first, mask, user.controller.inputs.segment_id


def choose_overlap(user: User, policy: str) -> None:
    selector = user.ui.overlapSelector
    selector.setCurrentIndex(selector.findData(policy))
    user.settled()
    assert user.controller.network.overlap == policy


def test_accepted_slice_survives_a_propagation_from_a_correction(user: User) -> None:
    index = propagated(user)
    user.controller.review.show_slice(index + 2)
    user.settled()
    user.press("acceptButton")
    user.settled()
    assert user.ui.acceptButton.text == "Release slice (A)"
    before = user.mask()
    found = np.argwhere(before[index + 3])
    j, i = found[len(found) // 2]
    user.point((float(i), float(j), index + 3), positive=False)
    user.propagate()
    after = user.mask()
    assert same(after[index + 2], before[index + 2])
    assert not same(after[index + 3], before[index + 3])
    assert same(after[: index + 1], before[: index + 1])  # beyond the gap between two key slices


def test_status_in_the_table_follows_what_is_accepted_and_is_changed_by_a_click(user: User) -> None:
    import slicer

    logic = slicer.vtkSlicerSegmentationsModuleLogic

    def status() -> str:
        segment = user.segmentation.GetSegmentation().GetSegment(user.controller.inputs.segment_id)
        return str(logic.GetSegmentStatusAsHumanReadableString(logic.GetSegmentStatus(segment)))

    propagated(user)
    assert status() == "In progress"
    user.host.key("Shift+A", view="Red")
    user.settled()
    assert status() == "Completed"
    table = user.ui.segmentsTable._table
    user.host.window._panel.ensureWidgetVisible(table)
    place = QtWidgets.QTableWidget.visualItemRect(table, table.item(0, 4)).center()
    user.host._mouse.click(QtWidgets.QTableWidget.viewport(table), place, "left", "")
    user.settled()
    assert status() == "Flagged"
    user.host.key("Ctrl+Z", view="Red")
    user.settled()
    assert status() == "Flagged", "a flag stays until everything is accepted"
    user.host.key("Shift+A", view="Red")
    user.settled()
    assert status() == "Completed"


def test_changes_show_the_corrected_slice_itself(user: User) -> None:
    index = propagated(user)
    user.press("cleanupBox")  # off: cleaning may take a voxel more or less where the slice is corrected
    user.settled()
    before = user.mask()
    found = np.argwhere(before[index + 3])
    j, i = found[len(found) // 2]
    user.point((float(i), float(j), index + 3), positive=False)
    user.propagate()
    changes, after = user.controller.changes.last, user.mask()
    assert index + 3 in changes.slices
    assert changes.added == (after & ~before).sum()
    assert changes.removed == (before & ~after).sum()
    user.press("changesButton")
    user.settled()
    user.picture("changes")


def test_boxes_of_other_segments_are_out_of_sight(user: User) -> None:
    user.box_around(KIDNEY)
    first = user.controller.inputs.segment_id
    user.press("addSegmentButton")
    user.settled()
    user.box_around("aorta")
    user.picture("box of the selected segment")

    def seen() -> list[str]:
        nodes = user.markups("vtkMRMLMarkupsROINode")
        return [node.GetName() for node in nodes if node.GetDisplayNode().GetVisibility2D()]

    assert seen() == ["Segment_2 box"]
    user.controller.inputs.select_segment(first)
    user.settled()
    assert seen() == ["Segment_1 box"]


def test_edit_of_segment_editor_becomes_a_key_slice_and_survives(user: User) -> None:
    index = propagated(user)
    before = user.mask()
    corner = (10.0, 10.0, float(index - 2))
    paint(user, user.controller.inputs.segment_id, [corner, (20.0, 10.0, float(index - 2))])
    user.settled()
    painted = user.mask()
    assert (painted & ~before).any()
    assert user.controller.review.slices[index - 2].state.value in ("edited", "accepted")
    found = np.argwhere(painted[index + 3])
    j, i = found[len(found) // 2]
    user.point((float(i), float(j), float(index + 3)), positive=False)
    if user.ui.propagateButton.enabled:
        user.propagate()
    assert same(user.mask()[index - 2], painted[index - 2])
    while user.controller.history.undo_label is not None and not same(user.mask(), before):
        user.press("undoButton")
        user.settled()
    assert same(user.mask(), before)


def test_edit_while_the_run_goes_on_survives_it(user: User) -> None:
    index = user.box_around(KIDNEY)
    user.choose_range(index - 4, index + 4)
    user.press("propagateButton")
    user.until(lambda: not user.controller.runs.busy or user.controller.runs.progress.done >= 1)
    place = (10.0, 10.0, float(index - 1))
    paint(user, user.controller.inputs.segment_id, [place, (20.0, 10.0, float(index - 1))])
    user.until(lambda: not user.controller.runs.busy)
    user.settled()
    assert user.mask()[index - 1, 10, 10]


def test_locked_segment_takes_no_prompt_and_says_why(user: User) -> None:
    index = propagated(user)
    before = user.mask()
    user.press("lockButton")
    user.settled()
    assert not user.ui.positiveButton.enabled
    assert "locked" in user.ui.positiveButton.toolTip
    assert not user.ui.propagateButton.enabled
    user.host.key("P", view="Red")
    user.host.click("Red", user.world(60, 60, index))
    user.settled()
    assert same(user.mask(), before)
    user.press("lockButton")
    user.settled()
    assert user.ui.positiveButton.enabled


def test_overlap_none_leaves_the_neighbor_bit_by_bit(user: User) -> None:
    choose_overlap(user, "none")
    first, mask, second = overlapping(user)
    assert same(user.mask(first), mask)
    assert (user.mask(second) & mask).any()


def test_new_mask_stops_at_a_visible_neighbor_and_export_asks_where_voxels_belong_to_both(
    user: User, tmp_path: Path
) -> None:
    index, low, high = largest(user.truth[KIDNEY])
    found = np.argwhere(user.truth[KIDNEY][index])
    (top, left), (bottom, right) = found.min(axis=0).tolist(), found.max(axis=0).tolist()
    neighbor = user.controller.inputs.add_segment("neighbor")
    edge = float(left + (right - left) // 4)
    paint(user, neighbor, [(edge, float(top), index), (edge, float(bottom), index)])
    user.settled()
    theirs = user.mask(neighbor)
    assert theirs[index].sum() > 50
    user.press("addSegmentButton")
    user.settled()
    user.box(low, high)
    mine = user.mask()
    assert mine[index].sum() > 50
    assert not (mine & theirs).any()
    assert same(user.mask(neighbor), theirs)
    user.picture("neighbor")
    choose_overlap(user, "none")
    user.press("addSegmentButton")
    user.settled()
    user.box(low, high)
    assert (user.mask() & theirs)[index].any()
    user.host.dialogs.answer(False)
    user.choose("exportButton", "NIfTI")
    user.settled()
    assert "of neighbor also in" in user.host.dialogs.shown[-1].text
    path = tmp_path / "out.nii.gz"
    user.host.dialogs.answer(True, str(path))
    user.choose("exportButton", "NIfTI")
    user.settled()
    assert path.exists()
    assert len(user.host.dialogs.shown) == 3
    user.host.dialogs.shown.clear()


@pytest.mark.parametrize("policy", ["all", "visible"])
def test_overlap_policy_takes_voxels_of_the_neighbor_and_undo_gives_them_back(
    user: User, policy: str
) -> None:
    choose_overlap(user, policy)
    first, mask, second = overlapping(user)
    assert not (user.mask(first) & user.mask(second)).any()
    assert not same(user.mask(first), mask)
    assert same(user.mask(first), mask & ~user.mask(second))
    user.press("undoButton")
    user.settled()
    assert same(user.mask(first), mask)


def test_mask_on_another_segment_is_reported_with_whose_voxels_it_has(user: User) -> None:
    _, low, high = largest(user.truth[KIDNEY])
    user.box(low, high)
    assert "Segment" not in user.message
    user.press("addSegmentButton")
    user.settled()
    user.box(low, high)
    assert user.message.startswith('The mask of "Segment_2" overlaps "Segment_1", which keeps its voxels')
    user.picture("overlap-said")
    user.press("undoButton")
    user.settled()
    assert "lies on" not in user.message
    choose_overlap(user, "all")
    user.press("addSegmentButton")
    user.settled()
    user.box(low, high)
    index = int(low[2])
    assert user.message.startswith(f'The mask of "Segment_3" took voxels of "Segment_1" on slice {index}')
    user.press("undoButton")
    user.settled()
    _, low, high = largest(user.truth["aorta"])
    user.box(low, high)
    assert "took" not in user.message
    assert "lies on" not in user.message


def test_overlap_visible_leaves_a_hidden_neighbor_alone(user: User) -> None:
    choose_overlap(user, "visible")
    _, low, high = largest(user.truth[KIDNEY])
    user.box(low, high)
    first, mask = user.controller.inputs.segment_id, user.mask()
    user.segmentation.GetDisplayNode().SetSegmentVisibility(first, False)
    user.press("addSegmentButton")
    user.settled()
    user.box(low, high)
    assert user.mask().any()
    assert same(user.mask(first), mask)


def test_overlap_all_never_takes_from_a_locked_segment(user: User) -> None:
    choose_overlap(user, "all")
    _, low, high = largest(user.truth[KIDNEY])
    user.box(low, high)
    first, mask = user.controller.inputs.segment_id, user.mask()
    user.press("lockButton")
    user.settled()
    user.press("addSegmentButton")
    user.settled()
    user.box(low, high)
    assert user.mask().any()
    assert same(user.mask(first), mask)


def test_two_segments_are_propagated_together(user: User) -> None:
    index, low, high = largest(user.truth[KIDNEY])
    user.box(low, high)
    user.choose_range(index - 2, index + 2)
    first = user.controller.inputs.segment_id
    user.press("addSegmentButton")
    user.settled()
    other, low, high = largest(user.truth["aorta"])
    user.box(low, high)
    user.choose_range(max(0, other - 2), min(19, other + 2))
    second = user.controller.inputs.segment_id
    user.press("allSegmentsBox")
    user.settled()
    user.propagate()
    for each in (first, second):
        assert np.count_nonzero(user.mask(each).any(axis=(1, 2))) > 2, each
    user.picture("two segments")
    user.press("allSegmentsBox")
    user.press("undoButton")
    user.settled()
    for each in (first, second):
        assert np.count_nonzero(user.mask(each).any(axis=(1, 2))) == 1, each


def test_rename_recolor_and_delete_in_the_table_are_followed(user: User) -> None:
    user.box_around(KIDNEY)
    segment_id, mask = user.controller.inputs.segment_id, user.mask()
    segment = user.segmentation.GetSegmentation().GetSegment(segment_id)
    segment.SetName("kidney")
    segment.SetColor(0.1, 0.2, 0.9)
    user.settled()
    assert {node.GetName() for node in user.markups()} == {"kidney box"}
    assert "kidney" in user.ui.promptLabel.text
    user.press("deleteSegmentButton")
    user.settled()
    assert user.names() == []
    assert user.markups() == []
    user.press("undoButton")
    user.settled()
    assert user.names() == ["kidney"]
    assert same(user.mask(user.controller.inputs.segment_ids[0]), mask)
    assert len(user.markups()) == 1
