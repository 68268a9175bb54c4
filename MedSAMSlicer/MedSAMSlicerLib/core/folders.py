"""The folders of the files that come with the program, and of those that it keeps for the user."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .errors import CheckpointError

_PACKAGE = Path(__file__).resolve().parent.parent


def bundled_folders() -> tuple[Path, ...]:
    """The folders where bundled weights can lie: beside the package (Slicer), inside it (pip install)."""
    return _PACKAGE.parent / "Resources" / "Models", _PACKAGE / "Resources" / "Models"


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of downloaded checkpoints: MEDSAMSLICER_MODELS, else where this system keeps such files.

    A user without a home folder (a container with any user number) gets one among the temporary files. Raises
    CheckpointError when that belongs to another user.
    """
    if named := environ.get("MEDSAMSLICER_MODELS"):
        return without_tilde(named)
    if sys.platform == "win32" and (local := environ.get("LOCALAPPDATA")):
        return Path(local) / "MedSAMSlicer" / "models"
    if sys.platform not in ("win32", "darwin") and (cache := environ.get("XDG_CACHE_HOME")):
        return Path(cache) / "medsamslicer" / "models"
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor a user of that number
        return _temporary_cache()
    if sys.platform == "win32":
        return home / "AppData" / "Local" / "MedSAMSlicer" / "models"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "MedSAMSlicer" / "models"
    return home / ".cache" / "medsamslicer" / "models"


def without_tilde(name: str) -> Path:
    """The path with ~ replaced by the home folder, where there is one."""
    return Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser fails without a home folder


def _temporary_cache() -> Path:
    user = os.getuid() if sys.platform != "win32" else 0
    folder = Path(tempfile.gettempdir()) / f"medsamslicer-{user}"
    if sys.platform != "win32" and folder.exists() and folder.stat().st_uid != user:
        raise CheckpointError(
            f"{folder} belongs to another user; set a folder for checkpoints with MEDSAMSLICER_MODELS."
        )
    return folder / "models"
