"""Everything on a slice: the masks of the published generators on the same weights, and what is made of them."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import Canceled, MedSAMError, PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.engine.proposals import (
    Proposal,
    ProposalSettings,
    Proposer,
    crop_boxes,
    new_objects,
    suppressed,
    without_small_regions,
)
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.sam2 import TINY
from MedSAMSlicerLib.sam2.checkpoint import seeded

from .oracles import official_predictor, seeded_at
from .sam1_oracles import SMALL_VIT, batched_nms, imported, published_sam, seeded_sam1

SIDE = 64


def picture(rows: int = SIDE, columns: int = SIDE, seed: int = 0) -> np.ndarray:
    """Blobs on a noisy ground, uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    image = random.normal(60, 10, (rows, columns))
    for _ in range(6):
        row, column = random.uniform(0.1, 0.9, 2) * (rows, columns)
        image[(y - row) ** 2 + (x - column) ** 2 < random.uniform(4, 14) ** 2] += random.uniform(40, 120)
    return image.clip(0, 255).astype(np.uint8)


def lively(decoder: Any, offset: float, gain: float = 30.0, sharpness: float = 8.0) -> None:
    """Make a decoder of random weights answer to clicks with small masks of differing quality.

    Attention becomes as sharp as a trained one's, masks get stronger logits, and one channel pulls all of them down.
    """
    with torch.no_grad():
        for name, weight in decoder.transformer.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                weight.mul_(sharpness)
            if "cross_attn_image_to_token" in name and name.endswith(("v_proj.weight", "out_proj.weight")):
                weight.mul_(3)
        decoder.output_upscaling[3].weight[:, 0] = 0
        decoder.output_upscaling[3].bias[0] = 3.0
        for mlp in decoder.output_hypernetworks_mlps:
            last = mlp.layers[-1]
            last.weight.mul_(gain)
            last.bias.mul_(gain)
            last.weight[0], last.bias[0] = 0, -offset / 3
        decoder.iou_prediction_head.layers[-1].weight.mul_(3)
        decoder.iou_prediction_head.layers[-1].bias.fill_(0.6)


@pytest.fixture(scope="module")
def vit() -> Any:
    model = seeded_sam1(SMALL_VIT, seed=3)
    lively(model.mask_decoder, 5.0)
    return model


LOOSE = ProposalSettings(
    points_per_side=6, points_at_once=7, least_iou=0.3, least_stability=0.5, stability_offset=0.3
)


def published(generator: type, model: Any, settings: ProposalSettings, **more: Any) -> Any:
    return generator(
        model,
        points_per_side=settings.points_per_side,
        points_per_batch=settings.points_at_once,
        pred_iou_thresh=settings.least_iou,
        stability_score_thresh=settings.least_stability,
        stability_score_offset=settings.stability_offset,
        box_nms_thresh=settings.box_overlap,
        crop_n_layers=settings.crop_layers,
        crop_nms_thresh=settings.crop_overlap,
        crop_n_points_downscale_factor=settings.crop_points_divisor,
        **more,
    )


def assert_the_same(ours: list[Proposal], theirs: list[dict[str, Any]]) -> None:
    assert len(ours) == len(theirs) > 1
    for mine, other in zip(ours, theirs, strict=True):
        assert np.array_equal(mine.mask, other["segmentation"])
        assert list(mine.bounds) == other["bbox"]
        assert list(mine.crop) == other["crop_box"]
        assert mine.point == pytest.approx(other["point_coords"][0])
        assert mine.iou == pytest.approx(other["predicted_iou"], abs=1e-4)
        assert mine.stability == pytest.approx(other["stability_score"], abs=1e-3)
        assert mine.area == other["area"]


def in_color(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., None], 3, axis=2)


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, 45)], ids=["square", "oblong"])
def test_sam_finds_what_the_generator_of_segment_anything_finds(vit: Any, shape: tuple[int, int]) -> None:
    module = imported("segment_anything.automatic_mask_generator")
    theirs = published(module.SamAutomaticMaskGenerator, published_sam(vit), LOOSE)
    image = picture(*shape)
    assert_the_same(Proposer(vit, LOOSE).find(image), theirs.generate(in_color(image)))


@pytest.mark.parity
def test_parts_of_the_slice_give_what_the_published_generator_finds_in_them(vit: Any) -> None:
    settings = replace(LOOSE, crop_layers=1, points_per_side=4, crop_points_divisor=2)
    module = imported("segment_anything.automatic_mask_generator")
    theirs = published(module.SamAutomaticMaskGenerator, published_sam(vit), settings)
    image = picture(96, 120)
    assert_the_same(Proposer(vit, settings).find(image), theirs.generate(in_color(image)))


