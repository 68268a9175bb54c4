"""Scripted effects of Segment Editor: what Slicer's C++ does with their Python class, over the real editor logic.

qSlicerSegmentEditorScriptedEffect.h, qSlicerSegmentEditorAbstractEffect.h and qSlicerSegmentEditorEffectFactory.h of
Slicer/Slicer, Modules/Loadable/Segmentations. Masks are modified, masked and undone by vtkSlicerSegmentEditorLogic of
the slicer-core wheel. With a clone of Slicer the base class of scripted effects is Slicer's own file.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import slicer
from PySide6.QtCore import Signal

from .facade import qt
from .stand_ins import stand_in, stored

SOURCE = "MEDSAMSLICER_SLICER_SOURCE"
_BASE = "Modules/Loadable/Segmentations/EditorEffects/Python/SegmentEditorEffects"


@stand_in
class qSlicerSegmentEditorAbstractEffect(qt.QObject):
    """qSlicerSegmentEditorAbstractEffect.h: what the effect asks of the editor."""

    ModificationModeSet, ModificationModeAdd, ModificationModeRemove, ModificationModeRemoveAll = range(4)
    name = stored(str, "name", "")
    title = stored(str, "title", "")
    perSegment = stored(bool, "perSegment", True)
    requireSegments = stored(bool, "requireSegments", True)
    showEffectCursorInSliceView = stored(bool, "showEffectCursorInSliceView", True)
    showEffectCursorInThreeDView = stored(bool, "showEffectCursorInThreeDView", False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._editor: Any = None
        self._frame = qt.QFrame()
        self._layout = qt.QFormLayout(self._frame)

    def parameterSetNode(self) -> Any:
        """Q_INVOKABLE."""
        return None if self._editor is None else self._editor.mrmlSegmentEditorNode()

    def optionsFrame(self) -> Any:
        """Q_INVOKABLE."""
        return self._frame

    def addOptionsWidget(self, widget: Any) -> None:
        """Q_INVOKABLE: a row of the options."""
        self._layout.addRow(widget)

    def saveStateForUndo(self) -> None:
        """Q_INVOKABLE: vtkSlicerSegmentEditorLogic::SaveStateForUndo."""
        self._editor._logic.SaveStateForUndo()

    def defaultModifierLabelmap(self) -> Any:
        """Q_INVOKABLE: an empty labelmap on the voxels that the editor works on."""
        self._editor._logic.UpdateReferenceGeometryImage()
        self._editor._logic.ResetModifierLabelmapToDefault()
        return self._editor._logic.GetModifierLabelmap()

    def modifySelectedSegmentByLabelmap(self, labelmap: Any, mode: int, bypassMasking: bool = False) -> None:
        """Q_INVOKABLE: within the masking of the editor, and by its rule for overlaps."""
        logic, node = self._editor._logic, self.parameterSetNode()
        enum = (
            "ModificationModeSet",
            "ModificationModeAdd",
            "ModificationModeRemove",
            "ModificationModeRemoveAll",
        )
        how = getattr(logic, enum[mode])
        segmentation, segment_id = node.GetSegmentationNode(), node.GetSelectedSegmentID()
        logic.ModifySegmentByLabelmap(segmentation, segment_id, labelmap, how, True, bypassMasking)

    def selectEffect(self, name: str) -> None:
        """Q_INVOKABLE: the editor takes another effect."""
        self._editor.setActiveEffectByName(name)


@stand_in
class qSlicerSegmentEditorScriptedEffect(qSlicerSegmentEditorAbstractEffect):
    """qSlicerSegmentEditorScriptedEffect.h: calls the methods of a Python class, where that has them."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._source, self._self = "", None

    def setPythonSource(self, path: str) -> bool:
        """Q_INVOKABLE: the module has the name of the folder, the class that of the file."""
        file = Path(path)
        module = sys.modules.get(file.parent.name)
        if module is None or not hasattr(module, file.stem):
            spec = importlib.util.spec_from_file_location(file.parent.name, file)
            module = importlib.util.module_from_spec(spec)
            sys.modules[file.parent.name] = module
            spec.loader.exec_module(module)
        self._source = path
        self._self = getattr(module, file.stem)(self)
        return True

    def self(self) -> Any:
        """Q_INVOKABLE: the Python object."""
        return self._self

    def _call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._self, method)(*arguments) if hasattr(self._self, method) else None


@stand_in
class qSlicerSegmentEditorEffectFactory(qt.QObject):
    """qSlicerSegmentEditorEffectFactory.h: the effects that every editor gets a clone of."""

    SIGNALS = {"effectRegistered(QString)": "effectRegistered"}
    effectRegistered = Signal(str)
    _only: Any = None

    def __init__(self) -> None:
        super().__init__()
        self._effects: dict[str, Any] = {}

    @classmethod
    def instance(cls) -> Any:
        """Static."""
        cls._only = cls._only or cls()
        return cls._only

    def registerEffect(self, effect: Any) -> bool:
        """Q_INVOKABLE: a second effect of one name is refused."""
        if effect.name in self._effects:
            return False
        self._effects[effect.name] = effect
        self.effectRegistered(effect.name)
        return True


class _AbstractScriptedSegmentEditorEffect:
    """AbstractScriptedSegmentEditorEffect.py, where no clone of Slicer is at hand."""

    def __init__(self, scriptedEffect: Any) -> None:
        self.scriptedEffect = scriptedEffect

    def register(self) -> None:
        """As Slicer's."""
        slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self) -> None:
        """As Slicer's."""


def own_base_class() -> Path | None:
    """Slicer's own file of the base class of scripted effects; None without a clone."""
    source = os.environ.get(SOURCE)
    file = Path(source or "") / _BASE / "AbstractScriptedSegmentEditorEffect.py"
    return file if source and file.is_file() else None


def modules() -> dict[str, types.ModuleType]:
    """What effects import."""
    wrapped = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    wrapped.qSlicerSegmentEditorScriptedEffect = qSlicerSegmentEditorScriptedEffect
    effects = types.ModuleType("SegmentEditorEffects")
    effects.AbstractScriptedSegmentEditorEffect = _AbstractScriptedSegmentEditorEffect
    return {wrapped.__name__: wrapped, effects.__name__: effects}


def use_own_base_class() -> None:
    """Let effects have Slicer's own base class, if its file is at hand; `qt` and `slicer` must be importable."""
    file = own_base_class()
    if file is not None:
        spec = importlib.util.spec_from_file_location("AbstractScriptedSegmentEditorEffect", file)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        effects = sys.modules["SegmentEditorEffects"]
        effects.AbstractScriptedSegmentEditorEffect = module.AbstractScriptedSegmentEditorEffect
