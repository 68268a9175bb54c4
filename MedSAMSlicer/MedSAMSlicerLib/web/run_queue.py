"""The queue of sessions that propagate: at most so many at once, in the order in which they asked."""

from __future__ import annotations

import threading
from collections import deque


class RunQueue:
    """Gives out a few places, first come, first served; safe from several threads.

    Args:
        places: how many may be held at once.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._waiting: deque[str] = deque()

    def ask(self, session_id: str) -> None:
        """Stand in line, unless the session does already or has a place."""
        with self._lock:
            if session_id not in self._running and session_id not in self._waiting:
                self._waiting.append(session_id)

    def take(self, session_id: str) -> bool:
        """Take a place if it is the session's turn; True as well when it has one."""
        with self._lock:
            if session_id in self._running:
                return True
            if not self._waiting or self._waiting[0] != session_id or len(self._running) >= self._places:
                return False
            self._waiting.popleft()
            self._running.add(session_id)
            return True

    def position(self, session_id: str) -> int | None:
        """The number of sessions before a session in line; None when it does not stand there."""
        with self._lock:
            return self._waiting.index(session_id) if session_id in self._waiting else None

    def leave(self, session_id: str) -> None:
        """Give the place back, or stand in line no longer."""
        with self._lock:
            self._running.discard(session_id)
            if session_id in self._waiting:
                self._waiting.remove(session_id)
