"""Images drawn on label maps of real anatomy: every structure is given a new random gray (SynthSeg, Billot 2023).

A label map is cut around one of its structures, turned, stretched and bent, sampled in slices of a random thickness,
and painted by the generator of scenes (`appearance`): contrasts, textures, scanner, noise and window are random. What a
map leaves unlabeled is filled with random regions, so that a structure never lies in an empty room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ...core.masks import bounding_box
from .appearance import TRAINING_SCANNERS, image_of
from .fields import FieldGrid, Source, smooth_noise
from .shapes import ShapeCanvas
from .synthetic import connected_component

_SMALLEST = 60  # voxels of a target
_ROOM = (1.7, 2.6)  # field of view / longer side of the target
_THICKNESS = (0.8, 6.0)  # mm
_TRIES = 20


@dataclass(frozen=True, eq=False)
class DrawnAnatomy:
    """One drawn volume.

    Args:
        image: (slices, size, size) uint8.
        mask: of the same shape, bool: the target.
        spacing: mm between slices, rows and columns.
    """

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    spacing: tuple[float, float, float]


def draw_anatomy(
    labels: npt.NDArray[np.integer],
    spacing: tuple[float, float, float],
    source: Source,
    sizes: tuple[int, int],
) -> DrawnAnatomy | None:
    """Draw an image of one structure of a label map and what surrounds it.

    Args:
        labels: (K, J, I) whole numbers, 0 = not labeled.
        spacing: mm between voxels along K, J and I.
        source: of chance.
        sizes: smallest and largest side of a slice in voxels.

    Returns:
        None where no structure that is large enough was met in some tries.
    """
    order = [0, 1, 2]
    source.choice.shuffle(order)
    turned, mm = np.transpose(labels, order), [spacing[axis] for axis in order]
    values, counts = np.unique(turned, return_counts=True)
    values = values[(values > 0) & (counts >= _SMALLEST)]
    for _ in range(_TRIES):
        if not len(values):
            return None
        wanted = {int(source.choice.choice(values))}
        around = bounding_box(np.isin(turned, list(wanted)))
        if source.chance(0.2):  # together with a neighbor
            inside = np.unique(turned[around])
            wanted.add(int(source.choice.choice(inside[inside > 0])))
            around = bounding_box(np.isin(turned, list(wanted)))
        assert around is not None
        drawn = _draw(turned, mm, wanted, around, source, sizes)
        if drawn is not None:
            return drawn
    return None


def _draw(
    labels: npt.NDArray[np.integer],
    mm: list[float],
    wanted: set[int],
    around: tuple[slice, ...],
    source: Source,
    sizes: tuple[int, int],
) -> DrawnAnatomy | None:
    extent = [(part.stop - part.start) * side for part, side in zip(around, mm, strict=True)]
    center = [(part.start + part.stop - 1) / 2 for part in around]
    field = max(extent[1], extent[2]) * source.uniform(*_ROOM)
    size = 2 * (source.integer(*sizes) // 2)
    size = min(size, max(24, 2 * round(field / min(mm[1:]) * source.uniform(0.7, 1.3) / 2)))
    thickness = source.log_uniform(
        max(_THICKNESS[0], extent[0] / 70), max(1.0, min(_THICKNESS[1], extent[0] / 6))
    )
    stretch = source.log_uniform(0.8, 1.25)
    slices = int(np.clip(np.ceil(extent[0] * stretch / thickness) + 4, 8, 96))
    fine = 2 if thickness > 2 * mm[0] else 1
    grid = FieldGrid(slices, size, thickness / field)
    canvas = ShapeCanvas.empty(source, FieldGrid(slices * fine, size, thickness / field / fine))
    placed = _sampled(labels, mm, center, field, stretch, canvas, source)
    compact, renumbered = np.unique(placed.numpy(), return_inverse=True)
    numbers = torch.from_numpy(renumbered.reshape(placed.shape).astype(np.int32))
    chosen = [n for n, value in enumerate(compact.tolist()) if value in wanted]
    canvas.labels = numbers
    canvas.count = len(compact)
    mask = torch.isin(numbers, torch.tensor(chosen, dtype=torch.int32))
    _fill(canvas, numbers == int(np.flatnonzero(compact == 0)[0]) if 0 in compact else None)
    thick = mask.unflatten(0, (slices, fine)).float().mean(1) > 0.5 if fine > 1 else mask
    if int(thick.sum()) < _SMALLEST:
        return None
    seeds = torch.nonzero(thick)
    target = connected_component(thick, tuple(seeds[source.integer(0, len(seeds) - 1)].tolist()), 40)
    if int(target.sum()) < max(_SMALLEST, 0.3 * int(thick.sum())) or int(target.any(2).any(1).sum()) < 4:
        return None
    scanner = source.pick(list(TRAINING_SCANNERS), list(TRAINING_SCANNERS.values()))
    clean, noisy = image_of(canvas, grid, scanner, "clouds", fine)
    noise = float((noisy - clean).std())
    if _contrast(clean, target) < max(0.02, 0.3 * noise):
        return None
    pixel = field / size
    image = (noisy * 255).round().to(torch.uint8).numpy()
    return DrawnAnatomy(image, target.numpy(), (thickness, pixel, pixel))


def _sampled(
    labels: npt.NDArray[np.integer],
    mm: list[float],
    center: list[float],
    field: float,
    stretch: float,
    canvas: ShapeCanvas,
    source: Source,
) -> Tensor:
    """The labels at the voxels of a canvas: turned, stretched and bent."""
    points = canvas.grid.coordinates(source.device) * field  # mm
    warp = smooth_noise(source, canvas.grid, 3, source.uniform(1.5, 4.0)) * field * source.uniform(0.0, 0.035)
    tilt = torch.eye(3)
    if source.chance(0.7):
        turn, lean = source.uniform(-0.5, 0.5), source.uniform(-0.25, 0.25)
        c, s = float(np.cos(turn)), float(np.sin(turn))
        tilt = torch.tensor([[1.0, lean, 0.0], [0.0, c, -s], [0.0, s, c]])
    points = torch.einsum("ij,j...->i...", tilt, points + warp)
    points[0] = points[0] / stretch
    shift = [source.uniform(-0.12, 0.12) * field if axis else 0.0 for axis in range(3)]
    places = []
    for axis in (2, 1, 0):
        index = points[axis] / mm[axis] + shift[axis] / mm[axis] + center[axis]
        places.append(2 * (index + 0.5) / labels.shape[axis] - 1)
    sampled = functional.grid_sample(
        torch.from_numpy(np.ascontiguousarray(labels).astype(np.float32))[None, None],
        torch.stack(places, -1)[None],
        mode="nearest",
        padding_mode="zeros",
        align_corners=False,
    )
    return sampled[0, 0].round().to(torch.int32)


def _fill(canvas: ShapeCanvas, empty: Tensor | None) -> None:
    """Fill what is not labeled with random regions."""
    if empty is None or canvas.source.chance(0.15):
        return
    source = canvas.source
    regions = source.integer(2, 6)
    fields = smooth_noise(source, canvas.grid, regions, source.log_uniform(2.0, 9.0))
    first = canvas.count
    for _ in range(regions):
        canvas.new_label()
    canvas.labels = torch.where(empty, first + fields.argmax(0).to(torch.int32), canvas.labels)


def _contrast(clean: Tensor, mask: Tensor) -> float:
    """Difference between inside and a ring outside, on the target's slices."""
    inside = mask.float()
    ring = (functional.max_pool3d(inside[None, None], (1, 7, 7), 1, (0, 3, 3))[0, 0] > 0) & ~mask
    if not bool(ring.any()):
        return 0.0
    return abs(float(clean[mask].median() - clean[ring].median()))
