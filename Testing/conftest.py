"""What every tier of tests shares: real volumes when they are at hand, and one hypothesis profile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # the self test inside 3D Slicer runs without it
    pass
else:
    # No deadline: the first example of a property may wait for a busy computer.
    settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("project")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real volumes with labels and a manifest.json; the test is skipped where it is absent.

    It is the environment variable MEDSAMSLICER_DATA, or `shared/data` beside the checkout.
    """
    folder = Path(os.environ.get("MEDSAMSLICER_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no real volumes at {folder}: set MEDSAMSLICER_DATA to their folder")
    return folder
