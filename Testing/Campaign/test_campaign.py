"""A small count of the campaign's rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def campaign(*words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "MedSAMSlicer"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "Testing.Campaign", *words]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX systems")
def test_killed_runs_lose_nothing_and_leave_nothing() -> None:
    done = campaign("kills", "--count", "2", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| 2 | 0 |") == 4
