"""The whole panel with the real controller in SlicerHost: real MRML, real Qt, stand-ins for Slicer's own widgets."""

from __future__ import annotations

import gc
import threading
from xml.etree import ElementTree

import numpy as np
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from .conftest import RESOURCES, click_and_see, strips

TOUCHABLE = {"QPushButton", "QToolButton", "QCheckBox", "QComboBox", "ctkRangeWidget", "QDoubleSpinBox"}


def test_an_empty_scene_asks_for_a_volume_and_every_disabled_widget_says_why(host):
    widget = host.open_module()
    assert widget.ui.messageLabel.text == "Load a CT or MR volume, or try the module on the sample."
    tips = {
        w.get("name"): w.findtext("property[@name='toolTip']/string")
        for w in ElementTree.parse(RESOURCES / "UI" / "MedSAMSlicer.ui").iter("widget")
        if w.get("class") in TOUCHABLE
    }
    disabled = [name for name in tips if not _itself_enabled(getattr(widget.ui, name))]
    assert len(disabled) > 15
    silent = [name for name in disabled if "\n\n" not in getattr(widget.ui, name).toolTip]
    assert silent == []


def test_opening_the_module_takes_the_volume_in_view_and_asks_for_a_prompt(host, opened):
    assert opened.controller.inputs.volume_node.GetName() == "Ball"
    assert opened.ui.volumeSelector.currentNode().GetName() == "Ball"
    assert "prompt tool" in opened.ui.messageLabel.text
    assert opened.ui.slicePicture.pixmap is not None
    assert opened.ui.positiveButton.enabled


def test_a_volume_loaded_while_none_is_chosen_is_taken_and_later_ones_are_not(host):
    widget = host.open_module()
    array = np.zeros((4, 8, 8), np.int16)
    hidden = host.add_volume(array, name="Hidden", show=False)
    host.process_events(0.1)
    assert widget.controller.inputs.volume_node is None
    first = host.add_volume(array, name="First")
    host.process_events(0.1)
    assert widget.controller.inputs.volume_node is first
    assert widget.ui.volumeSelector.currentNode() is first
    host.add_volume(array, name="Second")
    host.process_events(0.1)
    assert widget.controller.inputs.volume_node is first
    widget.ui.volumeSelector.setCurrentNode(None)
    host.wheel("Red", 1)
    host.process_events(0.1)
    assert widget.controller.inputs.volume_node is None, "the user wants none"
    host.show_volume(hidden)
    host.process_events(0.1)
    assert widget.controller.inputs.volume_node is hidden
    host.close_scene()
    host.process_events(0.1)
    again = host.add_volume(array, name="Again")
    host.process_events(0.1)
    assert widget.controller.inputs.volume_node is again
    host.leave_module()
    host.scene.RemoveNode(again)
    host.add_volume(array, name="Elsewhere")
    host.process_events(0.1)
    assert widget.controller.inputs.volume_node is None, "another module is open"


def test_a_tool_stays_pressed_while_it_is_in_hand_and_its_key_does_the_same(host, opened):
    host.press(opened.ui.negativeButton)
    assert opened.ui.negativeButton.checked
    host.key("P")
    host.process_events(0.05)
    assert opened.ui.positiveButton.checked
    assert not opened.ui.negativeButton.checked
    host.key("P")
    host.process_events(0.05)
    assert opened.controller.editing.placing is None
    assert not opened.ui.positiveButton.checked


def test_a_newcomer_gets_from_a_click_to_a_propagated_accepted_and_undone_segment(host, opened):
    ui, controller = opened.ui, opened.controller
    click_and_see(host, opened)
    assert "Propagate" in ui.messageLabel.text
    assert ui.propagateButton.enabled
    assert [bool(strip._slices) for strip, _node in opened.panel._strips._strips] == [True, False, False]
    assert host.wait_until(lambda: "slices" in ui.estimateLabel.text, 30)
    host.press(ui.propagateButton)
    assert host.wait_until(lambda: not controller.runs.busy, 120)
    host.process_events(0.1)
    assert not ui.propagateButton.enabled
    assert "computed" in ui.propagateButton.toolTip
    host.press(ui.acceptButton)
    host.process_events(0.1)
    assert ui.acceptButton.text == "Release slice (A)"
    assert "Accept" in ui.undoButton.text
    assert ui.undoButton.toolTip.endswith("Accept slices")
    for button in (ui.undoButton, ui.redoButton):
        room = button.width - 34  # icon and frame
        assert button.fontMetrics().horizontalAdvance(button.text) <= room
    assert not ui.propagateButton.enabled, "what was computed is accepted: nothing else follows from it"
    assert {state.state.name for state in controller.review.slices} == {"PREDICTED", "ACCEPTED"}
    host.key("Ctrl+Z")
    host.process_events(0.1)
    assert ui.acceptButton.text == "Accept slice (A)"
    assert ui.redoButton.enabled


