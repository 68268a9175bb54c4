"""Simulated users: boxes with jitter, clicks inside, scribbles, and correction clicks from the error region.

They look at masks on the CPU, since a person's choice is made clip by clip, and answer on the masks' device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...engine.slice_prompts import SCRIBBLE_POINTS
from ...sam2.model import DecoderPrompts
from .clips import bounding_box
from .fields import Source, box_blur
from .rng import of_clip


def box_prompts(source: Source, masks: Tensor, jitter: float = 0.04) -> DecoderPrompts:
    """Tight boxes of bool masks (B, S, S), each side moved by about `jitter` of the longer side."""
    corners = torch.zeros(len(masks), 2, 2)
    for index, mask in enumerate(masks.cpu()):
        x0, y0, x1, y1 = bounding_box(mask)
        moved = of_clip(source, index).choice.normal(size=4) * jitter * max(x1 - x0, y1 - y0, 8)
        corners[index, 0, 0], corners[index, 0, 1] = x0 + moved[0], y0 + moved[1]
        corners[index, 1, 0], corners[index, 1, 1] = x1 - 1 + moved[2], y1 - 1 + moved[3]
    corners = corners.clamp(0, masks.shape[-1] - 1)
    labels = torch.tensor([2, 3]).expand(len(masks), 2)
    return DecoderPrompts(corners.to(masks.device), labels.to(masks.device))


def inner_points(source: Source, regions: Tensor) -> tuple[Tensor, Tensor]:
    """A pixel well inside each bool region (B, S, S): x, y (B, 2), and whether the region has any pixel (B,)."""
    points = torch.zeros(len(regions), 2)
    found = torch.zeros(len(regions), dtype=torch.bool)
    for index, region in enumerate(regions.cpu()):
        area = float(region.sum())
        if area == 0:
            continue
        width = 2 * max(1, int(0.22 * area**0.5)) + 1
        depth = box_blur(region[None].float(), width)[0] * region
        candidates = torch.nonzero(depth >= 0.85 * depth.max())
        chosen = of_clip(source, index).integer(0, len(candidates) - 1)
        row, column = candidates[chosen].tolist()
        points[index] = torch.tensor([float(column), float(row)])
        found[index] = True
    return points.to(regions.device), found.to(regions.device)


def point_prompts(source: Source, masks: Tensor, count: int = 1) -> DecoderPrompts:
    """`count` positive clicks inside each bool mask (B, S, S)."""
    points = torch.stack([inner_points(source, masks)[0] for _ in range(count)], 1)
    return DecoderPrompts(points, torch.ones(points.shape[:2], dtype=torch.long, device=masks.device))


def scribble_prompts(source: Source, masks: Tensor) -> DecoderPrompts:
    """A bent stroke inside each bool mask (B, S, S), as the points along it that the engine takes of a scribble.

    Where the stroke would leave the object, the nearest pixel inside is taken: a user paints on the object.
    """
    strokes = torch.zeros(len(masks), SCRIBBLE_POINTS, 2)
    along = ((torch.arange(SCRIBBLE_POINTS) + 0.5) / SCRIBBLE_POINTS)[:, None]
    for index, mask in enumerate(masks.cpu()):
        pixels = torch.nonzero(mask).flip(1).float()  # x, y
        if len(pixels) == 0:
            raise ValueError("The mask is empty, so there is nothing to scribble on")
        own = of_clip(source, index)
        start, bend, end = (pixels[own.integer(0, len(pixels) - 1)] for _ in range(3))
        curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * bend + along**2 * end
        strokes[index] = pixels[torch.cdist(curve, pixels).argmin(1)]
    labels = torch.ones(strokes.shape[:2], dtype=torch.long)
    return DecoderPrompts(strokes.to(masks.device), labels.to(masks.device))


def correction_clicks(
    source: Source, predicted: Tensor, masks: Tensor, before: DecoderPrompts | None = None
) -> DecoderPrompts:
    """One click per object in the larger of its two error regions, after the prompts given `before`.

    Args:
        predicted, masks: (B, S, S) bool.
        before: Points of earlier rounds; their mask is not kept.
    """
    missed, excess = masks & ~predicted, predicted & ~masks
    positive = missed.flatten(1).sum(1) >= excess.flatten(1).sum(1)
    points, found = inner_points(source, torch.where(positive[:, None, None], missed, excess))
    labels = torch.where(found, positive.long(), torch.full_like(positive, -1, dtype=torch.long))
    points, labels = points[:, None], labels[:, None]
    if before is not None and before.points is not None and before.labels is not None:
        points, labels = torch.cat([before.points, points], 1), torch.cat([before.labels, labels], 1)
    return DecoderPrompts(points, labels)
