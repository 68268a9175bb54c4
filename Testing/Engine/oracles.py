"""The two published implementations of SAM 2, with the weights of one of our networks, to compare with."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from MedSAMSlicerLib.evaluation.official import OfficialSession, build_official_predictor
from MedSAMSlicerLib.sam2 import SAM2, Config, HieraConfig
from MedSAMSlicerLib.sam2.checkpoint import seeded

__all__ = [
    "OfficialSession",
    "add_prompt_to_hf",
    "hf_model",
    "hf_session",
    "intersection_over_union",
    "official_predictor",
    "phantom",
    "relative_error",
    "seeded_at",
]


def seeded_at(config: Config, size: int, seed: int = 0) -> SAM2:
    """A network with the weights of `seeded`, for images of another size."""
    return seeded(replace(config, image_size=size), seed)


def phantom(slices: int, size: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A (slices, size, size) volume: a body with five ellipsoids in it, and noise."""
    random = np.random.default_rng(seed)
    z, y, x = np.mgrid[0:slices, 0:size, 0:size].astype(np.float32)
    volume = np.full((slices, size, size), 40, np.float32)
    volume[((y - size / 2) / (size * 0.42)) ** 2 + ((x - size / 2) / (size * 0.46)) ** 2 < 1] = 90
    for _ in range(5):
        row, column = random.uniform(0.3, 0.7, 2) * size
        height, width = random.uniform(0.05, 0.13, 2) * size
        depth = (z - slices / 2) / (slices * 0.8)
        volume[((y - row) / height) ** 2 + ((x - column) / width) ** 2 + depth**2 < 1] = random.uniform(
            110, 220
        )
    return np.clip(volume + random.normal(0, 6, volume.shape), 0, 255).astype(np.uint8)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, as a part of the largest value."""
    assert ours.shape == theirs.shape
    return float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max())


def intersection_over_union(ours: Tensor, theirs: Tensor) -> float:
    """Of the two masks that the logits draw; 1 if both are empty."""
    a, b = ours > 0, theirs > 0
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def official_predictor(model: SAM2) -> Any:
    """The `sam2` package's video predictor; feed it through `OfficialSession(predictor, frames)`."""
    config = model.config
    return build_official_predictor(config.name, model.state_dict(), image_size=config.image_size)


def hf_model(model: SAM2) -> Any:
    """The `transformers` package's Sam2VideoModel; feed it through `hf_session`."""
    from transformers import Sam2VideoConfig, Sam2VideoModel

    config, trunk = model.config, model.config.trunk
    assert isinstance(trunk, HieraConfig)
    side = config.image_size // 16
    widths = [trunk.embed_dim * 2**stage for stage in range(4)]
    theirs = Sam2VideoModel(
        Sam2VideoConfig(
            image_size=config.image_size,
            memory_attention_rope_feat_sizes=[side, side],
            prompt_encoder_config={"image_size": config.image_size},
            vision_config={
                "backbone_channel_list": widths[::-1],
                "backbone_feature_sizes": [[4 * side] * 2, [2 * side] * 2, [side] * 2],
                "backbone_config": {
                    "hidden_size": trunk.embed_dim,
                    "num_attention_heads": trunk.num_heads,
                    "image_size": [config.image_size] * 2,
                    "blocks_per_stage": list(trunk.stages),
                    "embed_dim_per_stage": widths,
                    "num_attention_heads_per_stage": [trunk.num_heads * 2**stage for stage in range(4)],
                    "window_size_per_stage": list(trunk.window_sizes),
                    "global_attention_blocks": list(trunk.global_attention_blocks),
                    "window_positional_embedding_background_size": list(trunk.position_embedding_size),
                },
            },
        )
    )
    theirs.load_state_dict(_to_hf(model.state_dict()), strict=True)
    return theirs.eval()


