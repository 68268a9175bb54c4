"""The main window: module panel on the left, four views on the right, as Slicer's four-up layout."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .facade import qt
from .module_selector import qSlicerModuleSelectorToolBar
from .mrml import Application
from .stand_ins import stand_in
from .view_widgets import qMRMLSliceWidget, qMRMLThreeDWidget

_ORIENTATIONS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
_PLACES = {"Red": (0, 0), "Green": (1, 0), "Yellow": (1, 1)}


@stand_in
class qSlicerMainWindow(qt.QMainWindow):
    """qSlicerMainWindow.h (Base/QTApp): the window that slicer.util.mainWindow() finds by its object name."""

    def __init__(self, application: Application) -> None:
        super().__init__()
        self._application = application
        self._tags: list[tuple[Any, int]] = []
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("SlicerHost")
        self.setStatusBar(qt.QStatusBar())
        self._slices = {name: qMRMLSliceWidget(application, name, o) for name, o in _ORIENTATIONS.items()}
        self._three_d = qMRMLThreeDWidget(application, "1")
        self._splitter = qt.QSplitter(QtCore.Qt.Orientation.Horizontal)
        self._panel = qt.QScrollArea()
        self._panel.setWidgetResizable(True)
        self._panel.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._panel.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self._panel.setMinimumWidth(360)
        self._splitter.addWidget(self._panel)
        self._splitter.addWidget(self._four_up())
        self._splitter.setStretchFactor(1, 1)
        self._splitter.setSizes([430, 1000])
        self.setCentralWidget(self._splitter)
        self._selector = qSlicerModuleSelectorToolBar(self)
        self.addToolBar(self._selector)
        self._tool_bar()

    def moduleSelector(self) -> Any:
        """Q_INVOKABLE."""
        return self._selector

    def _four_up(self) -> Any:
        views = qt.QWidget()
        views.setObjectName("CentralWidgetLayoutFrame")
        grid = qt.QGridLayout(views)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(3)
        for name, (row, column) in _PLACES.items():
            grid.addWidget(self._slices[name], row, column)
        grid.addWidget(self._three_d, 0, 1)
        for n in (0, 1):
            grid.setRowStretch(n, 1)
            grid.setColumnStretch(n, 1)
        return views

    def _tool_bar(self) -> None:
        """Slicer's mouse modes: move, adjust window and level."""
        bar = qt.QToolBar("Mouse mode")
        bar.setMovable(False)
        self.addToolBar(bar)
        interaction = self._application.node("vtkMRMLInteractionNode")
        modes = {
            "Move": slicer.vtkMRMLInteractionNode.ViewTransform,
            "Window/Level": slicer.vtkMRMLInteractionNode.AdjustWindowLevel,
        }
        group = QtGui.QActionGroup(self)
        actions = {}
        for text, mode in modes.items():
            action = QtGui.QAction(text, self)
            action.setCheckable(True)
            action.triggered.connect(lambda _=False, mode=mode: interaction.SetCurrentInteractionMode(mode))
            group.addAction(action)
            bar.addAction(action)
            actions[mode] = action

        def show(*_: Any) -> None:
            for mode, action in actions.items():
                action.setChecked(interaction.GetCurrentInteractionMode() == mode)

        group.setExclusive(False)
        self._tags.append((interaction, interaction.AddObserver("ModifiedEvent", show)))
        show()

    def _show_module(self, widget: Any) -> None:
        """Show a module's widget, or none; the one before is kept, which a QScrollArea would delete."""
        before = self._panel.takeWidget()
        if before is not None and before is not widget:
            before.hide()
        if widget is not None:
            self._panel.setWidget(widget)
            widget.show()

    def _release(self) -> None:
        for node, tag in self._tags:
            node.RemoveObserver(tag)
        self._tags.clear()
        for widget in (*self._slices.values(), self._three_d):
            widget._release()


def slicer_palette(dark: bool) -> QtGui.QPalette:
    """Colors of Slicer's light or dark style (Base/QTGUI/qSlicerLightPalette.cxx, qSlicerDarkPalette.cxx, by eye)."""
    role = QtGui.QPalette.ColorRole
    if dark:
        colors = {
            role.Window: "#323232", role.WindowText: "#e6e6e6", role.Base: "#262626", role.AlternateBase: "#2d2d2d",
            role.Text: "#e6e6e6", role.Button: "#414141", role.ButtonText: "#e6e6e6", role.Mid: "#565656",
            role.Dark: "#202020", role.Light: "#5a5a5a", role.Midlight: "#4a4a4a", role.Shadow: "#141414",
            role.Highlight: "#3d7fc4", role.HighlightedText: "#ffffff", role.ToolTipBase: "#414141",
            role.ToolTipText: "#e6e6e6", role.PlaceholderText: "#909090", role.Link: "#7ab4f0",
        }  # fmt: skip
    else:
        colors = {
            role.Window: "#f0f0f0", role.WindowText: "#1c1c1c", role.Base: "#ffffff", role.AlternateBase: "#f5f7fa",
            role.Text: "#1c1c1c", role.Button: "#e4e7ec", role.ButtonText: "#1c1c1c", role.Mid: "#b9bec7",
            role.Dark: "#9299a5", role.Light: "#ffffff", role.Midlight: "#e9ecf1", role.Shadow: "#6f7680",
            role.Highlight: "#2f74c0", role.HighlightedText: "#ffffff", role.ToolTipBase: "#ffffe6",
            role.ToolTipText: "#1c1c1c", role.PlaceholderText: "#7a7f87", role.Link: "#1b63b0",
        }  # fmt: skip
    palette = QtGui.QPalette()
    for name, color in colors.items():
        palette.setColor(name, QtGui.QColor(color))
    disabled = QtGui.QPalette.ColorGroup.Disabled
    for name in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(disabled, name, QtGui.QColor("#808080" if dark else "#9a9fa8"))
    return palette
