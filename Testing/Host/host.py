"""SlicerHost: a scripted module in a window with Slicer's own views, outside Slicer."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")) and sys.platform == "linux":
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault(
        "VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow"
    )  # spares VTK the search for an X server

import numpy as np
import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs as dialogs_module
from . import ui_loader
from .event_loop import FreeLoop, LockedLoop, wait_until
from .facade import facade_of
from .mouse import Mouse
from .mrml import Application
from .render_widget import drawn_later
from .runtime import Runtime
from .scripted_module import load_module
from .window import qSlicerMainWindow, slicer_palette

logger = logging.getLogger(__name__)
MODULE_FILE = Path(__file__).resolve().parents[2] / "MedSAMSlicer" / "MedSAMSlicer.py"
_VIEWS = ("Red", "Green", "Yellow")
assert ui_loader  # gives `qt` its QUiLoader


# What the off-screen platform cannot do, and says so.
_HARMLESS = ("propagateSizeHints", "This plugin does not support", "XDG_RUNTIME_DIR")


class QtWarning(Exception):
    """What Qt said on its error stream."""


class VtkError(Exception):
    """What an object of VTK or of Slicer's C++ reported as an error."""


class HostErrors(AssertionError):
    """Python code failed where Qt or VTK had called it, so that nobody saw it."""


