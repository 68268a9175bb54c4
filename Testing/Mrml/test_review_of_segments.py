"""Review of a segment that another program made, on the real scene with the bundled network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from MedSAMSlicerLib.app.state import Action, SliceMark
from MedSAMSlicerLib.core.errors import SessionError
from MedSAMSlicerLib.lab.evaluation.faults import spoiled

from .controllers import LEFT, SHAPE, Driver, choose_from_elsewhere

pytestmark = pytest.mark.slicer
WRONG = (4, 7, 10)


def made_elsewhere(driver: Driver) -> npt.NDArray[np.bool_]:
    """A segmentation with a spoiled segment, chosen in the module; returns its voxels (K, J, I)."""
    mask = spoiled(LEFT, WRONG)
    choose_from_elsewhere(driver, mask)
    return mask


def test_spoiled_slices_are_the_first_that_next_doubtful_visits_and_no_voxel_changes(driver: Driver) -> None:
    before, controller = made_elsewhere(driver), driver.controller
    assert controller.reason(Action.NEXT_DOUBTFUL) is not None
    controller.scoring.review()
    assert controller.scoring.busy
    assert controller.reason(Action.CANCEL) is None
    assert "is running" in (controller.reason(Action.REVIEW) or "")
    driver.settle()
    assert not controller.scoring.busy
    assert "was reviewed: slice" in driver.texts[-1]
    assert np.array_equal(driver.mask(), before)
    assert controller.history.undo_label == "Start from organ"
    assert {controller.review.next_doubtful() for _ in WRONG} == {*WRONG}
    strip = controller.review.slices
    assert all(strip[index].confidence is not None for index in range(2, 13))
    assert all(strip[index].state is SliceMark.STARTED for index in WRONG)


def test_correction_changes_only_its_gap_and_the_difference_is_shown(driver: Driver) -> None:
    before, controller = made_elsewhere(driver), driver.controller
    controller.scoring.review()
    driver.settle()
    assert controller.starting.reach == 0
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    others = [index for index in range(SHAPE[0]) if index != 7]
    assert np.array_equal(driver.mask()[others], before[others])
    changes = controller.changes.last
    assert changes is not None
    assert changes.added > 0
    assert changes.slices == (7,)
    controller.changes.show(True)
    assert controller.changes.shown
    assert {controller.review.next_doubtful() for _ in (4, 10)} == {4, 10}


def test_slices_beside_a_corrected_one_are_scored_again_by_themselves(driver: Driver) -> None:
    before, controller = made_elsewhere(driver), driver.controller
    controller.scoring.review()
    driver.settle()
    controller.starting.set_reach(1)
    driver.place(driver.box(6, 8, 14, 27, 35))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    assert not np.array_equal(driver.mask()[7], before[7])
    work, masks = controller._work, driver.mask()
    scores = work.scores.of(work.selected_object)
    assert {4, 8, 9} <= scores.keys()
    assert scores[8].beside[1].count == masks[7].sum(), "it was compared with the corrected mask"
    assert "was reviewed" in driver.texts[-1], "no message reports it"
    controller.scoring.review()
    assert not controller.scoring.busy, "nothing is left to score"


def test_accepted_slices_are_not_visited_again_and_visited_ones_not_after_a_propagation(
    driver: Driver,
) -> None:
    made_elsewhere(driver)
    controller = driver.controller
    controller.scoring.review()
    driver.settle()
    first, second = controller.review.next_doubtful(), controller.review.next_doubtful()
    controller.editing.accept_slice(first)
    controller.starting.set_reach(1)
    driver.place(driver.point(7, 17, 29))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    states = {state.index for state in controller.review.slices if state.state is SliceMark.STARTED}
    seen = [controller.review.next_doubtful() for _ in states]
    assert first not in seen
    assert second not in seen[:2]


def test_undo_and_a_saved_session_keep_the_scores_and_other_masks_have_none(driver: Driver) -> None:
    made_elsewhere(driver)
    controller = driver.controller
    controller.scoring.review()
    driver.settle()
    scored = controller.review.slices
    driver.place(driver.point(7, 17, 29))
    driver.settle()
    assert controller.review.slices[7] != scored[7]
    controller.history.undo()
    driver.settle()
    assert controller.review.slices == scored
    controller.inputs.set_volume(None)
    controller.inputs.set_volume(driver.volume)
    driver.settle()
    again = controller.review.slices
    assert [each.state for each in again] == [each.state for each in scored]
    for one, other in zip(again, scored, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
    assert {controller.review.next_doubtful() for _ in WRONG} == {*WRONG}


def test_review_gives_way_to_previews_and_propagation_and_can_be_canceled(driver: Driver) -> None:
    before, controller = made_elsewhere(driver), driver.controller
    controller.starting.start(reach=1)
    driver.place(driver.point(7, 17, 29))
    driver.settle()
    controller.scoring.review()
    controller.runs.propagate()
    driver.until(lambda: not controller.runs.busy)
    driver.settle()
    assert not controller.scoring.busy
    assert controller.changes.last is not None
    controller.editing.remove_prompts()
    driver.settle()
    assert np.array_equal(driver.mask(), before)
    controller.scoring.review()
    controller.scoring.cancel()
    driver.settle()
    assert "was canceled" in driver.texts[-1]
    with pytest.raises(SessionError, match="Nothing is running"):
        controller.scoring.cancel()


def test_review_ends_with_its_segment_and_its_session(driver: Driver) -> None:
    made_elsewhere(driver)
    controller = driver.controller
    controller.scoring.review()
    controller.inputs.masks.remove(controller.inputs.segment_id)
    driver.settle()
    assert not controller.scoring.busy
    controller.history.undo()
    driver.settle()
    controller.scoring.review()
    controller.inputs.set_volume(None)
    assert not controller.scoring.busy
    driver.settle()


def test_another_network_ends_a_review_and_the_next_one_scores_all_again(driver: Driver) -> None:
    made_elsewhere(driver)
    controller = driver.controller
    controller.scoring.review()
    controller.network.set_window("100,300")
    driver.settle()
    assert not controller.scoring.busy
    assert any("another network or window" in text for text in driver.texts)
    controller.scoring.review()
    assert controller.scoring.progress is not None
    assert controller.scoring.progress.total == 13
    driver.settle()


def test_segment_of_the_network_is_not_reviewed_and_an_empty_one_says_so(driver: Driver) -> None:
    controller = driver.prompted().controller
    assert "press Next doubtful" in (controller.reason(Action.REVIEW) or "")
    with pytest.raises(SessionError, match="The network made this segment"):
        controller.scoring.review()
    controller.inputs.add_segment("empty")
    with pytest.raises(SessionError, match='"empty" is empty'):
        controller.scoring.review()
