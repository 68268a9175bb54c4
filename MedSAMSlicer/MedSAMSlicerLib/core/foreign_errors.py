"""The causes of errors of torch, pip or the system, some of which can be told apart by their words only.

This is the only file that reads the text of an error; all errors of this program are classes with fields, see `errors`.
"""

from __future__ import annotations

import enum
import errno

_LONGEST = 300  # characters of a foreign text that a user is shown


class Failure(enum.Enum):
    """The meaning of a foreign error."""

    NO_MEMORY = (
        "out of memory",
        "outofmemory",
        "not enough memory",
        "can't allocate memory",
        "cannot allocate memory",
    )
    DECLINED = ("declined",)
    DISK_FULL = ("no space left", "errno 28", "disk quota exceeded")
    NO_PERMISSION = ("permission", "access is denied")
    OTHER = ()


def failure_of(error: BaseException, *possible: Failure) -> Failure:
    """Return what an error means, one of `possible` or else OTHER.

    Args:
        error: any; the output of a program that failed is read too, where the error has it.
        possible: what is looked for, in this order, since words such as "permission" mean little elsewhere.
    """
    by_type = _by_type(error)
    if by_type in possible:
        return by_type
    parts = (type(error).__name__, error, getattr(error, "output", None), getattr(error, "stderr", None))
    text = " ".join(str(part) for part in parts if part).lower()
    return next((each for each in possible if any(word in text for word in each.value)), Failure.OTHER)


def first_line(error: BaseException) -> str:
    """Return the first line of the text of an error."""
    return str(error).partition("\n")[0]


def on_one_line(error: BaseException) -> str:
    """Return the text of an error on one line, cut where it is very long."""
    return " ".join(str(error).split())[:_LONGEST]


def _by_type(error: BaseException) -> Failure:
    if isinstance(error, MemoryError):
        return Failure.NO_MEMORY
    if isinstance(error, PermissionError):
        return Failure.NO_PERMISSION
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Failure.DISK_FULL
    return Failure.OTHER
