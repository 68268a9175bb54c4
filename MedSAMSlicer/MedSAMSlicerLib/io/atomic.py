"""Files that are either whole or not there: written beside their target, then moved over it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..core.errors import OutputError

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
}


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends without an error, else leaves no trace.

    Until then an existing file stays as it is; a symbolic link is followed. The bytes are on the disk before
    the move, so that a full disk cannot leave half a file under the final name.

    Raises:
        OutputError: naming `path`, when it cannot be written.
    """
    said = Path(path)
    try:
        target = said.resolve()
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.part")
        # Not tempfile: its files are private to the user, a result has the permissions of any other new file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(temporary, flags, 0o666)
    except OSError as error:
        raise output_error(said, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            flush_to_disk(file)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise output_error(said, error) from error
        raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """`content` as the whole of the file `path`, atomically; OutputError when that fails."""
    with replacing(path) as file:
        file.write(content)


def flush_to_disk(file: BinaryIO) -> None:
    """Returns when all that was written to `file` is on the disk; OSError when it does not fit."""
    file.flush()
    os.fsync(file.fileno())


def output_error(path: str | Path, error: OSError) -> OutputError:
    """The sentence for a file that could not be written."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return OutputError(f"Cannot write {path}: {reason}.")
