"""What Slicer's application adds to the `slicer` package: slicer.app, slicer.modules, the widgets.

`slicer.app` is qSlicerApplication (Base/QTGUI/qSlicerApplication.h, Base/QTCore/qSlicerCoreApplication.h),
`layoutManager()` is qSlicerLayoutManager (Libs/MRML/Widgets/qMRMLLayoutManager.h), `moduleManager()` is
qSlicerModuleManager (Base/QTCore/qSlicerModuleManager.h). What is not here raises.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from . import dialogs, editor_effects, packages, qmrml_widgets, scripted_module
from .ctk_widgets import ctk
from .facade import qt
from .mrml import Application
from .segment_editor import qMRMLSegmentEditorWidget
from .segments_table import qMRMLSegmentsTableView
from .show_3d_button import qMRMLSegmentationShow3DButton
from .stand_ins import stand_in


@stand_in
class qSlicerModuleManager(qt.QObject):
    """qSlicerModuleManager.h and qSlicerAbstractModuleFactoryManager.h."""

    SIGNALS = {
        "moduleAboutToBeUnloaded(QString)": "moduleAboutToBeUnloaded",
        "moduleUnloaded(QString)": "moduleUnloaded",
        "moduleLoaded(QString)": "moduleLoaded",
    }
    moduleAboutToBeUnloaded = Signal(str)
    moduleUnloaded = Signal(str)
    moduleLoaded = Signal(str)

    def module(self, name: str) -> Any:
        """Q_INVOKABLE: the module, or None."""
        return getattr(slicer.modules, name.lower(), None)


@stand_in
class qSlicerLayoutManager(qt.QObject):
    """qMRMLLayoutManager.h: the views of the four-up layout."""

    SIGNALS = {"layoutChanged(int)": "layoutChanged"}
    layoutChanged = Signal(int)

    def __init__(self, slice_widgets: dict[str, Any], three_d_widgets: list[Any]) -> None:
        super().__init__()
        self._slices, self._three_d = slice_widgets, three_d_widgets

    layout = Property(int, lambda self: slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    threeDViewCount = Property(int, lambda self: len(self._three_d))

    def sliceViewNames(self) -> tuple[str, ...]:
        """Q_INVOKABLE; PythonQt gives a tuple for a QStringList that is returned."""
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> Any:
        """Q_INVOKABLE: the widget, or None."""
        return self._slices.get(name)

    def threeDWidget(self, index: int) -> Any:
        """Q_INVOKABLE: the widget, or None."""
        return self._three_d[index] if 0 <= index < len(self._three_d) else None

    def mrmlScene(self) -> Any:
        """Q_INVOKABLE."""
        return slicer.mrmlScene

    def mrmlSliceLogics(self) -> Any:
        """Q_INVOKABLE."""
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self) -> None:
        """Slot."""
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """Slot."""
        for widget in self._three_d:
            widget.threeDView().resetCamera()


@stand_in
class qSlicerIOManager(qt.QObject):
    """qSlicerIOManager.h: the dialogs that load; a test answers with whatever loads what the user would have chosen."""

    def openAddDataDialog(self) -> bool:
        """Slot: File > Add Data."""
        return bool(dialogs.ask("qSlicerIOManager.openAddDataDialog", "Add Data", "", _no_dialog))


def _no_dialog() -> bool:
    raise RuntimeError("SlicerHost has no dialog Add Data: load with host.load_volume")


@stand_in
class qSlicerApplication(qt.QObject):
    """qSlicerApplication.h and qSlicerCoreApplication.h; the QApplication itself stands behind it."""

    SIGNALS = {"startupCompleted()": "startupCompleted", "aboutToQuit()": "aboutToQuit"}
    startupCompleted = Signal()
    aboutToQuit = Signal()

    def __init__(self, application: Application, settings: Any) -> None:
        super().__init__()
        self._application, self._settings = application, settings
        self._manager = qSlicerModuleManager()
        self._layouts: Any = None
        self._io = qSlicerIOManager()
        self._paused = self._restarts = 0

    applicationName = Property(str, lambda self: "Slicer")
    applicationVersion = Property(str, lambda self: "5.13.0")
    majorVersion = Property(int, lambda self: 5)
    minorVersion = Property(int, lambda self: 13)
    temporaryPath = Property(str, lambda self: str(self._application.temporary_folder))
    cachePath = Property(str, lambda self: str(self._application.temporary_folder / "cache"))
    documentationBaseUrl = Property(str, lambda self: "https://slicer.readthedocs.io/en/latest/")

    def mrmlScene(self) -> Any:
        """Q_INVOKABLE."""
        return self._application.scene

    def applicationLogic(self) -> Any:
        """Q_INVOKABLE."""
        return self._application.logic

    def moduleLogic(self, name: str) -> Any:
        """Q_INVOKABLE."""
        return self._application.logic.GetModuleLogic(name)

    def moduleManager(self) -> Any:
        """Q_INVOKABLE."""
        return self._manager

    def coreIOManager(self) -> Any:
        """Q_INVOKABLE."""
        return self._io

    ioManager = coreIOManager

    def layoutManager(self) -> Any:
        """Q_INVOKABLE: None where there is no main window."""
        return self._layouts

    def settings(self) -> Any:
        """Q_INVOKABLE."""
        return self._settings

    userSettings = settings

    def translate(self, context: str, text: str) -> str:
        """QCoreApplication::translate, without a translation."""
        return text

    def testingEnabled(self) -> bool:
        """False: messages go their way to the user, and are recorded there."""
        return False

    def processEvents(self) -> None:
        """QCoreApplication::processEvents."""
        QtCore.QCoreApplication.processEvents()

    def topLevelWidgets(self) -> list[Any]:
        """QApplication::topLevelWidgets."""
        return QtWidgets.QApplication.topLevelWidgets()

    def clipboard(self) -> Any:
        """QGuiApplication::clipboard."""
        return QtGui.QGuiApplication.clipboard()

    def setOverrideCursor(self, cursor: Any) -> None:
        """QGuiApplication::setOverrideCursor."""
        QtGui.QGuiApplication.setOverrideCursor(QtGui.QCursor(cursor))

    def restoreOverrideCursor(self) -> None:
        """QGuiApplication::restoreOverrideCursor."""
        QtGui.QGuiApplication.restoreOverrideCursor()

    def restart(self) -> None:
        """Slot: Slicer would quit and start again; here it is only counted."""
        self._restarts += 1

    def pauseRender(self) -> None:
        """Slot; the views draw on the next paint event anyhow, so there is nothing to hold back."""
        self._paused += 1

    def resumeRender(self) -> None:
        """Slot."""
        self._paused -= 1


class CoreModule:
    """A C++ module as far as scripts ask for it: its name and its logic (qSlicerLoadableModule.h)."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = name
        self._logic = logic

    def logic(self) -> Any:
        """Q_INVOKABLE."""
        return self._logic


