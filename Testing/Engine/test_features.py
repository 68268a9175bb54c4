"""The store of slice features: computed once, within its limit, shared by threads, filled in the background."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch

from MedSAMSlicerLib.core.tiers import Tier
from MedSAMSlicerLib.engine.features import FeatureStore, SliceFeatures
from MedSAMSlicerLib.engine.memory_attention import FastMemoryAttention
from MedSAMSlicerLib.engine.precision import choose
from MedSAMSlicerLib.engine.view import FrameView
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.config import NANO
from MedSAMSlicerLib.sam2.model import SAM2

VIEW = FrameView((32, 32), (1.0, 1.0), 0.0, 0.0, 32.0, 64)
CROP = FrameView((32, 32), (1.0, 1.0), 4.0, 4.0, 16.0, 64)
COUNT = 12
VOLUME = np.random.default_rng(0).integers(0, 255, (COUNT, 32, 32), dtype=np.uint8)


@lru_cache(maxsize=1)
def network() -> SAM2:
    return seeded(NANO)


class Slices:
    """Hands out slices, counts how often each was asked for, and can hold the computing thread up."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.held: Callable[[int], object] = lambda index: None

    def __call__(self, index: int) -> np.ndarray:
        self.asked.append(index)
        self.held(index)
        return VOLUME[index]


def make_store(limit_bytes: int = 1 << 30, tier: Tier = Tier.EXACT) -> tuple[FeatureStore, Slices]:
    model = network()
    precision = choose("cpu", tier, model)
    slices = Slices()
    attention = FastMemoryAttention(model, precision)
    return FeatureStore(model, precision, attention, slices, limit_bytes, threads=1), slices


def one_slice_bytes() -> int:
    return make_store()[0].get(0, VIEW).num_bytes


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.002)


def same(a: SliceFeatures, b: SliceFeatures) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def same_to_rounding(a: SliceFeatures, b: SliceFeatures) -> bool:
    """For what was computed with different numbers of threads, where torch may sum in another order."""
    return all(torch.allclose(x, y, rtol=1e-4, atol=1e-4) for x, y in zip(a, b, strict=True))


# -------------------------------------------------------------------------------------------------------- content


def test_features_are_those_of_the_network():
    store, _ = make_store()
    model = network()
    features = store.get(3, VIEW)
    with torch.inference_mode():
        plain = model.encode_image(model.normalize(torch.from_numpy(VIEW.frame(VOLUME[3]))[None]))
        for part, truth in zip(features[:3], plain, strict=True):
            assert (part - truth).abs().max() <= 1e-5 * truth.abs().max()
        assert torch.equal(features.attended, store.attention.prepare(features.top))


def test_slices_and_views_are_kept_apart():
    store, slices = make_store()
    assert not same(store.get(0, VIEW), store.get(1, VIEW))
    assert not same(store.get(0, VIEW), store.get(0, CROP))
    assert slices.asked == [0, 1, 0]


def test_balanced_tier_keeps_half_the_bytes_and_gives_the_same_bits_kept_or_not():
    exact, _ = make_store(tier=Tier.EXACT)
    kept, _ = make_store(tier=Tier.BALANCED)
    unkept, _ = make_store(0, tier=Tier.BALANCED)
    exact.get(0, VIEW)
    first = kept.get(0, VIEW)
    assert all(part.dtype == torch.float32 for part in first)
    assert same(first, kept.get(0, VIEW))
    assert same(first, unkept.get(0, VIEW))
    if kept.precision.storage == torch.bfloat16:
        assert 2 * kept.bytes_used == exact.bytes_used


# ---------------------------------------------------------------------------------------------------------- limit


def test_each_slice_is_computed_once():
    store, slices = make_store()
    for index in (2, 5, 2, 5, 2):
        store.get(index, VIEW)
    assert Counter(slices.asked) == {2: 1, 5: 1}
    assert (store.hits, store.misses) == (3, 2)
    assert store.contains(2, VIEW)
    assert not store.contains(2, CROP)


