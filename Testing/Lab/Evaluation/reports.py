"""Reports made of generated measurements, for what is drawn and written from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from MedSAMSlicerLib.lab.evaluation.measurement import VOLUME, Measurement, Step
from MedSAMSlicerLib.lab.evaluation.protocol import PROTOCOLS
from MedSAMSlicerLib.lab.evaluation.report_data import AccuracyReport, CaseSkipped

OURS = "medsamslicer-nano"
BASELINES = ("box", "ellipsoid", "GrowCut", "random walker")
RUN: dict[str, Any] = {
    "version": "1.2.3", "data": "DATA", "seed": 0, "most": 4, "python": "3.11.7", "torch": "2.13.0", "numpy": "2.2.0",
    "SimpleITK": "2.5.0", "processor": "A Processor", "memory_gb": 16.0, "gpu": None, "threads": 1, "processes": 2,
    "system": "Linux 6.1", "command": "medsamslicer benchmark accuracy --data DATA --out results",
    "date": "2026-01-02T03:04:05Z",
    "runners": {
        OURS: {"checkpoint": OURS, "sha256": "0123", "tier": "auto", "device": "cpu", "threads": 1},
        **{name: {"method": f"what {name} does"} for name in BASELINES},
    },
}  # fmt: skip


def measurement(
    case: str = "case",
    target: str = "liver",
    runner: str = OURS,
    protocol: str = "box+range",
    dices: Sequence[float] = (0.8,),
    **more: Any,
) -> Measurement:
    """With a step for each Dice; each took a tenth of a second more than the one before, the first half a second."""
    first = more.pop("interactions", 1)
    seconds = [0.5 + 0.1 * n for n in range(len(dices))]
    steps = tuple(
        Step(first + n, dice, min(1.0, dice + 0.05), None if dice == 0 else 20 * (1 - dice), second)
        for n, (dice, second) in enumerate(zip(dices, seconds, strict=True))
    )
    about = {
        "modality": "CT", "kind": VOLUME, "series": False, "voxels": 1000, "slice_range": (2, 11),
        "prompted_slices": (6,), "prompted_dice": 0.9, "first_seconds": 0.1 if steps else None, "peak_mb": 120.0,
    }  # fmt: skip
    return Measurement(case, target, runner=runner, protocol=protocol, steps=steps, **{**about, **more})


def report(*measurements: Measurement, skipped: Sequence[CaseSkipped] = (), **run: Any) -> AccuracyReport:
    return AccuracyReport({**RUN, **run}, measurements, tuple(skipped))


def whole_report(
    protocols: Sequence[str] = ("box+range", "box", "click+range", "click", "every slice"), cases: int = 12
) -> AccuracyReport:
    """Some cases of four modalities with two targets each, every runner on all; one failure, one skipped case."""
    chance = np.random.default_rng(0)
    found = []
    for number in range(cases):
        modality = ("CT", "MR", "PET", "CT DICOM series")[number % 4]
        for target in ("liver", "left kidney with a longer name")[: 1 + number % 2]:
            ease = chance.uniform(0.45, 0.92)
            for protocol in protocols:
                for runner in (OURS, *BASELINES):
                    if runner in BASELINES and protocol != "box+range":
                        continue
                    found.append(
                        _drawn(chance, f"case_{number:02}", target, modality, runner, protocol, ease)
                    )
    failed = measurement("case_00", "spleen", "GrowCut", dices=(), error="GrowCut found no seed.")
    others = [measurement("case_00", "spleen", name) for name in (OURS, *BASELINES) if name != "GrowCut"]
    reason = "DATA/broken/image.nii.gz cannot be read."
    return report(*found, failed, *others, skipped=[CaseSkipped("broken", reason)])


def _drawn(
    chance: np.random.Generator,
    case: str,
    target: str,
    modality: str,
    runner: str,
    protocol: str,
    ease: float,
) -> Measurement:
    shift = {OURS: 0.08, "box": -0.25, "ellipsoid": -0.08, "GrowCut": 0.03, "random walker": 0.0}[runner]
    first = float(np.clip(ease + shift + chance.normal(0, 0.06), 0.05, 0.97))
    corrected = runner in (OURS, "GrowCut", "random walker")
    count = PROTOCOLS[protocol].corrections if corrected else 0
    gain = 0.35 if runner == OURS else 0.15
    dices = [first + (0.98 - first) * gain * (1 - 0.7**n) for n in range(count + 1)]
    seconds = {OURS: 0.7, "box": 0.01, "ellipsoid": 0.02, "GrowCut": 1.9, "random walker": 4.2}[runner]
    made = measurement(case, target, runner, protocol, dices, modality=modality, series="DICOM" in modality)
    steps = tuple(
        Step(step.interactions, step.dice, step.nsd, step.hd95, seconds * (1 if n == 0 else 0.4))
        for n, step in enumerate(made.steps)
    )
    return Measurement(**{**vars(made), "steps": steps, "first_seconds": seconds / 4})
