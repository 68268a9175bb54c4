"""The volume stage: what it leaves alone, that it repeats itself, and that it repairs what tracking spoils."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import Canceled, MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.prompts import (
    MaskPrompt,
    ObjectPrompts,
    Prompt,
    PromptSet,
    SliceRef,
    box_from_voxels,
    point_from_voxel,
)
from MedSAMSlicerLib.engine.network import LOGIT_LIMIT
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.slice_mask import SliceMask
from MedSAMSlicerLib.engine.volume.evidence import VolumeEvidence, gather
from MedSAMSlicerLib.engine.volume.field import mean_field
from MedSAMSlicerLib.engine.volume.geodesic import FAR, distances, step_costs
from MedSAMSlicerLib.engine.volume.network import VolumeNet
from MedSAMSlicerLib.engine.volume.shapes import interpolated
from MedSAMSlicerLib.engine.volume.stage import VolumeStage, make_stage
from MedSAMSlicerLib.engine.volume.weights import bundled_stage
from MedSAMSlicerLib.sam2 import SAM2
from MedSAMSlicerLib.sam2.checkpoint import seeded

K = SliceAxis.K
SHAPE = (16, 40, 48)
SPACING = (0.9, 0.7, 2.5)


@pytest.fixture(scope="module")
def ball() -> tuple[np.ndarray, np.ndarray]:
    """A bright ball in noise, and where it is."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    truth = ((z - 8) / 6.5) ** 2 + ((y - 20) / 12) ** 2 + ((x - 24) / 14) ** 2 < 1
    gray = np.where(truth, 150, 90) + np.random.default_rng(0).normal(0, 12, SHAPE)
    return gray.clip(0, 255).astype(np.uint8), truth


def _evidence(
    ball: tuple[np.ndarray, np.ndarray], logits: np.ndarray, keys: tuple[int, ...]
) -> VolumeEvidence:
    gray, truth = ball
    flags = np.isin(np.arange(SHAPE[0]), keys)
    drawn = np.where(flags[:, None, None], np.where(truth, 6.0, -6.0), logits).astype(np.float32)
    filled = np.flatnonzero(truth.any((1, 2)))
    box = (8, 24 - 14.5, 20 - 12.5, 24 + 14.5, 20 + 12.5)
    return VolumeEvidence(
        (0, 0, 0),
        (2.5, 0.7, 0.9),
        gray,
        drawn,
        flags,
        flags,
        np.full(SHAPE[0], 0.8, np.float32),
        int(filled[0]),
        int(filled[-1]),
        True,
        (box,),
    )


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def _shifted(truth: np.ndarray) -> np.ndarray:
    """Logits that drift the farther to the side the farther a slice lies from the middle one."""
    moved = np.stack([np.roll(plane, 2 * abs(n - 8), axis=1) for n, plane in enumerate(truth)])
    return np.where(moved, 4.0, -4.0).astype(np.float32)


def test_masks_that_drifted_are_brought_back(ball: tuple[np.ndarray, np.ndarray]) -> None:
    truth = ball[1]
    drifted = _shifted(truth)
    refined = VolumeStage().refine(_evidence(ball, drifted, (8,)))
    assert refined is not None
    assert _dice(refined.logits > 0, truth) > _dice(drifted > 0, truth) + 0.1


def test_more_key_slices_give_a_better_volume(ball: tuple[np.ndarray, np.ndarray]) -> None:
    truth, found = ball[1], []
    for keys in ((8,), (5, 8, 11), (3, 5, 8, 11, 13)):
        refined = VolumeStage().refine(_evidence(ball, _shifted(truth), keys))
        assert refined is not None
        free = ~np.isin(np.arange(SHAPE[0]), (3, 5, 8, 11, 13))
        found.append(_dice((refined.logits > 0)[free], truth[free]))
    assert found[0] <= found[1] <= found[2]
    assert found[2] > found[0]


