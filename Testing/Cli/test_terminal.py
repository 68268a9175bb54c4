"""The line that shows how far a run is: on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from MedSAMSlicerLib.cli.terminal import PROGRESS_SECONDS, ProgressBar, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "message"),
    [(3.21, "3.2 s"), (41.4, "41 s"), (125, "2 min 05 s"), (3599.7, "1 h 00 min"), (12000, "3 h 20 min")],
)
def test_durations_are_stated_as_people_say_them(seconds: float, message: str) -> None:
    assert duration(seconds) == message


def test_a_terminal_sees_one_line_that_is_cleared_at_the_end() -> None:
    stream, clock = Terminal(), Clock()
    with ProgressBar("measuring", stream, clock=clock) as bar:
        clock.now = 10.0
        bar.update(1, 4, "case")
        assert "measuring ███████·" in stream.getvalue()
        assert " 25 %  case  30 s left" in stream.getvalue()
        clock.now = 20.0
        bar.update(2, 4, "case", left=300)
        assert " 50 %  case  5 min 00 s left" in stream.getvalue()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_the_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    ProgressBar("measuring", stream).update(1, 4, "a very long text " * 20)
    assert len(stream.getvalue().removeprefix("\r\x1b[K")) == 59


@pytest.mark.parametrize(
    ("chosen", "seconds"), [(None, (30, 60, 90)), ("45", (45, 90)), ("0", ()), ("?", (30, 60, 90))]
)
def test_where_it_is_no_terminal_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, seconds: tuple[int, ...]
) -> None:
    if chosen is not None:
        monkeypatch.setenv(PROGRESS_SECONDS, chosen)
    stream, clock = io.StringIO(), Clock()
    bar = ProgressBar("measuring", stream, clock=clock)
    for second in range(101):
        clock.now = float(second)
        bar.update(second, 100, f"case {second}", left=7.0)
    assert stream.getvalue().splitlines() == [f"measuring {at} %  case {at}  7.0 s left" for at in seconds]
