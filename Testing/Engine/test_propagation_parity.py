"""Whole propagations give what the published video predictors give, with the same seeded weights.

The published packages are run once each for all cases: an object in them does not see the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from MedSAMSlicerLib.core.tiers import Tier
from MedSAMSlicerLib.engine.bank import MemoryBank, Recollection
from MedSAMSlicerLib.engine.precision import choose
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.slice_mask import SliceMask
from MedSAMSlicerLib.sam2 import SAM2, TINY

from .oracles import (
    OfficialSession,
    TransformersSession,
    build_transformers_model,
    intersection_over_union,
    official_predictor,
    phantom,
    relative_error,
    seeded_at,
    shaken,
)

pytestmark = [pytest.mark.parity, pytest.mark.slow]

SIZE, SLICES, KEY, SECOND_KEY = 256, 7, 2, 5
TOLERANCE = 1e-4  # of the largest logit, or more where the network itself is noisier, see `Volume.tolerance`
TIMES_NOISE = 16.0

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

    def prompt_set(self, objects: dict[str, Sequence[Prompt]]) -> PromptSet:
        prompted = [ObjectPrompts(name, (1.0, 0.0, 0.0), tuple(prompts)) for name, prompts in objects.items()]
        return PromptSet(self.geometry, SliceAxis.K, tuple(prompted))

    def segmenter(self, tier: Tier = Tier.EXACT) -> VolumeSegmenter:
        window = Window(0, 255, "full")
        return VolumeSegmenter(
            self.frames, self.geometry, self.model, window, tier=tier, patience=0, volume_stage="off"
        )

    def tolerance(self, objects: dict[str, Sequence[Prompt]], ours: Answers) -> dict[str, float]:
        """How far two right answers may be apart: some times the noise of each object, at least `TOLERANCE`.

        The noise is what changes when every weight is moved by one unit in the last place.
        """
        moved = Volume(self.frames, shaken(self.model)).ours(objects)
        noise = {
            name: max(
                relative_error(mine, again) for (_, mine), (_, again) in zip(slices, moved[name], strict=True)
            )
            for name, slices in ours.items()
        }
        return {name: max(TOLERANCE, TIMES_NOISE * value) for name, value in noise.items()}

    def ours(self, objects: dict[str, Sequence[Prompt]], tier: Tier = Tier.EXACT) -> Answers:
        """Our engine in the official order, round by round: forward, then backward."""
        segmenter = self.segmenter(tier)
        assert segmenter.precision.dtype is (torch.float32 if tier is Tier.EXACT else torch.bfloat16)
        answers: Answers = {name: [] for name in objects}
        for event in segmenter.stream_video(self.prompt_set(objects)):
            assert isinstance(event, SliceMask)
            answers[event.object].append((event.index, _shown(event)))
        return answers


def _shown(mask: SliceMask) -> Tensor:
    """The logits as the published packages show them, also where the user's own mask stands in ours."""
    return torch.from_numpy(mask.view.mask_from_logits(mask.low))


@pytest.fixture(scope="module")
def volume() -> Volume:
    frames = phantom(SLICES, SIZE)
    frames[5:] = np.roll(frames[5:], 20, axis=2)  # a jump, so that slices differ
    return Volume(frames, seeded_at(TINY, SIZE))


