"""A new mask stops at other visible segments: they keep every voxel, and what holds the object is no neighbor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from MedSAMSlicerLib.core.cleanups import Cleanup

from .controllers import LEFT, SHAPE, Driver, dice
from .test_reloaded_session import put_away_and_take_up

pytestmark = pytest.mark.slicer
INDEX = 7
"""The slice of the first box."""


def foreign(driver: Driver, mask: npt.NDArray[np.bool_], name: str = "foreign") -> str:
    """A segment that somebody else drew."""
    controller = driver.controller
    segment = controller.inputs.add_segment(name)
    node = controller.inputs.segmentation_node
    driver.mrml.slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), node, segment, driver.volume
    )
    controller._projector.take_edits()
    return segment


def side(columns: slice) -> npt.NDArray[np.bool_]:
    """A slab of voxels across the columns."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[:, :, columns] = True
    return mask


def boxed(driver: Driver, name: str = "left") -> str:
    """A new segment with a box around `LEFT`, previewed."""
    segment = driver.controller.inputs.add_segment(name)
    driver.place(driver.box(INDEX, 8, 14, 27, 35))
    driver.settle()
    return segment


def test_preview_and_propagation_stop_at_a_segment_that_keeps_every_voxel(driver: Driver) -> None:
    driver.ready()
    taken = side(slice(20, 50))
    other = foreign(driver, taken)
    segment = boxed(driver)
    preview = driver.mask(segment)
    assert preview[INDEX].sum() > 100
    assert not (preview & taken).any()
    driver.controller.editing.set_cleanup(segment, Cleanup(True, True, True))
    driver.controller.runs.propagate()
    driver.settle()
    found = driver.mask(segment)
    assert not (found & taken).any(), "no clean-up reaches into the neighbor, either"
    assert dice(found, LEFT & ~taken) > 0.8
    assert np.array_equal(driver.mask(other), taken)
    assert driver.controller.review.shared_voxels() == ()
    driver.controller.history.undo()
    driver.settle()
    assert np.array_equal(driver.mask(segment), preview)
    assert np.array_equal(driver.mask(other), taken)


def test_masks_stop_there_too_after_the_session_was_put_away_and_taken_up(driver: Driver) -> None:
    driver.ready()
    taken = side(slice(20, 50))
    foreign(driver, taken)
    segment = boxed(driver)
    driver.controller.editing.set_cleanup(segment, Cleanup(True, True, True))
    driver.controller.runs.propagate()
    driver.settle()
    before = driver.mask(segment)
    put_away_and_take_up(driver)
    assert np.array_equal(driver.mask(segment), before)
    assert not (before & taken).any()


@pytest.mark.parametrize("case", ["hidden", "switched off"])
def test_masks_go_over_a_segment_that_is_hidden_or_where_overlaps_are_allowed(
    driver: Driver, case: str
) -> None:
    driver.ready()
    taken = side(slice(20, 50))
    other = foreign(driver, taken)
    if case == "hidden":
        node = driver.controller.inputs.segmentation_node
        node.GetDisplayNode().SetSegmentVisibility(other, False)
    else:
        driver.controller.network.set_overlap("none")
    segment = boxed(driver)
    assert (driver.mask(segment) & taken)[INDEX].sum() > 50
    assert np.array_equal(driver.mask(other), taken)
    [shared] = driver.controller.review.shared_voxels()
    voxel = 0.8 * 0.8 * 3.0 / 1000
    count = int((driver.mask(segment) & taken).sum())
    assert (shared.first, shared.second) == ("foreign", "left")
    assert shared.milliliters == pytest.approx(voxel * count)


def test_object_within_a_segment_is_part_of_it_and_not_its_neighbor(driver: Driver) -> None:
    driver.ready()
    around = side(slice(2, 50))
    foreign(driver, around, "liver")
    segment = boxed(driver, "lesion")
    assert dice(driver.mask(segment)[INDEX], LEFT[INDEX]) > 0.8
    driver.controller.runs.propagate()
    driver.settle()
    assert dice(driver.mask(segment), LEFT) > 0.8


def test_click_on_a_neighbor_says_that_the_object_reaches_into_it(driver: Driver) -> None:
    driver.ready()
    taken = side(slice(20, 50))
    other = foreign(driver, taken)
    segment = boxed(driver)
    assert not (driver.mask(segment) & taken).any()
    driver.place(driver.point(INDEX, 22, 24))
    driver.settle()
    assert driver.mask(segment)[INDEX, 24, 22]
    assert np.array_equal(driver.mask(other), taken)


def test_what_the_user_accepted_or_painted_stays_where_a_neighbor_comes_later(driver: Driver) -> None:
    driver.ready()
    segment = boxed(driver)
    driver.controller.editing.accept_slice(INDEX)
    kept = driver.mask(segment)
    foreign(driver, side(slice(20, 50)))
    driver.controller.inputs.select_segment(segment)
    driver.controller.runs.propagate()
    driver.settle()
    found = driver.mask(segment)
    assert np.array_equal(found[INDEX], kept[INDEX])
    others = [index for index in range(SHAPE[0]) if index != INDEX]
    assert not (found & side(slice(20, 50)))[others].any()


def test_segments_of_one_run_stop_at_each_other(driver: Driver) -> None:
    driver.ready()
    first = boxed(driver, "first")
    second = driver.controller.inputs.add_segment("second")
    driver.place(driver.box(INDEX, 17, 14, 36, 35))
    driver.settle()
    driver.controller.runs.propagate(all_segments=True)
    driver.settle()
    assert driver.mask(first).any()
    assert not (driver.mask(first) & driver.mask(second)).any()
