"""The examples of training, made once and kept: a file for each volume, with a few arrays of each example in it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...io.atomic import write_bytes


def example_file(folder: Path, name: str) -> Path:
    """The file of a volume, by its name, which may have slashes."""
    return folder / f"{name.replace('/', '_')}.npz"


def write_examples(path: Path, examples: Sequence[Mapping[str, Any]], compressed: bool = False) -> None:
    """Write the arrays and numbers of each example, by their names, in a folder that is made if it is not there."""
    content = io.BytesIO()
    arrays = {
        f"{name}{number}": value for number, example in enumerate(examples) for name, value in example.items()
    }
    (np.savez_compressed if compressed else np.savez)(content, count=len(examples), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())


def read_examples(path: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what `write_examples` wrote under these names, one dictionary for each example."""
    with np.load(path) as stored:
        return [{name: stored[f"{name}{n}"] for name in names} for n in range(int(stored["count"]))]
