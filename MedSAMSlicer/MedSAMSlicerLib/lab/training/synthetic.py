"""Generated volumes: random 3-D scenes as short stacks of slices with targets to segment.

No patient data: a scene is a tessellation or a body outline (`backgrounds`) with organs, tumors, vessels, sheets and
shells painted on top (`shapes`), seen through a random scanner and window (`appearance`). Seeded, in torch, on CPU or
GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .appearance import image_of
from .families import HELD_OUT, TRAINED, Style
from .fields import FieldGrid, Source, box_blur
from .shapes import ShapeCanvas

_MINIMUM_AREA = 0.0012
_MAXIMUM_AREA = 0.35


@dataclass(frozen=True)
class SceneSettings:
    """The settings of scenes; `held_out` takes shapes, backgrounds, textures from families that training never sees."""

    slices: int = 8
    size: int = 192
    targets: int = 4
    held_out: bool = False


@dataclass(frozen=True)
class GeneratedScene:
    """One generated stack of slices.

    `image` (slices, size, size) uint8; `masks` (targets, slices, size, size) bool; `keys` the prompted slices; `shapes`
    the family of each target, that of the background for a region of it; `background` and `texture` those of the scene.
    """

    image: Tensor
    masks: Tensor
    keys: tuple[int, ...]
    shapes: tuple[str, ...] = ()
    background: str = ""
    texture: str = ""


def _paint_shapes(canvas: ShapeCanvas, style: Style) -> list[str]:
    """Paint shapes of a style; returns the family of each of the canvas's targets."""
    source = canvas.source
    names, weights = list(style.shapes), [weight for _, weight in style.shapes.values()]
    families: list[str] = []

    def add(size: tuple[float, float], spread: float | None) -> None:
        name = source.pick(names, weights)
        chosen = source.log_uniform(*size)
        style.shapes[name][0](canvas, chosen, None if spread is None else canvas.place(chosen, spread))
        families.extend([name] * (len(canvas.targets) - len(families)))

    for index in range(source.integer(2, 11)):
        if index == 0:
            add((0.08, 0.3), 0.12)
        else:
            add((0.03, 0.22), None)
    if source.chance(0.4):
        add((0.08, 0.25), 0.2)
    return families


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
    """Mean Dice of a target (slices, H, W) on neighboring slices around the key slice, where it is on both."""
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
    canvas: ShapeCanvas, families: list[str], scattered: list[int], background: str, thickness: int
) -> tuple[Tensor | None, str]:
    """A candidate mask (slices, size, size) and its family: a registered body or one component of a region."""
    source, options = canvas.source, canvas.targets
    if options and (not scattered or source.chance(0.75)):
        number = source.integer(0, len(options) - 1)
        wanted = torch.zeros(canvas.count, dtype=torch.bool, device=source.device)
        wanted[list(options[number])] = True
        mask = _thin(wanted[canvas.labels.long()], thickness)
        return (mask if source.chance(0.15) else _component_of(source, mask)), families[number]
    if scattered:
        label = scattered[source.integer(0, len(scattered) - 1)]
        return _component_of(source, _thin(canvas.labels == label, thickness)), background
    return None, background


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


def make_scene(source: Source, settings: SceneSettings) -> GeneratedScene:
    """Draw scenes until one has at least one visible target."""
    while True:
        scene = _try_scene(source, settings)
        if scene is not None:
            return scene


def _try_scene(source: Source, settings: SceneSettings) -> GeneratedScene | None:
    thickness = 3 if source.chance(0.25) else 1
    step = source.log_uniform(0.004, 0.026)
    grid = FieldGrid(settings.slices, settings.size, step)
    canvas = ShapeCanvas.empty(
        source, FieldGrid(settings.slices * thickness, settings.size, step / thickness)
    )
    style = HELD_OUT if settings.held_out else TRAINED
    background = source.pick(list(style.backgrounds), [weight for _, weight in style.backgrounds.values()])
    scattered = style.backgrounds[background][0](canvas)
    families = _paint_shapes(canvas, style) if background != "tessellation" or source.chance(0.8) else []
    scanner = source.pick(list(style.scanners), list(style.scanners.values()))
    texture = style.textures[0] if len(style.textures) == 1 else source.pick(style.textures)
    clean, noisy = image_of(canvas, grid, scanner, texture, thickness)
    noise = float((noisy - clean)[:: max(1, settings.slices // 2)].std())
    masks: list[Tensor] = []
    keys: list[int] = []
    shapes: list[str] = []
    for _ in range(3 * settings.targets):
        mask, shape = _choose_target(canvas, families, scattered, background, thickness)
        key = None if mask is None else _key_slice(source, mask)
        if mask is None or key is None:
            continue
        if overlap_near(mask, key) < 0.8 and not source.chance(0.08):
            continue
        if edge_visibility(clean[key], mask[key], max(0.045, 0.8 * noise)) < 0.6:
            continue
        masks.append(mask)
        keys.append(key)
        shapes.append(shape)
        if len(masks) == settings.targets:
            break
    if not masks:
        return None
    image = (noisy * 255).round().to(torch.uint8)
    return GeneratedScene(image, torch.stack(masks), tuple(keys), tuple(shapes), background, texture)
