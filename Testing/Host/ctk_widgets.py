"""Module `ctk`: stand-ins of the CTK widgets that the module uses. Sources are in commontk/CTK, folder Libs/Widgets.

PythonQt reaches properties, slots, signals and Q_INVOKABLE methods of a CTK class; a plain C++ method such as
ctkSliderWidget::setMinimum is out of its reach, and so it is here.
"""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from .facade import qt
from .range_slider import RangeSlider
from .stand_ins import stand_in, stored

ctk = types.ModuleType("ctk", "PythonQt's name for the CTK widgets.")
_HEADER = 22
_ALIGN_LEFT = int(QtCore.Qt.AlignmentFlag.AlignLeft.value)


def _offered(kind: type) -> type:
    setattr(ctk, kind.__name__, stand_in(kind))
    return kind


def _missing(name: str) -> Any:
    raise AttributeError(
        f"module 'ctk' has no attribute '{name}', or it has no stand-in in Testing/Host/ctk_widgets.py"
    )


ctk.__getattr__ = _missing  # type: ignore[method-assign]


@_offered
class ctkCollapsibleButton(qt.QAbstractButton):
    """ctkCollapsibleButton.h: a header that shows or hides what is in its layout."""

    SIGNALS = {"contentsCollapsed(bool)": "contentsCollapsed"}
    contentsCollapsed = Signal(bool)

    def __init__(self, text: Any = None, parent: Any = None) -> None:
        if not isinstance(text, str) and text is not None:
            text, parent = None, text
        super().__init__(parent)
        self._collapsed = False
        self.setCheckable(True)
        self.setChecked(True)
        QtWidgets.QWidget.setContentsMargins(self, 0, _HEADER, 0, 0)
        QtWidgets.QWidget.setSizePolicy(
            self, QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred
        )
        if text is not None:
            self.text = text
        self.toggled.connect(lambda checked: self._collapse(not checked))

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self.setChecked(not collapsed)
        for child in self._contents():
            if collapsed:
                child.setProperty("hiddenByHeader", not child.isHidden())
                child.hide()
                child.installEventFilter(self)
                continue
            child.removeEventFilter(self)
            if child.property("hiddenByHeader") in (True, None):
                child.show()
        self.setMaximumHeight(_HEADER + self.collapsedHeight if collapsed else 16777215)
        self.updateGeometry()
        self.contentsCollapsed(collapsed)

    def eventFilter(self, child: Any, event: QtCore.QEvent) -> bool:
        """What is to be shown while the header is collapsed waits until it is opened."""
        if event.type() == QtCore.QEvent.Type.ShowToParent and self._collapsed:
            child.setProperty("hiddenByHeader", True)
            child.hide()
        return False

    def _contents(self) -> list[Any]:
        return [c for c in self.children() if c.isWidgetType() and not c.isWindow()]

    collapsed = Property(bool, lambda self: self._collapsed, lambda self, value: self._collapse(value))
    collapsedHeight = stored(int, "collapsedHeight", 10)
    flat = stored(bool, "flat", False)
    contentsFrameShape = stored(int, "contentsFrameShape", 0)
    contentsFrameShadow = stored(int, "contentsFrameShadow", 16)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)
    contentsMidLineWidth = stored(int, "contentsMidLineWidth", 0)
    buttonTextAlignment = stored(int, "buttonTextAlignment", _ALIGN_LEFT)
    indicatorAlignment = stored(int, "indicatorAlignment", _ALIGN_LEFT)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        """Only the header is the button."""
        return 0 <= position.y() < _HEADER

    def sizeHint(self) -> QtCore.QSize:
        """As large as the contents and the header."""
        layout = self.layout()
        inside = QtCore.QSize(0, 0) if self._collapsed or layout is None else layout.sizeHint()
        return QtCore.QSize(max(120, inside.width()), max(_HEADER + 4, inside.height()))

    minimumSizeHint = sizeHint

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """A bar with a triangle and the title, and a faint frame around the contents."""
        painter = QtGui.QPainter(self)
        colors = QtWidgets.QWidget.palette(self)
        bar = QtCore.QRect(0, 0, self.width, _HEADER - 2)
        painter.fillRect(bar, colors.color(QtGui.QPalette.ColorRole.Button))
        painter.setPen(colors.color(QtGui.QPalette.ColorRole.Mid))
        painter.drawRect(bar.adjusted(0, 0, -1, -1))
        if not self._collapsed:
            painter.drawRect(0, bar.height() - 1, self.width - 1, self.height - bar.height())
        option = QtWidgets.QStyleOption()
        option.initFrom(self)
        option.rect = QtCore.QRect(6, (bar.height() - 10) // 2, 10, 10)
        arrow = QtWidgets.QStyle.PrimitiveElement
        shape = arrow.PE_IndicatorArrowRight if self._collapsed else arrow.PE_IndicatorArrowDown
        QtWidgets.QWidget.style(self).drawPrimitive(shape, option, painter, self)
        painter.setPen(colors.color(QtGui.QPalette.ColorRole.ButtonText))
        font = QtGui.QFont(self.font)
        font.setBold(True)
        painter.setFont(font)
        middle = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.TextFlag.TextShowMnemonic
        painter.drawText(bar.adjusted(22, 0, 0, 0), int(middle), self.text)
        painter.end()


@_offered
class ctkCollapsibleGroupBox(qt.QGroupBox):
    """ctkCollapsibleGroupBox.h: a group box that is closed and opened with its title."""

    def __init__(self, title: Any = None, parent: Any = None) -> None:
        if not isinstance(title, str) and title is not None:
            title, parent = None, title
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        if title is not None:
            self.title = title
        self.toggled.connect(self._expand)

    collapsed = Property(
        bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value)
    )
    collapsedHeight = stored(int, "collapsedHeight", 14)

    def _expand(self, expanded: bool) -> None:
        for child in (c for c in self.children() if c.isWidgetType()):
            if not expanded:
                child.setProperty("hiddenByTitle", not child.isHidden())
                child.hide()
            elif child.property("hiddenByTitle") is not False:
                child.show()
        self.setMaximumHeight(16777215 if expanded else self.fontMetrics().height() + self.collapsedHeight)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """A triangle instead of the check mark."""
        painter = QtGui.QPainter(self)
        style = QtWidgets.QWidget.style(self)
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        if self.isChecked():
            frame = QtWidgets.QStyleOptionFrame()
            frame.initFrom(self)
            control, part = QtWidgets.QStyle.ComplexControl.CC_GroupBox, QtWidgets.QStyle.SubControl
            frame.rect = style.subControlRect(control, option, part.SC_GroupBoxFrame, self)
            style.drawPrimitive(QtWidgets.QStyle.PrimitiveElement.PE_FrameGroupBox, frame, painter, self)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        height = self.fontMetrics().height()
        arrow.rect = QtCore.QRect(4, (height - 9) // 2, 9, 9)
        kind = QtWidgets.QStyle.PrimitiveElement
        shape = kind.PE_IndicatorArrowDown if self.isChecked() else kind.PE_IndicatorArrowRight
        style.drawPrimitive(shape, arrow, painter, self)
        painter.setPen(self.palette.color(QtGui.QPalette.ColorRole.WindowText))
        painter.drawText(
            QtCore.QRect(18, 0, self.width - 20, height),
            int(QtCore.Qt.AlignmentFlag.AlignVCenter),
            self.title,
        )
        painter.end()


@_offered
class ctkSliderWidget(qt.QWidget):
    """ctkSliderWidget.h: a slider for floating-point numbers with a spin box."""

    SIGNALS = {
        "valueChanged(double)": "valueChanged",
        "valueIsChanging(double)": "valueIsChanging",
        "decimalsChanged(int)": "decimalsChanged",
    }
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)
    _STEPS = 10000

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._value = 0.0
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._slider.setRange(0, self._STEPS)
        self._spin_box = QtWidgets.QDoubleSpinBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin_box)
        self._slider.valueChanged.connect(self._slid)
        self._slider.sliderReleased.connect(lambda: self._slid(self._slider.value(), released=True))
        self._spin_box.valueChanged.connect(self._change)
        self._show()

    def _slid(self, step: int, released: bool = False) -> None:
        value = self.minimum + step / self._STEPS * (self.maximum - self.minimum)
        value = self.minimum + round((value - self.minimum) / self.singleStep) * self.singleStep
        if self._slider.isSliderDown() and not self.tracking and not released:
            self.valueIsChanging(value)
        else:
            self._change(value)

    def _change(self, value: float) -> None:
        value = round(min(max(value, self.minimum), self.maximum), self.decimals)
        if value != self._value:
            self._value = value
            self._show()
            self.valueChanged(value)

    def _limits(self) -> None:
        self._change(self._value)
        self._show()

    def _show(self) -> None:
        for widget in (self._spin_box, self._slider):
            widget.blockSignals(True)
        self._spin_box.setDecimals(self.decimals)
        self._spin_box.setRange(self.minimum, self.maximum)
        self._spin_box.setSingleStep(self.singleStep)
        self._spin_box.setPrefix(self.prefix)
        self._spin_box.setSuffix(self.suffix)
        self._spin_box.setValue(self._value)
        self._spin_box.setVisible(self.spinBoxVisible)
        extent = self.maximum - self.minimum
        if not self._slider.isSliderDown():
            self._slider.setValue(round((self._value - self.minimum) / extent * self._STEPS) if extent else 0)
        for widget in (self._spin_box, self._slider):
            widget.blockSignals(False)

    value = Property(float, lambda self: self._value, lambda self, value: self._change(value))
    minimum = stored(float, "minimum", 0.0, lambda self: self._limits())
    maximum = stored(float, "maximum", 100.0, lambda self: self._limits())
    singleStep = stored(float, "singleStep", 1.0, lambda self: self._show())
    pageStep = stored(float, "pageStep", 10.0)
    decimals = stored(int, "decimals", 2, lambda self: self._show())
    prefix = stored(str, "prefix", "", lambda self: self._show())
    suffix = stored(str, "suffix", "", lambda self: self._show())
    tracking = stored(bool, "tracking", True)
    spinBoxVisible = stored(bool, "spinBoxVisible", True, lambda self: self._show())
    tickInterval = stored(float, "tickInterval", 0.0)

    def setValue(self, value: float) -> None:
        """Slot."""
        self._change(value)

    def setDecimals(self, decimals: int) -> None:
        """Slot."""
        self.decimals = decimals

    def setSpinBoxVisible(self, visible: bool) -> None:
        """Slot."""
        self.spinBoxVisible = visible


