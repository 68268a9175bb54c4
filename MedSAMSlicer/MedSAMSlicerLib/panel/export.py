"""Export: segmentation, NIfTI, DICOM SEG and prompts; and prompts that were saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..app.segment_facts import SharedVoxels
from ..app.state import Action, Message, Topic
from ..core.geometry import volume_text
from ..scene.export_files import (
    export_dicom,
    export_nifti,
    export_segmentation,
    has_voxels,
    is_from_dicom,
)
from .context import Context
from .install import ensure_dicom_packages

_FOLDER = "MedSAMSlicer/ExportFolder"
_MOST_PAIRS = 4
"""At most so many overlaps are listed before an export."""


class ExportSection:
    """The button "Export" with its menu, and the one that loads prompts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._came: tuple[str | None, bool] = (
            None,
            False,
        )  # instances of the volume, and whether they are there
        self._filled = False  # whether there was a voxel to export when that was looked at last
        button = context.set_up_button("exportButton", "Export")
        self._menu = qt.QMenu(button)
        self._menu.setToolTipsVisible(True)
        self._actions: dict[str, tuple[Any, str]] = {}
        for name, text, tip, slot in (
            (
                "segmentation",
                _("Segmentation (.seg.nrrd)..."),
                _("With names, colors and overlaps; opens in Slicer"),
                self.export_segmentation,
            ),
            (
                "nifti",
                _("NIfTI label map (.nii.gz)..."),
                _("On the voxel grid of the volume, labels in the order of the table"),
                self.export_nifti,
            ),
            (
                "dicom",
                _("DICOM SEG (.dcm)..."),
                _("A DICOM segmentation of the series that the volume came from"),
                self.export_dicom,
            ),
            (
                "prompts",
                _("Prompts (.json)..."),
                _("Prompts and settings, which reproduce the same masks on the same volume"),
                self.save_prompts,
            ),
        ):
            if name == "prompts":
                self._menu.addSeparator()
            action = qt.QAction(text, self._menu)
            self._menu.addAction(action)
            action.toolTip = tip
            action.connect("triggered()", slot)
            self._actions[name] = action, tip
        button.setMenu(self._menu)
        context.set_up_button("loadPromptsButton", "Import").connect("clicked()", self.load_prompts)

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        controller = self._context.controller
        node = controller.inputs.segmentation_node
        if topics & {Topic.INPUTS, Topic.SEGMENTS, Topic.MASKS, Topic.RUN} and not controller.runs.busy:
            self._filled = node is not None and has_voxels(node)
        empty = None if self._filled else _("There is no mask yet: add a prompt first.")
        if topics & {Topic.INPUTS, Topic.SEGMENTS}:
            volume = controller.inputs.volume_node
            came = volume.GetAttribute("DICOM.instanceUIDs") if volume is not None else None
            if (
                came != self._came[0]
            ):  # asked once: each instance is a query of the database and a look at the disk
                self._came = came, bool(came) and is_from_dicom(volume)
        found = None if self._came[1] else _("The volume was not loaded from Slicer's DICOM database.")
        reasons = {
            "segmentation": empty,
            "nifti": empty,
            "dicom": empty or found,
            "prompts": controller.reason(Action.EXPORT_PROMPTS),
        }
        for name, reason in reasons.items():
            action, tip = self._actions[name]
            action.enabled = reason is None
            action.toolTip = tip if reason is None else f"{tip}\n\n{reason}"
        self._context.allow_unless("exportButton", None if None in reasons.values() else empty)
        self._context.allow("loadPromptsButton", Action.IMPORT_PROMPTS)

    def close(self) -> None:
        """See Section."""

    def export_segmentation(self) -> None:
        """Ask for a name and write a .seg.nrrd file."""
        node = self._context.controller.inputs.segmentation_node
        if self._overlaps_are_wanted(_("The file keeps them in both.")):
            kinds = _("Segmentation (*.seg.nrrd)")
            write_chosen(self._context, kinds, ".seg.nrrd", lambda path: export_segmentation(node, path))

    def export_nifti(self) -> None:
        """Ask for a name and write a label map."""
        controller = self._context.controller

        def write(path: Path) -> str | None:
            shared = export_nifti(controller.inputs.segmentation_node, controller.inputs.volume_node, path)
            if not shared:
                return None
            return _(
                "Saved {path}; {count} voxels belong to several segments, of which it keeps the last."
            ).format(path=path, count=shared)

        if self._overlaps_are_wanted(_("A label map keeps only the one that is lower in the table.")):
            write_chosen(self._context, _("NIfTI label map (*.nii.gz)"), ".nii.gz", write)

    def export_dicom(self) -> None:
        """Ask for a name and write a DICOM segmentation, after installing what that needs."""
        controller = self._context.controller

        def write(path: Path) -> str:
            ensure_dicom_packages()
            known = export_dicom(controller.inputs.segmentation_node, controller.inputs.volume_node, path)
            there = _("Saved {path}, and added a copy to the series in Slicer's DICOM database.")
            absent = _(
                "Saved {path}, but it could not be added to Slicer's DICOM database: import the file there."
            )
            return (there if known else absent).format(path=path)

        if self._overlaps_are_wanted(_("The file keeps them in both.")):
            write_chosen(self._context, _("DICOM segmentation (*.dcm)"), ".dcm", write)

    def save_prompts(self) -> None:
        """Ask for a name and write prompts and settings."""
        controller = self._context.controller

        def write(path: Path) -> str:
            text = _names(controller.files.export_prompts(path))
            further = ", ".join(str(each.node.GetName()) for each in controller.inputs.channels.chosen)
            if not further:
                return text
            lacks = _("They do not include {volumes}: pass these with --channel when you replay the prompts.")
            return f"{text} {lacks.format(volumes=further)}"

        write_chosen(self._context, _("Prompts (*.json)"), ".json", write)

    def load_prompts(self) -> None:
        """Ask for a file and add its objects as segments."""
        name = _chosen(
            qt.QFileDialog.getOpenFileName(
                slicer.util.mainWindow(), _("Load prompts"), _folder(), _("Prompts (*.json)")
            )
        )
        if name:
            self._context.attempt(lambda: self._context.controller.files.import_prompts(Path(name)))

    def _overlaps_are_wanted(self, consequence: str) -> bool:
        """Ask whether to go on where voxels belong to several segments; without such voxels nothing is asked."""
        found: list[SharedVoxels] = []
        if not self._context.attempt(lambda: found.extend(self._context.controller.review.shared_voxels())):
            return False
        if not found:
            return True
        one = _("{volume} mL of {first} also in {second}")
        pairs = [
            one.format(volume=volume_text(each.milliliters), first=each.first, second=each.second)
            for each in found[:_MOST_PAIRS]
        ]
        if len(found) > _MOST_PAIRS:
            pairs.append(_("{count} more pairs").format(count=len(found) - _MOST_PAIRS))
        text = _("Voxels belong to several segments: {pairs}. {consequence} Export anyway?")
        question = text.format(pairs="; ".join(pairs), consequence=consequence)
        return bool(slicer.util.confirmOkCancelDisplay(question, _("MedSAMSlicer")))


