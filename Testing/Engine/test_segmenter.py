"""VolumeSegmenter and LiveSegmentation with a small seeded network: what the user may rely on."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import Canceled, MedSAMError, PromptError, VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.plan import tracks_after_change
from MedSAMSlicerLib.core.prompts import (
    MaskPrompt,
    ObjectPrompts,
    Prompt,
    PromptSet,
    SliceRef,
    box_from_voxels,
    point_from_voxel,
)
from MedSAMSlicerLib.engine.live import LiveSegmentation
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.slice_mask import SliceMask
from MedSAMSlicerLib.sam2 import SAM2
from MedSAMSlicerLib.sam2.checkpoint import seeded

torch = pytest.importorskip("torch")
K = SliceAxis.K
SLICES = 24
WINDOW = Window(0, 255, "full")


@pytest.fixture(scope="module")
def model() -> SAM2:
    network = seeded(SMALL)
    with torch.no_grad():  # masks of about half the slice, so that every difference shows
        network.sam_mask_decoder.output_hypernetworks_mlps[0].layers[-1].bias.mul_(-1)
    return network


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    random = np.random.default_rng(3)
    z, y, x = np.mgrid[:SLICES, :64, :64].astype(np.float32)
    body = (
        90 + 60 * np.sin(x / 9 + z / 5) + 50 * np.cos(y / 7 - z / 6) + random.normal(0, 8, (SLICES, 64, 64))
    )
    return body.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def geometry() -> VolumeGeometry:
    return VolumeGeometry.from_spacing((SLICES, 64, 64), (0.8, 0.8, 2.0))


@pytest.fixture(params=["whole slices", "following square"])
def segmenter(
    request: pytest.FixtureRequest, volume: np.ndarray, geometry: VolumeGeometry, model: SAM2
) -> VolumeSegmenter:
    margin = 0.0 if request.param == "whole slices" else 1.7
    return VolumeSegmenter(
        volume,
        geometry,
        model,
        WINDOW,
        tier="exact",
        threads=1,
        crop_margin=margin,
        patience=0,
        volume_stage="off",
    )


def _box(geometry: VolumeGeometry, index: int, x: int = 14, round: int = 0) -> Prompt:
    return box_from_voxels(geometry, SliceRef(K, index), x, 20, x + 22, 44, round)


def _point(
    geometry: VolumeGeometry, index: int, x: int, y: int, positive: bool = True, round: int = 0
) -> Prompt:
    return point_from_voxel(geometry, SliceRef(K, index), x, y, positive, round)


def _set(geometry: VolumeGeometry, **objects: Sequence[Prompt]) -> PromptSet:
    prompted = (ObjectPrompts(name, (0.2, 0.5, 1.0), tuple(prompts)) for name, prompts in objects.items())
    return PromptSet(geometry, K, tuple(prompted))


def _slices(live: LiveSegmentation, name: str = "a") -> dict[int, np.ndarray]:
    [obj] = [obj for obj in live.result().objects if obj.name == name]
    return {index: np.packbits(stored.mask) for index, stored in obj.slices.items()}


def _run(live: LiveSegmentation, prompts: PromptSet) -> list[int]:
    return [event.index for event in live.update(prompts) if isinstance(event, SliceMask)]


def test_the_masks_are_neither_empty_nor_full(segmenter: VolumeSegmenter, geometry: VolumeGeometry) -> None:
    mask = segmenter.segment(_set(geometry, a=[_box(geometry, 8)])).masks["a"]
    filled = mask.reshape(SLICES, -1).mean(axis=1)
    assert ((filled > 0.02) & (filled < 0.98)).sum() >= SLICES // 2


def test_the_order_in_which_prompts_were_given_does_not_matter(
    segmenter: VolumeSegmenter, geometry: VolumeGeometry
) -> None:
    prompts = [
        _box(geometry, 4),
        _point(geometry, 12, 30, 30),
        _point(geometry, 12, 5, 5, False),
        _box(geometry, 20),
    ]
    one = segmenter.segment(_set(geometry, a=prompts)).masks["a"]
    step_by_step = segmenter.live()
    _run(step_by_step, _set(geometry, a=prompts[3:]))
    _run(step_by_step, _set(geometry, a=[prompts[3], *prompts[1:3]]))
    _run(step_by_step, _set(geometry, a=[prompts[3], *prompts[1:3], prompts[0]]))
    assert np.array_equal(step_by_step.result().masks["a"], one)


def test_a_correction_leaves_far_tracks_bit_identical_and_computes_only_those_beside_it(
    segmenter: VolumeSegmenter, geometry: VolumeGeometry
) -> None:
    keys = [_box(geometry, 3), _box(geometry, 20)]
    live = segmenter.live()
    _run(live, _set(geometry, a=keys))
    before = _slices(live)
    correction = _point(geometry, 9, 25, 30, False, round=1)
    computed = _run(live, _set(geometry, a=[*keys, correction]))
    planned = tracks_after_change([3, 20], [3, 9, 20], [9], 0, SLICES - 1)
    assert sorted(computed) == sorted([9, *(index for track in planned for index in track.slices)])
    after = _slices(live)
    untouched = set(range(SLICES)) - set(computed)
    assert untouched >= {0, 1, 2, 3, 20, 21, 22, 23}
    assert all(np.array_equal(before[index], after[index]) for index in untouched)


def test_saved_prompts_replay_to_the_same_mask_bit_for_bit(
    segmenter: VolumeSegmenter, geometry: VolumeGeometry, volume: np.ndarray, model: SAM2
) -> None:
    prompts: list[Prompt] = [_box(geometry, 6)]
    live = segmenter.live()
    _run(live, _set(geometry, a=prompts))
    for correction in (
        [_point(geometry, 14, 30, 40, True, round=1), _point(geometry, 14, 10, 10, False, round=1)],
        [_point(geometry, 10, 28, 30, False, round=2), _point(geometry, 6, 20, 22, True, round=2)],
        [_box(geometry, 21, 20, round=3)],
    ):
        prompts += correction
        for click in range(1, len(correction) + 1):  # the user looks at previews on the way
            so_far = prompts[: len(prompts) - len(correction) + click]
            live.preview(ObjectPrompts("a", (1, 0, 0), tuple(so_far)), correction[click - 1].slice.index)
        _run(live, _set(geometry, a=prompts))
    text = _set(geometry, a=prompts).to_json()
    fresh = VolumeSegmenter(
        volume,
        geometry,
        model,
        WINDOW,
        tier="exact",
        threads=1,
        crop_margin=_margin(segmenter),
        patience=0,
        volume_stage="off",
    )
    replayed = fresh.segment(PromptSet.from_json(text, geometry))
    assert np.array_equal(replayed.masks["a"], live.result().masks["a"])


def _margin(segmenter: VolumeSegmenter) -> float:
    return segmenter.options.crop.margin if segmenter.options.crop else 0.0


def test_a_canceled_correction_taken_up_again_ends_like_one_that_was_not(
    segmenter: VolumeSegmenter, geometry: VolumeGeometry
) -> None:
    first, second = [_box(geometry, 4)], _point(geometry, 12, 30, 30, True, round=1)
    third = _point(geometry, 16, 20, 30, False, round=2)
    smooth, interrupted = segmenter.live(), segmenter.live()
    for prompts in ([*first], [*first, second], [*first, second, third]):
        _run(smooth, _set(geometry, a=prompts))
    _run(interrupted, _set(geometry, a=first))
    counted: list[int] = []
    with pytest.raises(Canceled):
        list(
            interrupted.update(
                _set(geometry, a=[*first, second]),
                lambda done, total, index: counted.append(index),
                lambda: len(counted) >= 3,
            )
        )
    _run(interrupted, _set(geometry, a=[*first, second, third]))
    assert np.array_equal(smooth.result().masks["a"], interrupted.result().masks["a"])


def test_canceling_between_prompted_slices_computes_at_most_one_more_and_going_on_ends_the_same(
    segmenter: VolumeSegmenter, geometry: VolumeGeometry
) -> None:
    keys = [_box(geometry, index) for index in (4, 9, 14, 19)]
    prompts = _set(geometry, a=[*keys, _point(geometry, 12, 30, 30, True, round=1)])
    reported: list[int] = []
    expected = segmenter.segment(prompts, lambda done, total, index: reported.append(index)).masks["a"]
    assert reported[:7] == [4, 9, 14, 19, 13, 12, 12]  # the slice is tracked, then corrected
    for moment in range(8):
        live = segmenter.live()
        counted = _canceled_after(live, prompts, moment)
        assert len(counted) == moment
        rest: list[int] = []
        list(live.update(prompts, lambda done, total, index, rest=rest: rest.append(index)))  # type: ignore[misc]
        assert not set(counted[:4]) & set(rest)  # key slices stay
        assert np.array_equal(live.result().masks["a"], expected)


def _canceled_after(live: LiveSegmentation, prompts: PromptSet, moment: int) -> list[int]:
    """The slices that are computed although the user cancels after `moment` of them."""
    counted: list[int] = []
    with pytest.raises(Canceled):
        list(
            live.update(
                prompts, lambda done, total, index: counted.append(index), lambda: len(counted) >= moment
            )
        )
    return counted


def test_taking_a_correction_back_gives_what_was_there_before(
    segmenter: VolumeSegmenter, geometry: VolumeGeometry
) -> None:
    live = segmenter.live()
    _run(live, _set(geometry, a=[_box(geometry, 4)]))
    before = live.result().masks["a"]
    _run(live, _set(geometry, a=[_box(geometry, 4), _point(geometry, 15, 30, 30, True, round=1)]))
    assert not np.array_equal(live.result().masks["a"], before)
    _run(live, _set(geometry, a=[_box(geometry, 4)]))
    assert np.array_equal(live.result().masks["a"], before)


def test_an_accepted_mask_is_kept_voxel_by_voxel(
    segmenter: VolumeSegmenter, geometry: VolumeGeometry
) -> None:
    accepted = np.zeros((64, 64), bool)
    accepted[10:31, 17:40] = True
    prompts = [_box(geometry, 4), MaskPrompt(SliceRef(K, 12), accepted)]
    assert np.array_equal(segmenter.segment(_set(geometry, a=prompts)).masks["a"][12], accepted)


def test_the_preview_is_what_a_propagation_starts_from(
    segmenter: VolumeSegmenter, geometry: VolumeGeometry
) -> None:
    prompts = ObjectPrompts("a", (1, 0, 0), (_point(geometry, 8, 30, 30), _point(geometry, 8, 5, 6, False)))
    live = segmenter.live()
    shown = live.preview(prompts, 8)
    assert live.result().objects == ()
    key = next(iter(live.update(PromptSet(geometry, K, (prompts,)))))
    assert isinstance(key, SliceMask)
    assert np.array_equal(shown.logits, key.logits)


def test_a_preview_leaves_what_is_settled_as_it_was(
    segmenter: VolumeSegmenter, geometry: VolumeGeometry
) -> None:
    accepted = np.zeros(geometry.slice_shape(K), np.bool_)
    accepted[10:14, 12:18] = True
    mask = MaskPrompt(SliceRef(K, 12), accepted, 1)
    live = segmenter.live()
    _run(live, _set(geometry, a=[_box(geometry, 4)]))
    _run(live, _set(geometry, a=[_box(geometry, 4), mask]))
    before = live.result()
    correction = _point(geometry, 10, 20, 20, True, round=1)
    live.preview(ObjectPrompts("a", (1, 0, 0), (_box(geometry, 4), mask, correction)), 10)
    live.preview(ObjectPrompts("b", (0, 1, 0), (_box(geometry, 7),)), 7)
    after = live.result()
    assert list(after.masks) == ["a"]
    assert np.array_equal(after.masks["a"], before.masks["a"])
    assert after.objects[0].iou == before.objects[0].iou
    assert list(live.update(_set(geometry, a=[_box(geometry, 4), mask]))) == []


def test_objects_on_whole_slices_share_features_and_do_not_see_each_other(
    volume: np.ndarray, geometry: VolumeGeometry, model: SAM2
) -> None:
    segmenter = VolumeSegmenter(
        volume, geometry, model, WINDOW, tier="exact", threads=1, crop_margin=0, patience=0
    )
    both = segmenter.segment(_set(geometry, a=[_box(geometry, 4)], b=[_point(geometry, 15, 40, 30)]))
    assert segmenter.network(K).store.misses == SLICES
    for name, prompts in (("a", [_box(geometry, 4)]), ("b", [_point(geometry, 15, 40, 30)])):
        alone = segmenter.segment(_set(geometry, **{name: prompts}))
        assert np.array_equal(alone.masks[name], both.masks[name])


def test_a_cache_too_small_for_two_slices_changes_nothing_and_stays_small(
    volume: np.ndarray, geometry: VolumeGeometry, model: SAM2
) -> None:
    def segmented(cache_bytes: int) -> tuple[np.ndarray, VolumeSegmenter]:
        segmenter = VolumeSegmenter(
            volume, geometry, model, WINDOW, tier="exact", threads=1, crop_margin=0, cache_bytes=cache_bytes
        )
        objects = _set(geometry, a=[_box(geometry, 4)], b=[_box(geometry, 9, 30)])
        return np.stack(list(segmenter.segment(objects).masks.values())), segmenter

    plenty, _ = segmented(1 << 30)
    little, segmenter = segmented(1)
    store = segmenter.network(K).store
    assert np.array_equal(plenty, little)
    assert store.bytes_used == 0
    assert store.misses <= 3 * SLICES


def test_batches_give_the_same_masks_as_one_slice_after_the_other(
    volume: np.ndarray, geometry: VolumeGeometry, model: SAM2
) -> None:
    objects = _set(geometry, a=[_box(geometry, 8)], b=[_box(geometry, 8, 30), _box(geometry, 15, 25)])
    masks = []
    for batched in (False, True):
        segmenter = VolumeSegmenter(
            volume, geometry, model, WINDOW, tier="exact", threads=1, batched=batched, patience=0
        )
        masks.append(np.stack(list(segmenter.segment(objects).masks.values())))
    union = (masks[0] | masks[1]).sum()
    assert (masks[0] & masks[1]).sum() >= 0.999 * union


def test_the_official_scope_gives_one_mask_for_every_slice(
    volume: np.ndarray, geometry: VolumeGeometry, model: SAM2
) -> None:
    segmenter = VolumeSegmenter(volume, geometry, model, WINDOW, tier="exact", threads=1)
    prompts = [_box(geometry, 8), _point(geometry, 12, 20, 20, round=1)]
    result = segmenter.segment(_set(geometry, a=prompts), scope="video")
    assert sorted(result.objects[0].slices) == list(range(SLICES))
    assert result.objects[0].key_slices == (8, 12)


@pytest.mark.slow
def test_hundreds_of_slices_keep_a_bounded_state(model: SAM2) -> None:
    count = 400
    small = seeded(replace(SMALL, image_size=32))
    volume = np.random.default_rng(0).integers(0, 256, (count, 24, 24)).astype(np.uint8)
    geometry = VolumeGeometry.from_spacing(volume.shape, (1.0, 1.0, 1.0))
    segmenter = VolumeSegmenter(
        volume,
        geometry,
        small,
        WINDOW,
        tier="exact",
        threads=1,
        crop_margin=0,
        patience=0,
        cache_bytes=1 << 20,
        volume_stage="off",
    )
    box = box_from_voxels(geometry, SliceRef(K, 0), 4, 5, 18, 19)
    others = {*_storages()}  # of other tests: they come and go beside this one
    kept: dict[int, int] = {}
    for event in segmenter.live().update(_set(geometry, a=[box])):
        if isinstance(event, SliceMask) and event.index in (100, 380):
            del event
            kept[len(kept)] = _bytes_of_tensors(others)
    assert len(kept) == 2
    assert kept[1] <= kept[0] * 1.02


def _bytes_of_tensors(others: set[int]) -> int:
    return sum(size for place, size in _storages().items() if place not in others)


def _storages() -> dict[int, int]:
    """Bytes of the memory behind all tensors, by its address."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        # isinstance would wake deprecated things; tensors of an export have no memory
        if issubclass(type(thing), torch.Tensor) and not issubclass(
            type(thing), torch._subclasses.FakeTensor
        ):
            storages[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    return storages


def test_torchs_settings_are_those_of_the_caller_whenever_a_result_is_handed_out(
    segmenter: VolumeSegmenter, geometry: VolumeGeometry
) -> None:
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    for _ in segmenter.live().update(_set(geometry, a=[_box(geometry, 8)])):
        assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before
        assert not torch.is_inference_mode_enabled()


class TestTheResult:
    @pytest.fixture
    def segmenter(self, volume: np.ndarray, geometry: VolumeGeometry, model: SAM2) -> VolumeSegmenter:
        return VolumeSegmenter(
            volume, geometry, model, WINDOW, tier="exact", threads=1, crop_margin=0, patience=0
        )

    def test_holds_estimates_and_timings(self, segmenter: VolumeSegmenter, geometry: VolumeGeometry) -> None:
        result = segmenter.segment(_set(geometry, a=[_box(geometry, 8)]))
        [obj] = result.objects
        assert obj.color == (0.2, 0.5, 1.0)
        assert sorted(obj.iou) == sorted(obj.object_score) == list(range(SLICES))
        assert all(0 <= value <= 1 for value in obj.iou.values())
        assert result.timings["slices"] == SLICES
        assert result.timings["total"] > 0

    def test_objects_may_overlap_or_the_highest_logit_wins(
        self, segmenter: VolumeSegmenter, geometry: VolumeGeometry
    ) -> None:
        prompts = _set(geometry, a=[_box(geometry, 8)], b=[_box(geometry, 8, 20)])
        free = segmenter.segment(prompts)
        shared = free.masks["a"] & free.masks["b"]
        assert shared.any()
        resolved = segmenter.segment(prompts, overlap="highest").masks
        assert not (resolved["a"] & resolved["b"]).any()
        assert np.array_equal(resolved["a"] | resolved["b"], free.masks["a"] | free.masks["b"])
        a, b = (obj.strength for obj in free.objects)
        assert (a[shared & resolved["b"]] < b[shared & resolved["b"]]).all()

    def test_objects_that_are_no_longer_named_are_forgotten(
        self, segmenter: VolumeSegmenter, geometry: VolumeGeometry
    ) -> None:
        live = segmenter.live()
        _run(live, _set(geometry, a=[_box(geometry, 8)], b=[_box(geometry, 9)]))
        _run(live, _set(geometry, b=[_box(geometry, 9)]))
        assert list(live.result().masks) == ["b"]

    def test_what_does_not_fit_is_refused_with_the_reason(
        self, segmenter: VolumeSegmenter, geometry: VolumeGeometry, volume: np.ndarray, model: SAM2
    ) -> None:
        elsewhere = VolumeGeometry.from_spacing((SLICES, 64, 64), (0.9, 0.8, 2.0))
        with pytest.raises(PromptError, match="another volume"):
            segmenter.segment(_set(elsewhere, a=[_box(elsewhere, 3)]))
        with pytest.raises(PromptError, match="There are no prompts for 'a'"):
            segmenter.segment(_set(geometry, a=[]))
        with pytest.raises(MedSAMError, match="'sideways'"):
            segmenter.segment(_set(geometry, a=[_box(geometry, 3)]), scope="sideways")
        with pytest.raises(MedSAMError, match="'all'"):
            segmenter.segment(_set(geometry, a=[_box(geometry, 3)]), cleanup="all")
        with pytest.raises(VolumeError, match=r"\(23, 64, 64\)"):
            VolumeSegmenter(volume[1:], geometry, model)
        with pytest.raises(MedSAMError, match=r"0\.5"):
            VolumeSegmenter(volume, geometry, model, crop_margin=0.5)
