"""The keyboard, the strip above the views, and buttons that say why they cannot be pressed."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6 import QtCore, QtWidgets

from .user import User, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"
KEYS = {"P": "POINT_POSITIVE", "N": "POINT_NEGATIVE", "X": "BOX", "L": "LINE"}


def propagated(user: User, reach: int = 3) -> int:
    index = user.box_around(KIDNEY)
    user.choose_range(index - reach, index + reach)
    user.propagate()
    return index


@pytest.mark.parametrize("key", KEYS)
def test_key_takes_a_tool_and_puts_it_down(user: User, key: str) -> None:
    user.host.key(key, view="Red")
    assert user.controller.editing.placing.name == KEYS[key]
    user.host.key(key, view="Red")
    assert user.controller.editing.placing is None


def test_whole_work_by_keyboard(user: User) -> None:
    index = user.box_around(KIDNEY)
    user.choose_range(index - 3, index + 3)
    user.host.key("Ctrl+Return", view="Red")
    assert user.controller.runs.busy
    user.until(lambda: not user.controller.runs.busy or user.controller.runs.progress.done >= 1)
    user.host.key("Ctrl+.", view="Red")
    user.until(lambda: not user.controller.runs.busy)
    user.settled()
    assert np.flatnonzero(user.mask().any(axis=(1, 2))).tolist() == [index]
    user.host.key("Ctrl+Return", view="Red")
    user.until(lambda: not user.controller.runs.busy)
    user.settled()
    user.host.key("U", view="Red")
    user.settled()
    doubtful = user.controller.review.shown_index
    computed = {
        each.index: each.confidence for each in user.controller.review.slices if each.confidence is not None
    }
    del computed[index]
    areas = user.mask().sum(axis=(1, 2))
    doubt = {each: (1 - confidence) * areas[each] for each, confidence in computed.items()}
    assert doubt[doubtful] > 0.8 * max(
        doubt.values()
    )  # cleaned masks differ a little from those that are ranked
    user.host.key("A", view="Red")
    user.settled()
    assert user.controller.review.slices[doubtful].state.value == "accepted"
    step = "K" if doubtful < index else "J"
    user.host.key(step, view="Red")
    user.settled()
    assert user.controller.review.shown_index == index
    user.host.key("H", view="Red")
    user.settled()
    assert user.controller.changes.shown
    user.picture("changes")
    user.host.key("H", view="Red")
    user.host.key("Shift+A", view="Red")
    user.settled()
    assert all(
        user.controller.review.slices[each].state.value in ("accepted", "prompted") for each in computed
    )


def test_next_doubtful_shows_the_object_in_the_middle_of_all_views_and_large(user: User) -> None:
    propagated(user)
    nodes = [user.host.view(name).mrmlSliceNode() for name in ("Red", "Green", "Yellow")]
    for node in nodes:  # far away, and beside the object
        width, height, depth = node.GetFieldOfView()
        node.SetFieldOfView(1000.0, 1000.0 * height / width, depth)
        node.JumpSliceByCentering(*user.world(5.0, 5.0, 2.0))
    user.host.key("U", view="Red")
    user.settled()
    index = user.controller.review.shown_index
    found = np.argwhere(user.mask()[index])
    low, high = (np.array(user.world(i, j, index)) for j, i in (found.min(axis=0), found.max(axis=0)))
    low, high = np.minimum(low, high) - 4, np.maximum(low, high) + 4
    whole = np.argwhere(user.mask())
    corners = [np.array(user.world(*place[::-1])) for place in (whole.min(axis=0), whole.max(axis=0))]
    extent = float(np.abs(corners[1] - corners[0]).max())
    for node in nodes:
        matrix = node.GetSliceToRAS()
        middle = np.array([matrix.GetElement(row, 3) for row in range(3)])
        assert (low < middle).all(), node.GetName()
        assert (middle < high).all(), node.GetName()
        assert extent / min(node.GetFieldOfView()[:2]) > 0.2, f"{node.GetName()} shows it small"


def test_keys_are_gone_when_another_module_is_opened_and_back_afterwards(user: User) -> None:
    user.box_around(KIDNEY)
    mask = user.mask()
    user.host.leave_module()
    for key in (*KEYS, "Ctrl+Return", "Ctrl+Z", "A", "D", "M"):
        user.host.key(key, view="Red")
    user.settled()
    assert user.controller.editing.placing is None
    assert not user.controller.runs.busy
    assert same(user.mask(), mask)
    user.host.enter_module()
    assert user.controller.history.undo_label == "Add box"
    user.host.key("Ctrl+Z", view="Red")
    user.settled()
    assert user.controller.history.undo_label is None
    assert not user.mask().any()


def test_tool_in_hand_is_put_down_when_the_module_is_left(user: User) -> None:
    user.press("positiveButton")
    user.host.leave_module()
    assert user.controller.editing.placing is None
    nodes = [node.GetNumberOfControlPoints() for node in user.markups()]
    user.host.click("Red", user.world(60, 60, 5))
    user.settled()
    assert [node.GetNumberOfControlPoints() for node in user.markups()] == nodes
    user.host.enter_module()


def test_escape_puts_the_tool_down(user: User) -> None:
    user.press("positiveButton")
    user.host.click("Red", user.world(40, 60, 5))
    user.settled()
    user.host.key("Esc", view="Red")
    user.settled()
    if user.controller.editing.placing is not None:  # Slicer itself leaves place mode by a right click
        user.host.click("Red", user.world(40, 60, 5), button="right")
        user.settled()
    assert user.controller.editing.placing is None
    assert not user.ui.positiveButton.checked


def test_click_on_the_strip_shows_that_slice(user: User) -> None:
    index = propagated(user)
    strip = QtWidgets.QWidget.findChild(user.host.view("Red"), QtCore.QObject, "MedSAMSlicerStripRed")
    assert strip is not None
    count, width = len(user.controller.review.slices), QtWidgets.QWidget.width(strip)
    for wanted in (0, index + 2, count - 1):
        place = QtCore.QPoint(int((wanted + 0.5) * width / count), 12)
        user.host._mouse.click(strip, place, "left", "")
        user.settled()
        assert user.controller.review.shown_index == wanted
    offset = user.host.view("Red").mrmlSliceNode().GetSliceOffset()
    assert offset == pytest.approx(user.world(0, 0, count - 1)[2], abs=0.01)


def test_strip_shows_slices_only_above_views_along_the_axis(user: User) -> None:
    user.box_around(KIDNEY)
    colors = {}
    for view in ("Red", "Green", "Yellow"):
        strip = QtWidgets.QWidget.findChild(user.host.view(view), QtCore.QObject, f"MedSAMSlicerStrip{view}")
        assert QtWidgets.QWidget.isVisible(strip)  # its place is kept, so that no view moves
        drawn = QtWidgets.QLabel.pixmap(strip).toImage()
        colors[view] = {drawn.pixel(x, y) for x in range(drawn.width()) for y in range(drawn.height())}
    assert len(colors["Red"]) > 1
    assert len(colors["Green"]) == len(colors["Yellow"]) == 1


def test_disabled_buttons_say_why(user: User) -> None:
    assert not user.ui.propagateButton.enabled
    assert "Add or select a segment" in user.ui.propagateButton.toolTip
    user.press("addSegmentButton")
    user.settled()
    assert "Click on the object first" in user.ui.propagateButton.toolTip
    user.box_around(KIDNEY)
    assert user.ui.propagateButton.enabled
    assert "is accepted" not in user.ui.propagateButton.toolTip


def test_second_press_of_propagate_does_not_start_a_second_run(user: User) -> None:
    index = user.box_around(KIDNEY)
    user.choose_range(index - 3, index + 3)
    runs = user.controller.runs
    user.host.press(user.ui.propagateButton)
    first = runs._run
    assert first is not None
    user.ui.propagateButton.click()
    user.host.key("Ctrl+Return", view="Red")
    assert runs._run is first
    assert "is running" in user.message
    user.until(lambda: not user.controller.runs.busy)
    user.settled()
    assert user.controller.history.undo_label.startswith("Propagate")
    user.press("undoButton")
    user.settled()
    assert np.flatnonzero(user.mask().any(axis=(1, 2))).tolist() == [index]


def test_cancel_leaves_the_segment_as_before_and_redo_brings_the_computed_slices(user: User) -> None:
    index = user.box_around(KIDNEY)
    user.choose_range(index - 5, index + 5)
    before = user.mask()
    user.press("propagateButton")
    user.until(lambda: not user.controller.runs.busy or user.controller.runs.progress.done >= 4)
    assert user.controller.runs.busy, "the run was over before it could be canceled"
    user.press("cancelButton")
    user.until(lambda: not user.controller.runs.busy)
    user.settled()
    assert same(user.mask(), before)
    user.host.key("Ctrl+Shift+Z", view="Red")
    user.settled()
    partial = user.mask()
    assert np.count_nonzero(partial.any(axis=(1, 2))) > 1
    assert same(partial[index], before[index])


def test_held_key_shows_the_mask_before_the_last_prompt_and_its_release_that_of_now(user: User) -> None:
    import slicer

    index = user.box_around(KIDNEY)
    before = user.mask()
    found = np.argwhere(before[index])
    j, i = (float(at) for at in found[len(found) // 3])
    user.point((i, j, index), positive=False)
    after = user.mask()
    assert not same(before, after)
    segment_id, display = user.controller.inputs.segment_id, user.segmentation.GetDisplayNode()
    user.host.hold_key("C", view="Red")
    [shown] = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetName().startswith("MedSAMSlicer earlier mask")
    ]
    [earlier] = shown.GetSegmentation().GetSegmentIDs()
    array = slicer.util.arrayFromSegmentBinaryLabelmap(shown, earlier, user.volume)
    assert same(np.asarray(array, bool), before)
    assert not display.GetSegmentVisibility2DFill(segment_id)
    assert not shown.GetSaveWithScene()
    user.picture("before-last-prompt")
    user.host.release_key("C", view="Red")
    assert display.GetSegmentVisibility2DFill(segment_id)
    assert display.GetSegmentVisibility2DOutline(segment_id)
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    assert names == [user.segmentation.GetName()]
    assert same(user.mask(), after)
    user.picture("after-last-prompt")


def test_held_key_without_a_prompt_says_why_nothing_is_shown(user: User) -> None:
    user.host.hold_key("C", view="Red")
    user.host.release_key("C", view="Red")
    assert "has no prompt whose effect" in user.message


def test_cursor_over_the_views_has_the_color_of_the_segment_and_the_sign_of_the_tool(user: User) -> None:
    def cross() -> tuple[tuple[int, int, int], bool] | None:
        """The color of the cross, and whether there is a plus; None with the usual cursor."""
        pixmap = QtWidgets.QWidget.cursor(user.host.view("Red").sliceView()).pixmap()
        if pixmap.isNull():
            return None
        image = pixmap.toImage()
        return image.pixelColor(16, 8).getRgb()[:3], image.pixelColor(26, 24).alpha() == 255

    user.controller.inputs.add_segment()
    color = tuple(round(255 * part) for part in user.controller.inputs.segment_color)
    assert cross() is None
    for key, plus in (("P", True), ("T", False), ("X", True), ("T", False), ("O", True)):
        user.host.key(key, view="Red")
        user.host.process_events(0.05)
        assert cross() == (color, plus), key
    user.host.key("Esc", view="Red")
    user.host.process_events(0.05)
    assert cross() is None
