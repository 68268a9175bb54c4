"""The common part of the sections of the panel: widgets, controller, icons, and the report of a step that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import qt
import slicer
from slicer.i18n import tr as _

from ..app.signals import Signal
from ..app.state import Action, Level, Message, Topic
from ..core.errors import Canceled, MedSAMError
from .settings import MachineSettings
from .shortcuts import key_of

if TYPE_CHECKING:
    from ..app.controller import Controller


class Section(Protocol):
    """One part of the panel."""

    def refresh(self, topics: frozenset[Topic]) -> None:
        """Update the widgets from the controller; `topics` have changed."""

    def close(self) -> None:
        """Release everything that outlives the panel."""


class Connections:
    """Connections of Qt that end together, such as with the section of the panel whose slots they call."""

    def __init__(self, *connections: tuple[Any, str, Callable[..., None]]) -> None:
        self._made: list[tuple[Any, str, Callable[..., None]]] = []
        for widget, signal, slot in connections:
            self.add(widget, signal, slot)

    def add(self, widget: Any, signal: str, slot: Callable[..., None]) -> None:
        """Call `slot` for a signal of a widget from now on."""
        widget.connect(signal, slot)
        self._made.append((widget, signal, slot))

    def close(self) -> None:
        """Disconnect all."""
        for widget, signal, slot in self._made:
            widget.disconnect(signal, slot)
        self._made = []


class Context:
    """See the module's docstring.

    Signals:
        message_given: a message is to be shown; with None, what was shown before is over.

    Args:
        ui: the widgets of MedSAMSlicer.ui by name.
        controller: does what the user asks.
        resources: the module's Resources folder.
        settings: the choices of this computer.
    """

    def __init__(self, ui: Any, controller: Controller, resources: Path, settings: MachineSettings) -> None:
        self.ui = ui
        self.controller = controller
        self.resources = resources
        self.settings = settings
        self.message_given: Signal[[Message | None]] = Signal()
        self._tips: dict[str, str] = {}

    def show_message(self, message: Message | None) -> None:
        """Show a message; None = what was shown before is over."""
        self.message_given.emit(message)

    def attempt(self, action: Callable[[], Any], keep_message: bool = False) -> bool:
        """Run an action and return whether it succeeded; an error is shown in the message line.

        An earlier message is cleared, unless `keep_message`: for steps that do not answer it.
        """
        try:
            with slicer.util.tryWithErrorDisplay(
                _(
                    "An internal error occurred in MedSAMSlicer. Please report it, together with the text below."
                ),
                show=True,
            ):
                why = _failed(action)
        except Exception:
            self.show_message(Message(_("This did not work. See the error log for details."), Level.ERROR))
            raise
        if why is not None or not keep_message:
            self.show_message(why)
        return why is None

    def icon(self, name: str) -> Any:
        """An icon of the module."""
        return qt.QIcon(str(self.resources / "Icons" / f"{name}.svg"))

    def set_up_button(self, widget_name: str, icon: str, action: str | None = None) -> Any:
        """Give a button its icon, unless it is "", and its shortcut, in the text if it is a letter; return it."""
        button = getattr(self.ui, widget_name)
        if icon:
            button.setIcon(self.icon(icon))
        key = key_of(action) if action else None
        if action:
            between = "\n" if button.className() == "QToolButton" else " "  # its text is below its icon
            button.text = with_letter(str(button.text), action, between)
        if key:
            button.toolTip = f"{button.toolTip} ({key})"
        return button

    def allow(self, widget_name: str, action: Action) -> None:
        """Enable a widget when its action is possible; otherwise its tooltip says why it is not."""
        self.allow_unless(widget_name, self.controller.reason(action))

    def allow_unless(self, widget_name: str, reason: str | None) -> None:
        """Enable a widget unless there is a reason against it, which its tooltip then says."""
        widget = getattr(self.ui, widget_name)
        tip = self._tips.setdefault(widget_name, str(widget.toolTip))
        widget.enabled = reason is None
        widget.toolTip = tip if reason is None else f"{tip}\n\n{reason}"


def with_letter(text: str, action: str, between: str = " ") -> str:
    """The text of a button with the letter that does the same."""
    key = key_of(action)
    return f"{text}{between}({key})" if key is not None and len(key) == 1 else text


def _failed(action: Callable[[], Any]) -> Message | None:
    """Run an action; return its failure as a message that a user understands."""
    try:
        action()
    except Canceled:
        return None
    except MedSAMError as error:
        return Message(str(error), Level.WARNING, error.offer)
    return None


class SignalsBlocked:
    """A context in which these widgets send no signals: for showing a state that did not come from the user."""

    def __init__(self, *widgets: Any) -> None:
        self._widgets = widgets
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before = [bool(widget.blockSignals(True)) for widget in self._widgets]

    def __exit__(self, *_error: object) -> None:
        for widget, before in zip(self._widgets, self._before, strict=True):
            widget.blockSignals(before)
