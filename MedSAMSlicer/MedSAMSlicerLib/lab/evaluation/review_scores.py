"""The speed at which a review finds faults: three spoiled slices, or a run of them, in organs of generated volumes.

python -m MedSAMSlicerLib.lab.evaluation.review_scores --seeds 0 1 2

In each organ one slice is shifted, one lacks its half and one leaks; once more, three slices in a row lack the same
side.
The scores of :mod:`...engine.slice_scores` are compared with two simpler ones of the same drawings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ...core.geometry import SliceAxis
from ...core.intensity import CT_PRESETS
from ...core.masks import slices_of
from ...core.scores import review_order
from ...engine.segmenter import VolumeSegmenter
from ...engine.slice_scores import SliceDrawing, score_of, slices_to_score
from ...models import Registry
from ...models.registry import BUNDLED_ID
from ...phantom.ct import ct_phantom
from ...sam2.checkpoint import load_named
from .faults import cut_on, spoiled

SHAPE = (48, 128, 128)
_FEWEST = 12  # slices with at least a quarter of the largest cross-section

BoolArray = npt.NDArray[np.bool_]
Drawn = Mapping[int, tuple[BoolArray, list[BoolArray], list[float]]]
"""By slice: its mask, the drawings from the masks beside it, and how far those masks are trusted."""


def _agreed_and_mean(index: int, mask: BoolArray, drawn: list[BoolArray], trust: list[float]) -> float:
    return score_of(index, mask, drawn, trust).doubted


def _mean(_index: int, mask: BoolArray, drawn: list[BoolArray], _trust: list[float]) -> float:
    return float(np.mean([np.count_nonzero(one != mask) for one in drawn]))


def _dice(_index: int, mask: BoolArray, drawn: list[BoolArray], _trust: list[float]) -> float:
    """(1 - Dice) times the pixels of the mask, the mean over the drawings."""
    area = np.count_nonzero(mask)
    both = [np.count_nonzero(one & mask) / max(1, area + np.count_nonzero(one)) for one in drawn]
    return float(area * (1 - 2 * np.mean(both)))


MEASURES: Mapping[str, Callable[[int, BoolArray, list[BoolArray], list[float]], float]] = {
    "agreed and mean (used)": _agreed_and_mean,
    "mean difference": _mean,
    "1 - Dice, mean": _dice,
}


def drawings(segmenter: VolumeSegmenter, mask: BoolArray) -> Drawn:
    """The drawings of the network for each slice of a mask (K, J, I)."""
    import torch

    masks = slices_of(mask, SliceAxis.K)
    found = {}
    with segmenter.settings(), torch.inference_mode():
        drawing = SliceDrawing(segmenter, SliceAxis.K, masks)
        for index in slices_to_score(masks, len(mask)):
            drawn = drawing.drawn(index)
            if drawn:
                found[index] = (mask[index], [*drawn.values()], [drawing.trust(near) for near in drawn])
    return found


def order_by(measure: str, drawn: Drawn, mask: BoolArray) -> list[int]:
    """Slices in the order in which a measure would show them."""
    doubted = {index: MEASURES[measure](index, *each) for index, each in drawn.items()}
    areas = {index: int(plane.sum()) for index, plane in enumerate(mask)}
    return review_order(doubted, areas)


def trials(seeds: Sequence[int]) -> Iterator[tuple[VolumeSegmenter, BoolArray, tuple[int, int, int]]]:
    """The organs of generated volumes that are tall enough, and three slices of each, none beside another."""
    file = Registry.from_environment().open(BUNDLED_ID)
    model = load_named(file.path, file.checkpoint.config)
    for seed in seeds:
        array, geometry, truth = ct_phantom(SHAPE, seed=seed)
        segmenter = VolumeSegmenter(
            array, geometry, model, CT_PRESETS["soft-tissue"], volume_stage="off", threads=1
        )
        for mask in truth.values():
            areas = mask.sum(axis=(1, 2))
            tall = np.flatnonzero(areas >= areas.max() / 4)
            if len(tall) >= _FEWEST:
                places = [int(tall[round(part * (len(tall) - 1))]) for part in (0.2, 0.5, 0.8)]
                yield segmenter, mask, (places[0], places[1], places[2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of the measures."""
    parser = argparse.ArgumentParser(description="How soon a review finds faults on generated volumes.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args(arguments)
    among: dict[str, list[float]] = {name: [] for name in MEASURES}
    place: dict[str, list[int]] = {name: [] for name in MEASURES}
    for segmenter, mask, (first, middle, last) in trials(options.seeds):
        wrong = spoiled(mask, (first, middle, last))
        drawn = drawings(segmenter, wrong)
        run = cut_on(mask, (middle - 1, middle, middle + 1))
        drawn_of_run = drawings(segmenter, run)
        for name in MEASURES:
            order = order_by(name, drawn, wrong)
            among[name].append(float(np.mean([index in order[:3] for index in (first, middle, last)])))
            order = order_by(name, drawn_of_run, run)
            place[name].append(1 + min(order.index(index) for index in range(middle - 2, middle + 3)))
    sys.stdout.write("measure                 spoiled among the first 3  first slice at a run comes at\n")
    for name in MEASURES:
        sys.stdout.write(f"{name:<22}  {np.mean(among[name]):24.2f}  {np.mean(place[name]):29.1f}\n")
    sys.stdout.write(f"{len(among[next(iter(among))])} organs\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
