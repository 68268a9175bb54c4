"""From the trunk's maps to the three maps that the rest of the network uses (Lin et al. 2017, feature pyramid)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from .convtrunk import ConvTrunk
from .hiera import Hiera


class ImageEncoder(nn.Module):
    """(N, 3, S, S) -> the three finer maps of the pyramid, finest first, all with C channels."""

    def __init__(self, trunk: Hiera | ConvTrunk, neck: FeaturePyramid) -> None:
        super().__init__()
        self.trunk = trunk
        self.neck = neck

    def forward(self, frames: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.neck(self.trunk(frames))
        return maps


class FeaturePyramid(nn.Module):
    """Project every map to C channels; the coarsest also flows down into the next finer one, then it is dropped."""

    def __init__(self, trunk_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        # coarsest first, as the checkpoints number them
        self.convs = nn.ModuleList(Lateral(width, channels) for width in reversed(trunk_channels))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        coarsest, *finer = [conv(x) for conv, x in zip(self.convs, reversed(maps), strict=True)]
        above = functional.interpolate(coarsest.float(), finer[0].shape[-2:], mode="nearest")
        finer[0] = finer[0] + above
        return finer[::-1]


class Lateral(nn.Module):
    """A 1x1 convolution."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out
