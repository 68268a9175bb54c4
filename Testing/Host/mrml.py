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
    "Data": "vtkSlicerDataModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
}


_IN_TREE = (
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLModelNode",
    "vtkMRMLTransformNode",
)


class SubjectHierarchyPlugins:
    """What qSlicerSubjectHierarchyPluginLogic.cxx does: nodes get an item in the tree, and take it with them.

    A node that is hidden when it is added gets none.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        kind = slicer.vtkMRMLScene
        events = (
            (kind.NodeAddedEvent, self._added),
            (kind.NodeAboutToBeRemovedEvent, self._about_to_be_removed),
        )
        self._tags = [scene.AddObserver(event, act) for event, act in events]
        self._tags.append(scene.AddObserver(kind.EndImportEvent, self._imported))

    @property
    def _tree(self) -> Any:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, caller: Any, event: str, node: Any = None) -> None:
        if self._scene.IsImporting() or node is None or node.GetHideFromEditors():
            return
        if any(node.IsA(kind) for kind in _IN_TREE):
            self._tree.CreateItem(self._tree.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _about_to_be_removed(self, caller: Any, event: str, node: Any = None) -> None:
        if self._scene.IsClosing() or node is None or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        item = self._tree.GetItemByDataNode(node)
        if item:
            self._tree.RemoveItem(item, False, False)

    def _imported(self, caller: Any, event: str) -> None:
        tree = self._tree
        for number in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(number)
            listed = any(node.IsA(kind) for kind in _IN_TREE) and not node.GetHideFromEditors()
            if listed and not tree.GetItemByDataNode(node):
                tree.CreateItem(tree.GetSceneItemID(), node)

    def close(self) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags.clear()


@dataclass
class Application:
    """A scene with the logics that Slicer's core and its modules have."""

    scene: Any
    logic: Any
    module_logics: dict[str, Any] = field(default_factory=dict)
    _cache: Any = None
    _plugins: Any = None

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
            if name != "Terminologies":  # it would load lists that come with Slicer, but not with the wheel
                module_logic.SetMRMLScene(scene)
            module_logic.SetMRMLApplicationLogic(logic)
            logic.SetModuleLogic(name, module_logic)
            application.module_logics[name] = module_logic
        application._enable_bundles()
        application._plugins = SubjectHierarchyPlugins(scene)
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
        self._plugins.close()
        self.scene.Clear(True)
        # A scene that is collected as garbage announces it to its observers, whose closures may be cleared already.
        self.scene.RemoveAllObservers()
        for factory in (
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(None)
        self.module_logics.clear()
        self._cache.cleanup()
