"""Fast memory attention against the plain network, which is itself compared with the published packages."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from MedSAMSlicerLib.core.tiers import Tier
from MedSAMSlicerLib.engine.memory_attention import FastMemoryAttention, MemoryKeys, channel_order
from MedSAMSlicerLib.engine.precision import choose, default_threads
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.config import MEDSAM2, NANO, Config
from MedSAMSlicerLib.sam2.model import SAM2, Memory

NARROW = Config(
    "narrow",
    256,
    MEDSAM2.trunk,
    memory_dim=32,
    num_memories=5,
    memory_attention_layers=3,
    memory_attention_feedforward=96,
)


@lru_cache(maxsize=4)
def network(config: Config) -> SAM2:
    return seeded(config)


class Scene:
    """Slices and memories as the network itself makes them of smooth images."""

    def __init__(
        self, model: SAM2, side: int, slices: int, objects: int, memories: int, pointers: int
    ) -> None:
        generator = torch.Generator().manual_seed(7)
        coarse = torch.rand(1, 1, 12, 12, generator=generator)
        image = functional.interpolate(coarse, (side, side), mode="bicubic")[0]
        images = image + 0.03 * torch.randn(slices, side, side, generator=generator)
        self.features = model.encode_image(model.normalize(images.clamp(0, 1) * 255))
        self.top = self.features.top
        last = model.config.num_memories - 1
        self.memories = []
        for number in range(memories):
            logits = torch.full((objects, 1, side // 4, side // 4), -8.0)
            for row in range(objects):
                logits[row, 0, side // 16 + number : side // 8 + row, side // 12 : side // 6] = 8.0
            top = self.top[:1].roll(number + 1, 3).expand(objects, -1, -1, -1)
            memory = model.encode_memory(top, logits, torch.ones(objects), number == 0)
            self.memories.append((memory, last - number))
        channels = model.config.hidden_dim
        self.pointers = [
            (0.5 * torch.randn(objects, channels, generator=generator), float(n + 1)) for n in range(pointers)
        ]

    def plain(self, model: SAM2, span: int | None = None) -> Tensor:
        objects = self.memories[0][0].features.shape[0]
        top = self.top.expand(objects, -1, -1, -1)
        return model.condition_on_memory(top, self.memories, self.pointers, span)

    def fast(self, attention: FastMemoryAttention, span: int | None = None) -> Tensor:
        memories = [(attention.remember(memory), index) for memory, index in self.memories]
        return attention.attend(attention.prepare(self.top), memories, self.pointers, span)


def relative_error(result: Tensor, truth: Tensor) -> float:
    return float((result - truth).abs().max() / truth.abs().max())


CASES = [
    pytest.param(MEDSAM2, 512, (1, 1, 7, 8), id="full memory at 512"),
    pytest.param(MEDSAM2, 256, (1, 1, 1, 0), id="first slice after the prompt, no pointers"),
    pytest.param(MEDSAM2, 256, (1, 3, 3, 2), id="three objects on one slice"),
    pytest.param(MEDSAM2, 256, (2, 2, 4, 3), id="two directions as one batch"),
    pytest.param(NANO, 192, (1, 2, 4, 8), id="bundled network"),
    pytest.param(NANO, 128, (2, 2, 2, 1), id="bundled network at another size"),
    pytest.param(NARROW, 128, (1, 1, 5, 3), id="other widths and depths"),
]


@pytest.mark.parametrize(("config", "side", "counts"), CASES)
def test_exact_tier_gives_the_result_of_the_plain_network(config, side, counts):
    model = network(config)
    with torch.inference_mode():
        scene = Scene(model, side, *counts)
        attention = FastMemoryAttention(model, choose("cpu", Tier.EXACT, model))
        plain, fast = scene.plain(model), scene.fast(attention)
    assert fast.shape == plain.shape
    assert fast.dtype == torch.float32
    assert relative_error(fast, plain) <= 3e-5


def test_attention_as_on_a_gpu_gives_the_same():
    model = network(NANO)
    with torch.inference_mode():
        scene = Scene(model, 128, 2, 2, 3, 2)
        attention = FastMemoryAttention(model, choose("cpu", Tier.EXACT, model))
        attention.arithmetic._chunks = attention.arithmetic._fuses = False  # what it takes on CUDA and MPS
        assert relative_error(scene.fast(attention), scene.plain(model)) <= 3e-5


def test_the_span_of_pointers_counts_as_in_the_plain_network():
    model = network(NANO)
    with torch.inference_mode():
        scene = Scene(model, 128, 1, 1, 2, 3)
        attention = FastMemoryAttention(model, choose("cpu", Tier.EXACT, model))
        assert relative_error(scene.fast(attention, 4), scene.plain(model, 4)) <= 3e-5
        assert relative_error(scene.fast(attention, 4), scene.plain(model, 8)) > 1e-4


@pytest.mark.parametrize("tier", list(Tier))
def test_keys_that_are_not_kept_give_the_same_bits(tier):
    model = network(NANO)
    precision = choose("cpu", tier, model)
    with torch.inference_mode():
        scene = Scene(model, 128, 1, 2, 3, 2)
        kept, computed = (FastMemoryAttention(model, precision, keys_limit_bytes=n) for n in (1 << 30, 0))
        memory = scene.memories[0][0]
        assert kept.remember(memory).keys
        assert not computed.remember(memory).keys
        assert kept.remember(memory).num_bytes > computed.remember(memory).num_bytes > 0
        assert torch.equal(scene.fast(kept), scene.fast(computed))


@pytest.mark.parametrize("config", [MEDSAM2, NANO], ids=lambda config: config.name)
def test_balanced_tier_draws_the_same_masks(config):
    model = network(config)
    precision = choose("cpu", Tier.BALANCED, model)
    with torch.inference_mode():
        scene = Scene(model, 256 if config is MEDSAM2 else 192, 1, 1, 4, 4)
        attention = FastMemoryAttention(model, precision)
        _, mid, fine = scene.features
        plain, fast = (
            model.decode(x, mid, fine).logits > 0 for x in (scene.plain(model), scene.fast(attention))
        )
    assert plain.any()
    assert (plain & fast).sum() / (plain | fast).sum() >= 0.98


def test_objects_can_be_taken_apart_and_joined_again():
    model = network(NANO)
    attention = FastMemoryAttention(model, choose("cpu", Tier.EXACT, model))
    with torch.inference_mode():
        scene = Scene(model, 128, 1, 3, 1, 0)
        together = attention.remember(scene.memories[0][0])
        again = MemoryKeys.join([together.take([n]) for n in range(3)])
        assert again.batch == together.batch == 3
        assert torch.equal(again.values, together.values)
        assert all(torch.equal(a, b) for a, b in zip(again.keys, together.keys, strict=True))
        prepared = attention.prepare(scene.top)
        whole = attention.attend(prepared, [(together, 3)])
        assert relative_error(attention.attend(prepared, [(together.take([2, 0]), 3)]), whole[[2, 0]]) <= 1e-6


def test_the_same_input_gives_the_same_bits():
    model = network(NANO)
    attention = FastMemoryAttention(model, choose("cpu", Tier.BALANCED, model))
    with torch.inference_mode():
        scene = Scene(model, 128, 1, 2, 2, 2)
        assert torch.equal(scene.fast(attention), scene.fast(attention))


def test_nothing_to_attend_to_is_an_error():
    model = network(NANO)
    attention = FastMemoryAttention(model, choose("cpu", Tier.EXACT, model))
    with pytest.raises(ValueError, match="at least one memory"):
        attention.attend(torch.zeros(1, 64, 128), [])


def test_inputs_and_settings_of_torch_stay_as_they_were():
    model = network(NANO)
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    attention = FastMemoryAttention(model, choose("cpu", Tier.EXACT, model))
    with torch.inference_mode():
        scene = Scene(model, 128, 1, 1, 2, 1)
        copies = [part.clone() for part in (scene.top, scene.memories[0][0].features, scene.pointers[0][0])]
        prepared = attention.prepare(scene.top)
        copy = prepared.clone()
        attention.attend(prepared, [(attention.remember(m), t) for m, t in scene.memories], scene.pointers)
        assert torch.equal(prepared, copy)
        now = (scene.top, scene.memories[0][0].features, scene.pointers[0][0])
        assert all(torch.equal(a, b) for a, b in zip(copies, now, strict=True))
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before
    assert default_threads() >= 1


def test_permuted_channels_keep_every_channel_once():
    assert sorted(channel_order(64).tolist()) == list(range(64))


def test_a_memory_in_bfloat16_is_remembered_in_the_arithmetic_of_the_tier():
    model = network(NANO)
    memory = Memory(torch.zeros(2, 64, 8, 8, dtype=torch.bfloat16), torch.zeros(1, 64, 8, 8))
    for tier in (Tier.EXACT, Tier.BALANCED):
        precision = choose("cpu", tier, model)
        keys = FastMemoryAttention(model, precision).remember(memory)
        assert keys.values.dtype == precision.dtype
        assert keys.batch == 2
