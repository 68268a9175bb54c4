"""The Segment Editor effect, its widgets and actions: the module's own controller, on a preview beside the segment.

While the effect is active the controller works on the editor's source volume and on a segmentation of its own, the
preview. *Accept* gives the preview to the editor, which applies its masking and notes one step of its undo. When the
effect is put down, the module has again what it had before.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import qt
import slicer
from slicer.i18n import tr as _

from ..app.ports import Tool
from ..app.state import Action, Message, Topic
from ..core.errors import MedSAMError
from ..scene import editor_preview
from .context import Context, SignalsBlocked
from .status import next_step
from .timers import refresh_timer

_TOOLS = {
    Tool.POINT_POSITIVE: ("positiveButton", "PointPositive"),
    Tool.POINT_NEGATIVE: ("negativeButton", "PointNegative"),
    Tool.BOX: ("boxButton", "Box"),
}


_effects: weakref.WeakSet[EditorEffect] = weakref.WeakSet()
"""All effects, one for each Segment Editor."""


def end_previews(controller: Any) -> None:
    """Release the controller in all effects: the module is closed, maybe to be reloaded."""
    for effect in [*_effects]:
        if effect.controller is controller:
            effect.module_closes()


class _Target(NamedTuple):
    """The nodes that the editor works on: nodes by their identifiers, so that none is kept alive."""

    volume_id: str
    segmentation_id: str
    segment_id: str


class EditorEffect:
    """The options of the effect, and what they do.

    Args:
        scripted: the qSlicerSegmentEditorScriptedEffect.
        resources: the module's Resources folder.
    """

    def __init__(self, scripted: Any, resources: Path) -> None:
        self._scripted = scripted
        self._active = self._following = False
        self._controller: Any = None
        self._preview_node_id, self._preview_id = "", ""
        self._target: _Target | None = None
        self._before = ("", "")  # volume and segmentation of the module
        self._kept: Any = None  # its session, with the history
        self._corrects = self._hid = False
        self._digest = 0  # of the voxels of the segment when the preview began
        self._message: str | None = None
        self._remove: list[Callable[[], None]] = []
        self.widget = slicer.util.loadUI(str(resources / "UI" / "MedSAMEffect.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        scripted.addOptionsWidget(self.widget)
        self._context = Context(self.ui, None, resources, SimpleNamespace())  # type: ignore[arg-type]
        self._context.message_given.connect(self._show_message)
        self._timer = refresh_timer(self.refresh)
        self._connect()
        _effects.add(self)

    def _connect(self) -> None:
        context = self._context
        for tool, (name, icon) in _TOOLS.items():
            context.set_up_button(name, icon).connect("clicked()", self._toggler(tool))
        steps: tuple[tuple[str, str, Callable[[], object]], ...] = (
            (
                "rangeFirstButton",
                "PreviousKeySlice",
                self._does(lambda controller: controller.editing.set_range_end(True)),
            ),
            (
                "rangeLastButton",
                "NextKeySlice",
                self._does(lambda controller: controller.editing.set_range_end(False)),
            ),
            ("allSlicesButton", "AcceptAll", self._does(lambda controller: controller.editing.clear_range())),
            ("propagateButton", "Propagate", self._does(lambda controller: controller.runs.propagate())),
            ("cancelButton", "Cancel", self._does(lambda controller: controller.runs.cancel())),
            ("undoButton", "Undo", self._does(lambda controller: controller.history.undo())),
            ("startOverButton", "Delete", self._begin_again),
            ("applyButton", "Accept", self.apply),
            ("moduleButton", "Start", _open_module),
        )
        for name, icon, step in steps:
            context.set_up_button(name, icon).connect("clicked()", self._attempting(step))

    # ------------------------------------------------------------------------------------------- coming and going

    @property
    def is_active(self) -> bool:
        """Return whether the effect is the active one of the editor."""
        return self._active

    @property
    def controller(self) -> Any:
        """The module's controller while the effect is active and has something to work on."""
        return self._controller

    def activate(self) -> None:
        """Begin a preview for the selected segment."""
        self._active = True
        self._message = None
        self._begin()

    def deactivate(self) -> None:
        """Discard the preview; the module goes on with what it had."""
        self._active = False
        self._end()

    def follow(self) -> None:
        """Begin again where the editor has another volume, segmentation or segment now; once it is done with that."""
        if self._active and not self._following and self._editor_target() != self._target:
            self._following = True
            qt.QTimer.singleShot(0, self._follow)

    def close(self) -> None:
        """Release everything."""
        self.deactivate()
        self._timer.stop()
        self._timer.disconnect("timeout()", self.refresh)

    def module_closes(self) -> None:
        """The controller is about to be closed: discard the preview."""
        self._end()

    def _follow(self) -> None:
        self._following = False
        if self._active and self._editor_target() != self._target:
            self._begin_again()

    def _begin_again(self) -> None:
        self._end()
        self._begin()

    def _editor_target(self) -> _Target | None:
        node = self._scripted.parameterSetNode()
        volume = None if node is None else node.GetSourceVolumeNode()
        segmentation = None if node is None else node.GetSegmentationNode()
        segment_id = None if node is None else node.GetSelectedSegmentID()
        if volume is None or segmentation is None or not segment_id:
            return None
        if segmentation.GetSegmentation().GetSegment(segment_id) is None:
            return None
        return _Target(volume.GetID(), segmentation.GetID(), segment_id)

    def _begin(self) -> None:
        target = self._target = self._editor_target()
        if target is not None and not self._context.attempt(lambda: self._begin_preview(target)):
            self._end_preview()
        self.refresh()

    def _begin_preview(self, target: _Target) -> None:
        scene = slicer.mrmlScene
        volume, segmentation = scene.GetNodeByID(target.volume_id), scene.GetNodeByID(target.segmentation_id)
        controller = slicer.util.getModuleWidget("MedSAMSlicer").controller
        if controller is None:
            raise MedSAMError(_("The module MedSAMSlicer is closed."))
        self._controller = self._context.controller = controller
        inputs = controller.inputs
        self._before = _id_of(inputs.volume_node), _id_of(inputs.segmentation_node)
        controller.set_in_use(True)
        controller.growing.suspended = True
        if self._is_of_the_module(target) and target.segment_id in inputs.segment_ids:
            controller.editing.object_of(target.segment_id)  # so that its masks have a history
        self._kept = inputs.suspend()
        controller.inputs.set_volume(volume)
        preview = editor_preview.create_preview(volume)
        self._preview_node_id = preview.GetID()
        controller.inputs.set_segmentation(preview)
        segment = segmentation.GetSegmentation().GetSegment(target.segment_id)
        self._preview_id = controller.inputs.add_segment(str(segment.GetName()))
        editor_preview.look_like(preview, self._preview_id, segmentation, target.segment_id)
        self._corrects = editor_preview.copy_voxels(
            segmentation, target.segment_id, preview, self._preview_id, volume
        )
        if self._corrects:
            controller.starting.start()
            self._hid = not editor_preview.is_hidden(segmentation, target.segment_id)
            editor_preview.show_segment(segmentation, target.segment_id, False)
        self._remove.append(controller.observe(self._changed))
        contents = segmentation.GetSegmentation()
        kind = slicer.vtkSegmentation  # the editor's undo reports segments, its tools voxels
        for event in (kind.SegmentModified, kind.SourceRepresentationModified):
            tag = contents.AddObserver(event, self._segment_modified)
            self._remove.append(partial(contents.RemoveObserver, tag))
        self._digest = editor_preview.digest(segmentation, target.segment_id, volume)

    def _end(self) -> None:
        if self._controller is not None:
            self._end_preview()
        self._target = None
        self.refresh()

    def _end_preview(self) -> None:
        """The module has again what it had before; the preview goes."""
        for remove in self._remove:
            remove()
        self._remove.clear()
        self._show_target_again()
        controller, self._controller = self._controller, None
        (volume_id, segmentation_id), kept, self._kept = self._before, self._kept, None
        scene = slicer.mrmlScene
        if controller is None or scene.IsClosing():
            return
        if controller.editing.placing is not None:
            controller.editing.stop_placing()

        if kept is not None:
            volume = scene.GetNodeByID(volume_id) if volume_id else None
            segmentation = scene.GetNodeByID(segmentation_id) if segmentation_id else None
            self._context.attempt(
                lambda: controller.inputs.resume(volume, segmentation, kept), keep_message=True
            )
        controller.set_in_use(False)
        controller.growing.suspended = False
        editor_preview.remove_preview(self._preview_node)

    def _is_of_the_module(self, target: _Target) -> bool:
        """Return whether the editor works on what the module had: its Undo then covers what is accepted here."""
        return self._before == (target.volume_id, target.segmentation_id)

    @property
    def _preview_node(self) -> Any:
        return slicer.mrmlScene.GetNodeByID(self._preview_node_id) if self._preview_node_id else None

    def _show_target_again(self) -> None:
        target, hid = self._target, self._hid
        self._hid = False
        segmentation = slicer.mrmlScene.GetNodeByID(target.segmentation_id) if target is not None else None
        if hid and target is not None and segmentation is not None:
            editor_preview.show_segment(segmentation, target.segment_id, True)

    def _segment_modified(self, _caller: Any, _event: str) -> None:
        """Another tool, such as the editor's undo, may have changed the segment: the preview is of what was before."""
        if self._active and not self._following:
            self._following = True
            qt.QTimer.singleShot(0, self._begin_after_edit)

    def _begin_after_edit(self) -> None:
        self._following = False
        target, node_of = self._target, slicer.mrmlScene.GetNodeByID
        if not self._active or target is None or target != self._editor_target():
            self._follow()
            return
        segmentation, volume = node_of(target.segmentation_id), node_of(target.volume_id)
        if editor_preview.digest(segmentation, target.segment_id, volume) != self._digest:
            self._begin_again()
            self._show_message(Message(_("The segment was changed: the preview starts over.")))

    # --------------------------------------------------------------------------------------------------- its actions

    def toggle(self, tool: Tool) -> None:
        """Activate a tool, or deactivate it if it is active."""
        controller = self._controller
        if controller is not None:
            held = controller.editing.placing is tool
            editing = controller.editing
            self._context.attempt(editing.stop_placing if held else lambda: editing.start_placing(tool))
        self.refresh()

    def apply(self) -> None:
        """Give the preview to the editor: within its masking, as one step of its undo. Then go on with what it made.

        Raises:
            MedSAMError: There is no preview, or it is still computed.
        """
        why = self._reason_against_apply()
        if why is not None:
            raise MedSAMError(why)
        self._controller.editing.stop_placing()
        self._show_target_again()  # the editor may mask by what is visible
        scripted = self._scripted
        labelmap = editor_preview.preview_labelmap(
            self._preview_node, self._preview_id, scripted.defaultModifierLabelmap()
        )
        modes = slicer.qSlicerSegmentEditorAbstractEffect
        mode = modes.ModificationModeSet if self._corrects else modes.ModificationModeAdd
        controller, target = self._controller, self._target
        prompts = controller.editing.prompts_of(self._preview_id)
        self._end_preview()  # before the editor writes: what follows is an edit of the module's session, if of any
        scripted.saveStateForUndo()
        scripted.modifySelectedSegmentByLabelmap(labelmap, mode)
        if target is not None and self._is_of_the_module(target):
            controller.editing.accept_outside(target.segment_id, prompts)
        self._begin()
        self._show_message(
            Message(_("Accepted. Segment Editor's Undo reverts it; new prompts continue from here."))
        )

    def _reason_against_apply(self) -> str | None:
        controller = self._controller
        if controller is None:
            return _("Choose a source volume and a segment first.")
        if controller.runs.busy:
            return _("A propagation is running: cancel it or wait until it ends.")
        steps = controller.history.steps[0]
        if steps <= int(self._corrects):
            return _("There is no preview yet: add a prompt first.")
        return None

    def _does(self, step: Callable[[Any], object]) -> Callable[[], None]:
        """Do something with the controller that there is at that time."""

        def do() -> None:
            step(self._controller)

        return do

    def _toggler(self, tool: Tool) -> Callable[[], None]:
        return lambda: self.toggle(tool)

    def _attempting(self, step: Callable[[], object]) -> Callable[[], None]:
        def attempt() -> None:
            self._context.attempt(step)
            self.refresh()

        return attempt

    # ------------------------------------------------------------------------------------------------------- showing

    def _changed(self, topic: Topic) -> None:
        if topic is Topic.MESSAGE and self._controller is not None:
            self._show_message(self._controller.message)
        if not self._timer.active:
            self._timer.start()

    def _show_message(self, message: Message | None) -> None:
        self._message = None if message is None else message.text
        if not self._timer.active:
            self._timer.start()

    def refresh(self) -> None:
        """Update from the controller."""
        ui, controller, context = self.ui, self._controller, self._context
        ui.messageLabel.text = self._message or self._hint()
        if controller is None:
            for name in _BUTTONS:
                context.allow_unless(name, _("Choose a source volume and a segment first."))
            return
        for tool, (name, _icon) in _TOOLS.items():
            context.allow(name, Action.PLACE if tool is Tool.BOX else Action.PLACE_POINT)
            with SignalsBlocked(getattr(ui, name)):
                getattr(ui, name).checked = controller.editing.placing is tool
        for name, action in _ALLOWED:
            context.allow(name, action)
        started = controller.history.steps[0] <= int(self._corrects)
        context.allow_unless("undoButton", _("There is nothing to undo.") if started else None)
        context.allow_unless("startOverButton", None)
        context.allow_unless("applyButton", self._reason_against_apply())
        busy, progress = controller.runs.busy, controller.runs.progress
        ui.propagateButton.setVisible(not busy)
        ui.cancelButton.setVisible(busy)
        ui.progressBar.setVisible(busy)
        if busy and progress is not None:
            ui.progressBar.setRange(0, max(1, progress.total))
            ui.progressBar.setValue(progress.done)
        chosen = controller.editing.slice_range
        ui.rangeLabel.text = _("All slices") if chosen is None else _("{0} to {1}").format(*chosen)

    def _hint(self) -> str:
        if self._controller is None:
            return _("Choose a source volume and a segment first.")
        if self._controller.network.failure or self._controller.network.state.name == "NOT_INSTALLED":
            return _("The network is not ready: open the module MedSAMSlicer to see what is missing.")
        return next_step(self._controller)


_ALLOWED = (
    ("rangeFirstButton", Action.SET_RANGE),
    ("rangeLastButton", Action.SET_RANGE),
    ("allSlicesButton", Action.CLEAR_RANGE),
    ("propagateButton", Action.PROPAGATE),
    ("cancelButton", Action.CANCEL),
)
_BUTTONS = (
    *(name for name, _icon in _TOOLS.values()),
    *(name for name, _action in _ALLOWED),
    "undoButton",
    "startOverButton",
    "applyButton",
)


def _id_of(node: Any) -> str:
    return "" if node is None else str(node.GetID())


def _open_module() -> None:
    slicer.util.selectModule("MedSAMSlicer")