class SlicerHost:
    """One scene, its views and the module under test.

    Only one may be open at a time. `close()` raises HostErrors when something failed in a slot or an observer
    meanwhile, unless the test looked at `errors` and emptied it.

        with SlicerHost() as host:
            volume = host.add_volume(array_kji, ijk_to_ras)
            widget = host.open_module()              # MedSAMSlicer; or open_module(path of another module's file)
            host.click("Red", (10, -20, 35))         # RAS in mm: the slice is shown, then the mouse clicks there
            host.key("Ctrl+Z")
            assert host.wait_until(lambda: widget.ui.applyButton.enabled)
            host.screenshot("window.png")

    Args:
        keep_interpreter_lock: Keep Python's global lock while Qt waits, as PythonQt does inside Slicer.
        on_screen: For people: dialogs are real, nothing is hidden.
        dark: Slicer's dark style.
        size: Width and height of the window in pixels.
        settings: File of the QSettings; without it they start empty and go with the host.
        python_folder: Folder of Slicer's own ScriptedLoadableModule.py and i18n.py (Base/Python/slicer of its source),
            which are used in place of their stand-ins.
    """

    _open: SlicerHost | None = None

    def __init__(
        self,
        *,
        keep_interpreter_lock: bool = False,
        on_screen: bool = False,
        dark: bool = False,
        settings: Path | None = None,
        python_folder: Path | None = None,
        size: tuple[int, int] = (1500, 940),
    ) -> None:
        if SlicerHost._open is not None:
            raise RuntimeError("Another SlicerHost is open; close it first.")
        self.qapplication = QtWidgets.QApplication.instance() or facade_of(QtWidgets.QApplication)(
            ["SlicerHost"]
        )
        self.qapplication.setStyle("Fusion")
        self.qapplication.setPalette(slicer_palette(dark))
        self.errors: list[BaseException] = []
        self._hook, sys.excepthook = sys.excepthook, self._on_exception
        QtCore.qInstallMessageHandler(self._on_qt_message)
        self._vtk_tag = vtk.vtkOutputWindow.GetInstance().AddObserver("ErrorEvent", self._on_vtk_error)
        self.application = Application.boot()
        self._loop = LockedLoop() if keep_interpreter_lock else FreeLoop()
        self._step = 0.1 if keep_interpreter_lock else 0.01
        file = settings or self.application.temporary_folder / "settings.ini"
        self._redirect_settings(file)
        self.runtime = Runtime(
            self.application, QtCore.QSettings(str(file), QtCore.QSettings.Format.IniFormat), python_folder
        )
        self.runtime.install()
        self.dialogs = dialogs_module.Dialogs(on_screen)
        dialogs_module.install(self.dialogs)
        SlicerHost._open = self
        self.window = qSlicerMainWindow(self.application)
        self.runtime.app._layouts = self._layout_manager()
        self._mouse = Mouse(self.process_events, lambda: drawn_later(map(self._canvas, (*_VIEWS, "3D"))))
        self._modules: list[Any] = []
        self.window.resize(*size)
        self.window.show()
        self.window.activateWindow()
        self.process_events()

    def set_setting(self, key: str, value: str) -> None:
        """Keep a choice of the user as Slicer keeps it, before a module reads it."""
        QtCore.QSettings().setValue(key, value)

    def _redirect_settings(self, file: Path) -> None:
        """`qt.QSettings()` of the module must not be the user's."""
        kind = QtCore.QSettings
        QtCore.QCoreApplication.setOrganizationName("SlicerHost")
        QtCore.QCoreApplication.setApplicationName(file.stem)
        kind.setDefaultFormat(kind.Format.IniFormat)
        kind.setPath(kind.Format.IniFormat, kind.Scope.UserScope, str(file.parent))

    def _layout_manager(self) -> Any:
        from .runtime import qSlicerLayoutManager

        return qSlicerLayoutManager(self.window._slices, [self.window._three_d])

    def __enter__(self) -> SlicerHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.errors.clear()
        self.close()

    def _on_exception(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """What PyErr_Print() calls when a slot or an observer failed."""
        logger.error("Failed inside a slot or an observer", exc_info=(kind, error, trace))
        self.errors.append(error)

    def _on_qt_message(self, kind: QtCore.QtMsgType, context: QtCore.QMessageLogContext, text: str) -> None:
        """Qt warns of what the code does wrong, such as a second layout for one widget: that is an error here."""
        if any(part in text for part in _HARMLESS):
            return
        logger.warning("Qt: %s", text)
        if kind not in (QtCore.QtMsgType.QtDebugMsg, QtCore.QtMsgType.QtInfoMsg):
            self.errors.append(QtWarning(text))

    @vtk.calldata_type(vtk.VTK_STRING)
    def _on_vtk_error(self, caller: Any, event: str, text: str = "") -> None:
        """C++ reports what was asked of it in vain, such as to remove a node that is gone: an error here, too."""
        if not any(part in text for part in _HARMLESS):
            logger.warning("VTK: %s", text)
            self.errors.append(VtkError(text.strip()))

    # --- the scene ---------------------------------------------------------------------------------------------

    @property
    def scene(self) -> Any:
        """The vtkMRMLScene."""
        return self.application.scene

    def node(self, class_name: str) -> Any:
        """The first node of a class, or None."""
        return self.application.node(class_name)

    def load_volume(self, path: Path | str) -> Any:
        """Read an image file as Slicer's Add Data does, and show it in all views."""
        path = Path(path)
        node = self.application.module_logics["Volumes"].AddArchetypeVolume(
            str(path), path.name.partition(".")[0]
        )
        if node is None:
            raise ValueError(f"3D Slicer cannot read {path}")
        return self.show_volume(node)

    def add_volume(self, array: Any, ijk_to_ras: Any = None, name: str = "volume", show: bool = True) -> Any:
        """A scalar volume made of an array (K, J, I) and its matrix (4, 4) in mm, shown in all views."""
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
        node.SetIJKToRASMatrix(
            slicer.util.vtkMatrixFromArray(np.eye(4) if ijk_to_ras is None else ijk_to_ras)
        )
        node.CreateDefaultDisplayNodes()
        return self.show_volume(node) if show else node

    def show_volume(self, node: Any) -> Any:
        """Make a volume the background of the slice views, fitted."""
        selection = self.node("vtkMRMLSelectionNode")
        selection.SetActiveVolumeID(node.GetID())
        self.application.logic.PropagateVolumeSelection(True)
        for name in _VIEWS:
            self.view(name).fitSliceToBackground()
        self.window._three_d.threeDView().resetFocalPoint()
        self.process_events()
        return node

    def set_window(self, volume: Any, window: float, level: float) -> None:
        """Choose the gray window of a volume's display."""
        display = volume.GetDisplayNode()
        display.AutoWindowLevelOff()
        display.SetWindowLevel(window, level)
        self.process_events()

    def save_scene(self, path: Path | str) -> None:
        """Write everything into an .mrb."""
        if not self.scene.WriteToMRB(str(path)):
            raise OSError(f"The scene could not be saved as {path}")
        self.process_events()

    def load_scene(self, path: Path | str) -> None:
        """Close the scene and open an .mrb."""
        self.scene.Clear(False)
        self.process_events()
        if not self.scene.ReadFromMRB(str(path)):
            raise OSError(f"The scene could not be loaded from {path}")
        self.process_events()

    def close_scene(self) -> None:
        """File > Close Scene."""
        self.scene.Clear(False)
        self.process_events()

    # --- the module --------------------------------------------------------------------------------------------

    def open_module(self, path: Path | str = MODULE_FILE) -> Any:
        """Load a scripted module, show its panel and enter it; returns its Widget object."""
        module = load_module(Path(path))
        self.runtime.app.startupCompleted()
        self._modules.append(module)
        self.window.moduleSelector().selectModule(module.name)
        self.process_events()
        return module.widgetRepresentation().self()

    def leave_module(self) -> None:
        """The user opens another module."""
        self._modules[-1].widgetRepresentation().exit()
        self.process_events()

    def enter_module(self) -> None:
        """The user comes back to the module."""
        self._modules[-1].widgetRepresentation().enter()
        self.process_events()

    # --- what the user does ------------------------------------------------------------------------------------

    def view(self, name: str) -> Any:
        """The qMRMLSliceWidget Red, Green or Yellow, or the qMRMLThreeDWidget "3D"."""
        return self.window._three_d if name == "3D" else self.window._slices[name]

    def show_slice(self, view: str, ras: Sequence[float]) -> None:
        """Move a slice view to the slice through a place, RAS in mm."""
        self.view(view).mrmlSliceNode().JumpSliceByOffsetting(*ras)
        self.process_events()

    def position(self, view: str, ras: Sequence[float]) -> QtCore.QPoint:
        """Where a place (RAS, mm) is in a slice view, in Qt's pixels from the upper left."""
        widget = self.view(view).sliceView()
        x, y, _ = widget.convertRASToXYZ(ras)
        ratio = widget.devicePixelRatioF()
        # VTK's pixel is an int; Qt's rows count from above.
        return QtCore.QPoint(round(x / ratio), widget.height - 1 - round(y / ratio))

    def _canvas(self, view: str) -> Any:
        return self.view(view).threeDView() if view == "3D" else self.view(view).sliceView()

    def click(
        self, view: str, ras: Sequence[float], button: str = "left", keys: str = "", jump: bool = True
    ) -> None:
        """Click at a place (RAS, mm); with `jump` the slice through it is shown first."""
        if jump:
            self.show_slice(view, ras)
        self._mouse.click(self._canvas(view), self.position(view, ras), button, keys)

    def drag(
        self, view: str, path: Sequence[Sequence[float]], button: str = "left", keys: str = "", steps: int = 8
    ) -> None:
        """Press at the first place (RAS, mm), move through the others and release at the last."""
        self._mouse.drag(self._canvas(view), [self.position(view, ras) for ras in path], button, keys, steps)

    def drag_pixels(
        self, view: str, path: Sequence[tuple[int, int]], button: str = "left", keys: str = ""
    ) -> None:
        """As `drag`, with places in pixels from the upper left of the view; also for "3D"."""
        self._mouse.drag(self._canvas(view), [QtCore.QPoint(*place) for place in path], button, keys, 8)

    def move(self, view: str, ras: Sequence[float]) -> None:
        """Move the mouse to a place (RAS, mm) without a button."""
        self._mouse.move(self._canvas(view), self.position(view, ras))

    def wheel(self, view: str, notches: int) -> None:
        """Turn the wheel over the middle of a view; forward is positive."""
        self._mouse.wheel(self._canvas(view), notches)

    def press(self, widget: Any) -> None:
        """Click the middle of a widget of the panel; it must be visible and enabled."""
        if not widget.isVisible() or not widget.isEnabled():
            raise AssertionError(f"'{widget.objectName}' cannot be clicked: it is hidden or disabled")
        self._mouse.click(widget, widget.rect.center(), "left", "")

    def key(self, keys: str, view: str | None = None) -> None:
        """Press keys such as "Ctrl+Z"; in a view, or where the keyboard focus is."""
        target = self._canvas(view) if view is not None else None
        self._mouse.key(target or QtWidgets.QApplication.focusWidget() or self.window, keys)

    def hold_key(self, keys: str, view: str) -> None:
        """Press keys in a view and keep them pressed."""
        self._mouse.hold_key(self._canvas(view), keys, held=True)

    def release_key(self, keys: str, view: str) -> None:
        """Release keys that were kept pressed in a view."""
        self._mouse.hold_key(self._canvas(view), keys, held=False)

    # --- time and pictures -------------------------------------------------------------------------------------

    def process_events(self, seconds: float = 0.0) -> None:
        """Let Qt work off what waits, or work for some seconds."""
        self._loop.run(seconds)

    def wait_until(self, condition: Callable[[], Any], seconds: float = 30.0) -> bool:
        """Let Qt work until a condition holds; False where it never did."""
        return wait_until(self._loop, condition, seconds, self._step)

    def picture(self, widget: Any = None) -> QtGui.QImage:
        """What a widget shows, by default the window."""
        self.process_events()
        for name in (*_VIEWS, "3D"):
            self._canvas(name).scheduleRender()
        self.process_events()
        return QtWidgets.QWidget.grab(widget or self.window).toImage()

    def screenshot(self, path: Path | str, widget: Any = None) -> Path:
        """Write what a widget shows, by default the window, as a PNG."""
        if not self.picture(widget).save(str(path)):
            raise OSError(f"The picture could not be written to {path}")
        return Path(path)

    def run(self) -> int:
        """Stay until the window is closed."""
        return int(self.qapplication.exec())

    def close(self) -> None:
        """Quit: modules are unloaded, the scene is emptied; HostErrors where something had failed unseen."""
        if SlicerHost._open is not self:
            return
        try:
            for module in reversed(self._modules):
                module.widgetRepresentation().exit()
            self.runtime.app.aboutToQuit()
            for module in reversed(self._modules):
                self.runtime.app.moduleManager().moduleAboutToBeUnloaded(module.name)
            self.process_events()
        finally:
            self._tear_down()
        if self.errors:
            raise HostErrors(
                f"{len(self.errors)} failed inside slots or observers, first: {self.errors[0]!r}"
            ) from self.errors[0]

    def _tear_down(self) -> None:
        self.window.hide()
        self.window._release()
        self.window.deleteLater()
        self.process_events()
        dialogs_module.uninstall()
        self.application.close()
        self.runtime.uninstall()
        sys.excepthook = self._hook
        QtCore.qInstallMessageHandler(None)
        vtk.vtkOutputWindow.GetInstance().RemoveObserver(self._vtk_tag)
        SlicerHost._open = None