_MISSING = object()


class Runtime:
    """Puts the application's parts into `slicer` and `sys.modules`, and takes them out again."""

    def __init__(self, application: Application, settings: Any, python_folder: Path | None = None) -> None:
        self.app = qSlicerApplication(application, settings)
        self._python_folder = python_folder
        modules = types.SimpleNamespace(
            **{name.lower(): CoreModule(name, logic) for name, logic in application.module_logics.items()}
        )
        self._attributes = {
            "app": self.app,
            "mrmlScene": application.scene,
            "modules": modules,
            "moduleNames": types.SimpleNamespace(),
            "selfTests": {},
            "qSlicerScriptedLoadableModule": scripted_module.qSlicerScriptedLoadableModule,
            "qSlicerScriptedLoadableModuleWidget": scripted_module.qSlicerScriptedLoadableModuleWidget,
            "qMRMLSegmentEditorWidget": qMRMLSegmentEditorWidget,
            "qSlicerSegmentEditorAbstractEffect": editor_effects.qSlicerSegmentEditorAbstractEffect,
            "qSlicerSegmentEditorEffectFactory": editor_effects.qSlicerSegmentEditorEffectFactory,
            "qMRMLSegmentsTableView": qMRMLSegmentsTableView,
            "qMRMLSegmentationShow3DButton": qMRMLSegmentationShow3DButton,
            **qmrml_widgets.WIDGETS,
        }
        self._imports: dict[str, Any] = {"qt": qt, "ctk": ctk}
        self._imports |= scripted_module.translation_modules() | packages.modules() | editor_effects.modules()
        editor_effects.qSlicerSegmentEditorEffectFactory._only = None
        self._before: list[tuple[Any, str, Any]] = []

    def install(self) -> None:
        """Let `import qt`, `slicer.app` and the like be found."""
        for name, module in self._imports.items():
            self._before.append((sys.modules, name, sys.modules.get(name, _MISSING)))
            sys.modules[name] = module
            parent, _, child = name.rpartition(".")
            if parent == "slicer":
                self._attributes[child] = module
        for name, value in self._attributes.items():
            self._before.append((slicer, name, getattr(slicer, name, _MISSING)))
            setattr(slicer, name, value)
        for name in ("i18n", "ScriptedLoadableModule") if self._python_folder is not None else ():
            path = self._python_folder / f"{name}.py"
            spec = importlib.util.spec_from_file_location(f"slicer.{name}", path)
            module = sys.modules[f"slicer.{name}"] = importlib.util.module_from_spec(spec)
            setattr(slicer, name, module)
            spec.loader.exec_module(module)
        editor_effects.use_own_base_class()
        for name in ("SegmentEditor", "SegmentStatistics"):
            scripted_module.load_module(Path(__file__).parent / "slicer_modules" / f"{name}.py")

    def uninstall(self) -> None:
        """Leave everything as it was."""
        for place, name, value in reversed(self._before):
            if place is sys.modules:
                sys.modules.pop(name, None) if value is _MISSING else sys.modules.__setitem__(name, value)
            elif value is _MISSING:
                delattr(slicer, name)
            else:
                setattr(slicer, name, value)
        self._before.clear()
