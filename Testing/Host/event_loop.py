"""Running Qt's event loop with or without Python's global interpreter lock.

PySide6 gives the lock away while Qt waits for events, so a Python thread runs then. PythonQt, inside Slicer, does not:
a thread advances only while the main thread runs Python code that gives the lock away (a wait with a time-out, or
longer than sys.getswitchinterval()). `LockedLoop` is that: Qt's own C++ function is called through ctypes.PyDLL, which
keeps the lock.
"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path
from typing import Protocol

import PySide6
from PySide6 import QtCore


class Loop(Protocol):
    """A way to let Qt work for some time."""

    def run(self, seconds: float) -> None:
        """Deal with events for that long."""


class FreeLoop:
    """As PySide6 does it: threads run while Qt waits."""

    def run(self, seconds: float) -> None:
        """Deal with events for that long."""
        if seconds <= 0:
            QtCore.QCoreApplication.processEvents()
        else:
            _until(seconds, lambda loop: loop.exec())
        _delete_what_was_marked()


class LockedLoop:
    """As PythonQt does it: no thread runs while Qt waits."""

    # QCoreApplication::processEvents(QFlags<QEventLoop::ProcessEventsFlag>), in the names of GCC and Clang.
    _SYMBOL = "_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE"
    _EXEC = "_ZN10QEventLoop4execE6QFlagsINS_17ProcessEventsFlagEE"

    def __init__(self) -> None:
        if sys.platform not in ("linux", "darwin"):
            raise NotImplementedError(
                "Keeping the interpreter lock is written for the C++ names of Linux and macOS."
            )
        folder = Path(PySide6.__file__).parent / "Qt" / "lib"
        name = "libQt6Core.so.6" if sys.platform == "linux" else "QtCore.framework/QtCore"
        library = ctypes.PyDLL(str(folder / name))
        self._process = library[self._SYMBOL]
        self._process.argtypes, self._process.restype = [ctypes.c_int], None
        self._exec = library[self._EXEC]
        self._exec.argtypes, self._exec.restype = [ctypes.c_void_p, ctypes.c_int], ctypes.c_int

    def run(self, seconds: float) -> None:
        """Deal with events for that long, the lock held but for the Python code that events call."""
        import shiboken6

        if seconds <= 0:
            self._process(0)
        else:
            _until(seconds, lambda loop: self._exec(shiboken6.getCppPointer(loop)[0], 0))
        _delete_what_was_marked()


def _until(seconds: float, execute: object) -> None:
    """Run an event loop that a timer ends, the two connected within C++."""
    loop = QtCore.QEventLoop()
    timer = QtCore.QTimer()
    timer.setSingleShot(True)
    timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
    timer.timeout.connect(loop.quit)
    timer.start(max(1, round(seconds * 1000)))
    execute(loop)  # type: ignore[operator]
    timer.stop()


def _delete_what_was_marked() -> None:
    """deleteLater() waits for the outermost loop, which a test never enters."""
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def wait_until(loop: Loop, condition: object, seconds: float, step: float) -> bool:
    """Deal with events until a condition holds; False where it never did."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
        loop.run(step)
    return True
