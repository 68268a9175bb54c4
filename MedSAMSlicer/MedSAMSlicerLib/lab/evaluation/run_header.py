"""The facts about a run that a reader needs to repeat it: versions, machine, runners and the command."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ... import __version__
from .measuring import processor
from .runner_specs import RunnerSpec
from .runners import Runner

_PACKAGES = (
    "surface-distance", "scipy", "scikit-image", "itk-morphologicalcontourinterpolation", "slicer-core", "sam2",
    "transformers", "distributed",
)  # fmt: skip


def describe_run(
    specs: Sequence[RunnerSpec], runners: Sequence[Runner], processes: int | None, threads: int | None = None
) -> dict[str, Any]:
    """Versions, machine and runners, ready for JSON.

    Args:
        specs: of the runners; their devices show whether a GPU is used.
        runners: built from them.
        processes: that measure at once; None = those of a cluster.
        threads: of each process; None = those of torch in this one.
    """
    import SimpleITK as sitk
    import torch

    return {
        "version": __version__,
        "runners": {runner.name: runner.describe() for runner in runners},
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "SimpleITK": sitk.Version.VersionString(),
        "packages": _packages(),
        "processor": processor("cpu"),
        "memory_gb": _memory_gb(),
        "gpu": processor("cuda") if any(spec.device.startswith("cuda") for spec in specs) else None,
        "threads": threads or torch.get_num_threads(),
        "processes": processes,
        "system": _system(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _packages() -> dict[str, str]:
    """Versions of what scores are computed with and what baselines are made of, as far as it is installed."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _memory_gb() -> float | None:
    """GB (10^9 bytes) of this computer's memory; None where the system does not report it."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _system() -> str:
    """As `Linux 6.1.0`; what stands behind the numbers names somebody's build of the kernel."""
    return (
        "macOS" if sys.platform == "darwin" else f"{platform.system()} {platform.release().partition('-')[0]}"
    )
