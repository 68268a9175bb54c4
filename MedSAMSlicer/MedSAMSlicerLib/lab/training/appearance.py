"""From labels to an image: intensities, textures, scanners and windows of generated scenes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .fields import FieldGrid, Source, fractal_noise, gaussian_blur, smooth_noise
from .shapes import ShapeCanvas

TRAINING_SCANNERS: dict[str, float] = {"ct": 4.0, "mr": 5.0, "pet": 0.6, "ultrasound": 0.5}
HELD_OUT_SCANNERS: dict[str, float] = {"ct": 1.0, "mr": 1.0}
TRAINING_TEXTURES = ("clouds",)
HELD_OUT_TEXTURES = ("weave", "ripples")

# Typical CT numbers in HU (lower, upper) with how often each tissue is drawn.
_TISSUES: tuple[tuple[float, float, float], ...] = (
    (-1000, -950, 0.8),
    (-900, -700, 0.8),
    (-120, -80, 1.5),
    (-10, 25, 1.2),
    (30, 60, 3.0),
    (60, 120, 2.5),
    (120, 250, 0.8),
    (250, 1000, 0.8),
)
_SOFT = (20.0, 110.0)  # organs and muscle, which touch each other in an abdomen
_WINDOWS: tuple[tuple[float, float, float], ...] = (
    (-160, 240, 5.0),
    (-1350, 150, 1.0),
    (-450, 1050, 0.7),
    (0, 80, 0.7),
    (-45, 105, 1.0),
    (-125, 275, 1.0),
    (-1000, 1000, 0.3),
)


def _means(canvas: ShapeCanvas, scanner: str) -> Tensor:
    """(labels,) mean intensity of every label: 0..1, or HU for CT."""
    source = canvas.source
    choice = source.choice
    if scanner == "ct":
        weights = [tissue[2] for tissue in _TISSUES]
        kinds = choice.choice(
            len(_TISSUES), size=canvas.count, p=[weight / sum(weights) for weight in weights]
        )
        means = [source.uniform(_TISSUES[kind][0], _TISSUES[kind][1]) for kind in kinds]
        if source.chance(0.4):
            means = [source.uniform(*_SOFT) if source.chance(0.7) else mean for mean in means]
        spread = 45.0
    else:
        means = choice.uniform(0, 1, canvas.count).tolist()
        if source.chance(0.3):
            steps = source.integer(3, 5)
            means = [round(value * steps) / steps for value in means]
        elif source.chance(0.25):
            center, width = source.uniform(0.3, 0.7), source.uniform(0.06, 0.2)
            means = [center + width * (value - 0.5) if source.chance(0.7) else value for value in means]
        spread = 0.22
    for label, parent in canvas.family_of.items():
        means[label] = means[parent] + float(choice.normal()) * spread
    for label, twin in canvas.twin_of.items():
        means[label] = means[twin]
    return torch.tensor(means, dtype=torch.float32, device=source.device)


def _texture(source: Source, grid: FieldGrid, texture: str) -> Tensor:
    """(slices, size, size) texture of unit variance shared by the labels, each with its own strength."""
    if texture == "clouds":
        return fractal_noise(source, grid, source.log_uniform(4, 40), source.integer(2, 4))
    points = grid.coordinates(source.device)
    if texture == "ripples":
        center = source.vector(source.uniform(0.1, 0.6))
        distance = (points - center[:, None, None, None]).square().sum(0).sqrt()
        return torch.sin(distance * source.uniform(60, 200)) * math.sqrt(2.0)
    phase = torch.einsum("ij,j...->i...", source.rotation(), points) * source.uniform(60, 200)
    return torch.sin(phase[0]) * torch.cos(phase[1]) * 2.0


def _render(
    canvas: ShapeCanvas, grid: FieldGrid, scanner: str, texture: str, means: Tensor, labels: Tensor
) -> Tensor:
    """Intensity of the labels without noise, before thick slices are averaged."""
    source = canvas.source
    image = means[labels.long()]
    scale = 60.0 if scanner == "ct" else 1.0
    strengths = torch.tensor(
        [source.uniform(0, 0.16) if source.chance(0.45) else 0.0 for _ in range(canvas.count)],
        device=source.device,
    )
    if scanner == "ct":
        strengths = strengths * (means > -960) * 0.8
    if bool((strengths > 0).any()):
        image = image + strengths[labels.long()] * scale * _texture(source, grid, texture)
    if source.chance(0.3):
        image = image + scale * source.uniform(0, 0.12) * canvas.lumps[0] * (means[labels.long()] > -900)
    return image


def _streaks(source: Source, grid: FieldGrid) -> Tensor:
    """Straight streaks through a random point, as metal or shoulders make them, (slices, size, size)."""
    _, xy = grid.axes(source.device)
    center = source.choice.uniform(-0.4, 0.4, 2)
    rows, columns = torch.meshgrid(xy - float(center[0]), xy - float(center[1]), indexing="ij")
    angle = torch.atan2(rows, columns)
    wave = torch.zeros_like(angle)
    for _ in range(4):
        wave += torch.sin(2 * source.integer(3, 24) * angle + source.uniform(0, 6.3)) * source.uniform(0, 1)
    return (wave / (1 + 6 * (rows.square() + columns.square()).sqrt()))[None].expand(grid.slices, -1, -1)


def _noise(source: Source, grid: FieldGrid, grain: float) -> Tensor:
    noise = source.normal(grid.slices, grid.size, grid.size)
    if grain > 0.3:
        noise = gaussian_blur(noise, grain) * (2 * 1.77 * grain)
    return noise


def _scan_ct(source: Source, grid: FieldGrid, image: Tensor) -> tuple[Tensor, Tensor]:
    image = gaussian_blur(image, source.uniform(0.3, 1.3))
    noise = source.uniform(2, 35) * _noise(source, grid, source.uniform(0.0, 1.3))
    if source.chance(0.2):
        noise = noise + source.uniform(5, 40) * _streaks(source, grid)
    weights = [window[2] for window in _WINDOWS]
    lower, upper, _ = _WINDOWS[source.choice.choice(len(_WINDOWS), p=[w / sum(weights) for w in weights])]
    width = (upper - lower) * source.log_uniform(0.8, 1.3)
    middle = (lower + upper) / 2 + width * source.uniform(-0.12, 0.12)
    return (image - middle) / width + 0.5, (image + noise - middle) / width + 0.5


def _scan_other(source: Source, grid: FieldGrid, image: Tensor, scanner: str) -> tuple[Tensor, Tensor]:
    image = gaussian_blur(image, source.uniform(1.5, 4.0) if scanner == "pet" else source.uniform(0.2, 1.8))
    if source.chance(0.5):
        bias = smooth_noise(source, grid, 1, source.uniform(1.0, 2.5))[0]
        image = image * (1 + source.uniform(0, 0.28) * bias).clamp(min=0.2)
    grain = source.uniform(0, 1.4) if source.chance(0.6) else 0.0
    strength = source.uniform(0, 0.1) if source.chance(0.85) else source.uniform(0.1, 0.16)
    if scanner == "ultrasound":
        speckle = (_noise(source, grid, grain).square() + _noise(source, grid, grain).square()).sqrt() / 1.25
        noisy = image.clamp(min=0) * (1 - 0.5 + 0.5 * speckle)
    elif scanner == "mr" and source.chance(0.5):
        noisy = (
            (image + strength * _noise(source, grid, grain)).square()
            + (strength * _noise(source, grid, grain)).square()
        ).sqrt()
    elif scanner == "pet":
        noisy = image + 2 * strength * _noise(source, grid, max(grain, 1.0)) * image.clamp(min=0.05).sqrt()
    else:
        noisy = image + strength * _noise(source, grid, grain)
    if source.chance(0.1):
        noisy = noisy + source.uniform(0, 0.05) * _streaks(source, grid)
    sample = noisy.flatten()[:: max(1, noisy.numel() // 20000)]
    lower = torch.quantile(sample, source.uniform(0, 0.03))
    upper = torch.quantile(sample, source.uniform(0.97, 1.0))
    width = (upper - lower).clamp(min=1e-3)
    return (image - lower) / width, (noisy - lower) / width


def image_of(
    canvas: ShapeCanvas, grid: FieldGrid, scanner: str, texture: str, thickness: int
) -> tuple[Tensor, Tensor]:
    """The clean and the noisy image (slices, size, size) in 0..1; `thickness` thin slices are averaged into one."""
    source = canvas.source
    means = _means(canvas, scanner)
    image = _render(canvas, canvas.grid, scanner, texture, means, canvas.labels)
    if thickness > 1:
        image = image.unflatten(0, (-1, thickness)).mean(1)
    if scanner == "ct":
        clean, noisy = _scan_ct(source, grid, image)
    else:
        clean, noisy = _scan_other(source, grid, image, scanner)
    clean, noisy = clean.clamp(0, 1), noisy.clamp(0, 1)
    if source.chance(0.3):
        power = source.log_uniform(0.6, 1.7)
        clean, noisy = clean.pow(power), noisy.pow(power)
    return clean, noisy