@pytest.mark.parity
def test_small_regions_go_as_in_the_published_generator(vit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    opencv = types.ModuleType("cv2")

    def components(mask: Any, _connectivity: int) -> tuple[Any, ...]:
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        areas = np.bincount(regions.ravel(), minlength=count + 1)
        return count + 1, regions, np.stack([areas] * 5, 1), None

    opencv.connectedComponentsWithStats = components  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv2", opencv)
    module = imported("segment_anything.automatic_mask_generator")
    settings = replace(LOOSE, smallest_region=40)
    theirs = published(
        module.SamAutomaticMaskGenerator, published_sam(vit), settings, min_mask_region_area=40
    )
    image = picture()
    found = Proposer(vit, settings).find(image)
    assert_the_same(found, theirs.generate(in_color(image)))
    assert [p.area for p in found] != [p.area for p in Proposer(vit, LOOSE).find(image)]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # within the official package
def test_sam2_finds_what_its_own_generator_finds() -> None:
    pytest.importorskip("sam2")
    module = imported("sam2.automatic_mask_generator")
    ours = seeded_at(TINY, 128)
    lively(ours.sam_mask_decoder, 5.0)
    settings = replace(LOOSE, points_per_side=4)
    theirs = published(module.SAM2AutomaticMaskGenerator, official_predictor(ours), settings)
    theirs.predictor._bb_feat_sizes = [
        (32, 32),
        (16, 16),
        (8, 8),
    ]  # the package knows those of 1024 pixels alone
    image = picture(128, 100)
    assert_the_same(Proposer(ours, settings).find(image), theirs.generate(in_color(image)))


def test_a_network_that_draws_one_mask_per_click_proposes_too_and_can_be_stopped() -> None:
    model = seeded(SMALL)
    settings = replace(LOOSE, least_iou=0.0, least_stability=0.0)
    assert Proposer(model, settings).find(picture())
    with pytest.raises(Canceled):
        Proposer(model, settings).find(picture(), pause=stop)


def stop() -> None:
    raise Canceled("stopped")


def test_a_network_that_was_trained_with_boxes_alone_says_that_it_cannot_look_by_clicks() -> None:
    boxes = seeded_sam1(replace(SMALL_VIT, name="boxes", only_boxes=True))
    with pytest.raises(PromptError, match="boxes was trained on boxes only, so it cannot find objects"):
        Proposer(boxes)


def test_the_box_of_the_best_score_stays_and_equal_scores_keep_their_order() -> None:
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=random) * 50
    boxes = torch.cat([corners, corners + 5 + torch.rand(60, 2, generator=random) * 40], 1)
    scores = (torch.rand(60, generator=random) * 4).floor()
    for overlap in (0.7, 0.2):
        expected = batched_nms(boxes, scores, torch.zeros(60), overlap).tolist()
        assert suppressed(boxes, scores, overlap) == expected
    assert 1 < len(expected) < 60
    assert suppressed(torch.zeros(0, 4), torch.zeros(0), 0.5) == []


def test_parts_of_a_layer_cover_the_slice_and_overlap() -> None:
    boxes = [box for box, layer in crop_boxes((100, 150), 2, 512 / 1500) if layer == 2]
    assert len(boxes) == 16
    covered = np.zeros((100, 150), int)
    for left, top, right, bottom in boxes:
        covered[top:bottom, left:right] += 1
    assert covered.min() >= 1
    assert covered.max() >= 4


def test_holes_are_filled_and_islands_taken_off_below_a_size() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:7, 5:7] = False
    mask[15:17, 15:17] = True
    cleaned = without_small_regions(mask, 10)
    assert cleaned.sum() == 100
    assert not cleaned[15:17, 15:17].any()
    assert without_small_regions(cleaned, 10) is cleaned
    only_small = np.zeros((9, 9), bool)
    only_small[1:3, 1:3] = only_small[5:8, 5:8] = True
    assert without_small_regions(only_small, 50).sum() == 9


def proposal(mask: np.ndarray, iou: float) -> Proposal:
    return Proposal(mask, (0, 0, 0, 0), iou, 1.0, (0, 0), (0, 0, 9, 9))


def test_new_objects_are_those_that_are_not_segmented_yet_the_most_certain_first() -> None:
    squares = []
    for corner in (0, 10, 20):
        mask = np.zeros((30, 30), bool)
        mask[corner : corner + 8, corner : corner + 8] = True
        squares.append(mask)
    found = [proposal(squares[1], 0.7), proposal(squares[0], 0.95), proposal(squares[2], 0.9)]
    assert [p.iou for p in new_objects(found, [squares[0]])] == [0.9, 0.7]
    larger = squares[1] | squares[2]
    assert [p.iou for p in new_objects(found, [larger])] == [0.95]
    assert new_objects([], []) == []


@pytest.mark.parametrize(
    "wrong", [{"points_per_side": 0}, {"crop_layers": 9}, {"box_overlap": 2.0}, {"points_at_once": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MedSAMError):
        ProposalSettings(**wrong)


def test_proposals_on_a_slice_of_a_volume_lie_in_that_slice() -> None:
    volume = np.stack([picture(40, 50, seed) for seed in range(3)])
    geometry = VolumeGeometry.from_spacing(volume.shape, (1.0, 1.0, 2.0))
    segmenter = VolumeSegmenter(
        volume, geometry, seeded(SMALL), Window(0, 255, "full"), tier="exact", threads=1, volume_stage="off"
    )
    settings = replace(LOOSE, points_per_side=3, least_iou=0.0, least_stability=0.0)
    found = segmenter.propose(1, SliceAxis.K, settings)
    assert found
    assert {p.mask.shape for p in found} == {(40, 50)}
    plain = Proposer(segmenter.model, settings).find(volume[1])
    assert [p.area for p in found] == pytest.approx([p.area for p in plain], abs=2)
    with pytest.raises(PromptError, match="Slice 3 does not exist"):
        segmenter.propose(3)
