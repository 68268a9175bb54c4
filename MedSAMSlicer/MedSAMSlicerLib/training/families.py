"""Which bodies scenes are made of: those of training, and those that only validation sees."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .bodies import (
    Canvas,
    add_crescent,
    add_ellipsoid,
    add_patchwork,
    add_sheet,
    add_shell,
    add_tree,
    add_tube,
    add_tumour,
    add_twins,
)


def add_rosette(canvas: Canvas, size: float, centre: Tensor | None = None) -> None:
    """A star-like body with petals around an axis. Held out: only validation scenes have it."""
    source = canvas.source
    centre = canvas.place(size) if centre is None else centre
    block = canvas.block(centre, size * 1.8)
    if block is None:
        return
    turned = torch.einsum(
        "ij,j...->i...", source.rotation(), canvas.points_in(block) - centre[:, None, None, None]
    )
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


def add_droplets(canvas: Canvas, size: float, centre: Tensor | None = None) -> None:
    """Metaballs that flow together. Held out: only validation scenes have them."""
    source = canvas.source
    centre = canvas.place(size) if centre is None else centre
    block = canvas.block(centre, size * 2.2)
    if block is None:
        return
    points = canvas.points_in(block)
    density = torch.zeros(points.shape[1:], device=source.device)
    for _ in range(source.integer(2, 5)):
        position = centre + source.vector(size * source.uniform(0.2, 0.9))
        squared = (points - position[:, None, None, None]).square().sum(0)
        density += torch.exp(-squared / (size * source.uniform(0.35, 0.7)) ** 2)
    label = canvas.new_label()
    canvas.paint(block, density > 0.5, label)
    canvas.targets.append(frozenset({label}))


Body = Callable[[Canvas, float, "Tensor | None"], None]
TRAINING_BODIES: dict[str, tuple[Body, float]] = {
    "ellipsoid": (add_ellipsoid, 3.0),
    "tumour": (add_tumour, 2.6),
    "patchwork": (add_patchwork, 2.0),
    "shell": (add_shell, 1.2),
    "sheet": (add_sheet, 1.5),
    "crescent": (add_crescent, 1.0),
    "twins": (add_twins, 1.3),
    "tube": (add_tube, 1.6),
    "tree": (add_tree, 1.0),
}
HELD_OUT_BODIES: dict[str, tuple[Body, float]] = {
    "rosette": (add_rosette, 1.0),
    "droplets": (add_droplets, 1.0),
    "tumour": (add_tumour, 0.5),
}
