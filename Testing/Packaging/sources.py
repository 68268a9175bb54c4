"""The Python files of the product, and what they hold."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE_FOLDER = ROOT / "MedSAMSlicer"
LIBRARY = MODULE_FOLDER / "MedSAMSlicerLib"
SOURCES = sorted(path for path in MODULE_FOLDER.rglob("*.py") if "__pycache__" not in path.parts)


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A file as the oldest Python reads it."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))


def part_of(path: Path) -> str | None:
    """The part of MedSAMSlicerLib that a file belongs to."""
    inside = path.relative_to(MODULE_FOLDER).parts
    return inside[1] if inside[0] == "MedSAMSlicerLib" and len(inside) > 2 else None
