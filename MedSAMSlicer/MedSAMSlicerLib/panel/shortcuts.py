"""Keyboard shortcuts: made when the module is opened, gone when it is left.

None of them is used by what stays alive beside the module, as read in Slicer's source (main, August 2026; the same in
5.10):

- slice views, `vtkMRMLSliceIntersectionWidget.cxx`: g t f b v V r [ ] { } and the arrow keys, of which t is ours only
  while a tool is active, and [ ], which choose another volume of a stack there, while the segment has slices;
- 3-D views, `vtkMRMLCameraWidget.cxx`: + - r Ctrl+B, the keypad, Home, End, Page Down, Insert, arrow keys;
- markups, `vtkSlicerMarkupsWidget.cxx`: s Delete Shift+Delete Backspace on a control point; Delete is ours only
  while lesions are looked at one by one;
- window/level and handles, `vtkMRMLWindowLevelWidget.cxx`, `vtkMRMLInteractionWidget.cxx`: Escape, which is ours only
  while a tool is active (Slicer's own place mode does not end by it) and in no other window, such as a dialog;
- the main window, `qSlicerMainWindow.ui` and `.cxx`, `qSlicerAppMainWindow.cxx`, `qSlicerModuleSelectorToolBar.cxx`:
  Ctrl with 0 to 6, `, C F H O S V W X, Left, Right; its Ctrl+Z and Ctrl+Y belong to a tool bar that is deleted at
  start-up, so that they do nothing;
- tool bars, `qMRMLMarkupsToolBar.cxx`: Ctrl+Shift with A T Space; `qMRMLSequenceBrowserPlayWidget.cxx`: Ctrl+Shift with
  Down Left Right;
- Segment Editor, `qMRMLSegmentEditorWidget.cxx`, while that module is open: digits, Shift and digits, Escape Space
  q w z y i / * , . < > and its own undo; `qSlicerSegmentEditorPaintEffect.cxx`: + = - _ over a view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import qt
import slicer
from slicer.i18n import tr as _


class Shortcut(NamedTuple):
    """A key and what it does: `action` is the name that the panel's table of actions has for it."""

    action: str
    key: str
    text: str


def shortcuts() -> tuple[Shortcut, ...]:
    """All shortcuts in the order of the panel, with their texts in the user's language."""
    return (
        Shortcut("positive", "P", _("Point on the object")),
        Shortcut("negative", "N", _("Point outside the object")),
        Shortcut("box", "X", _("Box")),
        Shortcut("scribble", "D", _("Scribble (draw)")),
        Shortcut("lasso", "O", _("Lasso (outline)")),
        Shortcut("line", "L", _("Line across the object")),
        Shortcut("polarity", "T", _("Switch between object and background (while a tool is active)")),
        Shortcut("leave_tool", "Esc", _("Put the tool away")),
        Shortcut("current_mask", "M", _("Use the mask of this slice")),
        Shortcut("range_first", "[", _("First slice of the range: the slice in view")),
        Shortcut("range_last", "]", _("Last slice of the range: the slice in view")),
        Shortcut("propagate", "Ctrl+Return", _("Propagate")),
        Shortcut("cancel", "Ctrl+.", _("Cancel")),
        Shortcut("doubtful", "U", _("Next doubtful (uncertain) slice")),
        Shortcut("previous_key", "J", _("Previous key slice")),
        Shortcut("next_key", "K", _("Next key slice")),
        Shortcut("accept", "A", _("Accept this slice")),
        Shortcut("accept_all", "Shift+A", _("Accept all slices")),
        Shortcut("next_segment", "E", _("Accept all slices and start the next segment")),
        Shortcut("lesions", "Shift+L", _("Lesions: draw one after another, then review them one by one")),
        Shortcut("reject", "Del", _("Reject the lesion (during the review of lesions)")),
        Shortcut("changes", "H", _("Show what changed")),
        Shortcut("before", "C", _("While held: the mask before the last prompt")),
        Shortcut("undo", "Ctrl+Z", _("Undo")),
        Shortcut("redo", "Ctrl+Shift+Z", _("Redo")),
    )


HELD = ("before",)
"""Actions that last for as long as their key is held."""


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
        self._installed: list[tuple[str, Any]] = []
        self._off: set[str] = set()

    def install(self, windows: Sequence[Any]) -> None:
        """Make them in windows, such as Slicer's main window and those of detached views; others lose theirs."""
        self.remove()
        for window in windows:
            for action, key, _text in shortcuts():
                made = qt.QShortcut(qt.QKeySequence(key), window)
                made.connect("activated()", self._actions[action])
                made.autoRepeat = action not in HELD
                made.enabled = action not in self._off
                self._installed.append((action, made))

    def allow(self, action: str, allowed: bool) -> None:
        """Leave a key to Slicer (False), or take it; also when the shortcuts are installed later."""
        (self._off.discard if allowed else self._off.add)(action)
        for installed, made in self._installed:
            if installed == action:
                made.enabled = allowed

    def remove(self) -> None:
        """Take them away again."""
        for action, made in self._installed:
            try:
                made.disconnect("activated()", self._actions[action])
                made.enabled = False
                made.deleteLater()
            except (RuntimeError, ValueError):  # the window of a detached view went first
                continue
        self._installed.clear()


def view_windows() -> list[Any]:
    """Slicer's main window and the windows of views that were detached from it, each once; empty without any."""
    main, manager = slicer.util.mainWindow(), slicer.app.layoutManager()
    found = [] if main is None else [main]
    views: list[Any] = []
    if manager is not None:
        views += [manager.sliceWidget(name) for name in manager.sliceViewNames()]
        views += [manager.threeDWidget(number) for number in range(manager.threeDViewCount)]
    for view in views:
        window = view.window() if view is not None else None
        # A view that the layout does not use is a window of its own, hidden.
        if window is not None and window.visible and window not in found:
            found.append(window)
    return found
