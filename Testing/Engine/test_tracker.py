"""Tracks: which slices are computed, in which order, from what, and when they end; the network sees brightness."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import Canceled, PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import (
    MaskPrompt,
    ObjectPrompts,
    Prompt,
    PromptSet,
    RecistLine,
    Scribble,
    SliceRef,
    box_from_voxels,
    line_from_voxels,
    point_from_voxel,
)
from MedSAMSlicerLib.engine.bank import MemoryBank, SliceMemory
from MedSAMSlicerLib.engine.crop import CropPolicy
from MedSAMSlicerLib.engine.slice_mask import SliceMask, TrackEnded
from MedSAMSlicerLib.engine.slice_prompts import RECIST_SHORT_AXIS, SCRIBBLE_POINTS, slice_prompts
from MedSAMSlicerLib.engine.view import OUTSIDE_LOGIT
from MedSAMSlicerLib.sam2 import TINY

from .bright import bright_segmentation

torch = pytest.importorskip("torch")
K = SliceAxis.K


def _volume(
    slices: int = 20, size: int = 64, first: int = 3, last: int = 16, drift: float = 0.0
) -> tuple[np.ndarray, VolumeGeometry]:
    """A bright square, 16 voxels wide, on slices first..last, that wanders along x."""
    volume = np.full((slices, size, size), 40, np.uint8)
    for index in range(first, last + 1):
        x = round(20 + drift * (index - first))
        volume[index, 30:46, x : x + 16] = 220
    return volume, VolumeGeometry.from_spacing(volume.shape, (0.9, 0.9, 2.0))


def _overlap(ours: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union."""
    return float((ours & truth).sum() / (ours | truth).sum())


def _box(geometry: VolumeGeometry, index: int, x: int = 20, round: int = 0) -> Prompt:
    return box_from_voxels(geometry, SliceRef(K, index), x, 30, x + 16, 46, round)


def _prompt_set(
    geometry: VolumeGeometry, *prompts: Prompt, name: str = "object", within: tuple[int, int] | None = None
):
    return PromptSet(geometry, prompts[0].slice.axis, (ObjectPrompts(name, (1, 0, 0), prompts, within),))


def test_a_track_ends_when_the_object_is_gone_and_says_so() -> None:
    volume, geometry = _volume()
    live, _ = bright_segmentation(volume, geometry, patience=2)
    events = list(live.update(_prompt_set(geometry, _box(geometry, 8))))
    ends = [event for event in events if isinstance(event, TrackEnded)]
    assert ends == [
        TrackEnded("object", 8, -1, last_seen=3, skipped=(0,)),
        TrackEnded("object", 8, 1, last_seen=16, skipped=(19,)),
    ]
    assert {e.index for e in events if isinstance(e, SliceMask)} == set(range(1, 19))
    result = live.result()
    assert result.ended == tuple(sorted(ends, key=lambda end: end.step))
    assert np.array_equal(result.masks["object"], volume > 128)


def test_a_track_never_ends_with_patience_zero_or_between_two_key_slices() -> None:
    volume, geometry = _volume(slices=24, first=2, last=22)
    volume[6:18] = 40  # out of sight for longer than the patience
    live, _ = bright_segmentation(volume, geometry, patience=0)
    assert all(
        isinstance(event, SliceMask) for event in live.update(_prompt_set(geometry, _box(geometry, 4)))
    )
    live, _ = bright_segmentation(volume, geometry, patience=3)
    events = list(live.update(_prompt_set(geometry, _box(geometry, 4), _box(geometry, 20))))
    assert [event for event in events if isinstance(event, TrackEnded)] == []
    assert np.array_equal(live.result().masks["object"], volume > 128)


def test_slices_are_computed_outward_from_the_key_slice_nearest_first_and_each_once() -> None:
    volume, geometry = _volume(first=0, last=19)
    live, _ = bright_segmentation(volume, geometry)
    order = [event.index for event in live.update(_prompt_set(geometry, _box(geometry, 8)))]
    near = [index for away in range(1, 9) for index in (8 + away, 8 - away)]
    assert order == [8, *near, 17, 18, 19]


def test_nothing_is_computed_outside_the_slice_range() -> None:
    volume, geometry = _volume()
    live, _ = bright_segmentation(volume, geometry)
    events = list(live.update(_prompt_set(geometry, _box(geometry, 8), within=(7, 11))))
    assert sorted(event.index for event in events) == [7, 8, 9, 10, 11]
    with pytest.raises(PromptError, match="slice 8, outside its slice range 10 to 12"):
        list(live.update(_prompt_set(geometry, _box(geometry, 8), within=(10, 12))))


