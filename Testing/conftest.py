"""What every tier of tests shares: real volumes when they are at hand, and one hypothesis profile."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
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

# A shell lets its background jobs ignore Ctrl-C, and so would the programs do that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# LiteMedSAM takes seconds for an object: the tests of the second reading ask for it, all others do without.
os.environ["MEDSAMSLICER_SECOND_NETWORK"] = "off"

# What this computer has downloaded, confirmed or prepared for OpenVINO changes no result of a test.
_models = tempfile.TemporaryDirectory(prefix="medsamslicer-tests-")
os.environ["MEDSAMSLICER_MODELS"] = _models.name

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with most slow tests come first: processes that share the files then end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What collecting imports and makes stays until the end: none of it is searched for garbage meanwhile."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Nor afterwards: searching it again and again takes minutes in all."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real volumes with labels and a manifest.json; the test is skipped where it is absent.

    It is the environment variable MEDSAMSLICER_DATA, or `shared/data` beside the checkout.
    """
    folder = Path(os.environ.get("MEDSAMSLICER_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no real volumes at {folder}: set MEDSAMSLICER_DATA to their folder")
    return folder
