"""The part of a file that has arrived so far, and enough about it to go on later."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

FORGOTTEN_AFTER_S = 30 * 24 * 3600.0


@dataclass
class PartialFile:
    """A file `<target>.part` and its note `<target>.part.json` {address, validator, total}.

    validator: the server's strong ETag, or its Last-Modified date; it goes into If-Range, so that a file that
    has changed on the server comes whole instead of as a rest that does not fit. total: bytes of the whole file,
    None = the server did not say.
    """

    path: Path
    note: Path
    address: str

    @classmethod
    def beside(cls, target: Path, address: str) -> PartialFile:
        """The partial file of `target`; one that came from another address is thrown away."""
        part = cls(
            target.with_name(target.name + ".part"), target.with_name(target.name + ".part.json"), address
        )
        if part.path.exists() and part._read_note().get("address") != address:
            part.delete()
        return part

    @property
    def received(self) -> int:
        """Bytes on disk."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def range_headers(self, hash_known: bool) -> dict[str, str]:
        """Headers that ask for the rest; none when the file must come from its start.

        Without a validator only a known hash can reveal a rest that does not fit, so only then is it asked for.
        """
        validator = self._read_note().get("validator")
        if self.received == 0 or not (validator or hash_known):
            return {}
        headers = {"Range": f"bytes={self.received}-"}
        if validator:
            headers["If-Range"] = validator
        return headers

    def start(self, headers: Message, total: int | None) -> None:
        """Begin from nothing, remembering from the answer's headers what the file on the server is."""
        self.delete()
        note = {"address": self.address, "validator": _validator(headers), "total": total}
        self.note.write_text(json.dumps(note), encoding="utf-8")

    def is_of_another_file(self, headers: Message, total: int | None) -> bool:
        """Return whether an answer continues another file than this part, as from servers that ignore If-Range.

        Also true when the answer has no validator although the first one had.
        """
        note = self._read_note()
        known = note.get("total")
        return bool(
            (
                note.get("validator")
                and note["validator"] not in (headers.get("ETag"), headers.get("Last-Modified"))
            )
            or (known is not None and total is not None and known != total)
        )

    def append(self) -> IO[bytes]:
        """The file, open for writing at its end."""
        return self.path.open("ab")

    def delete(self) -> None:
        """Remove file and note."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _read_note(self) -> dict[str, Any]:
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}


def sweep_parts(folder: Path) -> None:
    """Delete what interrupted downloads left in a folder: notes of finished ones, and what is a month old."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return
    for name in names:
        path = folder / name
        part, is_note, _ = name.rpartition(".json")
        if not (part if is_note else name).endswith(".part"):
            continue
        finished = is_note and part not in names and part.removesuffix(".part") in names
        with contextlib.suppress(OSError):
            if finished or time.time() - path.stat().st_mtime > FORGOTTEN_AFTER_S:
                path.unlink()


def _validator(headers: Message) -> str:
    tag = str(headers.get("ETag", ""))
    return tag if tag.startswith('"') else str(headers.get("Last-Modified", ""))