def test_the_least_recently_used_slice_goes_first():
    size = one_slice_bytes()
    store, slices = make_store(3 * size)
    for index in (0, 1, 2, 0, 3):  # 1 is the oldest when 3 comes
        store.get(index, VIEW)
    assert [store.contains(index, VIEW) for index in range(4)] == [True, False, True, True]
    assert store.bytes_used == 3 * size
    assert slices.asked == [0, 1, 2, 3]


@pytest.mark.parametrize("slices_that_fit", [0.0, 0.5, 1.0, 2.9])
def test_the_limit_is_never_exceeded_and_a_small_one_still_works(slices_that_fit):
    size = one_slice_bytes()
    store, _ = make_store(int(slices_that_fit * size))
    reference, _ = make_store()
    for index in range(5):
        assert same(store.get(index, VIEW), reference.get(index, VIEW))
        assert store.bytes_used <= store.limit_bytes
    assert store.bytes_used == int(slices_that_fit) * size


def test_clear_forgets_everything():
    store, slices = make_store()
    store.get(0, VIEW)
    store.clear()
    assert store.bytes_used == 0
    store.get(0, VIEW)
    assert slices.asked == [0, 0]


def test_many_slices_come_in_the_order_asked_for_and_repeated_ones_are_computed_once():
    store, slices = make_store()
    asked = [4, 1, 4, 2]
    for index, features in zip(asked, store.get_many(asked, VIEW), strict=True):
        assert same(features, store.get(index, VIEW))
    assert sorted(slices.asked) == [1, 2, 4]
    assert store.get_many([], VIEW) == []


# -------------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("limit_bytes", [1 << 30, 0])
def test_two_threads_that_want_the_same_slice_compute_it_once(limit_bytes):
    store, slices = make_store(limit_bytes)
    started, go = threading.Event(), threading.Event()

    def hold(index: int) -> None:
        started.set()
        go.wait(60)

    slices.held = hold
    found: list[SliceFeatures] = []
    threads = [threading.Thread(target=lambda: found.append(store.get(7, VIEW))) for _ in range(4)]
    threads[0].start()
    assert started.wait(60)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(store._awaited) == 3)
    go.set()
    for thread in threads:
        thread.join()
    assert slices.asked == [7]
    assert len(found) == 4
    assert all(same(found[0], other) for other in found)


