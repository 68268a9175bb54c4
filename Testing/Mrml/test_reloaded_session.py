"""A session that comes back: masks that are known are neither computed nor changed by the next correction."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.app.state import NetworkState

from .controllers import LEFT, SHAPE, Driver, dice

pytestmark = pytest.mark.slicer


def propagated(driver: Driver) -> None:
    driver.prompted()
    driver.controller.runs.propagate()
    driver.settle()


def put_away_and_take_up(driver: Driver) -> None:
    """The network forgets the volume with all objects, as when a scene was closed and loaded."""
    driver.controller.inputs.set_volume(None)
    driver.controller.inputs.set_volume(driver.volume)
    driver.until(lambda: driver.controller.network.state is NetworkState.READY)
    driver.settle()


def run(driver: Driver) -> int:
    """Propagate; returns how many slices it was said to take."""
    totals: list[int] = []
    driver.controller.runs.propagate()
    while driver.controller.runs.busy:
        driver.controller.poll(0.02)
        if driver.controller.runs.progress is not None:
            totals.append(driver.controller.runs.progress.total)
    driver.settle()
    return totals[-1]


def test_correction_of_a_reloaded_session_computes_the_gap_only(driver: Driver) -> None:
    propagated(driver)
    controller = driver.controller
    segment = controller.inputs.segment_id
    assert segment is not None
    masks = driver.mask()
    controller.inputs.set_volume(None)
    masks[3, 20:23, 14:17] ^= True  # nothing that the network would compute
    util = driver.mrml.slicer.util
    segmentation = controller._work.parameter.segmentation
    util.updateSegmentBinaryLabelmapFromArray(masks.astype(np.uint8), segmentation, segment, driver.volume)
    put_away_and_take_up(driver)
    assert np.array_equal(driver.session_mask(), masks)
    driver.place(driver.point(10, 17, 24))
    driver.settle()
    gap = {
        state.index for state in controller.review.slices if state.state.value in ("pending", "prompted")
    } - {7}
    assert gap == {8, 9, 10, 11, 12, 13}
    assert run(driver) <= len(gap) + 1, "the key slices are needed, the tracks below them are not"
    after = driver.mask()
    outside = [index for index in range(SHAPE[0]) if index not in gap]
    assert np.array_equal(after[outside], masks[outside])
    assert np.array_equal(after, driver.session_mask())
    assert dice(after, LEFT) > 0.75


def test_correction_of_a_reloaded_session_gives_what_it_gives_without_reloading(driver: Driver) -> None:
    """A scene keeps masks, not logits: what looks at all slices together may move a voxel of the gap, no more."""
    propagated(driver)
    controller = driver.controller
    driver.place(driver.point(10, 17, 24))
    driver.settle()
    run(driver)
    corrected = driver.mask()
    controller.history.undo()
    controller.history.undo()
    assert controller.history.undo_label == "Propagate left"
    put_away_and_take_up(driver)
    driver.place(driver.point(10, 17, 24))
    driver.settle()
    run(driver)
    differs = driver.mask() != corrected
    assert np.count_nonzero(differs) <= 3
    assert not differs[:8].any()  # below the key slice at 7, and itself


def test_what_was_never_computed_before_the_scene_was_saved_is_computed_later(driver: Driver) -> None:
    propagated(driver)
    controller = driver.controller
    whole = driver.mask()
    controller.history.undo()
    put_away_and_take_up(driver)
    assert run(driver) >= SHAPE[0] - 1
    assert np.array_equal(driver.mask(), whole)
