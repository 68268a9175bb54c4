"""Adapters change nothing at first, learn beside frozen weights, and merge into an ordinary network."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.core.errors import MedSAMError  # noqa: E402
from MedSAMSlicerLib.lab.training.lora import add_adapters, merged  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import seeded  # noqa: E402
from MedSAMSlicerLib.sam2.model import SAM2, DecoderPrompts  # noqa: E402


def answer(model: SAM2) -> torch.Tensor:
    """Mask logits of two slices, the second one from memory."""
    side = model.config.image_size
    frames = torch.arange(2 * side * side).remainder(251).view(2, side, side).to(torch.uint8)
    with torch.no_grad():
        top, mid, fine = model.encode_image(model.normalize(frames))
        box = DecoderPrompts(torch.tensor([[[4.0, 5.0], [20.0, 22.0]]]), torch.tensor([[2, 3]]))
        first = model.decode(model.condition_first(top[:1]), mid[:1], fine[:1], box)
        memory = model.encode_memory(top[:1], first.logits, first.object_score, True)
        conditioned = model.condition_on_memory(
            top[1:], [(memory, model.config.num_memories - 1)], [(first.pointer, 1.0)]
        )
        second = model.decode(conditioned, mid[1:], fine[1:], DecoderPrompts())
    return torch.cat([first.logits, second.logits])


@pytest.fixture(params=["tiny_network", "official_network"])
def model(request: pytest.FixtureRequest) -> SAM2:
    return seeded(request.getfixturevalue(request.param), 3)


def test_fresh_adapters_change_nothing(model: SAM2) -> None:
    before = answer(model)
    add_adapters(model, rank=4)
    assert torch.equal(answer(model), before)


def test_the_merged_network_answers_as_the_adapted_one(model: SAM2) -> None:
    plain = copy.deepcopy(model)
    adapters = add_adapters(model, rank=4)
    with torch.no_grad():
        for weight in adapters:
            weight.add_(
                0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(weight)))
            )
    adapted, ordinary = answer(model), merged(model)
    assert not torch.allclose(answer(plain), adapted, atol=1e-3)
    assert torch.allclose(answer(ordinary), adapted, atol=1e-5, rtol=1e-4)
    assert ordinary.state_dict().keys() == plain.state_dict().keys()


def test_only_adapters_learn_and_they_are_few(model: SAM2) -> None:
    adapters = add_adapters(model, rank=2)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {id(p) for p in learning} == {id(p) for p in adapters}
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert sum(p.numel() for p in learning) < 0.35 * frozen


def test_convolutions_get_adapters_too(model: SAM2) -> None:
    names = {name.split(".parametrizations")[0] for name, _ in add_and_name(model)}
    assert any("dwconv" in name for name in names) is False  # grouped
    assert "sam_mask_decoder.conv_s1" in names or "memory_encoder.pix_feat_proj" in names
    assert any(name.startswith("image_encoder.neck") for name in names)


def add_and_name(model: SAM2) -> list[tuple[str, torch.nn.Parameter]]:
    add_adapters(model, rank=4)
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def test_a_network_without_adapters_is_merged_into_a_copy(model: SAM2) -> None:
    twin = merged(model)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True)
    )
    assert twin is not model


def test_a_rank_above_every_layer_is_refused(model: SAM2) -> None:
    with pytest.raises(MedSAMError, match="rank 1000"):
        add_adapters(model, 1000)
