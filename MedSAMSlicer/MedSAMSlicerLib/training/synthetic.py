"""Generated volumes: random 3-D scenes as short stacks of slices with targets to segment.

No patient data: a scene is a tessellation or a body outline with organs, tumours, vessels, sheets and shells painted
on top (`bodies`), seen through a random scanner and window (`appearance`). Seeded, in torch, on CPU or GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .appearance import HELD_OUT_SCANNERS, TRAINING_SCANNERS, image_of
from .bodies import Canvas
from .families import HELD_OUT_BODIES, TRAINING_BODIES
from .fields import Grid, Source, box_blur, smooth_noise

_MINIMUM_AREA = 0.0012
_MAXIMUM_AREA = 0.35


@dataclass(frozen=True)
class SceneSettings:
    """How scenes are drawn; `held_out` draws from the families that training never sees."""

    slices: int = 8
    size: int = 192
    targets: int = 4
    held_out: bool = False


@dataclass(frozen=True)
class Scene:
    """`image` (slices, size, size) uint8; `masks` (targets, slices, size, size) bool; `keys` the prompted slices."""

    image: Tensor
    masks: Tensor
    keys: tuple[int, ...]


def _tessellate(canvas: Canvas) -> list[int]:
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


def _bands(canvas: Canvas) -> list[int]:
    """Level sets of one field: folded ribbons like cortex or muscle fibres."""
    source = canvas.source
    level = smooth_noise(source, canvas.grid, 1, source.log_uniform(3.0, 9.0))[0]
    labels = [canvas.new_label() for _ in range(3)]
    thickness = source.uniform(0.1, 0.4)
    canvas.labels.fill_(labels[0])
    canvas.labels.masked_fill_(level > 0, labels[1])
    canvas.labels.masked_fill_(level.abs() < thickness, labels[2])
    return labels


def _outline(canvas: Canvas) -> list[int]:
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


def _paint_bodies(canvas: Canvas, held_out: bool) -> None:
    source = canvas.source
    families = HELD_OUT_BODIES if held_out else TRAINING_BODIES
    names, weights = list(families), [weight for _, weight in families.values()]
    for index in range(source.integer(2, 11)):
        draw = families[source.pick(names, weights)][0]
        if index == 0:
            size = source.log_uniform(0.08, 0.3)
            draw(canvas, size, canvas.place(size, 0.12))
        else:
            draw(canvas, source.log_uniform(0.03, 0.22), None)
    if source.chance(0.4):
        draw = families[source.pick(names, weights)][0]
        size = source.log_uniform(0.08, 0.25)
        draw(canvas, size, canvas.place(size, 0.2))


def connected_component(mask: Tensor, seed: tuple[int, int, int], rounds: int = 24) -> Tensor:
    """The 6-connected component of a bool mask (K, J, I) around a seed inside it.

    Runs along each axis are filled whole, in turn, so that few rounds reach far; works on any device.
    """
    reached = torch.zeros_like(mask)
    reached[seed] = True
    previous = 1
    for _ in range(rounds):
        for axis in (2, 1, 0):
            lines = mask.movedim(axis, -1)
            seeds = reached.movedim(axis, -1)
            run = (~lines).to(torch.int32).cumsum(-1)
            hit = torch.zeros((*run.shape[:-1], run.shape[-1] + 1), dtype=torch.int32, device=mask.device)
            hit.scatter_reduce_(-1, run.long(), seeds.to(torch.int32), "amax")
            reached = ((hit.gather(-1, run.long()) > 0) & lines).movedim(-1, axis)
        current = int(reached.sum())
        if current == previous:
            break
        previous = current
    return reached


def edge_visibility(clean: Tensor, mask: Tensor, threshold: float) -> float:
    """Share of a target's edge (both images (H, W)) where inside and outside differ by more than a threshold."""
    inside = mask.float()[None]
    weight = box_blur(inside, 7)
    ring = (weight > 0.15) & (weight < 0.85)
    within = box_blur(clean[None] * inside, 7) / weight.clamp(min=1e-3)
    outside = box_blur(clean[None] * (1 - inside), 7) / (1 - weight).clamp(min=1e-3)
    visible = ((within - outside).abs() > threshold)[ring]
    return float(visible.float().mean()) if visible.numel() else 0.0