@pytest.fixture(scope="module")
def objects(volume: Volume) -> dict[str, Sequence[Prompt]]:
    disc = np.hypot(*(np.mgrid[:SIZE, :SIZE] - 125)) < 30
    return {
        "points": [
            volume.point(KEY, 125, 130),
            volume.point(KEY, 90, 150),
            volume.point(KEY, 50, 45, False),
        ],
        "box": [volume.box(KEY, 75, 90, 150, 145), volume.point(SECOND_KEY, 115, 125)],
        "box and points": [volume.box(KEY, 70, 80, 140, 165), volume.point(KEY, 100, 100, False)],
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


@pytest.fixture(scope="module")
def tolerance(volume: Volume, objects: dict[str, Sequence[Prompt]], ours: Answers) -> dict[str, float]:
    return volume.tolerance(objects, ours)


def _assert_agree(ours: Answers, theirs: Answers, names: Sequence[str], tolerance: float) -> None:
    for name in names:
        assert [index for index, _ in ours[name]] == [index for index, _ in theirs[name]]
        for (index, mine), (_, other) in zip(ours[name], theirs[name], strict=True):
            assert relative_error(mine, other) <= tolerance, (name, index)
            assert _decided_alike(mine, other, tolerance), (name, index)


def _decided_alike(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    """IoU 1.0, not counting pixels whose logits lie within the tolerance of zero: a seeded network has such pixels."""
    decided = theirs.abs() > tolerance * theirs.abs().max()
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
    name: str, ours: Answers, official: Answers, tolerance: dict[str, float]
) -> None:
    _assert_agree(ours, official, [name], tolerance[name])


def test_two_memories_in_each_others_place_would_be_seen(
    volume: Volume,
    objects: dict[str, Sequence[Prompt]],
    official: Answers,
    tolerance: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recall = MemoryBank.recall

    def swapped(bank: MemoryBank, index: int, step: int) -> Recollection:
        found = recall(bank, index, step)
        if len(found.memories) > 2:
            (older, at), (newer, then) = found.memories[-2:]
            found.memories[-2:] = [(newer, at), (older, then)]
        return found

    monkeypatch.setattr(MemoryBank, "recall", swapped)
    wrong = volume.ours({"points": objects["points"]})
    errors = [
        relative_error(mine, other)
        for (_, mine), (_, other) in zip(wrong["points"], official["points"], strict=True)
    ]
    assert max(errors) > 3 * tolerance["points"]


def test_each_object_of_several_is_what_it_would_be_alone(
    volume: Volume, objects: dict[str, Sequence[Prompt]], ours: Answers
) -> None:
    alone = volume.ours({"box": objects["box"]})
    for (index, by_itself), (again, among_others) in zip(alone["box"], ours["box"], strict=True):
        assert index == again
        assert torch.equal(by_itself, among_others), index


@pytest.fixture(scope="module")
def short(volume: Volume) -> VolumeSegmenter:
    return Volume(volume.frames[3:7], volume.model).segmenter()


@pytest.mark.parametrize(("key", "step"), [(0, 1), (3, -1)], ids=["forward", "backward from the last slice"])
def test_the_tracks_of_the_product_are_the_official_pass_bit_for_bit_from_one_prompted_slice(
    short: VolumeSegmenter, key: int, step: int
) -> None:
    box = box_from_voxels(short.geometry, SliceRef(SliceAxis.K, key), 75, 90, 151, 145)
    prompt_set = PromptSet(short.geometry, SliceAxis.K, (ObjectPrompts("object", (1.0, 0.0, 0.0), (box,)),))
    video = {e.index: e for e in short.stream_video(prompt_set) if isinstance(e, SliceMask)}
    product = [e for e in short.live().update(prompt_set) if isinstance(e, SliceMask)]
    assert [mask.index for mask in product] == list(range(4))[::step]
    for mask in product:
        assert np.array_equal(mask.low, video[mask.index].low), mask.index
        assert np.array_equal(mask.mask, video[mask.index].mask), mask.index


@pytest.fixture(scope="module")
def bfloat16() -> Tier:
    if choose("cpu", Tier.BALANCED).dtype is not torch.bfloat16:
        pytest.skip("this processor has no bfloat16 arithmetic: balanced computes in float32 here")
    return Tier.BALANCED


@pytest.fixture(scope="module")
def balanced(bfloat16: Tier, volume: Volume, objects: dict[str, Sequence[Prompt]]) -> Answers:
    named = {name: objects[name] for name in ("points", "box", "mask")}
    return volume.ours({**named, "corrected": _corrected(volume)}, bfloat16)


@pytest.mark.parametrize("name", ["points", "box", "mask"])
def test_balanced_arithmetic_draws_the_same_masks(name: str, balanced: Answers, official: Answers) -> None:
    _assert_alike(balanced[name], official[name])


def test_balanced_arithmetic_corrects_in_the_same_way(
    balanced: Answers, official_corrected: list[tuple[int, Tensor]]
) -> None:
    _assert_alike(balanced["corrected"], official_corrected)


def _assert_alike(ours: list[tuple[int, Tensor]], theirs: list[tuple[int, Tensor]]) -> None:
    for (index, mine), (again, other) in zip(ours, theirs, strict=True):
        assert index == again
        assert intersection_over_union(mine, other) >= 0.99, index


# Not for masks: there transformers takes the object pointer from the best alternative, sam2 from the single mask, and
# it remembers the mask as it was given, sam2 in a quarter of the size. Nor for corrections: there transformers does not
# let a corrected slice condition the others, which is what `add_all_frames_to_correct_as_cond` of sam2 is for.
# Nor for the box alone: its masks of this random network magnify the other order of transformers' arithmetic to 5e-4.
@pytest.mark.parametrize("name", ["points", "box and points"])
def test_propagation_agrees_with_transformers(
    name: str,
    volume: Volume,
    objects: dict[str, Sequence[Prompt]],
    ours: Answers,
    tolerance: dict[str, float],
) -> None:
    session = TransformersSession(build_transformers_model(volume.model), volume.frames)
    for key in sorted({prompt.slice.index for prompt in objects[name]}):
        points, labels, box = _in_pixels([p for p in objects[name] if p.slice.index == key], volume)
        corners = [] if box is None else [box[:2], box[2:]]
        prompt_set = torch.tensor([*corners, *points]), torch.tensor([*((2, 3) if corners else ()), *labels])
        session.add(key, *prompt_set)
        session.logits(key)
    answers: Answers = {name: []}
    order = [(index, False) for index in range(KEY, SLICES)] + [(index, True) for index in range(KEY, -1, -1)]
    for index, reverse in order:
        logits = session.logits(index, reverse=reverse)
        answers[name].append((index, _enlarged(logits[0, 0])))
    _assert_agree(ours, answers, [name], tolerance[name])


def _enlarged(low: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(low[None, None], (SIZE, SIZE), mode="bilinear")[0, 0]


def _corrected(volume: Volume) -> list[Prompt]:
    return [
        volume.point(KEY, 125, 130),
        volume.point(KEY, 150, 100, False, round=1),
        volume.point(SECOND_KEY, 100, 120, True, round=1),
    ]


@pytest.fixture(scope="module")
def official_corrected(volume: Volume) -> list[tuple[int, Tensor]]:
    prompts = _corrected(volume)
    session = OfficialSession(official_predictor(volume.model), volume.frames)
    with torch.inference_mode():
        _say(session, prompts[:1], volume, 0)
        before = _propagate(session, ["object"])["object"]
        _say(session, prompts, volume, 0)
        return before + _propagate(session, ["object"])["object"]


def test_corrections_in_the_middle_agree_with_the_official_predictor(
    volume: Volume, official_corrected: list[tuple[int, Tensor]], tolerance: dict[str, float]
) -> None:
    mine = volume.ours({"object": _corrected(volume)})
    _assert_agree(mine, {"object": official_corrected}, ["object"], tolerance["points"])


@pytest.fixture(scope="module")
def gone(volume: Volume) -> tuple[Volume, dict[str, Sequence[Prompt]]]:
    """A volume with a slice on which nothing is to be seen, and the prompts."""
    frames = volume.frames[:5].copy()
    frames[2] = 0
    blank = Volume(frames, seeded_at(TINY, SIZE))
    prompts = {"object": [MaskPrompt(blank.ref(0), np.hypot(*(np.mgrid[:SIZE, :SIZE] - 125)) < 45)]}
    _be_blind_on_blank_slices(blank, prompts, blank=2)
    return blank, prompts


@pytest.fixture(scope="module")
def official_gone(gone: tuple[Volume, dict[str, Sequence[Prompt]]]) -> Answers:
    volume, prompts = gone
    session = OfficialSession(official_predictor(volume.model), volume.frames)
    with torch.inference_mode():
        _say(session, prompts["object"], volume, 0)
        return {"object": [(index, logits[0, 0]) for index, logits in session.propagate()]}


def test_an_object_that_disappears_and_returns_agrees_with_the_official_predictor(
    gone: tuple[Volume, dict[str, Sequence[Prompt]]], official_gone: Answers, tolerance: dict[str, float]
) -> None:
    volume, prompts = gone
    mine = {"object": volume.ours(prompts)["object"][:5]}
    assert [bool((logits > 0).any()) for _, logits in mine["object"]] == [True, True, False, True, True]
    _assert_agree(mine, official_gone, ["object"], tolerance["mask"])


def test_balanced_arithmetic_loses_and_finds_the_same_object(
    bfloat16: Tier, gone: tuple[Volume, dict[str, Sequence[Prompt]]], official_gone: Answers
) -> None:
    volume, prompts = gone
    _assert_alike(volume.ours(prompts, bfloat16)["object"][:5], official_gone["object"])


def _be_blind_on_blank_slices(volume: Volume, prompts: dict[str, Sequence[Prompt]], blank: int) -> None:
    """Shift the object score of the network so that it is negative on the blank slice and positive on the others."""
    segmenter = VolumeSegmenter(
        volume.frames, volume.geometry, volume.model, Window(0, 255, "full"), tier="exact"
    )
    head = volume.model.sam_mask_decoder.pred_obj_score_head.layers[-1]
    with torch.no_grad():
        head.weight.mul_(30)
        events = segmenter.stream_video(volume.prompt_set(prompts))
        scores = {e.index: e.object_score for e in events if isinstance(e, SliceMask) and not e.is_key}
        others = min(score for index, score in scores.items() if index != blank)
        assert scores[blank] < others - 0.1
        head.bias.sub_((scores[blank] + others) / 2)


def test_one_volume_at_1024_pixels_agrees_with_the_official_predictor() -> None:
    volume = Volume(phantom(2, 1024), seeded_at(TINY, 1024))
    prompts = {"object": [volume.box(0, 300, 320, 640, 600)]}
    mine = volume.ours(prompts)
    session = OfficialSession(official_predictor(volume.model), volume.frames)
    with torch.inference_mode():
        _say(session, prompts["object"], volume, 0)
        theirs = [(index, logits[0, 0]) for index, logits in session.propagate()]
    tolerance = volume.tolerance(prompts, mine)
    _assert_agree({"object": mine["object"][:2]}, {"object": theirs}, ["object"], tolerance["object"])
