"""SlicerHost for the parts of the panel: real Qt, real MRML, stand-ins for Slicer's own widgets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
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
        opened.set_setting("MedSAMSlicer/Live", "off")  # one step at a time
        yield opened


@pytest.fixture
def ball(host):
    """A bright ball of 30 mm around the origin, as a CT in the scene; axial slices 2 mm apart."""
    k, j, i = np.mgrid[:24, :64, :64]
    matrix = np.diag([-1.5, -1.5, 2.0, 1.0])
    matrix[:3, 3] = [47.25, 47.25, -23.0]
    place = np.stack([i, j, k], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    inside = (place**2).sum(axis=-1) < 15.0**2
    array = np.where(inside, 150, -60).astype(np.int16)
    array += np.random.default_rng(0).normal(0, 8, array.shape).astype(np.int16)
    volume = host.add_volume(array, matrix, "Ball")
    host.set_window(volume, 400, 40)
    return volume


@pytest.fixture
def opened(host, ball):
    widget = host.open_module()
    assert host.wait_until(lambda: widget.controller.network.state.name == "READY", 180)
    host.process_events(0.05)
    return widget


def click_and_see(host, widget, ras=(0.0, 0.0, 1.0)):
    """Take the tool for positive points, click in the axial view, wait for the mask."""
    host.press(widget.ui.positiveButton)
    host.click("Red", ras)
    assert host.wait_until(
        lambda: any(s.confidence is not None for s in widget.controller.review.slices), 180
    )
    host.press(widget.ui.positiveButton)
    host.process_events(0.1)


def strips(host):
    found = []
    for name in ("Red", "Green", "Yellow"):
        layout = host.view(name).layout()
        items = [layout.itemAt(n).widget() for n in range(layout.count())]
        found += [w for w in items if w is not None and w.objectName.startswith("MedSAMSlicerStrip")]
    return found
