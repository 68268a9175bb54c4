"""The networks of all sessions of one server: each is loaded once, and computes for all of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..app.engine_state import load_network_of
from ..models.registry import CheckpointFile

if TYPE_CHECKING:
    from ..sam2.networks import Network


class SharedModels:
    """Networks by the hash of their files; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Network] = {}

    def load(self, file: CheckpointFile) -> Network:
        """The network of a file, loaded unless it is known."""
        with self._lock:
            if file.sha256 not in self._known:
                self._known[file.sha256] = load_network_of(file)
            return self._known[file.sha256]
