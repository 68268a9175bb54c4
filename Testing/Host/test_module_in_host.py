"""The module itself in the host: it opens, and its own `.ui` file and code use nothing that Slicer does not have."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .api_names import REPOSITORY

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
OPEN = """
import sys, time
from Testing.Host import SlicerHost
import numpy as np
with SlicerHost(size=(1000, 720)) as host:
    volume = np.zeros((6, 40, 50), np.int16)
    volume[:, 10:30, 10:30] = 100
    host.add_volume(volume)
    widget = host.open_module()
    host.process_events(0.5)
    host.leave_module()
    host.enter_module()
    host.close_scene()
    assert not host.errors, host.errors
print("fine")
"""


def test_module_opens_leaves_and_closes_without_an_error(drawn):
    ran = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", OPEN],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.strip().endswith("fine")


def test_make_host_writes_a_picture(drawn, tmp_path):
    path = tmp_path / "window.png"
    ran = subprocess.run(
        [sys.executable, "-m", "Testing.Host", "--screenshot", str(path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert path.stat().st_size > 50_000
