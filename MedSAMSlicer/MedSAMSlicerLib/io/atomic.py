"""Files that are either complete or absent: written beside their target, then moved over it.

Every temporary file carries `MARK` in its name and is locked by the operating system while it is written. One that
nobody holds was left by a process that was killed; the next process that writes into the folder deletes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import stat
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from ..core.errors import OutputError

MARK = ".medsamslicer-"
"""What the names of temporary files and locks hold: `.NAME.medsamslicer-XXXXXXXX.part`, `.NAME.medsamslicer-lock`."""

_REASONS = {
    errno.ENOENT: "its folder does not exist",
    errno.ENOTDIR: "its folder does not exist",
    errno.EACCES: "its folder or the file is read-only",
    errno.EPERM: "its folder or the file is read-only",
    errno.EROFS: "its folder is read-only",
    errno.EISDIR: "there is a folder of that name",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed here",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ELOOP: "it is a symbolic link that leads to itself",
}
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # another process has the lock
_ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_ATTEMPTS = 5
_swept: set[Path] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_swept.clear)  # the parent may have swept long ago


if sys.platform == "win32":  # not run on the machines that test this project
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def replacing(path: str | Path, companions: Mapping[Path, bytes] | None = None) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends without an error.

    Until then an existing file stays as it is, and keeps its mode and owner when it is replaced; a symbolic link is
    followed. The bytes are on the disk before the move, so that a full disk cannot leave half a file under the final
    name.

    Args:
        path: the target.
        companions: files that describe this one -> their content. They appear right after it. Old ones that differ
            are deleted right before, so that a process killed between the moves leaves no description beside a file
            that it does not describe.

    Raises:
        OutputError: naming `path`, when it cannot be written or is read-only.
    """
    given = Path(path)
    pending: list[_Pending] = []
    try:
        with contextlib.ExitStack() as opened:
            try:
                main = _Pending(given)
                pending.append(main)
                file = opened.enter_context(main.open())
                for other, content in (companions or {}).items():
                    described = _Pending(other)
                    pending.append(described)
                    second = opened.enter_context(described.open())
                    second.write(content)
                    flush_to_disk(second)
            except OSError as error:
                raise output_error(given, error) from error
            yield file
            flush_to_disk(file)
            if sys.platform == "win32":  # which does not move open files
                opened.close()
            with _uninterrupted():
                for described in pending[1:]:
                    described.delete_other_target()
                for one in pending:  # while the locks are held, so that nobody sweeps the files away
                    one.move()
    except BaseException as error:
        for one in pending:
            one.discard()
        if isinstance(error, OSError):
            raise output_error(given, error) from error
        raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """`content` as the whole of the file `path`, atomically; OutputError when that fails."""
    with replacing(path) as file:
        file.write(content)


def check_replaceable(path: str | Path) -> Path:
    """The file that writing to `path` will create or replace, symbolic links followed.

    Raises:
        OutputError: when there is something that must not be replaced: a folder, a device, pipe or socket, or a file
            that is read-only.
    """
    given = Path(path)
    try:
        target = given.resolve()
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            return target
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if not stat.S_ISREG(mode):
            raise OutputError(f"Cannot write {given}: it is a device, pipe or socket, not a regular file.")
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # a loop of links raises RuntimeError until Python 3.13
        raise output_error(given, error) from error
    # An administrator may write to anything; a file without any write permission was protected on purpose all the same.
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise OutputError(f"Cannot write {given}: the file is read-only.")
    return target


