"""The class that Slicer makes for the Segment Editor effect "MedSAM"; what it does is in `panel/editor_effect.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

RESOURCES = Path(__file__).resolve().parents[2] / "Resources"


class SegmentEditorMedSAMEffect(AbstractScriptedSegmentEditorEffect):
    """Called by qSlicerSegmentEditorScriptedEffect; the names of its methods are Slicer's."""

    def __init__(self, scriptedEffect: Any) -> None:
        scriptedEffect.name = "MedSAM"  # modules find effects by their names: not translated
        scriptedEffect.title = "MedSAM"
        scriptedEffect.showEffectCursorInSliceView = False
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self.panel: Any = None

    def clone(self) -> Any:
        """Another one, for another Segment Editor."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        cloned = effects.qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(str(Path(__file__).resolve()).replace("\\", "/"))
        return cloned

    def icon(self) -> Any:
        """Shown on the effect's button."""
        return qt.QIcon(str(RESOURCES / "Icons" / "MedSAMSlicer.png"))

    def helpText(self) -> str:
        """Shown in the help of the effect."""
        return "<html>" + _(
            "Segment with a box or a few clicks: the network draws the mask of the slice and carries it through the "
            "volume.<br><ul><li><b>Box</b>, <b>Point +</b>, <b>Point \u2212</b>: click in a slice view; the preview "
            "follows.<li><b>Propagate</b>: the preview of all slices, or from the first to the last that you chose."
            "<li><b>Accept</b>: the preview is written to the selected segment, following the editor's masking "
            "settings, as one step of its undo.</ul>A segment that is not empty is corrected: only the "
            "slices near prompts change."
        )

    def setupOptionsFrame(self) -> None:
        """Make the widgets."""
        self._renew()

    def activate(self) -> None:
        """The user chose the effect."""
        self._renew()
        self.panel.activate()

    def deactivate(self) -> None:
        """The user chose another effect, or left Segment Editor."""
        self.panel.deactivate()

    def interactionNodeModified(self, interactionNode: Any) -> None:
        """Placing prompts is Slicer's place mode, which must not put the effect down, as it does by default."""

    def sourceVolumeNodeChanged(self) -> None:
        """The editor has another source volume."""
        self._renew()
        self.panel.follow()

    def updateGUIFromMRML(self) -> None:
        """The editor's choices have changed, such as the selected segment."""
        if self.panel is not None:
            self._renew()
            self.panel.follow()

    def updateMRMLFromGUI(self) -> None:
        """Nothing of the effect is kept in the editor's node."""

    def setMRMLDefaults(self) -> None:
        """Nothing of the effect is kept in the editor's node."""

    def _renew(self) -> None:
        """Make the widgets, and make them again after Reload of the module: its classes are others then."""
        from MedSAMSlicerLib.panel.editor_effect import EditorEffect

        before = self.panel
        if isinstance(before, EditorEffect):
            return
        self.panel = EditorEffect(self.scriptedEffect, RESOURCES)
        if before is not None:
            chosen = before.is_active
            before.close()
            before.widget.setParent(None)
            before.widget.deleteLater()
            if chosen:
                self.panel.activate()

    def cleanup(self) -> None:
        """Release everything before Slicer deletes the effect."""
        if self.panel is not None:
            self.panel.close()
            self.panel = None


def register() -> None:
    """Make the effect known to Segment Editor."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(str(Path(__file__).resolve()).replace("\\", "/"))
    effect.self().register()
