"""The rank correlation of the confidence of a slice with the true Dice of its mask, on phantoms.

python -m MedSAMSlicerLib.lab.evaluation.confidence --seeds 0 1 2

Every organ gets the tight box on the slice where it is largest, and a range that ends two slices beyond it on either
side. The prompted slice does not count: its mask is seen anyway.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.intensity import choose_window
from ...core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
from ...engine.segmenter import VolumeSegmenter
from ...engine.slice_mask import SliceMask
from ...models import Registry
from ...models.registry import BUNDLED_ID
from ...phantom.ct import ct_phantom
from ...sam2.checkpoint import load
from ...sam2.model import SAM2

SHAPE = (30, 128, 128)
_BEYOND = 2
_FEWEST = 5  # slices of an object for a correlation of its own

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """One computed slice: what the network thinks of it and what is true."""

    seed: int
    organ: str
    index: int
    confidence: float
    dice: float


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of confidence and Dice.

    Attributes:
        pooled: over the slices of all objects.
        within: the mean over the objects, each on its own; what "next doubtful slice" needs.
        slices, objects: how many.
    """

    pooled: float
    within: float
    slices: int
    objects: int


def judge(model: SAM2, seed: int, shape: tuple[int, int, int] = SHAPE, threads: int = 1) -> Iterator[Judged]:
    """Segment every organ of a generated volume, slice by slice."""
    array, geometry, truth = ct_phantom(shape, seed)
    window = choose_window(array, "auto", "CT")
    segmenter = VolumeSegmenter(
        array, geometry, model, window, tier="exact", threads=threads, volume_stage="off"
    )
    for organ, mask in truth.items():
        if np.count_nonzero(mask.any(axis=(1, 2))) < _FEWEST:
            continue
        prompts = PromptSet(geometry, objects=(_box_and_range(organ, mask, geometry),), window=window)
        for event in segmenter.live().update(prompts):
            if isinstance(event, SliceMask) and not event.is_key:
                dice = _dice(event.mask, mask[event.index])
                yield Judged(seed, organ, event.index, event.confidence, dice)


def correlate(judged: Sequence[Judged]) -> Correlation:
    """The rank correlation of confidence and Dice of the slices."""
    groups: dict[tuple[int, str], list[Judged]] = {}
    for each in judged:
        groups.setdefault((each.seed, each.organ), []).append(each)
    own = [_correlation(group) for group in groups.values() if len(group) >= _FEWEST]
    known = [value for value in own if not np.isnan(value)]
    within = float(np.mean(known)) if known else float("nan")
    return Correlation(_correlation(judged), within, len(judged), len(groups))


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rank correlation, equal values sharing their mean rank; NaN where one of both never changes."""
    ranks = [_ranks(np.asarray(values, np.float64)) for values in (one, other)]
    if len(one) < 2 or any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[group], np.float64)


def _correlation(judged: Sequence[Judged]) -> float:
    return spearman([each.confidence for each in judged], [each.dice for each in judged])


def _dice(mask: BoolArray, truth: BoolArray) -> float:
    both = np.count_nonzero(mask) + np.count_nonzero(truth)
    return 1.0 if both == 0 else 2.0 * np.count_nonzero(mask & truth) / both


def _box_and_range(organ: str, mask: BoolArray, geometry: VolumeGeometry) -> ObjectPrompts:
    seen = np.flatnonzero(mask.any(axis=(1, 2)))
    index = int(mask.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(mask[index])
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    box = box_from_voxels(geometry, SliceRef(SliceAxis.K, index), x0, y0, x1, y1)
    first, last = max(0, int(seen[0]) - _BEYOND), min(len(mask) - 1, int(seen[-1]) + _BEYOND)
    return ObjectPrompts(organ, (1.0, 0.0, 0.0), (box,), (first, last))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m MedSAMSlicerLib.lab.evaluation.confidence")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="generated volumes")
    parser.add_argument("--model", default=BUNDLED_ID, metavar="NAME|FILE")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    options = parser.parse_args(arguments)
    file = Registry.from_environment().open(options.model, lambda *_: False)
    model = load(Path(file.path))[0]
    judged: list[Judged] = []
    for seed in options.seeds:
        judged += judge(model, seed, threads=options.threads)
    found = correlate(judged)
    sys.stdout.write(
        f"{found.slices} slices of {found.objects} objects: Spearman {found.pooled:.2f} over all slices, "
        f"{found.within:.2f} within an object (mean)\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
