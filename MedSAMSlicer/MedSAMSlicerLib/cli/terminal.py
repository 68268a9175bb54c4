"""Progress, remarks and questions on a terminal; in a pipe or a file a line of progress now and then."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from ..models.registry import Confirm, Question

UNTRIED_DEVICES = "cuda and mps were not run in this project's tests so far"
_WIDTH = 28
_EVERY_S = 0.1
_LINES_EVERY_S = 30.0
PROGRESS_SECONDS = "MEDSAMSLICER_PROGRESS_SECONDS"
"""Variable of the environment: seconds between two lines where the error output is no terminal, 0 = no line."""


class ProgressBar:
    """One line on the error output that is rewritten; where that is not a terminal, now and then a line.

    Use as a context manager, so that the line is cleared whatever happens. Elsewhere the first line comes after as many
    seconds as there are between two.

    Args:
        label: what is going on.
        stream: None = the error output.
        lines_every_s: seconds between two lines where it is not a terminal; None = as the environment says, else 30.
        clock: seconds.
    """

    def __init__(
        self,
        label: str,
        stream: TextIO | None = None,
        lines_every_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._clock = label, clock
        self._stream = sys.stderr if stream is None else stream
        self._rewrites = self._stream.isatty()
        self._start = clock()
        self._last: float | None = None
        self._every_s: float | None = _EVERY_S
        if not self._rewrites:
            self._every_s = _seconds_between_lines() if lines_every_s is None else lines_every_s
            self._last = self._start

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._rewrites and self._last is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def update(self, done: float, total: float | None, text: str = "", left: float | None = None) -> None:
        """Show `done` of `total` (None = not known) and `text`; cheap enough to call very often.

        Args:
            done, total: in whatever unit.
            text: what is done now.
            left: seconds to go; None = as many for each unit as so far.
        """
        now, finished = self._clock(), total is not None and done >= total
        recent = self._last is not None and self._every_s is not None and now - self._last < self._every_s
        if self._every_s is None or (recent and not (finished and self._rewrites)):
            return
        self._last = now
        line = f"{text}"
        if total:
            if left is None and done:
                left = (now - self._start) * (total - done) / done
            line = f"{100 * min(done / total, 1.0):3.0f} %  {text}" + (
                f"  {duration(left)} left" if left else ""
            )
        if not self._rewrites:
            self._stream.write(f"{self._label} {line.strip()}\n")
        else:
            if total:
                filled = int(_WIDTH * min(done / total, 1.0))
                line = f"{'█' * filled}{'·' * (_WIDTH - filled)} {line}"
            columns = shutil.get_terminal_size().columns
            self._stream.write(f"\r\x1b[K{f'{self._label} {line}'[: columns - 1]}")
        self._stream.flush()


def _seconds_between_lines() -> float | None:
    """The seconds between lines where the error output is no terminal; None = no line at all."""
    try:
        chosen = float(os.environ.get(PROGRESS_SECONDS, _LINES_EVERY_S))
    except ValueError:
        chosen = _LINES_EVERY_S
    return chosen if chosen > 0 else None


def duration(seconds: float) -> str:
    """A time in the units of everyday use: `3.2 s`, `41 s`, `2 min 05 s`, `3 h 20 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def size(count: int | None) -> str:
    """A number of bytes in MB; `size not known` for None."""
    return (
        "size not known"
        if count is None
        else f"{count / 1e6:.0f} MB"
        if count >= 1e7
        else f"{count / 1e6:.1f} MB"
    )


def show_message(sentence: str) -> None:
    """Write a remark to the terminal; nothing where there is none."""
    if sys.stderr.isatty():
        sys.stderr.write(sentence + "\n")


def warn(sentence: str) -> None:
    """Write a warning to the error output, terminal or not."""
    sys.stderr.write(f"medsamslicer: warning: {sentence}\n")


def confirmation(yes: bool) -> Confirm:
    """The answer to questions: yes with --yes, what the user types at a terminal, else no."""

    def confirm(question: Question) -> bool:
        if yes:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            sys.stderr.write(f"{question.text} There is no terminal to answer on: --yes accepts it.\n")
            return False
        sys.stderr.write(f"{question.text} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return confirm
