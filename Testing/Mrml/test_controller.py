"""The controller on the real scene with the bundled network: from the first click to a finished segment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MedSAMSlicerLib.app.review import doubtful_slices
from MedSAMSlicerLib.app.state import Action, NetworkState, SliceMark
from MedSAMSlicerLib.core.cleanups import Cleanup
from MedSAMSlicerLib.core.errors import SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.masks import MaskState, PackedMask, StoredMask
from MedSAMSlicerLib.core.prompts import ObjectPrompts, Point, SliceRef
from MedSAMSlicerLib.core.segment_object import SegmentObject
from MedSAMSlicerLib.scene.segment_call import segment
from MedSAMSlicerLib.scene.segments import SegmentMasks

from .controllers import LEFT, RIGHT, SHAPE, Driver, dice

pytestmark = pytest.mark.slicer


def test_click_previews_its_slice_and_propagation_fills_the_segment(driver: Driver) -> None:
    controller = driver.ready().controller
    checksum = driver.controller._work.array.tobytes()
    controller.inputs.add_segment("left")
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    assert driver.texts == []
    assert dice(driver.mask()[7], LEFT[7]) > 0.85
    assert not driver.mask()[:7].any()
    assert controller.history.undo_label == "Add box"
    controller.runs.propagate()
    assert controller.runs.busy
    driver.settle()
    assert not controller.runs.busy
    assert dice(driver.mask(), LEFT) > 0.8
    assert np.array_equal(driver.mask(), driver.session_mask())
    assert controller.history.undo_label == "Propagate left"
    assert driver.controller._work.array.tobytes() == checksum
    assert driver.texts == []


def test_undo_takes_prompt_and_preview_together_and_redo_brings_both(driver: Driver) -> None:
    controller = driver.prompted().controller
    shown = driver.mask()
    driver.place(driver.point(7, 17, 24))
    driver.settle()
    controller.history.undo()
    controller.history.undo()
    assert not driver.mask().any()
    assert controller.history.undo_label is None
    assert controller.editing.axis is None
    assert driver.mrml.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 0
    controller.history.redo()
    assert np.array_equal(driver.mask(), shown)
    driver.settle()
    assert np.array_equal(driver.mask(), shown)


def test_cancel_at_every_slice_leaves_the_segment_as_it_was_and_redo_brings_what_was_computed(
    driver: Driver,
) -> None:
    controller = driver.prompted().controller
    before, canceled = driver.mask(), []
    for slices in range(SHAPE[0]):
        controller.network.forget_volume()
        controller.network.prepare()
        driver.until(lambda: controller.network.state is NetworkState.READY)
        controller.runs.propagate()
        driver.until(lambda at=slices: not controller.runs.busy or controller.runs.progress.done >= at)
        if not controller.runs.busy:
            controller.history.undo()  # it was over before that many slices were reported
            continue
        canceled.append(slices)
        controller.runs.cancel()
        driver.settle()
        assert not controller.runs.busy
        assert np.array_equal(driver.mask(), before)
        assert controller.history.undo_label == "Add box"
        assert controller.history.redo_label == "Propagate left"
        controller.history.redo()
        brought = controller._work.selected_object.masks
        assert len(brought) >= slices, "Redo has every slice that was reported"
        assert (driver.mask() | before == driver.mask()).all()
        assert np.array_equal(driver.mask(), driver.session_mask())
        controller.history.undo()
        assert np.array_equal(driver.mask(), before)
    assert len(canceled) > SHAPE[0] // 2
    controller.runs.propagate()
    driver.settle()
    assert dice(driver.mask(), LEFT) > 0.8
    assert np.array_equal(driver.mask(), driver.session_mask())
    assert driver.texts == []


def test_propagation_after_an_undone_one_brings_every_slice_again(driver: Driver) -> None:
    controller = driver.prompted().controller
    controller.runs.propagate()
    driver.settle()
    first = driver.mask()
    controller.history.undo()
    controller.runs.propagate()
    driver.settle()
    assert np.array_equal(driver.mask(), first)


def test_second_propagation_cannot_be_started_while_one_is_under_way(driver: Driver) -> None:
    controller = driver.prompted().controller
    controller.runs.propagate()
    with pytest.raises(SessionError, match="is running"):
        controller.runs.propagate()
    assert controller.reason(Action.PROPAGATE)
    driver.settle()
    assert controller.reason(Action.PROPAGATE) == (
        "Every slice is up to date: correct one with a prompt, and the slices next to it are recomputed."
    )


def test_correction_changes_only_the_gap_and_no_accepted_slice_nor_other_segment(driver: Driver) -> None:
    controller = driver.ready().controller
    left = controller.inputs.add_segment("left")
    driver.place(driver.box(7, 8, 14, 27, 35))
    right = controller.inputs.add_segment("right")
    driver.place(driver.box(6, 32, 13, 49, 32))
    driver.settle()
    controller.runs.propagate(all_segments=True)
    driver.settle()
    other = driver.mask(right)
    assert dice(other, RIGHT) > 0.75
    controller.inputs.select_segment(left)
    controller.editing.accept_slice(11)
    before = driver.mask(left)
    driver.place(driver.point(10, 17, 24))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    after = driver.mask(left)
    changed = {int(index) for index in np.flatnonzero((before != after).any(axis=(1, 2)))}
    assert changed <= {8, 9, 10, 11, 12, 13}
    assert np.array_equal(after[11], before[11])
    assert np.array_equal(driver.mask(right), other)
    controller.changes.show(True)
    assert controller.changes.last is not None
    assert set(controller.changes.last.slices) == changed
    controller.changes.revert()
    assert controller.history.undo_label == "Add point"
    driver.settle()
    assert np.array_equal(driver.mask(left)[:8], before[:8])


def test_prompt_during_the_run_ends_it_previews_and_lets_it_go_on(driver: Driver) -> None:
    controller = driver.prompted().controller
    controller.runs.propagate()
    driver.until(lambda: controller.runs.progress is not None and controller.runs.progress.done >= 2)
    driver.place(driver.point(10, 17, 24))
    driver.settle()
    assert not controller.runs.busy
    assert dice(driver.mask(), LEFT) > 0.8
    assert np.array_equal(driver.mask(), driver.session_mask())
    labels = []
    while controller.history.undo_label:
        labels.append(controller.history.undo_label)
        controller.history.undo()
    assert labels == ["Propagate left", "Add point", "Propagate left", "Add box"]
    assert not driver.mask().any()


def test_prompt_of_another_segment_is_previewed_while_the_run_goes_on(driver: Driver) -> None:
    controller = driver.ready().controller
    left = controller.inputs.add_segment("left")
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    controller.runs.propagate()
    right = controller.inputs.add_segment("right")
    driver.place(driver.box(6, 32, 13, 49, 32))
    driver.until(lambda: driver.mask(right).any() or not controller.runs.busy)
    driver.settle()
    assert driver.mask(right)[6].any()
    assert dice(driver.mask(left), LEFT) > 0.8
    assert controller.history.undo_label == "Add box"
    controller.history.undo()
    assert controller.history.undo_label == "Propagate left"
    controller.history.undo()
    assert controller.history.undo_label == "Add box"


def test_edit_in_segment_editor_is_kept_by_every_later_propagation(driver: Driver) -> None:
    controller = driver.ready().controller
    left = controller.inputs.add_segment("left")
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    edited = driver.mask()
    edited[5, 20:26, 30:34] = True
    util = driver.mrml.slicer.util
    util.updateSegmentBinaryLabelmapFromArray(
        edited.astype(np.uint8), controller.inputs.segmentation_node, left, driver.volume
    )
    driver.settle()
    assert controller.history.undo_label == "Edit slice 5"
    assert controller.review.slices[5].state is SliceMark.EDITED
    driver.place(driver.point(3, 17, 24))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    assert np.array_equal(driver.mask()[5], edited[5])
    with_edit = driver.texts
    driver.place(driver.point(5, 17, 24))
    assert "stays as it is" in driver.texts[-1]
    assert with_edit == []


def test_mask_of_a_foreign_segment_is_the_users_own(driver: Driver) -> None:
    controller = driver.ready().controller
    segment = controller.inputs.add_segment("old")
    painted = np.zeros(SHAPE, np.uint8)
    painted[3:5, 18:30, 10:24] = 1
    util = driver.mrml.slicer.util
    util.updateSegmentBinaryLabelmapFromArray(
        painted, controller.inputs.segmentation_node, segment, driver.volume
    )
    driver.settle()
    driver.place(driver.box(8, 8, 14, 27, 35))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    assert np.array_equal(driver.mask()[3:5], painted[3:5] > 0)
    assert driver.mask()[8].any()


def test_deleted_segment_comes_back_with_its_masks_by_undo(driver: Driver) -> None:
    controller = driver.ready().controller
    left = controller.inputs.add_segment("left")
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    mask = driver.mask()
    controller.inputs.segmentation_node.GetSegmentation().RemoveSegment(left)
    driver.settle()
    assert controller.inputs.segment_id is None
    assert controller.history.undo_label == "Delete left"
    controller.history.undo()
    [again] = controller.inputs.segment_ids
    assert np.array_equal(driver.mask(again), mask)
    controller.history.redo()
    assert controller.inputs.segment_ids == ()


def test_renamed_segment_is_not_computed_again(driver: Driver) -> None:
    controller = driver.ready().controller
    left = controller.inputs.add_segment("left")
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    controller.inputs.segmentation_node.GetSegmentation().GetSegment(left).SetName("Leber")
    assert controller.reason(Action.PROPAGATE) is not None
    assert controller.history.undo_label == "Propagate left"
    driver.place(driver.point(7, 17, 24, positive=False))
    assert controller.history.undo_label == "Add point"
    driver.settle()


def test_lock_keeps_a_segment_from_prompts_and_runs(driver: Driver) -> None:
    controller = driver.ready().controller
    left = controller.inputs.add_segment("left")
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    controller.editing.set_locked(left, True)
    assert controller.reason(Action.PROPAGATE) == "The segment is locked: unlock it first."
    driver.place(driver.point(7, 17, 24))
    assert "locked" in driver.texts[-1]
    controller.history.undo()
    assert not controller.editing.is_locked(left)
    controller.runs.propagate()
    driver.settle()
    assert dice(driver.mask(), LEFT) > 0.8


def test_cleanup_shows_clean_masks_and_keeps_the_raw_ones(driver: Driver) -> None:
    controller = driver.ready().controller
    left = controller.inputs.add_segment("left")
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    raw = driver.mask()
    controller.editing.accept_slice(4)
    controller.editing.set_cleanup(left, Cleanup(keep_prompted=True, fill_holes=True, smooth=True))
    driver.settle()
    clean = driver.mask()
    assert np.array_equal(driver.session_mask(), raw)
    assert not np.array_equal(clean, raw)
    assert np.array_equal(clean[4], raw[4])
    controller.editing.set_cleanup(left, Cleanup())
    assert np.array_equal(driver.mask(), raw)
    controller.history.undo()
    assert np.array_equal(driver.mask(), clean)


def test_accepted_slices_stay_as_the_clean_up_showed_them(driver: Driver) -> None:
    controller = driver.prompted().controller
    left = controller.inputs.segment_id
    assert left is not None
    controller.editing.set_cleanup(left, Cleanup(keep_prompted=True, fill_holes=True, smooth=True))
    controller.runs.propagate()
    driver.settle()
    shown = driver.mask()
    assert not np.array_equal(shown, driver.session_mask())
    controller.editing.accept_all()
    driver.settle()
    assert np.array_equal(driver.mask(), shown)
    assert controller.reason(Action.PROPAGATE) is not None, "nothing became pending by that"
    controller.history.undo()
    driver.settle()
    assert np.array_equal(driver.mask(), shown)


def test_doubtful_and_key_slices_are_listed_for_the_strip(driver: Driver) -> None:
    controller = driver.prompted().controller
    assert [state.index for state in controller.review.slices] == list(range(SHAPE[0]))
    assert {state.state for state in controller.review.slices} == {SliceMark.PROMPTED, SliceMark.PENDING}
    assert controller.reason(Action.NEXT_DOUBTFUL) is not None
    with pytest.raises(SessionError, match="No slices left to review"):
        controller.review.next_doubtful()
    controller.runs.propagate()
    driver.settle()
    assert {state.state for state in controller.review.slices} <= {
        SliceMark.PROMPTED,
        SliceMark.PREDICTED,
        SliceMark.NONE,
    }
    areas = driver.session_mask().sum(axis=(1, 2))
    found = [state for state in controller.review.slices if state.state is SliceMark.PREDICTED]
    filled = [state for state in found if areas[state.index] >= 0.1 * areas.max()]
    filled.sort(key=lambda state: -(1 - state.confidence) * areas[state.index])
    order = [state.index for state in filled]
    assert len(order) > 3
    assert 7 not in order
    assert [controller.review.next_doubtful() for _ in order] == order
    obj = controller._work.selected_object
    assert obj is not None
    last = [index for _doubt, index in doubtful_slices(obj)][len(order) :]
    assert not {*last} & {*order}, "slivers and slices without the object come last"
    assert [controller.review.next_doubtful() for _ in last] == last
    assert controller.review.next_doubtful() == order[0]
    controller.review.show_slice(7)
    assert controller.review.next_doubtful() == order[1], "looking elsewhere does not begin again"
    controller.editing.accept_slice(order[1])
    controller.editing.accept_slice(order[2])
    assert controller.review.next_doubtful() == order[3]


def doubtful(*slices: tuple[float | None, bool, MaskState]) -> list[int]:
    """The order of slices that have (confidence, a mask, whose); slice 1 is prompted."""
    full, empty = (PackedMask.from_array(np.full((4, 4), value)) for value in (True, False))
    masks = {
        index: StoredMask(full if there else empty, state, confidence)
        for index, (confidence, there, state) in enumerate(slices)
    }
    point = Point(SliceRef(SliceAxis.K, 1), (0.0, 0.0, 0.0), True)
    obj = SegmentObject(1, ObjectPrompts("left", (1.0, 0.0, 0.0), (point,)), masks, axis=SliceAxis.K)
    return [index for _, index in doubtful_slices(obj)]


def test_doubtful_slices_come_worst_first_with_their_neighbors_and_without_those_seen_to() -> None:
    predicted = MaskState.PREDICTED
    assert doubtful(
        (0.7, True, predicted),
        (0.05, True, predicted),  # prompted
        (0.13, True, predicted),
        (0.1, True, predicted),
        (0.14, True, predicted),
        (0.01, True, MaskState.ACCEPTED),
        (0.02, True, MaskState.EDITED),
        (None, True, predicted),
        (0.9, False, predicted),  # surely not there
        (0.3, False, predicted),  # maybe there, nothing drawn
    ) == [3, 2, 4, 0, 9]


def test_doubt_about_a_large_cross_section_comes_before_one_about_a_small_one_and_slivers_last() -> None:
    def square(side: int, confidence: float) -> StoredMask:
        mask = np.zeros((12, 12), np.bool_)
        mask[:side, :side] = True
        return StoredMask(PackedMask.from_array(mask), MaskState.PREDICTED, confidence)

    masks = {0: square(1, 0.1), 1: square(3, 0.2), 2: square(4, 0.5), 3: square(11, 0.8), 4: square(12, 0.9)}
    masks |= {5: square(10, 0.7), 6: square(2, 0.0)}
    given = ObjectPrompts("left", (1.0, 0.0, 0.0), (Point(SliceRef(SliceAxis.K, 9), (0.0, 0.0, 0.0), True),))
    order = doubtful_slices(SegmentObject(1, given, masks, axis=SliceAxis.K))
    assert [index for _doubt, index in order] == [5, 3, 4, 2, 1, 6, 0]
    assert order[0][0] == pytest.approx(30.0)


def test_window_change_makes_everything_due_again(driver: Driver) -> None:
    controller = driver.prompted().controller
    controller.runs.propagate()
    driver.settle()
    controller.network.set_window("-150,250")
    driver.settle()
    assert controller.network.window is not None
    assert (controller.network.window.lower, controller.network.window.upper) == (-150.0, 250.0)
    assert controller.reason(Action.PROPAGATE) is None
    controller.runs.propagate()
    driver.settle()
    assert dice(driver.mask(), LEFT) > 0.8
    assert controller.reason(Action.PROPAGATE) is not None


def test_range_limits_the_run(driver: Driver) -> None:
    controller = driver.prompted().controller
    controller.editing.set_range(6, 9)
    controller.runs.propagate()
    driver.settle()
    assert set(np.flatnonzero(driver.mask().any(axis=(1, 2)))) <= {6, 7, 8, 9}
    assert controller.editing.slice_range == (6, 9)


def test_exported_prompts_replay_to_the_same_mask(driver: Driver, tmp_path: Path) -> None:
    controller = driver.prompted().controller
    controller.runs.propagate()
    driver.settle()
    driver.place(driver.point(10, 17, 24))
    controller.runs.propagate()
    driver.settle()
    [path] = controller.files.export_prompts(tmp_path / "prompts.json")
    mask = driver.mask()
    done = segment(driver.volume, path, device="cpu")
    masks = SegmentMasks(done.segmentation_node, driver.volume)
    replayed = masks.read_slices(done.segment_ids["left"], SliceAxis.K)
    masks.close()
    for index in range(SHAPE[0]):
        assert np.array_equal(replayed.get(index, np.zeros(SHAPE[1:], bool)), mask[index])


def test_estimate_gives_time_and_memory(driver: Driver) -> None:
    controller = driver.prompted().controller
    controller.runs.estimate()
    driver.settle()
    found = controller.runs.run_estimate
    assert found is not None
    assert found.slices == SHAPE[0]
    assert found.seconds > 0
    assert found.peak_bytes > 1_000_000
