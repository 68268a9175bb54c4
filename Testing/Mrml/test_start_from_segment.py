"""Start from a segment that another program made, on the real scene with the bundled network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from MedSAMSlicerLib.app.state import Action, Level, SliceMark
from MedSAMSlicerLib.core.cleanups import Cleanup
from MedSAMSlicerLib.core.errors import SessionError

from .controllers import LEFT, SHAPE, Driver, choose_from_elsewhere, dice

pytestmark = pytest.mark.slicer
WRONG = slice(6, 9)
"""Slices on which the other program has missed half of the body."""


def made_elsewhere(driver: Driver) -> npt.NDArray[np.bool_]:
    """A segmentation with one segment, wrong on some slices, chosen in the module; returns its voxels (K, J, I)."""
    mask = LEFT.copy()
    mask[WRONG, 24:] = False
    choose_from_elsewhere(driver, mask)
    return mask


def correct(driver: Driver) -> None:
    driver.place(driver.point(7, 17, 29))
    driver.settle()
    driver.controller.runs.propagate()
    driver.settle()


def test_correction_changes_the_slices_beside_it_and_all_others_stay_bit_for_bit(driver: Driver) -> None:
    before, controller = made_elsewhere(driver), driver.controller
    controller.starting.start(reach=2)
    assert np.array_equal(driver.mask(), before)
    assert controller.starting.reach == 2
    assert controller.history.undo_label == "Start from organ"
    assert {state.state for state in controller.review.slices} == {SliceMark.STARTED, SliceMark.NONE}
    assert controller.reason(Action.PROPAGATE) is not None  # nothing is pending
    correct(driver)
    after = driver.mask()
    gap = slice(5, 10)
    assert np.array_equal(after[:5], before[:5])
    assert np.array_equal(after[10:], before[10:])
    assert dice(after[gap], LEFT[gap]) > dice(before[gap], LEFT[gap]) + 0.05
    assert np.array_equal(driver.session_mask(), after)
    for _step in range(2):
        controller.history.undo()
    assert np.array_equal(driver.mask(), before)


def test_clean_up_leaves_the_slices_of_the_start_alone(driver: Driver) -> None:
    before, controller = made_elsewhere(driver), driver.controller
    before[3, 2:4, 50:52] = True  # an island that the clean-up would take away
    util, node = driver.mrml.slicer.util, controller.inputs.segmentation_node
    util.updateSegmentBinaryLabelmapFromArray(before.astype(np.uint8), node, "organ", driver.volume)
    controller.starting.start(reach=2)
    controller.editing.set_cleanup("organ", Cleanup.usual())
    correct(driver)
    outside = [index for index in range(SHAPE[0]) if not 5 <= index < 10]
    assert np.array_equal(driver.mask()[outside], before[outside])


def test_started_segment_is_found_again_in_a_saved_session(driver: Driver) -> None:
    before, controller = made_elsewhere(driver), driver.controller
    controller.starting.start(reach=2)
    correct(driver)
    corrected, states = driver.mask(), controller.review.slices
    controller.inputs.set_volume(None)
    controller.inputs.set_volume(driver.volume)
    driver.settle()
    assert np.array_equal(driver.mask(), corrected)
    assert controller.starting.reach == 2
    assert [state.state for state in controller.review.slices] == [state.state for state in states]
    assert controller.reason(Action.PROPAGATE) is not None
    controller.editing.remove_prompts()
    driver.settle()
    assert np.array_equal(driver.mask(), before)


def test_prompt_on_a_segment_from_elsewhere_offers_the_start_and_then_corrects(driver: Driver) -> None:
    before, controller = made_elsewhere(driver), driver.controller
    driver.place(driver.point(7, 17, 29))
    driver.settle()
    refusal = driver.messages[-1]
    assert (refusal.level, refusal.offer) == (Level.ERROR, "Start from this segment")
    assert np.array_equal(driver.mask(), before)
    controller.take_offer()
    driver.settle()
    assert controller.review.slices[7].state is SliceMark.PROMPTED
    assert controller.history.undo_label == "Add point"
    others = [index for index in range(SHAPE[0]) if index != 7]
    assert np.array_equal(driver.mask()[others], before[others])


def test_reach_is_by_the_distance_of_slices_and_its_changes_are_one_step(driver: Driver) -> None:
    made_elsewhere(driver)
    controller = driver.controller
    controller.starting.start()
    assert controller.starting.reach == 4  # slices 3 mm apart
    driver.place(driver.point(7, 17, 29))
    driver.settle()
    for reach in (3, 2, 1):
        controller.starting.set_reach(reach)
    driver.settle()
    waiting = {state.index for state in controller.review.slices if state.state is SliceMark.PENDING}
    assert waiting == {6, 8}
    controller.history.undo()
    assert controller.starting.reach == 4


def test_start_without_a_mask_or_while_locked_is_refused(driver: Driver) -> None:
    controller = driver.ready().controller
    controller.inputs.add_segment("empty")
    with pytest.raises(SessionError, match='"empty" is empty: there is no mask to start from'):
        controller.starting.start()
    controller.editing.set_locked(controller.inputs.segment_id, True)
    assert controller.reason(Action.START_FROM_SEGMENT) == "The segment is locked: unlock it first."
    assert controller.reason(Action.SET_REACH) is not None
