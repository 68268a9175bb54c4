"""What the tests of the evaluation share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def own_runners(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `own_runners.py`, on the path of this process and of those that it starts."""
    folder = Path(__file__).parent
    monkeypatch.syspath_prepend(folder)
    return folder
