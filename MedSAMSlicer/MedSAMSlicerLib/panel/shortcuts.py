"""Keyboard shortcuts: made when the module is opened, gone when it is left.

None of them is used by what stays alive beside the module, as read in Slicer's source (main, August 2026; the same in
5.10):

- slice views, `vtkMRMLSliceIntersectionWidget.cxx`: g t f b v V r [ ] { } and the arrow keys;
- 3-D views, `vtkMRMLCameraWidget.cxx`: + - r Ctrl+B, the keypad, Home, End, Page Down, Insert, arrow keys;
- markups, `vtkSlicerMarkupsWidget.cxx`: s Delete Shift+Delete Backspace on a control point;
- window/level and handles, `vtkMRMLWindowLevelWidget.cxx`, `vtkMRMLInteractionWidget.cxx`: Escape, which is ours only
  while a tool is in hand (Slicer's own place mode does not end by it) and in no other window, such as a dialog;
- the main window, `qSlicerMainWindow.ui` and `.cxx`, `qSlicerAppMainWindow.cxx`, `qSlicerModuleSelectorToolBar.cxx`:
  Ctrl with 0 to 6, `, C F H O S V W X, Left, Right; its Ctrl+Z and Ctrl+Y belong to a tool bar that is deleted at
  start-up, so that they do nothing;
- tool bars, `qMRMLMarkupsToolBar.cxx`: Ctrl+Shift with A T Space; `qMRMLSequenceBrowserPlayWidget.cxx`: Ctrl+Shift with
  Down Left Right;
- Segment Editor, `qMRMLSegmentEditorWidget.cxx`, while that module is open: digits, Shift and digits, Escape Space
  q w z y i / * , . < > and its own undo; `qSlicerSegmentEditorPaintEffect.cxx`: + = - _ over a view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any, NamedTuple

import qt
from slicer.i18n import tr as _


class Shortcut(NamedTuple):
    """A key and what it does: `action` is the name that the panel's table of actions has for it."""

    action: str
    key: str
    text: str


def shortcuts() -> tuple[Shortcut, ...]:
    """All shortcuts in the order of the panel, with their texts in the user's language."""
    return (
        Shortcut("positive", "P", _("Point on the organ")),
        Shortcut("negative", "N", _("Point beside the organ")),
        Shortcut("box", "X", _("Box")),
        Shortcut("scribble", "D", _("Scribble (draw)")),
        Shortcut("line", "L", _("Line across the organ")),
        Shortcut("leave_tool", "Esc", _("Put the tool down")),
        Shortcut("current_mask", "M", _("Use the mask of this slice")),
        Shortcut("propagate", "Ctrl+Return", _("Propagate")),
        Shortcut("cancel", "Ctrl+.", _("Cancel")),
        Shortcut("doubtful", "U", _("Next doubtful (uncertain) slice")),
        Shortcut("previous_key", "J", _("Key slice before")),
        Shortcut("next_key", "K", _("Key slice after")),
        Shortcut("accept", "A", _("Accept this slice")),
        Shortcut("accept_all", "Shift+A", _("Accept all slices")),
        Shortcut("changes", "H", _("Show what changed")),
        Shortcut("undo", "Ctrl+Z", _("Undo")),
        Shortcut("redo", "Ctrl+Shift+Z", _("Redo")),
    )


def key_of(action: str) -> str | None:
    """The key of an action, None when it has none."""
    return next((shortcut.key for shortcut in shortcuts() if shortcut.action == action), None)


def help_text() -> str:
    """All shortcuts as a table in rich text."""
    rows = "".join(
        f"<tr><td><b>{escape(key)}</b>&nbsp;&nbsp;</td><td>{escape(text)}</td></tr>"
        for _action, key, text in shortcuts()
    )
    return f"<table>{rows}</table>"


class Shortcuts:
    """The shortcuts while they are installed.

    Args:
        actions: what to call for each action.
    """

    def __init__(self, actions: Mapping[str, Callable[[], object]]) -> None:
        self._actions = dict(actions)
        self._installed: dict[str, Any] = {}
        self._off: set[str] = set()

    def install(self, window: Any | None) -> None:
        """Make them in Slicer's main window; nothing happens without one or when they are there already."""
        if window is None or self._installed:
            return
        for action, key, _text in shortcuts():
            made = qt.QShortcut(qt.QKeySequence(key), window)
            made.connect("activated()", self._actions[action])
            made.enabled = action not in self._off
            self._installed[action] = made

    def allow(self, action: str, allowed: bool) -> None:
        """Leave a key to Slicer (False), or take it; also when the shortcuts are installed later."""
        (self._off.discard if allowed else self._off.add)(action)
        if action in self._installed:
            self._installed[action].enabled = allowed

    def remove(self) -> None:
        """Take them away again."""
        for action, made in self._installed.items():
            made.disconnect("activated()", self._actions[action])
            made.enabled = False
            made.deleteLater()
        self._installed.clear()
