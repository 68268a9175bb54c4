"""The hashes a user has confirmed: one small JSON file in the cache folder."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..core.errors import CheckpointError, DownloadError
from .file_lock import exclusive

SCHEMA_VERSION = 1


class RecordError(CheckpointError):
    """A confirmed hash cannot be recorded, for instance in a folder that is only read."""


@dataclass(frozen=True)
class RecordedFile:
    """A checkpoint file of the user: name in `--model`, size in bytes and SHA-256 when confirmed."""

    id: str
    bytes: int
    sha256: str


@dataclass
class Recorded:
    """Confirmed hashes of registry checkpoints by id, and of the user's own files by absolute path."""

    checkpoints: dict[str, str] = field(default_factory=dict)
    files: dict[str, RecordedFile] = field(default_factory=dict)


class RecordedHashes:
    """Reads and writes the file of confirmed hashes. Safe between processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Recorded:
        """Return what was confirmed; nothing when there is no file yet. Raises CheckpointError on a damaged file."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema version {content['schema_version']}")
            files = {path: RecordedFile(**file) for path, file in content["files"].items()}
            return Recorded(dict(content["checkpoints"]), files)
        except FileNotFoundError:
            return Recorded()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"The file of confirmed checkpoints {self.path} cannot be read ({error}); repair or delete it."
            ) from error

    def confirm_checkpoint(self, identifier: str, sha256: str) -> None:
        """Remember the hash of a registry checkpoint."""
        with self._change() as recorded:
            recorded.checkpoints[identifier] = sha256

    def confirm_file(self, path: Path, file: RecordedFile) -> None:
        """Remember the hash of a file of the user's; another file of the same id gives way."""
        with self._change() as recorded:
            recorded.files = {at: other for at, other in recorded.files.items() if other.id != file.id}
            recorded.files[str(path)] = file

    def forget(self, identifier: str, path: Path | None = None) -> None:
        """Drop what was remembered of a checkpoint id or of a file."""
        with self._change() as recorded:
            recorded.checkpoints.pop(identifier, None)
            recorded.files.pop(str(path), None)

    @contextlib.contextmanager
    def _change(self) -> Iterator[Recorded]:
        """Read, change and write while no other program does."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(self.path.with_name(f".{self.path.name}.lock")):
                recorded = self.read()
                yield recorded
                self._write(recorded)
        except (OSError, DownloadError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise RecordError(
                f"The confirmed checkpoint cannot be recorded in {self.path} ({reason.rstrip('.')})."
            ) from error

    def _write(self, recorded: Recorded) -> None:
        content = {
            "schema_version": SCHEMA_VERSION,
            "checkpoints": recorded.checkpoints,
            "files": {path: asdict(file) for path, file in recorded.files.items()},
        }
        temporary = self.path.with_name(self.path.name + ".new")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
