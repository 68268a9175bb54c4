"""Check that a file is a checkpoint: a complete torch archive or a complete safetensors file.

Only the structure is read, with the standard library; whether the weights fit a network is for the loader to say.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from ..core.errors import CheckpointError

ZIP_MAGIC = b"PK\x03\x04"
_MOST_HEADER_BYTES = 100_000_000  # the limit of the safetensors format


def check_is_checkpoint(path: Path) -> None:
    """Raise CheckpointError unless the file is a complete torch archive (zip) or safetensors file."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[:4] == ZIP_MAGIC:
            _check_archive(path)
        elif len(start) == 9 and start[8:] == b"{":
            _check_safetensors(path, int.from_bytes(start[:8], "little"))
        else:
            raise CheckpointError(f"It is neither a torch archive nor a safetensors file; {_begins(start)}.")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError("It is an incomplete or damaged torch archive.") from error
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError("It is a zip archive, but not one that torch wrote.")


def _check_safetensors(path: Path, header_bytes: int) -> None:
    there = path.stat().st_size
    if not 2 <= header_bytes <= min(_MOST_HEADER_BYTES, there - 8):
        raise CheckpointError(
            "It is an incomplete or damaged safetensors file: its header is longer than the file."
        )
    try:
        with path.open("rb") as file:
            file.seek(8)
            header = json.loads(file.read(header_bytes))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        needed = 8 + header_bytes + max(ends)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError("It is a damaged safetensors file: its header cannot be read.") from error
    if there != needed:
        raise CheckpointError(f"It is an incomplete safetensors file: {there} of {needed} bytes.")


def _begins(start: bytes) -> str:
    return f"it begins with {start!r}" if start else "it is empty"
