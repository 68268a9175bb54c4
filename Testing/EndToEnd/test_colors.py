"""Frames in color in the panel: a video of vector volumes is segmented and carried on, a single picture is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .user import User, dice, largest

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
SHAPE = (1, 72, 96)
TOOL = "tool"


def tool(frame: int) -> np.ndarray:
    """(1, rows, columns): a disc that moves to the right."""
    _, rows, columns = np.indices(SHAPE)
    return np.asarray((rows - 30) ** 2 + (columns - 30 - 3 * frame) ** 2 <= 12**2)


def picture(frame: int) -> np.ndarray:
    """(1, rows, columns, 3) uint8: only the color distinguishes the tool from the tissue."""
    image = np.full((*SHAPE, 3), (170.0, 80.0, 75.0))
    image[tool(frame)] = (60.0, 120.0, 190.0)
    noise = np.random.default_rng(frame).normal(0, 5, image.shape)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def video(host: Any) -> tuple[Any, Any]:
    """The browser of three frames, and the volume that it shows."""
    import slicer

    items = host.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Operation")
    for frame in range(3):
        node = slicer.vtkMRMLVectorVolumeNode()
        slicer.util.updateVolumeFromArray(node, picture(frame))
        items.SetDataNodeAtValue(node, str(frame))
    browser = host.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Operation browser")
    browser.SetAndObserveMasterSequenceNodeID(items.GetID())
    volume = browser.GetProxyNode(items)
    volume.CreateDefaultDisplayNodes()
    host.show_volume(volume)
    return browser, volume


def test_object_in_a_video_is_boxed_and_carried_to_the_next_frame_with_the_button(user: User) -> None:
    browser, volume = video(user.host)
    user.truth = {TOOL: tool(0)}
    user.turn_to(volume)
    assert user.ui.volumeSelector.currentNode() is volume
    _index, low, high = largest(tool(0))
    user.box(low, high)
    assert dice(user.mask(), tool(0)) > 0.7
    assert user.ui.timeFrame.visible
    user.press("carryNextButton")
    user.until(lambda: not user.controller.carrying.busy)
    user.settled()
    assert browser.GetSelectedItemNumber() == 1
    user.ready()
    assert dice(user.mask(), tool(1)) > 0.6
    browser.SetSelectedItemNumber(2)
    user.ready()
    assert not user.mask().any()
    assert user.ui.carryNextButton.toolTip.endswith("This is the last time point.")


def test_single_picture_in_color_is_refused_with_a_sentence_and_the_selector_goes_back(user: User) -> None:
    import slicer

    node = user.host.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    slicer.util.updateVolumeFromArray(node, picture(0))
    node.CreateDefaultDisplayNodes()
    user.ui.volumeSelector.setCurrentNode(node)
    user.settled()
    assert user.controller.inputs.volume_node is user.volume
    assert user.ui.volumeSelector.currentNode() is user.volume
    assert "colors" in user.message
