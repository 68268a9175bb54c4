"""The second network that reads slices again: in which boxes, on which slices, and when it is not asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import Canceled
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.core.prompts import (
    MaskPrompt,
    ObjectPrompts,
    PromptSet,
    SliceRef,
    box_from_voxels,
    point_from_voxel,
)
from MedSAMSlicerLib.core.tiers import SECOND_NETWORK
from MedSAMSlicerLib.engine import second_reader
from MedSAMSlicerLib.engine.features import FeatureStore
from MedSAMSlicerLib.engine.precision import choose
from MedSAMSlicerLib.engine.second_reader import (
    MOST_SLICES,
    SecondReader,
    bundled_reader,
    drawn_throughout,
    likeness,
)
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.slicewise import SliceWiseNetwork
from MedSAMSlicerLib.engine.view import FrameView
from MedSAMSlicerLib.engine.volume.evidence import VolumeEvidence
from MedSAMSlicerLib.phantom.ct import ct_phantom
from MedSAMSlicerLib.sam2.checkpoint import seeded

from .sam1_oracles import SMALL_VIT, seeded_sam1

SHAPE = (30, 60, 80)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (1.0, 1.5, 3.0))
CORNER, SIZE = (2, 10, 20), (26, 40, 44)
KEY = 13


@pytest.fixture
def reader() -> SecondReader:
    """A small network of the kind over noise; its masks mean nothing."""
    volume = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    model = seeded_sam1(SMALL_VIT)
    store = FeatureStore(model, choose("cpu", "exact", model), None, lambda index: volume[index])
    whole = FrameView.whole(GEOMETRY, SliceAxis.K, SMALL_VIT.image_size)
    return SecondReader(SliceWiseNetwork(model, store, SHAPE[0]), whole)


@pytest.fixture
def masks() -> np.ndarray:
    """A ball that has moved sideways on every slice."""
    z, y, x = np.ogrid[: SIZE[0], : SIZE[1], : SIZE[2]]
    return ((z - 13) / 12) ** 2 + ((y - 18) / 9) ** 2 + ((x - 16 - z / 3) / 11) ** 2 < 1


@pytest.fixture
def evidence(masks: np.ndarray) -> VolumeEvidence:
    keys = np.arange(SIZE[0]) == KEY
    logits = np.where(masks, 8, -8).astype(np.float32)
    gray, iou = np.zeros(SIZE, np.uint8), np.ones(SIZE[0], np.float32)
    spacing = (3.0, 1.5, 1.0)
    return VolumeEvidence(CORNER, spacing, gray, logits, keys, keys, iou, 1, SIZE[0] - 2, True)


@pytest.fixture
def agreeing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_reader, "WORTH_READING", 0.0)


def part(reader: SecondReader, index: int, box: tuple[float, float, float, float]) -> np.ndarray:
    """What the network draws in a box, on the evidence's part of a slice."""
    drawn = reader._whole.mask_from_logits(reader.read(index, box))
    _, top, left = CORNER
    return drawn[top : top + SIZE[1], left : left + SIZE[2]].clip(-16, 16)


@pytest.mark.usefixtures("agreeing")
def test_slices_are_read_in_boxes_that_hold_their_masks_and_interpolated_between(
    reader: SecondReader, evidence: VolumeEvidence, masks: np.ndarray
) -> None:
    boxes: list[tuple[int, tuple[float, float, float, float]]] = []
    read = reader.read
    reader.read = lambda index, box: boxes.append((index, box)) or read(index, box)  # type: ignore[method-assign]
    reading = reader.with_reading(evidence, masks).reading
    reader.read = read  # type: ignore[method-assign]
    assert reading is not None
    places = [index - CORNER[0] for index, _ in boxes]
    assert places[0] == KEY
    assert {index % 2 for index, _ in boxes[1:]} == {0}  # every other slice, whatever the object's first one
    assert MOST_SLICES / 2 <= len(places) <= MOST_SLICES + 1
    for index, (x0, y0, x1, y1) in boxes:
        rows, columns = np.nonzero(masks[index - CORNER[0]])
        inner = (columns.min() + 19.5, rows.min() + 9.5, columns.max() + 20.5, rows.max() + 10.5)
        assert (np.array([x0, y0]) <= inner[:2]).all()
        assert (np.array([x1, y1]) >= inner[2:]).all()
        assert max(inner[0] - x0, x1 - inner[2]) <= 3 / 256 * 90 + 1  # mm, and half a pixel of the frame
        assert np.allclose(
            reading.logits[index - CORNER[0]], part(reader, index, (x0, y0, x1, y1)), atol=0.02
        )
    low, middle, high = sorted(places)[3], sorted(places)[3] + 1, sorted(places)[4]
    assert middle < high
    weight = 1 / (high - low)
    between = (1 - weight) * reading.logits[low] + weight * reading.logits[high]
    assert np.allclose(reading.logits[middle], between, atol=1e-5)
    assert np.flatnonzero(reading.known).tolist() == [*range(min(places), max(places) + 1)]
    alike = dice(reading.logits[low][None] > 0, masks[low][None])
    assert reading.agreement[low] == pytest.approx(alike, abs=1e-6)


