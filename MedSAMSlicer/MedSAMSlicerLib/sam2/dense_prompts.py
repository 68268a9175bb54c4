"""Boxes, points and an earlier mask as one mask prompt, for networks with `Config.dense_prompts`.

A small network learns very slowly what prompt tokens mean; a map of the same prompts it understands at once. The map
holds log-odds in -8..8, 0 where nothing is known, and follows three rules:

1. A mask counts as it is, cut to -8..8.
2. A box adds 4 inside and -4 outside, with edges that are one cell soft: independent evidence adds up in log-odds.
3. Points outrank both: around each, a Gaussian pulls the map to 8 (inside) or -8 (outside).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LIMIT = 8.0
BOX_EVIDENCE = 4.0
POINT_RADIUS = 2.0
"""Standard deviation of a point's Gaussian, in cells of the map."""


def dense_prompt(
    points: Tensor | None, labels: Tensor | None, mask: Tensor | None, side: int, grid: int
) -> Tensor | None:
    """Draw the map of B objects' prompts.

    Args:
        points: (B, P, 2) x, y in network pixels, pixel centers at integers.
        labels: (B, P): 1 inside, 0 outside, 2 and 3 the corner pixels of a box, -1 padding.
        mask: (B, 1, ., .) logits.
        side: The image's side in pixels.
        grid: The map's side in cells.

    Returns:
        (B, 1, grid, grid) log-odds, or None when there is no prompt at all.
    """
    if mask is not None:
        if mask.shape[-2:] != (grid, grid):
            mask = functional.interpolate(mask.float(), (grid, grid), mode="bilinear", antialias=True)
        mask = mask.clamp(-LIMIT, LIMIT)
    if points is None or labels is None:
        return mask
    evidence = BOX_EVIDENCE * _box(points, labels, side, grid)
    if mask is not None:
        evidence = (evidence + mask).clamp(-LIMIT, LIMIT)
    inside = _nearness(points, labels == 1, side, grid)
    outside = _nearness(points, labels == 0, side, grid)
    return evidence * (1 - torch.maximum(inside, outside)) + LIMIT * (inside - outside)


def _centers(side: int, grid: int, device: torch.device) -> Tensor:
    """(grid,) coordinates of the cells' centers in pixels, measured from the image's edge."""
    return (torch.arange(grid, device=device) + 0.5) * (side / grid)


def _box(points: Tensor, labels: Tensor, side: int, grid: int) -> Tensor:
    """(B, 1, grid, grid): 1 inside the box, -1 outside, 0 everywhere for objects without a box."""
    first, last = labels == 2, labels == 3
    low = points.where(first[..., None], torch.inf).amin(1)  # (B, 2) left and top edge of the first pixel
    high = points.where(last[..., None], -torch.inf).amax(1) + 1  # right and bottom edge of the last pixel
    has_box = (first.any(1) & last.any(1))[:, None]
    low, high = low.where(has_box, 0.0), high.where(has_box, 0.0)
    centers = _centers(side, grid, points.device)
    depth = torch.minimum(centers - low[..., None], high[..., None] - centers) * (
        grid / side
    )  # (B, 2, grid) in cells
    depth = depth.clamp(-1, 1)
    inside = torch.minimum(depth[:, 1, :, None], depth[:, 0, None, :])[:, None]
    return inside * has_box[..., None, None]


def _nearness(points: Tensor, which: Tensor, side: int, grid: int) -> Tensor:
    """(B, 1, grid, grid): the Gaussian of the nearest of the chosen points, 1 at its center."""
    centers = _centers(side, grid, points.device)
    offsets = (points[..., None] + 0.5 - centers) * (grid / side / POINT_RADIUS)  # (B, P, 2, grid)
    bumps = torch.exp(-0.5 * offsets**2)
    bumps = bumps[:, :, 1, :, None] * bumps[:, :, 0, None, :]  # (B, P, grid, grid)
    return (bumps * which[..., None, None]).amax(1, keepdim=True)
