"""Training clips: the square window the engine would show the network, cut from a scene."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from .fields import Source, gaussian_blur
from .rng import seed_of
from .synthetic import GeneratedScene

if TYPE_CHECKING:
    from .settings import TrainSettings

_LONGEST_STRIDE = 3
_LENGTHS = 1  # what a seed is for


@dataclass(frozen=True)
class ClipSettings:
    """The cut of windows: `margin` is the side of the window / longer side of the box, jittered by `spread`.

    `wide` is the share of windows that show far more than the object, as before a first click; `skips` that of long
    objects of which slices are left out.
    """

    length: int = 6
    size: int = 128
    margin: float = 1.7
    spread: float = 1.35
    wide: float = 0.12
    rotate: float = 0.3
    skips: float = 0.5


@dataclass(frozen=True)
class Batch:
    """`frames` (length, batch, size, size) uint8 and `masks` (length, batch, size, size) uint8, 255 = inside.

    The first slice is the prompted one; the others follow in tracking order. `lasts` (batch,) float32 says how many
    slices after the prompted one the object is last seen, as a user's slice range would; negative where not known.
    """

    frames: numpy.ndarray
    masks: numpy.ndarray
    lasts: numpy.ndarray | None = None


def scene_size(size: int) -> int:
    """Side of the scenes from which windows of `size` pixels are cut: enough for small objects to be coarse."""
    return min(3 * size // 2, 224)


def clip_length(settings: TrainSettings, number: int) -> int:
    """Slices of the clips of a batch. Stage 1: single slices and pairs; stage 2: mostly longer clips."""
    source = Source(seed_of(settings.seed, _LENGTHS, number))
    if settings.stage == 1 or source.chance(settings.single_share):
        return 2 if source.chance(settings.pair_share) else 1
    return source.integer(settings.shortest, settings.longest)


def clip_count(settings: TrainSettings, length: int) -> int:
    """Clips of a batch in each process."""
    frames = settings.frames if length > 1 else settings.frames * 2 // 3
    return max(1, frames // length)


def order_of(
    scene: GeneratedScene, target: int, length: int, source: Source, skips: float = 0.0
) -> tuple[list[int], float] | None:
    """Slices from the key slice outward, `length` of them, in a random direction that has as many, and where it ends.

    With a chance of `skips` a clip leaves slices out, as thicker slices would, so that it reaches the object's end.
    The end is in slices of the clip after the first, -1 where the object goes on to the border of the scene.
    """
    key, count = scene.keys[target], scene.image.shape[0]
    seen = scene.masks[target].flatten(1).any(1)
    options: list[tuple[list[int], float]] = []
    for direction in (1, -1):
        there = range(key, count if direction > 0 else -1, direction)
        present = [place for place, index in enumerate(there) if bool(seen[index])]
        end = present[-1] if present else 0
        stride = 1
        if length > 2 and end > length - 1 and source.chance(skips):
            stride = min(math.ceil(end / (length - 1)), (len(there) - 1) // (length - 1), _LONGEST_STRIDE)
        if stride >= 1 and len(there) > stride * (length - 1):
            last = -1.0 if end == len(there) - 1 else end / stride
            options.append((list(there)[: stride * (length - 1) + 1 : stride], last))
    if not options:
        return None
    ending = [option for option in options if option[1] >= 0]
    if ending and source.chance(0.5):
        options = ending
    return options[source.integer(0, len(options) - 1)]


def bounding_box(mask: Tensor) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of a bool mask (H, W); the far edges are exclusive. Raises ValueError on an empty mask."""
    rows, columns = torch.nonzero(mask.any(1))[:, 0], torch.nonzero(mask.any(0))[:, 0]
    if len(rows) == 0:
        raise ValueError("The mask is empty, so it has no bounding box")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _window(source: Source, mask: Tensor, settings: ClipSettings) -> tuple[float, float, float]:
    """Center x, y and side of the window, in voxels of the scene."""
    x0, y0, x1, y1 = bounding_box(mask)
    longer, extent = float(max(x1 - x0, y1 - y0)), float(mask.shape[-1])
    side = settings.margin * longer * source.log_uniform(1 / settings.spread, settings.spread)
    offset = 0.06 * longer
    if source.chance(settings.wide):
        side = max(side, source.uniform(2.2, 6.0) * longer)
        offset = side * 0.5 - longer * 0.55
    side = min(max(side, 16.0), 1.25 * extent)
    center_x = (x0 + x1) / 2 + source.uniform(-offset, offset)
    center_y = (y0 + y1) / 2 + source.uniform(-offset, offset)
    return center_x, center_y, side


