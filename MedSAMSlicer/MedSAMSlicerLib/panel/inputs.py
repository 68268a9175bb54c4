"""Inputs: volume, segmentation, window, model, device."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..app.state import NetworkState, Topic
from ..core.errors import MedSAMError
from ..core.intensity import CT_PRESETS
from ..models import Checkpoint, Registry, State
from ..scene.nodes import volume_array
from ..scene.slice_views import shown_slice
from .context import Connections, Context, SignalsBlocked
from .settings import VOLUME_STAGES, offered_devices
from .slice_picture import pixmap_of

_ROOM = 100  # pixels for the picture


class InputsSection:
    """The section; `registry` says which models there are, `open_models` shows the dialog that gets more."""

    def __init__(
        self, context: Context, registry: Callable[[], Registry], open_models: Callable[[], None]
    ) -> None:
        self._context = context
        self._registry = registry
        self._closed = self._prompted = False
        self._in_view: str | None = None  # the volume that the views showed last
        self._listed: str | None = None  # the model that was in use when the models were listed
        ui = context.ui
        context.set_up_button("modelsButton", "Download")
        self._pictured: tuple[Any, ...] | None = None
        self._fill_choices()
        self.fill_models()
        self._connections = Connections(
            (ui.inputsSection, "contentsCollapsed(bool)", self._folded),
            (ui.volumeSelector, "currentNodeChanged(vtkMRMLNode*)", self._volume_chosen),
            (ui.segmentationSelector, "currentNodeChanged(vtkMRMLNode*)", self._segmentation_chosen),
            (ui.windowSelector, "currentIndexChanged(int)", self._window_chosen),
            (ui.modelSelector, "currentIndexChanged(int)", self._model_chosen),
            (ui.deviceSelector, "currentIndexChanged(int)", self._device_chosen),
            (ui.tierSelector, "currentIndexChanged(int)", self._tier_chosen),
            (ui.stageSelector, "currentIndexChanged(int)", self._stage_chosen),
            (ui.windowLower, "valueChanged(double)", self._numbers_chosen),
            (ui.windowUpper, "valueChanged(double)", self._numbers_chosen),
            (ui.modelsButton, "clicked()", open_models),
        )

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        if topics & {Topic.INPUTS, Topic.SEGMENTS}:
            self._show_nodes()
        if topics & {Topic.INPUTS, Topic.NETWORK}:
            self._show_choices()
        elif Topic.PROMPTS in topics:
            self._show_network()
        if topics & {Topic.INPUTS, Topic.NETWORK, Topic.VIEW, Topic.PROMPTS}:
            self._show_picture()
        self._fold()

    def _fold(self) -> None:
        """Fold the section to one line after the first prompt; the user can unfold it."""
        section, controller = self._context.ui.inputsSection, self._context.controller
        prompted = controller.network.window_is_fixed
        in_time = controller.inputs.times.shown is not None
        if prompted != self._prompted and (
            prompted or not in_time
        ):  # no jump from one time point to the next
            self._prompted = section.collapsed = prompted
        volume, further = controller.inputs.volume_node, controller.inputs.channels.chosen
        names = [] if volume is None else [volume.GetName(), *(each.node.GetName() for each in further)]
        chosen = (
            [" + ".join(map(str, names)), str(self._context.ui.modelSelector.currentText)] if names else []
        )
        section.text = (
            ": ".join([_("Inputs"), ", ".join(chosen)]) if section.collapsed and chosen else _("Inputs")
        )

    def close(self) -> None:
        """See Section."""
        self._closed = True
        self._connections.close()

    def suggest_volume(self) -> None:
        """Take the volume that the slice views show when the user has chosen none yet."""
        controller = self._context.controller
        node = shown_volume() or shown_volume("vtkMRMLVectorVolumeNode")  # of colors: refused with a sentence
        self._in_view = node.GetID() if node is not None else None
        if node is not None and controller.inputs.volume_node is None:
            self._context.attempt(lambda: controller.inputs.set_volume(node))

    def suggest_new_volume(self) -> None:
        """Take a volume that has just come into the views, such as one that was loaded, when none is chosen.

        One that was there before is not taken: the user may have chosen to work on none.
        """
        node = shown_volume() or shown_volume("vtkMRMLVectorVolumeNode")
        loading = slicer.mrmlScene.IsBatchProcessing() or (node is not None and node.GetImageData() is None)
        if not loading and (node.GetID() if node is not None else None) != self._in_view:
            self.suggest_volume()

    def fill_models(self) -> None:
        """List the models that are on this computer."""
        selector = self._context.ui.modelSelector
        registry = self._registry()
        with SignalsBlocked(selector):
            selector.clear()
            for checkpoint in registry:
                if registry.state(checkpoint) is not State.NOT_ON_DISK:
                    selector.addItem(short_title(checkpoint), name_of(checkpoint))
                    selector.setItemData(selector.count - 1, checkpoint.title, qt.Qt.ToolTipRole)
            chosen = self._context.controller.network.checkpoint
            if selector.findData(chosen) < 0:  # as in a scene of another computer: another one can be chosen
                there = Path(chosen).is_file()
                text = Path(chosen).name if there else _("{name} (missing)").format(name=Path(chosen).name)
                selector.addItem(text, chosen)
            self._listed = chosen
            _select(selector, chosen)

    def _fill_choices(self) -> None:
        ui = self._context.ui
        devices = {"auto": _("Automatic"), "cuda": _("NVIDIA GPU"), "mps": _("Apple GPU"), "cpu": _("CPU")}
        tiers = (
            (_("Automatic"), ""),
            (_("Exact"), "exact"),
            (_("Balanced"), "balanced"),
            (_("Fast"), "fast"),
        )
        for text, spec in window_choices():
            ui.windowSelector.addItem(text, spec)
        for device in offered_devices():
            ui.deviceSelector.addItem(devices[device], device)
        for text, tier in tiers:
            ui.tierSelector.addItem(text, tier)
        stages = {"auto": _("With a second network"), "learned": _("Quick"), "off": _("Off")}
        for stage in VOLUME_STAGES:
            ui.stageSelector.addItem(stages[stage], stage)

    # ------------------------------------------------------------------------------------------ what the user chose

    def _folded(self, _collapsed: bool) -> None:
        self._fold()

    def _volume_chosen(self, _node: Any) -> None:
        # Not at once: where a node is deleted, the controller must react first.
        qt.QTimer.singleShot(0, self._take_volume)

    def _segmentation_chosen(self, _node: Any) -> None:
        qt.QTimer.singleShot(0, self._take_segmentation)

    def _take_volume(self) -> None:
        controller, node = self._context.controller, self._context.ui.volumeSelector.currentNode()
        if not self._closed and node is not controller.inputs.volume_node:
            self._take(partial(controller.inputs.set_volume, node))

    def _take_segmentation(self) -> None:
        controller, node = self._context.controller, self._context.ui.segmentationSelector.currentNode()
        if not self._closed and node is not controller.inputs.segmentation_node:
            self._take(partial(controller.inputs.set_segmentation, node))

    def _take(self, choose: Callable[[], None]) -> None:
        if not self._context.attempt(choose):
            self._show_nodes()

    def _window_chosen(self, _index: int) -> None:
        spec = str(self._context.ui.windowSelector.currentData)
        if not self._context.attempt(lambda: self._context.controller.network.set_window(spec)):
            self._show_choices()

    def _numbers_chosen(self, _value: float) -> None:
        lower, upper = self._context.ui.windowLower.value, self._context.ui.windowUpper.value
        if not self._context.attempt(
            lambda: self._context.controller.network.set_window(f"{lower:g},{upper:g}")
        ):
            self._show_choices()

    def _model_chosen(self, _index: int) -> None:
        name = str(self._context.ui.modelSelector.currentData)
        if not self._context.attempt(lambda: self._context.controller.network.set_checkpoint(name)):
            self._show_choices()

    def _device_chosen(self, _index: int) -> None:
        device = str(self._context.ui.deviceSelector.currentData)
        if self._context.attempt(lambda: self._context.controller.network.set_device(device)):
            self._context.settings.device = device
        else:
            self._show_choices()

    def _tier_chosen(self, _index: int) -> None:
        tier = str(self._context.ui.tierSelector.currentData) or None
        if not self._context.attempt(lambda: self._context.controller.network.set_tier(tier)):
            self._show_choices()

    def _stage_chosen(self, _index: int) -> None:
        stage = str(self._context.ui.stageSelector.currentData)
        if self._context.attempt(lambda: self._context.controller.network.set_volume_stage(stage)):
            self._context.settings.volume_stage = stage
        else:
            self._show_choices()

    # --------------------------------------------------------------------------------------------- what there is now

    def _show_nodes(self) -> None:
        ui, controller = self._context.ui, self._context.controller
        with SignalsBlocked(ui.volumeSelector, ui.segmentationSelector):
            ui.volumeSelector.setCurrentNode(controller.inputs.volume_node)
            ui.segmentationSelector.setCurrentNode(controller.inputs.segmentation_node)

    def _show_choices(self) -> None:
        ui, controller = self._context.ui, self._context.controller
        selectors = ui.windowSelector, ui.deviceSelector, ui.tierSelector, ui.stageSelector, ui.modelSelector
        with SignalsBlocked(*selectors):
            self._show_window_choice()
            _select(ui.deviceSelector, controller.network.device)
            _select(ui.tierSelector, controller.network.tier or "")
            _select(ui.stageSelector, controller.network.volume_stage)
            if self._listed != controller.network.checkpoint:
                self.fill_models()
        with SignalsBlocked(ui.windowLower, ui.windowUpper):
            if controller.network.window is not None:
                ui.windowLower.value = controller.network.window.lower
                ui.windowUpper.value = controller.network.window.upper
        for name in ("windowSelector", "windowLower", "windowUpper"):
            self._context.allow_unless(
                name, None if controller.inputs.volume_node else _("Choose a volume first.")
            )
        self._show_network()

    def _show_window_choice(self) -> None:
        """A window in numbers is listed last while it is in use."""
        selector, spec = self._context.ui.windowSelector, self._context.controller.network.window_spec
        own = selector.findData("own")
        if own >= 0:
            selector.removeItem(own)
        if selector.findData(spec) >= 0:
            _select(selector, spec)
            return
        lower, _comma, upper = spec.partition(",")
        selector.addItem(_("{lower} to {upper}").format(lower=lower, upper=upper), "own")
        _select(selector, "own")

    def _show_network(self) -> None:
        controller = self._context.controller
        state = controller.network.state
        lines = [self._about_model()]
        if state is NetworkState.READY and not controller.network.note:
            lines.append(
                _("Runs on {device}, {tier}.").format(
                    device=controller.network.device_used, tier=controller.network.tier_used
                )
            )
        elif state is NetworkState.PREPARING:
            lines.append(_("Preparing..."))
        if controller.network.note:
            lines.append(controller.network.note)
        if controller.network.window is not None:
            lines.append(self._about_window())
        label = self._context.ui.networkLabel
        label.text = " ".join(lines)

    def _about_window(self) -> str:
        """The gray values that the network sees, and whether they still follow the views."""
        controller = self._context.controller
        window = controller.network.window
        if window is None:
            return ""
        numbers = {"lower": f"{window.lower:g}", "upper": f"{window.upper:g}"}
        if controller.network.window_spec != "display":
            return _("Window {lower} to {upper}.").format(**numbers)
        if controller.network.window_is_fixed:
            return _("Window {lower} to {upper}, fixed at the first prompt.").format(**numbers)
        if window.name != "display":
            return _("Window {lower} to {upper}, automatic until you set one in the views.").format(**numbers)
        return _("Window {lower} to {upper}, as in the views until the first prompt.").format(**numbers)

    def _about_model(self) -> str:
        registry = self._registry()
        try:
            checkpoint = registry.find(self._context.controller.network.checkpoint)
        except MedSAMError as error:
            return str(error)
        states = {
            State.BUNDLED: _("Bundled"),
            State.ON_DISK: _("On this computer"),
            State.NOT_ON_DISK: _("Not downloaded"),
        }
        facts = [states[registry.state(checkpoint)], size_text(checkpoint), checkpoint.license]
        return ", ".join(part for part in facts if part) + "."

    def _show_picture(self) -> None:
        label, controller = self._context.ui.slicePicture, self._context.controller
        volume, geometry, window = (
            controller.inputs.volume_node,
            controller.inputs.geometry,
            controller.network.window,
        )
        if volume is None or geometry is None or window is None:
            self._pictured = None
            label.text = _("No picture yet") if volume is not None else ""
            return
        shown = shown_slice(_first_slice_node(), volume) if _first_slice_node() is not None else None
        axis, index = controller.editing.axis, controller.review.shown_index
        if axis is None or index is None:
            if shown is None:
                return
            axis, index = shown.axis, shown.index
        index = min(max(index, 0), geometry.slice_count(axis) - 1)
        fused = controller.inputs.channels.fused
        new = (volume.GetID(), controller.inputs.times.shown, axis, index, window, id(fused))
        if new != self._pictured:
            self._pictured = new
            ratio = float(label.devicePixelRatioF())
            array = volume_array(volume, color=True) if fused is None else fused
            label.setPixmap(pixmap_of(array, geometry, axis, index, window, _ROOM, ratio))


def window_choices() -> tuple[tuple[str, str], ...]:
    """The windows that are offered, in words and as the controller takes them."""
    return (
        (_("As set in the views"), "display"),
        (_("Automatic"), "auto"),
        *((_("CT: {preset}").format(preset=name), name) for name in CT_PRESETS),
        (_("MR: percentiles"), "percentile"),
        (_("PET: SUV 0 to 10"), "pet"),
        (_("Full range"), "full"),
    )


def shown_volume(class_name: str = "vtkMRMLScalarVolumeNode") -> Any | None:
    """The volume of a class that is the background of a slice view, None when there is none."""
    manager = slicer.app.layoutManager()
    for name in manager.sliceViewNames() if manager is not None else ():
        widget = manager.sliceWidget(name)
        composite = widget.mrmlSliceCompositeNode() if widget is not None else None
        node_id = composite.GetBackgroundVolumeID() if composite is not None else None
        node = slicer.mrmlScene.GetNodeByID(node_id) if node_id else None
        if node is not None and node.GetClassName() == class_name:
            return node
    return None


def short_title(checkpoint: Checkpoint) -> str:
    """The name of a model without its description."""
    return re.split("[:,]", checkpoint.title)[0]


def name_of(checkpoint: Checkpoint) -> str:
    """Return what the controller calls a model."""
    return checkpoint.id


def size_text(checkpoint: Checkpoint) -> str:
    """Size of a model's file, empty when it is not known."""
    return f"{checkpoint.bytes / 1e6:.0f} MB" if checkpoint.bytes else ""


def _first_slice_node() -> Any | None:
    manager = slicer.app.layoutManager()
    for name in manager.sliceViewNames() if manager is not None else ():
        widget = manager.sliceWidget(name)
        if widget is not None and widget.mrmlSliceNode() is not None:
            return widget.mrmlSliceNode()
    return None


def _select(selector: Any, data: str | Path) -> None:
    position = selector.findData(str(data))
    if position >= 0:
        selector.setCurrentIndex(position)
