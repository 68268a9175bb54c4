"""Where the files that come with the program lie."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def bundled_folders() -> tuple[Path, ...]:
    """Where bundled weights can lie: beside the package (Slicer), inside it (pip install)."""
    return _PACKAGE.parent / "Resources" / "Models", _PACKAGE / "Resources" / "Models"
