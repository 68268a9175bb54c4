"""The `transformers` package's SAM 2 with the weights of one of our networks: a yardstick beside :mod:`.official`.

It is imported here, on demand, and never needed by the product. Its weights have other names than the published ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...core.errors import MedSAMError
from ...core.foreign_errors import first_line
from ...sam2.config import HieraConfig
from ...sam2.model import SAM2
from .official import normalized_images, published_network


def build_transformers_model(model: SAM2) -> Any:
    """A `transformers.Sam2VideoModel` with the weights of `model`, in float32; feed it a :class:`TransformersSession`.

    Raises:
        MedSAMError: `transformers` is not installed, or cannot compute that network.
    """
    published_network(model.config)
    trunk = model.config.trunk
    assert isinstance(trunk, HieraConfig)
    try:
        from transformers import Sam2VideoConfig, Sam2VideoModel
    except (ImportError, RuntimeError) as error:  # it wraps what goes wrong further in
        raise MedSAMError(
            "The comparison with transformers needs the Python package 'transformers' with Sam2VideoModel, "
            f"which cannot be imported: {first_line(error)}."
        ) from error
    side, size = model.config.image_size // 16, model.config.image_size
    widths = [trunk.embed_dim * 2**stage for stage in range(4)]
    backbone = {
        "hidden_size": trunk.embed_dim,
        "num_attention_heads": trunk.num_heads,
        "image_size": [size] * 2,
        "blocks_per_stage": list(trunk.stages),
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [trunk.num_heads * 2**stage for stage in range(4)],
        "window_size_per_stage": list(trunk.window_sizes),
        "global_attention_blocks": list(trunk.global_attention_blocks),
        "window_positional_embedding_background_size": list(trunk.position_embedding_size),
    }
    config = Sam2VideoConfig(
        image_size=size,
        memory_attention_rope_feat_sizes=[side, side],
        prompt_encoder_config={"image_size": size},
        vision_config={
            "backbone_channel_list": widths[::-1],
            "backbone_feature_sizes": [[4 * side] * 2, [2 * side] * 2, [side] * 2],
            "backbone_config": backbone,
        },
    )
    theirs = Sam2VideoModel(config)
    theirs.load_state_dict(_renamed(model.state_dict()), strict=True)
    return theirs.eval()


class TransformersSession:
    """One object in one volume in the `transformers` package.

    Args:
        model: what `build_transformers_model` returned.
        frames: (N, S, S) or in color (N, S, S, 3) uint8, at the network's image size.
        used: the frames that will be prompted or tracked; None = all.
    """

    def __init__(self, model: Any, frames: npt.NDArray[np.uint8], used: range | None = None) -> None:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        size, device = frames.shape[1], model.device
        self.model = model
        self.session = Sam2VideoInferenceSession(
            normalized_images(frames, used), size, size, inference_device=device, dtype=torch.float32
        )

    def add(
        self,
        index: int,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        object_id: int = 0,
    ) -> None:
        """Prompt frame `index` with points (P, 2) and labels (P,), or with a mask (S, S); see :meth:`logits`."""
        session = self.session
        object_index = session.obj_id_to_idx(object_id)
        if mask is None:
            assert points is not None
            assert labels is not None
            given = {"point_coords": points[None, None], "point_labels": labels[None, None]}
            session.add_point_inputs(object_index, index, given)
            session.remove_mask_inputs(object_index, index)
        else:
            session.add_mask_inputs(object_index, index, mask[None, None].float())
            session.remove_point_inputs(object_index, index)
        session.obj_with_new_inputs = [object_id]

    def logits(self, index: int, *, reverse: bool = False) -> Tensor:
        """(1, 1, S / 4, S / 4) float32 logits of a frame, with the prompts just given on it, else tracked."""
        with torch.inference_mode():
            logits: Tensor = self.model(self.session, index, reverse=reverse).pred_masks
        return logits

    def propagate(self, start: int, last: int) -> Iterator[tuple[int, Tensor]]:
        """Yield (frame index, logits) from one frame to another, both included, forward or backward."""
        step = 1 if last >= start else -1
        for index in range(start, last + step, step):
            yield index, self.logits(index, reverse=step < 0)

    def forget_objects(self) -> None:
        """Drop all prompts, objects and masks; the frames stay."""
        self.session.reset_tracking_data()


_NAMES = (
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


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
        for pattern, replacement in _NAMES:
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


def _mlp_name(name: str, weights: Mapping[str, Tensor], match: re.Match[str]) -> str:
    """Their feed-forward parts call the first and the last layer by name."""
    last = max(int(other.split(".")[-2]) for other in weights if other.startswith(match[1] + ".layers."))
    index = int(match[2])
    layer = "proj_in" if index == 0 else "proj_out" if index == last else f"layers.{index - 1}"
    return f"{match[1]}.{layer}.{match[3]}"
