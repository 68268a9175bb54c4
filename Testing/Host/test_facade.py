"""The facades behave as PythonQt does, and what PythonQt does not have is an error. Qt only, no scene."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("PySide6", reason="the PySide6-Essentials wheel is not installed")
pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
pytestmark = pytest.mark.slicer


@pytest.fixture(autouse=True)
def _application(drawn: None):
    import os

    from .facade import qt

    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    return qt.QApplication.instance() or qt.QApplication(["test"])


@pytest.fixture
def qt():
    from .facade import qt

    return qt


def test_property_is_an_attribute_and_not_a_method(qt):
    button = qt.QPushButton("Apply")
    assert button.text == "Apply"
    button.text = "OK"
    assert button.text == "OK"
    button.name = "applyButton"
    assert button.objectName == button.name == "applyButton"
    box = qt.QComboBox()
    box.addItem("first", 1)
    assert (box.count, box.currentIndex, box.currentText, box.currentData) == (1, 0, "first", 1)
    with pytest.raises(TypeError):
        button.text()


def test_signal_passes_as_many_arguments_as_the_function_takes(qt):
    got = []
    button = qt.QPushButton()
    button.checkable = True
    assert button.connect("clicked(bool)", lambda value: got.append(bool(value))) is True
    button.connect("clicked(bool)", lambda: got.append("none"))
    button.connect("clicked()", lambda *all_of_them: got.append(all_of_them))
    button.clicked.connect(lambda checked: got.append(("attribute", checked)))
    button.click()
    assert got == [True, "none", (), ("attribute", True)]


def test_default_argument_of_a_slot_is_overwritten_as_pythonqt_does(qt):
    got = []
    button = qt.QPushButton()
    button.checkable = True
    button.connect("clicked(bool)", lambda mode="mine": got.append(mode))
    button.click()
    assert got == [True]


def test_disconnected_function_is_not_called(qt):
    got = []

    def listener():
        got.append(1)

    timer = qt.QTimer()
    timer.connect("timeout()", listener)
    timer.timeout()
    assert timer.disconnect("timeout()", listener) is True
    timer.timeout()
    assert got == [1]
    assert timer.disconnect("timeout()", listener) is False


@pytest.mark.parametrize("signature", ["klicked()", "clicked(int)", "clicked", "setText(QString)"])
def test_unknown_signal_is_an_error(qt, signature):
    with pytest.raises(AttributeError):
        qt.QPushButton().connect(signature, lambda: None)


def test_new_attribute_on_a_cpp_object_is_an_error_but_not_on_a_derived_class(qt):
    with pytest.raises(AttributeError, match="creating new attributes"):
        qt.QPushButton().mode = 1
    with pytest.raises(AttributeError, match="creating new attributes"):
        qt.QPushButton()._mode = 1

    class Strip(qt.QWidget):
        def __init__(self, parent=None):
            super().__init__(parent)
            self.slices = ()

    strip = Strip()
    strip.slices = (1, 2)
    assert strip.slices == (1, 2)
    assert strip.className() == "QWidget"


def test_unknown_attribute_wrong_value_and_read_only_property_are_errors(qt):
    label = qt.QLabel()
    with pytest.raises(AttributeError, match="no attribute named 'txt'"):
        _ = label.txt
    with pytest.raises(AttributeError, match="does not accept"):
        label.text = None
    with pytest.raises(AttributeError, match="not writable"):
        label.rect = 1
    with pytest.raises(AttributeError, match="no attribute 'QNothing'"):
        _ = qt.QNothing


def test_child_is_an_attribute_by_its_name(qt):
    parent = qt.QWidget()
    child = qt.QLabel(parent)
    child.name = "status"
    assert parent.status is child
    assert child in parent.children()


def test_deleted_object_is_distinguished_from_a_living_one(qt):
    button = qt.QPushButton()
    button.delete()
    with pytest.raises(ValueError, match="destroyed"):
        _ = button.text


def test_facades_know_which_classes_are_behind_them(qt):
    assert isinstance(qt.QPushButton(), qt.QWidget)
    assert not isinstance(qt.QPushButton(), qt.QLabel)
    assert issubclass(qt.QLabel, qt.QObject)


def test_stand_in_offers_what_pythonqt_reaches_and_no_more():
    from .ctk_widgets import ctk

    slider = ctk.ctkSliderWidget()
    got = []
    slider.connect("valueChanged(double)", got.append)
    slider.maximum = 50
    slider.value = 70
    assert (slider.value, got) == (50.0, [50.0])
    with pytest.raises(AttributeError):
        slider.setMaximum(3)  # a plain C++ method: neither a slot nor Q_INVOKABLE
    with pytest.raises(AttributeError):
        slider.connect("valueChanged(int)", got.append)
    with pytest.raises(AttributeError, match="no stand-in"):
        _ = ctk.ctkDoubleRangeSlider


def test_range_widget_keeps_its_values_in_order():
    from .ctk_widgets import ctk

    widget = ctk.ctkRangeWidget()
    got = []
    widget.connect("valuesChanged(double,double)", lambda low, high: got.append((low, high)))
    widget.setRange(0, 40)
    widget.setValues(5, 30)
    widget.maximumValue = 3
    assert (widget.minimumValue, widget.maximumValue) == (3.0, 3.0)
    assert got[-2:] == [(5.0, 30.0), (3.0, 3.0)]


def test_collapsed_header_hides_its_contents_and_brings_back_only_what_was_visible(qt):
    from .ctk_widgets import ctk

    header = ctk.ctkCollapsibleButton()
    layout = qt.QVBoxLayout(header)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    shown.objectName = "shown"  # a child with a name must be found as well
    layout.addWidget(shown)
    layout.addWidget(hidden)
    header.show()
    hidden.hide()
    got = []
    header.connect("contentsCollapsed(bool)", got.append)
    header.collapsed = True
    assert not shown.isVisible()
    shown.setVisible(True)
    assert not shown.isVisible()
    header.collapsed = False
    assert shown.isVisible()
    assert not hidden.isVisible()
    assert got == [True, False]


UI = """<ui version="4.0"><class>Form</class><widget class="QWidget" name="Form">
<layout class="QVBoxLayout" name="rows">
<item><widget class="{kind}" name="thing"><property name="{name}"><{type}>{value}</{type}></property></widget></item>
</layout></widget><connections>{connections}</connections></ui>"""
LINK = """<connection><sender>thing</sender><signal>{signal}</signal>
<receiver>Form</receiver><slot>{slot}</slot></connection>"""


def load(path: Path, connections: str = "", **parts: str):
    from . import ui_loader  # noqa: F401
    from .facade import qt

    parts = {"kind": "QCheckBox", "name": "text", "type": "string", "value": "Yes"} | parts
    path.write_text(UI.format(connections=connections, **parts), encoding="utf-8")
    file = qt.QFile(str(path))
    file.open(qt.QFile.ReadOnly)
    return qt.QUiLoader().load(file)


def test_ui_file_is_loaded_with_facades_inside(tmp_path):
    form = load(tmp_path / "a.ui", LINK.format(signal="toggled(bool)", slot="setDisabled(bool)"))
    assert form.thing.text == "Yes"
    form.thing.checked = True
    assert form.enabled is False
    assert form.layout().className() == "QVBoxLayout"


@pytest.mark.parametrize(
    "parts",
    [
        {"kind": "QChequeBox"},
        {"kind": "ctkDoubleSlider"},
        {"kind": "qMRMLVolumeWidget"},
        {"name": "txet"},
        {"connections": LINK.format(signal="tuggled(bool)", slot="setDisabled(bool)")},
        {"connections": LINK.format(signal="toggled(bool)", slot="disable(bool)")},
    ],
    ids=["class", "ctk class", "qMRML class", "property", "signal", "slot"],
)
def test_what_a_ui_file_invents_is_an_error(tmp_path, parts):
    from .ui_loader import UiError

    with pytest.raises(UiError):
        load(tmp_path / "a.ui", **parts)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="True, False and None are immortal since Python 3.12")
def test_references_to_constants_last_for_many_signals():
    assert min(sys.getrefcount(constant) for constant in (True, False, None)) > 1 << 39