def overlap_near(mask: Tensor, key: int, reach: int = 4) -> float:
    """Mean Dice of a target (slices, H, W) on neighbouring slices around the key slice, where it is on both."""
    near = mask[max(0, key - reach) : key + reach + 1].flatten(1)
    areas = near.sum(1)
    shared = (near[1:] & near[:-1]).sum(1)
    total = areas[1:] + areas[:-1]
    counted = (areas[1:] > 0) & (areas[:-1] > 0)
    return float((2 * shared[counted] / total[counted]).mean()) if bool(counted.any()) else 0.0


def _thin(mask: Tensor, thickness: int) -> Tensor:
    """Majority of the thin slices that make one thick slice."""
    if thickness == 1:
        return mask
    return mask.unflatten(0, (-1, thickness)).float().mean(1) > 0.5


def _choose_target(
    canvas: Canvas, options: list[frozenset[int]], scattered: list[int], thickness: int
) -> Tensor | None:
    """A candidate mask (slices, size, size): a registered body or one component of a region."""
    source = canvas.source
    if options and (not scattered or source.chance(0.75)):
        members = options[source.integer(0, len(options) - 1)]
        wanted = torch.zeros(canvas.count, dtype=torch.bool, device=source.device)
        wanted[list(members)] = True
        mask = _thin(wanted[canvas.labels.long()], thickness)
        return mask if source.chance(0.15) else _component_of(source, mask)
    if scattered:
        label = scattered[source.integer(0, len(scattered) - 1)]
        return _component_of(source, _thin(canvas.labels == label, thickness))
    return None


def _component_of(source: Source, mask: Tensor) -> Tensor | None:
    middle = mask.shape[0] // 2
    inside = torch.nonzero(mask[middle])
    if len(inside) == 0:
        return None
    row, column = inside[source.integer(0, len(inside) - 1)].tolist()
    return connected_component(mask, (middle, row, column))


def _key_slice(source: Source, mask: Tensor) -> int | None:
    """Mostly the slice where the target is largest, else any on which it is large enough; None if on none."""
    areas = mask.flatten(1).float().mean(1)
    fitting = torch.nonzero((areas > _MINIMUM_AREA) & (areas < _MAXIMUM_AREA))[:, 0].tolist()
    if not fitting or float(areas.max()) > _MAXIMUM_AREA:
        return None
    if source.chance(0.7):
        return int(areas.argmax())
    ends = [fitting[0], fitting[-1]]
    return int(source.choice.choice(ends if source.chance(0.3) else fitting))


def make_scene(source: Source, settings: SceneSettings) -> Scene:
    """Draw scenes until one has at least one visible target."""
    while True:
        scene = _try_scene(source, settings)
        if scene is not None:
            return scene


def _try_scene(source: Source, settings: SceneSettings) -> Scene | None:
    thickness = 3 if source.chance(0.25) else 1
    step = source.log_uniform(0.004, 0.026)
    grid = Grid(settings.slices, settings.size, step)
    canvas = Canvas.empty(source, Grid(settings.slices * thickness, settings.size, step / thickness))
    ground = source.pick(["tessellation", "bands", "outline", "plain"], [5.0, 0.8, 2.5, 1.0])
    scattered: list[int] = []
    if ground == "tessellation":
        scattered = _tessellate(canvas)
    elif ground == "bands":
        scattered = _bands(canvas)
    elif ground == "outline":
        _outline(canvas)
    if ground != "tessellation" or source.chance(0.8):
        _paint_bodies(canvas, settings.held_out)
    scanners = HELD_OUT_SCANNERS if settings.held_out else TRAINING_SCANNERS
    clean, noisy = image_of(canvas, grid, source.pick(list(scanners), list(scanners.values())), thickness)
    noise = float((noisy - clean)[:: max(1, settings.slices // 2)].std())
    masks: list[Tensor] = []
    keys: list[int] = []
    for _ in range(3 * settings.targets):
        mask = _choose_target(canvas, canvas.targets, scattered, thickness)
        key = None if mask is None else _key_slice(source, mask)
        if mask is None or key is None:
            continue
        if overlap_near(mask, key) < 0.8 and not source.chance(0.08):
            continue
        if edge_visibility(clean[key], mask[key], max(0.045, 0.8 * noise)) < 0.6:
            continue
        masks.append(mask)
        keys.append(key)
        if len(masks) == settings.targets:
            break
    if not masks:
        return None
    return Scene((noisy * 255).round().to(torch.uint8), torch.stack(masks), tuple(keys))