@pytest.mark.usefixtures("agreeing")
def test_the_users_own_box_is_taken_where_there_is_one(
    reader: SecondReader, evidence: VolumeEvidence, masks: np.ndarray
) -> None:
    given = replace(evidence, boxes=((KEY, 2.5, 5.5, 30.5, 33.5),))
    found = reader.with_reading(given, masks).reading
    assert found is not None
    wide = 0.5 / 256 * max(SHAPE[1] * 1.5, SHAPE[2] * 1.0)
    x, y = np.array([22.5, 50.5]) + 0.5, np.array([15.5, 43.5]) + 0.5
    x, y = x / wide, y * 1.5 / wide
    box = (
        np.floor(x[0]) * wide,
        np.floor(y[0]) * wide / 1.5,
        np.ceil(x[1]) * wide,
        np.ceil(y[1]) * wide / 1.5,
    )
    expected = part(reader, CORNER[0] + KEY, tuple(float(side) - 0.5 for side in box))  # type: ignore[arg-type]
    assert np.allclose(found.logits[KEY], expected, atol=0.02)


def test_a_network_that_does_not_see_what_the_user_saw_is_asked_no_further(
    reader: SecondReader, evidence: VolumeEvidence, masks: np.ndarray
) -> None:
    assert reader.with_reading(evidence, masks) is evidence
    assert reader.network.store.misses == 1  # the key slice


@pytest.mark.usefixtures("agreeing")
def test_what_was_read_is_not_read_again(
    reader: SecondReader, evidence: VolumeEvidence, masks: np.ndarray
) -> None:
    first = reader.with_reading(evidence, masks).reading
    asked = reader.network.store.hits + reader.network.store.misses
    second = reader.with_reading(evidence, masks).reading
    assert reader.network.store.hits + reader.network.store.misses == asked
    assert first is not None
    assert second is not None
    assert np.array_equal(first.logits, second.logits)


@pytest.mark.usefixtures("agreeing")
def test_reading_can_be_canceled_between_slices(
    reader: SecondReader, evidence: VolumeEvidence, masks: np.ndarray
) -> None:
    calls: list[int] = []
    with pytest.raises(Canceled):
        reader.with_reading(evidence, masks, lambda: calls.append(1) is None and len(calls) > 3)
    assert reader.network.store.misses == 3


def test_the_environment_can_leave_the_second_network_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECOND_NETWORK, "OFF")
    assert bundled_reader(torch.device("cpu")) is None


