"""The program as a process: closed and broken streams, and the signals that end it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from ..core.errors import OutputError

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


@contextlib.contextmanager
def sturdy_streams() -> Iterator[None]:
    """Give the program streams that never end it: for the length of a `with` block.

    Streams that are closed (`<&-`, `>&-`, pythonw) lead to nowhere. A pipe whose reader has gone (`| head -1`,
    `2>&1 | true`) takes the rest without an error, so that the work goes on and the exit code reports its result. When
    standard output cannot be written for another reason, such as a full disk, that is an OutputError.
    """
    before = (sys.stdin, sys.stdout, sys.stderr)
    if sys.stdin is None:  # first, so that no file of the program gets the number of a standard stream
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - open as long as the program runs
    sys.stdout = _sturdy(sys.stdout, must_arrive=True)
    sys.stderr = _sturdy(sys.stderr, must_arrive=False)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OutputError):  # reported already, or there is nobody to report it to
                stream.flush()
        sys.stdin, sys.stdout, sys.stderr = (
            now if then is None else then
            for now, then in zip((sys.stdin, sys.stdout, sys.stderr), before, strict=True)
        )


def _sturdy(stream: Any, must_arrive: bool) -> Any:
    if stream is None:
        return open(os.devnull, "w")  # noqa: PTH123 - open as long as the program runs
    binary = getattr(stream, "buffer", None)
    raw = getattr(binary, "raw", binary)  # with PYTHONUNBUFFERED the binary stream is the raw one
    if raw is None or stream.isatty():  # a terminal stays as long as the program, or SIGHUP ends it
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Sink(raw, must_arrive)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=not must_arrive or stream.line_buffering or raw is binary,
    )


class _Sink(io.RawIOBase):
    """A raw stream that drops what nobody can receive."""

    def __init__(self, raw: io.RawIOBase, must_arrive: bool) -> None:
        super().__init__()
        self._raw, self._must_arrive, self._closed_by_reader = raw, must_arrive, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return False

    def write(self, data: Any, /) -> int | None:
        if self._closed_by_reader:
            return len(data)
        try:
            return self._raw.write(data)
        except OSError as error:
            self._closed_by_reader = True
            if self._must_arrive and not isinstance(error, BrokenPipeError):
                raise OutputError(
                    f"The standard output cannot be written: {error.strerror or error}."
                ) from error
            return len(data)


class EndingSignals:
    """Turns Ctrl-C, SIGTERM and SIGHUP into KeyboardInterrupt for the length of a `with` block.

    So a run that is ended from outside deletes its temporary files as one that is ended by Ctrl-C. What the program was
    started to ignore (nohup) stays ignored.

    Attributes:
        received: number of the last signal that came, None = none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> EndingSignals:
        if threading.current_thread() is threading.main_thread():  # the only one that gets signals
            for number in (getattr(signal, name) for name in _ENDING if hasattr(signal, name)):
                handler = signal.getsignal(number)
                if handler in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """128 + the number of the signal; that of Ctrl-C when none has come."""
        return 128 + (self.received or int(signal.SIGINT))

    def _end(self, number: int, frame: object) -> None:
        self.received = number
        raise KeyboardInterrupt
