"""A lock between processes that the operating system releases when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..core.errors import Canceled, DownloadError

_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_POLL_S = 0.05


if sys.platform == "win32":  # not run on the machines that test this project
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def exclusive(path: Path, canceled: Callable[[], bool] | None = None) -> Iterator[None]:
    """Hold the lock file `path` for the length of a `with` block, waiting until it is free.

    Raises Canceled when `canceled()` turns true while waiting, DownloadError when the folder does not
    allow a lock file. The lock file stays: taking it away would let two holders in.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DownloadError(
            f"The folder {path.parent} cannot be written: {error.strerror or error}."
        ) from error
    try:
        while not _acquired(descriptor, path):
            if canceled is not None and canceled():
                raise Canceled(f"Canceled while another program was working on {path.parent}.")
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _acquired(descriptor: int, path: Path) -> bool:
    try:
        _try_lock(descriptor)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise DownloadError(
            f"Files in the folder {path.parent} cannot be locked: {error.strerror or error}."
        ) from error
    return True