def test_clicking_the_strip_shows_that_slice(host, opened):
    click_and_see(host, opened)
    strip = strips(host)[0]
    shown, place = opened.panel._strips._strips[0][0], strip.width * 20.5 / 24
    shown.press(place)
    shown.release()
    shown.move(place, held=False)
    host.process_events(0.1)
    assert opened.controller.review.shown_index == 20
    assert "Slice 20" in strip.toolTip


def test_a_range_is_chosen_with_the_box_and_the_slider(host, opened):
    click_and_see(host, opened)
    ui = opened.ui
    assert not ui.rangeWidget.enabled
    ui.rangeBox.checked = True
    host.process_events(0.1)
    assert opened.controller.editing.slice_range == (0, 23)
    ui.rangeWidget.setValues(8, 15)
    host.process_events(0.1)
    assert opened.controller.editing.slice_range == (8, 15)
    for first in (7, 6, 5):  # as a handle is dragged
        ui.rangeWidget.setValues(first, 15)
    host.process_events(0.1)
    assert opened.controller.editing.slice_range == (5, 15)
    host.key("Ctrl+Z")
    host.process_events(0.1)
    assert opened.controller.editing.slice_range is None, (
        "changes of the range that follow each other are one step"
    )
    assert not ui.rangeBox.checked


def test_segments_are_added_selected_locked_and_deleted(host, opened):
    ui, controller = opened.ui, opened.controller
    host.press(ui.addSegmentButton)
    host.press(ui.addSegmentButton)
    host.process_events(0.1)
    first, second = controller.inputs.segment_ids
    assert controller.inputs.segment_id == second
    ui.segmentsTable.setSelectedSegmentIDs([first])
    host.process_events(0.1)
    assert controller.inputs.segment_id == first
    host.press(ui.lockButton)
    host.process_events(0.1)
    assert controller.editing.is_locked(first)
    assert ui.lockButton.text == "Locked"
    assert not ui.deleteSegmentButton.enabled
    host.press(ui.lockButton)
    host.process_events(0.1)
    host.press(ui.deleteSegmentButton)
    host.process_events(0.1)
    assert controller.inputs.segment_ids == (second,)


def test_a_choice_that_cannot_be_made_is_reported_and_taken_back(host, opened):
    ui = opened.ui
    ui.windowLower.value = 500.0  # above the upper value
    host.process_events(0.1)
    assert "500" in ui.messageLabel.text
    assert ui.windowLower.value == opened.controller.network.window.lower


def test_window_choices_reach_the_network(host, opened):
    ui = opened.ui
    ui.windowSelector.setCurrentIndex(ui.windowSelector.findData("lung"))
    host.wait_until(lambda: opened.controller.network.window.name == "lung", 10)
    host.process_events(0.1)
    assert ui.windowLower.value == -1350
    ui.windowUpper.value = 100
    host.wait_until(lambda: opened.controller.network.window.upper == 100, 10)
    host.process_events(0.1)
    assert ui.windowSelector.currentText == "-1350 to 100"


def test_the_second_network_can_be_used_or_left_out_and_that_is_remembered(host, opened):
    import qt

    ui, controller = opened.ui, opened.controller
    assert ui.stageSelector.currentData == controller.network.volume_stage == "auto"
    for stage in ("learned", "auto"):
        ui.stageSelector.setCurrentIndex(ui.stageSelector.findData(stage))
        assert host.wait_until(lambda: controller.network.state.name == "READY", 60)
        assert controller.network.volume_stage == stage
        assert qt.QSettings().value("MedSAMSlicer/VolumeStage") == stage
    click_and_see(host, opened)
    host.press(ui.propagateButton)
    assert host.wait_until(lambda: not controller.runs.busy, 120)
    assert not ui.propagateButton.enabled, "all is computed"


