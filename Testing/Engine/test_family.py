"""Networks of the family beside SAM 2: as published on the same weights, and from every form their files come in."""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from MedSAMSlicerLib.core.errors import CheckpointError  # noqa: E402
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry  # noqa: E402
from MedSAMSlicerLib.engine.view import FrameView  # noqa: E402
from MedSAMSlicerLib.sam2 import DecoderPrompts  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import load_network, save, seeded, without_storage  # noqa: E402
from MedSAMSlicerLib.sam2.config import (  # noqa: E402
    EFFICIENTTAM_S,
    EFFICIENTTAM_TI,
    FT_SAM,
    LITEMEDSAM,
    LITEMEDSAM_INPUT,
    MEDSAM,
    MEDSAM_INPUT,
    MOBILE_SAM,
    PUBLISHED,
    SAM_B,
    SAM_H,
    SAM_INPUT,
    SAM_L,
    SAM_MED2D,
    SMALL,
    InputRule,
    Sam1Config,
    TinyViTConfig,
    any_config,
)
from MedSAMSlicerLib.sam2.dialects import recognize, renamed  # noqa: E402
from MedSAMSlicerLib.sam2.input_rule import normalized  # noqa: E402
from MedSAMSlicerLib.sam2.sam1 import SAM1  # noqa: E402

from .sam1_oracles import (  # noqa: E402
    SMALL_VIT,
    imported,
    published_heads,
    published_names,
    published_sam,
    seeded_sam1,
)

EFFICIENT = replace(
    EFFICIENTTAM_TI,
    name="small_efficienttam",
    image_size=64,
    trunk=replace(
        EFFICIENTTAM_TI.trunk,
        width=24,
        heads=2,
        depth=3,
        global_blocks=(1,),
        grid=4,
        window=3,
        position_grid=3,
    ),
    memory_attention_feedforward=64,
    decoder_feedforward=64,
)
TOLERANCE = 1e-4


def frames(count: int = 1, side: int = 64, seed: int = 0) -> Any:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def largest_difference(ours: Any, theirs: Any) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).detach().abs().max())


# ------------------------------------------------------------------------------------------------- as published


@pytest.fixture(scope="module")
def vit() -> SAM1:
    return seeded_sam1(SMALL_VIT)


PROMPTS = {
    "one point": {"point_coords": [[[20.0, 30.0]]], "point_labels": [[1]]},
    "points": {"point_coords": [[[20.0, 30.0], [50.0, 12.0]]], "point_labels": [[1, 0]]},
    "box": {"boxes": [[8.0, 9.0, 50.0, 60.0]]},
    "box and point": {
        "point_coords": [[[20.0, 30.0]]],
        "point_labels": [[0]],
        "boxes": [[8.0, 9.0, 50.0, 60.0]],
    },
    "points and mask": {"point_coords": [[[20.0, 30.0]]], "point_labels": [[1]], "mask_inputs": True},
}


def ours_and_theirs(name: str) -> tuple[DecoderPrompts, tuple[Any, Any, Any]]:
    """The same prompts for our decoder and for the package's prompt encoder."""
    given = PROMPTS[name]
    mask = (
        5 * torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(3))
        if "mask_inputs" in given
        else None
    )
    points = torch.tensor(given["point_coords"]) if "point_coords" in given else None
    labels = torch.tensor(given["point_labels"]) if "point_labels" in given else None
    boxes = torch.tensor(given["boxes"]) if "boxes" in given else None
    corners = None if boxes is None else boxes.view(1, 2, 2)
    all_points = [p for p in (points, corners) if p is not None]
    all_labels = [x for x in (labels, None if boxes is None else torch.tensor([[2, 3]])) if x is not None]
    prompts = DecoderPrompts(torch.cat(all_points, 1), torch.cat(all_labels, 1), mask)
    return prompts, (None if points is None else (points, labels), boxes, mask)


def heads_of(theirs: Any, embedding: Any, given: tuple[Any, Any, Any], multimask: bool) -> tuple[Any, Any]:
    sparse, dense = theirs.prompt_encoder(points=given[0], boxes=given[1], masks=given[2])
    return theirs.mask_decoder(
        image_embeddings=embedding,
        image_pe=theirs.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )


