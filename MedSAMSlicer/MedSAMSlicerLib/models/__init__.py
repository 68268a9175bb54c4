"""Checkpoints: which there are, download, check, delete. Standard library only."""

from __future__ import annotations

from ..core.folders import bundled_folders, cache_folder
from .download import DownloadSettings, Expected, Progress, download, sha256_of
from .registry import (
    BUNDLED_ID,
    Checkpoint,
    CheckpointFile,
    Confirm,
    Loads,
    Question,
    Registry,
    State,
    read_entries,
)

__all__ = [
    "BUNDLED_ID",
    "Checkpoint",
    "CheckpointFile",
    "Confirm",
    "DownloadSettings",
    "Expected",
    "Loads",
    "Progress",
    "Question",
    "Registry",
    "State",
    "bundled_folders",
    "cache_folder",
    "download",
    "read_entries",
    "sha256_of",
]
