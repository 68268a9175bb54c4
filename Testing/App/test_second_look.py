"""A preview never waits for the second network: that looks at the slice afterwards, and clicks go between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from Testing.Engine.sam1_oracles import SMALL_VIT, seeded_sam1
from Testing.small_networks import SMALL

from MedSAMSlicerLib.app.engine_state import Engine
from MedSAMSlicerLib.app.jobs import FillJob, ObjectToRun, PreviewJob, SecondLookJob, SliceFound
from MedSAMSlicerLib.app.worker import Worker
from MedSAMSlicerLib.core.errors import Canceled, MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.prompts import ObjectPrompts, SliceRef, box_from_voxels, point_from_voxel
from MedSAMSlicerLib.engine import second_reader, segmenter
from MedSAMSlicerLib.engine.second_reader import SecondReader
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.sam2.checkpoint import seeded

SHAPE = (6, 60, 80)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (1.0, 1.0, 3.0))
INDEX = 3
K = SliceAxis.K
DISK = np.hypot(*(np.ogrid[: SHAPE[1], : SHAPE[2]][n] - (29.5, 39.5)[n] for n in (0, 1))) < 20


class Loaded:
    """Counts how often the second network was asked for."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, device: torch.device) -> object:
        self.times += 1
        return seeded_sam1(SMALL_VIT)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """The second network is a small one, which draws a disk in whatever box, and always better."""
    found = Loaded()
    monkeypatch.setattr(segmenter, "bundled_reader", found)
    sure = np.where(DISK, np.float32(8), np.float32(-8))

    def drawn_better(reader: SecondReader, index: int, *_: object) -> np.ndarray:
        reader.store.get(index, reader._whole)  # which takes the time of reading
        return sure

    monkeypatch.setattr(second_reader.SecondReader, "drawn_better", drawn_better)
    return found


@pytest.fixture
def engine() -> Engine:
    engine = Engine()
    volume = np.random.default_rng(1).integers(0, 256, SHAPE).astype(np.uint8)
    engine.segmenter = VolumeSegmenter(volume, GEOMETRY, seeded(SMALL), Window(0, 255), threads=1)
    return engine


@pytest.fixture
def worker(engine: Engine) -> Iterator[Worker]:
    worker = Worker(lambda: engine)
    yield worker
    assert worker.close()


def boxed(clicked: bool = False) -> ObjectToRun:
    place = SliceRef(K, INDEX)
    prompts = ObjectPrompts("disk", (1.0, 0.0, 0.0), (box_from_voxels(GEOMETRY, place, 20, 10, 60, 50),))
    if clicked:
        point = point_from_voxel(GEOMETRY, place, 39, 29, True)
        prompts = replace(prompts, prompts=(*prompts.prompts, point))
    return ObjectToRun(1, K, prompts)


def masks(found: list[object]) -> list[np.ndarray]:
    return [each.mask for each in found if isinstance(each, SliceFound)]


def never() -> bool:
    return False


def until(worker: Worker, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        worker.dispatch(wait=0.01)


def test_the_first_mask_comes_without_the_second_network(engine: Engine, loaded: Loaded) -> None:
    [first] = masks([*PreviewJob(boxed(), INDEX).run(engine, never)])
    assert loaded.times == 0
    assert not np.array_equal(first, DISK)
    [second] = masks([*SecondLookJob(boxed(), INDEX).run(engine, never)])
    assert loaded.times == 1
    np.testing.assert_array_equal(second, DISK)
    assert [*SecondLookJob(boxed(), INDEX).run(engine, never)] == [], "it has looked"


def test_where_there_is_a_click_there_is_no_second_look(engine: Engine, loaded: Loaded) -> None:
    list(PreviewJob(boxed(clicked=True), INDEX).run(engine, never))
    assert [*SecondLookJob(boxed(clicked=True), INDEX).run(engine, never)] == []
    assert loaded.times == 0


def test_a_slice_that_is_shown_is_encoded_for_both_networks(engine: Engine, loaded: Loaded) -> None:
    list(FillJob(K, INDEX, 1).run(engine, never))
    reader = engine.ready().second_reader(K)
    assert reader is not None
    end = time.monotonic() + 60
    while engine.filling:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert reader.is_prepared(INDEX)
    assert not reader.is_prepared(INDEX + 1)
    looked = [*SecondLookJob(boxed(), INDEX).run(engine, never)]
    assert looked == [], "nothing was previewed"
    list(PreviewJob(boxed(), INDEX).run(engine, never))
    assert len([*SecondLookJob(boxed(), INDEX).run(engine, never)]) == 1, "without waiting"


def test_a_click_is_answered_while_the_second_network_looks(
    engine: Engine, worker: Worker, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second network never gets ready here, and the click is answered all the same."""
    monkeypatch.setattr(type(engine.ready()), "second_reader", lambda *_: BusyReader())
    order: list[str] = []
    ended: list[MedSAMError | None] = []
    worker.submit(PreviewJob(boxed(), INDEX), lambda _: order.append("box"), lambda _: None)
    until(worker, lambda: order == ["box"])
    look = worker.submit(
        SecondLookJob(boxed(), INDEX), lambda found: order.append("look") if found else None, ended.append
    )
    clicked = PreviewJob(boxed(clicked=True), INDEX)
    worker.submit(clicked, lambda _: order.append("click"), lambda _: None)
    until(worker, lambda: "click" in order)
    assert order == ["box", "click"]
    worker.cancel(look)
    until(worker, lambda: bool(ended))
    assert isinstance(ended[0], Canceled)


class BusyReader:
    """A second network that goes on encoding for ever."""

    @property
    def store(self) -> BusyReader:
        return self

    filling = True

    def prepare(self, index: int) -> None:
        pass

    def is_prepared(self, index: int) -> bool:
        return False


def test_the_latest_prompts_replace_a_second_look_that_waits() -> None:
    look = SecondLookJob(boxed(), INDEX)
    assert PreviewJob(boxed(clicked=True), INDEX).replaces(look)
    assert not PreviewJob(boxed(), INDEX + 1).replaces(look)
    assert not FillJob(K, INDEX).replaces(look)