def hf_session(model: SAM2, frames: npt.NDArray[np.uint8]) -> Any:
    """Their inference session on (N, S, S) frames."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    size = frames.shape[-1]
    return Sam2VideoInferenceSession(
        model.normalise(torch.from_numpy(frames)), size, size, dtype=torch.float32
    )


def add_prompt_to_hf(
    session: Any,
    index: int,
    points: Tensor | None = None,
    labels: Tensor | None = None,
    mask: Tensor | None = None,
    object_id: int = 0,
) -> None:
    """Prompt frame `index` with points (P, 2) and labels (P,), or with a mask (S, S)."""
    object_index = session.obj_id_to_idx(object_id)
    if mask is None:
        assert points is not None
        assert labels is not None
        session.add_point_inputs(
            object_index, index, {"point_coords": points[None, None], "point_labels": labels[None, None]}
        )
        session.remove_mask_inputs(object_index, index)
    else:
        session.add_mask_inputs(object_index, index, mask[None, None].float())
        session.remove_point_inputs(object_index, index)
    session.obj_with_new_inputs = [object_id]


_HF_NAMES = (
    (r"^image_encoder\.trunk\.patch_embed\.proj", "vision_encoder.backbone.patch_embed.projection"),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed", "no_memory_embedding"),
    (r"^no_mem_pos_enc", "no_memory_positional_encoding"),
    (r"^no_obj_ptr", "no_object_pointer"),
    (r"^no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_proj", "object_pointer_proj"),
    (r"^obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"mask_downscaling\.0", "mask_embed.conv1"),
    (r"mask_downscaling\.1", "mask_embed.layer_norm1"),
    (r"mask_downscaling\.3", "mask_embed.conv2"),
    (r"mask_downscaling\.4", "mask_embed.layer_norm2"),
    (r"mask_downscaling\.6", "mask_embed.conv3"),
    (r"^sam_prompt_encoder", "prompt_encoder"),
    (r"^sam_mask_decoder", "mask_decoder"),
    (r"output_upscaling\.0", "upscale_conv1"),
    (r"output_upscaling\.1", "upscale_layer_norm"),
    (r"output_upscaling\.3", "upscale_conv2"),
    (r"mask_downsampler\.encoder\.12", "mask_downsampler.final_conv"),
    (r"pix_feat_proj", "feature_projection"),
    (r"^memory_encoder\.out_proj", "memory_encoder.projection"),
    (r"fuser\.layers\.(\d)\.gamma", r"memory_fuser.layers.\1.scale"),
    (r"fuser\.layers\.(\d)\.dwconv", r"memory_fuser.layers.\1.depthwise_conv"),
    (r"fuser\.layers\.(\d)\.norm", r"memory_fuser.layers.\1.layer_norm"),
    (r"fuser\.layers\.(\d)\.pwconv(\d)", r"memory_fuser.layers.\1.pointwise_conv\2"),
    (r"attn\.out_proj|cross_attn_image\.out_proj|(?<=to_token)\.out_proj|(?<=to_image)\.out_proj", None),
    (r"norm(\d|_final_attn)\.", r"layer_norm\1."),
    (r"^memory_attention\.norm", "memory_attention.layer_norm"),
)


def _to_hf(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename official weights to those of `transformers`."""
    renamed = {}
    for name, weight in weights.items():
        if match := re.search(r"^(.*(?:_proj|mlps\.\d|_head|mlp))\.layers\.(\d)\.(\w+)$", name):
            name = _mlp_name(name, weights, match)
        if match := re.search(r"mask_downsampler\.encoder\.(\d+)\.", name):
            step = int(match[1])
            part = "conv" if step % 3 == 0 else "layer_norm"
            if step < 12:
                name = name.replace(match[0], f"mask_downsampler.layers.{step // 3}.{part}.")
        for pattern, replacement in _HF_NAMES:
            if replacement is None:
                name = name.replace(".out_proj.", ".o_proj.") if re.search(pattern, name) else name
            elif "layer_norm" not in name or "norm" not in pattern:
                name = re.sub(pattern, replacement, name)
        renamed[name] = weight
    points = [renamed.pop(f"prompt_encoder.point_embeddings.{label}.weight") for label in range(4)]
    renamed["prompt_encoder.point_embed.weight"] = torch.cat(points)
    renamed["shared_image_embedding.positional_embedding"] = renamed[
        "prompt_encoder.shared_embedding.positional_embedding"
    ]
    return renamed


def _mlp_name(name: str, weights: dict[str, Tensor], match: re.Match[str]) -> str:
    """Their feed-forward parts call the first and the last layer by name."""
    last = max(int(other.split(".")[-2]) for other in weights if other.startswith(match[1] + ".layers."))
    index = int(match[2])
    layer = "proj_in" if index == 0 else "proj_out" if index == last else f"layers.{index - 1}"
    return f"{match[1]}.{layer}.{match[3]}"