def entries(ui):
    """The entries of the menu of Export by the first word of their texts."""
    found = ui.exportButton.menu().actions()
    return {QtGui.QAction.text(each).split()[0]: each for each in found if QtGui.QAction.text(each)}


def test_files_are_exported_where_the_user_says(host, opened, tmp_path):
    ui = opened.ui
    assert not ui.exportButton.enabled
    assert ui.exportButton.toolTip.endswith("There is no mask yet: add a prompt first.")
    click_and_see(host, opened)
    assert ui.exportButton.enabled
    for word, name in (
        ("Segmentation", "ball.seg.nrrd"),
        ("NIfTI", "ball.nii.gz"),
        ("Prompts", "ball.json"),
    ):
        host.dialogs.answer(str(tmp_path / name))
        QtGui.QAction.trigger(entries(ui)[word])
        host.process_events(0.1)
        assert str(tmp_path) in ui.messageLabel.text
        assert (tmp_path / name).stat().st_size > 100
    dicom = entries(ui)["DICOM"]
    assert not QtGui.QAction.isEnabled(dicom)
    assert "DICOM database" in QtGui.QAction.toolTip(dicom)
    host.dialogs.answer(str(tmp_path / "ball.json"))
    ui.loadPromptsButton.click()
    assert host.wait_until(lambda: len(opened.controller.inputs.segment_ids) == 2, 120)
    assert host.wait_until(lambda: "both have" in ui.messageLabel.text, 120), (
        "the loaded mask lies on the first one"
    )
    host.dialogs.answer(str(tmp_path / "gone.json"))
    ui.loadPromptsButton.click()
    host.process_events(0.1)
    assert ui.messageLabel.text.endswith("gone.json does not exist.")


def test_undone_prompt_leaves_nothing_to_export(host, opened):
    click_and_see(host, opened)
    opened.controller.history.undo()
    assert host.wait_until(lambda: not opened.ui.exportButton.enabled, 10)


def test_what_was_reported_goes_with_the_next_step_of_the_user(host, opened):
    ui = opened.ui
    host.press(ui.positiveButton)
    host.click("Red", (60.0, 0.0, 1.0))
    host.process_events(0.1)
    assert "outside the volume" in ui.messageLabel.text
    assert "outside the volume" in host.window.statusBar().currentMessage()
    host.click("Red", (0.0, 0.0, 1.0))
    host.process_events(0.1)
    assert "outside the volume" not in ui.messageLabel.text


def test_slice_drawn_by_the_user_can_be_released(host, opened):
    import slicer

    click_and_see(host, opened)
    controller, ui = opened.controller, opened.ui
    drawn = slicer.util.arrayFromSegmentBinaryLabelmap(
        controller.inputs.segmentation_node, controller.inputs.segment_id, controller.inputs.volume_node
    ).copy()
    index = controller.review.shown_index + 2
    drawn[index, 20:40, 20:40] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        drawn,
        controller.inputs.segmentation_node,
        controller.inputs.segment_id,
        controller.inputs.volume_node,
    )
    assert host.wait_until(lambda: controller.review.slices[index].state.name == "EDITED", 20)
    controller.review.show_slice(index)
    host.process_events(0.1)
    assert ui.acceptButton.text == "Release slice (A)"
    host.press(ui.acceptButton)
    host.process_events(0.1)
    assert controller.review.slices[index].state.name != "EDITED"
    assert ui.acceptButton.text == "Accept slice (A)"


def test_model_that_is_gone_is_listed_as_missing_and_another_can_be_chosen(host, opened, tmp_path):
    bundled = next((RESOURCES / "Models").glob("*.safetensors"))
    own = tmp_path / "own.safetensors"
    own.write_bytes(bundled.read_bytes())
    controller, ui = opened.controller, opened.ui
    chosen = ui.modelSelector.currentText
    controller.network.set_checkpoint(str(own))
    host.process_events(0.1)
    assert ui.modelSelector.currentText == "own.safetensors"
    own.unlink()
    controller.network.prepare()
    assert host.wait_until(lambda: controller.network.state.name == "FAILED", 60)
    opened.panel.refresh_all()
    assert "does not exist" in ui.messageLabel.text
    assert str(own) in ui.propagateButton.toolTip or not ui.propagateButton.enabled
    opened.panel._inputs.fill_models()
    assert ui.modelSelector.currentText == "own.safetensors (missing)"
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findText(chosen))
    assert host.wait_until(lambda: controller.network.state.name == "READY", 60)
    host.process_events(0.1)
    assert "does not exist" not in ui.messageLabel.text
    assert ui.modelSelector.findText("own.safetensors (missing)") < 0