def cut(
    source: Source, scene: GeneratedScene, target: int, order: list[int], settings: ClipSettings
) -> tuple[Tensor, Tensor]:
    """Frames and masks (length, size, size) uint8: one window for the whole clip, turned and mirrored at random."""
    extent = scene.image.shape[-1]
    masks = scene.masks[target, order].float()
    frames = scene.image[order].float()
    center_x, center_y, side = _window(source, masks[0] > 0.5, settings)
    angle = source.integer(0, 3) * math.pi / 2
    if source.chance(settings.rotate):
        angle += source.uniform(-0.5, 0.5)
    flip = -1.0 if source.chance(0.5) else 1.0
    cosine, sine, scale = math.cos(angle), math.sin(angle), side / extent
    theta = torch.tensor(
        [
            [scale * cosine * flip, -scale * sine, 2 * center_x / extent - 1],
            [scale * sine * flip, scale * cosine, 2 * center_y / extent - 1],
        ],
        device=frames.device,
    )
    grid = functional.affine_grid(theta[None], [1, 1, settings.size, settings.size], align_corners=False)
    reduction = side / settings.size
    if reduction > 1.2:
        frames = gaussian_blur(frames, 0.4 * reduction)
    stacked = torch.cat([frames, 255 * masks])[None]
    sampled = functional.grid_sample(
        stacked, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )[0]
    sampled = sampled.round().clamp(0, 255).to(torch.uint8)
    return sampled[: len(order)], sampled[len(order) :]


class ClipSampler:
    """Endless clips from a pool of scenes; a scene is replaced after `uses` clips were cut from it.

    Args:
        source: of chance.
        make: a new scene.
        clips: how windows are cut.
        pool: scenes that are kept at once.
        uses: clips of a scene.
    """

    def __init__(
        self,
        source: Source,
        make: Callable[[], GeneratedScene],
        clips: ClipSettings,
        pool: int = 24,
        uses: int = 16,
    ) -> None:
        self.source, self.make, self.clips, self.pool, self.uses = source, make, clips, pool, uses
        self._scenes: list[tuple[GeneratedScene, int]] = []

    def clip(self, length: int) -> tuple[Tensor, Tensor, float]:
        """Frames and masks (length, size, size) uint8, the target on the first; and after how many it is last seen."""
        while True:
            if len(self._scenes) < self.pool:
                self._scenes.append((self.make(), 0))
                index = len(self._scenes) - 1
            else:
                index = self.source.integer(0, len(self._scenes) - 1)
            scene, used = self._scenes[index]
            if used >= self.uses:
                scene, used = self.make(), 0
            self._scenes[index] = (scene, used + 1)
            target = self.source.integer(0, len(scene.keys) - 1)
            found = order_of(scene, target, length, self.source, self.clips.skips)
            if found is None:
                continue
            frames, masks = cut(self.source, scene, target, found[0], self.clips)
            if int((masks[0] > 127).sum()) >= 12:
                return frames, masks, found[1]

    def batch(self, size: int, length: int) -> Batch:
        """`size` clips of `length` slices."""
        clips = [self.clip(length) for _ in range(size)]
        frames = torch.stack([frames for frames, _, _ in clips], 1)
        masks = torch.stack([masks for _, masks, _ in clips], 1)
        lasts = numpy.array([last for _, _, last in clips], numpy.float32)
        return Batch(frames.cpu().numpy(), masks.cpu().numpy(), lasts)
