"""What is in sight on a screen of 1280 x 800, from the empty scene on, and that nothing jumps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6 import QtCore, QtWidgets

from .user import User, largest

pytestmark = pytest.mark.slicer
KIDNEY = "left_kidney"


@pytest.fixture
def small(user: User) -> Iterator[User]:
    """The user before a window of 1280 x 800."""
    before = QtWidgets.QWidget.size(user.host.window)
    user.host.window.resize(1280, 800)
    user.host.process_events(0.05)
    yield user
    user.host.window.resize(before.width(), before.height())


@pytest.fixture
def empty(shared_host: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """The module open in an empty scene, 1280 x 800: (host, widget)."""
    host, widget = shared_host
    before = QtWidgets.QWidget.size(host.window)
    host.window.resize(1280, 800)
    host.close_scene()
    host.process_events(0.1)
    yield host, widget
    host.window.resize(before.width(), before.height())
    errors, host.errors[:] = [*host.errors], []
    assert errors == []
    host.dialogs.shown.clear()


def shown_at(host: Any, widget: Any) -> QtCore.QRect:
    """Where a widget is in the visible part of the panel."""
    viewport = host.window._panel.viewport()
    corner = QtWidgets.QWidget.mapTo(widget, viewport, QtCore.QPoint(0, 0))
    return QtCore.QRect(corner, QtWidgets.QWidget.size(widget))


def places(host: Any, widgets: tuple[Any, ...]) -> list[QtCore.QRect]:
    """Where widgets are with the panel scrolled to its top."""
    host.process_events(0.05)
    QtWidgets.QScrollArea.verticalScrollBar(host.window._panel).setValue(0)
    return [shown_at(host, each) for each in widgets]


def in_sight(host: Any, widget: Any) -> bool:
    """Return whether all of a widget can be seen with the panel scrolled to its top."""
    QtWidgets.QScrollArea.verticalScrollBar(host.window._panel).setValue(0)
    host.process_events(0.05)
    return QtWidgets.QWidget.rect(host.window._panel.viewport()).contains(shown_at(host, widget))


def test_name_of_the_next_segment_has_room_and_is_typed(small: User) -> None:
    edit, metrics = small.ui.segmentNameEdit, small.ui.segmentNameEdit.fontMetrics()
    assert edit.width >= 160
    assert metrics.horizontalAdvance(edit.placeholderText) < edit.width - 12
    small.press("segmentNameEdit")
    for letter in ("L", "i", "v", "e", "r"):
        small.host.key(letter)
    small.press("addSegmentButton")
    small.settled()
    assert small.names() == ["liver"]
    assert not small.prompts()


def test_export_is_in_sight_from_the_start_and_its_menu_writes_a_file(small: User, tmp_path: Path) -> None:
    button = small.ui.exportButton
    assert in_sight(small.host, button)
    assert not button.enabled
    assert button.toolTip.endswith("There is no mask yet: add a prompt first.")
    small.box_around(KIDNEY)
    assert in_sight(small.host, button)
    path = tmp_path / "kidney.seg.nrrd"
    small.host.dialogs.answer(str(path))
    small.choose("exportButton", "Segmentation")
    small.settled()
    assert path.stat().st_size > 100
    assert small.message == f"Saved {path}."
    small.host.dialogs.shown.clear()


def test_empty_panel_offers_to_load_a_volume(empty: tuple[Any, Any], abdomen: tuple[Any, Any, Any]) -> None:
    host, widget = empty
    ui, (array, matrix, _truth) = widget.ui, abdomen
    assert ui.messageLabel.text == "Load a CT or MR volume, or try the module on the sample."
    assert in_sight(host, ui.loadButton)
    host.dialogs.answer(lambda _dialog: bool(host.add_volume(array, matrix, name="CT", show=False)))
    host.press(ui.loadButton)
    host.process_events(0.1)
    assert [shown.kind for shown in host.dialogs.shown] == ["qSlicerIOManager.openAddDataDialog"]
    assert not ui.loadButton.visible
    assert ui.messageLabel.text == "Choose a volume."
    host.scene.RemoveNode(ui.volumeSelector.nodeFromIndex(0))
    host.process_events(0.1)
    assert ui.loadButton.visible


def test_empty_panel_offers_the_sample_and_begins_with_it(empty: tuple[Any, Any]) -> None:
    host, widget = empty
    assert in_sight(host, widget.ui.sampleButton)
    host.press(widget.ui.sampleButton)
    assert host.wait_until(lambda: widget.controller.inputs.volume_node is not None, 60)
    assert widget.controller.inputs.volume_node.GetName() == "Generated abdomen CT"
    shown = host.view("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID()
    assert shown == widget.controller.inputs.volume_node.GetID()
    assert not widget.ui.sampleButton.visible
    assert host.wait_until(lambda: widget.ui.boxButton.enabled, 60)


def test_statistics_open_slicers_module_with_segmentation_and_volume(small: User) -> None:
    import slicer

    small.box_around(KIDNEY)
    small.press("statisticsButton")
    statistics = slicer.util.getModuleWidget("SegmentStatistics")
    assert statistics.parent.isEntered
    assert statistics.segmentationSelector.currentNode() is small.segmentation
    assert statistics.scalarSelector.currentNode() is small.volume
    slicer.util.selectModule("MedSAMSlicer")
    small.host.process_events(0.1)


def test_surfaces_are_shown_by_slicers_own_button(small: User) -> None:
    import slicer

    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    assert small.ui.surfaceButton.className() == "qMRMLSegmentationShow3DButton"
    assert not small.ui.surfaceButton.enabled
    small.box_around(KIDNEY)
    small.press("surfaceButton")
    small.settled()
    assert small.segmentation.GetSegmentation().ContainsRepresentation(surface)
    small.press("surfaceButton")
    small.settled()
    assert not small.segmentation.GetSegmentation().ContainsRepresentation(surface)


def test_nothing_moves_when_a_tool_is_taken_that_has_choices(small: User) -> None:
    small.box_around(KIDNEY)
    ui = small.ui
    below = (ui.propagateButton, ui.undoButton, ui.exportButton, ui.acceptButton, ui.segmentsTable)
    before = places(small.host, below)
    for name in ("scribbleButton", "lassoButton", "boxButton", "lineButton", "positiveButton"):
        small.press(name)
        assert ui.scribbleNegative.visible == (name in ("scribbleButton", "lassoButton"))
        assert places(small.host, below) == before, name
        small.press(name)
        assert ui.removePromptsButton.visible
        assert places(small.host, below) == before, name


def test_negative_scribble_by_mouse_takes_its_place_out_of_the_mask(small: User) -> None:
    index = small.box_around(KIDNEY)
    before = small.mask()
    small.press("scribbleButton")
    small.press("scribbleNegative")
    _index, low, high = largest(before, margin=0)
    middle = (low[1] + high[1]) / 2
    ends = [(low[0] + 2, middle, index), ((low[0] + high[0]) / 2, middle, index)]
    small.host.show_slice("Red", small.world(*ends[0]))
    small.host.drag("Red", [small.world(*end) for end in ends])
    small.settled()
    stroke = small.prompts()[-1]
    assert type(stroke).__name__ == "Scribble"
    assert not stroke.positive
    assert int((small.mask() & before).sum()) < int(before.sum())
    i, j = round((ends[0][0] + ends[1][0]) / 2), round(middle)
    assert not small.mask()[index, j, i]
    small.press("scribblePositive")
    small.press("scribbleButton")


def test_range_is_chosen_with_the_mouse(small: User) -> None:
    index = small.box_around(KIDNEY)
    small.press("rangeBox")
    small.settled()
    last = small.mask().shape[0] - 1
    assert small.controller.editing.slice_range == (0, last)
    slider = next(
        each
        for each in small.ui.rangeWidget.findChildren(QtWidgets.QWidget)
        if type(each).__name__ == "RangeSlider"
    )
    middle = QtWidgets.QWidget.height(slider) // 2
    width = QtWidgets.QWidget.width(slider)
    path = [QtCore.QPoint(width - 6, middle), QtCore.QPoint(round(0.7 * width), middle)]
    small.host._mouse.drag(slider, path, "left", "", 6)
    small.settled()
    first, final = small.controller.editing.slice_range
    assert first == 0
    assert index <= final < last
    small.press("undoButton")
    small.settled()
    assert small.controller.editing.slice_range is None, "tick and drag are one step"
    assert small.prompts()


def test_image_of_one_slice_has_no_propagation(small: User) -> None:
    import slicer

    volume, whole = small.volume, small.truth
    array = np.array(slicer.util.arrayFromVolume(volume))[8:9]
    image = small.host.add_volume(array, small.matrix, name="Radiograph")
    small.truth = {KIDNEY: whole[KIDNEY][8:9]}
    small.turn_to(image)
    assert not small.ui.propagateSection.visible
    small.box_around(KIDNEY)
    assert small.mask().any()
    assert in_sight(small.host, small.ui.exportButton)
    small.turn_to(volume)
    assert small.ui.propagateSection.visible


def test_canceling_is_shown_at_once(small: User) -> None:
    small.box_around(KIDNEY)
    small.press("propagateButton")
    small.until(lambda: small.ui.cancelButton.enabled)
    small.press("cancelButton")
    assert small.ui.cancelButton.text == "Canceling..."
    assert not small.ui.cancelButton.enabled
    small.until(lambda: not small.controller.runs.busy)
    small.settled()
    assert small.ui.cancelButton.text.startswith("Cancel")
    assert not small.ui.cancelButton.visible
