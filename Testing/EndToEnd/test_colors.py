"""Frames in color in the panel: a video of vector volumes is segmented and carried on, a single picture is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from .user import Mask, User, dice, largest, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
SHAPE = (1, 108, 144)
FRAMES = 5
TOOL, NEEDLE = "tool", "needle"
ENTERS = 3
"""The frame on which the needle comes into the picture."""


def capsule(start: tuple[float, float], end: tuple[float, float], radius: float) -> Mask:
    """(1, rows, columns): what is within `radius` pixels of the line between two places (row, column)."""
    places = np.moveaxis(np.indices(SHAPE)[1:].astype(float), 0, -1)
    along = np.subtract(end, start)
    part = np.clip((places - start) @ along / (along @ along), 0, 1)[..., None]
    return np.asarray(((places - start - part * along) ** 2).sum(axis=-1) <= radius**2)


def tool(frame: int) -> Mask:
    """(1, rows, columns): a shaft that is pushed in from the left."""
    return capsule((44, -20), (40 + 2 * frame, 46 + 4 * frame), 12)


def needle(frame: int) -> Mask:
    """(1, rows, columns): what enters from below on frame ENTERS, away from the tool."""
    return capsule((130, 122), (88 - 4 * (frame - ENTERS), 112), 11) & (frame >= ENTERS)


def picture(frame: int) -> npt.NDArray[np.uint8]:
    """(1, rows, columns, 3) uint8: only the color distinguishes tool and needle from the tissue."""
    _, rows, columns = np.indices(SHAPE)
    folds = 12 * np.sin(rows / 11 + np.sin(columns / 17)) + 8 * np.cos(columns / 9 - rows / 23)
    image = np.full((*SHAPE, 3), (170.0, 80.0, 75.0)) + folds[..., None]
    image[tool(frame)] = (60.0, 120.0, 190.0)
    image[needle(frame)] = (70.0, 160.0, 70.0)
    noise = np.random.default_rng(frame).normal(0, 4, image.shape)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def video(host: Any) -> tuple[Any, Any]:
    """The browser of the frames, and the volume that it shows."""
    import slicer

    items = host.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Operation")
    for frame in range(FRAMES):
        node = slicer.vtkMRMLVectorVolumeNode()
        slicer.util.updateVolumeFromArray(node, picture(frame))
        node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
        items.SetDataNodeAtValue(node, str(frame))
    browser = host.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Operation browser")
    browser.SetAndObserveMasterSequenceNodeID(items.GetID())
    volume = browser.GetProxyNode(items)
    volume.CreateDefaultDisplayNodes()
    host.set_window(volume, 255, 127.5)
    host.show_volume(volume)
    return browser, volume


def go(user: User, browser: Any, frame: int) -> None:
    """Show a frame, as Slicer's toolbar does, and wait for its session."""
    browser.SetSelectedItemNumber(frame)
    user.ready()


def carried(user: User, button: str) -> None:
    """Press a button that carries masks, and wait for the end."""
    user.press(button)
    user.until(lambda: not user.controller.carrying.busy)
    user.ready()


def masks_by_frame(user: User, browser: Any, segment_id: str) -> list[Mask]:
    """(1, rows, columns) of a segment on each frame, as the panel comes to them; the frame shown is the one before."""
    shown, found = browser.GetSelectedItemNumber(), []
    for frame in range(FRAMES):
        go(user, browser, frame)
        found.append(user.mask(segment_id))
    go(user, browser, shown)
    return found


def test_object_in_a_video_is_boxed_and_carried_to_the_next_frame_with_the_button(user: User) -> None:
    browser, volume = video(user.host)
    user.truth = {TOOL: tool(0)}
    user.turn_to(volume)
    assert user.ui.volumeSelector.currentNode() is volume
    _index, low, high = largest(tool(0))
    user.box(low, high)
    assert dice(user.mask(), tool(0)) > 0.7
    assert user.ui.timeFrame.visible
    carried(user, "carryNextButton")
    assert browser.GetSelectedItemNumber() == 1
    assert dice(user.mask(), tool(1)) > 0.6
    go(user, browser, FRAMES - 1)
    assert not user.mask().any()
    assert user.ui.carryNextButton.toolTip.endswith("This is the last time point.")


def test_second_object_begins_on_a_later_frame_and_the_first_stays_bit_for_bit(user: User) -> None:
    browser, volume = video(user.host)
    user.turn_to(volume)
    go(user, browser, 1)
    _index, low, high = largest(tool(1))
    user.host.key("X", view="Red")
    user.host.drag("Red", [user.world(*low), user.world(*high)])
    user.settled()
    first = user.controller.inputs.segment_id
    assert dice(user.mask(first), tool(1)) > 0.8
    carried(user, "carryAllButton")
    before = masks_by_frame(user, browser, first)
    for frame, mask in enumerate(before):
        assert dice(mask, tool(frame)) > 0.8, f"the tool on frame {frame}"

    go(user, browser, ENTERS)
    user.press("addSegmentButton")
    user.settled()
    _index, low, high = largest(needle(ENTERS))
    user.host.key("X", view="Red")
    user.host.drag("Red", [user.world(*low), user.world(*high)])
    user.settled()
    second = user.controller.inputs.segment_id
    assert second != first
    carried(user, "carryNextButton")
    assert browser.GetSelectedItemNumber() == ENTERS + 1
    user.picture("video-second-object")

    after = masks_by_frame(user, browser, first)
    for frame in range(FRAMES):
        assert same(after[frame], before[frame]), f"the tool on frame {frame} was touched"
    found = masks_by_frame(user, browser, second)
    assert not any(mask.any() for mask in found[:ENTERS]), "it is not there before it enters"
    for frame in range(ENTERS, FRAMES):
        assert dice(found[frame], needle(frame)) > 0.8, f"the needle on frame {frame}"

    user.press("undoButton")
    user.settled()
    assert not user.mask(second).any()
    assert same(user.mask(first), before[ENTERS + 1]), "undo of the second object leaves the first"


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
