"""What the network promises beside equality: any size, gradients everywhere, absence, and being small."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from MedSAMSlicerLib.sam2 import NANO, SAM2, TINY, DecoderPrompts, MaskOutput
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.model import NO_OBJECT_LOGIT
from MedSAMSlicerLib.sam2.position import rotary_table, rotate, sine_embedding_2d

BOX = DecoderPrompts(torch.tensor([[[20.0, 30.0], [60.0, 90.0]]]), torch.tensor([[2, 3]]))


@pytest.fixture(scope="module")
def nano() -> SAM2:
    return seeded(NANO)


def _two_slices(model: SAM2, frames: Tensor, present: Tensor | None = None) -> tuple[MaskOutput, MaskOutput]:
    """Prompt the first of two slices with a box and track to the second."""
    features = model.encode_image(model.normalize(frames))
    first_slice, second_slice = ([part[index : index + 1] for part in features] for index in (0, 1))
    top, mid, fine = first_slice
    first = model.decode(model.condition_first(top), mid, fine, BOX, present=present)
    memory = model.encode_memory(top, first.logits, first.object_score, from_points=True)
    top, mid, fine = second_slice
    conditioned = model.condition_on_memory(
        top, [(memory, model.config.num_memories - 1)], [(first.pointer, 1.0)]
    )
    earlier = DecoderPrompts(mask=first.logits) if model.config.dense_prompts else DecoderPrompts()
    multimask = model.multimask_for(0)
    return first, model.decode(conditioned, mid, fine, earlier, multimask, present)


def _frames(size: int) -> Tensor:
    return torch.randint(256, (2, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("size", [128, 136, 192, 256])
def test_the_small_network_works_at_any_multiple_of_its_stride(nano: SAM2, size: int):
    with torch.inference_mode():
        for output in _two_slices(nano, _frames(size)):
            assert output.logits.shape == (1, 1, size // 2, size // 2)
            assert output.logits.isfinite().all()
            assert output.pointer.shape == (1, NANO.hidden_dim)
            assert output.iou.shape == output.object_score.shape == (1,)


@pytest.mark.parametrize("size", [128, 144, 160])
def test_a_published_network_works_at_any_multiple_of_its_stride(size: int):
    with torch.inference_mode():
        for output in _two_slices(seeded(TINY), _frames(size)):
            assert output.logits.shape == (1, 1, size // 4, size // 4)
            assert output.logits.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 3, 130, 130), (1, 3, 128, 136), (3, 128, 128)])
def test_frames_of_another_shape_are_refused_with_their_shape(nano: SAM2, shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=rf"multiple of 8, got \({shape[0]}, "):
        nano.encode_image(torch.zeros(shape))


def test_points_without_labels_are_refused(nano: SAM2):
    features = nano.encode_image(torch.zeros(1, 3, 128, 128))
    with pytest.raises(ValueError, match="labels"):
        nano.decode(features.top, features.mid, features.fine, DecoderPrompts(torch.zeros(1, 1, 2)))


def test_the_small_network_is_small():
    parameters = sum(parameter.numel() for parameter in SAM2(NANO).parameters())
    assert 2e6 < parameters < 3e6


def test_gradients_reach_every_weight_that_takes_part():
    model = seeded(replace(NANO, name="training")).train()
    outputs = _two_slices(model, _frames(128), present=torch.tensor([True]))
    absent = _two_slices(model, _frames(128), present=torch.tensor([False]))[1]
    loss = sum(
        (output.logits.mean() + output.iou.sum() + output.object_score.sum() + output.pointer.mean())
        for output in (*outputs, absent)
    )
    loss.backward()
    # the two are kept for the published checkpoints: an embedding nobody uses, and one for prompts without a map
    unused = {"no_mem_pos_enc", "mask_downsample.weight", "mask_downsample.bias", "no_obj_embed_spatial"}
    unused |= {"sam_prompt_encoder.no_mask_embed.weight"}
    unused |= {f"sam_prompt_encoder.point_embeddings.{label}.weight" for label in (0, 1)}
    without = {
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()
    }
    assert without <= unused


def test_the_mask_of_an_absent_object_is_empty_and_its_memory_and_pointer_say_so(nano: SAM2):
    with torch.inference_mode():
        features = nano.encode_image(nano.normalize(_frames(128)[:1]))
        there, gone = (
            nano.decode(
                nano.condition_first(features.top),
                features.mid,
                features.fine,
                BOX,
                present=torch.tensor([present]),
            )
            for present in (True, False)
        )
        assert (gone.logits == NO_OBJECT_LOGIT).all()
        assert torch.equal(gone.pointer, nano.no_obj_ptr)
        assert there.logits.abs().max() < 1000
        scores = torch.tensor([5.0]), torch.tensor([-5.0])
        kept, lost = (
            nano.encode_memory(features.top, there.logits, score, False).features for score in scores
        )
        difference = (lost.float() - kept.float()).mean((0, 2, 3))
        torch.testing.assert_close(difference, nano.no_obj_embed_spatial[0], rtol=0, atol=0.01)


def test_only_networks_with_alternatives_choose_among_them(nano: SAM2):
    assert [nano.multimask_for(count) for count in (0, 1, 2)] == [False, False, False]
    with torch.device("meta"):
        tiny = SAM2(TINY)
    assert [tiny.multimask_for(count) for count in (0, 1, 2)] == [True, True, False]


def test_an_unstable_single_mask_gives_way_to_the_best_alternative_but_not_while_training():
    model = seeded(TINY)
    with torch.inference_mode():
        features = model.encode_image(model.normalize(_frames(128)[:1]))
        conditioned = model.condition_first(features.top)
        candidates = model.candidates(conditioned, features.mid, features.fine, BOX)
        best = candidates.iou[:, 1:].argmax(1) + 1
        unstable = candidates._replace(logits=candidates.logits * 1e-3)
        stable = candidates._replace(logits=candidates.logits * 1e6)
        single = torch.tensor([0])
        assert [index.item() for index in model.choose(unstable, False)] == [best.item(), 0]
        assert [index.item() for index in model.choose(stable, False)] == [0, 0]
        assert [index.item() for index in model.choose(stable, True)] == [best.item()] * 2
        model.train()
        assert torch.equal(model.choose(unstable, False)[0], single)


def test_tables_made_without_gradients_serve_training_too():
    sine_embedding_2d.cache_clear()
    rotary_table.cache_clear()
    with torch.inference_mode():
        sine_embedding_2d(8, 2, 2, torch.device("cpu"))
        rotary_table(8, 2, 2, torch.device("cpu"))
    tokens = torch.randn(1, 4, 8, requires_grad=True)
    turned = rotate(tokens, rotary_table(8, 2, 2, torch.device("cpu")))
    position = sine_embedding_2d(8, 2, 2, torch.device("cpu")).flatten(2).transpose(1, 2)
    ((turned + position) * tokens * position).sum().backward()
    assert tokens.grad is not None


def test_rotation_keeps_lengths_and_depends_on_the_difference_of_places_only():
    table = rotary_table(16, 4, 4, torch.device("cpu"))
    query, key = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(0))
    queries, keys = rotate(query.expand(16, -1), table), rotate(key.expand(16, -1), table)
    torch.testing.assert_close(queries.norm(dim=1), query.norm().expand(16))
    products = queries @ keys.T
    torch.testing.assert_close(products[0, 1], products[5, 6])  # one to the right
    torch.testing.assert_close(products[0, 4], products[9, 13])  # one down
    torch.testing.assert_close(rotate(query.expand(32, -1), table)[16:], queries)  # a second grid
