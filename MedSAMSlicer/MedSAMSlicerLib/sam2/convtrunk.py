"""A small convolutional trunk: what the bundled checkpoint has in place of Hiera, so that it runs on any computer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from .config import ConvTrunkConfig
from .layers import LayerNorm2d

STEM_CHANNELS = 24


class ConvTrunk(nn.Module):
    """(N, 3, S, S) -> four maps (N, C_i, S / s, S / s), s = 2, 4, 8, 16; `channels` are the C_i, finest first."""

    def __init__(self, config: ConvTrunkConfig) -> None:
        super().__init__()
        self.channels = config.channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM_CHANNELS, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(STEM_CHANNELS, config.channels[0], 3, padding=1),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*[ResidualBlock(channels) for _ in range(depth)])
            for channels, depth in zip(config.channels, config.blocks, strict=True)
        )
        self.halvings = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(8, fine), nn.Conv2d(fine, coarse, 2, stride=2))
            for fine, coarse in pairwise(config.channels)
        )

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = self.stages[0](self.stem(frames))
        maps = [x]
        for halving, stage in zip(self.halvings, self.stages[1:], strict=True):
            x = stage(halving(x))
            maps.append(x)
        return maps


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity; starts out as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = functional.gelu(self.conv1(self.norm1(x)))
        out: Tensor = x + self.conv2(self.norm2(y))
        return out


class ConvEncoder(nn.Module):
    """The trunk as image encoder of a network without memory: (N, 3, S, S) -> (N, channels_out, S / 4, S / 4).

    Its maps at strides 4, 8 and 16 are added, each through a projection of its own.
    """

    def __init__(self, config: ConvTrunkConfig, channels_out: int, channels_in: int = 3) -> None:
        super().__init__()
        if channels_in != 3:
            raise ValueError(f"The convolutional trunk takes 3 channels, not {channels_in}")
        self.trunk = ConvTrunk(config)
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels_out, 1) for width in config.channels[1:])
        self.neck = nn.Sequential(
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False), LayerNorm2d(channels_out)
        )

    def forward(self, frames: Tensor, pause: Callable[[], object] | None = None) -> Tensor:
        """`pause` is called before."""
        if pause is not None:
            pause()
        maps = self.trunk(frames)[1:]
        size = maps[0].shape[-2:]
        added = [
            functional.interpolate(lateral(x), size, mode="bilinear", align_corners=False)
            for lateral, x in zip(self.laterals, maps, strict=True)
        ]
        out: Tensor = self.neck(added[0] + added[1] + added[2])
        return out
