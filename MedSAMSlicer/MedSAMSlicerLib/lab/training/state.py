"""The state of a run on disk: one file, or parts of a limited size for places that pass on small files only.

A state in parts is an index, `state.json`, and the parts it names; the parts of the state before are deleted only when
the new index is there, so that a kill at any time leaves a whole state.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch

from ...core.errors import CheckpointError, OutputError
from ...io.atomic import output_error, replacing, write_bytes

STATE, INDEX = "state.pt", "state.json"


def write_state(folder: Path, state: dict[str, Any], part_mb: int = 0) -> None:
    """Replace the state in a folder.

    Args:
        folder: of the run.
        state: tensors, numbers and text only.
        part_mb: largest file in MB; 0 = one file.

    Raises OutputError when the folder cannot be written.
    """
    if not part_mb:
        _write_whole(folder / STATE, state)
        (folder / INDEX).unlink(missing_ok=True)
        _delete_parts(folder, keep=[])
        return
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    digest, size = hashlib.sha256(content).hexdigest(), part_mb * 1_000_000
    names = [f"state-{digest[:12]}-{number:03d}.part" for number in range(-(-len(content) // size))]
    there = [path.name for path in folder.glob("state-*.part")]
    try:
        for number, name in enumerate(names):
            write_bytes(folder / name, bytes(content[number * size : (number + 1) * size]))
        write_bytes(folder / INDEX, json.dumps({"sha256": digest, "parts": names}, indent=1).encode())
    except OutputError:  # leave the state before, and no more than it
        _delete_parts(folder, keep=there)
        raise
    (folder / STATE).unlink(missing_ok=True)
    _delete_parts(folder, keep=names)


def read_state(folder: Path, device: str) -> dict[str, Any] | None:
    """The state in a folder, None when there is none. Raises CheckpointError when it is damaged or incomplete."""
    try:
        if (folder / INDEX).is_file():
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            content = b"".join((folder / Path(name).name).read_bytes() for name in index["parts"])
            if hashlib.sha256(content).hexdigest() != index["sha256"]:
                raise ValueError("its parts do not belong together")
            source: Any = io.BytesIO(content)
        elif (folder / STATE).is_file():
            source = folder / STATE
        else:
            return None
        state = torch.load(source, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:  # its text speaks to programmers
        raise CheckpointError(f"The state in {folder} is damaged, or holds more than numbers.") from error
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"The state in {folder} is damaged or incomplete: {error}.") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"The state in {folder} is damaged: it holds no table.")
    return state


def check_recipe(folder: Path, state: dict[str, Any], recipe: str) -> None:
    """Raise CheckpointError unless the state was left by the recipe of that name, or by no recipe if that is empty."""
    theirs = str(state.get("recipe", ""))
    if theirs == recipe:
        return
    if not theirs:
        raise CheckpointError(
            f"{folder} holds a run of no recipe: go on with --resume, or take another folder for the recipe."
        )
    raise CheckpointError(f"{folder} holds a run of the recipe {theirs!r}: go on with --recipe {theirs}.")


def has_state(folder: Path) -> bool:
    """Return whether a run has left its state there."""
    return (folder / INDEX).is_file() or (folder / STATE).is_file()


def _write_whole(path: Path, state: dict[str, Any]) -> None:
    try:
        with replacing(path) as file:
            torch.save(state, file)
    except RuntimeError as error:  # torch's own, raised while it ends a file that could not be written
        if isinstance(error.__context__, OSError):
            raise output_error(path, error.__context__) from error
        raise


def _delete_parts(folder: Path, keep: list[str]) -> None:
    for path in folder.glob("state-*.part"):
        if path.name not in keep:
            path.unlink(missing_ok=True)
