"""TinyViT (Wu et al. 2022), the image encoder of MobileSAM and LiteMedSAM: convolutions, then attention in windows.

A slice (N, 3, S, S) goes through a stem, one stage of inverted bottlenecks and three stages of window attention; the
neck turns the last map into the (N, 256, S / s, S / s) embedding that SAM's decoder reads. Parameter names are those of
the published checkpoints. Convolutions are followed by batch norms, which `fuse` folds into them before use.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import TinyViTConfig
from .layers import embedding_neck

HEAD_CHANNELS = 32


class TinyViT(nn.Module):
    """(N, channels_in, S, S) -> (N, channels_out, h, w); S is a multiple of the stride."""

    def __init__(self, config: TinyViTConfig, channels_out: int, channels_in: int = 3) -> None:
        super().__init__()
        widths = config.widths
        self.patch_embed = Stem(channels_in, widths[0], config.stem_kernel, config.stem_stride)
        stages: list[nn.Module] = [ConvStage(widths[0], config.depths[0], widths[1])]
        for index in (1, 2, 3):
            following = widths[index + 1] if index < 3 else None
            sizes = widths[index], config.depths[index], config.windows[index]
            stages.append(AttentionStage(*sizes, following, halves=index < 2))
        self.layers = nn.ModuleList(stages)
        self.neck = embedding_neck(widths[3], channels_out)

    def forward(self, frames: Tensor, pause: Callable[[], object] | None = None) -> Tensor:
        """`pause` is called between the stages."""
        x = self.patch_embed(frames)
        for stage in self.layers:
            if pause is not None:
                pause()
            x = stage(x)
        out: Tensor = self.neck(x)
        return out

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold every batch norm into its convolution: the same result in fewer steps. Training needs them apart."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fuse()


class ConvNorm(nn.Module):
    """A convolution without bias and its batch norm."""

    def __init__(self, fine: int, coarse: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(fine, coarse, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn: nn.Module = BatchNorm(coarse)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.c(x))
        return out

    def fuse(self) -> None:
        """Fold the norm into the convolution."""
        norm = self.bn
        if not isinstance(norm, BatchNorm):
            return
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        self.c.weight.mul_(scale.view(-1, 1, 1, 1))
        self.c.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)
        self.bn = nn.Identity()


class BatchNorm(nn.Module):
    """Batch norm of (N, C, H, W), without torch's count of batches, which means nothing and is no float."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var
        out: Tensor = functional.batch_norm(
            x, *statistics, self.weight, self.bias, self.training, eps=self.eps
        )
        return out


class Stem(nn.Module):
    """Two convolutions to the width of the first stage."""

    def __init__(self, channels_in: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(channels_in, width // 2, kernel, stride),
            nn.GELU(),
            ConvNorm(width // 2, width, kernel, stride),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.seq(x)
        return out


class Bottleneck(nn.Module):
    """An inverted bottleneck: wider, a depth-wise convolution, narrow again, beside the identity (MBConv)."""

    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, expansion * width, 1)
        self.conv2 = ConvNorm(expansion * width, expansion * width, 3, groups=expansion * width)
        self.conv3 = ConvNorm(expansion * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.gelu(self.conv1(x))
        y = functional.gelu(self.conv2(y))
        return functional.gelu(x + self.conv3(y))


class Downsample(nn.Module):
    """From one stage to the next: half the side, except to the last stage, which keeps it."""

    def __init__(self, width: int, following: int, halves: bool = True) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, following, 1)
        self.conv2 = ConvNorm(following, following, 3, 2 if halves else 1, groups=following)
        self.conv3 = ConvNorm(following, following, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.conv1(x))
        x = functional.gelu(self.conv2(x))
        out: Tensor = self.conv3(x)
        return out


class ConvStage(nn.Module):
    """Inverted bottlenecks, then the way down."""

    def __init__(self, width: int, depth: int, following: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Bottleneck(width) for _ in range(depth))
        self.downsample = Downsample(width, following)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.downsample(x)
        return out


class AttentionStage(nn.Module):
    """Blocks of window attention, then the way down, which the last stage lacks."""

    def __init__(
        self, width: int, depth: int, window: int, following: int | None, halves: bool = True
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AttentionBlock(width, window) for _ in range(depth))
        self.downsample = Downsample(width, following, halves) if following is not None else None

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        if self.downsample is None:
            return x
        out: Tensor = self.downsample(x)
        return out


class AttentionBlock(nn.Module):
    """Attention within windows, a depth-wise convolution across them, and an MLP."""

    def __init__(self, width: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = TinyViTAttention(width, window)
        self.local_conv = ConvNorm(width, width, 3, groups=width)
        self.mlp = NormMLP(width)

    def forward(self, x: Tensor) -> Tensor:
        _, _, height, width = x.shape
        tokens = x.permute(0, 2, 3, 1)  # (N, h, w, C)
        below, beside = -height % self.window, -width % self.window
        padded = functional.pad(tokens, (0, 0, 0, beside, 0, below)) if below or beside else tokens
        attended = self._in_windows(padded)[:, :height, :width]
        x = self.local_conv((tokens + attended).permute(0, 3, 1, 2))
        tokens = x.permute(0, 2, 3, 1)
        out: Tensor = (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)
        return out

    def _in_windows(self, tokens: Tensor) -> Tensor:
        """(N, h, w, C) attends within squares of `window` tokens; h and w are multiples of it."""
        count, height, width, channels = tokens.shape
        side = self.window
        windows = tokens.reshape(count, height // side, side, width // side, side, channels).transpose(2, 3)
        out = self.attn(windows.reshape(-1, side * side, channels))
        grid: Tensor = out.reshape(count, height // side, width // side, side, side, channels).transpose(2, 3)
        return grid.reshape(count, height, width, channels)


class TinyViTAttention(nn.Module):
    """Attention among the tokens of a window, with a learned bias for every distance of rows and columns."""

    attention_bias_idxs: Tensor

    def __init__(self, width: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = width // HEAD_CHANNELS, window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(self.heads, window * window))
        self.register_buffer("attention_bias_idxs", distance_table(window), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        qkv = self.qkv(self.norm(tokens)).unflatten(2, (self.heads, 3, HEAD_CHANNELS))
        q, k, v = qkv.permute(3, 0, 2, 1, 4)  # each (B, heads, L, 32)
        bias = self.attention_biases[:, self.attention_bias_idxs]  # (heads, L, L)
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected


def distance_table(window: int) -> Tensor:
    """(L, L) whole numbers, L = window^2: which bias a pair of tokens has, by |rows| and |columns| between them.

    Biases are numbered in the order in which distances first appear while the window is read row by row, which for
    distances from the first token is |rows| * window + |columns|. Also a network that is built without storage, to be
    filled from a file, has these numbers.
    """
    rows, columns = (part.ravel() for part in np.indices((window, window)))
    apart_rows, apart_columns = (np.abs(part[:, None] - part[None]) for part in (rows, columns))
    return torch.from_numpy(apart_rows * window + apart_columns)


class NormMLP(nn.Module):
    """A layer norm and two linear layers."""

    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, expansion * width)
        self.fc2 = nn.Linear(expansion * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(tokens))))
        return out
