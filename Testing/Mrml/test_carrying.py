"""Masks of one time point of a sequence are carried to the next, or to all others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from MedSAMSlicerLib.app.ports import Tool
from MedSAMSlicerLib.app.state import Action, SliceMark
from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.prompts import MaskPrompt

from .conftest import MrmlScene
from .controllers import Driver, dice
from .sequences import TimeDriver, left_at

pytestmark = pytest.mark.slicer


@pytest.fixture
def times(mrml: MrmlScene) -> Iterator[TimeDriver]:
    """A controller on a sequence of three time points; a few slices of the first are segmented."""
    driver = TimeDriver(mrml, count=3)
    driver.prompted()
    driver.controller.editing.set_range(5, 9)
    driver.controller.runs.propagate()
    driver.settle()
    yield driver
    driver.controller.close()


def overlap(mask: npt.NDArray[np.bool_], number: int) -> float:
    """The Dice of a mask with the body at a time point, within the range."""
    return dice(mask[5:10], left_at(number)[5:10])


def surface_points(driver: Driver) -> int:
    """How many points the closed surface of the selected segment has."""
    inputs = driver.controller.inputs
    segment = inputs.segmentation_node.GetSegmentation().GetSegment(inputs.segment_id)
    surface = segment.GetRepresentation("Closed surface")
    return 0 if surface is None else int(surface.GetNumberOfPoints())


def selected(driver: Driver) -> object:
    obj = driver.controller._work.selected_object
    assert obj is not None
    return obj


def test_the_next_time_point_is_segmented_from_this_one_in_one_step(times: TimeDriver) -> None:
    controller, first = times.controller, times.mask()
    assert controller.reason(Action.CARRY_NEXT) is None
    controller.inputs.segmentation_node.CreateClosedSurfaceRepresentation()
    controller.carrying.carry()
    assert controller.carrying.busy
    assert "carried through time" in (controller.reason(Action.PROPAGATE) or "")
    times.settle()
    assert not controller.carrying.busy
    assert times.browser.GetSelectedItemNumber() == 1
    assert times.texts == ["Carried from time=0.00s to time=0.50s."]
    carried = times.mask()
    assert overlap(carried, 1) > 0.8
    prompts = selected(times).prompts  # type: ignore[attr-defined]
    assert [type(prompt) for prompt in prompts] == [MaskPrompt]
    assert prompts[0].slice.index == 7
    assert dice(prompts[0].mask, left_at(1)[7]) > dice(prompts[0].mask, left_at(0)[7])
    assert controller.history.undo_label == "Carry from time=0.00s"
    assert surface_points(times) > 100, "what was shown in 3-D at one time point is so at the next"
    controller.history.undo()
    assert not times.mask().any()
    assert controller.history.undo_label is None
    controller.history.redo()
    assert np.array_equal(times.mask(), carried)
    doubt = times.controller._work.scores.of(selected(times))[7]  # type: ignore[arg-type]
    assert 0.0 < doubt.confidence < 1.0
    assert controller.review.slices[7].state is SliceMark.PROMPTED
    assert controller.review.slices[7].confidence == doubt.confidence
    assert 7 in {controller.review.next_doubtful() for _ in range(5)}
    times.go(2)
    times.go(1)
    assert controller.review.slices[7].confidence == doubt.confidence
    times.place(times.point(7, 18, 24))
    times.settle()
    assert 7 not in {controller.review.next_doubtful() for _ in range(5)}, "the user has seen to it"
    controller.history.undo()
    times.place(times.point(9, 18, 24))
    times.settle()
    assert controller.history.undo_label == "Add point", "a click corrects what was carried"
    times.go(0)
    assert np.array_equal(times.mask(), first)
    assert controller.history.undo_label == "Propagate left"
    assert surface_points(times) > 100


def test_all_time_points_but_those_that_the_user_worked_on(times: TimeDriver) -> None:
    controller, first = times.controller, times.mask()
    times.go(2)
    times.place(times.box(8, 10, 14, 29, 35))
    times.settle()
    own = times.mask()
    times.go(0)
    controller.carrying.carry(all_times=True)
    times.settle()
    assert times.browser.GetSelectedItemNumber() == 0, "the time point where it began is shown again"
    assert np.array_equal(times.mask(), first)
    own_stay = "Time points with your own prompts or masks were left unchanged: time=1.00s."
    assert times.texts == [f"Carried from time=0.00s to 1 of 2 time points. {own_stay}"]
    controller.carrying.carry(every_slice=True)
    times.settle()
    assert overlap(times.mask(), 1) > 0.8
    indices = {prompt.slice.index for prompt in selected(times).prompts}  # type: ignore[attr-defined]
    assert indices == {5, 6, 7, 8, 9}, "what was carried before is replaced"
    times.go(2)
    assert np.array_equal(times.mask(), own)
    assert controller.history.undo_label == "Add box"


def test_cancel_leaves_the_time_point_as_it_was(times: TimeDriver) -> None:
    controller, first = times.controller, times.mask()
    controller.carrying.carry(all_times=True)
    times.until(lambda: controller.runs.busy)
    controller.carrying.cancel()
    times.settle()
    assert not controller.carrying.busy
    assert times.texts == ["Carrying was canceled. Time points that are done: 0."]
    assert times.browser.GetSelectedItemNumber() == 0, "the time point that the views showed all the time"
    assert np.array_equal(times.mask(), first)
    assert controller.history.undo_label == "Propagate left"
    times.go(1)
    assert not times.mask().any()
    assert controller.history.undo_label is None
    with pytest.raises(MedSAMError, match="Nothing is running"):
        controller.carrying.cancel()
    times.go(0)
    assert np.array_equal(times.mask(), first)


def test_cancel_amid_a_run_touches_neither_this_time_point_nor_the_one_that_is_shown_again(
    times: TimeDriver,
) -> None:
    controller, first = times.controller, times.mask()
    controller.carrying.carry(all_times=True)
    times.until(
        lambda: (
            controller.runs.progress is not None and controller.runs.progress.done >= 2 and times.mask().any()
        )
    )
    controller.carrying.cancel()
    times.settle()
    assert np.array_equal(times.mask(), first)
    assert controller.history.undo_label == "Propagate left"
    times.go(1)
    assert not times.mask().any()
    times.go(0)
    assert np.array_equal(times.mask(), first)
    assert not [text for text in times.texts if "Another module" in text]


def test_carrying_ends_when_the_user_shows_another_time_point(times: TimeDriver) -> None:
    controller, first = times.controller, times.mask()
    controller.carrying.carry(all_times=True)
    times.until(lambda: controller.runs.busy)
    times.browser.SetSelectedItemNumber(0)
    times.settle()
    assert not controller.carrying.busy
    assert times.browser.GetSelectedItemNumber() == 0
    assert any(
        text.startswith("Carrying stopped because another time point was shown") for text in times.texts
    )
    assert np.array_equal(times.mask(), first)
    times.go(2)
    assert not times.mask().any()


def test_what_cannot_be_carried_is_refused_with_the_reason(times: TimeDriver, mrml: MrmlScene) -> None:
    controller = times.controller
    times.go(2)
    assert controller.reason(Action.CARRY_NEXT) == "This is the last time point."
    assert "no mask yet" in (controller.reason(Action.CARRY_ALL) or "")
    from .controllers import MATRIX, scan

    controller.inputs.set_volume(mrml.volume_node(scan(), MATRIX))
    assert controller.reason(Action.CARRY_ALL) == "The volume is not one of a sequence."


def test_a_tool_in_hand_goes_on_at_the_next_time_point(times: TimeDriver) -> None:
    times.controller.editing.start_placing(Tool.POINT_POSITIVE)
    times.go(1)
    assert times.controller.editing.placing is Tool.POINT_POSITIVE
    assert times.texts == []
