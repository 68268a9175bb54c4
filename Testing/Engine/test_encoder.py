"""The fast image encoder against the plain one."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from MedSAMSlicerLib.core.tiers import Tier
from MedSAMSlicerLib.engine.encoder import FastEncoder
from MedSAMSlicerLib.engine.precision import choose
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.config import BASE_PLUS, LARGE, MEDSAM2, NANO, SMALL, Config
from MedSAMSlicerLib.sam2.model import SAM2


@lru_cache(maxsize=2)
def network(config: Config) -> SAM2:
    return seeded(config)


def frames(side: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(count, 1, 9, 9, generator=generator)
    return SAM2.normalize(
        functional.interpolate(coarse, (side, side), mode="bicubic")[:, 0].clamp(0, 1) * 255
    )


@pytest.mark.parametrize(
    ("config", "side", "count"),
    [
        pytest.param(MEDSAM2, 512, 1, id="tiny at 512"),
        pytest.param(MEDSAM2, 256, 2, id="tiny, two frames"),
        pytest.param(MEDSAM2, 320, 1, id="windows that do not fit the grid"),
        pytest.param(SMALL, 256, 1, id="small"),
        pytest.param(BASE_PLUS, 192, 1, id="base plus", marks=pytest.mark.slow),
        pytest.param(LARGE, 192, 1, id="large", marks=pytest.mark.slow),
        pytest.param(NANO, 192, 2, id="bundled"),
    ],
)
def test_exact_tier_gives_the_features_of_the_plain_network(config, side, count):
    model = network(config)
    encode = FastEncoder(model, choose("cpu", Tier.EXACT, model))
    with torch.inference_mode():
        for fast, plain in zip(
            encode(frames(side, count)), model.encode_image(frames(side, count)), strict=True
        ):
            assert fast.shape == plain.shape
            assert (fast - plain).abs().max() <= 1e-5 * plain.abs().max()


def test_balanced_tier_is_as_close_as_torchs_own_bfloat16_autocast():
    model = network(MEDSAM2)
    encode = FastEncoder(model, choose("cpu", Tier.BALANCED, model))
    with torch.inference_mode():
        plain = model.encode_image(frames(256))
        with torch.autocast("cpu", torch.bfloat16):
            autocast = model.encode_image(frames(256))
        for fast, theirs, truth in zip(encode(frames(256)), autocast, plain, strict=True):
            assert fast.dtype == torch.float32
            assert (fast - truth).norm() <= 1.3 * (theirs.float() - truth).norm() + 1e-5 * truth.norm()


def test_a_pause_is_offered_between_the_blocks_and_may_give_up():
    model = network(MEDSAM2)
    encode = FastEncoder(model, choose("cpu", Tier.EXACT, model))
    pauses = []
    encode(frames(256), lambda: pauses.append(1))
    assert len(pauses) >= 12

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        encode(frames(256), stop)


def test_the_same_frame_gives_the_same_bits_alone():
    model = network(MEDSAM2)
    encode = FastEncoder(model, choose("cpu", Tier.BALANCED, model))
    first, second = encode(frames(256)), encode(frames(256))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_exact_tier_uses_the_weights_of_the_network_and_the_balanced_one_a_copy():
    model = network(MEDSAM2)
    weight = model.image_encoder.trunk.blocks[0].attn.qkv.weight
    exact = FastEncoder(model, choose("cpu", Tier.EXACT, model))
    assert exact._trunk._blocks[0]._qkv[0].data_ptr() == weight.data_ptr()
