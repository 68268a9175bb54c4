"""How long the main thread waits for results, in turns that give Python's lock to the worker."""

from __future__ import annotations

from MedSAMSlicerLib.app.poller import ACTIVE_SECONDS, ACTIVE_WAIT_SECONDS, WAIT_SECONDS, Poller


class Work:
    """A worker with a result to come; notes how long it was waited for."""

    busy, filling = True, False

    def __init__(self) -> None:
        self.waits: list[float] = []

    def dispatch(self, wait: float) -> bool:
        self.waits.append(wait)
        return False


class Timer:
    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


def test_turns_are_short_while_the_user_moves_something_and_long_afterwards() -> None:
    work, now, ticks = Work(), [0.0], []

    def timers(callback, _interval):  # type: ignore[no-untyped-def]
        ticks.append(callback)
        return Timer()

    poller = Poller(work, timers, lambda: now[0])
    ticks[0]()
    poller.note_activity()
    ticks[0]()
    now[0] += 1.1 * ACTIVE_SECONDS
    ticks[0]()
    assert work.waits == [WAIT_SECONDS, ACTIVE_WAIT_SECONDS, WAIT_SECONDS]
    assert ACTIVE_WAIT_SECONDS <= WAIT_SECONDS / 4
