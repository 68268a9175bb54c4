"""The scripted module MedSAMSlicer: what Slicer loads, wiring only.

Everything else lives in MedSAMSlicerLib and is imported when the user opens the module. Nothing here or there imports
torch before the network is needed, so that the module appears in Slicer before anything was installed.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import NamedTuple

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

HOMEPAGE = "https://github.com/medsamslicer/SlicerMedSAMSlicer"


class MedSAMSlicer(ScriptedLoadableModule):
    """Title, category, help and acknowledgement of the module; Slicer finds the icon by the module's name."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("MedSAMSlicer")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "Markups", "SubjectHierarchy"]
        parent.contributors = ["MedSAMSlicer contributors"]
        # Slicer's getDefaultModuleDocumentationLink() names a page of its own documentation, which extensions lack.
        parent.helpText = _(
            "From one box or a few clicks to a 3-D segmentation of a CT or MR volume: the SAM 2 video network carries "
            "the mask from slice to slice, on this computer. Choose a volume and a prompt tool and click on the organ: "
            'the mask grows through the volume. See <a href="{homepage}#readme">the documentation</a>. '
            "Research software, not a medical device."
        ).format(homepage=HOMEPAGE)
        parent.acknowledgementText = _(
            "Licensed under Apache-2.0. The network is SAM 2 by Ravi et al. (arXiv:2408.00714); its use on medical "
            "volumes follows MedSAM2 by Ma et al. (arXiv:2504.03600). Each checkpoint has a license of its own."
        )
        slicer.app.connect("startupCompleted()", self.registerSampleData)
        slicer.app.connect("startupCompleted()", self.registerEffect)

    def registerSampleData(self):
        """Offer volumes to try the module on in Slicer's Sample Data; called when Slicer has started."""
        from MedSAMSlicerLib.scene import sample_data

        sample_data.register(Path(self.resourcePath("Icons")))

    def registerEffect(self):
        """Add the effect "MedSAM" to Segment Editor; called when Slicer has started."""
        from MedSAMSlicerLib.MedSAMSlicerEffect import SegmentEditorMedSAMEffect

        SegmentEditorMedSAMEffect.register()


class Readiness(NamedTuple):
    """What is there on this computer: versions, None when not installed, and each checkpoint with its state."""

    version: str
    torch_version: str | None
    checkpoints: tuple[tuple[str, str], ...]


class MedSAMSlicerLogic(ScriptedLoadableModuleLogic):
    """What the module can do without its panel."""

    def readiness(self) -> Readiness:
        """Look what is installed, without importing torch."""
        import MedSAMSlicerLib
        from MedSAMSlicerLib.models import Registry

        try:
            torch_version = importlib.metadata.version("torch")
        except importlib.metadata.PackageNotFoundError:
            torch_version = None
        registry = Registry.from_environment()
        checkpoints = tuple((checkpoint.title, registry.state(checkpoint).value) for checkpoint in registry)
        return Readiness(MedSAMSlicerLib.__version__, torch_version, checkpoints)

    def getParameterNode(self):
        """The choices of the study with a typed attribute each: see MedSAMSlicerLib/scene/scripted_parameters.py."""
        from MedSAMSlicerLib.scene.scripted_parameters import wrapped

        return wrapped(super().getParameterNode())

    def segment(self, volumeNode, prompts, segmentationNode=None, **options):
        """Segment in one blocking call, for notebooks and batches: see MedSAMSlicerLib/scene/segment_call.py."""
        from MedSAMSlicerLib.scene.segment_call import segment

        return segment(volumeNode, prompts, segmentationNode, **options)

    def controller(self, settings=None):
        """Everything the panel can do, for scripts: the same actions, on Slicer's scene. Close it when done."""
        from MedSAMSlicerLib.app.controller import Controller
        from MedSAMSlicerLib.panel.timers import QtTimers
        from MedSAMSlicerLib.scene.slicer_scene import slicer_scene

        return Controller(slicer_scene(slicer.mrmlScene), timers=QtTimers(), settings=settings)


class MedSAMSlicerWidget(ScriptedLoadableModuleWidget):
    """The panel: made when the user opens the module for the first time, see MedSAMSlicerLib/panel."""

    def __init__(self, parent=None):
        self.logic = MedSAMSlicerLogic()
        self.ui = self.widgets = self.panel = self.controller = None
        super().__init__(parent)

    def setup(self) -> None:
        """Load the widgets and bind them; called once."""
        super().setup()
        from MedSAMSlicerLib.app.workspace import Settings
        from MedSAMSlicerLib.core.cleanups import Cleanup
        from MedSAMSlicerLib.panel.panel import Panel
        from MedSAMSlicerLib.panel.settings import MachineSettings

        self.widgets = slicer.util.loadUI(self.resourcePath("UI/MedSAMSlicer.ui"))
        self.layout.addWidget(self.widgets)
        self.ui = slicer.util.childWidgetVariables(self.widgets)
        self.widgets.setMRMLScene(slicer.mrmlScene)
        machine = MachineSettings()
        self.controller = self.logic.controller(
            Settings(
                device=machine.device,
                cache_bytes=machine.cache_bytes,
                models=machine.models_folder,
                volume_stage=machine.volume_stage,
                cleanup=Cleanup.usual(),
            )
        )
        self.panel = Panel(self.ui, self.controller, Path(self.resourcePath("")), machine)
        if self.parent.isEntered:  # after Reload, Slicer does not call `enter` for a module that is open
            self.enter()

    def enter(self) -> None:
        """Make shortcuts and strips; called whenever the module is opened."""
        if self.panel is not None:
            self.panel.enter()

    def exit(self) -> None:
        """Take shortcuts and strips away; called whenever another module is opened."""
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self) -> None:
        """End everything; called before the module is reloaded and when Slicer exits, maybe twice."""
        if self.panel is not None:
            self.panel.close()
            self.panel = None
        if self.controller is not None:
            self.controller.close()
            self.controller = None
        if self.widgets is not None:
            self.widgets.setMRMLScene(None)
            self.widgets.deleteLater()  # Slicer only hides the widgets of a module that is loaded again
            self.widgets = self.ui = None

    def onReload(self) -> None:
        """Drop the library from memory too, so that a developer's change in it is seen."""
        self.cleanup()
        for name in [name for name in sys.modules if name.split(".")[0] == "MedSAMSlicerLib"]:
            del sys.modules[name]
        super().onReload()


class MedSAMSlicerTest(ScriptedLoadableModuleTest):
    """The self test that runs inside Slicer, by Reload & Test."""

    def setUp(self) -> None:
        """Start with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test, each in an empty scene."""
        from MedSAMSlicerLib.panel import self_test

        for test in self_test.tests():
            self.setUp()
            self.delayDisplay(test.__doc__ or test.__name__)
            test(self)
