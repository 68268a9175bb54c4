"""The published packages of SAM's family, importable without torchvision and timm, of which they need a few helpers."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from MedSAMSlicerLib.sam2.config import InputRule, Sam1Config, ViTConfig
from MedSAMSlicerLib.sam2.sam1 import SAM1


class _Kept(nn.Module):
    """timm's DropPath outside training."""

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Any) -> Any:
        return x


class Resize(nn.Module):
    """torchvision's: a tensor (3, H, W), bilinear and smoothed where it shrinks."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = list(size)

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(
            x.unsqueeze(0), self.size, mode="bilinear", antialias=True, align_corners=False
        ).squeeze(0)


class Normalize(nn.Module):
    """torchvision's."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class ToTensor:
    """torchvision's, of (H, W, 3) uint8."""

    def __call__(self, image: Any) -> Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


def batched_nms(boxes: Tensor, scores: Tensor, _categories: Tensor, iou_threshold: float) -> Tensor:
    """torchvision's for a single category: indices of the boxes that stay, the best first."""
    order, kept = scores.argsort(descending=True, stable=True).tolist(), []
    area = box_area(boxes)
    for index in order:
        corner = torch.maximum(boxes[index, :2], boxes[kept, :2])
        far = torch.minimum(boxes[index, 2:], boxes[kept, 2:])
        shared = (far - corner).clamp(min=0).prod(1)
        if not bool((shared / (area[index] + area[kept] - shared) > iou_threshold).any()):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long)


def box_area(boxes: Tensor) -> Tensor:
    """torchvision's."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _stand_ins() -> dict[str, types.ModuleType]:
    modules = {
        name: types.ModuleType(name)
        for name in (
            "timm",
            "timm.models",
            "timm.models.layers",
            "timm.models.registry",
            "torchvision",
            "torchvision.ops",
            "torchvision.ops.boxes",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        )
    }
    given: dict[str, dict[str, Any]] = {
        "timm.models.layers": {
            "DropPath": _Kept,
            "to_2tuple": lambda x: x if isinstance(x, tuple) else (x, x),
            "trunc_normal_": nn.init.trunc_normal_,
        },
        "timm.models.registry": {"register_model": lambda function: function},
        "torchvision.ops.boxes": {"batched_nms": batched_nms, "box_area": box_area},
        "torchvision.transforms": {"Resize": Resize, "Normalize": Normalize, "ToTensor": ToTensor},
        "torchvision.transforms.functional": {
            "to_pil_image": Image.fromarray,
            "resize": lambda image, size: image.resize(size[::-1], Image.Resampling.BILINEAR),
        },
    }
    for name, values in given.items():
        vars(modules[name]).update(values)
    return modules


@contextmanager
def _helpers() -> Iterator[None]:
    """Inside, torchvision and timm are the few helpers above."""
    modules = _stand_ins()
    hidden = {name: sys.modules.pop(name) for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(hidden)


def imported(name: str) -> Any:
    """A module of a published package; skips where it is not installed."""
    with _helpers():
        pytest.importorskip(name.partition(".")[0], reason=f"{name} is not installed")
        return importlib.import_module(name)


# --------------------------------------------------------------------------------------------------- small networks

SMALL_VIT = Sam1Config(
    "small_vit",
    64,
    ViTConfig(32, 3, 2, (1,), grid=4, window=3),
    decoder_feedforward=64,
    input=InputRule(fit="corner", padding="zero"),
)


def seeded_sam1(config: Sam1Config, seed: int = 0) -> SAM1:
    """A network of random weights; what starts at zero or one, statistics included, is random as well."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = SAM1(config)
        for name, weight in model.state_dict().items():
            if name.endswith("running_mean"):
                weight.normal_(0, 0.2)
            elif name.endswith("running_var"):
                weight.uniform_(0.5, 2)
            elif not weight.any() or bool((weight == 1).all()):
                weight.add_(torch.randn(weight.shape) * 0.3)
    return model.eval()


def published_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under SAM's own names."""
    return {
        name.replace(".mlp.layers.0.", ".mlp.lin1.").replace(".mlp.layers.1.", ".mlp.lin2."): weight
        for name, weight in weights.items()
    }


def published_sam(model: SAM1) -> Any:
    """The network of the package segment-anything with the weights of one of ours."""
    modeling = imported("segment_anything.modeling")
    config, trunk = model.config, model.config.trunk
    assert isinstance(trunk, ViTConfig)
    grid = config.image_size // trunk.stride
    encoder = modeling.ImageEncoderViT(
        depth=trunk.depth,
        embed_dim=trunk.width,
        img_size=config.image_size,
        norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6),
        num_heads=trunk.heads,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=trunk.relative_positions,
        global_attn_indexes=trunk.global_blocks,
        window_size=trunk.window,
        out_chans=256,
    )
    theirs = modeling.Sam(
        encoder, *published_heads(modeling, config.image_size, grid, config.decoder_feedforward)
    )
    theirs.load_state_dict(published_names(model.state_dict()), strict=True)
    return theirs.eval()


def published_heads(modeling: Any, image_size: int, grid: int, feedforward: int) -> tuple[Any, Any]:
    """Prompt encoder and mask decoder of the package, as all of its networks have them."""
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=feedforward, num_heads=8)
    return (
        modeling.PromptEncoder(
            embed_dim=256,
            image_embedding_size=(grid, grid),
            input_image_size=(image_size, image_size),
            mask_in_chans=16,
        ),
        modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=transformer,
            transformer_dim=256,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
    )