def _shown_areas(within: tuple[int, int] | None, *keys: int) -> list[int]:
    """Pixels of the mask that the network is shown on each slice it tracks, with box prompts on slices `keys`."""
    volume, geometry = _volume(first=0, last=19)
    live, network = bright_segmentation(volume, geometry)
    list(live.update(_prompt_set(geometry, *(_box(geometry, key) for key in keys), within=within)))
    tracked = network.shown[len(keys) :]
    return [int((mask > 0).sum()) for mask in tracked if mask is not None]


def test_where_a_range_ends_the_network_is_shown_a_smaller_mask_slice_by_slice() -> None:
    # The brightest square stays as it is: the network follows the image, and is shown what the range lets expect.
    areas = _shown_areas((8, 13), 8)
    whole = _shown_areas(None, 8)[0]
    assert len(areas) == 5
    assert areas == sorted(areas, reverse=True)
    assert areas[-1] < areas[0] <= whole


@pytest.mark.parametrize(("within", "keys"), [(None, (8,)), ((0, 19), (8,)), ((4, 12), (4, 12))])
def test_nothing_is_expected_where_the_range_does_not_say_that_the_object_ends(
    within: tuple[int, int] | None, keys: tuple[int, ...]
) -> None:
    assert len(set(_shown_areas(within, *keys))) == 1


def test_two_objects_meet_on_each_slice_so_that_it_is_encoded_once() -> None:
    volume, geometry = _volume(first=0, last=19)
    objects = [ObjectPrompts(name, (1, 0, 0), (_box(geometry, key),)) for name, key in (("a", 4), ("b", 9))]
    live, _ = bright_segmentation(volume, geometry)
    order = [event.index for event in live.update(PromptSet(geometry, K, tuple(objects)))]
    upward = [[5], [6], [7], [8], [9], *([index] * 2 for index in range(10, 20))]
    downward = [[8], [7], [6], [5], [4], *([index] * 2 for index in range(3, -1, -1))]
    turns = [index for pair in zip(upward, downward, strict=False) for part in pair for index in part]
    assert order[2:] == turns + [index for part in upward[len(downward) :] for index in part]


def test_cancel_takes_effect_within_one_slice() -> None:
    volume, geometry = _volume(first=0, last=19)
    live, _ = bright_segmentation(volume, geometry)
    seen: list[int] = []
    reported: list[int] = []
    prompts = _prompt_set(geometry, _box(geometry, 8))
    events = live.update(
        prompts, lambda done, total, index: reported.append(index), lambda: len(reported) == 4
    )
    with pytest.raises(Canceled):
        seen.extend(event.index for event in events)
    assert seen == [8, 9, 7, 10]
    assert reported == seen


def test_progress_counts_every_slice_and_skips_what_is_not_computed() -> None:
    volume, geometry = _volume()
    live, _ = bright_segmentation(volume, geometry, patience=2)
    reported: list[tuple[int, int, int]] = []
    list(live.update(_prompt_set(geometry, _box(geometry, 8)), lambda *progress: reported.append(progress)))
    assert reported[0] == (1, 20, 8)
    assert reported[-1][:2] == (20, 20)
    assert [done for done, _, _ in reported] == sorted(done for done, _, _ in reported)