def test_nothing_lies_beyond_the_range(ball: tuple[np.ndarray, np.ndarray]) -> None:
    evidence = _evidence(ball, np.full(SHAPE, 6.0, np.float32), (8,))
    refined = VolumeStage().refine(evidence)
    assert refined is not None
    assert not (refined.logits[: evidence.first] > 0).any()
    assert not (refined.logits[evidence.last + 1 :] > 0).any()


def test_voxels_of_other_segments_are_left_out_and_hold_the_growth_back(
    ball: tuple[np.ndarray, np.ndarray],
) -> None:
    truth, z = ball[1], np.arange(SHAPE[0])
    evidence = _evidence(ball, np.where(truth, 4.0, -4.0).astype(np.float32), (8,))
    wall = np.zeros(SHAPE, np.bool_)
    wall[10:, :, 20:22] = True  # a thin one: what lies behind it is to be reached around it at most
    wall[evidence.fixed] = False
    free, stopped = VolumeStage().refine(evidence), VolumeStage().refine(replace(evidence, barred=wall))
    assert free is not None
    assert stopped is not None
    assert (free.logits[wall & truth] > 0).mean() > 0.9
    assert not (stopped.logits[wall] > 0).any()
    assert np.array_equal(stopped.logits[8] > 0, free.logits[8] > 0), "key slices stay as they are"
    near = (np.abs(z - 11) < 2)[:, None, None] & truth & ~wall
    assert stopped.logits[near].mean() < free.logits[near].mean()


def test_a_thin_stack_is_left_alone(ball: tuple[np.ndarray, np.ndarray]) -> None:
    evidence = _evidence(ball, _shifted(ball[1]), (8,))
    single = VolumeEvidence(
        (8, 0, 0),
        evidence.spacing,
        evidence.gray[8:9],
        evidence.logits[8:9],
        evidence.keys[8:9],
        evidence.fixed[8:9],
        evidence.iou[8:9],
        0,
        0,
        True,
    )
    assert VolumeStage().refine(single) is None


def test_geodesic_distance_is_that_of_the_shortest_path() -> None:
    wall = np.zeros((1, 5, 5), np.float32)
    wall[0, :4, 2] = 10
    seeds = np.zeros(wall.shape, np.bool_)
    seeds[0, 0, 0] = True
    found = distances(step_costs(wall, (1.0, 1.0, 1.0), 1.0), seeds)
    assert found[0, 0, 4] == pytest.approx(12)  # around the wall: 4 down, 4 across, 4 up
    assert found[0, 0, 1] == pytest.approx(1)
    none = distances(step_costs(wall, (1.0, 1.0, 1.0), 1.0), np.zeros(wall.shape, np.bool_))
    assert (none >= FAR / 2).all()


def test_a_shape_between_two_discs_has_the_radius_between_and_ends_with_the_range() -> None:
    y, x = np.ogrid[:41, :41]
    squared = (y - 20) ** 2 + (x - 20) ** 2
    shape, widths = interpolated({4: squared < 8.5**2, 8: squared < 14.5**2}, 14, 1, 12, (1.0, 1.0))
    radius = np.sqrt((shape > 0).sum((1, 2)) / np.pi)
    assert radius[6] == pytest.approx(11.5, abs=0.7)
    assert radius[4] == pytest.approx(8.5, abs=0.5)
    assert (np.diff(radius[8:13]) <= 0).all()
    assert radius[12] < 0.7 * radius[8]
    assert radius[0] < 2
    assert radius[13] < 2
    assert widths[6] == pytest.approx((widths[4] + widths[8]) / 2)


def test_a_lonely_voxel_yields_to_its_neighbors_but_not_across_an_edge() -> None:
    unary = np.full((3, 5, 5), -1.0, np.float32)
    unary[1, 2, 2] = 1.0
    flat = np.zeros(unary.shape, np.float32)
    edge = flat.copy()
    edge[1, 2, 2] = 3.0
    assert mean_field(unary, flat, (1.0, 1.0, 1.0), 1.0, 5)[1, 2, 2] < 0
    assert mean_field(unary, edge, (1.0, 1.0, 1.0), 1.0, 5)[1, 2, 2] > 0


