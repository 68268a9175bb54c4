"""Fixtures of the checkpoint tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from MedSAMSlicerLib.models import DownloadSettings

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves neighbors out
from file_server import FileServer, running_server


@pytest.fixture
def server() -> Iterator[FileServer]:
    with running_server() as files:
        yield files


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> DownloadSettings:
    """Settings without long pauses, and no proxy between this computer and itself."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("MEDSAMSLICER_MIRROR", "MEDSAMSLICER_PROXY", "MEDSAMSLICER_MODELS", "MEDSAMSLICER_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return DownloadSettings(timeout_s=5.0, attempts=3, pause_s=0.01)
