"""Safetensors files: named weights and short texts. Every file of this program is read and written here."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..core.errors import CheckpointError

ZIP_MAGIC = b"PK\x03\x04"
MALFORMED = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
)
"""What the readers of torch and safetensors raise on files that are cut off or altered, besides their own errors."""


def is_safetensors(path: Path) -> bool:
    """Return whether a file is to be read as safetensors: by its name, or by its first bytes under any other name."""
    if path.suffix == ".safetensors":
        return True
    with contextlib.suppress(OSError), path.open("rb") as file:
        start = file.read(9)
        return start[8:] == b"{" and start[:4] != ZIP_MAGIC
    return False


def read_tensors(path: Path, what: str = "a checkpoint") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights of a file, on the CPU and as they are stored, and its texts.

    Args:
        path: of the file.
        what: it has to be, for the error.

    Raises:
        CheckpointError: If the file is missing, cut off or altered.
    """
    if not path.is_file():
        raise CheckpointError(f"The file {path} does not exist.")
    try:
        with safe_open(str(path), framework="pt") as file:
            texts = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, *MALFORMED) as error:
        raise CheckpointError(f"{path.name} is damaged, incomplete or not {what}.") from error
    return weights, texts


def tensors_bytes(weights: Mapping[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """Return the content of a safetensors file, the same for equal weights and texts.

    Args:
        weights: on any device; those that share memory are stored one by one.
        texts: to keep with them.
    """
    stored = {name: weight.detach().cpu().contiguous().clone() for name, weight in weights.items()}
    content: bytes = save(stored, dict(texts))
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def check_finite(weights: Mapping[str, Tensor], file_name: str) -> None:
    """Raise CheckpointError unless all weights are finite numbers."""
    for name, weight in weights.items():
        if not weight.is_floating_point():
            raise CheckpointError(
                f"{file_name} cannot be used: the weight {name} has the type {weight.dtype}."
            )
        if not bool(weight.isfinite().all()):
            raise CheckpointError(
                f"{file_name} cannot be used: the weight {name} has values that are not finite numbers."
            )


def write_replacing(path: Path, content: bytes) -> None:
    """Write a file that replaces one of that name only once everything is written. Raises OSError."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "something with that name exists and is not a regular file", str(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        # Not save_file: what it writes is private to the user, unlike any other new file.
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
