"""The range of slices to propagate over, and prompts and accepted slices beyond it."""

from __future__ import annotations

import numpy as np
import pytest

from .controllers import Driver

pytestmark = pytest.mark.slicer


def test_range_grows_to_a_prompt_given_outside_of_it_in_the_same_step(driver: Driver) -> None:
    controller = driver.controller
    driver.prompted()
    controller.editing.set_range(6, 8)
    driver.say(driver.point(10, 17, 24))
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
    driver.say(driver.point(4, 17, 24))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    assert [text for text in driver.texts if "outside" in text] == []
    assert np.array_equal(driver.mask()[8:], before[8:])
