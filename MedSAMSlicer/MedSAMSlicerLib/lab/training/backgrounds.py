"""The backgrounds of generated scenes: those of training, and those that only validation sees."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .fields import smooth_noise
from .shapes import ShapeCanvas

Background = Callable[[ShapeCanvas], "list[int]"]
"""Fills a canvas; returns the labels whose components are targets of their own."""


def tessellate(canvas: ShapeCanvas) -> list[int]:
    """Fill the canvas with regions: the largest of several smooth fields; returns their labels."""
    source = canvas.source
    regions = source.integer(2, 8)
    fields = smooth_noise(source, canvas.grid, regions, source.log_uniform(2.0, 11.0))
    if source.chance(0.4):
        fields = fields + 0.3 * smooth_noise(source, canvas.grid, regions, 18.0)
    first = canvas.count
    for _ in range(regions):
        canvas.new_label()
    highest = fields[0]
    canvas.labels.fill_(first)
    for region in range(1, regions):
        higher = fields[region] > highest
        canvas.labels.masked_fill_(higher, first + region)
        highest = torch.maximum(highest, fields[region])
    return list(range(first, first + regions))


def bands(canvas: ShapeCanvas) -> list[int]:
    """Level sets of one field: folded ribbons like cortex or muscle fibers."""
    source = canvas.source
    level = smooth_noise(source, canvas.grid, 1, source.log_uniform(3.0, 9.0))[0]
    labels = [canvas.new_label() for _ in range(3)]
    thickness = source.uniform(0.1, 0.4)
    canvas.labels.fill_(labels[0])
    canvas.labels.masked_fill_(level > 0, labels[1])
    canvas.labels.masked_fill_(level.abs() < thickness, labels[2])
    return labels


def outline(canvas: ShapeCanvas) -> list[int]:
    """Air, skin fat, muscle and an inside, as a cut through a trunk, a head or a limb."""
    source = canvas.source
    air = canvas.new_label()
    canvas.labels.fill_(air)
    height, width = source.uniform(0.28, 0.5), source.uniform(0.35, 0.52)
    radius = (canvas.points[1] / height).square() + (canvas.points[2] / width).square()
    radius = radius + 0.06 * canvas.lumps[0]
    limit = 1.0
    for _ in range(source.integer(1, 4)):
        canvas.labels.masked_fill_(radius < limit, canvas.new_label())
        limit *= source.uniform(0.7, 0.95)
    return []


def plain(canvas: ShapeCanvas) -> list[int]:
    """One tissue everywhere: the canvas as it is."""
    return []


def honeycomb(canvas: ShapeCanvas) -> list[int]:
    """Cells with flat walls, each nearest to a site of its own, of few tissues. Held out: only validation has it."""
    source = canvas.source
    labels = [canvas.new_label() for _ in range(source.integer(3, 5))]
    reach = 0.1 + canvas.grid.slices * canvas.grid.step / 2
    nearest = torch.full(canvas.labels.shape, torch.inf, device=source.device)
    for _ in range(source.integer(8, 24)):
        squared = _squared_distance(canvas, [source.uniform(-side, side) for side in (reach, 0.55, 0.55)])
        canvas.labels.masked_fill_(squared < nearest, labels[source.integer(0, len(labels) - 1)])
        nearest = torch.minimum(nearest, squared)
    return []


def rings(canvas: ShapeCanvas) -> list[int]:
    """Layers around one place, like those of an onion, of few tissues. Held out: only validation scenes have them."""
    source = canvas.source
    labels = [canvas.new_label() for _ in range(source.integer(2, 4))]
    distance = _squared_distance(canvas, [source.uniform(-side, side) for side in (0.1, 0.6, 0.6)]).sqrt()
    layer = (distance / source.uniform(0.06, 0.2) + 0.15 * canvas.lumps[0]).floor().to(torch.int32)
    for number, label in enumerate(labels):
        canvas.labels.masked_fill_(layer % len(labels) == number, label)
    return []


def _squared_distance(canvas: ShapeCanvas, place: list[float]) -> Tensor:
    """From a place (z, y, x) to every voxel."""
    center = torch.tensor(place, device=canvas.source.device)
    return (canvas.points - center[:, None, None, None]).square().sum(0)


TRAINING_BACKGROUNDS: dict[str, tuple[Background, float]] = {
    "tessellation": (tessellate, 5.0),
    "bands": (bands, 0.8),
    "outline": (outline, 2.5),
    "plain": (plain, 1.0),
}
HELD_OUT_BACKGROUNDS: dict[str, tuple[Background, float]] = {
    "honeycomb": (honeycomb, 1.0),
    "rings": (rings, 1.0),
}
