"""One download of a model at a time, on a thread of its own, asked about from the main thread."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import Canceled, MedSAMError
from ..core.translation import tr as _
from ..models import Checkpoint, Registry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bytes:
    """The progress of a download; `total` is None while the server does not give it."""

    done: int
    total: int | None


@dataclass(frozen=True)
class Ended:
    """A download is over; `error` is one sentence, empty when it worked, None when the user canceled it."""

    checkpoint: Checkpoint
    error: str | None


class ModelDownload:
    """A download under way.

    Args:
        registry: brings the file; used on the thread.
        checkpoint: which one; the user has agreed to it, also where its hash is not known yet.
    """

    def __init__(self, registry: Registry, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._registry = registry
        self._failed = _("The download of {model} failed: {why}")  # looked up on the main thread
        self._canceled = threading.Event()
        self._news: queue.Queue[Bytes | Ended] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name=f"download {checkpoint.id}", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """End it; what has arrived is kept for the next time."""
        self._canceled.set()

    def news(self, wait: float) -> Bytes | Ended | None:
        """The latest there is, waiting up to `wait` seconds, which lets the thread run."""
        latest: Bytes | Ended | None = None
        try:
            latest = self._news.get(timeout=wait)
            while not isinstance(latest, Ended):
                latest = self._news.get_nowait()
        except queue.Empty:
            return latest
        return latest

    def join(self, timeout: float) -> None:
        """Wait for the thread to end, `timeout` seconds at most."""
        self._thread.join(timeout)

    def _run(self) -> None:
        error: str | None = ""
        try:
            self._registry.download(
                self.checkpoint,
                confirm=lambda question: True,
                loads=_loads,
                progress=lambda done, total: self._news.put(Bytes(done, total)),
                canceled=self._canceled.is_set,
            )
        except Canceled:
            error = None
        except MedSAMError as failure:
            error = str(failure)
        except Exception as failure:
            logger.exception("The download of %s failed", self.checkpoint.id)
            error = self._failed.format(model=self.checkpoint.id, why=failure)
            raise
        finally:
            self._news.put(Ended(self.checkpoint, error))


def _loads(checkpoint: Checkpoint, path: Path) -> None:
    """Read the weights of a file into the network of a checkpoint, where torch is installed already.

    Raises CheckpointError when they do not fit.
    """
    try:
        from ..sam2.checkpoint import load_named
    except ImportError:  # the model may be downloaded before torch is; the first use loads it then
        return
    load_named(path, checkpoint.config)
