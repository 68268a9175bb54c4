"""Windows, simulated prompts and losses agree with what the engine does."""

from __future__ import annotations

from functools import partial

import pytest

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.lab.training.clips import ClipSampler, ClipSettings, bounding_box, cut, order_of  # noqa: E402
from MedSAMSlicerLib.lab.training.fields import Source  # noqa: E402
from MedSAMSlicerLib.lab.training.losses import LossWeights, mask_loss, soft_dice, soft_target  # noqa: E402
from MedSAMSlicerLib.lab.training.prompts import box_prompts, correction_clicks, inner_points, point_prompts  # noqa: E402
from MedSAMSlicerLib.lab.training.synthetic import GeneratedScene, SceneSettings, make_scene  # noqa: E402
from MedSAMSlicerLib.sam2.model import MaskOutput  # noqa: E402


def square_scene() -> GeneratedScene:
    """A bright square of 40 voxels on slices 1 to 4 of 6."""
    image = torch.full((6, 128, 128), 30, dtype=torch.uint8)
    mask = torch.zeros(1, 6, 128, 128, dtype=torch.bool)
    mask[:, 1:5, 50:90, 30:70] = True
    image[mask[0]] = 200
    return GeneratedScene(image, mask, (2,))


def test_the_window_is_the_margin_times_the_longer_side_of_the_box() -> None:
    settings = ClipSettings(size=128, margin=1.7, spread=1.0, wide=0.0, rotate=0.0)
    frames, masks = cut(Source(0), square_scene(), 0, [2, 3], settings)
    x0, y0, x1, y1 = bounding_box(masks[0] > 127)
    assert abs((x1 - x0) - 128 / 1.7) <= 2
    assert abs((y1 - y0) - 128 / 1.7) <= 2
    assert frames[0][masks[0] > 127].float().mean() > 195


def test_a_wide_window_shows_the_object_small() -> None:
    settings = ClipSettings(size=128, wide=1.0, rotate=0.0)
    _, masks = cut(Source(1), square_scene(), 0, [2], settings)
    x0, _, x1, _ = bounding_box(masks[0] > 127)
    assert x1 - x0 < 128 / 1.9


def test_what_lies_outside_the_volume_is_black() -> None:
    scene = square_scene()
    scene.masks.zero_()
    scene.masks[0, 2, 0:60, 0:60] = True
    settings = ClipSettings(size=96, margin=1.9, spread=1.0, wide=0.0, rotate=0.0)
    frames, masks = cut(Source(0), scene, 0, [2], settings)
    assert (frames == 0).any()
    assert not (masks[frames == 0] > 127).any()


def test_clips_start_at_the_key_slice_and_go_outward() -> None:
    scene = square_scene()
    found = [order_of(scene, 0, 3, Source(seed)) for seed in range(20)]
    assert {(tuple(one[0]), one[1]) for one in found if one is not None} == {
        ((2, 3, 4), 2.0),
        ((2, 1, 0), 1.0),
    }
    assert order_of(scene, 0, 6, Source(0)) is None


def test_where_an_object_ends_is_unknown_at_the_border_of_a_scene() -> None:
    scene = square_scene()
    scene.masks[0, 5] = scene.masks[0, 4]
    ends = {one[1] for seed in range(20) if (one := order_of(scene, 0, 4, Source(seed))) is not None}
    assert ends == {-1.0}


def test_a_clip_that_leaves_slices_out_reaches_the_end_of_a_long_object() -> None:
    image = torch.zeros(20, 32, 32, dtype=torch.uint8)
    mask = torch.zeros(1, 20, 32, 32, dtype=torch.bool)
    mask[:, 2:17, 8:20, 8:20] = True
    scene = GeneratedScene(image, mask, (4,))
    found = order_of(scene, 0, 5, Source(0), skips=1.0)
    assert found == ([4, 7, 10, 13, 16], 4.0)


def test_a_batch_is_seeded_and_has_its_target_on_the_first_slice() -> None:
    def draw() -> ClipSampler:
        source, scenes = Source(4), SceneSettings(slices=6, size=64)
        return ClipSampler(source, partial(make_scene, source, scenes), ClipSettings(size=64), pool=2, uses=4)

    first, second = draw().batch(3, 4), draw().batch(3, 4)
    assert first.frames.shape == first.masks.shape == (4, 3, 64, 64)
    assert (first.frames == second.frames).all()
    assert first.lasts is not None
    assert first.lasts.shape == (3,)
    assert ((first.masks[0] > 127).sum((1, 2)) >= 12).all()


def test_a_box_without_jitter_is_tight() -> None:
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 10:20, 5:40] = True
    prompts = box_prompts(Source(0), masks, jitter=0.0)
    assert prompts.points is not None
    assert prompts.points[0].tolist() == [[5, 10], [39, 19]]  # first and last pixel


def test_clicks_lie_inside_the_object() -> None:
    yy, xx = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    ring = ((yy - 32) ** 2 + (xx - 32) ** 2).sqrt().sub(20).abs() < 5
    prompts = point_prompts(Source(0), ring[None].expand(20, -1, -1))
    assert prompts.points is not None
    for x, y in prompts.points[:, 0].long().tolist():
        assert ring[y, x]


def test_an_empty_region_has_no_point() -> None:
    _, found = inner_points(Source(0), torch.zeros(2, 16, 16, dtype=torch.bool))
    assert found.tolist() == [False, False]


def test_a_correction_click_goes_where_the_larger_error_is() -> None:
    truth = torch.zeros(3, 64, 64, dtype=torch.bool)
    truth[:, 20:40, 20:40] = True
    predicted = truth.clone()
    predicted[0, 20:40, 20:30] = False  # half missed
    predicted[1, 20:40, 40:60] = True  # as much too much
    clicks = correction_clicks(Source(0), predicted, truth)
    assert clicks.labels is not None
    assert clicks.points is not None
    assert clicks.labels[:, 0].tolist() == [1, 0, -1]  # the third is right already
    assert 20 <= clicks.points[0, 0, 0] < 30
    assert 40 <= clicks.points[1, 0, 0] < 60


def output_of(logits: torch.Tensor) -> MaskOutput:
    count = len(logits)
    return MaskOutput(logits, torch.ones(count), torch.full((count,), 8.0), torch.zeros(count, 4))


def test_the_true_mask_costs_less_than_any_other() -> None:
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[:, 16:48, 16:40] = 255
    target = soft_target(masks, 32)
    judged = torch.ones(2, dtype=torch.bool)
    right = mask_loss(output_of(12 * target - 6), target, LossWeights(), judged)
    wrong = mask_loss(output_of(6 - 12 * target), target, LossWeights(), judged)
    empty = mask_loss(output_of(torch.full_like(target, -6)), target, LossWeights(), judged)
    assert right < 0.2 < empty < wrong


def test_gated_masks_do_not_count() -> None:
    target = torch.zeros(2, 1, 8, 8)
    target[0, :, 2:6, 2:6] = 1
    logits = 12 * target - 6
    logits[1] = -1024.0
    logits.requires_grad_()
    loss = mask_loss(output_of(logits), target, LossWeights(), torch.tensor([True, False]))
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert not logits.grad[1].any()


def test_dice_of_two_empty_masks_is_one() -> None:
    empty = torch.zeros(1, 1, 8, 8)
    assert soft_dice(empty - 5, empty).tolist() == [1.0]
    assert soft_dice(empty + 5, empty).tolist() == [0.0]
