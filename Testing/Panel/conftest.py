"""SlicerHost for the parts of the panel: real Qt, real MRML, stand-ins for Slicer's own widgets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # the tests are found by their files; SlicerHost is imported by its name
    sys.path.append(str(ROOT))
from Testing.Host.drawing import why_not  # noqa: E402

RESOURCES = ROOT / "MedSAMSlicer" / "Resources"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """An open host with an empty folder of models; what fails unseen in it fails the test."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    from Testing.Host import SlicerHost

    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("MEDSAMSLICER_OFFLINE", raising=False)
    with SlicerHost() as opened:
        yield opened
