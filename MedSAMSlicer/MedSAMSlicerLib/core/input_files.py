"""Files that the user names as inputs: regular files only, since a pipe may never end and a device has no end."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from .errors import MedSAMError, PromptError
from .geometry import VolumeGeometry
from .prompts import PromptSet

_LONGEST_TEXT = 1 << 28  # bytes; ten thousand prompts with masks of 512 x 512 pixels take a tenth of it
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_input(path: Path, error: type[MedSAMError], folder: bool = False) -> None:
    """Raise `error` with one sentence unless `path` is a regular file, or with `folder` a folder.

    Nothing is opened: opening a pipe would wait for its writer.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError, RuntimeError) as failure:
        raise error(_why_missing(path, failure)) from failure
    if stat.S_ISREG(mode) or (folder and stat.S_ISDIR(mode)):
        return
    kind = next((name for test, name in _KINDS if test(mode)), "no regular file")
    raise error(f"{path} cannot be read: it is {kind}, but a regular file is needed.")


def read_prompts(path: Path, geometry: VolumeGeometry) -> PromptSet:
    """The prompts of a file, made on this volume; PromptError naming one that cannot be read or does not fit."""
    text = _prompt_text(path)
    try:
        return PromptSet.from_json(text, geometry)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from error


def _prompt_text(path: Path) -> str:
    check_input(path, PromptError)
    try:
        size = path.stat().st_size
        if size > _LONGEST_TEXT:
            raise PromptError(
                f"{path} has {size} bytes, but prompts take less than {_LONGEST_TEXT}; it was not read."
            )
        return path.read_text(encoding="utf-8-sig")  # some editors of Windows put a mark before it
    except OSError as failure:
        raise PromptError(f"The prompts {path} cannot be read: {failure.strerror or failure}.") from failure
    except UnicodeDecodeError as failure:
        raise PromptError(f"The prompts {path} are not text.") from failure


def _why_missing(path: Path, failure: Exception) -> str:
    number = failure.errno if isinstance(failure, OSError) else None
    if number in (errno.ENOENT, errno.ENOTDIR):
        return f"{path} does not exist."
    if number == errno.ELOOP or isinstance(failure, RuntimeError):
        return f"{path} cannot be read: it is a symbolic link that leads to itself."
    if number in (errno.EACCES, errno.EPERM):
        return f"{path} may not be read by this user."
    return f"{path} cannot be read: {getattr(failure, 'strerror', None) or failure}."
