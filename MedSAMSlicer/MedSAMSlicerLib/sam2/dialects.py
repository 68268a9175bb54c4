"""The forms in which published weights come: wrappers, prefixes and names; and which network a table of weights is.

Every form becomes a table with the names of this program, which are those of SAM 2 for networks with memory and those
of SAM for networks without. Nothing but tensors is taken from a file.
"""

from __future__ import annotations

import pickle
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import CheckpointError
from .config import (
    BASE_PLUS,
    EFF_MEDSAM2_S,
    EFF_MEDSAM2_TI,
    EFFICIENTTAM_S,
    EFFICIENTTAM_S_512,
    EFFICIENTTAM_TI,
    EFFICIENTTAM_TI_512,
    FT_SAM,
    LARGE,
    LITEMEDSAM,
    MEDSAM,
    MEDSAM2,
    MOBILE_SAM,
    NANO,
    SAM_B,
    SAM_H,
    SAM_L,
    SAM_MED2D,
    SMALL,
    TINY,
    Config,
    HieraConfig,
    Sam1Config,
    ViTConfig,
)

Weights = dict[str, Tensor]

# ------------------------------------------------------------------------------------------------- reading the archive

WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Names of the table of weights beside epochs, optimizers and settings."""

PREFIXES = ("module.", "sam2_model.", "model.", "sam.")
"""Before every name: of networks trained on several GPUs, of MedSAM's fine-tuning of SAM 2, and of trainers."""

_OTHER_NETWORKS = {
    "encoder_dict": "of 3DSAM-adapter, a network of 128-voxel cubes",
    "decoder_dict": "of 3DSAM-adapter, a network of 128-voxel cubes",
    "network_weights": "of nnU-Net or nnInteractive",
}

_safe_globals = threading.Lock()  # torch's list of what it may build is one for the whole process


class _Placeholder:
    """The stand-in for an object of any class in a file: nothing of it runs or is kept."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _emptied(*_: object) -> dict[object, object]:
    """Return what a `defaultdict` in a file becomes."""
    return {}


def read_archive(path: Path) -> object:
    """The content of a torch archive, in which every object that is no tensor, number, text or table is empty.

    Trainers put optimizers, paths and settings beside the weights, which torch refuses to read. Here their classes are
    replaced by one that does nothing; torch's reader still calls nothing else.

    Raises:
        pickle.UnpicklingError and others of torch on a damaged file.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if not unknown:
            raise
    stand_ins: list[Any] = [
        (_emptied if name == "collections.defaultdict" else _Placeholder, name) for name in unknown
    ]
    with _safe_globals, torch.serialization.safe_globals(stand_ins):
        return torch.load(path, map_location="cpu", weights_only=True)


def table_of(content: object, file_name: str) -> Weights:
    """The table of weights in what was read, without prefixes.

    Raises:
        CheckpointError: If there is none, or something in it is no tensor.
    """
    if not isinstance(content, dict):
        raise CheckpointError(f"{file_name} is not a checkpoint: it has no table of weights.")
    for name, network in _OTHER_NETWORKS.items():
        if name in content:
            raise CheckpointError(f"{file_name} is a checkpoint {network}, which MedSAMSlicer cannot run.")
    wrapped = (content[name] for name in WRAPPERS if isinstance(content.get(name), dict))
    table = next((table for table in wrapped if table), content)
    if not table or not any(isinstance(weight, Tensor) for weight in table.values()):
        raise CheckpointError(
            f'{file_name} is not a checkpoint: it has no table of weights, neither at the top nor under "model".'
        )
    for name, weight in table.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor):
            raise CheckpointError(
                f"{file_name} is not a checkpoint: {str(name)[:80]!r} in it is not a weight."
            )
    return without_prefixes(table)


def without_prefixes(table: Mapping[str, Tensor]) -> Weights:
    """The same weights without what stands before every name."""
    weights = dict(table)
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in weights)), None):
        weights = {name.removeprefix(prefix): weight for name, weight in weights.items()}
    return weights


