"""`slicer.ScriptedLoadableModule`, `slicer.i18n` and what Slicer's C++ does with a scripted module.

Sources: Base/Python/slicer/ScriptedLoadableModule.py, Base/Python/slicer/i18n.py,
Base/QTGUI/qSlicerScriptedLoadableModule.h and qSlicerScriptedLoadableModuleWidget.h of Slicer/Slicer.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import slicer
from PySide6.QtCore import Property

from .facade import qt
from .qmrml_widgets import qMRMLWidget
from .stand_ins import stand_in, stored


class ScriptedLoadableModule:
    """Base of the class that names and describes a module."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        for ending in (".svg", ".png"):
            icon = Path(parent.path).parent / "Resources" / "Icons" / f"{self.moduleName}{ending}"
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        """A file of the module's Resources folder."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Run the class <Module>Test."""
        test = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """Base of the class that makes the panel."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue(
            "Developer/DeveloperMode", False, converter=slicer.util.toBool
        )
        if parent is None:
            parent = qMRMLWidget()
            parent.setLayout(qt.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent = parent
        self.layout = parent.layout()
        slicer.app.moduleManager().connect(
            "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
        )

    def resourcePath(self, filename: str) -> str:
        """A file of the module's Resources folder."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Overridden by the module."""

    def cleanup(self) -> None:
        """Overridden by the module."""

    def onReload(self) -> None:
        """Load the module's file again and make its panel again."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            manager = slicer.app.moduleManager()
            manager.disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """Base of the class that can do what the module does without its panel."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's vtkMRMLScriptedModuleNode, made if there is none."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.AddNode(self.createParameterNode())
        node.SetAttribute("ModuleName", self.moduleName)
        return node

    def createParameterNode(self) -> Any:
        """A node for the module, not yet in the scene."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the module's self test."""

    messageDelay = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def runTest(self) -> None:
        """Overridden by the module."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Say what the test does now."""
        logging.getLogger(__name__).info(message)


@stand_in
class qSlicerScriptedLoadableModule(qt.QObject):
    """qSlicerScriptedLoadableModule.h: what `parent` of a module is; its properties are those that a module may set."""

    title = stored(str, "title", "")
    name = stored(str, "name", "")
    path = stored(str, "path", "")
    categories = stored("QStringList", "categories", [])
    dependencies = stored("QStringList", "dependencies", [])
    contributors = stored("QStringList", "contributors", [])
    associatedNodeTypes = stored("QStringList", "associatedNodeTypes", [])
    helpText = stored(str, "helpText", "")
    acknowledgementText = stored(str, "acknowledgementText", "")
    hidden = stored(bool, "hidden", False)
    icon = stored("QIcon", "icon", None)
    index = stored(int, "index", -1)
    widgetRepresentationCreationEnabled = stored(bool, "widgetRepresentationCreationEnabled", True)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.name = str(path), path.stem
        self._widget: Any = None

    def widgetRepresentation(self) -> Any:
        """Q_INVOKABLE: the panel, made on the first call."""
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget(self)
            self._widget.setup()
        return self._widget


@stand_in
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """qSlicerScriptedLoadableModuleWidget.h: the panel's outermost widget, with the Python class inside."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._module, self._self, self._entered = module, None, False
        self.setObjectName(f"{module.name}ModuleWidget")
        qt.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)

    isEntered = Property(bool, lambda self: self._entered)

    def self(self) -> Any:
        """Q_INVOKABLE: the module's Widget object."""
        return self._self

    def setup(self) -> None:
        """Make the Python widget and let it set up its panel."""
        source = sys.modules[self._module.name]
        self._self = getattr(source, f"{self._module.name}Widget")(self)
        setattr(slicer.modules, f"{self._module.name}Widget", self._self)
        self._self.setup()

    def reload(self) -> None:
        """Slot: make the Python widget again from the module's file; a panel that was entered stays so."""
        self.setup()

    def enter(self) -> None:
        """The user opens the module."""
        if not self._entered:
            self._entered = True
            if hasattr(self._self, "enter"):
                self._self.enter()

    def exit(self) -> None:
        """The user opens another module."""
        if self._entered:
            self._entered = False
            if hasattr(self._self, "exit"):
                self._self.exit()


def load_module(path: Path) -> Any:
    """Import a scripted module's file and make its module object, as the module factory does at start-up."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = source
    spec.loader.exec_module(source)
    module = qSlicerScriptedLoadableModule(path)
    instance = getattr(source, path.stem)(module)
    setattr(slicer.modules, path.stem.lower(), module)
    setattr(slicer.modules, f"{path.stem}Instance", instance)
    setattr(slicer.moduleNames, path.stem, path.stem)
    return module


def translation_modules() -> dict[str, types.ModuleType]:
    """`slicer.i18n` without translations, and `slicer.ScriptedLoadableModule`."""
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda context, text: text
    i18n.getContext = lambda file: Path(file).stem
    loadable = types.ModuleType("slicer.ScriptedLoadableModule")
    for kind in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(loadable, kind.__name__, kind)
    return {"slicer.i18n": i18n, "slicer.ScriptedLoadableModule": loadable}