# ------------------------------------------------------------------------------------------------------- in the engine


@pytest.fixture(scope="module")
def model() -> SAM2:
    return seeded(SMALL, 3)


@pytest.fixture(scope="module")
def segment(ball: tuple[np.ndarray, np.ndarray], model: SAM2) -> Callable[..., VolumeSegmenter]:
    def made(stage: str = "fused", turned: bool = False) -> VolumeSegmenter:
        gray = np.ascontiguousarray(np.moveaxis(ball[0], 0, 2)) if turned else ball[0]
        spacing = (2.5, 0.9, 0.7) if turned else SPACING
        oblique = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
        geometry = VolumeGeometry.from_spacing(gray.shape, spacing, direction=oblique)
        return VolumeSegmenter(
            gray, geometry, model, Window(0, 255), tier="exact", threads=1, patience=0, volume_stage=stage
        )

    return made


def _prompts(segmenter: VolumeSegmenter, ball: tuple[np.ndarray, np.ndarray], *more: Prompt) -> PromptSet:
    """A mask on slice 8, a mask on slice 4 and a box on slice 11, over a range."""
    truth, axis = ball[1], K if segmenter.geometry.shape == SHAPE else SliceAxis.I
    masks = [MaskPrompt(SliceRef(axis, index), truth[index]) for index in (8, 4)]
    box = box_from_voxels(segmenter.geometry, SliceRef(axis, 11), 13, 11, 36, 30)
    ball = ObjectPrompts("ball", (1.0, 0.5, 0.0), (*masks, box, *more), (2, 14))
    return PromptSet(segmenter.geometry, axis, (ball,))


@pytest.mark.parametrize("stage", ["fused", "auto"])
def test_key_slices_stay_as_they_were_and_the_rest_is_refined(
    ball: tuple[np.ndarray, np.ndarray], segment: Callable[..., VolumeSegmenter], stage: str
) -> None:
    plain, refined = (
        (made := segment(name)).segment(_prompts(made, ball)).objects[0] for name in ("off", stage)
    )
    for index in plain.key_slices:
        assert np.array_equal(plain.slices[index].mask, refined.slices[index].mask)
    assert np.array_equal(refined.slices[4].mask, ball[1][4])
    assert not np.array_equal(plain.mask, refined.mask)


def test_the_same_prompts_give_the_same_masks_at_once_and_round_by_round(
    ball: tuple[np.ndarray, np.ndarray], segment: Callable[..., VolumeSegmenter]
) -> None:
    made = segment()
    click = point_from_voxel(made.geometry, SliceRef(K, 6), 24, 20, True, 1)
    other = point_from_voxel(made.geometry, SliceRef(K, 12), 30, 20, False, 2)
    live = made.live()
    for prompt_set in ((), (click,), (click, other)):
        for _ in live.update(_prompts(made, ball, *prompt_set)):
            pass
    stepwise = live.result().masks["ball"]
    again = segment()
    at_once = again.segment(_prompts(again, ball, click, other)).masks["ball"]
    assert np.array_equal(stepwise, at_once)
    for _ in live.update(_prompts(made, ball)):  # taken back
        pass
    fresh = segment()
    assert np.array_equal(live.result().masks["ball"], fresh.segment(_prompts(fresh, ball)).masks["ball"])