@pytest.mark.parity
def test_the_vision_transformer_and_every_prompt_give_what_segment_anything_gives(vit: SAM1) -> None:
    theirs = published_sam(vit)
    with torch.no_grad():
        embedding = vit.encode_image(frames())
        expected = theirs.image_encoder(frames())
        assert largest_difference(embedding, expected) < TOLERANCE
        for name in PROMPTS:
            prompts, given = ours_and_theirs(name)
            logits, iou = vit.candidates(embedding, prompts)
            for multimask, some in ((True, slice(1, 4)), (False, slice(0, 1))):
                masks, quality = heads_of(theirs, expected, given, multimask)
                assert largest_difference(logits[:, some], masks) < TOLERANCE, name
                assert largest_difference(iou[:, some], quality) < TOLERANCE, name


@pytest.mark.parity
def test_a_swapped_table_of_distances_would_be_seen() -> None:
    ours = seeded_sam1(SMALL_VIT)
    theirs = published_sam(ours)
    with torch.no_grad():
        attention = ours.image_encoder.blocks[1].attn
        rows = attention.rel_pos_h.clone()
        attention.rel_pos_h.copy_(attention.rel_pos_w)
        attention.rel_pos_w.copy_(rows)
        assert largest_difference(ours.encode_image(frames()), theirs.image_encoder(frames())) > 1e-2


@pytest.mark.parity
def test_another_image_size_than_the_trained_one_resamples_the_positions_as_the_package_does(
    vit: SAM1,
) -> None:
    theirs = published_sam(vit).image_encoder
    with torch.no_grad():
        larger = frames(side=96)
        position = torch.nn.functional.interpolate(
            theirs.pos_embed.permute(0, 3, 1, 2), (6, 6), mode="bilinear"
        )
        theirs.pos_embed = torch.nn.Parameter(position.permute(0, 2, 3, 1))
        assert largest_difference(vit.encode_image(larger), theirs(larger)) < TOLERANCE


