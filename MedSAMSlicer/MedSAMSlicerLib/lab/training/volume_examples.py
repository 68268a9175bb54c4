"""Examples for the volume stage: objects segmented by the engine as a user would, with the truth beside the evidence.

The masks are spoilt as tracking spoils them, because tracking drew them. Of each object there are sessions of several
kinds, so that the stage meets what it will meet: one box and the range, corrections, several key slices, and a hasty
box on some slice, with or without the range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ...core.errors import MedSAMError
from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.intensity import Window
from ...core.prompts import MaskPrompt, ObjectPrompts, Prompt, PromptSet, SliceRef
from ...engine.segmenter import VolumeSegmenter
from ...engine.volume.channels import binned, channels
from ...engine.volume.evidence import gather
from ...engine.volume.stack import fused, stacked
from ...engine.volume.stage import working_factor
from ...sam2.model import SAM2
from ..evaluation.datasets import Case, Target
from ..evaluation.simulated_user import box_on, correction, plane_of

KINDS = ("box", "corrections", "key slices", "hasty box")
_MOST = 5  # corrections or further key slices
_MASKS, _JITTERED, _UNRANGED = 0.6, 0.6, 0.4
_LARGE_ENOUGH = 0.4  # area of a slice that is prompted / that of the largest one
_COLOR = (1.0, 0.8, 0.2)


@dataclass(frozen=True, eq=False)
class Example:
    """One object with what the stage takes in and what it should say.

    Args:
        stack: (channels, slices, rows, columns) float16.
        fused: (slices, rows, columns) float16 logit, to which the network adds.
        truth: uint8, share of a voxel inside the object times 255.
        counted: (slices,) bool; key slices and what lies beyond the range do not count.
        anisotropy: distance of slices / width of a pixel.
    """

    stack: npt.NDArray[np.float16]
    fused: npt.NDArray[np.float16]
    truth: npt.NDArray[np.uint8]
    counted: npt.NDArray[np.bool_]
    anisotropy: float


def examples_of(
    array: npt.NDArray[np.generic],
    geometry: VolumeGeometry,
    window: Window,
    mask: npt.NDArray[np.bool_],
    axis: SliceAxis,
    model: SAM2,
    rng: np.random.Generator,
) -> Iterator[Example]:
    """One session of each kind with an object; kinds that do not fit it are left out.

    Args:
        array, geometry, window: the volume.
        mask: (K, J, I) bool, the object.
        axis: along which it is cut.
        model: the network that tracks.
        rng: of chance.
    """
    target = Target(Case("example", Path(), Path()), "object", mask, axis)
    segmenter = VolumeSegmenter(
        array, geometry, model, window, threads=torch.get_num_threads(), volume_stage="off"
    )
    for kind in KINDS:
        try:
            found = _example(segmenter, target, kind, rng)
        except MedSAMError:  # such as an object on too few slices for this kind
            continue
        if found is not None:
            yield found


def _example(
    segmenter: VolumeSegmenter, target: Target, kind: str, rng: np.random.Generator
) -> Example | None:
    given, slice_range = _prompts(segmenter.geometry, target, kind, rng)
    live = segmenter.live(target.axis)
    rounds = int(rng.integers(1, _MOST + 1)) if kind == "corrections" else 0
    for number in range(rounds + 1):
        obj = ObjectPrompts("object", _COLOR, tuple(given), slice_range)
        for _ in live.update(PromptSet(segmenter.geometry, target.axis, (obj,))):
            pass
        if number == rounds:
            break
        shown = live.result().masks["object"]
        click = correction(target, shown, segmenter.geometry, given, number + 1, slice_range)
        if click is None:
            break
        given.append(click)
    result = live.result().objects[0]
    slices = np.moveaxis(segmenter.array, int(target.axis), 0)
    evidence = gather(
        obj,
        result.slices,
        segmenter.geometry,
        target.axis,
        lambda index, rows, columns: segmenter.window.apply(slices[index, rows, columns]),
    )
    if evidence is None:
        return None
    factor = working_factor(evidence.shape)
    found = channels(evidence, factor)
    if found is None:
        return None
    together = fused(found, evidence)
    part = tuple(slice(at, at + size) for at, size in zip(evidence.corner, evidence.shape, strict=True))
    truth = binned(np.moveaxis(target.mask, int(target.axis), 0)[part], factor)
    counted = ~evidence.fixed
    counted[: evidence.first] = counted[evidence.last + 1 :] = False
    stack = stacked(found, evidence, together, binned(evidence.gray, factor))
    return Example(
        stack.astype(np.float16),
        together.astype(np.float16),
        (truth * 255).astype(np.uint8),
        counted,
        evidence.spacing[0] / (evidence.spacing[1] * factor),
    )


def _prompts(
    geometry: VolumeGeometry, target: Target, kind: str, rng: np.random.Generator
) -> tuple[list[Prompt], tuple[int, int] | None]:
    """The first prompts of a session, and its range."""
    areas, largest = target.areas, target.largest_slice
    given: list[Prompt] = [box_on(target, geometry, largest)]
    if kind == "key slices":
        others = np.setdiff1d(np.flatnonzero(areas), [largest])
        count = min(int(rng.integers(1, _MOST)), len(others))
        for index in rng.choice(others, count, replace=False).tolist():
            if rng.random() < _MASKS:
                given.append(
                    MaskPrompt(SliceRef(target.axis, index), plane_of(target.mask, target.axis, index))
                )
            else:
                given.append(box_on(target, geometry, index))
    elif kind == "hasty box":
        index = int(rng.choice(np.flatnonzero(areas >= _LARGE_ENOUGH * areas.max())))
        given = [box_on(target, geometry, index, 0.1 if rng.random() < _JITTERED else 0.0, rng)]
        if rng.random() < _UNRANGED:
            return given, None
    return given, target.slice_range