def test_a_correction_changes_nothing_beyond_its_neighboring_key_slices(
    ball: tuple[np.ndarray, np.ndarray], segment: Callable[..., VolumeSegmenter]
) -> None:
    made = segment()
    live = made.live()
    rounds: list[tuple[Prompt, ...]] = [()]
    rounds.append((point_from_voxel(made.geometry, SliceRef(K, 12), 24, 20, False, 1),))
    rounds.append((*rounds[-1], point_from_voxel(made.geometry, SliceRef(K, 10), 26, 22, False, 2)))
    masks = []
    for given in rounds:
        events = [*live.update(_prompts(made, ball, *given))]
        masks.append(live.result().masks["ball"])
    keys = sorted({prompt.slice.index for prompt in _prompts(made, ball, *rounds[1]).objects[0].prompts})
    below, above = max(key for key in keys if key < 10), min(key for key in keys if key > 10)
    outside = np.r_[: below + 1, above : len(ball[0])]
    assert np.array_equal(masks[2][outside], masks[1][outside])
    assert not np.array_equal(masks[2], masks[1])
    assert all(below < event.index < above for event in events if isinstance(event, SliceMask))
    fresh = segment()
    at_once = fresh.segment(_prompts(fresh, ball, *rounds[2])).masks["ball"]
    assert np.array_equal(at_once, masks[2])


def test_a_corrected_slice_stays_as_it_is_but_does_not_bind_its_neighbors(
    ball: tuple[np.ndarray, np.ndarray], segment: Callable[..., VolumeSegmenter]
) -> None:
    made = segment()
    click = point_from_voxel(made.geometry, SliceRef(K, 6), 24, 20, True, 1)
    prompts = _prompts(made, ball, click)
    live = made.live()
    streamed = {
        event.index: event.mask
        for prompt_set in (_prompts(made, ball), prompts)
        for event in live.update(prompt_set)
        if isinstance(event, SliceMask) and event.is_key
    }
    result = live.result()
    assert np.array_equal(result.masks["ball"][6], streamed[6])
    found = gather(
        prompts.objects[0],
        result.objects[0].slices,
        made.geometry,
        K,
        lambda index, rows, columns: ball[0][index, rows, columns],
    )
    assert found is not None
    assert (found.fixed & ~found.keys).nonzero()[0].tolist() == [6 - found.corner[0]]


def test_the_bundled_weights_are_read_and_bring_drifted_masks_back(
    ball: tuple[np.ndarray, np.ndarray],
) -> None:
    network = bundled_stage()
    assert network is not None
    drifted = _shifted(ball[1])
    refined = VolumeStage(network).refine(_evidence(ball, drifted, (8,)))
    assert refined is not None
    assert _dice(refined.logits > 0, ball[1]) > _dice(drifted > 0, ball[1]) + 0.1


def test_without_a_range_the_weights_for_that_are_used(ball: tuple[np.ndarray, np.ndarray]) -> None:
    drifted = _evidence(ball, _shifted(ball[1]), (8,))
    network, unranged = VolumeNet(), VolumeNet()
    with torch.no_grad():
        for weights, bias in ((network, 24.0), (unranged, -24.0)):
            assert weights.last.bias is not None
            weights.last.bias.fill_(bias)
    stage = VolumeStage(network, unranged=unranged)
    filled, emptied = (
        stage.refine(replace(drifted, ranged=given)).logits[3] > 0  # type: ignore[union-attr]
        for given in (True, False)
    )
    assert filled.mean() > 0.9
    assert not emptied.any()


@pytest.mark.parametrize("beyond", [95, 125])
def test_a_mask_that_is_carried_on_beyond_both_ends_is_cut_off_there(beyond: int) -> None:
    """What follows the ball looks like its surroundings, or is half as bright as it."""
    z, y, x = np.ogrid[:30, :40, :40]
    across = (y - 20) ** 2 + (x - 20) ** 2
    truth = across < 100 * (1 - ((z - 13) / 6) ** 2)
    disc = np.broadcast_to(across < 100, truth.shape)
    noise = np.random.default_rng(0).normal(0, 6, truth.shape)
    gray = (np.where(truth, 150, np.where(disc, beyond, 95)) + noise).clip(0, 255).astype(np.uint8)
    carried = np.where(disc, 5.0, -8.0).astype(np.float32)
    key = np.arange(30) == 13
    box = (13, 9.5, 9.5, 30.5, 30.5)
    iou = np.full(30, 0.9, np.float32)
    evidence = VolumeEvidence((0, 0, 0), (3.0, 1.0, 1.0), gray, carried, key, key, iou, 0, 29, False, (box,))
    stages = make_stage("learned"), VolumeStage(bundled_stage())
    cut, before = (_dice(stage.refine(evidence).logits > 0, truth) for stage in stages)  # type: ignore[union-attr]
    assert cut > _dice(carried > 0, truth) + 0.2
    assert cut > 0.95 or cut > before + 0.03


