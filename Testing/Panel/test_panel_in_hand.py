"""Keys, strips and numbers of the panel with the real controller in SlicerHost."""

from __future__ import annotations

import numpy as np
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from Testing.Host.terminology import NAME, load_anatomy

from .conftest import click_and_see, strips


def test_range_begins_and_ends_at_the_slice_in_view_by_two_keys(host, opened):
    installed = dict(opened.panel._shortcuts._installed)
    assert not installed["range_first"].enabled, "before the first prompt the key is Slicer's"
    click_and_see(host, opened)
    index = opened.controller.review.shown_index
    opened.controller.review.show_slice(index - 3)
    host.process_events(0.1)
    host.key("[")
    opened.controller.review.show_slice(index + 4)
    host.process_events(0.1)
    host.key("]")
    assert opened.controller.editing.slice_range == (index - 3, index + 4)


def test_key_switches_between_organ_and_not_organ_while_a_tool_is_in_hand(host, opened):
    assert not dict(opened.panel._shortcuts._installed)["polarity"].enabled
    for tool, other in (("positiveButton", "negativeButton"), ("negativeButton", "positiveButton")):
        host.press(getattr(opened.ui, tool))
        host.process_events(0.05)
        host.key("T")
        host.process_events(0.05)
        assert getattr(opened.ui, other).checked
        host.key("Esc")
        host.process_events(0.05)
    host.key("D")
    host.process_events(0.05)
    assert opened.ui.scribblePositive.checked
    host.key("T")
    assert opened.ui.scribbleNegative.checked
    host.key("Esc")


def test_key_accepts_a_segment_and_begins_the_next_one_with_the_tool_in_hand(host, opened):
    host.press(opened.ui.positiveButton)
    host.click("Red", (0.0, 0.0, 1.0))
    controller = opened.controller
    assert host.wait_until(lambda: any(s.confidence is not None for s in controller.review.slices), 180)
    first = controller.inputs.segment_id
    host.key("E")
    host.process_events(0.1)
    assert len(controller.inputs.segment_ids) == 2
    assert controller.inputs.segment_id != first
    assert controller.editing.placing is not None
    host.click("Red", (4.0, 4.0, 1.0))
    assert host.wait_until(lambda: any(s.confidence is not None for s in controller.review.slices), 180)
    controller.inputs.select_segment(first)
    assert [
        s.state.name
        for s in controller.review.slices
        if s.confidence is not None or s.state.name == "ACCEPTED"
    ] == ["ACCEPTED"]
    host.key("Esc")


def test_cancel_says_at_once_that_it_cancels(host, opened):
    click_and_see(host, opened)
    ui, controller = opened.ui, opened.controller
    host.press(ui.propagateButton)
    assert controller.runs.busy
    opened.panel._propagate.cancel()
    assert ui.cancelButton.text == "Canceling..."
    assert not ui.cancelButton.enabled
    assert host.wait_until(lambda: not controller.runs.busy, 60)
    host.process_events(0.1)
    assert ui.cancelButton.text == "Cancel"


def test_buttons_show_the_letters_that_do_the_same(host, opened):
    ui = opened.ui
    texts = {
        name: getattr(ui, name).text
        for name in ("positiveButton", "boxButton", "scribbleButton", "acceptButton")
    }
    assert texts == {
        "positiveButton": "Point +\n(P)",
        "boxButton": "Box\n(X)",
        "scribbleButton": "Scribble\n(D)",
        "acceptButton": "Accept slice (A)",
    }


def shown_at(panel, widget) -> QtCore.QRect:
    """Where a widget is in the visible part of the panel."""
    viewport = panel.viewport()
    corner = QtWidgets.QWidget.mapTo(widget, viewport, QtCore.QPoint(0, 0))
    return QtCore.QRect(corner, QtWidgets.QWidget.size(widget))


