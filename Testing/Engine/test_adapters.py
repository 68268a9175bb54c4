"""Adapters: the identity at first, the only thing that learns, and saved alone for the network they belong to."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from MedSAMSlicerLib.core.errors import CheckpointError, MedSAMError
from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.sam2 import SAM2, TINY, HieraConfig
from MedSAMSlicerLib.sam2.adapters import (
    KINDS,
    PREFIX,
    AdapterConfig,
    adapter_weights,
    attach,
    base_hash,
    load_adapters,
    serialized_adapters,
    set_modality,
    set_stack,
)
from MedSAMSlicerLib.sam2.checkpoint import seeded, without_storage
from MedSAMSlicerLib.sam2.config import SAM_B
from MedSAMSlicerLib.sam2.model import DecoderPrompts
from MedSAMSlicerLib.sam2.plug_ins import Clicks
from MedSAMSlicerLib.sam2.sam1 import SAM1

from .sam1_oracles import SMALL_VIT, seeded_sam1

SMALL_HIERA = replace(
    TINY,
    name="small_hiera",
    image_size=64,
    trunk=HieraConfig(16, 1, (1, 1, 2, 1), (2,), (8, 4, 4, 2), position_embedding_size=(7, 7)),
)
LAYERS = {
    "lora": "image_encoder.*.qkv",
    "bottleneck": "image_encoder.*.attn image_encoder.*.mlp",
    "hyper": "image_encoder.*.mlp",
    "depth": "image_encoder.*.attn",
    "temporal": "image_encoder.*.attn",
    "channel-spatial": "image_encoder.*.mlp",
    "depthwise-3d": "image_encoder.*blocks.?",
    "parallel-conv": "image_encoder.*blocks.1",
    "modality": "image_encoder.*.mlp",
}


def network(name: str) -> SAM1 | SAM2:
    return seeded_sam1(SMALL_VIT) if name == "vit" else seeded(SMALL_HIERA)


def frames(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def encoded(model: Any, images: torch.Tensor) -> torch.Tensor:
    found = model.encode_image(images)
    return found if isinstance(found, torch.Tensor) else found.top


def stirred(model: Any) -> None:
    """Give every adapter weights that matter."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if PREFIX in name:
                weight.copy_(torch.randn(weight.shape, generator=random) * 0.3)


def test_every_plug_in_is_tested_here() -> None:
    assert LAYERS.keys() | {"click-feature"} == set(KINDS)


@pytest.mark.parametrize("trunk", ["vit", "hiera"])
def test_every_plug_in_is_the_identity_at_first_and_something_else_once_it_has_learned(trunk: str) -> None:
    images = frames()
    with torch.no_grad():
        plain = encoded(network(trunk), images)
    for kind in LAYERS:
        model = network(trunk)
        learning = attach(model, [AdapterConfig(kind, LAYERS[kind])])
        set_stack(model, 2)
        set_modality(model, "CT")
        with torch.no_grad():
            assert torch.equal(encoded(model, images), plain), kind
            stirred(model)
            assert not torch.allclose(encoded(model, images), plain, atol=1e-3), kind
        assert {id(p) for p in learning} == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize("kind", ["depth", "temporal", "depthwise-3d"])
def test_along_a_stack_each_slice_depends_on_its_neighbors_and_on_no_other_stack(kind: str) -> None:
    model = network("vit")
    attach(model, [AdapterConfig(kind, LAYERS[kind])])
    set_stack(model, 2)
    stirred(model)
    images = frames()
    changed = images.clone()
    changed[1] += 1.0
    with torch.no_grad():
        before, after = encoded(model, images), encoded(model, changed)
    assert not torch.allclose(before[0], after[0], atol=1e-4)
    assert torch.allclose(before[2:], after[2:], atol=1e-5)
    set_stack(model, 3)
    with pytest.raises(MedSAMError, match="4 slices cannot be divided into stacks of 3"), torch.no_grad():
        encoded(model, images)


IN_DECODER = {"hyper": "*mask_decoder.transformer.layers.*.mlp", "click-feature": "*mask_decoder"}
POINT, BOX = ([[20.0, 30.0]], [1]), ([[5.0, 5.0], [40.0, 40.0]], [2, 3])


def drawn(model: Any, *prompts: tuple[list[list[float]], list[int]]) -> torch.Tensor:
    """The logits of objects with as many points each, on the same image."""
    points, labels = (torch.tensor([each[part] for each in prompts]) for part in (0, 1))
    with torch.no_grad():
        found = model.encode_image(frames(1))
        given = DecoderPrompts(points, labels)
        if isinstance(found, torch.Tensor):
            return model.candidates(found, given)[0]
        top = model.condition_first(found.top).expand(len(points), -1, -1, -1)
        return model.candidates(top, found.mid, found.fine, given).logits


