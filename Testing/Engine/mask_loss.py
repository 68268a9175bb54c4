"""What quicker arithmetic costs in masks, with trained weights: each labeled target from one box and its range.

python -m Testing.Engine.mask_loss --data DATA [--model medsamslicer-nano] [--openvino] [--generated 4]

The first row is the exact tier by torch; every other one is compared with it (IoU of the whole volumes) and with the
truth (Dice). The volume stage is left out, so that the network alone is seen. `--openvino` adds rows of the
runtime that `medsamslicer models prepare` prepares. Without DATA, organs of generated CTs alone are segmented.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.core.prompts import ObjectPrompts, PromptSet
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.io.volumes import Volume
from MedSAMSlicerLib.lab.evaluation.datasets import VOLUME, Case, Target, find_cases, load_case
from MedSAMSlicerLib.lab.evaluation.simulated_user import box_on
from MedSAMSlicerLib.lab.evaluation.windows import window_of
from MedSAMSlicerLib.models.registry import BUNDLED_ID, Registry
from MedSAMSlicerLib.phantom.ct import ct_phantom
from MedSAMSlicerLib.sam2.checkpoint import load_named

TIERS = ("exact", "balanced", "fast")
ORGANS = ("liver", "spleen", "right_kidney")
SHAPE = (40, 192, 192)


def generated(count: int) -> Iterator[tuple[Volume, list[Target]]]:
    """Organs of generated CTs."""
    for seed in range(count):
        array, geometry, truth = ct_phantom(SHAPE, seed)
        case = Case(f"generated {seed}", Path(), Path(), "CT")
        yield (
            Volume(array, geometry, case.name, Path(), modality="CT"),
            [Target(case, organ, truth[organ]) for organ in ORGANS],
        )


def labeled(data: Path) -> Iterator[tuple[Volume, list[Target]]]:
    """The targets of all labeled volumes but series and videos."""
    for case in find_cases(data):
        if case.kind == VOLUME and not case.is_series:
            try:
                yield load_case(case)
            except MedSAMError as error:
                sys.stderr.write(f"left out: {error}\n")


def main(arguments: list[str] | None = None) -> int:
    """Print one row for each way of computing."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Engine.mask_loss")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default=BUNDLED_ID)
    parser.add_argument("--openvino", action="store_true")
    parser.add_argument("--generated", type=int, default=4)
    options = parser.parse_args(arguments)
    file = Registry.from_environment().open(options.model)
    ways = [(tier, runtime) for runtime in ("torch", "openvino")[: 1 + options.openvino] for tier in TIERS]
    scores: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    groups = {"generated": generated(options.generated)}
    if options.data is not None:
        groups["labeled"] = labeled(options.data)
    for group, volumes in groups.items():
        for volume, targets in volumes:
            model = load_named(file.path, file.checkpoint.config)
            exact: dict[str, np.ndarray] = {}
            window = window_of(volume.array, volume.modality)
            for tier, runtime in ways:
                segmenter = VolumeSegmenter(
                    volume.array,
                    volume.geometry,
                    model,
                    window,
                    tier=tier,
                    threads=1,
                    runtime=runtime,
                    volume_stage="off",
                )
                for target in targets:
                    box = box_on(target, volume.geometry, target.largest_slice)
                    asked = ObjectPrompts(target.name, (1.0, 0.0, 0.0), (box,), target.slice_range)
                    prompts = PromptSet(volume.geometry, target.axis, (asked,), segmenter.window)
                    mask = segmenter.segment(prompts).masks[target.name]
                    first = exact.setdefault(target.name, mask)
                    union = np.count_nonzero(mask | first)
                    iou = np.count_nonzero(mask & first) / union if union else 1.0
                    scores[group, tier, runtime].append((dice(mask, target.mask), iou))
    sys.stdout.write(
        f"{options.model}\n| volumes | tier, runtime | targets | Dice | IoU with exact | least IoU |\n"
    )
    sys.stdout.write("|---|---|---:|---:|---:|---:|\n")
    for (group, tier, runtime), found in scores.items():
        values = np.array(found)
        mean, least = values.mean(axis=0), values[:, 1].min()
        sys.stdout.write(
            f"| {group} | {tier}, {runtime} | {len(found)} | {mean[0]:.3f} | {mean[1]:.3f} | {least:.3f} |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
