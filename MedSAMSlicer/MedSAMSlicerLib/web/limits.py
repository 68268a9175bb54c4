"""The limits of a session and of a server, and the errors of what is too much; each is one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import MedSAMError

LONGEST_NAME = 200  # characters


class LimitError(MedSAMError):
    """Something larger, or more, than the server allows."""


class SessionEndedError(MedSAMError):
    """A session that is unknown: it ended, or never was."""


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Attributes:
        upload_bytes: of one uploaded file, and of what an archive holds when it is unpacked, in four times as many.
        files: in one archive.
        voxels: of one volume.
        objects: in one session.
        sessions: open at once.
        runs: propagations that compute at once; further ones wait in a queue.
        stored_bytes: of all files of the server; beyond it nothing is uploaded.
        idle_seconds: after which a session that nobody uses ends.
    """

    upload_bytes: int = 1 << 30
    files: int = 10_000
    voxels: int = 300_000_000
    objects: int = 50
    sessions: int = 64
    runs: int = 1
    stored_bytes: int = 32 << 30
    idle_seconds: float = 3600.0

    @property
    def unpacked_bytes(self) -> int:
        """Of all files of an archive together."""
        return 4 * self.upload_bytes

    def check_upload(self, name: str, size: int) -> None:
        """Raise LimitError for a file that is too large."""
        if size > self.upload_bytes:
            raise LimitError(
                f"{name} has {_megabytes(size)}, but this server takes files of at most "
                f"{_megabytes(self.upload_bytes)}."
            )

    def check_voxels(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise LimitError for a volume of too many voxels; `shape` in any order."""
        count = 1
        for side in shape:
            count *= side
        if count > self.voxels:
            raise LimitError(
                f"{name} has {count:,} voxels, but this server takes volumes of at most {self.voxels:,}: crop it or "
                "take every second voxel."
            )

    def check_name(self, name: str) -> None:
        """Raise LimitError for a name that nobody would read."""
        if len(name) > LONGEST_NAME:
            raise LimitError(f"A name has at most {LONGEST_NAME} characters, not {len(name):,}.")

    def check_objects(self, count: int) -> None:
        """Raise LimitError when there is no room for one more object."""
        if count >= self.objects:
            raise LimitError(f"A session holds at most {self.objects} objects: remove one first.")


def _megabytes(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MB"
