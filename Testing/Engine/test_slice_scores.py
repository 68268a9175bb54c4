"""Masks made elsewhere are scored slice by slice: the faults come first, with every kind of network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import Canceled
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import CT_PRESETS, Window
from MedSAMSlicerLib.core.masks import PackedMask, slices_of
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.slice_scores import score_of, score_slices, slices_to_score
from MedSAMSlicerLib.lab.evaluation.faults import spoiled
from MedSAMSlicerLib.models.registry import Registry
from MedSAMSlicerLib.phantom.ct import ct_phantom
from MedSAMSlicerLib.sam2.checkpoint import load_named, seeded

torch = pytest.importorskip("torch")
K = SliceAxis.K
WRONG = (14, 19, 24)
"""Slices of the left kidney that are spoiled: shifted, cut, leaking."""


@pytest.fixture(scope="module")
def abdomen() -> tuple[np.ndarray, VolumeGeometry, np.ndarray]:
    """A generated CT, its geometry and the spoiled kidney."""
    array, geometry, truth = ct_phantom((48, 128, 128), seed=3)
    return array, geometry, spoiled(truth["left_kidney"], WRONG)


def segmenter_of(name: str, array: np.ndarray, geometry: VolumeGeometry) -> VolumeSegmenter:
    file = Registry.from_environment().open(name)
    model, window = load_named(file.path, file.checkpoint.config), CT_PRESETS["soft-tissue"]
    return VolumeSegmenter(array, geometry, model, window, volume_stage="off", threads=1)


def test_three_spoiled_slices_are_doubted_most(
    abdomen: tuple[np.ndarray, VolumeGeometry, np.ndarray],
) -> None:
    array, geometry, kidney = abdomen
    masks = slices_of(kidney, K)
    scores = [*score_slices(segmenter_of("medsamslicer-nano", array, geometry), K, masks)]
    assert [score.index for score in scores] == slices_to_score(masks, geometry.shape[0])
    scores.sort(key=lambda score: -score.doubted)
    assert {score.index for score in scores[:3]} == {*WRONG}
    large = [score for score in scores[3:] if masks.get(score.index, PackedMask.empty((1, 1))).count > 80]
    assert min(score.confidence for score in large) > max(score.confidence for score in scores[:3])


@pytest.mark.slow
def test_network_without_memory_doubts_the_spoiled_slice_most(
    abdomen: tuple[np.ndarray, VolumeGeometry, np.ndarray],
) -> None:
    array, geometry, kidney = abdomen
    masks = {index: mask for index, mask in slices_of(kidney, K).items() if 16 <= index <= 22}
    segmenter = segmenter_of("litemedsam", array, geometry)
    scores = [*score_slices(segmenter, K, masks, wanted=range(17, 22))]
    assert [score.index for score in scores] == [17, 18, 19, 20, 21]
    assert max(scores, key=lambda score: score.doubted).index == 19


def test_network_with_memory_and_whole_slices_scores_along_any_axis_and_stops_when_asked() -> None:
    shape = (10, 40, 44)
    model = seeded(replace(SMALL, dense_prompts=False, crop_margin=None))
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    segmenter = VolumeSegmenter(
        array, VolumeGeometry.from_spacing(shape, (1, 1, 2)), model, Window(0, 255), volume_stage="off"
    )
    mask = np.zeros(shape, np.bool_)
    mask[2:8, 10:30, 12:30] = True
    masks = slices_of(mask, SliceAxis.J)
    scores = score_slices(segmenter, SliceAxis.J, masks, wanted=range(15))
    assert [score.index for score in scores] == [9, 10, 11, 12, 13, 14]
    assert all(
        0 <= score.confidence <= 1 and score.doubted >= 0
        for score in score_slices(segmenter, K, slices_of(mask, K))
    )
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Canceled):
        for _ in score_slices(segmenter, SliceAxis.J, masks, cancel=cancel):
            pass
    assert len(asked) == 3


def test_score_counts_what_both_drawings_show_in_full_and_what_one_shows_by_half_of_a_third() -> None:
    mask, one, other = np.zeros((3, 8, 8), np.bool_)
    mask[2:6, 2:6] = True
    assert score_of(0, mask, [mask, mask]).confidence == 1.0
    one[2:6, 2:8] = other[2:6, 2:6] = True  # one drawing alone has 8 pixels more
    assert score_of(5, mask, [one, other]).doubted == pytest.approx(0.5 * 4 / 1.5)
    other[2:6, 6:8] = True
    score = score_of(5, mask, [one, other])
    assert (score.index, score.doubted, score.confidence) == (5, pytest.approx(8), pytest.approx(1 - 8 / 24))


def test_slices_without_a_mask_beside_them_are_not_scored() -> None:
    full, empty = (PackedMask.from_array(np.full((4, 4), value)) for value in (True, False))
    assert slices_to_score({3: full}, 9) == [2, 4]
    assert slices_to_score({0: full, 1: full, 2: empty, 8: full}, 9) == [0, 1, 2, 7]
