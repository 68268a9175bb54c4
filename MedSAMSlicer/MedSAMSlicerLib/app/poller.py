"""A timer on the main thread that takes in what the worker has brought, and does small things later.

The timer runs only while something is under way, so that an idle module costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ..core.errors import MedSAMError

INTERVAL_MS = 10
WAIT_SECONDS = 0.02
"""How long one turn waits for a result; it gives Python's lock to the worker that long."""

ACTIVE_WAIT_SECONDS = 0.004
"""The same while the user moves the mouse or slices, which must not stutter."""

ACTIVE_SECONDS = 0.3
"""How long after such a movement that counts."""

FILL_WAIT_SECONDS = 0.005
"""The same while nobody waits for the result and features are only prepared."""


class Timer(Protocol):
    """A timer that calls back again and again while it runs."""

    def start(self) -> None:
        """Run; nothing happens when it runs already."""
        ...

    def stop(self) -> None:
        """Stop; it can be started again."""
        ...


class Timers(Protocol):
    """Makes a timer."""

    def __call__(self, callback: Callable[[], None], interval_ms: int) -> Timer:
        """A stopped timer."""
        ...


class Work(Protocol):
    """The source of results: the worker."""

    @property
    def busy(self) -> bool:
        """Return whether results are to come."""
        ...

    @property
    def filling(self) -> bool:
        """Return whether the background works."""
        ...

    def dispatch(self, wait: float) -> bool:
        """Take results in."""
        ...


class Poller:
    """Takes in results and does what is due.

    Args:
        work: the worker.
        timers: None = `poll` is called by hand.
        clock: the time in seconds.
        on_error: called with what could not be done with a result, such as when a mask cannot be written any more;
            None = such an error is raised.
    """

    def __init__(
        self,
        work: Work,
        timers: Timers | None = None,
        clock: Callable[[], float] = time.perf_counter,
        on_error: Callable[[MedSAMError], object] | None = None,
    ) -> None:
        self._work, self._clock = work, clock
        self._timer = timers(self._tick, INTERVAL_MS) if timers else None
        self._due: dict[str, tuple[float, Callable[[], None]]] = {}
        self._polling = self._closed = False
        self._active_until = 0.0
        self._on_error = on_error
        self._sooner = 0

    @property
    def active(self) -> bool:
        """Return whether anything is under way."""
        return bool(self._work.busy or self._due)

    def start(self) -> None:
        """Something was handed in: let the timer run."""
        if self._timer is not None and not self._closed:
            self._timer.start()

    @property
    def user_is_active(self) -> bool:
        """Return whether the user moved something a moment ago."""
        return self._clock() < self._active_until

    def note_activity(self) -> None:
        """The user moves something now: waits are short until that is over."""
        self._active_until = self._clock() + ACTIVE_SECONDS

    def schedule(self, key: str, seconds: float, action: Callable[[], None], restart: bool = False) -> None:
        """Do something in a while; what is already due under `key` stays as it is, or starts over with `restart`."""
        if self._closed:
            return
        if restart or key not in self._due:
            self._due[key] = (self._clock() + seconds, action)
        self.start()

    def soon(self, action: Callable[[], None]) -> None:
        """Do something once the event under way is over; every call counts."""
        self._sooner += 1
        self.schedule(f"event {self._sooner}", 0.0, action)

    def unschedule(self, key: str) -> None:
        """Do not do it."""
        self._due.pop(key, None)

    def poll(self, wait: float = 0.0) -> bool:
        """Take in what there is and do what is due; True while something is under way."""
        if self._polling or self._closed:  # an event loop inside of what a result caused
            return self.active
        self._polling = True
        try:
            if self._work.busy:
                self._attempt(lambda: self._work.dispatch(wait))
            elif wait and (self._work.filling or self._due):
                time.sleep(min(wait, FILL_WAIT_SECONDS))
            now = self._clock()
            for key in [key for key, (at, _) in self._due.items() if at <= now]:
                found = self._due.pop(key, None)
                if found is not None:
                    self._attempt(found[1])
        finally:
            self._polling = False
        return self.active

    def close(self) -> None:
        """Stop for good."""
        self._closed = True
        self._due.clear()
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except MedSAMError as error:
            if self._on_error is None:
                raise
            self._on_error(error)

    def _tick(self) -> None:
        active = self.poll(ACTIVE_WAIT_SECONDS if self.user_is_active else WAIT_SECONDS)
        if not active and not self._work.filling and self._timer is not None:
            self._timer.stop()