def test_an_error_in_the_callers_progress_is_not_swallowed() -> None:
    volume, geometry = _volume()
    live, _ = bright_segmentation(volume, geometry)
    with pytest.raises(ZeroDivisionError):
        list(live.update(_prompt_set(geometry, _box(geometry, 8)), lambda done, total, index: 1 // 0))


def test_an_iterator_closed_early_keeps_what_it_gave_and_can_be_taken_up_again() -> None:
    volume, geometry = _volume(first=0, last=19)
    live, _ = bright_segmentation(volume, geometry)
    prompts = _prompt_set(geometry, _box(geometry, 8))
    events = live.update(prompts)
    given = [next(events).index for _ in range(4)]
    events.close()  # type: ignore[attr-defined]
    assert given == [8, 9, 7, 10]
    assert set(live.result().objects[0].slices) == set(given)
    list(live.update(prompts))
    assert np.array_equal(live.result().masks["object"], volume > 128)


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_every_slice_axis_puts_the_mask_where_the_object_is(axis: SliceAxis) -> None:
    volume = np.full((24, 30, 36), 40, np.uint8)
    volume[6:18, 8:20, 10:28] = 220
    geometry = VolumeGeometry.from_spacing(volume.shape, (1.1, 1.1, 1.1))
    live, _ = bright_segmentation(volume, geometry, axis)
    rows, columns = (
        (slice(6, 18), slice(8, 20), slice(10, 28))[axis.row_axis],
        (
            slice(6, 18),
            slice(8, 20),
            slice(10, 28),
        )[axis.column_axis],
    )
    box = box_from_voxels(geometry, SliceRef(axis, 12), columns.start, rows.start, columns.stop, rows.stop)
    list(live.update(_prompt_set(geometry, box)))
    found = live.result().masks["object"]
    assert _overlap(found, volume > 128) >= 0.85
    assert np.array_equal(found.any(axis=(1, 2)), (volume > 128).any(axis=(1, 2)))


def test_a_volume_of_one_slice_works() -> None:
    volume, geometry = _volume(slices=1, first=0, last=0)
    live, _ = bright_segmentation(volume, geometry, crop=CropPolicy(2.0))
    [event] = live.update(_prompt_set(geometry, _box(geometry, 0)))
    assert isinstance(event, SliceMask)
    assert event.is_key
    assert _overlap(live.result().masks["object"], volume > 128) >= 0.85


class TestTheSquareFollows:
    def test_an_object_that_wanders_out_of_its_first_square(self) -> None:
        volume, geometry = _volume(slices=24, size=120, first=0, last=23, drift=3.0)
        box = _box(geometry, 0)
        live, network = bright_segmentation(volume, geometry, crop=CropPolicy(2.0))
        list(live.update(_prompt_set(geometry, box)))
        assert _overlap(live.result().masks["object"], volume > 128) >= 0.85
        sides = {view.side_mm for _, view in network.looked}
        assert max(sides) < 0.5 * 120 * 0.9  # it never had to look at the whole slice

    def test_and_it_looks_at_the_last_slices_again_when_it_moves_but_no_more_often_than_needed(self) -> None:
        volume, geometry = _volume(slices=24, size=120, first=0, last=23, drift=3.0)
        live, network = bright_segmentation(volume, geometry, crop=CropPolicy(2.0))
        list(live.update(_prompt_set(geometry, _box(geometry, 0))))
        views = {view for _, view in network.looked}
        assert 3 <= len(views) <= 14
        still, geometry = _volume(slices=24, size=120, first=0, last=23)
        live, network = bright_segmentation(still, geometry, crop=CropPolicy(2.0))
        list(live.update(_prompt_set(geometry, _box(geometry, 0))))
        assert len({view for _, view in network.looked}) == 1

    def test_from_one_click_the_square_finds_the_size_of_the_object(self) -> None:
        volume, geometry = _volume(size=120)
        live, _ = bright_segmentation(volume, geometry, crop=CropPolicy(2.0))
        click = point_from_voxel(geometry, SliceRef(K, 8), 25, 35)
        key = next(iter(live.update(_prompt_set(geometry, click))))
        assert isinstance(key, SliceMask)
        assert _overlap(key.mask, volume[8] > 128) >= 0.85
        assert key.view.side_mm == pytest.approx(2.0 * 16 * 0.9, rel=0.5)
        assert key.logits[0, -1] == OUTSIDE_LOGIT


class TestMemoryOfTheOfficialPredictor:
    """Numbers worked out by hand from the rules in the paper and the published code."""

    @staticmethod
    def _bank(slice_count: int, conditioning: list[int], history: list[int]) -> MemoryBank:
        def memory() -> SliceMemory:
            return SliceMemory(torch.zeros(1, 4), object())  # type: ignore[arg-type]

        return MemoryBank(
            TINY.num_memories,
            TINY.max_object_pointers,
            slice_count,
            {n: memory() for n in conditioning},
            {n: memory() for n in history},
        )

    def test_conditioning_slices_share_the_last_index_and_the_nearest_history_has_index_zero(self) -> None:
        recollection = self._bank(40, [5, 30], list(range(6, 20))).recall(20, 1)
        assert [index for _, index in recollection.memories] == [6, 6, 5, 4, 3, 2, 1, 0]

    def test_pointers_of_conditioning_slices_count_only_if_they_lie_behind(self) -> None:
        recollection = self._bank(40, [5, 30], list(range(6, 20))).recall(20, 1)
        assert [distance for _, distance in recollection.pointers] == [15.0, *map(float, range(1, 15))]
        backward = self._bank(40, [5, 30], [21, 22]).recall(20, -1)
        assert [distance for _, distance in backward.pointers] == [10.0, 1.0, 2.0]

    def test_a_short_volume_has_a_short_reach(self) -> None:
        bank = self._bank(4, [0], [1, 2])
        assert bank.pointer_span == 4
        assert [distance for _, distance in bank.recall(3, 1).pointers] == [3.0, 1.0, 2.0]

    def test_what_is_out_of_reach_is_dropped(self) -> None:
        bank = self._bank(1000, [0], list(range(1, 900)))
        bank.forget(lambda at, reach: abs(900 - at) <= reach)
        assert sorted(bank.history) == list(range(885, 900))
        assert [at for at, memory in sorted(bank.history.items()) if memory.keys is not None] == list(
            range(894, 900)
        )


class TestPromptsOfASlice:
    _, geometry = _volume()
    ref = SliceRef(K, 5)

    def test_a_scribble_becomes_points_at_equal_distances_along_it(self) -> None:
        ras = self.geometry.slice_to_ras([(10, 10), (10, 34), (34, 34)], 5, K)
        prompts = slice_prompts([Scribble(self.ref, tuple(map(tuple, ras.tolist())))], self.geometry)
        assert len(prompts.points) == SCRIBBLE_POINTS
        assert [(round(x, 6), round(y, 6)) for x, y, _ in prompts.points] == [
            (10, 14), (10, 22), (10, 30), (14, 34), (22, 34), (30, 34)
        ]  # fmt: skip
        dot = slice_prompts([Scribble(self.ref, (tuple(ras[0].tolist()),))], self.geometry)
        assert [(round(x, 6), round(y, 6)) for x, y, _ in dot.points] == [(10, 10)]

    def test_a_recist_line_becomes_the_box_of_an_ellipse_and_three_points(self) -> None:
        line = line_from_voxels(self.geometry, self.ref, 20, 40, 40, 40)
        assert isinstance(line, RecistLine)
        prompts = slice_prompts([line], self.geometry)
        assert prompts.box == pytest.approx(
            (20, 40 - RECIST_SHORT_AXIS * 10, 40, 40 + RECIST_SHORT_AXIS * 10)
        )
        assert [(round(x, 6), round(y, 6)) for x, y, _ in prompts.points] == [(25, 40), (30, 40), (35, 40)]

    def test_a_box_of_a_later_round_replaces_the_earlier_one_and_starts_again(self) -> None:
        first, second = _box(self.geometry, 5), _box(self.geometry, 5, x=30, round=1)
        prompts = slice_prompts([first, second], self.geometry)
        assert prompts.box == pytest.approx((29.5, 29.5, 45.5, 45.5))
        assert prompts.replaces
        click = point_from_voxel(self.geometry, self.ref, 3, 4, False, round=2)
        assert not slice_prompts([first, second, click], self.geometry).replaces

    def test_two_boxes_at_once_on_one_slice_are_refused_with_a_way_out(self) -> None:
        with pytest.raises(
            PromptError, match=r"Slice 5 has two boxes, lines or lassos for 'tumor'.*two objects"
        ):
            slice_prompts([_box(self.geometry, 5), _box(self.geometry, 5, x=40)], self.geometry, "tumor")

    def test_only_a_click_outside_is_refused_until_there_is_something_to_correct(self) -> None:
        outside = point_from_voxel(self.geometry, self.ref, 3, 4, False)
        with pytest.raises(PromptError, match="no prompt marks the inside of 'tumor'"):
            slice_prompts([outside], self.geometry, "tumor")
        later = point_from_voxel(self.geometry, self.ref, 3, 4, False, round=1)
        [(x, y, positive)] = slice_prompts([later], self.geometry, "tumor").points
        assert (round(x, 6), round(y, 6), positive) == (3.0, 4.0, False)

    def test_a_mask_is_taken_voxel_by_voxel(self) -> None:
        volume, geometry = _volume()
        mask = np.random.default_rng(0).random((64, 64)) > 0.5
        live, _ = bright_segmentation(volume, geometry, crop=CropPolicy(2.0))
        key = next(iter(live.update(_prompt_set(geometry, MaskPrompt(SliceRef(K, 8), mask)))))
        assert isinstance(key, SliceMask)
        assert np.array_equal(key.mask, mask)
        assert np.array_equal(live.result().masks["object"][8], mask)


def test_a_click_on_a_slice_where_the_object_was_lost_brings_it_back() -> None:
    volume, geometry = _volume(slices=24, first=0, last=23)
    volume[9:14] = 40
    live, _ = bright_segmentation(volume, geometry, patience=2)
    list(live.update(_prompt_set(geometry, _box(geometry, 4))))
    assert not live.result().masks["object"][14:].any()
    click = point_from_voxel(geometry, SliceRef(K, 18), 25, 35, round=1)
    list(live.update(_prompt_set(geometry, _box(geometry, 4), click)))
    assert np.array_equal(live.result().masks["object"], volume > 128)
