"""Whole propagations give what the published video predictors give, with the same seeded weights.

The published packages are run once each for all cases: an object in them does not see the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.prompts import (
    Box,
    MaskPrompt,
    ObjectPrompts,
    Point,
    Prompt,
    PromptSet,
    SliceRef,
    box_from_voxels,
    point_from_voxel,
)
from MedSAMSlicerLib.engine.precision import Tier
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.slice_mask import SliceMask
from MedSAMSlicerLib.sam2 import SAM2, TINY

from .oracles import (
    OfficialSession,
    add_prompt_to_hf,
    hf_model,
    hf_session,
    intersection_over_union,
    official_predictor,
    phantom,
    relative_error,
    seeded_at,
)

pytestmark = [pytest.mark.parity, pytest.mark.slow]

SIZE, SLICES, KEY, SECOND_KEY = 512, 7, 2, 5
TOLERANCE = 1e-4

Answers = dict[str, list[tuple[int, Tensor]]]
"""By object: (slice, (S, S) logits) in the order of computation."""


@dataclass(frozen=True)
class Volume:
    """A volume whose slices are frames of the network's own size, and a network."""

    frames: np.ndarray
    model: SAM2

    @property
    def geometry(self) -> VolumeGeometry:
        return VolumeGeometry.from_spacing(self.frames.shape, (0.8, 0.8, 3.0))

    def ref(self, index: int) -> SliceRef:
        return SliceRef(SliceAxis.K, index)

    def point(self, index: int, x: float, y: float, positive: bool = True, round: int = 0) -> Point:
        return point_from_voxel(self.geometry, self.ref(index), x, y, positive, round)

    def box(self, index: int, x0: int, y0: int, x1: int, y1: int) -> Box:
        return box_from_voxels(self.geometry, self.ref(index), x0, y0, x1, y1)

    def said(self, objects: dict[str, Sequence[Prompt]]) -> PromptSet:
        entries = [ObjectPrompts(name, (1.0, 0.0, 0.0), tuple(prompts)) for name, prompts in objects.items()]
        return PromptSet(self.geometry, SliceAxis.K, tuple(entries))

    def ours(self, objects: dict[str, Sequence[Prompt]], tier: Tier = Tier.EXACT) -> Answers:
        """Our engine in the official order, round by round: forward, then backward."""
        segmenter = VolumeSegmenter(self.frames, self.geometry, self.model, Window(0, 255, "full"), tier=tier)
        answers: Answers = {name: [] for name in objects}
        for event in segmenter.stream_video(self.said(objects)):
            assert isinstance(event, SliceMask)
            answers[event.object].append((event.index, _shown(event)))
        return answers


def _shown(mask: SliceMask) -> Tensor:
    """The logits as the published packages show them, also where the user's own mask stands in ours."""
    return torch.from_numpy(mask.view.mask_from_logits(mask.low))


@pytest.fixture(scope="module")
def volume() -> Volume:
    frames = phantom(SLICES, SIZE)
    frames[5:] = np.roll(frames[5:], 40, axis=2)  # a jump, so that slices differ
    return Volume(frames, seeded_at(TINY, SIZE))


@pytest.fixture(scope="module")
def objects(volume: Volume) -> dict[str, Sequence[Prompt]]:
    disc = np.hypot(*(np.mgrid[:SIZE, :SIZE] - 250)) < 60
    return {
        "points": [
            volume.point(KEY, 250, 260),
            volume.point(KEY, 180, 300),
            volume.point(KEY, 100, 90, False),
        ],
        "box": [volume.box(KEY, 150, 180, 301, 290), volume.point(SECOND_KEY, 230, 250)],
        "box and points": [volume.box(KEY, 140, 160, 280, 330), volume.point(KEY, 200, 200, False)],
        "mask": [MaskPrompt(volume.ref(KEY), disc)],
    }


@pytest.fixture(scope="module")
def ours(volume: Volume, objects: dict[str, Sequence[Prompt]]) -> Answers:
    return volume.ours(objects)


