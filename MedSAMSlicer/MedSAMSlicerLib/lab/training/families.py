"""The parts of scenes: the families of training, and those that only validation sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .appearance import HELD_OUT_SCANNERS, HELD_OUT_TEXTURES, TRAINING_SCANNERS, TRAINING_TEXTURES
from .backgrounds import HELD_OUT_BACKGROUNDS, TRAINING_BACKGROUNDS, Background
from .shapes import (
    Block,
    ShapeCanvas,
    add_crescent,
    add_ellipsoid,
    add_patchwork,
    add_sheet,
    add_shell,
    add_tree,
    add_tube,
    add_tumor,
    add_twins,
)


def add_rosette(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """A star-like body with petals around an axis. Held out: only validation scenes have it."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    block = canvas.block(center, size * 1.8)
    if block is None:
        return
    turned = _turned_points(canvas, block, center)
    angle = torch.atan2(turned[1], turned[2])
    petals = 1 + source.uniform(0.15, 0.4) * torch.cos(
        source.integer(3, 6) * angle + source.uniform(0, math.tau)
    )
    value = (turned[1:].square().sum(0).sqrt() / (size * petals)).square() + (
        turned[0] / (size * 1.2)
    ).square()
    label = canvas.new_label()
    canvas.paint(block, value < 1, label)
    canvas.targets.append(frozenset({label}))


def add_droplets(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """Metaballs that flow together. Held out: only validation scenes have them."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    block = canvas.block(center, size * 2.2)
    if block is None:
        return
    points = canvas.points_in(block)
    density = torch.zeros(points.shape[1:], device=source.device)
    for _ in range(source.integer(2, 5)):
        position = center + source.vector(size * source.uniform(0.2, 0.9))
        squared = (points - position[:, None, None, None]).square().sum(0)
        density += torch.exp(-squared / (size * source.uniform(0.35, 0.7)) ** 2)
    label = canvas.new_label()
    canvas.paint(block, density > 0.5, label)
    canvas.targets.append(frozenset({label}))


def add_ring(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """A closed ring whose sectors are of two tissues. Held out: only validation scenes have it."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    block = canvas.block(center, size * 1.4)
    if block is None:
        return
    turned = _turned_points(canvas, block, center)
    from_axis = turned[1:].square().sum(0).sqrt() - 0.75 * size
    inside = from_axis.square() + turned[0].square() < (size * source.uniform(0.3, 0.55)) ** 2
    sector = torch.sin(source.integer(1, 3) * torch.atan2(turned[1], turned[2]) + source.uniform(0, math.tau))
    first = canvas.new_label()
    second = canvas.new_label(family=first if source.chance(0.5) else None)
    canvas.paint(block, inside, first)
    canvas.paint(block, inside & (sector > 0.2), second)
    canvas.targets.append(frozenset({first, second}))


def add_polyhedron(canvas: ShapeCanvas, size: float, center: Tensor | None = None) -> None:
    """A body with flat faces, often in two or three layers of tissue. Held out: only validation scenes have it."""
    source = canvas.source
    center = canvas.place(size) if center is None else center
    block = canvas.block(center, size * 1.7)
    if block is None:
        return
    offset = canvas.points_in(block) - center[:, None, None, None]
    axes = torch.cat([source.rotation() for _ in range(source.integer(1, 2))])
    heights = torch.einsum("nj,j...->n...", axes, offset)
    limits = [size * source.uniform(0.6, 1.0) for _ in range(2 * len(axes))]
    inside = heights.square().sum(0) < (1.7 * size) ** 2 * len(axes) / 3
    for height, low, high in zip(heights, limits[::2], limits[1::2], strict=True):
        inside &= (height > -low) & (height < high)
    parts = [canvas.new_label()]
    canvas.paint(block, inside, parts[0])
    for _ in range(source.integer(0, 2)):
        parts.append(canvas.new_label(family=parts[0] if source.chance(0.5) else None))
        canvas.paint(block, inside & (heights[0] > size * source.uniform(-0.4, 0.5)), parts[-1])
    canvas.targets.append(frozenset(parts))


def _turned_points(canvas: ShapeCanvas, block: Block, center: Tensor) -> Tensor:
    """(3, ...) places of a block as seen from a center, along axes that are turned at random."""
    turn = canvas.source.rotation()
    return torch.einsum("ij,j...->i...", turn, canvas.points_in(block) - center[:, None, None, None])


Shape = Callable[[ShapeCanvas, float, "Tensor | None"], None]
TRAINING_SHAPES: dict[str, tuple[Shape, float]] = {
    "ellipsoid": (add_ellipsoid, 3.0),
    "tumor": (add_tumor, 2.6),
    "patchwork": (add_patchwork, 2.0),
    "shell": (add_shell, 1.2),
    "sheet": (add_sheet, 1.5),
    "crescent": (add_crescent, 1.0),
    "twins": (add_twins, 1.3),
    "tube": (add_tube, 1.6),
    "tree": (add_tree, 1.0),
}
HELD_OUT_SHAPES: dict[str, tuple[Shape, float]] = {
    "rosette": (add_rosette, 1.0),
    "droplets": (add_droplets, 1.0),
    "ring": (add_ring, 0.7),
    "polyhedron": (add_polyhedron, 1.0),
}


@dataclass(frozen=True)
class Style:
    """The families of scenes: names with how often each is drawn. Scanners are shared: noise is no family."""

    shapes: dict[str, tuple[Shape, float]]
    backgrounds: dict[str, tuple[Background, float]]
    textures: tuple[str, ...]
    scanners: dict[str, float]


TRAINED = Style(TRAINING_SHAPES, TRAINING_BACKGROUNDS, TRAINING_TEXTURES, TRAINING_SCANNERS)
HELD_OUT = Style(HELD_OUT_SHAPES, HELD_OUT_BACKGROUNDS, HELD_OUT_TEXTURES, HELD_OUT_SCANNERS)
"""No body, no background and no texture of a held-out scene is ever drawn in training."""