def test_every_step_is_in_sight_on_a_small_screen_and_nothing_moves_while_it_runs(host, opened):
    host.window.resize(1280, 800)
    host.process_events(0.05)
    panel, ui, controller = host.window._panel, opened.ui, opened.controller
    assert not ui.inputsSection.collapsed
    click_and_see(host, opened)
    host.process_events(0.1)
    steps = [ui.propagateButton, ui.undoButton, ui.redoButton, ui.boxButton, ui.currentMaskButton]
    steps += [ui.acceptAllButton, ui.changesButton, ui.reachBox, ui.surfaceButton, ui.exportButton]
    visible = QtWidgets.QWidget.rect(panel.viewport())
    hidden = [step.objectName for step in steps if not visible.contains(shown_at(panel, step))]
    assert hidden == []
    places = [shown_at(panel, step) for step in steps[1:]]
    host.press(ui.propagateButton)
    host.process_events(0.1)
    assert controller.runs.busy
    assert ui.progressBar.isVisible()
    assert [shown_at(panel, step) for step in steps[1:]] == places
    host.press(ui.cancelButton)
    assert host.wait_until(lambda: not controller.runs.busy, 60)


def test_inputs_fold_to_a_line_that_says_what_was_chosen_and_can_be_unfolded(host, opened):
    section = opened.ui.inputsSection
    assert section.text == "Inputs"
    click_and_see(host, opened)
    host.process_events(0.1)
    assert section.collapsed
    assert opened.controller.inputs.volume_node.GetName() in section.text
    assert opened.ui.modelSelector.currentText in section.text
    section.collapsed = False
    host.process_events(0.1)
    assert section.text == "Inputs"
    opened.controller.history.undo()
    host.process_events(0.1)
    assert not section.collapsed


def test_table_is_as_tall_as_its_rows(host, opened):
    table, heights = opened.ui.segmentsTable, []
    for _count in range(3):
        opened.controller.inputs.add_segment()
        host.process_events(0.1)
        heights.append(table.height)
    assert heights == sorted(set(heights))


def test_views_do_not_move_when_the_first_mask_comes(host, opened):
    assert [strip.visible for strip in strips(host)] == [True, True, True]
    before = [host._canvas(name).height for name in ("Red", "Green", "Yellow")]
    click_and_see(host, opened)
    assert [host._canvas(name).height for name in ("Red", "Green", "Yellow")] == before


def test_panel_is_refreshed_while_changes_follow_each_other_without_a_pause(host, opened):
    from MedSAMSlicerLib.app.state import Topic

    refreshed = []
    for _ in range(30):
        opened.panel._changed(Topic.VIEW)
        host.process_events(0.005)
        refreshed.append(not opened.panel._topics)
    assert any(refreshed)


def test_strip_and_picture_are_as_sharp_as_the_screen(host, opened, monkeypatch):
    strip, picture = strips(host)[0], opened.ui.slicePicture
    given, set_pixmap = (
        {},
        QtWidgets.QLabel.setPixmap,
    )  # a label gives its pixmap back as sharp as the real screen

    def note(label, pixmap):
        given[label.objectName] = pixmap
        set_pixmap(label, pixmap)

    monkeypatch.setattr(QtWidgets.QLabel, "devicePixelRatioF", lambda label: 2.0)
    monkeypatch.setattr(QtWidgets.QLabel, "setPixmap", note)
    opened.panel._strips._strips[0][0].paint()
    assert given[strip.objectName].devicePixelRatio() == 2.0
    assert given[strip.objectName].width() == 2 * strip.width
    host.show_slice("Red", (0.0, 0.0, 5.0))
    assert host.wait_until(lambda: picture.objectName in given, 10)
    assert given[picture.objectName].devicePixelRatio() == 2.0


