"""Keeps what ITK, libpng and other native libraries print off the terminal, and puts it into the log."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import SimpleITK as sitk

logger = logging.getLogger(__name__)

_MOST_LOGGED = 4096  # bytes
_lock = threading.Lock()
_depth = 0
_capture: contextlib.ExitStack | None = None


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep native libraries silent within a `with` block; what they print goes to the log, at level DEBUG.

    Their messages go to the file descriptors 1 and 2, past Python, so these are redirected; what other threads of this
    process print there meanwhile goes to the log too. Blocks may be nested and may run in several threads at once.
    """
    global _depth, _capture  # noqa: PLW0603 - the descriptors belong to the whole process
    with _lock:
        _depth += 1
        if _depth == 1:
            _capture = contextlib.ExitStack()
            _capture.enter_context(_redirected())
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0 and _capture is not None:
                _capture.close()
                _capture = None


@contextlib.contextmanager
def _redirected() -> Iterator[None]:
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    saved: list[tuple[int, int]] = []
    with _scratch() as file:
        _flush()
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # a program may have been started without outputs
                copy = os.dup(descriptor)
                os.dup2(file.fileno(), descriptor)
                saved.append((descriptor, copy))
        try:
            yield
        finally:
            _flush()
            for descriptor, copy in saved:
                os.dup2(copy, descriptor)
                os.close(copy)
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)
            _log(file)


def _scratch() -> BinaryIO:
    try:
        return tempfile.TemporaryFile()  # closed by the caller
    except OSError:  # there is no folder for temporary files
        return Path(os.devnull).open("r+b")


def _log(file: BinaryIO) -> None:
    file.seek(0)
    text = file.read(_MOST_LOGGED).decode("utf-8", "replace").strip()
    if text:
        logger.debug("A library printed: %s", text)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, absent, or no file
            stream.flush()