def test_another_object_changes_nothing(
    ball: tuple[np.ndarray, np.ndarray], segment: Callable[..., VolumeSegmenter]
) -> None:
    made = segment()
    alone = _prompts(made, ball)
    box = box_from_voxels(made.geometry, SliceRef(K, 5), 2, 2, 14, 14)
    second = ObjectPrompts("second", (0.0, 1.0, 0.0), (box,), (2, 9))
    both = PromptSet(made.geometry, K, (*alone.objects, second))
    assert np.array_equal(made.segment(both).masks["ball"], segment().segment(alone).masks["ball"])


def test_the_streamed_masks_are_those_of_the_result_and_refined_ones_come_last(
    ball: tuple[np.ndarray, np.ndarray], segment: Callable[..., VolumeSegmenter]
) -> None:
    made = segment()
    live = made.live()
    shown: dict[int, np.ndarray] = {}
    order: list[bool] = []
    for event in live.update(_prompts(made, ball)):
        if isinstance(event, SliceMask):
            shown[event.index] = event.mask
            order.append(event.refined)
    assert order == sorted(order)
    assert any(order)
    found = live.result().masks["ball"]
    assert all(np.array_equal(found[index], mask) for index, mask in shown.items())
    assert [*live.update(_prompts(made, ball))] == []


def test_a_run_canceled_before_the_end_is_refined_by_the_next_one(
    ball: tuple[np.ndarray, np.ndarray], segment: Callable[..., VolumeSegmenter]
) -> None:
    made = segment()
    live = made.live()
    tracked = 13
    seen: list[int] = []

    events = live.update(_prompts(made, ball), cancel=lambda: len(seen) >= tracked)
    for event in events:
        assert isinstance(event, SliceMask)
        assert not event.refined
        seen.append(event.index)
        if len(seen) == tracked:
            break
    with pytest.raises(Canceled):
        next(events)
    for event in live.update(_prompts(made, ball)):
        assert isinstance(event, SliceMask)
        assert event.refined
    fresh = segment()
    assert np.array_equal(live.result().masks["ball"], fresh.segment(_prompts(fresh, ball)).masks["ball"])


def test_slices_along_another_axis_of_an_oblique_volume_give_the_same_masks(
    ball: tuple[np.ndarray, np.ndarray], segment: Callable[..., VolumeSegmenter]
) -> None:
    straight, turned = segment(), segment(turned=True)
    along_k = straight.segment(_prompts(straight, ball)).masks["ball"]
    along_i = turned.segment(_prompts(turned, ball)).masks["ball"]
    assert np.array_equal(along_k, np.moveaxis(along_i, 2, 0))


def test_an_unknown_stage_is_refused(segment: Callable[..., VolumeSegmenter]) -> None:
    with pytest.raises(MedSAMError, match="'magic'"):
        segment("magic")


def test_logits_of_the_evidence_are_limited(
    ball: tuple[np.ndarray, np.ndarray], segment: Callable[..., VolumeSegmenter]
) -> None:
    made = segment("off")
    prompts = _prompts(made, ball)
    slices = made.segment(prompts).objects[0].slices
    found = gather(
        prompts.objects[0],
        slices,
        made.geometry,
        K,
        lambda index, rows, columns: ball[0][index, rows, columns],
    )
    assert found is not None
    assert np.abs(found.logits).max() <= LOGIT_LIMIT
    assert found.keys.nonzero()[0].tolist() == [index - found.corner[0] for index in (4, 8, 11)]
    top, left = found.corner[1:]
    shown = ball[0][found.corner[0] :, top : top + found.shape[1], left : left + found.shape[2]]
    assert np.array_equal(found.gray, shown[: found.shape[0]])