@contextlib.contextmanager
def reserved(path: str | Path) -> Iterator[None]:
    """Reserve the output `path`, a file or a folder, for this process for the length of a `with` block.

    The lock file `.NAME.medsamslicer-lock` lies beside a file, `.medsamslicer-lock` in a folder; it is deleted at the
    end.

    Raises:
        OutputError: when another process has reserved it, or the folder cannot be written.
    """
    given = Path(path)
    try:
        target = given.resolve()
        beside = target.with_name(f".{target.name[:80]}{MARK}lock")
        lock = target / f"{MARK}lock" if target.is_dir() else beside
        descriptor = _opened_and_locked(lock, os.O_RDWR | os.O_CREAT)
    except (OSError, RuntimeError) as error:
        raise output_error(given, error) from error
    if descriptor is None:
        raise OutputError(
            f"Cannot write {given}: another run is writing there; wait for it or choose another name."
        )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Delete the temporary files that killed processes left in a folder; those in use stay."""
    _swept.add(folder)
    try:
        with os.scandir(folder) as files:
            left = [Path(file.path) for file in files if _is_temporary(file.name)]
    except OSError:
        return
    for path in left:
        with contextlib.suppress(OSError):
            descriptor = _opened_and_locked(path, os.O_RDWR)
            if descriptor is not None:
                if sys.platform == "win32":  # which does not delete open files
                    os.close(descriptor)
                    path.unlink()
                else:
                    path.unlink()
                    os.close(descriptor)


def flush_to_disk(file: BinaryIO) -> None:
    """Return when all that was written to `file` is on the disk; OSError when it does not fit."""
    file.flush()
    os.fsync(file.fileno())


def output_error(path: str | Path, error: Exception) -> OutputError:
    """The sentence for a file that could not be written because of `error`."""
    number = (
        error.errno
        if isinstance(error, OSError)
        else errno.ELOOP
        if isinstance(error, RuntimeError)
        else None
    )
    reason = _REASONS.get(number or 0, getattr(error, "strerror", None) or str(error))
    return OutputError(f"Cannot write {path}: {reason}.")


class _Pending:
    """A temporary file and the target that it will replace."""

    def __init__(self, path: Path) -> None:
        self._target = check_replaceable(path)
        if self._target.parent not in _swept:
            sweep(self._target.parent)
        self._temporary = Path()
        self._descriptor: int | None = None
        self._moved = False
        for _ in range(_ATTEMPTS):
            # Not tempfile: its files are private to the user, a result has the permissions of any other new file.
            name = f".{self._target.name[:80]}{MARK}{secrets.token_hex(4)}.part"
            self._temporary = self._target.with_name(name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self._descriptor = _opened_and_locked(self._temporary, flags)
            if self._descriptor is not None:  # else another process swept it between creation and lock
                return
        raise OSError(errno.EAGAIN, "other programs delete its temporary file")

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        assert self._descriptor is not None
        descriptor, self._descriptor = self._descriptor, None
        with os.fdopen(descriptor, "wb") as file:
            yield file

    def delete_other_target(self) -> None:
        """Delete the present target unless it is already what will replace it."""
        with contextlib.suppress(FileNotFoundError):
            if self._target.read_bytes() != self._temporary.read_bytes():
                self._target.unlink()

    def move(self) -> None:
        """Replace the target; the new file has the mode and the owner of the old one."""
        self._copy_mode()
        os.replace(self._temporary, self._target)
        self._moved = True

    def discard(self) -> None:
        """Delete the temporary file, unless it was moved."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        if not self._moved:
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _copy_mode(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            before = self._target.stat()
            own = self._temporary.stat()
            if (before.st_uid, before.st_gid) != (own.st_uid, own.st_gid) and hasattr(os, "chown"):
                with contextlib.suppress(OSError):  # only an administrator may give a file away
                    os.chown(self._temporary, before.st_uid, before.st_gid)
            self._temporary.chmod(stat.S_IMODE(before.st_mode))


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off the signals that end the program (Ctrl-C among them) until the end of a `with` block."""
    if threading.current_thread() is not threading.main_thread():  # which gets no signals
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _ENDING_SIGNALS}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda received, frame: arrived.append(received))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for received in arrived:
            signal.raise_signal(received)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and MARK in name and name.endswith((".part", f"{MARK}lock"))


def _opened_and_locked(path: Path, flags: int) -> int | None:
    """A descriptor of `path` that holds its lock, None when another process has it or has deleted the file.

    A file system without locks counts as locked, so that work goes on there. Raises OSError when `path` cannot be
    opened.
    """
    for _ in range(_ATTEMPTS):
        descriptor = os.open(path, flags, 0o666)
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _HELD:
                os.close(descriptor)
                return None
            if not flags & os.O_CREAT:  # to delete it, one must be sure that nobody has it
                os.close(descriptor)
                return None
            return descriptor
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # whoever held the lock has deleted the file since
        if flags & os.O_EXCL or not flags & os.O_CREAT:
            return None
    return None
