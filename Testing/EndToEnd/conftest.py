"""The module as a user sees it: SlicerHost, a generated CT, the bundled checkpoint, one thread of arithmetic."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # the tests are found by their files; SlicerHost is imported by its name
    sys.path.append(str(ROOT))
from Testing.Host.drawing import why_not  # noqa: E402

from MedSAMSlicerLib.phantom.ct import ct_phantom  # noqa: E402

from .user import User  # noqa: E402

LIVE = "MedSAMSlicer/Live"
"""The choice of the user whether masks grow by themselves. Tests take one step at a time."""

DARK = bool(os.environ.get("MEDSAMSLICER_DARK"))
"""Slicer's dark style, for people who look at the pictures that tests keep; see `User.picture`."""

SHAPE = (48, 128, 128)
SHOWN = slice(10, 30)
"""The slices that are kept: both kidneys, 3.75 mm apart."""


@pytest.fixture(scope="session")
def abdomen() -> tuple[Any, Any, dict[str, Any]]:
    """A generated CT: voxels (K, J, I), geometry, and the true mask of each organ."""
    array, geometry, truth = ct_phantom(SHAPE, seed=3)
    matrix = np.array(geometry.ijk_to_ras)
    matrix[:3, 3] += SHOWN.start * matrix[:3, 2]
    return np.ascontiguousarray(array[SHOWN]), matrix, {name: mask[SHOWN] for name, mask in truth.items()}


@pytest.fixture(scope="session")
def drawn() -> None:
    """Skip where nothing can be drawn."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def open_user(
    drawn: None, abdomen: tuple[Any, Any, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., User]]:
    """Opens a host with the generated CT (or `array`, `matrix`, `truth`); what fails unseen in it fails the test."""
    from Testing.Host import SlicerHost

    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    opened: list[Any] = []

    def begin(keep_lock: bool = False, window: tuple[float, float] | None = (400, 40), **given: Any) -> User:
        array, matrix, truth = abdomen
        host = SlicerHost(keep_interpreter_lock=keep_lock, dark=DARK)
        opened.append(host)
        host.set_setting(LIVE, given.get("live", "off"))
        volume = host.add_volume(given.get("array", array), given.get("matrix", matrix), name="CT")
        if window is not None:
            host.set_window(volume, *window)
        return User(host, volume, given.get("truth", truth)).ready()

    yield begin
    for host in opened:
        host.close()


@pytest.fixture(scope="module")
def shared_host(drawn: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """One host with the module open for all tests of a file: (host, widget)."""
    from Testing.Host import SlicerHost

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSAMSLICER_MODELS", str(tmp_path_factory.mktemp("models")))
        with SlicerHost(dark=DARK) as host:
            host.set_setting(LIVE, "off")
            yield host, host.open_module()


@pytest.fixture
def user(shared_host: tuple[Any, Any], abdomen: tuple[Any, Any, dict[str, Any]]) -> Iterator[User]:
    """A user with the generated CT before him in a new scene, the module having worked on others before.

    What failed unseen in a slot or an observer fails the test.
    """
    host, widget = shared_host
    array, matrix, truth = abdomen
    host.close_scene()
    for view, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal")):
        host.view(view).mrmlSliceNode().SetOrientation(orientation)
    volume = host.add_volume(array, matrix, name="CT")
    host.set_window(volume, 400, 40)
    widget.ui.volumeSelector.setCurrentNode(volume)
    widget.controller.network.set_overlap("stop")
    yield User(host, volume, truth, widget).ready()
    errors, host.errors[:] = [*host.errors], []
    assert errors == []
    assert host.dialogs.shown == []