def test_keys_work_in_the_window_of_a_detached_view(host, opened):
    import qt
    import slicer

    view = host.view("Green")
    window = qt.QWidget()
    qt.QVBoxLayout(window).addWidget(view)
    window.show()
    slicer.app.layoutManager().layoutChanged(0)
    host.process_events(0.05)
    window.activateWindow()
    host.process_events(0.05)
    QTest.keyClick(host._canvas("Green"), Qt.Key.Key_P)
    host.process_events(0.05)
    assert opened.controller.editing.placing is not None
    QTest.keyClick(host._canvas("Green"), Qt.Key.Key_Escape)
    host.process_events(0.05)
    assert opened.controller.editing.placing is None
    host.leave_module()
    QTest.keyClick(host._canvas("Green"), Qt.Key.Key_P)
    assert opened.controller.editing.placing is None


def test_waits_for_results_are_short_while_the_mouse_moves_over_a_view(host, opened):
    poller = opened.controller._work.poller
    host.process_events(0.4)
    assert not poller.user_is_active
    host.move("Red", (5.0, 5.0, 1.0))
    host.move("Red", (6.0, 5.0, 1.0))
    assert poller.user_is_active


def test_volume_and_overlap_of_the_selected_segment_are_numbers_beside_it(host, opened):
    import slicer

    controller, ui = opened.controller, opened.ui
    controller.inputs.add_segment("first")
    first, node, volume = (
        controller.inputs.segment_id,
        controller.inputs.segmentation_node,
        controller.inputs.volume_node,
    )
    second = controller.inputs.add_segment("second")
    array = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    array[4:8, 10:20, 10:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, first, volume)
    array[:] = 0
    array[6:10, 15:25, 15:25] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, second, volume)
    wanted = "1.80 mL, 0.225 mL of it also in first"
    assert host.wait_until(lambda: ui.segmentStateLabel.text.endswith(wanted), 10), ui.segmentStateLabel.text
    controller.inputs.select_segment(first)
    wanted = "1.80 mL, 0.225 mL of it also in second"
    assert host.wait_until(lambda: ui.segmentStateLabel.text.endswith(wanted), 10), ui.segmentStateLabel.text


def test_open_section_is_as_tall_as_its_contents_on_a_tall_screen(host, ball):
    host.window.resize(1280, 1100)
    ui = host.open_module().ui
    for name in ("inputsSection", "propagateSection", "correctSection", "segmentsSection"):
        getattr(ui, name).collapsed = True
    ui.promptsSection.collapsed = False
    host.process_events(0.05)
    assert ui.promptsSection.height == ui.promptsSection.sizeHint.height()


def test_name_of_slicers_terminology_is_completed_and_says_what_the_segment_is(host, ball):
    import vtk

    load_anatomy()
    ui = (widget := host.open_module()).ui
    completer = ui.segmentNameEdit.completer()
    ui.segmentNameEdit.setFocus()
    QTest.keyClicks(ui.segmentNameEdit, "kid")
    found = completer.completionModel()
    offered = [found.data(found.index(row, 0)) for row in range(found.rowCount())]
    assert offered == ["Kidney", "Left kidney", "Right kidney"]
    assert completer.popup().isVisible()
    completer.popup().hide()
    ui.segmentNameEdit.text = "left KIDNEY"
    ui.segmentNameEdit.setFocus()
    QTest.keyClick(ui.segmentNameEdit, Qt.Key.Key_Return)
    host.process_events(0.05)
    assert not ui.segmentNameEdit.hasFocus(), "the next letters are shortcuts again"
    ui.segmentNameEdit.text = "lesion 3"
    host.press(ui.addSegmentButton)
    host.process_events(0.05)
    assert ui.segmentNameEdit.text == ""
    segmentation = widget.controller.inputs.segmentation_node.GetSegmentation()
    kidney, lesion = (segmentation.GetSegment(each) for each in widget.controller.inputs.segment_ids)
    assert (kidney.GetName(), lesion.GetName()) == ("left KIDNEY", "lesion 3")
    entry = vtk.reference("")
    assert kidney.GetTag("TerminologyEntry", entry)
    assert str(entry).split("~")[:4] == [
        NAME,
        "SCT^123037004^Anatomical Structure",
        "SCT^64033007^Kidney",
        "SCT^7771000^Left",
    ]