@_offered
class ctkRangeWidget(qt.QWidget):
    """ctkRangeWidget.h: two handles on one slider, with a spin box on either side."""

    SIGNALS = {
        "minimumValueChanged(double)": "minimumValueChanged",
        "minimumValueIsChanging(double)": "minimumValueIsChanging",
        "maximumValueChanged(double)": "maximumValueChanged",
        "maximumValueIsChanging(double)": "maximumValueIsChanging",
        "valuesChanged(double,double)": "valuesChanged",
        "rangeChanged(double,double)": "rangeChanged",
    }
    minimumValueChanged = Signal(float)
    minimumValueIsChanging = Signal(float)
    maximumValueChanged = Signal(float)
    maximumValueIsChanging = Signal(float)
    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._low, self._high = 0.0, 99.0
        self._slider = RangeSlider(self._slid)
        self._boxes = (QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox())
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._boxes[0])
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._boxes[1])
        self._boxes[0].valueChanged.connect(lambda value: self._change(value, self._high))
        self._boxes[1].valueChanged.connect(lambda value: self._change(self._low, value))
        self._show()

    def _slid(self, low: float, high: float, dragging: bool) -> None:
        low, high = (
            self.minimum + round(part * self._extent() / self.singleStep) * self.singleStep
            for part in (low, high)
        )
        if dragging and not self.tracking:
            self.minimumValueIsChanging(low)
            self.maximumValueIsChanging(high)
        else:
            self._change(low, high)

    def _extent(self) -> float:
        return self.maximum - self.minimum

    def _change(self, low: float, high: float) -> None:
        low, high = (
            round(min(max(v, self.minimum), self.maximum), self.decimals) for v in sorted((low, high))
        )
        old, self._low, self._high = (self._low, self._high), low, high
        self._show()
        if low != old[0]:
            self.minimumValueChanged(low)
        if high != old[1]:
            self.maximumValueChanged(high)
        if (low, high) != old:
            self.valuesChanged(low, high)

    def _limits(self) -> None:
        self._change(self._low, self._high)
        self.rangeChanged(self.minimum, self.maximum)

    def _show(self) -> None:
        limits = ((self.minimum, self._high), (self._low, self.maximum))  # no number passes the other
        for box, value, (least, most) in zip(self._boxes, (self._low, self._high), limits, strict=True):
            box.blockSignals(True)
            box.setDecimals(self.decimals)
            box.setRange(least, most)
            box.setSingleStep(self.singleStep)
            box.setPrefix(self.prefix)
            box.setSuffix(self.suffix)
            box.setValue(value)
            box.blockSignals(False)
        extent = self._extent() or 1.0
        self._slider.show_values((self._low - self.minimum) / extent, (self._high - self.minimum) / extent)

    minimumValue = Property(
        float, lambda self: self._low, lambda self, value: self._change(value, max(value, self._high))
    )
    maximumValue = Property(
        float, lambda self: self._high, lambda self, value: self._change(min(value, self._low), value)
    )
    minimum = stored(float, "minimum", 0.0, lambda self: self._limits())
    maximum = stored(float, "maximum", 99.0, lambda self: self._limits())
    singleStep = stored(float, "singleStep", 1.0, lambda self: self._show())
    decimals = stored(int, "decimals", 2, lambda self: self._show())
    prefix = stored(str, "prefix", "", lambda self: self._show())
    suffix = stored(str, "suffix", "", lambda self: self._show())
    tickInterval = stored(float, "tickInterval", 0.0)
    autoSpinBoxWidth = stored(bool, "autoSpinBoxWidth", True)
    tracking = stored(bool, "tracking", True)
    symmetricMoves = stored(bool, "symmetricMoves", False)

    def setRange(self, minimum: float, maximum: float) -> None:
        """Q_INVOKABLE."""
        self.__dict__["_stored_minimum"], self.__dict__["_stored_maximum"] = float(minimum), float(maximum)
        self._limits()

    def setMinimumValue(self, value: float) -> None:
        """Slot."""
        self.minimumValue = value

    def setMaximumValue(self, value: float) -> None:
        """Slot."""
        self.maximumValue = value

    def setValues(self, low: float, high: float) -> None:
        """Slot."""
        self._change(low, high)

    def setDecimals(self, decimals: int) -> None:
        """Slot."""
        self.decimals = decimals
