"""All sessions of one server: made, found by their identifiers, ended when nobody uses them."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..app.workspace import Settings
from .limits import LimitError, Limits, SessionEndedError
from .models import SharedModels
from .run_queue import RunQueue
from .session import WebSession
from .uploads import remove_folder

_PREFIX = "medsamslicer-web-"
_SWEEP_SECONDS = 5.0

KEPT_SECONDS = 300.0
"""How long an uploaded file waits for the session that opens it, and an exported one for its download."""


class SessionStore:
    """Makes sessions, each in a private folder of its own, and ends those that are idle.

    Args:
        root: the private folder of the server, see `private_root`; `incoming` in it is for files under way.
        settings: device, threads, memory for features of each session.
        limits: of the server.
        checkpoint: id or file of the network; None = the bundled one.
        clock: seconds.
    """

    def __init__(
        self,
        root: Path,
        settings: Settings | None = None,
        limits: Limits | None = None,
        checkpoint: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root, self.limits = root, limits or Limits()
        self._settings, self._checkpoint, self._clock = settings or Settings(), checkpoint, clock
        self.incoming = self.root / "incoming"
        self.incoming.mkdir(mode=0o700, exist_ok=True)
        self._queue, self._models = RunQueue(self.limits.runs), SharedModels()
        self._lock = threading.Lock()
        self._sessions: dict[str, WebSession] = {}
        self._ended = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="MedSAMSlicer sessions", daemon=True)
        self._sweeper.start()

    def new(self) -> WebSession:
        """A session of its own. Raises LimitError when too many are open."""
        self.end_idle()
        with self._lock:
            if len(self._sessions) >= self.limits.sessions:
                raise LimitError(
                    f"This server has {self.limits.sessions} open sessions, which is all it takes: try again later."
                )
            folder = self.root / secrets.token_urlsafe(24)
            folder.mkdir(mode=0o700)
            session = WebSession(
                folder, self._settings, self.limits, self._queue, self._models, self._checkpoint, self._clock
            )
            self._sessions[session.id] = session
            return session

    def get(self, session_id: str) -> WebSession:
        """The session with this identifier. Raises SessionEndedError."""
        with self._lock:
            session = self._sessions.get(session_id)
        if session is None or session.is_closed:
            raise SessionEndedError("This session has ended: open the volume again.")
        return session

    def end(self, session_id: str) -> None:
        """End a session; nothing happens if there is none of that identifier."""
        with self._lock:
            session = self._sessions.pop(session_id, None)
        if session is not None:
            session.close()

    def end_idle(self) -> int:
        """End the sessions that nobody has used for too long and that compute nothing; returns how many ended."""
        before = self._clock() - self.limits.idle_seconds
        with self._lock:
            idle = [
                each.id for each in self._sessions.values() if each.last_used < before and not each.is_running
            ]
        for session_id in idle:
            self.end(session_id)
        return len(idle)

    def __len__(self) -> int:
        return len(self._sessions)

    def close(self) -> None:
        """End all sessions and remove the private folder of the server. Safe to call twice."""
        self._ended.set()
        for session_id in [*self._sessions]:
            self.end(session_id)
        remove_folder(self.root)

    def remove_old_files(self, older_than: float = KEPT_SECONDS) -> None:
        """Remove what was uploaded and is in no session, which has files of its own, and what was exported."""
        with self._lock:
            sessions = [*self._sessions.values()]
        own = {self.incoming, *(session.folder for session in sessions)}
        uploads = [path for path in self.root.iterdir() if path not in own]
        exports = [folder for session in sessions for folder in session.exports]
        for path in (*uploads, *exports, *self.incoming.iterdir()):
            with contextlib.suppress(OSError):
                if time.time() - _last_written(path) > older_than:
                    remove_folder(path) if path.is_dir() else path.unlink()

    @property
    def stored_bytes(self) -> int:
        """Of all files in the folder of the server."""
        found = 0
        for path in self.root.rglob("*"):
            with contextlib.suppress(OSError):
                found += path.lstat().st_size
        return found

    def _sweep(self) -> None:
        while not self._ended.wait(min(_SWEEP_SECONDS, max(0.05, self.limits.idle_seconds / 4))):
            self.end_idle()
            with contextlib.suppress(OSError):  # the folder is being removed
                self.remove_old_files()


def private_root(inside: Path | None = None) -> Path:
    """A new folder that only this user may open; those that killed servers have left behind are removed.

    Args:
        inside: where; None = the folder of the system for temporary files.
    """
    parent = Path(tempfile.gettempdir()) if inside is None else inside
    for left in parent.glob(f"{_PREFIX}*"):
        number = left.name.removeprefix(_PREFIX).split("-", 1)[0]
        with contextlib.suppress(OSError):
            if left.is_dir() and number.isdecimal() and not _is_alive(int(number)) and _is_own(left):
                remove_folder(left)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))


def _last_written(path: Path) -> float:
    """The time when a file, or a folder or something in it, was changed last."""
    inside = path.rglob("*") if path.is_dir() else ()
    return max(each.stat().st_mtime for each in (path, *inside))


def _is_own(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def _is_alive(process: int) -> bool:
    """Return whether there is a process of this number; where that cannot be found out, whether it may be there."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
