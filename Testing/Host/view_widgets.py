"""A view with its controller bar above it: qMRMLSliceWidget and qMRMLThreeDWidget (Libs/MRML/Widgets)."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .ctk_widgets import ctk
from .facade import qt
from .qmrml_widgets import qMRMLWidget
from .stand_ins import stand_in
from .views import qMRMLSliceView, qMRMLThreeDView


def _icon(kind: str) -> QtGui.QIcon:
    """Four corners, or a cross in a ring."""
    pixmap = QtGui.QPixmap(16, 16)
    pixmap.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(pixmap)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(QtGui.QPen(QtGui.QColor("black"), 1.6))
    if kind == "fit":
        for x, y in ((3, 3), (13, 3), (3, 13), (13, 13)):
            painter.drawLine(x, y, x + (4 if x < 8 else -4), y)
            painter.drawLine(x, y, x, y + (4 if y < 8 else -4))
    else:
        painter.drawEllipse(QtCore.QPointF(8, 8), 4.5, 4.5)
        painter.drawLine(8, 1, 8, 15)
        painter.drawLine(1, 8, 15, 8)
    painter.end()
    return QtGui.QIcon(pixmap)


@stand_in
class qMRMLViewControllerBar(qMRMLWidget):
    """qMRMLViewControllerBar.h: the colored bar that every view has."""

    def __init__(self, letter: str, color: QtGui.QColor, parent: Any = None) -> None:
        super().__init__(parent)
        outer = qt.QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        self._bar = qt.QWidget()
        self._bar.setObjectName("BarWidget")
        self._bar_layout = qt.QHBoxLayout(self._bar)
        self._bar_layout.setContentsMargins(2, 1, 4, 1)
        self._bar_layout.setSpacing(4)
        outer.addWidget(self._bar)
        self._label = qt.QLabel(letter)
        self._label.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self._label.setFixedWidth(18)
        self._bar_layout.addWidget(self._label)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Fixed)
        self._bar.setAttribute(QtCore.Qt.WidgetAttribute.WA_StyledBackground)
        self._bar.setStyleSheet(
            f"#BarWidget {{ background: {color.name()}; }} #BarWidget > QLabel {{ color: black; }}"
        )

    def barLayout(self) -> Any:
        """qMRMLViewControllerBar::barLayout."""
        return self._bar_layout

    def barWidget(self) -> Any:
        """qMRMLViewControllerBar::barWidget."""
        return self._bar

    def viewLabel(self) -> Any:
        """qMRMLViewControllerBar::viewLabel."""
        return self._label


@stand_in
class qMRMLSliceControllerWidget(qMRMLViewControllerBar):
    """qMRMLSliceControllerWidget.h: which slice, with a slider in mm."""

    def __init__(self, logic: Any, node: Any, parent: Any = None) -> None:
        color = QtGui.QColor.fromRgbF(*node.GetLayoutColor())
        super().__init__(node.GetLayoutLabel(), color, parent)
        self._logic, self._node = logic, node
        self._updating = False
        self._fit = qt.QToolButton()
        self._fit.setIcon(_icon("fit"))
        self._fit.setToolTip("Fit to window")
        self._fit.setAutoRaise(True)
        self._fit.connect("clicked()", self.fitSliceToBackground)
        self._slider = ctk.ctkSliderWidget()
        self._slider.suffix = "mm"
        self._slider.decimals = 3
        self._bar_layout.addWidget(self._fit)
        self._bar_layout.addWidget(self._slider, 1)
        self._slider.connect("valueChanged(double)", self._slid)
        self._orientation = qt.QLabel(node.GetOrientation())
        self._bar_layout.addWidget(self._orientation)
        changed = vtk.vtkCommand.ModifiedEvent
        self._observed = [(thing, thing.AddObserver(changed, self._show)) for thing in (logic, node)]
        self._show()

    def _show(self, *_: Any) -> None:
        """Range, step and place of the slider, as qMRMLSliceControllerWidgetPrivate::onSliceLogicModifiedEvent."""
        if self._updating:
            return
        self._updating = True
        bounds = [0.0] * 6
        self._logic.GetLowestVolumeSliceBounds(bounds)
        step = abs(self._logic.GetLowestVolumeSliceSpacing()[2]) or 1.0
        if bounds[4] < bounds[5]:
            self._slider.minimum, self._slider.maximum = bounds[4] + step / 2, bounds[5] - step / 2
        self._slider.singleStep = step
        self._slider.value = self._logic.GetSliceOffset()
        self._orientation.text = self._node.GetOrientation()
        self._updating = False

    def _slid(self, value: float) -> None:
        if not self._updating:
            self.setSliceOffsetValue(value)

    def _release(self) -> None:
        for thing, tag in self._observed:
            thing.RemoveObserver(tag)
        self._observed.clear()

    def setSliceOffsetValue(self, offset: float) -> None:
        """Slot: show the slice at an offset in mm along the normal of the view."""
        self._logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
        self._logic.SetSliceOffset(offset)
        self._logic.EndSliceNodeInteraction()

    def fitSliceToBackground(self) -> None:
        """Slot."""
        self._logic.FitSliceToBackground()
        self._logic.SnapSliceOffsetToIJK()

    def sliceOffsetSlider(self) -> Any:
        """Q_INVOKABLE; in Slicer a qMRMLSliderWidget, which has the slots and signals of ctkSliderWidget."""
        return self._slider

    def fitToWindowToolButton(self) -> Any:
        """Q_INVOKABLE."""
        return self._fit

    def mrmlSliceNode(self) -> Any:
        """Q_INVOKABLE."""
        return self._node

    def sliceLogic(self) -> Any:
        """Q_INVOKABLE."""
        return self._logic


@stand_in
class qMRMLSliceWidget(qMRMLWidget):
    """qMRMLSliceWidget.h: controller above the slice view, in a QVBoxLayout (Resources/UI/qMRMLSliceWidget.ui)."""

    def __init__(self, application: Any, name: str, orientation: str) -> None:
        super().__init__()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application.logic)
        application.logic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(application.scene)
        self._view = qMRMLSliceView(self._logic, name, orientation)
        self._view.setObjectName("SliceView")
        self._controller = qMRMLSliceControllerWidget(self._logic, self._view.mrmlSliceNode())
        self._controller.setObjectName("SliceController")
        self.setObjectName(f"qMRMLSliceWidget{name}")
        self.setMRMLScene(application.scene)
        layout = qt.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._controller)
        below = qt.QHBoxLayout()
        below.addWidget(self._view)
        layout.addLayout(below, 1)

    def sliceController(self) -> Any:
        """Q_INVOKABLE."""
        return self._controller

    def sliceView(self) -> Any:
        """Q_INVOKABLE."""
        return self._view

    def sliceLogic(self) -> Any:
        """Q_INVOKABLE."""
        return self._logic

    def mrmlSliceNode(self) -> Any:
        """Q_INVOKABLE."""
        return self._view.mrmlSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        """Q_INVOKABLE."""
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        """Slot."""
        self._controller.fitSliceToBackground()

    def _release(self) -> None:
        self._controller._release()
        self._view._release()


@stand_in
class qMRMLThreeDWidget(qMRMLWidget):
    """qMRMLThreeDWidget.h: controller above the 3-D view."""

    def __init__(self, application: Any, name: str) -> None:
        super().__init__()
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(application.logic)
        self._logic.SetMRMLScene(application.scene)
        application.logic.GetViewLogics().AddItem(self._logic)
        self._view = qMRMLThreeDView(self._logic, name)
        self._controller = qMRMLViewControllerBar(name, QtGui.QColor(140, 140, 190))
        center = qt.QToolButton()
        center.setIcon(_icon("center"))
        center.setToolTip("Center the 3-D view")
        center.setAutoRaise(True)
        center.connect("clicked()", lambda: (self._view.resetFocalPoint(), self._view.resetCamera()))
        self._controller.barLayout().addWidget(center)
        self._controller.barLayout().addStretch(1)
        self.setMRMLScene(application.scene)
        layout = qt.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._controller)
        layout.addWidget(self._view, 1)

    def threeDView(self) -> Any:
        """Q_INVOKABLE."""
        return self._view

    def threeDController(self) -> Any:
        """Q_INVOKABLE."""
        return self._controller

    def viewLogic(self) -> Any:
        """Q_INVOKABLE."""
        return self._logic

    def mrmlViewNode(self) -> Any:
        """Q_INVOKABLE."""
        return self._view.mrmlViewNode()

    def _release(self) -> None:
        self._view._release()
