"""AccuracyReport: what a run of the accuracy benchmark found; every table, plot and picture is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .measurement import Measurement


@dataclass(frozen=True)
class CaseSkipped:
    """A case, or a part of it, that could not be measured.

    Args:
        case: its name.
        reason: one sentence; the folder of the data is called DATA in it.
    """

    case: str
    reason: str


@dataclass(frozen=True)
class AccuracyReport:
    """The measurements, and the runners that they were made with.

    Args:
        run: ready for JSON: "version", "data" (name of the data set), "seed", "most", "runners" (name -> what
            `describe` of the runner returned), "python", "torch", "numpy", "SimpleITK", "packages" (name -> version),
            "processor", "memory_gb",
            "gpu" (its name, or None), "threads" (of each process), "processes" (None: those of a Dask cluster),
            "system", "command", "date" (ISO, UTC, of the last run into the folder).
        measurements: in the order of the cases, their targets, the protocols and the runners.
        skipped: in the order of the cases.
    """

    run: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    skipped: tuple[CaseSkipped, ...] = ()