def test_many_threads_get_right_features_from_a_store_that_is_too_small():
    store, _ = make_store(2 * one_slice_bytes())
    reference, _ = make_store()
    expected = reference.get_many(range(COUNT), VIEW)
    assert not any(same_to_rounding(expected[index], expected[index - 1]) for index in range(COUNT))
    wrong: list[int] = []

    def work(seed: int) -> None:
        indices = np.random.default_rng(seed).integers(0, COUNT, 8).tolist()
        wrong.extend(i for i in indices if not same_to_rounding(store.get(i, VIEW), expected[i]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    store.fill(5, VIEW, range(COUNT))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.stop()
    assert wrong == []
    assert store.bytes_used <= store.limit_bytes
    assert not store._computing
    assert not store._awaited


def test_a_slice_that_cannot_be_read_is_an_error_for_everyone_who_waits_and_can_be_asked_for_again():
    store, slices = make_store()

    def fail(index: int) -> None:
        raise OSError("the disk is gone")

    slices.held = fail
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            store.get(0, VIEW)
    slices.held = lambda index: None
    store.get(0, VIEW)
    assert store.bytes_used > 0


# ----------------------------------------------------------------------------------------------------- background


def test_the_background_works_from_the_visible_slice_outward():
    store, slices = make_store()
    store.fill(5, VIEW, range(COUNT))
    wait_until(lambda: not store.filling)
    assert slices.asked[0] == 5
    distances = [abs(index - 5) for index in slices.asked]
    assert distances == sorted(distances)
    assert sorted(slices.asked) == list(range(COUNT))
    assert store.misses == 0


def test_the_background_stops_at_the_limit_and_moves_with_the_visible_slice():
    size = one_slice_bytes()
    store, _ = make_store(3 * size)
    store.fill(2, VIEW, range(COUNT))
    wait_until(lambda: not store.filling)
    assert [index for index in range(COUNT) if store.contains(index, VIEW)] == [1, 2, 3]
    store.fill(9, VIEW, range(COUNT))
    wait_until(lambda: not store.filling)
    assert [index for index in range(COUNT) if store.contains(index, VIEW)] == [8, 9, 10]
    assert store.bytes_used <= store.limit_bytes


def test_the_background_takes_up_a_new_visible_slice_at_once():
    store, slices = make_store()
    moved = threading.Event()

    def hold(index: int) -> None:
        if len(slices.asked) == 1:
            moved.wait(60)

    slices.held = hold
    store.fill(0, VIEW, range(COUNT))
    wait_until(lambda: slices.asked == [0])
    store.fill(10, VIEW, range(COUNT))
    moved.set()
    wait_until(lambda: not store.filling)
    assert slices.asked[:3] in ([0, 10, 9], [0, 10, 11])


def test_the_background_pauses_while_the_user_waits():
    store, slices = make_store()
    with store.foreground():
        store.fill(3, VIEW, range(COUNT))
        time.sleep(0.1)
        assert slices.asked == []
        store.get(8, VIEW)
        assert slices.asked == [8]
    wait_until(lambda: not store.filling)
    assert len(slices.asked) == COUNT


def test_a_slice_the_background_has_begun_is_finished_for_the_user_who_wants_it():
    store, slices = make_store()
    begun, go = threading.Event(), threading.Event()

    def hold(index: int) -> None:
        begun.set()
        go.wait(60)

    slices.held = hold
    store.fill(4, VIEW, [4])
    assert begun.wait(60)
    found: list[SliceFeatures] = []
    user = threading.Thread(target=lambda: found.append(store.get(4, VIEW)))
    user.start()
    wait_until(lambda: bool(store._awaited))
    go.set()
    user.join(60)
    assert len(found) == 1
    assert slices.asked == [4]


def test_stopping_gives_up_the_slice_in_progress_and_a_waiting_user_gets_it_nevertheless():
    store, slices = make_store()
    begun, go = threading.Event(), threading.Event()

    def hold(index: int) -> None:
        if len(slices.asked) == 1:
            begun.set()
            go.wait(60)

    slices.held = hold
    store.fill(4, VIEW, range(COUNT))
    assert begun.wait(60)
    found: list[SliceFeatures] = []
    user = threading.Thread(target=lambda: found.append(store.get(4, VIEW)))
    user.start()
    wait_until(lambda: bool(store._awaited))
    stopper = threading.Thread(target=store.stop)
    stopper.start()
    wait_until(lambda: store._background._goal is None)
    go.set()
    stopper.join(60)
    user.join(60)
    assert not store.filling
    assert len(found) == 1
    assert slices.asked == [4, 4]


def test_the_background_can_be_started_again_after_it_ended_or_was_stopped():
    store, slices = make_store()
    for wanted in ([0], [0, 1], [0, 1, 2]):
        store.fill(0, VIEW, wanted)
        wait_until(lambda: not store.filling)
    assert slices.asked == [0, 1, 2]
    store.stop()
    store.fill(0, VIEW, range(4))
    wait_until(lambda: not store.filling)
    assert slices.asked == [0, 1, 2, 3]


def test_an_error_in_the_background_is_logged_and_reported_to_whoever_asks(caplog):
    store, slices = make_store()

    def fail(index: int) -> None:
        raise OSError("the disk is gone")

    slices.held = fail
    with caplog.at_level(logging.WARNING):
        store.fill(6, VIEW, range(COUNT))
        wait_until(lambda: not store.filling)
    assert "slice 6" in caplog.text
    with pytest.raises(OSError, match="the disk is gone"):
        store.get(6, VIEW)


def test_settings_of_torch_are_restored_after_background_work():
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    store, _ = make_store()
    store.fill(0, VIEW, range(3))
    wait_until(lambda: not store.filling)
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before
