"""Objects whose masks take voxels from each other: the last word is the user's, and undo gives everybody all back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from .controllers import Driver

pytestmark = pytest.mark.slicer


def competing_segments(driver: Driver) -> tuple[str, str]:
    """Two segments that were asked for the same body, one after the other; the second took the voxels of the first."""
    controller = driver.ready().controller
    controller.network.set_overlap("all")
    first = controller.inputs.add_segment("first")
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    second = controller.inputs.add_segment("second")
    driver.place(driver.box(7, 9, 15, 26, 34))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    return first, second


def state(driver: Driver, *segments: str) -> list[npt.NDArray[np.bool_]]:
    return [driver.mask(each) for each in segments]


def same(one: list[npt.NDArray[np.bool_]], other: list[npt.NDArray[np.bool_]]) -> bool:
    return all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_prompt_of_the_user_takes_back_what_another_segment_took_and_undo_returns_it(driver: Driver) -> None:
    first, second = competing_segments(driver)
    controller = driver.controller
    history = [state(driver, first, second)]
    assert not (history[0][0] & history[0][1]).any()
    assert history[0][1][7].sum() > 100
    controller.inputs.select_segment(first)
    driver.place(driver.point(7, 10, 17, positive=False))
    driver.settle()
    history.append(state(driver, first, second))
    asked = driver.session_mask(first)
    assert np.array_equal(history[1][0][7], asked[7]), "the preview has all voxels that it asks for"
    assert history[1][1][7].sum() < history[0][1][7].sum()
    controller.runs.propagate()
    driver.settle()
    history.append(state(driver, first, second))
    assert (history[2][0] & asked).sum() > 0.9 * history[2][0].sum()
    assert history[2][0].sum() > history[1][0].sum()
    controller.history.undo()
    assert same(state(driver, first, second), history[1])
    controller.history.undo()
    assert same(state(driver, first, second), history[0])
    controller.history.redo()
    assert same(state(driver, first, second), history[1])
    controller.history.redo()
    assert same(state(driver, first, second), history[2])
    controller.history.undo()
    controller.history.undo()
    assert same(state(driver, first, second), history[0])
    assert ['mask of "second" took' in driver.texts[0], 'mask of "first" took' in driver.texts[1]] == [
        True
    ] * 2
    assert len(driver.texts) == 2, "each pair is reported once"


def test_undo_beyond_a_retake_gives_every_segment_what_it_had_at_each_step(driver: Driver) -> None:
    first, second = competing_segments(driver)
    controller = driver.controller
    controller.inputs.select_segment(first)
    driver.place(driver.point(7, 10, 17, positive=False))
    driver.settle()
    controller.inputs.select_segment(second)
    driver.place(driver.point(7, 24, 30, positive=False))
    driver.settle()
    controller.history.undo()
    controller.history.undo()
    taken = driver.mask(second)
    assert not (driver.mask(first) & taken).any()
    controller.history.undo()
    controller.history.undo()
    assert np.array_equal(driver.mask(first), driver.session_mask(first)), "nobody else is there any more"
    assert not driver.mask(second).any()


@pytest.mark.parametrize("overlap", ["none", "visible"])
def test_policy_of_the_user_says_whose_voxels_are_taken_back(driver: Driver, overlap: str) -> None:
    first, second = competing_segments(driver)
    controller = driver.controller
    controller.network.set_overlap(overlap)
    controller.inputs.segmentation_node.GetDisplayNode().SetSegmentVisibility(second, False)
    before = driver.mask(second)
    controller.inputs.select_segment(first)
    driver.place(driver.point(7, 10, 17, positive=False))
    driver.settle()
    assert np.array_equal(driver.mask(second), before)


def test_surface_is_made_again_once_the_previews_rest(driver: Driver) -> None:
    controller = driver.ready().controller
    segment = controller.inputs.add_segment("left")
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    controller.inputs.segmentation_node.CreateClosedSurfaceRepresentation()
    before = points(driver, segment)
    assert before > 0
    driver.place(driver.point(7, 10, 17, positive=False))
    driver.until(lambda: points(driver, segment) == 0)
    assert controller.poll()
    driver.settle()
    assert points(driver, segment) > 0
    masks = controller._work.masks
    assert masks is not None
    assert not masks.surface_lacks


def points(driver: Driver, segment_id: str) -> int:
    segment = driver.controller.inputs.segmentation_node.GetSegmentation().GetSegment(segment_id)
    surface = segment.GetRepresentation("Closed surface")
    return 0 if surface is None else int(surface.GetNumberOfPoints())