@pytest.mark.slow
def test_the_bundled_network_reads_the_liver_of_a_generated_ct(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteMedSAM's trained weights see what a person would box, and the default asks them."""
    monkeypatch.delenv(SECOND_NETWORK)
    model = bundled_reader(torch.device("cpu"))
    assert model is not None
    array, geometry, truth = ct_phantom((16, 96, 96), seed=3)
    liver = truth["liver"]
    key = int(liver.sum((1, 2)).argmax())
    rows, columns = np.nonzero(liver[key])
    box = box_from_voxels(
        geometry, SliceRef(SliceAxis.K, key), columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    )
    obj = ObjectPrompts("liver", (1.0, 0.0, 0.0), (box,), (key - 1, key + 1))
    segmenter = VolumeSegmenter(array, geometry, seeded(SMALL), Window(-160, 240), threads=1)
    assert segmenter.segment(PromptSet(geometry, SliceAxis.K, (obj,))).masks["liver"].any()
    reader = segmenter.second_reader(SliceAxis.K)
    assert reader is not None
    assert reader.network.store.misses > 0  # it was asked
    left, top, right, bottom = columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5
    drawn = reader._whole.mask_from_logits(reader.read(key, (left, top, right, bottom))) > 0
    assert dice(drawn[None], liver[key][None]) > 0.85


@pytest.mark.parametrize(
    ("drawn", "enough"),
    [
        ((), False),
        ((15,), False),
        ((7, 22), False),  # evenly, but slices lie a quarter of the object away
        ((5, 15, 25), True),
        ((4, 15, 26), True),
        ((0, 1, 2, 3, 4), False),  # at one end
        ((0, 15, 29), False),
        ((3, 9, 15, 21, 27), True),
    ],
)
def test_three_drawn_slices_that_lie_evenly_over_an_object_are_enough(
    drawn: tuple[int, ...], enough: bool
) -> None:
    assert drawn_throughout({index + 40 for index in drawn}, 40, 69) is enough


@pytest.mark.parametrize(("drawn", "read"), [((2, 5, 8), False), ((5,), True)])
def test_an_object_that_the_user_drew_throughout_is_not_read(
    drawn: tuple[int, ...], read: bool, monkeypatch: pytest.MonkeyPatch, agreeing: None
) -> None:
    volume = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    second = seeded_sam1(SMALL_VIT)
    monkeypatch.delenv(SECOND_NETWORK)
    monkeypatch.setattr("MedSAMSlicerLib.engine.segmenter.bundled_reader", lambda device: second)
    segmenter = VolumeSegmenter(volume, GEOMETRY, seeded(SMALL), Window(0, 255), threads=1)
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    disk = (rows - 28) ** 2 + (columns - 38) ** 2 < 150
    prompts = tuple(MaskPrompt(SliceRef(SliceAxis.K, index), disk) for index in drawn)
    obj = ObjectPrompts("disk", (1.0, 0.0, 0.0), prompts, (1, 9))
    segmenter.segment(PromptSet(GEOMETRY, SliceAxis.K, (obj,)))
    reader = segmenter.second_reader(SliceAxis.K)
    assert reader is not None
    assert (reader.network.store.misses > 0) is read


def test_a_mask_that_fills_its_box_with_a_smooth_outline_looks_most_like_an_object() -> None:
    y, x = np.ogrid[:60, :80]
    box = (19.5, 9.5, 59.5, 49.5)
    disk = (y - 29.5) ** 2 + (x - 39.5) ** 2 < 20**2
    ragged = disk & (np.random.default_rng(0).random(disk.shape) < 0.8)
    small, outside = (y - 29.5) ** 2 + (x - 39.5) ** 2 < 10**2, np.roll(disk, 15, axis=1)
    best = likeness(disk, box, (1.0, 1.0))
    for worse in (ragged, small, outside):
        assert likeness(worse, box, (1.0, 1.0)) < best - second_reader.SURELY_BETTER
    assert likeness(np.zeros_like(disk), box, (1.0, 1.0)) == -np.inf
    stretched = likeness(disk[::2], (19.5, 4.5, 59.5, 24.5), (2.0, 1.0))  # the same disk on thicker rows
    assert stretched == pytest.approx(best, rel=0.05)


def box_around(mask: np.ndarray, index: int) -> ObjectPrompts:
    rows, columns = np.nonzero(mask)
    box = box_from_voxels(
        GEOMETRY, SliceRef(SliceAxis.K, index), columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    )
    return ObjectPrompts("disk", (1.0, 0.0, 0.0), (box,))


@pytest.mark.parametrize("better", [True, False])
def test_a_slice_with_a_box_is_as_the_network_draws_it_that_sees_more_of_an_object(
    reader: SecondReader, monkeypatch: pytest.MonkeyPatch, better: bool
) -> None:
    y, x = np.ogrid[: SHAPE[1], : SHAPE[2]]
    disk = (y - 29.5) ** 2 + (x - 39.5) ** 2 < 20**2
    drawn = disk if better else disk & ((y + x) % 3 > 0)
    low = np.where(reader._whole.mask_frame(drawn), 8, -8).astype(
        np.float32
    )  # what a good network would draw
    monkeypatch.setattr(reader, "read", lambda index, box: low)
    rows, columns = np.nonzero(disk)
    box = (columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5)
    first = disk & (x < 45)  # a good half
    logits = reader.drawn_better(5, box, first)
    assert (logits is not None) is better
    if logits is not None:
        assert dice((logits > 0)[None], disk[None]) > 0.95


@pytest.fixture
def disk() -> np.ndarray:
    y, x = np.ogrid[: SHAPE[1], : SHAPE[2]]
    return (y - 29.5) ** 2 + (x - 39.5) ** 2 < 20**2


@pytest.fixture
def sure_of_disk(reader: SecondReader, disk: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> VolumeSegmenter:
    """A segmenter whose second network draws a disk, and always better."""
    sure = np.where(disk, np.float32(8), np.float32(-8))
    monkeypatch.setattr(reader, "drawn_better", lambda index, box, mask: sure)
    monkeypatch.setattr(reader, "with_reading", lambda evidence, masks, cancel, counter: evidence)
    volume = np.random.default_rng(1).integers(0, 256, SHAPE).astype(np.uint8)
    segmenter = VolumeSegmenter(volume, GEOMETRY, seeded(SMALL), Window(0, 255), threads=1)
    monkeypatch.setattr(segmenter, "second_reader", lambda axis: reader)
    return segmenter


def test_a_preview_comes_before_the_second_network_has_drawn_and_is_never_the_last_word(
    sure_of_disk: VolumeSegmenter, disk: np.ndarray
) -> None:
    live = sure_of_disk.live(SliceAxis.K)
    prompts = box_around(disk, 12)
    first = live.preview(prompts, 12, read=False)
    assert not np.array_equal(first.mask, disk)
    assert np.array_equal(live.preview(prompts, 12).mask, disk)
    again = sure_of_disk.live(SliceAxis.K)
    again.preview(prompts, 12, read=False)
    for _ in again.update(PromptSet(GEOMETRY, SliceAxis.K, (prompts,))):
        pass
    assert np.array_equal(again.result().masks["disk"][12], disk)


def test_a_correction_corrects_what_the_second_network_drew(
    sure_of_disk: VolumeSegmenter, disk: np.ndarray
) -> None:
    """A click's preview may come first, but never from a mask that nobody was shown."""
    prompts = box_around(disk, 12)
    click = point_from_voxel(GEOMETRY, SliceRef(SliceAxis.K, 12), 39, 29, True, round=1)
    corrected = replace(prompts, prompts=(*prompts.prompts, click))
    waited, hurried = (sure_of_disk.live(SliceAxis.K) for _ in range(2))
    waited.preview(prompts, 12)
    assert np.array_equal(waited.preview(corrected, 12).mask, hurried.preview(corrected, 12, read=False).mask)


@pytest.mark.parametrize("clicked", [False, True])
def test_a_box_alone_is_read_twice_and_a_click_is_never_overruled(
    sure_of_disk: VolumeSegmenter, disk: np.ndarray, clicked: bool
) -> None:
    prompts = box_around(disk, 12)
    if clicked:
        point = point_from_voxel(GEOMETRY, SliceRef(SliceAxis.K, 12), 39, 29, True)
        prompts = replace(prompts, prompts=(*prompts.prompts, point))
    mask = sure_of_disk.segment(PromptSet(GEOMETRY, SliceAxis.K, (prompts,))).masks["disk"][12]
    assert np.array_equal(mask, disk) is not clicked


@pytest.mark.parametrize("stage", ["learned", "fused", "off"])
def test_only_the_default_reads_twice(stage: str) -> None:
    volume = np.zeros(SHAPE, np.uint8)
    segmenter = VolumeSegmenter(volume, GEOMETRY, seeded(SMALL), Window(0, 255), volume_stage=stage)
    assert segmenter.second_reader(SliceAxis.K) is None
