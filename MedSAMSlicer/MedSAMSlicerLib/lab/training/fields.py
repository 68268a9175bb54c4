"""Random smooth fields and the coordinate grid of a generated scene.

Coordinates are in units of the field of view: x and y run from -0.5 to 0.5 over the slice, z is the distance of
a slice from the scene's middle slice. All fields are isotropic in these units, so that thick slices see a fast
change from slice to slice and thin slices a slow one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

# Variance of a cubic B-spline sum of unit normals along one axis, averaged over the phase: 151 / 315.
_SPLINE_VARIANCE = 151.0 / 315.0


class Source:
    """Two random streams from one seed: numpy for choices, torch for fields on the device.

    The choices are the same on every device; the fields are reproducible per device type.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.choice = numpy.random.default_rng(seed)
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(int(self.choice.integers(2**62)))

    def uniform(self, low: float, high: float) -> float:
        return float(self.choice.uniform(low, high))

    def log_uniform(self, low: float, high: float) -> float:
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return int(self.choice.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.choice.random() < probability)

    def pick(self, options: tuple[str, ...] | list[str], weights: list[float] | None = None) -> str:
        total = None if weights is None else [weight / sum(weights) for weight in weights]
        return str(self.choice.choice(options, p=total))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def vector(self, length: float) -> Tensor:
        """A random 3-vector (z, y, x) of the given length."""
        direction = self.choice.normal(size=3)
        direction *= length / max(float(numpy.linalg.norm(direction)), 1e-9)
        return torch.as_tensor(direction, dtype=torch.float32, device=self.device)

    def rotation(self) -> Tensor:
        """A uniformly distributed 3x3 rotation."""
        matrix, triangle = numpy.linalg.qr(self.choice.normal(size=(3, 3)))
        matrix *= numpy.sign(numpy.diag(triangle))
        return torch.as_tensor(matrix, dtype=torch.float32, device=self.device)


@dataclass(frozen=True)
class FieldGrid:
    """The places of the voxels of a scene: `slices` slices of `size` x `size`, `step` apart (1 = the field of view)."""

    slices: int
    size: int
    step: float

    def axes(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Slice positions (slices,) and in-plane positions (size,) of the voxel centers."""
        z = (torch.arange(self.slices, device=device) - (self.slices - 1) / 2) * self.step
        xy = (torch.arange(self.size, device=device) + 0.5) / self.size - 0.5
        return z, xy

    def coordinates(self, device: torch.device) -> Tensor:
        """(3, slices, size, size) z, y, x of every voxel center."""
        z, xy = self.axes(device)
        return torch.stack(torch.meshgrid(z, xy, xy, indexing="ij"))


def spline_basis(positions: Tensor, count: int) -> Tensor:
    """Cubic B-spline weights (N, count) at positions (N,) given in units of the knots, valid in [0, count - 3]."""
    knots = torch.arange(count, device=positions.device) - 1.0
    distance = (positions[:, None] - knots[None]).abs()
    near = 2.0 / 3.0 - distance.square() + 0.5 * distance.pow(3)
    far = (2.0 - distance).clamp(min=0).pow(3) / 6.0
    return torch.where(distance < 1, near, far)


def smooth_noise(source: Source, grid: FieldGrid, channels: int, cells: float) -> Tensor:
    """(channels, slices, size, size) smooth fields of zero mean and unit variance, `cells` knots per field of view."""
    z, xy = grid.axes(source.device)
    offset = source.choice.random(3)
    depth = (z - z[0]) * cells + float(offset[0])
    rows, columns = (xy + 0.5) * cells + float(offset[1]), (xy + 0.5) * cells + float(offset[2])
    in_depth, in_plane = int(float(depth[-1])) + 4, int(cells + 1) + 4
    knots = source.normal(channels, in_depth, in_plane, in_plane)
    along_z, along_y, along_x = (
        spline_basis(depth, in_depth),
        spline_basis(rows, in_plane),
        spline_basis(columns, in_plane),
    )
    field = torch.einsum("tz,czgh->ctgh", along_z, knots)
    field = torch.matmul(torch.matmul(along_y, field), along_x.T)
    return field / _SPLINE_VARIANCE**1.5


def fractal_noise(source: Source, grid: FieldGrid, cells: float, octaves: int) -> Tensor:
    """(slices, size, size) sum of octaves, each twice as fine and about half as strong; unit variance."""
    total = torch.zeros((grid.slices, grid.size, grid.size), device=source.device)
    power = 0.0
    for octave in range(octaves):
        weight = 0.6**octave
        total += weight * smooth_noise(source, grid, 1, min(cells * 2**octave, grid.size / 2))[0]
        power += weight**2
    return total / math.sqrt(power)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur of (N, H, W) in the plane, sigma in voxels, edges replicated."""
    if sigma < 0.15:
        return image
    radius = max(1, math.ceil(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    padded = torch.nn.functional.pad(image[:, None], (radius,) * 4, mode="replicate")
    blurred = torch.nn.functional.conv2d(padded, kernel[None, None, None, :])
    return torch.nn.functional.conv2d(blurred, kernel[None, None, :, None])[:, 0]


def box_blur(image: Tensor, width: int) -> Tensor:
    """Mean over an odd square window of (N, H, W)."""
    return torch.nn.functional.avg_pool2d(image[:, None], width, 1, width // 2, count_include_pad=False)[:, 0]
