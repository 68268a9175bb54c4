"""What trimming a mask's ends brings: cut at the range, and drawn again with it.

python -m Testing.Engine.trimmed [--data DATA]

Each object of generated CTs, or of the labeled volumes of a folder, gets one box on its largest slice. "whole" =
carried through all slices; "cut" = without what lies beyond the object's true range; "again" = drawn with that
range. The second network is left out. A line for each object and their mean, 3-D Dice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from Testing.Engine.other_segments import boxed

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import choose_window
from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.core.prompts import PromptSet
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.lab.evaluation.datasets import find_cases, load_case
from MedSAMSlicerLib.models.registry import BUNDLED_ID, Registry
from MedSAMSlicerLib.phantom.ct import ct_phantom
from MedSAMSlicerLib.sam2.checkpoint import load_named

ORGANS = ("liver", "spleen", "right_kidney", "left_kidney", "aorta")

Mask = npt.NDArray[np.bool_]
Labeled = tuple[str, npt.NDArray[np.generic], VolumeGeometry, str | None, SliceAxis, Mask]


def generated() -> Iterator[Labeled]:
    """Five organs of three CTs."""
    for seed in (20, 21, 22):
        array, geometry, truth = ct_phantom((30, 160, 160), seed=seed)
        for name in ORGANS:
            yield f"{seed} {name}", array, geometry, "CT", SliceAxis.K, truth[name]


def of_folder(data: Path) -> Iterator[Labeled]:
    """The targets of the accuracy benchmark, but for videos."""
    for case in find_cases(data):
        try:
            volume, targets = load_case(case)
        except MedSAMError as error:
            sys.stderr.write(f"left out: {error}\n")
            continue
        for target in targets if volume.array.ndim == 3 else ():
            name = f"{case.name} {target.name}"
            yield name, volume.array, volume.geometry, volume.modality, target.axis, target.mask


def main(arguments: list[str] | None = None) -> int:
    """Print one line an object."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Engine.trimmed")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args(arguments)
    file = Registry.from_environment().open(BUNDLED_ID)
    network, rows = load_named(file.path, file.checkpoint.config), []
    for name, array, geometry, modality, axis, truth in (
        generated() if options.data is None else of_folder(options.data)
    ):
        window = choose_window(array, "auto", modality)
        segmenter = VolumeSegmenter(array, geometry, network, window, threads=1, volume_stage="learned")
        ranged = boxed(truth, segmenter, axis)
        (organ,) = ranged.objects
        whole = segmenter.segment(
            PromptSet(geometry, axis, (replace(organ, slice_range=None),), window)
        ).masks["organ"]
        outside = np.ones(truth.shape[axis], np.bool_)
        first, last = organ.slice_range or (0, -1)
        outside[first : last + 1] = False
        cut = whole.copy()
        np.moveaxis(cut, axis, 0)[outside] = False
        again = segmenter.segment(ranged).masks["organ"]
        rows.append([dice(mask, truth) for mask in (whole, cut, again)])
        sys.stdout.write(line(name, rows[-1]))
    sys.stdout.write(line(f"whole, cut, again; mean of {len(rows)}", np.mean(rows, axis=0)))
    return 0


def line(name: str, scores: Iterable[float]) -> str:
    """A name and its scores."""
    return f"{name:40} " + "  ".join(f"{score:.3f}" for score in scores) + "\n"


if __name__ == "__main__":
    sys.exit(main())
