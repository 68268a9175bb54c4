"""A clip goes through the network in training as it does in the engine."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from Testing.small_networks import SMALLEST  # noqa: E402

from MedSAMSlicerLib.lab.training.fields import Source  # noqa: E402
from MedSAMSlicerLib.lab.training.rollout import CLICKS, first_prompts, neighbor_step, rollout  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import seeded  # noqa: E402

SIZE, LENGTH, BATCH = SMALLEST.image_size, 5, 2


@pytest.fixture(scope="module")
def model():
    return seeded(SMALLEST, 1)


def clip() -> tuple[torch.Tensor, torch.Tensor]:
    """A square that moves to the right and is gone on the last slice."""
    masks = torch.zeros(LENGTH, BATCH, SIZE, SIZE, dtype=torch.uint8)
    for position in range(LENGTH - 1):
        masks[position, :, 8:20, 4 + 2 * position : 16 + 2 * position] = 255
    return masks // 2 + 40, masks


@pytest.mark.parametrize("kind", ["box", "point", "scribble", "box_and_point", "mask"])
def test_every_kind_of_prompt_gives_a_mask_for_every_slice(model, kind: str) -> None:
    frames, masks = clip()
    for seed in range(3):
        outputs = rollout(
            model, frames, masks, Source(seed), kind, teach=True, corrections=1.0, second_key=1.0
        ).slices
        assert len(outputs) == LENGTH
        for output in outputs:
            assert output.logits.shape == (BATCH, 1, SIZE // 2, SIZE // 2)
            assert torch.isfinite(output.iou).all()


def test_every_correction_click_gives_a_mask_that_can_be_judged(model) -> None:
    frames, masks = clip()
    counts = set()
    for seed in range(8):
        found = rollout(model, frames, masks, Source(seed), "box", teach=True, corrections=1.0)
        counts.add(len(found.corrections))
        [position] = {at for at, _ in found.corrections}
        assert found.slices[position] is found.corrections[-1][1]
    assert counts == set(range(CLICKS[0], CLICKS[1] + 1))
    assert rollout(model, frames, masks, Source(0), "box", teach=True).corrections == []


def test_a_second_key_slice_changes_the_slices_between(model) -> None:
    frames, masks = clip()
    frames, masks = frames[:4], masks[:4]  # the object is on all of them
    alone = rollout(model, frames, masks, Source(0), "mask", teach=False).slices
    both = rollout(model, frames, masks, Source(0), "mask", teach=False, second_key=1.0).slices
    assert not torch.equal(alone[2].logits, both[2].logits)


def test_a_slice_without_the_object_is_gated_by_the_truth(model) -> None:
    frames, masks = clip()
    seen = set()
    for seed in range(12):
        outputs = rollout(model, frames, masks, Source(seed), "box", teach=True).slices
        seen.add(bool((outputs[-1].logits <= -1000).all()))
        assert (outputs[0].logits > -1000).all()
    assert seen == {True, False}  # now and then the gate stays open


def test_the_mask_of_a_neighbor_is_a_dense_prompt(model) -> None:
    frames, masks = clip()
    prompts = first_prompts(Source(0), "mask", masks[0], SIZE // 2)
    assert prompts.points is None
    assert prompts.mask is not None
    assert float(prompts.mask.max()) == 8.0
    assert float(prompts.mask.min()) == -8.0
    assert neighbor_step(model, frames[:2], masks[:2]).logits.shape == (BATCH, 1, SIZE // 2, SIZE // 2)