@pytest.mark.parametrize("trunk", ["vit", "hiera"])
@pytest.mark.parametrize("kind", IN_DECODER)
def test_plug_ins_of_the_decoder_are_the_identity_at_first_and_know_the_prompts_of_each_object(
    trunk: str, kind: str
) -> None:
    model, other = network(trunk), ([[44.0, 12.0]], [1])
    plain = drawn(model, POINT, other), drawn(model, BOX)
    learning = attach(model, [AdapterConfig(kind, IN_DECODER[kind])])
    assert {id(p) for p in learning} == {id(p) for p in model.parameters() if p.requires_grad}
    assert torch.equal(drawn(model, POINT, other), plain[0])
    stirred(model)
    together = drawn(model, POINT, other)
    assert not torch.allclose(together, plain[0], atol=1e-3)
    assert torch.allclose(together[1:], drawn(model, other), atol=1e-4)  # no object knows the other's prompts
    changed = not torch.allclose(drawn(model, BOX), plain[1], atol=1e-3)
    assert changed == (kind == "hyper")  # a box is no click
    copied = copy.deepcopy(model)
    assert torch.equal(drawn(copied, POINT, other), together)


def test_a_click_gets_what_the_image_shows_at_its_place() -> None:
    model = network("vit")
    attach(model, [AdapterConfig("click-feature", "mask_decoder", scale=1.0)])
    adapter = model.mask_decoder.adapter_click_feature
    stirred(model)
    image = torch.randn(2, 256, 4, 4, generator=torch.Generator().manual_seed(3))
    points = torch.tensor(
        [[[8 - 0.5, 40 - 0.5], [0.0, 0.0]]] * 2
    )  # the center of column 0, row 2, of cells of 16
    adapter.context.clicks = Clicks(points, torch.tensor([[1, -1], [0, 2]]), 64)
    prompts = torch.zeros(2, 3, 256)
    with torch.no_grad():
        found = adapter.joined(image, prompts)
        expected = adapter.up(torch.nn.functional.gelu(adapter.down(image[:, :, 2, 0])))
    assert torch.allclose(found[:, 0], expected, atol=1e-5)
    assert not found[:, 1:].any()


def test_what_one_modality_has_learned_shows_on_no_other() -> None:
    model, images = network("vit"), frames()
    attach(model, [AdapterConfig("modality", LAYERS["modality"])])
    with torch.no_grad():
        plain = encoded(model, images)
        for name, weight in model.named_parameters():
            if ".ups.1." in name:  # of MR
                weight.fill_(0.1)
        seen = {}
        for kind in ("MRI", "mr", "CT", "portrait", None):
            set_modality(model, kind)
            seen[kind] = encoded(model, images)
    assert torch.equal(seen["MRI"], seen["mr"])
    assert not torch.allclose(seen["MRI"], plain, atol=1e-3)
    assert all(torch.equal(seen[kind], plain) for kind in ("CT", "portrait", None))


def test_the_engine_shows_plug_ins_along_a_stack_whole_blocks_of_slices() -> None:
    model = network("hiera")
    attach(model, [AdapterConfig("temporal", LAYERS["temporal"], stack=4)])
    stirred(model)
    array = np.random.default_rng(0).normal(0, 50, (10, 32, 32)).astype(np.float32)
    geometry = VolumeGeometry.from_spacing(array.shape, (1, 1, 1))

    def features(volume: np.ndarray, order: range) -> dict[int, torch.Tensor]:
        segmenter = VolumeSegmenter(volume, geometry, model, Window(-100, 100), tier="exact", threads=1)
        store, whole = segmenter.network().store, segmenter.whole()
        return {index: store.get(index, whole).top for index in order}

    forward = features(array, range(10))
    backward = features(array, range(9, -1, -1))
    assert all(torch.equal(forward[index], backward[index]) for index in range(10))
    changed = array.copy()
    changed[5] += 40
    after = features(changed, range(10))
    differ = [index for index in range(10) if not torch.allclose(forward[index], after[index], atol=1e-4)]
    assert differ == [4, 5, 6, 7]  # the block of slice 5
    segmenter = VolumeSegmenter(array, geometry, model, Window(-100, 100), tier="exact", threads=1)
    whole = segmenter.whole()
    shown = np.stack([whole.frame(segmenter.frame(min(index, 9))) for index in range(8, 12)])
    set_stack(model, 4)
    with torch.no_grad():
        last = model.encode_image(
            model.normalize(torch.from_numpy(shown))
        ).top  # the last slice stands for two more
    assert torch.allclose(forward[9], last[1:2], atol=1e-5)


def test_the_temporal_adapter_is_its_formula() -> None:
    model = network("vit")
    attach(model, [AdapterConfig("temporal", "image_encoder.blocks.1.attn")])
    set_stack(model, 4)
    stirred(model)
    attention = model.image_encoder.blocks[1].attn
    adapter = attention.adapter_temporal
    given = torch.randn(4, 4, 4, 32, generator=torch.Generator().manual_seed(2))
    adapter.context.image = frames()
    with torch.no_grad():
        found = adapter.added(attention, given, given)
        expected = torch.zeros_like(given)
        for i in range(4):
            weights = torch.tensor([float(np.exp(-abs(i - j) / 3)) for j in range(4)])
            mixed = sum(w * given[j] for j, w in enumerate(weights / weights.sum())).flatten(0, 1)
            q = attention.qkv(given[i].flatten(0, 1))[:, :32].unflatten(1, (2, 16))
            k, v = (part.unflatten(1, (2, 16)) for part in attention.qkv(mixed)[:, 32:].chunk(2, 1))
            scores = torch.softmax(torch.einsum("qhc,khc->hqk", q, k) / 4, -1)
            attended = torch.einsum("hqk,khc->qhc", scores, v).flatten(1)
            expected[i] = (0.5 * adapter.up(attended)).view(4, 4, 32)
    assert torch.allclose(found, expected, atol=1e-5)


