"""Examples for the volume stage: objects segmented by the engine as a user would, with the truth beside the evidence.

The masks are spoiled as tracking spoils them, because tracking drew them. Of each object there are sessions of several
kinds, so that the stage meets what it will meet: one box and the range, corrections, several key slices, and a hasty
box on some slice, with or without the range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ...core.errors import MedSAMError
from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.intensity import Window
from ...core.prompts import MaskPrompt, ObjectPrompts, Prompt, PromptSet, SliceRef
from ...engine.second_reader import SecondReader
from ...engine.segmenter import FrameSource, VolumeSegmenter
from ...engine.volume.channels import binned, channels
from ...engine.volume.evidence import VolumeEvidence, gather
from ...engine.volume.stack import fused, stacked
from ...engine.volume.stage import VolumeStage, make_stage, working_factor
from ...sam2.model import SAM2
from ..evaluation.datasets import Case, Target
from ..evaluation.simulated_user import box_on, correction, depth_inside, largest_error, plane_of

KINDS = ("box", "corrections", "key slices", "hasty box")
UNRANGED = ("box", "hasty box")
"""Kinds that make sense without a slice range."""
CLICKED = ("box", "hasty box")
"""Kinds of which a second example is made, with clicks where the stage itself was wrong."""
_MOST = 5  # corrections or further key slices
_MASKS, _JITTERED, _UNRANGED = 0.6, 0.6, 0.4
_LARGE_ENOUGH = 0.4  # area of a slice that is prompted / that of the largest one
_WORST, _UNDERSTOOD = 0.7, 0.6
_DISC, _CORRECTED = 1.6, 6.0  # radius of a disc / depth of the click; logit of a corrected slice
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
    ranged: bool = True,
) -> Iterator[Example]:
    """One session of each kind with an object, and two of them corrected; kinds that do not fit it are left out.

    Args:
        array, geometry, window: the volume.
        mask: (K, J, I) bool, the object.
        axis: along which it is cut.
        model: the network that tracks.
        rng: of chance.
        ranged: whether the user gives the slice range, in most sessions; otherwise in none.
    """
    target = Target(Case("example", Path(), Path()), "object", mask, axis)
    segmenter, reader = tracker_and_reader(array, geometry, window, axis, model)
    for kind in KINDS if ranged else UNRANGED:
        try:
            evidence = _evidence(segmenter, target, kind, rng, ranged)
        except MedSAMError:  # such as an object on too few slices for this kind
            continue
        if evidence is None:
            continue
        yield from _examples(evidence, target, reader, kind, rng)


def tracker_and_reader(
    array: npt.NDArray[np.generic],
    geometry: VolumeGeometry,
    window: Window,
    axis: SliceAxis,
    model: SAM2,
) -> tuple[VolumeSegmenter, SecondReader | None]:
    """The tracker of slices of a volume, and the network that reads them again, each without the other."""
    threads = torch.get_num_threads()
    tracker = VolumeSegmenter(array, geometry, model, window, threads=threads, volume_stage="off")
    return tracker, VolumeSegmenter(array, geometry, model, window, threads=threads).second_reader(axis)


def _evidence(
    segmenter: VolumeSegmenter, target: Target, kind: str, rng: np.random.Generator, ranged: bool
) -> VolumeEvidence | None:
    """The evidence of the engine after one session."""
    given, slice_range = _prompts(segmenter.geometry, target, kind, rng)
    if not ranged:
        slice_range = None
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
    array = segmenter.array
    assert not isinstance(array, FrameSource)  # it is a volume
    slices = np.moveaxis(array, int(target.axis), 0)
    return gather(
        obj,
        live.result().objects[0].slices,
        segmenter.geometry,
        target.axis,
        lambda index, rows, columns: segmenter.window.apply(slices[index, rows, columns]),
    )


def _examples(
    evidence: VolumeEvidence,
    target: Target,
    reader: SecondReader | None,
    kind: str,
    rng: np.random.Generator,
) -> Iterator[Example]:
    """A session as it is, read by the second network, and once more with clicks where the stage was wrong."""
    part = tuple(slice(at, at + size) for at, size in zip(evidence.corner, evidence.shape, strict=True))
    truth = np.moveaxis(target.mask, int(target.axis), 0)[part]
    stage = make_stage("learned")
    shown = shown_by(stage, evidence)
    if reader is not None and shown.any():
        evidence = reader.with_reading(evidence, shown)
    if (example := _example(evidence, truth)) is not None:
        yield example
    if kind in CLICKED:
        clicked = with_clicks(evidence, truth, stage, int(rng.integers(1, _MOST + 1)), rng)
        if clicked is not evidence and (example := _example(clicked, truth)) is not None:
            yield example


def shown_by(stage: VolumeStage, evidence: VolumeEvidence) -> npt.NDArray[np.bool_]:
    """(slices, rows, columns) bool, the object as it is shown on the evidence's part of the volume."""
    found = stage.refine(evidence)
    logits = evidence.logits if found is None else found.logits
    mask = np.where(evidence.fixed[:, None, None], evidence.logits, logits) > 0
    mask[: evidence.first] = mask[evidence.last + 1 :] = False
    return mask


def with_clicks(
    evidence: VolumeEvidence,
    truth: npt.NDArray[np.bool_],
    stage: VolumeStage,
    count: int,
    rng: np.random.Generator,
) -> VolumeEvidence:
    """The evidence after `count` clicks, each where the stage is wrong after the one before.

    A click lies in the middle of the largest wrong part of the worst slice, or of some slice. On its slice the part, or
    a disc around the click, becomes right, as after a click that the network understood well or less well.
    """
    for _ in range(count):
        mask = shown_by(stage, evidence)
        wrong = mask != truth
        wrong[evidence.fixed] = wrong[: evidence.first] = wrong[evidence.last + 1 :] = False
        if not wrong.any():
            break
        areas = wrong.sum((1, 2))
        place = int(areas.argmax() if rng.random() < _WORST else rng.choice(np.flatnonzero(areas)))
        part, positive = largest_error(truth[place], mask[place])
        depth = depth_inside(part, (1.0, 1.0))
        row, column = (int(at) for at in np.unravel_index(depth.argmax(), part.shape))
        corrected = mask[place].copy()
        if rng.random() < _UNDERSTOOD:
            corrected[part] = positive
        else:
            y, x = np.ogrid[: part.shape[0], : part.shape[1]]
            corrected[(y - row) ** 2 + (x - column) ** 2 <= (_DISC * depth.max() + 1) ** 2] = positive
        logits, fixed = evidence.logits.copy(), evidence.fixed.copy()
        logits[place], fixed[place] = np.where(corrected, _CORRECTED, -_CORRECTED), True
        click = place, float(column), float(row), positive
        evidence = replace(evidence, logits=logits, fixed=fixed, points=(*evidence.points, click))
    return evidence


def _example(evidence: VolumeEvidence, truth: npt.NDArray[np.bool_]) -> Example | None:
    """The input and the target of the stage; None where no key slice holds a mask."""
    factor = working_factor(evidence.shape)
    found = channels(evidence, factor)
    if found is None:
        return None
    together = fused(found, evidence)
    counted = ~evidence.fixed
    counted[: evidence.first] = counted[evidence.last + 1 :] = False
    return Example(
        stacked(found, evidence, together, factor).astype(np.float16),
        together.astype(np.float16),
        (binned(truth, factor) * 255).astype(np.uint8),
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
