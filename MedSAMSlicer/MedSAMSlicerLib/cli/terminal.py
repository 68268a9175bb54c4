"""Talking to a person on a terminal, and keeping silent in a pipe."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from ..models.registry import Confirm, Question

UNTRIED_DEVICES = "cuda and mps were not run in this project's tests so far"
_WIDTH = 28
_EVERY_S = 0.1


class ProgressBar:
    """One line on the error output that is rewritten; nothing at all when that is not a terminal.

    Use as a context manager, so that the line is cleared whatever happens.
    """

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        self._label = label
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._start = time.monotonic()
        self._last = 0.0

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._last:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def update(self, done: float, total: float | None, text: str = "") -> None:
        """Show `done` of `total` (None = not known) and `text`; cheap enough to call very often."""
        now = time.monotonic()
        if not self._shown or (now - self._last < _EVERY_S and (total is None or done < total)):
            return
        self._last = now
        if total:
            filled = int(_WIDTH * min(done / total, 1.0))
            bar = "█" * filled + "·" * (_WIDTH - filled)
            left = (now - self._start) * (total - done) / done if done else None
            text = f"{bar} {100 * done / total:3.0f} %  {text}" + (f"  {duration(left)} left" if left else "")
        self._stream.write(f"\r\x1b[K{self._label} {text}")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Minutes and seconds as people say them: `3.2 s`, `41 s`, `2 min 05 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def size(count: int | None) -> str:
    """Bytes as people say them; `size not known` for None."""
    return (
        "size not known"
        if count is None
        else f"{count / 1e6:.0f} MB"
        if count >= 1e7
        else f"{count / 1e6:.1f} MB"
    )


def say(sentence: str) -> None:
    """A remark for the person at the terminal; silence in a pipe."""
    if sys.stderr.isatty():
        sys.stderr.write(sentence + "\n")


def warn(sentence: str) -> None:
    """Something the user must know, on the error output, terminal or not."""
    sys.stderr.write(f"medsamslicer: warning: {sentence}\n")


def confirmation(yes: bool) -> Confirm:
    """Who answers questions: --yes, the person at the terminal, or else nobody, which counts as no."""

    def confirm(question: Question) -> bool:
        if yes:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            sys.stderr.write(f"{question.text} Nobody can be asked here: --yes says so.\n")
            return False
        sys.stderr.write(f"{question.text} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return confirm
