"""Errors of torch, pip and the system, whose class does not say what went wrong."""

from __future__ import annotations

import errno
import subprocess

import pytest

from MedSAMSlicerLib.core.foreign_errors import Failure, failure_of, first_line, on_one_line

ALL = (Failure.NO_MEMORY, Failure.DECLINED, Failure.DISK_FULL, Failure.NO_PERMISSION)


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (MemoryError(), Failure.NO_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), Failure.NO_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), Failure.NO_MEMORY),
        (OSError(errno.ENOSPC, "voll"), Failure.DISK_FULL),
        (RuntimeError("[Errno 28] No space left on device"), Failure.DISK_FULL),
        (PermissionError("verweigert"), Failure.NO_PERMISSION),
        (RuntimeError("User declined installation"), Failure.DECLINED),
        (subprocess.CalledProcessError(1, "pip", stderr="Access is denied"), Failure.NO_PERMISSION),
        (RuntimeError("no route to host"), Failure.OTHER),
    ],
)
def test_an_error_is_recognized_by_its_class_or_its_words(error: Exception, meaning: Failure) -> None:
    assert failure_of(error, *ALL) is meaning


def test_only_what_is_possible_is_found() -> None:
    assert failure_of(PermissionError("permission"), Failure.NO_MEMORY) is Failure.OTHER


def test_long_texts_are_shortened_for_a_user() -> None:
    error = ValueError("first\n   second " + "x" * 1000)
    assert first_line(error) == "first"
    assert on_one_line(error).startswith("first second xxx")
    assert len(on_one_line(error)) == 300
