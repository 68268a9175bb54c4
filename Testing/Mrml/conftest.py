"""The real MRML scene of 3D Slicer, from the slicer-core wheel, without a window."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

if TYPE_CHECKING:
    from .controllers import Driver

# The translations of Slicer are no part of the wheel. Set before any test imports what uses them.
_I18N = types.ModuleType("slicer.i18n")
_I18N.tr = lambda text: text  # type: ignore[attr-defined]
_I18N.translate = lambda context, text: text  # type: ignore[attr-defined]
_I18N.getContext = lambda file: Path(file).stem  # type: ignore[attr-defined]
sys.modules.setdefault("slicer.i18n", _I18N)

_MODULE_LOGICS = {
    "Colors": "vtkMRMLColorLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Sequences": "vtkSlicerSequencesLogic",
}


@dataclass
class MrmlScene:
    """A scene with the logics that load volumes and segmentations."""

    slicer: Any
    scene: Any
    application: Any
    logics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def boot(cls) -> MrmlScene:
        slicer = pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
        scene = slicer.vtkMRMLScene()
        application = slicer.vtkSlicerApplicationLogic()
        application.SetMRMLScene(scene)
        application.GetColorLogic().SetMRMLScene(scene)
        application.GetColorLogic().AddDefaultColorNodes()
        mrml = cls(slicer, scene, application)
        for name, class_name in _MODULE_LOGICS.items():
            logic = getattr(slicer, class_name)()
            logic.SetMRMLScene(scene)
            logic.SetMRMLApplicationLogic(application)
            application.SetModuleLogic(name, logic)
            mrml.logics[name] = logic
        slicer.mrmlScene = scene
        # slicer.util asks for the modules' logics in the way of the application.
        modules = {
            name.lower(): SimpleNamespace(logic=lambda logic=logic: logic)
            for name, logic in mrml.logics.items()
        }
        slicer.modules = SimpleNamespace(**modules)
        return mrml

    def load_volume(self, path: Path) -> Any:
        """The node of an image file, as Slicer's Add Data makes it; None where Slicer refuses the file."""
        return self.logics["Volumes"].AddArchetypeVolume(str(path), path.name)

    def load_segmentation(self, path: Path) -> Any:
        """The node of a segmentation file, read by Slicer's own storage node."""
        storage = self.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        assert storage.ReadData(node) == 1, f"3D Slicer cannot read {path}"
        node.SetAndObserveStorageNodeID(storage.GetID())
        return node

    def volume_node(self, array: npt.NDArray[Any], ijk_to_ras: npt.NDArray[np.float64]) -> Any:
        """A scalar volume made from an array (K, J, I) and its matrix."""
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        self.slicer.util.updateVolumeFromArray(node, array)
        node.SetIJKToRASMatrix(self.slicer.util.vtkMatrixFromArray(ijk_to_ras))
        return node

    def clear(self) -> None:
        """Empty the scene of all but what Slicer's application keeps in it."""
        self.scene.Clear(True)
        crosshair = self.slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        self.application.SetMRMLScene(None)
        self.application.SetMRMLScene(self.scene)  # makes the selection and interaction nodes
        self.slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)


@pytest.fixture(scope="session")
def _booted() -> Iterator[MrmlScene]:
    mrml = MrmlScene.boot()
    yield mrml
    mrml.scene.Clear(True)
    mrml.scene.RemoveAllObservers()  # which may be cleared as garbage before the scene, that calls them as it goes


@pytest.fixture
def mrml(_booted: MrmlScene) -> Iterator[MrmlScene]:
    """An empty scene."""
    _booted.clear()
    yield _booted
    _booted.clear()


@pytest.fixture
def driver(mrml: MrmlScene) -> Iterator[Driver]:
    """A controller on the scene, closed afterwards."""
    from .controllers import Driver  # which imports this module

    driver = Driver(mrml)
    yield driver
    driver.controller.close()