def write_chosen(context: Context, kinds: str, suffix: str, write: Callable[[Path], str | None]) -> None:
    """Ask for a file's name with an ending, write it, and show what `write` says, or that it was saved."""
    volume = context.controller.inputs.volume_node
    proposed = f"{volume.GetName() if volume is not None else 'segmentation'}{suffix}"
    name = _chosen(
        qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Export"), str(Path(_folder()) / proposed), kinds
        )
    )
    if not name:
        return
    path = Path(name if name.lower().endswith(suffix) else name + suffix)
    found: list[str | None] = []
    if context.attempt(lambda: found.append(write(path))):
        qt.QSettings().setValue(_FOLDER, str(path.parent))
        context.show_message(Message(found[0] or _("Saved {path}.").format(path=path)))


def _folder() -> str:
    """The folder that the user exported to last."""
    found = qt.QSettings().value(_FOLDER)
    return str(found) if found and Path(str(found)).is_dir() else str(Path.home())


def _names(paths: tuple[Path, ...]) -> str:
    return _("Saved {paths}.").format(paths=", ".join(str(path) for path in paths))


def _chosen(answer: object) -> str:
    """PythonQt answers with the name, PySide with the name and the kind."""
    return str(answer[0] if isinstance(answer, (tuple, list)) else answer or "")
