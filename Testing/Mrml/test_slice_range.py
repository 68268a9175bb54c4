"""The range of slices to propagate over, and prompts and accepted slices beyond it."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.app.state import Action

from .controllers import Driver

pytestmark = pytest.mark.slicer


def test_range_grows_to_a_prompt_given_outside_of_it_in_the_same_step(driver: Driver) -> None:
    controller = driver.controller
    driver.prompted()
    controller.editing.set_range(6, 8)
    driver.place(driver.point(10, 17, 24))
    assert controller.editing.slice_range == (6, 10)
    assert "6 to 10" in driver.texts[-1]
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    assert np.flatnonzero(driver.mask().any(axis=(1, 2))).tolist() == [6, 7, 8, 9, 10]
    controller.history.undo()
    controller.history.undo()
    assert controller.editing.slice_range == (6, 8)


def test_range_holds_the_prompts_and_leaves_accepted_slices_beyond_it_alone(driver: Driver) -> None:
    controller = driver.controller
    driver.prompted()
    controller.runs.propagate()
    driver.settle()
    before = driver.mask()
    controller.editing.accept_slice(11)
    controller.editing.set_range(2, 5)
    assert controller.editing.slice_range == (2, 7)
    assert np.flatnonzero(driver.mask()[8:].any(axis=(1, 2))).tolist() == [3], "the accepted slice alone"
    driver.place(driver.point(4, 17, 24))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    assert [text for text in driver.texts if "outside" in text] == []
    assert np.array_equal(driver.mask()[11], before[11])


def test_range_that_is_changed_again_brings_back_what_it_took_in_the_same_step(driver: Driver) -> None:
    controller = driver.controller
    driver.prompted()
    controller.runs.propagate()
    driver.settle()
    before = driver.mask()
    controller.editing.set_range(6, 8)
    assert np.flatnonzero(driver.mask().any(axis=(1, 2))).tolist() == [6, 7, 8]
    controller.editing.set_range(4, 8)
    assert np.array_equal(driver.mask()[4:9], before[4:9])
    assert not driver.mask()[9:].any()
    controller.editing.clear_range()
    assert np.array_equal(driver.mask(), before)
    assert controller.reason(Action.PROPAGATE) is not None, "nothing has to be computed again"
    controller.editing.set_range(6, 8)
    controller.history.undo()
    assert np.array_equal(driver.mask(), before)
    assert (controller.history.undo_label or "").startswith("Propagate")


def test_dragged_ends_take_the_masks_of_the_network_beyond_them_along_in_one_step(driver: Driver) -> None:
    controller = driver.controller
    driver.prompted()
    controller.runs.propagate()
    driver.settle()
    before = driver.mask()
    controller.editing.accept_slice(11)
    controller.editing.drag_range(5, 12)
    controller.editing.drag_range(5, 9)
    assert np.flatnonzero(driver.mask().any(axis=(1, 2))).tolist() == [5, 6, 7, 8, 9, 11]
    assert np.array_equal(driver.mask()[11], before[11]), "an accepted slice is the user's"
    controller.history.undo()
    assert controller.editing.slice_range == (5, 12)
    assert np.array_equal(driver.mask()[5:13], before[5:13])
    controller.history.undo()
    assert controller.editing.slice_range is None
    assert np.array_equal(driver.mask(), before)
    controller.editing.drag_range(6, 8)
    controller.editing.drag_range(0, 13)
    assert controller.editing.slice_range is None
    controller.runs.propagate()
    driver.settle()
    assert (
        np.flatnonzero(driver.mask().any(axis=(1, 2))).tolist()
        == np.flatnonzero(before.any(axis=(1, 2))).tolist()
    )


def test_range_that_shrinks_during_a_run_ends_what_it_computes_beyond(driver: Driver) -> None:
    controller = driver.controller
    driver.prompted()
    controller.runs.propagate()
    driver.until(lambda: controller.runs.progress is None or controller.runs.progress.done >= 1)
    assert controller.runs.busy
    controller.editing.drag_range(5, 9)
    driver.settle()
    filled = np.flatnonzero(driver.mask().any(axis=(1, 2)))
    assert filled.min() >= 5
    assert filled.max() <= 9
