"""Modal dialogs: recorded and answered in tests, shown to people on screen.

A test that leads to a question must say beforehand what the user answers; a question without an answer is an error, a
message with one button only is recorded and closed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6 import QtWidgets

from . import facade
from .ctk_widgets import ctk
from .facade import facade_of, qt
from .stand_ins import stand_in, stored


class UnansweredDialogError(AssertionError):
    """A modal dialog came up and the test had not said what the user answers."""


@dataclass(frozen=True)
class ShownDialog:
    """One dialog that the user would have seen."""

    kind: str
    title: str
    text: str


class Dialogs:
    """What was shown, and what will be answered."""

    def __init__(self, on_screen: bool) -> None:
        self.shown: list[ShownDialog] = []
        self._answers: list[Any] = []
        self._on_screen = on_screen

    def answer(self, *answers: Any) -> None:
        """Say what the user answers to the next dialogs, in order.

        A result (True, False, a path, a text, a QMessageBox button), or a function that gets the dialog, may work on
        its widgets, and returns the result.
        """
        self._answers.extend(answers)

    def run(self, dialog: Any) -> Any:
        """What `dialog.exec_()` does."""
        text = dialog.text if isinstance(dialog, QtWidgets.QMessageBox) else dialog.windowTitle
        self.shown.append(ShownDialog(dialog.className(), dialog.windowTitle, text))
        if self._on_screen:
            return int(QtWidgets.QDialog.exec(dialog))
        if not self._answers and isinstance(dialog, QtWidgets.QMessageBox):
            buttons = QtWidgets.QMessageBox.buttons(dialog)
            if len(buttons) <= 1:
                return QtWidgets.QMessageBox.StandardButton.Ok
        return self._next(text, dialog)

    def ask(self, kind: str, title: str, text: str, real: Callable[[], Any]) -> Any:
        """What a static function such as QFileDialog.getOpenFileName does."""
        self.shown.append(ShownDialog(kind, title, text))
        return real() if self._on_screen else self._next(f"{kind}: {title} {text}", None)

    def _next(self, text: str, dialog: Any) -> Any:
        if not self._answers:
            raise UnansweredDialogError(f"Nobody said what the user answers to: {text}")
        answer = self._answers.pop(0)
        if callable(answer):
            answer = answer(dialog)
        if isinstance(dialog, QtWidgets.QMessageBox) and isinstance(answer, bool):
            button = QtWidgets.QMessageBox.StandardButton
            yes, no = (
                (button.Yes, button.No) if dialog.standardButtons & button.Yes else (button.Ok, button.Cancel)
            )
            return yes if answer else no
        return int(answer) if isinstance(answer, bool) else answer


_current: list[Dialogs] = []


def install(dialogs: Dialogs) -> None:
    """Let every modal dialog go to `dialogs`."""
    _current[:] = [dialogs]
    facade.run_modal = dialogs.run


def uninstall() -> None:
    """Let a modal dialog be an error."""
    _current.clear()
    facade.run_modal = None


def ask(kind: str, title: str, text: str, real: Callable[[], Any]) -> Any:
    """What a dialog answers that is not a QDialog of Python's making; see `Dialogs.ask`."""
    if not _current:
        raise UnansweredDialogError(f"No SlicerHost is there to show {kind}: {title} {text}")
    return _current[0].ask(kind, title, text, real)


@stand_in
class QFileDialog(facade_of(QtWidgets.QFileDialog)):  # type: ignore[misc]
    """qfiledialog.h; under PythonQt the static functions return the path alone, "" when the user cancels."""

    @staticmethod
    def getOpenFileName(parent: Any = None, caption: str = "", folder: str = "", filter: str = "") -> str:
        """A file to read."""
        real = lambda: QtWidgets.QFileDialog.getOpenFileName(parent, caption, folder, filter)[0]  # noqa: E731
        return ask("QFileDialog.getOpenFileName", caption, folder, real)

    @staticmethod
    def getSaveFileName(parent: Any = None, caption: str = "", folder: str = "", filter: str = "") -> str:
        """A file to write."""
        real = lambda: QtWidgets.QFileDialog.getSaveFileName(parent, caption, folder, filter)[0]  # noqa: E731
        return ask("QFileDialog.getSaveFileName", caption, folder, real)

    @staticmethod
    def getExistingDirectory(parent: Any = None, caption: str = "", folder: str = "") -> str:
        """A folder."""
        real = lambda: QtWidgets.QFileDialog.getExistingDirectory(parent, caption, folder)  # noqa: E731
        return ask("QFileDialog.getExistingDirectory", caption, folder, real)


@stand_in
class QInputDialog(facade_of(QtWidgets.QInputDialog)):  # type: ignore[misc]
    """qinputdialog.h; under PythonQt the static functions return the value alone."""

    @staticmethod
    def getText(parent: Any, title: str, label: str, mode: Any = None, text: str = "") -> str:
        """A line of text, "" when the user cancels."""
        echo = QtWidgets.QLineEdit.EchoMode.Normal
        return ask(
            "QInputDialog.getText",
            title,
            label,
            lambda: QtWidgets.QInputDialog.getText(parent, title, label, echo, text)[0],
        )


@stand_in
class ctkMessageBox(facade_of(QtWidgets.QMessageBox)):  # type: ignore[misc]
    """ctkMessageBox.h: the message box of slicer.util; "don't show again" is not offered here."""

    dontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)


qt.QFileDialog, qt.QInputDialog, ctk.ctkMessageBox = QFileDialog, QInputDialog, ctkMessageBox
