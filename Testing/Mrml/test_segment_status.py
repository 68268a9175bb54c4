"""Slicer's status of a segment follows what is accepted: in progress, completed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .conftest import MrmlScene
from .controllers import Driver
from .sequences import TimeDriver

pytestmark = pytest.mark.slicer


def status(driver: Driver, segment_id: str | None = None) -> str:
    """As Slicer's own logic reads it."""
    logic = driver.mrml.slicer.vtkSlicerSegmentationsModuleLogic
    return str(
        logic.GetSegmentStatusAsHumanReadableString(logic.GetSegmentStatus(segment(driver, segment_id)))
    )


def segment(driver: Driver, segment_id: str | None = None) -> Any:
    inputs = driver.controller.inputs
    return inputs.segmentation_node.GetSegmentation().GetSegment(segment_id or inputs.segment_id)


def propagated(driver: Driver) -> None:
    driver.prompted()
    driver.controller.runs.propagate()
    driver.settle()


def test_status_follows_prompts_acceptance_and_undo(driver: Driver) -> None:
    controller = driver.ready().controller
    controller.inputs.add_segment("left")
    assert status(driver) == "Not started"
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    assert status(driver) == "In progress"
    controller.runs.propagate()
    driver.settle()
    controller.editing.accept_slice(7)
    assert status(driver) == "In progress"
    controller.editing.accept_all()
    assert status(driver) == "Completed"
    controller.history.undo()
    assert status(driver) == "In progress"
    controller.history.redo()
    assert status(driver) == "Completed"
    controller.editing.release_slice(7)
    assert status(driver) == "In progress"


def test_what_is_not_computed_yet_is_not_completed(driver: Driver) -> None:
    driver.prompted()
    driver.controller.editing.accept_all()
    assert status(driver) == "In progress"


def test_status_that_the_user_chose_stays_until_the_acceptance_changes(driver: Driver) -> None:
    propagated(driver)
    controller, logic = driver.controller, driver.mrml.slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(segment(driver), logic.Completed)
    driver.place(driver.point(4, 17, 24))
    driver.settle()
    assert status(driver) == "Completed"
    logic.SetSegmentStatus(segment(driver), logic.Flagged)
    controller.runs.propagate()
    driver.settle()
    assert status(driver) == "Flagged"
    controller.editing.accept_all()
    assert status(driver) == "Completed"


def test_deleted_segment_comes_back_with_its_status_and_others_are_left_alone(driver: Driver) -> None:
    propagated(driver)
    controller = driver.controller
    node = controller.inputs.segmentation_node.GetSegmentation()
    other = node.AddEmptySegment("theirs", "theirs")
    controller.editing.accept_all()
    kept = controller.inputs.segment_id
    node.RemoveSegment(kept)
    driver.settle()
    controller.history.undo()
    assert status(driver, kept) == "Completed"
    assert status(driver, other) == "Not started"


def test_each_time_point_of_a_sequence_has_a_status_of_its_own(mrml: MrmlScene) -> None:
    times = TimeDriver(mrml, count=3)
    try:
        propagated(times)
        controller, kept = times.controller, times.mask()
        controller.editing.accept_all()
        assert status(times) == "Completed"
        times.go(1)
        assert status(times) == "Not started"
        times.place(times.box(8, 9, 14, 28, 35))
        times.settle()
        assert status(times) == "In progress"
        times.go(0)
        assert status(times) == "Completed"
        assert np.array_equal(times.mask(), kept)
        controller.editing.release_slice(7)
        assert status(times) == "In progress"
        times.go(1)
        times.go(0)
        assert status(times) == "In progress"
        assert np.array_equal(times.mask(), kept)
        assert times.texts == []
    finally:
        times.controller.close()
