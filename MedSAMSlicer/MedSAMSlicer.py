"""The scripted module MedSAMSlicer: what Slicer loads, wiring only.

Everything that computes lives in MedSAMSlicerLib. Nothing here imports torch, so that the module appears in Slicer
before anything was installed. In this version the panel tells what is ready on this computer; segmentation runs from
the command line.
"""

from __future__ import annotations

import importlib.metadata
import sys
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
        parent.dependencies = []
        parent.contributors = ["MedSAMSlicer contributors"]
        parent.helpText = _(
            "From one box or a few clicks to a 3-D segmentation of a CT or MR volume: the SAM 2 video network carries "
            "the mask from slice to slice, on this computer. In this version segmentation runs from the command "
            'line; see <a href="{homepage}">the documentation</a>. Research software, not a medical device.'
        ).format(homepage=HOMEPAGE)
        parent.acknowledgementText = _(
            "Licensed under Apache-2.0. The network is SAM 2 by Ravi et al. (arXiv:2408.00714); its use on medical "
            "volumes follows MedSAM2 by Ma et al. (arXiv:2504.03600). Each checkpoint has a licence of its own."
        )


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
        checkpoints = tuple((entry.title, registry.state(entry).value) for entry in registry)
        return Readiness(MedSAMSlicerLib.__version__, torch_version, checkpoints)


class MedSAMSlicerWidget(ScriptedLoadableModuleWidget):
    """The panel."""

    def __init__(self, parent=None):
        self.logic = MedSAMSlicerLogic()
        self.ui = None
        super().__init__(parent)

    def setup(self) -> None:
        """Load the panel; called when the user opens the module for the first time."""
        super().setup()
        panel = slicer.util.loadUI(self.resourcePath("UI/MedSAMSlicer.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        self.showReadiness()

    def enter(self) -> None:
        """Look again, as something may have been installed since; called whenever the module is opened."""
        if self.ui is not None:
            self.showReadiness()

    def showReadiness(self) -> None:
        """Write what is ready on this computer into the panel."""
        with slicer.util.tryWithErrorDisplay(_("Failed to look what is installed.")):
            ready = self.logic.readiness()
            self.ui.versionLabel.text = ready.version
            self.ui.torchLabel.text = ready.torch_version or _("not installed")
            lines = [f"{title}: {state}" for title, state in ready.checkpoints]
            self.ui.checkpointsLabel.text = "\n".join(lines)

    def onReload(self) -> None:
        """Drop the library from memory too, so that a developer's change in it is seen."""
        for name in [name for name in sys.modules if name.split(".")[0] == "MedSAMSlicerLib"]:
            del sys.modules[name]
        super().onReload()


class MedSAMSlicerTest(ScriptedLoadableModuleTest):
    """The self test that runs inside Slicer."""

    def runTest(self) -> None:
        """Run every test of this class."""
        self.test_readiness_is_told_without_importing_torch()

    def test_readiness_is_told_without_importing_torch(self) -> None:
        """The panel opens before torch is there, and names the checkpoints."""
        torch_was_loaded = "torch" in sys.modules
        ready = MedSAMSlicerLogic().readiness()
        self.assertTrue(ready.version)
        self.assertTrue(ready.checkpoints)
        self.assertEqual(torch_was_loaded, "torch" in sys.modules)
