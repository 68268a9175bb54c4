"""The choice between two networks on a slice with a box: the weights of :func:`~...engine.second_reader.likeness`.

Both networks draw the object in the box on its largest slice. A logistic regression learns from the difference of how
the masks look which of them has the higher Dice; slices on which it matters count more. Volumes of one patient are
never on both sides of the cross-validation: cases whose names begin alike, up to the first "_", are one patient's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...core.errors import MedSAMError, VolumeError
from ...core.metrics import dice
from ...core.prompts import ObjectPrompts, PromptSet
from ...engine.second_reader import SURELY_BETTER, looks
from ...engine.slice_prompts import slice_prompts
from ...sam2.model import SAM2
from ..evaluation.datasets import Case, Target
from ..evaluation.simulated_user import box_on, plane_of
from .labeled import LabeledVolume, cases_with_images, read_cases
from .volume_clips import usable_axes
from .volume_examples import tracker_and_reader

Floats = npt.NDArray[np.float64]
_LEAST_AREA = 10  # pixels
_SCALE = np.array([0.1, 0.1, 1.0])  # by which fill, tightness and outline differ, about
_LEAST_WEIGHT, _RIDGE, _STEPS = 0.002, 1.0, 60
_FOLDS = 5


@dataclass(frozen=True)
class DrawnTwice:
    """One prompted slice.

    Args:
        patient: whose it is.
        first, second: Dice of the tracking network's mask and of the second network's.
        difference: fill, tightness and outline of the second mask less those of the first.
    """

    patient: str
    first: float
    second: float
    difference: tuple[float, float, float]


@dataclass(frozen=True)
class BoxChoice:
    """The weights that were learned.

    Attributes:
        fill, tightness, outline: the weights of these.
        slices: that were drawn twice.
        first, second, chosen: mean Dice of either network, and of the mask that is taken, cross-validated.
        best: mean Dice if the better mask were always taken.
    """

    fill: float
    tightness: float
    outline: float
    slices: int
    first: float
    second: float
    chosen: float
    best: float


def learn_box_choice(data: Path, model: SAM2, seed: int = 0) -> BoxChoice:
    """Learn the weights from a folder of labeled volumes.

    Raises:
        VolumeError: If nothing in the folder can be drawn by both networks.
    """
    cases = cases_with_images(data)
    rows = [row for case in cases for volume in read_cases([case]) for row in _drawn_twice(volume, model)]
    if not rows:
        raise VolumeError(f"{data} holds no object that both networks can draw.")
    better = np.array([row.second - row.first for row in rows])
    apart = np.array([row.difference for row in rows])
    firsts = np.array([row.first for row in rows])
    taken = _cross_validated(rows, apart, better, seed)
    return BoxChoice(
        *_regression(apart, better),
        len(rows),
        float(firsts.mean()),
        float((firsts + better).mean()),
        float((firsts + better * taken).mean()),
        float((firsts + better.clip(0)).mean()),
    )


def _drawn_twice(volume: LabeledVolume, model: SAM2) -> Iterator[DrawnTwice]:
    """Each object of a volume on its largest slice."""
    axis = usable_axes(volume.geometry)[0]
    segmenter, reader = tracker_and_reader(volume.array, volume.geometry, volume.window, axis, model)
    if reader is None:
        raise MedSAMError("The second network is not there, or the environment leaves it out.")
    for labeled in volume.targets:
        whole = labeled.in_volume(volume.geometry)
        target = Target(Case(volume.name, Path(), Path()), "object", whole, axis)
        index = target.largest_slice
        truth = plane_of(whole, axis, index)
        if np.count_nonzero(truth) < _LEAST_AREA:
            continue
        box = box_on(target, volume.geometry, index)
        given = ObjectPrompts("object", (1.0, 0.0, 0.0), (box,), (index, index))
        result = segmenter.segment(PromptSet(volume.geometry, axis, (given,)))
        bounds = slice_prompts([box], volume.geometry, "object").box
        assert bounds is not None
        masks = plane_of(result.masks["object"], axis, index), reader.drawn(index, bounds) > 0
        spacing = volume.geometry.in_plane_spacing(axis)
        seen = [looks(mask, bounds, spacing) for mask in masks]
        scores = [dice(mask[None], truth[None]) for mask in masks]
        if seen[0] is None or seen[1] is None:
            continue
        fill, tightness, outline = (b - a for a, b in zip(*seen, strict=True))
        yield DrawnTwice(volume.name.split("_")[0], scores[0], scores[1], (fill, tightness, outline))


def _cross_validated(
    rows: Sequence[DrawnTwice], apart: Floats, better: Floats, seed: int
) -> npt.NDArray[np.bool_]:
    """Return whether the second mask is taken on each slice, by weights that were learned from other patients."""
    patients = sorted({row.patient for row in rows})
    order = np.random.default_rng(seed).permutation(len(patients))
    fold_of = {patient: int(place) % _FOLDS for patient, place in zip(patients, order, strict=True)}
    folds = np.array([fold_of[row.patient] for row in rows])
    taken = np.zeros(len(rows), np.bool_)
    for fold in sorted({*folds.tolist()}):
        others = folds != fold
        if others.any():
            taken[~others] = apart[~others] @ _regression(apart[others], better[others]) > SURELY_BETTER
    return taken


def _regression(apart: Floats, better: Floats) -> tuple[float, float, float]:
    """A logistic regression with a ridge, by Newton's method; rows weigh as much as there is to gain or to lose.

    It has no intercept: of two masks that look the same neither is better.
    """
    scaled = apart / _SCALE
    weights, target = np.zeros(3), (better > 0).astype(np.float64)
    stake = np.abs(better) + _LEAST_WEIGHT
    stake /= stake.mean()
    for _ in range(_STEPS):
        likely = 1 / (1 + np.exp(-np.clip(scaled @ weights, -30, 30)))
        slope = scaled.T @ (stake * (likely - target)) + weights / _RIDGE
        bend = (scaled * (stake * likely * (1 - likely))[:, None]).T @ scaled + np.eye(3) / _RIDGE
        weights -= np.linalg.solve(bend, slope)
    fill, tightness, outline = (weights / _SCALE).tolist()
    return fill, tightness, outline
