"""The panel as a whole: sections, shortcuts, strips of the slice views, models dialog, and when each is refreshed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt

from ..app.state import Level, Message, Topic
from ..models import Checkpoint, Registry
from .confidence_strip import SliceStrips
from .context import Context, Section
from .correct import CorrectSection
from .editor_effect import end_previews
from .export import ExportSection
from .inputs import InputsSection
from .install import install
from .lesions import LesionsSection
from .models_dialog import ModelsDialog
from .more_volumes import MoreVolumesSection
from .prompts import PromptsSection
from .propagate import PropagateSection
from .scripted_choices import ScriptedChoices
from .segments import SegmentsSection
from .settings import MachineSettings
from .shortcuts import Shortcuts, help_text, view_windows
from .status import StatusSection
from .suggestions import SuggestionsSection
from .timers import refresh_timer
from .times import TimesSection

if TYPE_CHECKING:
    from ..app.controller import Controller

_ALL = frozenset(Topic)


class Panel:
    """Binds the widgets of MedSAMSlicer.ui to a controller.

    Args:
        ui: the widgets by name.
        controller: does what the user asks; not closed by the panel.
        resources: the module's Resources folder.
        settings: the choices of this computer.
    """

    def __init__(self, ui: Any, controller: Controller, resources: Path, settings: MachineSettings) -> None:
        self._ui, self._controller, self._settings = ui, controller, settings
        self._context = Context(ui, controller, resources, settings)
        self._topics: set[Topic] = set()
        self._models: ModelsDialog | None = None
        self._entered = False
        self._prompts = PromptsSection(self._context)
        self._lesions = LesionsSection(self._context, self._reveal)
        self.status = StatusSection(self._context, self._prompts.hint, self._lesions.hint)
        self._inputs = InputsSection(self._context, self.registry, self.open_models)
        self._propagate = PropagateSection(self._context)
        self._times = TimesSection(self._context)
        self._correct = CorrectSection(self._context)
        self._segments = SegmentsSection(self._context)
        self._export = ExportSection(self._context)
        self._sections: tuple[Section, ...] = (
            self._inputs,
            MoreVolumesSection(self._context),
            self._prompts,
            self._propagate,
            self._times,
            self._correct,
            self._segments,
            self._export,
            self._lesions,
            SuggestionsSection(self._context),
            self.status,  # last: its hint depends on nothing the others show
        )
        actions = {**self._prompts.actions(), **self._propagate.actions(), **self._correct.actions()}
        self._shortcuts = Shortcuts({**actions, **self._lesions.actions(actions)})
        self._prompts.tool_changed.connect(self._tool_changed)
        self._strips = SliceStrips(
            controller, self._view_changed, self._go_to, self._set_range, self._layout_changed
        )
        ui.shortcutsLabel.text = help_text()
        ui.installButton.connect("clicked()", self.install)
        self._timer = refresh_timer(self.refresh)
        self._stop_observing: Callable[[], None] = controller.observe(self._changed)
        self._scripted = ScriptedChoices(self._context)
        self.refresh_all()

    # ------------------------------------------------------------------------------------------- coming and going

    def enter(self) -> None:
        """The user opened the module."""
        if self._entered:
            return
        self._entered = True
        self._controller.set_in_use(True)
        self._shortcuts.install(view_windows())
        self._strips.enter()
        self._inputs.suggest_volume()
        self.status.check_again()
        self.refresh_all()

    def exit(self) -> None:
        """The user left the module; the controller keeps its work, which may still be running."""
        if not self._entered:
            return
        self._entered = False
        self._controller.set_in_use(False)
        self._prompts.exit()
        self._correct.exit()
        self._shortcuts.remove()
        self._strips.exit()

    def close(self) -> None:
        """Release everything, before the controller is closed."""
        end_previews(self._controller)
        self.exit()
        self._stop_observing()
        self._scripted.close()
        self._timer.stop()
        self._timer.disconnect("timeout()", self.refresh)  # which keeps this object, and with it all
        for section in self._sections:
            section.close()
        if self._models is not None:
            self._models.close()
            self._models = None

    # ------------------------------------------------------------------------------------------------- refreshing

    def refresh(self) -> None:
        """Show what has changed since the last time."""
        topics, self._topics = frozenset(self._topics), set()
        if not topics:
            return
        if self._entered and Topic.VIEW in topics:
            self._inputs.suggest_new_volume()
        for section in self._sections:
            section.refresh(topics)
        if Topic.NETWORK in topics and self._models is not None:
            self._models.show_facts()
        self._shortcuts.allow("reject", self._lesions.is_reviewing)
        if self._entered:
            self._strips.refresh()

    def refresh_all(self) -> None:
        """Show everything again, at once."""
        self._topics |= _ALL - {Topic.MESSAGE}
        self.refresh()

    def _reveal(self, widget: Any) -> None:
        """Scroll to a widget of the panel, once the panel is as tall as it becomes by what was unfolded."""
        area = self._ui.promptsSection.parent()
        while area is not None and not hasattr(area, "ensureWidgetVisible"):
            area = area.parent()
        if area is not None:
            qt.QTimer.singleShot(0, lambda: area.ensureWidgetVisible(widget))

    def _changed(self, topic: Topic) -> None:
        """The controller has changed; many changes in a row are shown together."""
        self._topics.add(topic)
        if (
            not self._timer.active
        ):  # not begun again: changes that follow each other fast would put it off for ever
            self._timer.start()

    def _tool_changed(self, held: bool) -> None:
        """Use keys of Slicer's own views only while they mean something here."""
        self._shortcuts.allow("leave_tool", held)
        self._shortcuts.allow("polarity", held)
        for action in ("range_first", "range_last"):
            self._shortcuts.allow(action, self._controller.editing.axis is not None)

    def _view_changed(self) -> None:
        self._controller.note_activity()
        self._changed(Topic.VIEW)

    def _layout_changed(self) -> None:
        """Views may have moved into windows of their own, or back."""
        if self._entered:
            self._shortcuts.install(view_windows())

    def _go_to(self, index: int) -> None:
        self._context.attempt(lambda: self._controller.review.show_slice(index))

    def _set_range(self, first: int, last: int) -> None:
        self._context.attempt(lambda: self._controller.editing.drag_range(first, last))

    # --------------------------------------------------------------------------------------- installing and models

    def install(self) -> None:
        """Install what is missing; the user pressed the button."""
        texts: list[str] = []
        if self._context.attempt(lambda: texts.append(install(self.status.missing))):
            self.status.check_again()
            self._context.attempt(self._controller.network.prepare)
            self.status.show_message(Message(texts[0], Level.INFO))
        self.status.check_again()
        self.refresh_all()

    def registry(self) -> Registry:
        """The models, in the folder that the user chose or the usual one."""
        folder = self._settings.models_folder
        return Registry(cache=folder) if folder is not None else Registry.from_environment()

    def open_models(self) -> None:
        """Show the dialog of models."""
        if self._models is None:
            network = self._controller.network
            self._models = ModelsDialog(
                self.registry(), self._models_changed, lambda: network.checkpoint, self._seconds_a_slice
            )
        self._controller.network.measure_speed()
        self._models.open()

    def _seconds_a_slice(self, checkpoint: Checkpoint) -> float | None:
        """The estimated seconds for one slice: the operations of a network divided by the speed of this computer."""
        speed = self._controller.network.flops_per_second
        return None if speed is None or checkpoint.gigaflops is None else 1e9 * checkpoint.gigaflops / speed

    def _models_changed(self, use: str | None) -> None:
        """A model came or went; `use` is the one that the user wants from now on."""
        if use is not None:
            self._context.attempt(lambda: self._controller.network.set_checkpoint(use))
        self._inputs.fill_models()
        if use is None:
            self._context.attempt(self._controller.network.prepare)
        self.refresh_all()