def _say(session: OfficialSession, prompts: Sequence[Prompt], volume: Volume, object_id: int) -> None:
    """Prompt the official predictor, slice by slice."""
    for index in sorted({prompt.slice.index for prompt in prompts}):
        points, labels, box = _in_pixels([p for p in prompts if p.slice.index == index], volume)
        masks = [p.mask for p in prompts if isinstance(p, MaskPrompt) and p.slice.index == index]
        if masks:
            session.add_mask(index, masks[0].copy(), object_id=object_id)
        else:
            session.add_points(index, points, labels, box=box, object_id=object_id)


def _in_pixels(
    prompts: Sequence[Prompt], volume: Volume
) -> tuple[list[list[float]], list[int], list[float] | None]:
    to_slice = volume.geometry.ras_to_slice
    points = [to_slice([p.ras], SliceAxis.K)[0][0].tolist() for p in prompts if isinstance(p, Point)]
    labels = [int(p.positive) for p in prompts if isinstance(p, Point)]
    box = None
    for prompt in prompts:
        if isinstance(prompt, Box):
            corners, _ = to_slice([prompt.corner, prompt.opposite_corner], SliceAxis.K)
            box = [*(corners[0] + 0.5).tolist(), *(corners[1] - 0.5).tolist()]  # first and last pixel inside
    return points, labels, box


def _propagate(session: OfficialSession, names: Sequence[str]) -> Answers:
    answers: Answers = {name: [] for name in names}
    for reverse in (False, True):
        for index, logits in session.propagate(reverse=reverse):
            for number, name in enumerate(names):
                answers[name].append((index, logits[number, 0].clone()))
    return answers


def _assert_agree(ours: Answers, theirs: Answers, names: Sequence[str]) -> None:
    for name in names:
        assert [index for index, _ in ours[name]] == [index for index, _ in theirs[name]]
        for (index, mine), (_, other) in zip(ours[name], theirs[name], strict=True):
            assert relative_error(mine, other) <= TOLERANCE, (name, index)
            assert _decided_alike(mine, other), (name, index)


def _decided_alike(ours: Tensor, theirs: Tensor) -> bool:
    """IoU 1.0, not counting pixels whose logits lie within the tolerance of zero: a seeded network has such pixels."""
    decided = theirs.abs() > TOLERANCE * theirs.abs().max()
    return (
        intersection_over_union(ours[decided], theirs[decided]) == 1.0
        and intersection_over_union(ours, theirs) > 0.9999
    )


@pytest.fixture(scope="module")
def official(volume: Volume, objects: dict[str, Sequence[Prompt]]) -> Answers:
    session = OfficialSession(official_predictor(volume.model), volume.frames)
    with torch.inference_mode():
        for number, prompts in enumerate(objects.values()):
            _say(session, prompts, volume, number)
        return _propagate(session, list(objects))


@pytest.mark.parametrize("name", ["points", "box", "box and points", "mask"])
def test_both_directions_agree_with_the_official_predictor(
    name: str, ours: Answers, official: Answers
) -> None:
    _assert_agree(ours, official, [name])


def test_each_object_of_several_is_what_it_would_be_alone(
    volume: Volume, objects: dict[str, Sequence[Prompt]], ours: Answers
) -> None:
    alone = volume.ours({"box": objects["box"][:1]})
    assert len(alone["box"]) == len(ours["box"])
    key_of_both = next(logits for index, logits in ours["box"] if index == KEY)
    assert torch.equal(alone["box"][0][1], key_of_both)


def test_balanced_arithmetic_draws_the_same_masks(
    volume: Volume, objects: dict[str, Sequence[Prompt]], official: Answers
) -> None:
    names = ["points", "mask"]
    balanced = volume.ours({name: objects[name] for name in names}, Tier.BALANCED)
    for name in names:
        for (index, mine), (_, other) in zip(balanced[name], official[name], strict=True):
            assert intersection_over_union(mine, other) >= 0.99, (name, index)


