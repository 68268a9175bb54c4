"""Correct: doubtful and key slices, accepting, what changed; and undo and redo."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slicer.i18n import tr as _

from ..app.state import Action, SliceMark, SliceState, Topic
from .context import Context, SignalsBlocked, with_letter
from .held_key import HeldKey
from .strip_drawing import CERTAIN, DOUBTFUL, KEPT, KEY, STARTED

_BUTTONS = (
    ("doubtfulButton", "NextDoubtful", "doubtful", Action.NEXT_DOUBTFUL),
    ("previousKeyButton", "", "previous_key", Action.PREVIOUS_KEY_SLICE),
    ("nextKeyButton", "", "next_key", Action.NEXT_KEY_SLICE),
    ("acceptAllButton", "AcceptAll", "accept_all", Action.ACCEPT_ALL),
    ("reviewButton", "Review", None, Action.REVIEW),
    ("startButton", "Start", None, Action.START_FROM_SEGMENT),
    ("keepButton", "Accept", None, Action.KEEP_CHANGES),
    ("revertButton", "Undo", None, Action.REVERT_CHANGES),
    ("undoButton", "Undo", "undo", Action.UNDO),
    ("redoButton", "Redo", "redo", Action.REDO),
)


_ROOM = 10
"""Letters of the name of a step that fit on its button; the tooltip has the whole name."""

_KEPT = (SliceMark.ACCEPTED, SliceMark.EDITED)
"""Slices that no propagation changes: they can be released."""


class CorrectSection:
    """The section, and the two buttons for undo and redo below the segments."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._held = HeldKey()
        controller = context.controller
        steps: dict[str, Callable[[], object]] = {
            "doubtfulButton": controller.review.next_doubtful,
            "previousKeyButton": controller.review.previous_key_slice,
            "nextKeyButton": controller.review.next_key_slice,
            "acceptAllButton": controller.editing.accept_all,
            "reviewButton": controller.scoring.review,
            "startButton": controller.starting.start,
            "keepButton": controller.changes.keep,
            "revertButton": controller.changes.revert,
            "undoButton": controller.history.undo,
            "redoButton": controller.history.redo,
        }
        self._steps = {name: self._attempting(step) for name, step in steps.items()}
        for name, icon, shortcut, _action in _BUTTONS:
            context.set_up_button(name, icon, shortcut).connect("clicked()", self._steps[name])
        context.set_up_button("acceptButton", "Accept", "accept").connect("clicked()", self.accept_or_release)
        context.set_up_button("changesButton", "Changes", "changes").connect("clicked()", self.toggle_changes)
        context.ui.reachBox.connect("valueChanged(int)", self._reach_chosen)
        context.ui.changesFrame.setVisible(False)
        context.ui.legendLabel.text = legend()

    def refresh(self, topics: frozenset[Topic]) -> None:
        """See Section."""
        ui, controller = self._context.ui, self._context.controller
        for name, _icon, _shortcut, action in _BUTTONS:
            self._context.allow(name, action)
        for button, word, label in (
            (ui.undoButton, _("Undo"), controller.history.undo_label),
            (ui.redoButton, _("Redo"), controller.history.redo_label),
        ):
            button.text = _with_label(word, label)
            if label and button.enabled:
                button.toolTip = (
                    f"{button.toolTip}\n\n{label}"  # the button has no room for names of segments
                )
        self._show_accept()
        self._show_changes()
        self._context.allow("reachBox", Action.SET_REACH)
        if controller.starting.reach is not None:
            with SignalsBlocked(ui.reachBox):
                ui.reachBox.value = controller.starting.reach

    def close(self) -> None:
        """See Section."""
        self.exit()

    def actions(self) -> Mapping[str, Callable[[], object]]:
        """Return what the shortcuts of this section do."""
        steps = {shortcut: self._steps[name] for name, _icon, shortcut, _action in _BUTTONS if shortcut}
        return {
            **steps,
            "accept": self.accept_or_release,
            "changes": self.toggle_changes,
            "next_segment": self.next_segment,
            "before": self.show_before,
        }

    def accept_or_release(self) -> None:
        """Accept the slice in view, or release it when it was accepted or drawn by the user."""
        controller = self._context.controller
        shown = self._shown()
        kept = shown is not None and shown.state in _KEPT
        self._context.attempt(controller.editing.release_slice if kept else controller.editing.accept_slice)

    def next_segment(self) -> None:
        """Accept what the selected segment has, and begin a new one; the active tool stays active."""
        controller = self._context.controller
        accepted = controller.reason(Action.ACCEPT_ALL) is not None or self._context.attempt(
            controller.editing.accept_all
        )
        if accepted:
            self._context.attempt(controller.inputs.add_segment)

    def show_before(self) -> None:
        """Show the mask before the last prompt until the key is released."""
        changes = self._context.controller.changes
        if not self._held.is_held and self._context.attempt(
            lambda: changes.show_before(True), keep_message=True
        ):
            self._held.pressed(lambda: changes.show_before(False))
            if not self._held.is_held:
                changes.show_before(False)

    def exit(self) -> None:
        """End what is shown while a key is held: the module is left."""
        if self._held.is_held:
            self._held.end()
            self._context.controller.changes.show_before(False)

    def toggle_changes(self) -> None:
        """Show what changed, or stop showing it."""
        controller = self._context.controller
        self._context.attempt(lambda: controller.changes.show(not controller.changes.shown))
        self._show_changes()

    def _reach_chosen(self, reach: int) -> None:
        controller = self._context.controller
        if controller.starting.reach not in (None, reach):
            self._context.attempt(lambda: controller.starting.set_reach(int(reach)))

    def _attempting(self, step: Callable[[], object]) -> Callable[[], None]:
        def attempt() -> None:
            self._context.attempt(step)

        return attempt

    def _shown(self) -> SliceState | None:
        controller = self._context.controller
        index, slices = controller.review.shown_index, controller.review.slices
        return slices[index] if index is not None and 0 <= index < len(slices) else None

    def _show_accept(self) -> None:
        shown = self._shown()
        kept = shown is not None and shown.state in _KEPT
        self._context.allow("acceptButton", Action.RELEASE_SLICE if kept else Action.ACCEPT_SLICE)
        text = _("Release slice") if kept else _("Accept slice")
        self._context.ui.acceptButton.text = with_letter(text, "accept")

    def _show_changes(self) -> None:
        ui, controller = self._context.ui, self._context.controller
        self._context.allow("changesButton", Action.SHOW_CHANGES)
        with SignalsBlocked(ui.changesButton):
            ui.changesButton.checked = controller.changes.shown
        changes = controller.changes.last
        ui.changesFrame.setVisible(changes is not None and controller.changes.shown)
        if changes is not None:
            ui.changesLabel.text = _("{added} voxels added, {removed} removed on {count} slices").format(
                added=f"{changes.added:,}", removed=f"{changes.removed:,}", count=len(changes.slices)
            )


def legend() -> str:
    """The strip above the slice views in rich text."""

    def chip(color: tuple[int, int, int], sign: str) -> str:
        return f'<span style="color:rgb{color}">{sign}</span>'

    dark = '<span style="background-color:#23272b">&nbsp;{sign}&nbsp;</span>&nbsp;{text}'
    parts = (
        (chip(DOUBTFUL, "&#9602;"), _("doubtful")),
        (chip(CERTAIN, "&#9607;"), _("certain")),
        (chip(KEY, "&#9670;"), _("prompts")),
        (chip(KEPT, "&#9601;"), _("accepted")),
        (chip(STARTED, "&#9604;"), _("start")),
    )
    return "&nbsp;&nbsp; ".join(dark.format(sign=sign, text=text) for sign, text in parts)


def _with_label(text: str, label: str | None) -> str:
    if not label:
        return text
    short = label if len(label) <= _ROOM else label[: _ROOM - 1].rstrip(" ,") + "\u2026"
    return f"{text}: {short}"
