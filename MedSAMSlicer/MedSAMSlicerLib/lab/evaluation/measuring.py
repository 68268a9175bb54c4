"""The common part of all measurements: a process of its own for each, and the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.errors import MedSAMError


def measure_in_process(module: str, task: Mapping[str, Any]) -> dict[str, Any]:
    """Run a module of this package with a task (JSON) as its argument and read the last line it prints (JSON).

    Raises:
        MedSAMError: If the process failed, with the last line that it wrote.
    """
    folder = str(Path(__file__).resolve().parents[3])
    paths = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(task)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MedSAMError(f"The measurement {dict(task)} failed: {reason}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def processor(device: str) -> str:
    """The name of the processor or GPU that computes."""
    if device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