def test_colors_in_the_views_are_refused_with_a_sentence(host):
    import slicer
    import vtk

    image = vtk.vtkImageData()
    image.SetDimensions(8, 8, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    video = host.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Video")
    video.SetAndObserveImageData(image)
    slicer.util.setSliceViewerLayers(background=video)
    widget = host.open_module()
    host.process_events(0.1)
    assert "colors" in widget.ui.messageLabel.text
    assert widget.controller.inputs.volume_node is None


def test_exporting_without_a_name_writes_nothing(host, opened, tmp_path):
    click_and_see(host, opened)
    host.dialogs.answer("")
    QtGui.QAction.trigger(entries(opened.ui)["Segmentation"])
    assert list(tmp_path.glob("*.nrrd")) == []


def test_a_stroke_of_slicers_brush_becomes_a_prompt_and_leaves_no_node_behind(host, opened):
    before = {node.GetID() for node in nodes(host)}
    host.press(opened.ui.scribbleButton)
    assert opened.ui.scribbleFrame.visible
    host.drag("Red", [(-6.0, 0.0, 1.0), (6.0, 0.0, 1.0)])
    assert host.wait_until(lambda: any(s.confidence is not None for s in opened.controller.review.slices), 60)
    host.press(opened.ui.scribbleButton)
    host.process_events(0.1)
    left = [node.GetName() for node in nodes(host) if node.GetID() not in before]
    assert [name for name in left if "stroke" in name or "brush" in name] == []


def test_escape_puts_the_tool_down_and_is_slicers_otherwise(host, opened):
    escape = dict(opened.panel._shortcuts._installed)["leave_tool"]
    assert not escape.enabled
    for key, button in (("P", "positiveButton"), ("X", "boxButton"), ("D", "scribbleButton")):
        host.key(key)
        assert getattr(opened.ui, button).checked
        host.process_events(0.05)
        assert escape.enabled
        host.key("Esc", view="Red")
        assert not getattr(opened.ui, button).checked
        assert opened.controller.editing.placing is None
        host.process_events(0.05)
        assert not escape.enabled
    host.key("P")
    dialog = QtWidgets.QDialog(host.window)
    dialog.open()
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    assert dialog.isHidden()
    assert opened.ui.positiveButton.checked, "a dialog keeps its own Escape"
    host.key("Esc")
    host.leave_module()
    assert not opened.panel._shortcuts._installed


def test_leaving_the_module_takes_shortcuts_and_strips_away_and_coming_back_brings_them(host, opened):
    host.press(opened.ui.positiveButton)
    host.leave_module()
    assert opened.controller.editing.placing is None
    assert strips(host) == []
    host.key("P")
    assert opened.controller.editing.placing is None
    host.enter_module()
    assert len(strips(host)) == 3
    host.key("P")
    assert opened.controller.editing.placing is not None


def test_closing_the_scene_empties_the_panel(host, opened):
    click_and_see(host, opened)
    host.close_scene()
    assert host.wait_until(lambda: opened.ui.messageLabel.text.startswith("Load a CT or MR volume"), 10)
    assert opened.ui.volumeSelector.currentNode() is None
    assert not opened.ui.propagateButton.enabled


def test_unloading_the_module_leaves_no_thread_and_no_observer(host, ball):
    def observed() -> int:
        return sum(node.HasObserver("ModifiedEvent") for node in nodes(host))

    gc.collect()
    before, threads = observed(), threading.active_count()
    widget = host.open_module()
    host.wait_until(lambda: widget.controller.network.state.name == "READY", 60)
    click_and_see(host, widget)
    panel = widget.panel
    widget.exit()
    widget.cleanup()
    widget.cleanup()
    assert not panel._strips._observers
    assert threading.active_count() == threads
    host.process_events(0.1)
    assert observed() - before <= len(nodes(host))


def nodes(host):
    return [host.scene.GetNthNode(n) for n in range(host.scene.GetNumberOfNodes())]


def _itself_enabled(widget) -> bool:
    """A collapsed group disables what is in it, without the widget's own doing."""
    return widget.isEnabledTo(widget.parentWidget())