def test_propagation_agrees_with_transformers(
    volume: Volume, objects: dict[str, Sequence[Prompt]], ours: Answers
) -> None:
    # Not for masks: there transformers takes the object pointer from the best alternative, sam2 from the single mask,
    # and it remembers the mask as it was given, sam2 in a quarter of the size.
    names = ["points", "box and points"]
    theirs: Any = hf_model(volume.model)
    session = hf_session(volume.model, volume.frames)
    for number, name in enumerate(names):
        points, labels, box = _in_pixels(objects[name], volume)
        corners = [] if box is None else [box[:2], box[2:]]
        said = torch.tensor([*corners, *points]), torch.tensor([*((2, 3) if corners else ()), *labels])
        add_prompt_to_hf(session, KEY, *said, object_id=number)
        theirs(session, KEY)
    answers: Answers = {name: [] for name in names}
    order = [(index, False) for index in range(KEY, SLICES)] + [(index, True) for index in range(KEY, -1, -1)]
    for index, reverse in order:
        logits = theirs(session, index, reverse=reverse).pred_masks
        for number, name in enumerate(names):
            answers[name].append((index, _enlarged(logits[number, 0])))
    _assert_agree(ours, answers, names)


def _enlarged(low: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(low[None, None], (SIZE, SIZE), mode="bilinear")[0, 0]


def test_corrections_in_the_middle_agree_with_the_official_predictor(volume: Volume) -> None:
    first = [volume.point(KEY, 250, 260)]
    corrections = [
        volume.point(KEY, 300, 200, False, round=1),
        volume.point(SECOND_KEY, 200, 240, True, round=1),
    ]
    mine = volume.ours({"object": [*first, *corrections]})
    session = OfficialSession(official_predictor(volume.model), volume.frames)
    with torch.inference_mode():
        _say(session, first, volume, 0)
        theirs = _propagate(session, ["object"])
        _say(session, [*first, *corrections], volume, 0)
        theirs["object"] += _propagate(session, ["object"])["object"]
    _assert_agree(mine, theirs, ["object"])


def test_an_object_that_disappears_and_returns_agrees_with_the_official_predictor(volume: Volume) -> None:
    frames = volume.frames[:5].copy()
    frames[2] = 0  # nothing to be seen there
    gone = Volume(frames, seeded_at(TINY, SIZE))
    prompts = {"object": [MaskPrompt(gone.ref(0), np.hypot(*(np.mgrid[:SIZE, :SIZE] - 250)) < 90)]}
    _be_blind_on_blank_slices(gone, prompts, blank=2)
    mine = {"object": gone.ours(prompts)["object"][:5]}
    session = OfficialSession(official_predictor(gone.model), frames)
    with torch.inference_mode():
        _say(session, prompts["object"], gone, 0)
        theirs = {"object": [(index, logits[0, 0]) for index, logits in session.propagate()]}
    assert [bool((logits > 0).any()) for _, logits in mine["object"]] == [True, True, False, True, True]
    _assert_agree(mine, theirs, ["object"])


def _be_blind_on_blank_slices(volume: Volume, prompts: dict[str, Sequence[Prompt]], blank: int) -> None:
    """Shift the object score of the network so that it is negative on the blank slice and positive on the others."""
    segmenter = VolumeSegmenter(
        volume.frames, volume.geometry, volume.model, Window(0, 255, "full"), tier="exact"
    )
    head = volume.model.sam_mask_decoder.pred_obj_score_head.layers[-1]
    with torch.no_grad():
        head.weight.mul_(30)
        events = segmenter.stream_video(volume.said(prompts))
        scores = {e.index: e.object_score for e in events if isinstance(e, SliceMask) and not e.is_key}
        others = min(score for index, score in scores.items() if index != blank)
        assert scores[blank] < others - 0.1
        head.bias.sub_((scores[blank] + others) / 2)


def test_one_volume_at_1024_pixels_agrees_with_the_official_predictor() -> None:
    volume = Volume(phantom(3, 1024), seeded_at(TINY, 1024))
    prompts = {"object": [volume.box(0, 300, 320, 640, 600)]}
    mine = volume.ours(prompts)
    session = OfficialSession(official_predictor(volume.model), volume.frames)
    with torch.inference_mode():
        _say(session, prompts["object"], volume, 0)
        theirs = [(index, logits[0, 0]) for index, logits in session.propagate()]
    _assert_agree({"object": mine["object"][:3]}, {"object": theirs}, ["object"])
