"""The range that is propagated over, chosen with the mouse on the strip above a view."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PySide6 import QtCore, QtWidgets

from .strip import Strip
from .user import User, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


def test_ends_of_the_range_are_dragged_and_the_view_follows(user: User) -> None:
    index = user.box_around(KIDNEY)
    strip = Strip(user)
    assert user.controller.editing.slice_range is None
    user.picture("strip-whole")
    offsets = strip.drag("first", 0, index - 3)
    assert user.controller.editing.slice_range == (index - 3, strip.count - 1)
    assert user.ui.rangeBox.checked
    assert all(low < high for low, high in itertools.pairwise(offsets))  # every step was shown
    assert offsets[-1] == pytest.approx(user.world(0, 0, index - 3)[2], abs=0.01)
    strip.drag("last", strip.count - 1, index + 2)
    assert user.controller.editing.slice_range == (index - 3, index + 2)
    user.picture("strip-range")
    user.press("undoButton")
    user.settled()
    assert user.controller.editing.slice_range == (index - 3, strip.count - 1)
    user.press("undoButton")
    user.settled()
    assert user.controller.editing.slice_range is None
    assert user.controller.history.undo_label == "Add box"


def test_propagation_keeps_to_the_dragged_range(user: User) -> None:
    index = user.box_around(KIDNEY)
    strip = Strip(user)
    strip.drag("first", 0, index - 2)
    strip.drag("last", strip.count - 1, index + 1)
    user.propagate()
    found = np.flatnonzero(user.mask().any(axis=(1, 2)))
    assert index - 2 <= found.min()
    assert found.max() <= index + 1
    strip.drag("first", index - 2, 0)
    strip.drag("last", index + 1, strip.count - 1)
    assert user.controller.editing.slice_range is None  # the whole volume again


def test_typed_numbers_trim_the_mask_and_bring_it_back_in_one_step(user: User) -> None:
    index = user.box_around(KIDNEY)
    user.propagate()
    everything = user.mask()
    filled = np.flatnonzero(everything.any(axis=(1, 2))).tolist()
    assert filled[-1] >= 10, "a number of two digits"
    user.press("rangeBox")
    user.settled()
    assert user.controller.editing.slice_range == (filled[0], filled[-1]), (
        "from where to where the mask reaches"
    )
    user.type_range_end("last", filled[-1] - 1)
    assert user.controller.editing.slice_range == (filled[0], filled[-1] - 1)
    assert "includes every prompt" not in user.message, "the first digit alone is no range"
    user.type_range_end("first", index - 1)
    user.type_range_end("last", index + 1)
    kept = slice(index - 1, index + 2)
    assert same(user.mask()[kept], everything[kept])
    assert int(user.mask().sum()) == int(everything[kept].sum())
    user.picture("range-typed")
    user.type_range_end("last", filled[-1])
    assert same(user.mask()[index - 1 :], everything[index - 1 :])
    assert user.ui.propagateButton.enabled, "with another range every slice may look otherwise"
    user.press("undoButton")
    user.settled()
    assert same(user.mask(), everything)
    assert user.controller.editing.slice_range is None
    user.host.key("Ctrl+Shift+Z", view="Red")
    user.settled()
    assert user.controller.editing.slice_range == (index - 1, filled[-1])
    assert same(user.mask()[index - 1 :], everything[index - 1 :])
    assert not user.mask()[: index - 1].any()


def test_an_end_is_not_dragged_beyond_the_prompt_or_the_other_end(user: User) -> None:
    index = user.box_around(KIDNEY)
    strip = Strip(user)
    strip.drag("last", strip.count - 1, index + 2)
    strip.drag("first", 0, index + 2, steps=3)
    assert user.controller.editing.slice_range == (index, index + 2)
    assert "includes every prompt" in user.message


def test_click_on_an_end_shows_its_slice_and_changes_nothing(user: User) -> None:
    index = user.box_around(KIDNEY)
    strip = Strip(user)
    strip.drag("first", 0, index - 3)
    label = user.controller.history.undo_label
    user.host._mouse.click(strip.label, strip.end(index - 3, "first"), "left", "")
    user.settled()
    assert user.controller.review.shown_index == index - 3
    assert user.controller.history.undo_label == label


def test_strip_says_number_and_millimeters_as_the_view_reads(user: User) -> None:
    from MedSAMSlicerLib.panel.confidence_strip import range_words, slice_words
    from MedSAMSlicerLib.scene.slice_views import view_positions

    index = user.box_around(KIDNEY)
    strip = Strip(user)
    node = user.host.view("Red").mrmlSliceNode()
    positions = view_positions(node, user.volume, user.controller.editing.axis)
    user.host._mouse.click(strip.label, strip.place(index), "left", "")
    user.settled()
    assert slice_words(index, positions) == f"Slice {index} · S {node.GetSliceOffset():.1f} mm"
    low, high = user.world(0, 0, 2)[2], user.world(0, 0, index)[2]
    assert range_words((2, index), positions)[0] == f"Range 2 to {index} · S {low:.1f} to {high:.1f} mm"
    user.host._mouse.move(strip.label, strip.place(index + 1))
    assert f"Slice {index + 1} · S {user.world(0, 0, index + 1)[2]:.1f} mm" in str(strip.label.toolTip)
    user.host._mouse.move(strip.label, strip.end(0, "first"))
    assert "first slice" in str(strip.label.toolTip)
    assert QtWidgets.QWidget.cursor(strip.label).shape() == QtCore.Qt.CursorShape.SizeHorCursor