def test_med_sa_style_bottlenecks_are_a_small_share_of_vit_b() -> None:
    model = without_storage(SAM_B)
    whole = sum(p.numel() for p in model.parameters())
    with torch.device("meta"):
        learning = attach(model, [AdapterConfig("bottleneck", LAYERS["bottleneck"], ratio=0.0625)])
    assert 0 < sum(p.numel() for p in learning) < 0.03 * whole


def test_training_changes_the_adapters_alone_and_brings_the_network_nearer_to_what_is_wanted() -> None:
    model = network("vit")
    base = base_hash(model)
    learning = attach(model, [AdapterConfig("bottleneck", LAYERS["bottleneck"], scale=1.0)])
    copied = copy.deepcopy(model)
    teacher = network("vit")
    attach(teacher, [AdapterConfig("bottleneck", LAYERS["bottleneck"], scale=1.0)])
    stirred(teacher)
    with torch.no_grad():
        wanted = teacher.encode_image(frames())
    optimizer = torch.optim.Adam(learning, 1e-2)
    losses = []
    for _ in range(25):
        loss = (model.encode_image(frames()) - wanted).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert base_hash(model) == base
    with torch.no_grad():
        assert torch.equal(copied.encode_image(frames()), network("vit").encode_image(frames()))


@pytest.mark.parametrize("kind", IN_DECODER)
def test_plug_ins_of_the_decoder_learn_to_draw_what_a_teacher_with_them_draws(kind: str) -> None:
    config = AdapterConfig(kind, IN_DECODER[kind], scale=1.0)
    teacher, model = network("vit"), network("vit")
    attach(teacher, [config])
    stirred(teacher)
    learning = attach(model, [config])
    wanted = drawn(teacher, POINT)
    embedding = model.encode_image(frames(1)).detach()
    given = DecoderPrompts(*(torch.tensor([part]) for part in POINT))
    optimizer = torch.optim.Adam(learning, 1e-2)
    losses = []
    for _ in range(25):
        loss = (model.candidates(embedding, given)[0] - wanted).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Any, Path]:
    model = network("hiera")
    attach(model, [AdapterConfig("bottleneck", LAYERS["bottleneck"]), AdapterConfig("lora", LAYERS["lora"])])
    stirred(model)
    (tmp_path / "own.safetensors").write_bytes(serialized_adapters(model, {"license": "Apache-2.0"}))
    return model, tmp_path / "own.safetensors"


def test_adapters_are_saved_alone_and_come_back_on_the_network_they_were_trained_for(trained: Any) -> None:
    model, path = trained
    assert path.stat().st_size < 200_000
    again = network("hiera")
    load_adapters(again, path)
    assert adapter_weights(again).keys() == adapter_weights(model).keys()
    with torch.no_grad():
        assert torch.equal(encoded(again, frames()), encoded(model, frames()))


def test_another_network_is_refused_by_the_hash_of_its_weights(trained: Any) -> None:
    with pytest.raises(CheckpointError, match=r"own\.safetensors belong to another network"):
        load_adapters(seeded(SMALL_HIERA, 5), trained[1])


def test_other_files_and_plug_ins_that_do_not_fit_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"broken\.safetensors is damaged"):
        load_adapters(network("hiera"), tmp_path / "broken.safetensors")
    with pytest.raises(MedSAMError, match="There is no adapter 'prefix'"):
        AdapterConfig("prefix", "*")
    with pytest.raises(MedSAMError, match="fits no layer of this network: it belongs on nowhere"):
        attach(network("vit"), [AdapterConfig("bottleneck", "nowhere")])
    with pytest.raises(MedSAMError, match="has no adapters"):
        serialized_adapters(network("vit"))


def test_the_engine_computes_with_adapters(trained: Any) -> None:
    model, _ = trained
    volume = np.random.default_rng(0).integers(0, 255, (2, 64, 64), dtype=np.uint8)
    geometry = VolumeGeometry.from_spacing(volume.shape, (1.0, 1.0, 1.0))

    def features(network: Any) -> torch.Tensor:
        segmenter = VolumeSegmenter(
            volume, geometry, network, Window(0, 255, "full"), tier="exact", threads=1, volume_stage="off"
        )
        with segmenter.settings(), torch.inference_mode():
            return segmenter.network().features([(0, segmenter.whole())]).top

    with_adapters, without = features(model), features(network("hiera"))
    assert not torch.allclose(with_adapters, without, atol=1e-3)
    frame = SAM2.normalize(torch.from_numpy(volume[:1]))
    with torch.no_grad():
        assert torch.allclose(with_adapters, model.encode_image(frame).top, atol=1e-3)
