"""The exit codes of the program."""

from __future__ import annotations

OK = 0
FAILED = 1
USAGE = 2


class UsageError(Exception):
    """An option that cannot be understood, or options that do not go together; ends with exit code 2."""