# ----------------------------------------------------------------------------------------------------------- the names


@dataclass(frozen=True)
class Dialect:
    """One form of names.

    Args:
        name: for messages.
        marks: a table is of this dialect when it has all of these weights.
        renames: patterns and what replaces them, applied in this order to every name.
        unused: patterns of weights that compute nothing here.
    """

    name: str
    marks: tuple[str, ...]
    renames: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()


_SAM_LINEAR = ((r"\.mlp\.lin1\.", ".mlp.layers.0."), (r"\.mlp\.lin2\.", ".mlp.layers.1."))

_TRANSFORMERS_PROMPTS_AND_MASKS = (
    (
        r"^shared_image_embedding\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"layer_norm(\d|_final_attn)\.", r"norm\1."),
    # three layers are called proj_in, layers.0 and proj_out
    (r"(mlps\.\d+|_head|pointer_proj)\.proj_out\.", r"\1.layers.2."),
    (r"(mlps\.\d+|_head|pointer_proj)\.layers\.0\.", r"\1.layers.1."),
    (r"(mlps\.\d+|_head|pointer_proj)\.proj_in\.", r"\1.layers.0."),
)
_TRANSFORMERS_SAM = (
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.", "image_encoder."),
    *_TRANSFORMERS_PROMPTS_AND_MASKS,
    *_SAM_LINEAR,
)
_TRANSFORMERS_SAM2 = (
    (r"^vision_encoder\.backbone\.patch_embed\.projection\.", "image_encoder.trunk.patch_embed.proj."),
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^memory_attention\.layer_norm\.", "memory_attention.norm."),
    (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^memory_encoder\.mask_downsampler\.final_conv\.", "memory_encoder.mask_downsampler.encoder.12."),
    *(
        (
            rf"^memory_encoder\.mask_downsampler\.layers\.{step}\.{part}\.",
            f"memory_encoder.mask_downsampler.encoder.{place}.",
        )
        for step in range(4)
        for part, place in (("conv", 3 * step), ("layer_norm", 3 * step + 1))
    ),
    (r"memory_fuser\.layers\.(\d)\.scale$", r"fuser.layers.\1.gamma"),
    (r"memory_fuser\.layers\.(\d)\.depthwise_conv\.", r"fuser.layers.\1.dwconv."),
    (r"memory_fuser\.layers\.(\d)\.layer_norm\.", r"fuser.layers.\1.norm."),
    (r"memory_fuser\.layers\.(\d)\.pointwise_conv(\d)\.", r"fuser.layers.\1.pwconv\2."),
    (r"\.o_proj\.", ".out_proj."),
    *_TRANSFORMERS_PROMPTS_AND_MASKS,
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    (r"\.mlp\.proj_in\.", ".mlp.layers.0."),
    (r"\.mlp\.proj_out\.", ".mlp.layers.1."),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
)
_EFFICIENTTAM = (
    (r"^image_encoder\.trunk\.", "image_encoder."),
    (r"^image_encoder\.neck\.convs\.0\.conv_1x1\.", "image_encoder.neck.0."),
    (r"^image_encoder\.neck\.convs\.0\.norm_0\.", "image_encoder.neck.1."),
    (r"^image_encoder\.neck\.convs\.0\.conv_3x3\.", "image_encoder.neck.2."),
    (r"^image_encoder\.neck\.convs\.0\.norm_1\.", "image_encoder.neck.3."),
)
_TINYVIT_UNUSED = (
    r"^image_encoder\.(norm_head|head)\.",  # from its training as a classifier
    r"num_batches_tracked$",
    r"bias_idxs$",
)
_SHARED_POSITION = (r"^prompt_encoder\.shared_embedding\.",)  # the same weight under its second name

DIALECTS = (
    Dialect(
        "SAM with a TinyViT", ("image_encoder.patch_embed.seq.0.c.weight",), _SAM_LINEAR, _TINYVIT_UNUSED
    ),
    Dialect(
        "SAM", ("image_encoder.patch_embed.proj.weight", "prompt_encoder.no_mask_embed.weight"), _SAM_LINEAR
    ),
    Dialect("EfficientTAM", ("image_encoder.neck.convs.0.conv_1x1.weight",), _EFFICIENTTAM),
    Dialect(
        "EfficientTAM", ("image_encoder.patch_embed.proj.weight", "maskmem_tpos_enc")
    ),  # as written by us
    Dialect("SAM 2", ("image_encoder.trunk.patch_embed.proj.weight",)),
    Dialect("MedSAMSlicer nano", ("image_encoder.trunk.stem.0.weight",)),
    Dialect(
        "SAM in transformers",
        ("vision_encoder.patch_embed.projection.weight",),
        _TRANSFORMERS_SAM,
        _SHARED_POSITION,
    ),
    Dialect(
        "SAM 2 in transformers",
        ("vision_encoder.backbone.patch_embed.projection.weight",),
        _TRANSFORMERS_SAM2,
        _SHARED_POSITION,
    ),
)

UNSUPPORTED = (
    (
        r"^(module\.)?SemiTViT\.",
        "of ESP-MedSAM, whose patch generator and modality queries this program does not have",
    ),
    (
        r"\.(Space_Adapter|MLP_Adapter|Depth_Adapter)\.",
        "of Med-SA, whose adapters fit its own altered network only",
    ),
    (r"^image_encoder\.sam_img_encoder\.", "of SAM-UNet, whose second branch this program does not have"),
    (r"^spatial_perceiver\.", "of EdgeTAM, whose trunk and perceiver this program does not have"),
    (r"slice_embed\.", "of 3DSAM-adapter, a network of 128-voxel cubes"),
    (r"^w_[ab]_\d+", "with the adapters of I-MedSAM alone"),
    (r"^image_encoder\.patch_embed3d\.", "of SAM-Med3D, a network of 128-voxel cubes"),
)
"""Weights of the family's networks that are recognized, so that they are refused by name."""


def renamed(table: Mapping[str, Tensor], file_name: str) -> tuple[Weights, Dialect]:
    """Weights under the names of this program, and the form they came in.

    Raises:
        CheckpointError: If they are of no network of this program.
    """
    for pattern, network in UNSUPPORTED:
        if name := next((name for name in table if re.search(pattern, name)), None):
            raise CheckpointError(f"{file_name} is a checkpoint {network} (weight {name}).")
    dialect = next((d for d in DIALECTS if all(mark in table for mark in d.marks)), None)
    if dialect is None:
        first = min(table, default="none")
        raise CheckpointError(
            f"{file_name} contains no network that MedSAMSlicer knows; its first weight is {first[:80]}."
        )
    weights: Weights = {}
    for name, weight in table.items():
        if any(re.search(pattern, name) for pattern in dialect.unused):
            continue
        for pattern, replacement in dialect.renames:
            name = re.sub(pattern, replacement, name)
        weights[name] = weight
    points = weights.pop(
        "sam_prompt_encoder.point_embeddings.weight", None
    )  # all four in one, in transformers
    if points is not None and len(points) == 4:
        for label in range(4):
            weights[f"sam_prompt_encoder.point_embeddings.{label}.weight"] = points[label : label + 1]
    return weights, dialect


# ---------------------------------------------------------------------------------------------------- which network


def recognize(weights: Mapping[str, Tensor], file_name: str) -> Config | Sam1Config:
    """The config of weights under our names, by the shapes of the image trunk.

    Networks of equal shapes are told apart by the name of the file: MedSAM2 is SAM 2.1 tiny at 512 pixels, Surgical
    SAM 2 ("endo18") SAM 2 small at 512, MedSAM is SAM ViT-B, and EfficientTAM at 512 has the weights of that at 1024.

    Raises:
        CheckpointError: If there is none.
    """
    name = file_name.lower()
    stem = weights.get("image_encoder.patch_embed.seq.0.c.weight")
    if stem is not None:
        return LITEMEDSAM if stem.shape[-1] == 1 else MOBILE_SAM
    if "image_encoder.trunk.stem.0.weight" in weights:
        return NANO
    patches = weights.get("image_encoder.trunk.patch_embed.proj.weight")
    if patches is not None:
        depth = _depth(weights, "image_encoder.trunk.blocks.")
        for config in (TINY, SMALL, BASE_PLUS, LARGE):
            trunk = config.trunk
            assert isinstance(trunk, HieraConfig)
            if patches.ndim and (len(patches), depth) == (trunk.embed_dim, sum(trunk.stages)):
                return _of_its_version(config, weights, name)
        raise _no_such(file_name, "SAM 2", "image_encoder.trunk.patch_embed.proj.weight", patches, depth)
    patches = weights.get("image_encoder.patch_embed.proj.weight")
    if patches is None:
        raise CheckpointError(f"{file_name} contains no network that MedSAMSlicer knows.")
    depth = _depth(weights, "image_encoder.blocks.")
    if "maskmem_tpos_enc" in weights:
        chosen: Config | Sam1Config | None = _efficienttam(patches, depth, name)
    else:
        chosen = _sam(weights, patches, depth, name)
    if chosen is None:
        raise _no_such(file_name, "SAM", "image_encoder.patch_embed.proj.weight", patches, depth)
    return chosen


def _of_its_version(config: Config, weights: Mapping[str, Tensor], name: str) -> Config:
    """SAM 2.1, MedSAM2, or SAM 2.0, which has neither positions of pointers nor an embedding of absence."""
    if "no_obj_embed_spatial" not in weights and "obj_ptr_tpos_proj.weight" not in weights:
        older = config.name.replace("sam2.1", "sam2")
        config = replace(config, name=older, pointer_positions=False, absent_memory=False)
    elif config is TINY and name.startswith("medsam2"):
        return MEDSAM2
    # Surgical SAM 2 is SAM 2 small at 512 pixels
    return replace(config, name="surgical_sam2", image_size=512) if "endo18" in name else config


def _efficienttam(patches: Tensor, depth: int, name: str) -> Config | None:
    medical, small = "eff_medsam2" in name, "512" in name
    known = {
        192: EFF_MEDSAM2_TI if medical else EFFICIENTTAM_TI_512 if small else EFFICIENTTAM_TI,
        384: EFF_MEDSAM2_S if medical else EFFICIENTTAM_S_512 if small else EFFICIENTTAM_S,
    }
    return known.get(len(patches)) if patches.ndim and depth == 12 else None


def _sam(weights: Mapping[str, Tensor], patches: Tensor, depth: int, name: str) -> Sam1Config | None:
    position = weights.get("image_encoder.pos_embed")
    grid = position.shape[1] if position is not None and position.ndim == 4 else 0
    for config in (SAM_B, SAM_L, SAM_H):
        assert isinstance(config.trunk, ViTConfig)
        if not patches.ndim or (len(patches), depth) != (config.trunk.width, config.trunk.depth):
            continue
        if config is SAM_B and "image_encoder.blocks.0.Adapter.norm.weight" in weights:
            return SAM_MED2D
        if config is SAM_B and grid == 16:
            return FT_SAM
        return MEDSAM if config is SAM_B and name.startswith("medsam") else config
    return None


def _depth(weights: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})


def _no_such(file_name: str, network: str, name: str, weight: Tensor, depth: int) -> CheckpointError:
    return CheckpointError(
        f"{file_name} holds a {network} network of a size that MedSAMSlicer does not know: weight {name} has shape "
        f"{tuple(weight.shape)}, and there are {depth} blocks."
    )