@pytest.mark.parity
def test_attention_in_parts_is_attention_at_once(vit: SAM1, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        at_once = vit.encode_image(frames(2))
        monkeypatch.setattr("MedSAMSlicerLib.sam2.vit._MOST_LOGITS", 1)
        assert largest_difference(vit.encode_image(frames(2)), at_once) < 1e-5


@pytest.mark.parity
def test_transformers_gives_the_same_from_the_same_file(vit: SAM1, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    trunk = SMALL_VIT.trunk
    vision = {
        "hidden_size": trunk.width,
        "num_hidden_layers": trunk.depth,
        "num_attention_heads": trunk.heads,
        "image_size": 64,
        "patch_size": 16,
        "window_size": trunk.window,
        "global_attn_indexes": list(trunk.global_blocks),
        "mlp_dim": 4 * trunk.width,
    }
    prompts_of = {"image_size": 64, "patch_size": 16}
    config = transformers.SamConfig(vision, prompts_of, {"mlp_dim": 64})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs = transformers.SamModel(config).eval()
        for name, weight in theirs.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                torch.nn.init.normal_(weight, std=0.3)
    save_file({name: w.clone() for name, w in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    ours = load_network(tmp_path / "model.safetensors", SMALL_VIT)
    assert isinstance(ours, SAM1)
    with torch.no_grad():
        answer = theirs(
            pixel_values=frames(),
            input_points=torch.tensor([[[[20.0, 30.0], [50.0, 12.0]]]]),
            input_labels=torch.tensor([[[1, 0]]]),
            multimask_output=True,
        )
        prompts = DecoderPrompts(torch.tensor([[[20.0, 30.0], [50.0, 12.0]]]), torch.tensor([[1, 0]]))
        logits, iou = ours.candidates(ours.encode_image(frames()), prompts)
    assert largest_difference(logits[:, 1:], answer.pred_masks[:, 0]) < TOLERANCE
    assert largest_difference(iou[:, 1:], answer.iou_scores[:, 0]) < TOLERANCE


@pytest.mark.parity
def test_mobilesam_gives_what_its_package_gives_with_random_statistics_of_its_norms() -> None:
    modeling = imported("mobile_sam.modeling")
    config = replace(
        MOBILE_SAM,
        name="small_mobile",
        image_size=224,
        trunk=TinyViTConfig((32, 32, 64, 320), (1, 1, 1, 1), (7, 7, 7, 7)),
        decoder_feedforward=64,
    )
    ours = seeded_sam1(config)
    encoder = modeling.TinyViT(
        img_size=224, num_classes=1, embed_dims=[32, 32, 64, 320], depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 10],
        window_sizes=[7, 7, 7, 7], drop_path_rate=0.0,
    )  # fmt: skip
    theirs = modeling.Sam(encoder, *published_heads(modeling, 224, 14, 64))
    unused = ("image_encoder.norm_head", "image_encoder.head")
    missing, unknown = theirs.load_state_dict(published_names(ours.state_dict()), strict=False)
    assert not unknown
    assert all(n.startswith(unused) or n.endswith(("bias_idxs", "num_batches_tracked")) for n in missing)
    theirs.eval()
    with torch.no_grad():
        embedding, expected = ours.encode_image(frames(side=224)), embedded(encoder, frames(side=224))
        assert largest_difference(embedding, expected) < TOLERANCE
        prompts, given = ours_and_theirs("one point")
        masks, quality = heads_of(theirs, expected, given, True)
        logits, iou = ours.candidates(embedding, prompts)
        assert largest_difference(logits[:, 1:], masks) < TOLERANCE
        assert largest_difference(iou[:, 1:], quality) < TOLERANCE


def embedded(encoder: Any, images: Any) -> Any:
    """What the package's TinyViT does, which by itself is made for 1024 pixels alone."""
    tokens = encoder.patch_embed(images)
    for layer in encoder.layers:
        tokens = layer(tokens)
    return encoder.neck(tokens.unflatten(1, (14, 14)).permute(0, 3, 1, 2))


@pytest.mark.parity
def test_sam_med2d_without_its_adapters_is_sam_and_with_them_their_formula() -> None:
    config = replace(SMALL_VIT, trunk=replace(SMALL_VIT.trunk, adapters=True))
    ours = seeded_sam1(config)
    theirs = published_sam_without_adapters(ours)
    block, weights = ours.image_encoder.blocks[0], ours.state_dict()
    with torch.no_grad():
        tokens = torch.randn(2, 4, 4, 32, generator=torch.Generator().manual_seed(5))
        prefix = "image_encoder.blocks.0.Adapter."
        hidden = torch.relu(tokens.mean((1, 2)) @ weights[prefix + "channel.0.weight"].T)
        gate = torch.sigmoid(hidden @ weights[prefix + "channel.2.weight"].T)
        gated = (tokens * gate[:, None, None, :]).permute(0, 3, 1, 2)
        down = torch.relu(torch.nn.functional.conv2d(gated, weights[prefix + "spatial.0.weight"], None, 2, 1))
        up = torch.relu(
            torch.nn.functional.conv_transpose2d(down, weights[prefix + "spatial.2.weight"], None, 2, 1)
        )
        summed = tokens + up.permute(0, 2, 3, 1)
        centered = summed - summed.mean(-1, keepdim=True)
        expected = centered / (summed.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        expected = expected * weights[prefix + "norm.weight"] + weights[prefix + "norm.bias"]
        assert largest_difference(block.Adapter(tokens), expected) < 1e-5
        assert largest_difference(ours.encode_image(frames()), theirs.image_encoder(frames())) > 1e-2
        for some in ours.image_encoder.blocks:
            some.Adapter.norm.weight.zero_()
            some.Adapter.norm.bias.zero_()
        assert largest_difference(ours.encode_image(frames()), theirs.image_encoder(frames())) < TOLERANCE


def published_sam_without_adapters(model: SAM1) -> Any:
    plain = SAM1(replace(model.config, trunk=replace(model.config.trunk, adapters=False)))
    plain.load_state_dict({n: w for n, w in model.state_dict().items() if ".Adapter." not in n})
    return published_sam(plain)


def test_efficienttam_has_no_finer_maps_no_positions_of_pointers_and_no_embedding_of_absence() -> None:
    model = seeded(EFFICIENT)
    with torch.no_grad():
        top, mid, fine = model.encode_image(frames(2))
        assert (top.shape, mid.numel(), fine.numel()) == ((2, 256, 4, 4), 0, 0)
        first = model.decode(
            model.condition_first(top[:1]),
            mid,
            fine,
            DecoderPrompts(torch.tensor([[[9.0, 9.0]]]), torch.tensor([[1]])),
        )
        absent = model.encode_memory(top[:1], first.logits, -first.object_score.abs(), False)
        present = model.encode_memory(top[:1], first.logits, first.object_score.abs(), False)
        assert torch.equal(absent.features, present.features)
        far, near = ([(first.pointer, distance)] for distance in (1.0, 9.0))
        assert torch.equal(model.pointer_tokens(far)[1], model.pointer_tokens(near)[1])
        tracked = model.condition_on_memory(top[1:], [(present, 6)], far)
        assert model.decode(tracked, mid, fine).logits.shape == (1, 1, 16, 16)


def test_the_position_embedding_of_efficienttam_drops_its_class_token_and_is_enlarged_bicubically() -> None:
    encoder = seeded(EFFICIENT).image_encoder
    grid = encoder.pos_embed[:, 1:].reshape(1, 3, 3, 24).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, (4, 4), mode="bicubic", align_corners=False)
    assert largest_difference(encoder.position(4, 4), expected.permute(0, 2, 3, 1)) < 1e-6


@pytest.mark.parametrize(
    ("config", "parameters", "tensors"),
    [
        (SAM_B, 93_735_472, 314),
        (SAM_L, 312_342_832, None),
        (SAM_H, 641_090_608, None),
        (SAM_MED2D, 271_241_776, 386),
        (EFFICIENTTAM_TI, 17_866_018, 455),
        (EFFICIENTTAM_S, 34_055_842, 455),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_published_networks_have_as_many_weights_as_the_published_files(
    config: Any, parameters: int, tensors: int | None
) -> None:
    model = without_storage(config)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert tensors is None or len(model.state_dict()) == tensors


# -------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("config", "file_name"),
    [
        (SAM_B, "sam_vit_b_01ec64.pth"),
        (MEDSAM, "medsam_vit_b.pth"),
        (SAM_L, "sam_vit_l_0b3195.pth"),
        (SAM_H, "sam_vit_h_4b8939.pth"),
        (SAM_MED2D, "sam-med2d_b.pth"),
        (FT_SAM, "ft-sam_b.pth"),
        (MOBILE_SAM, "mobile_sam.pt"),
        (LITEMEDSAM, "lite_medsam.pth"),
        (EFFICIENTTAM_TI, "efficienttam_ti.pt"),
        (EFFICIENTTAM_S, "efficienttam_s.pt"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_published_network_is_recognized_from_its_weights_and_the_name_of_its_file(
    config: Any, file_name: str
) -> None:
    weights = without_storage(config).state_dict()
    published = published_names(weights) if isinstance(config, Sam1Config) else weights
    ours, _ = renamed(published, file_name)
    assert ours.keys() == weights.keys()
    assert recognize(ours, file_name) == config


@pytest.mark.parametrize(
    ("file_name", "config"),
    [
        ("sam2_hiera_small.pt", replace(SMALL, name="sam2_hiera_small")),
        ("sam2_hiera_s_endo18.pth", replace(SMALL, name="surgical_sam2", image_size=512)),
    ],
)
def test_sam_2_0_is_recognized_by_what_it_lacks(file_name: str, config: Any) -> None:
    config = replace(config, pointer_positions=False, absent_memory=False)
    assert recognize(without_storage(config).state_dict(), file_name) == config


def test_surgical_sam_2_1_is_the_small_network_at_512_pixels() -> None:
    weights = without_storage(SMALL).state_dict()
    assert recognize(weights, "sam2.1_hiera_s_endo18.pth") == replace(
        SMALL, name="surgical_sam2", image_size=512
    )


WRAPPED = {
    "plain": lambda weights: weights,
    "model": lambda weights: {"model": weights, "epoch": 3},
    "state_dict": lambda weights: {"state_dict": weights, "model": "sam", "epoch": 3},
    "model_state_dict": lambda weights: {"model_state_dict": weights},
    "several GPUs": lambda weights: {"model": {f"module.{name}": w for name, w in weights.items()}},
    "fine-tuned by MedSAM": lambda weights: {
        "model": {f"sam2_model.{name}": w for name, w in weights.items()}
    },
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_every_wrapper_and_prefix_gives_the_same_weights(vit: SAM1, tmp_path: Path, wrap: Any) -> None:
    torch.save(wrap(published_names(vit.state_dict())), tmp_path / "weights.pth")
    found = load_network(tmp_path / "weights.pth", SMALL_VIT)
    assert all(torch.equal(weight, vit.state_dict()[name]) for name, weight in found.state_dict().items())


class Ran(Exception):
    pass


def run() -> None:
    raise Ran


class Program:
    def __reduce__(self) -> Any:
        return run, ()


def test_objects_beside_the_weights_are_neither_built_nor_run(vit: SAM1, tmp_path: Path) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    content = {
        "model": published_names(vit.state_dict()),
        "optimizer": optimizer,
        "path_helper": {"log": pathlib.PurePosixPath("logs")},
        "arguments": argparse.Namespace(lr=1e-4),
        "counts": collections.defaultdict(list, {"a": [1]}),
        "program": Program(),
    }
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(Ran):
        torch.load(tmp_path / "weights.pth", weights_only=False)
    found = load_network(tmp_path / "weights.pth", SMALL_VIT)
    assert all(torch.equal(weight, vit.state_dict()[name]) for name, weight in found.state_dict().items())


def test_efficienttam_comes_back_from_its_published_names(tmp_path: Path) -> None:
    model = seeded(EFFICIENT)
    neck = {"0.": "conv_1x1.", "1.": "norm_0.", "2.": "conv_3x3.", "3.": "norm_1."}
    weights = {}
    for name, weight in model.state_dict().items():
        for ours, theirs in neck.items():
            name = name.replace(f"image_encoder.neck.{ours}", f"image_encoder.neck.convs.0.{theirs}")
        if name.startswith("image_encoder.") and ".neck." not in name:
            name = name.replace("image_encoder.", "image_encoder.trunk.")
        weights[name] = weight
    torch.save({"model": weights}, tmp_path / "small.pt")
    found = load_network(tmp_path / "small.pt", EFFICIENT)
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in found.state_dict().items())


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({"SemiTViT.patch_embed.weight": 1}, "a checkpoint of ESP-MedSAM"),
        ({"image_encoder.blocks.0.Space_Adapter.D_fc1.weight": 1}, "a checkpoint of Med-SA"),
        ({"image_encoder.sam_img_encoder.pos_embed": 1}, "a checkpoint of SAM-UNet"),
        ({"spatial_perceiver.latents": 1}, "a checkpoint of EdgeTAM"),
        ({"w_a_000": 1}, "with the adapters of I-MedSAM alone"),
    ],
)
def test_a_network_of_the_family_that_cannot_be_had_is_refused_by_name(
    tmp_path: Path, weights: dict[str, int], sentence: str
) -> None:
    torch.save({"model": {name: torch.zeros(size) for name, size in weights.items()}}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError, match=f"other.pth is a checkpoint.*{sentence.removeprefix('a checkpoint ')}"
    ):
        load_network(tmp_path / "other.pth")


def test_a_checkpoint_of_3dsam_adapter_is_refused_by_name(tmp_path: Path) -> None:
    content = {"encoder_dict": {"a": torch.zeros(1)}, "feature_dict": [], "decoder_dict": {}}
    torch.save(content, tmp_path / "tumor.pth")
    with pytest.raises(CheckpointError, match="3DSAM-adapter"):
        load_network(tmp_path / "tumor.pth")


def test_a_wrong_file_names_its_dialect_and_the_first_weight_that_differs(vit: SAM1, tmp_path: Path) -> None:
    weights = published_names(vit.state_dict())
    del weights["mask_decoder.iou_token.weight"]
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(
        CheckpointError, match=r"no weight mask_decoder\.iou_token\.weight \(it was read as SAM\)"
    ):
        load_network(tmp_path / "weights.pth", SMALL_VIT)


def test_a_network_of_an_unknown_size_names_the_weight_that_shows_it(vit: SAM1, tmp_path: Path) -> None:
    torch.save(published_names(vit.state_dict()), tmp_path / "weights.pth")
    with pytest.raises(
        CheckpointError, match=r"patch_embed\.proj\.weight has shape \(32, 3, 16, 16\), and there are 3"
    ):
        load_network(tmp_path / "weights.pth")


def test_a_saved_network_of_the_family_is_recognized_when_it_is_loaded(vit: SAM1, tmp_path: Path) -> None:
    for model in (vit, seeded(EFFICIENT)):
        save(model, tmp_path / "own.safetensors")
        found = load_network(tmp_path / "own.safetensors")
        assert found.config == model.config
        assert all(torch.equal(w, model.state_dict()[name]) for name, w in found.state_dict().items())


@pytest.mark.parametrize("config", PUBLISHED, ids=lambda config: config.name)
def test_every_config_comes_back_from_its_description(config: Any) -> None:
    assert any_config(config.to_json()) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [("fit", "tile"), ("range", "0..1"), ("padding", "mirror"), ("deviation", [0.0, 1.0, 1.0])],
)
def test_an_input_rule_that_makes_no_sense_is_refused(field: str, value: Any) -> None:
    description = json.loads(SAM_B.to_json())
    description["input"][field] = value
    with pytest.raises(CheckpointError, match="description of the network"):
        any_config(json.dumps(description))


# ------------------------------------------------------------------------------------------------- the input rule

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90), dtype=np.uint8)
GEOMETRY = VolumeGeometry.from_spacing((1, 60, 90), (1.0, 1.0, 1.0))


def whole(rule: InputRule, size: int) -> FrameView:
    return FrameView.whole(GEOMETRY, SliceAxis.K, size, rule.fit, rule.filter)


@pytest.mark.parametrize("size", [48, 120], ids=["smaller", "larger"])
@pytest.mark.parametrize(
    ("filter", "theirs"), [("linear", Image.Resampling.BILINEAR), ("cubic", Image.Resampling.BICUBIC)]
)
def test_frames_are_resampled_as_pillow_resamples(size: int, filter: str, theirs: Any) -> None:
    view = FrameView.whole(GEOMETRY, SliceAxis.K, size, "stretch", filter)
    expected = np.asarray(Image.fromarray(IMAGE).resize((size, size), theirs)).astype(int)
    assert np.abs(view.frame(IMAGE).astype(int) - expected).max() <= 1


def test_the_mean_of_an_area_is_the_mean_and_the_nearest_voxel_is_a_voxel() -> None:
    area = FrameView.whole(GEOMETRY, SliceAxis.K, 30, "stretch", "area").frame(IMAGE)
    assert np.abs(area - IMAGE.reshape(30, 2, 30, 3).mean((1, 3))).max() <= 0.5
    nearest = FrameView.whole(GEOMETRY, SliceAxis.K, 30, "stretch", "nearest").frame(IMAGE)
    assert np.array_equal(nearest, IMAGE[::2, ::3])


def test_the_longer_side_fills_the_square_from_its_corner_and_the_rest_is_zero_after_normalization() -> None:
    view = whole(SAM_INPUT, 90)
    assert np.array_equal(view.frame(IMAGE)[:60], IMAGE)
    shown = normalized(
        SAM_INPUT, torch.from_numpy(view.frame(IMAGE))[None], torch.from_numpy(view.inside())[None]
    )
    mean, deviation = torch.tensor(SAM_INPUT.mean) * 255, torch.tensor(SAM_INPUT.deviation) * 255
    expected = (torch.from_numpy(IMAGE)[None].float() - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    assert torch.allclose(shown[0, :, :60], expected, atol=1e-5)
    assert not shown[0, :, 60:].any()


def test_padding_does_not_count_when_a_frame_is_stretched_from_its_least_to_its_largest_value() -> None:
    image = np.clip(IMAGE, 100, 200)
    view = whole(LITEMEDSAM_INPUT, 90)
    shown = normalized(
        LITEMEDSAM_INPUT, torch.from_numpy(view.frame(image))[None], torch.from_numpy(view.inside())[None]
    )
    assert torch.allclose(shown[0, 0, :60], (torch.from_numpy(image).float() - 100) / 100)
    assert not shown[0, :, 60:].any()


def test_medsam_is_shown_every_slice_as_a_whole_square_and_boxes_are_stretched_with_it() -> None:
    view = whole(MEDSAM_INPUT, 180)
    assert view.inside().all()
    assert view.box_to_network((-0.5, -0.5), (44.5, 29.5)).tolist() == [[0.0, 0.0], [89.0, 89.0]]
    back = view.mask_from_logits(np.where(np.indices((45, 45))[0] < 15, 1.0, -1.0))
    assert ((back > 0).sum(), back.shape) == (20 * 90, (60, 90))
