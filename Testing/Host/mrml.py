"""The real scene, application logic and module logics of 3D Slicer, from the slicer-core wheel."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer
import vtk

# Module name -> C++ class of its logic, as each module's qSlicer<Name>Module::createLogic makes it.
_MODULE_LOGICS = {
    "Colors": "vtkMRMLColorLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}


@dataclass
class Application:
    """A scene with the logics that Slicer's core and its modules have."""

    scene: Any
    logic: Any
    module_logics: dict[str, Any] = field(default_factory=dict)
    _cache: Any = None

    @classmethod
    def boot(cls) -> Application:
        """Make scene and logics in the order of qSlicerCoreApplication and qSlicerApplication."""
        scene = slicer.vtkMRMLScene()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        scene.AddNode(crosshair)
        logic = slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(scene)
        logic.GetColorLogic().SetMRMLScene(scene)
        logic.GetColorLogic().AddDefaultColorNodes()
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        application = cls(scene, logic)
        for name, class_name in _MODULE_LOGICS.items():
            module_logic = getattr(slicer, class_name)()
            module_logic.SetMRMLScene(scene)
            module_logic.SetMRMLApplicationLogic(logic)
            logic.SetModuleLogic(name, module_logic)
            application.module_logics[name] = module_logic
        application._enable_bundles()
        for factory in (
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(logic)
        return application

    def _enable_bundles(self) -> None:
        """What reading an .mrb needs: a manager of remote data and its cache folder."""
        self._cache = tempfile.TemporaryDirectory(prefix="SlicerHost-")
        manager = slicer.vtkDataIOManager()
        cache = slicer.vtkCacheManager()
        cache.SetRemoteCacheDirectory(self._cache.name)
        manager.SetCacheManager(cache)
        self.scene.SetCacheManager(cache)
        self.scene.SetDataIOManager(manager)

    @property
    def temporary_folder(self) -> Path:
        """A folder that goes with the application."""
        return Path(self._cache.name)

    def node(self, class_name: str) -> Any:
        """The first node of a class, such as the singleton vtkMRMLInteractionNode."""
        return self.scene.GetFirstNodeByClass(class_name)

    def close(self) -> None:
        """Empty the scene and let go of everything."""
        self.scene.Clear(True)
        for factory in (
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(None)
        self.module_logics.clear()
        self._cache.cleanup()
