"""The controller on the real scene with the bundled network: from the first click to a finished segment."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from .conftest import MrmlScene
from .controllers import LEFT, RIGHT, Driver, dice

pytestmark = pytest.mark.slicer


@pytest.fixture
def driver(mrml: MrmlScene) -> Iterator[Driver]:
    driver = Driver(mrml)
    yield driver
    driver.controller.close()


def test_click_previews_its_slice_and_propagation_fills_the_segment(driver: Driver) -> None:
    controller = driver.ready().controller
    checksum = driver.controller._work.array.tobytes()
    controller.add_segment("left")
    driver.say(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    assert driver.texts == []
    assert dice(driver.mask()[7], LEFT[7]) > 0.85
    assert not driver.mask()[:7].any()
    assert controller.undo_label == "Add box"
    controller.propagate()
    assert controller.busy
    driver.settle()
    assert not controller.busy
    assert dice(driver.mask(), LEFT) > 0.8
    assert np.array_equal(driver.mask(), driver.session_mask())
    assert controller.undo_label == "Propagate left"
    assert driver.controller._work.array.tobytes() == checksum
    assert driver.texts == []
