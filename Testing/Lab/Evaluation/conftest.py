"""What the tests of the evaluation share."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def monai() -> None:
    """MONAI at hand. Each trial looks for garbage before it measures memory: not in what stays until the end."""
    from MedSAMSlicerLib.core.metrics import check_surface_metrics

    check_surface_metrics()
    gc.collect()
    gc.freeze()


@pytest.fixture
def own_runners(monai: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `own_runners.py`, on the path of this process and of those that it starts."""
    folder = Path(__file__).parent
    monkeypatch.syspath_prepend(folder)
    return folder
