"""The loss of a predicted mask: cross-entropy with focal weight, Dice, predicted IoU and object score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ...sam2.model import MaskOutput
from .distributed import world


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts. Plain cross-entropy keeps a network that starts from nothing off empty masks."""

    cross_entropy: float = 1.0
    focal: float = 8.0
    dice: float = 1.0
    iou: float = 0.3
    object_score: float = 0.5


def soft_target(masks: Tensor, size: int) -> Tensor:
    """(B, S, S) uint8 masks, 255 = inside -> (B, 1, size, size) share of each cell that is inside, 0..1."""
    return functional.interpolate(masks[:, None].float() / 255, (size, size), mode="area")


def mask_loss(
    output: MaskOutput, target: Tensor, weights: LossWeights, judged: Tensor, count: Tensor | None = None
) -> Tensor:
    """Mean loss of B objects on one slice.

    Args:
        target: (B, 1, h, w) share of each cell inside, 0..1, at the resolution of the logits.
        judged: (B,) bool; the mask counts only there (where it was not gated away).
        count: How many masks count; the mean over all processes when there are several, None = `judged.sum()`.
    """
    logits = output.logits.clamp(-20, 20)
    probability = logits.sigmoid()
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = entropy * (target - probability).square()
    overlap = (probability * target).sum((1, 2, 3))
    total = (probability + target).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    per_object = (
        weights.cross_entropy * entropy.mean((1, 2, 3))
        + weights.focal * focal.mean((1, 2, 3))
        + weights.dice * dice
    )
    with torch.no_grad():
        inside, wanted = logits > 0, target > 0.5
        union = (inside | wanted).flatten(1).sum(1).clamp(min=1)
        iou = (inside & wanted).flatten(1).sum(1) / union
    per_object = per_object + weights.iou * (output.iou.float() - iou).abs()
    present = (target > 0.5).flatten(1).any(1).float()
    score = functional.binary_cross_entropy_with_logits(output.object_score.float(), present)
    count = judged.sum() if count is None else count
    return (per_object * judged).sum() / count.clamp(min=1 / world()) + weights.object_score * score


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """(B,) Dice of thresholded logits and targets (B, 1, h, w); 1 where both are empty."""
    inside, wanted = logits > 0, target > 0.5
    total = inside.flatten(1).sum(1) + wanted.flatten(1).sum(1)
    overlap = (inside & wanted).flatten(1).sum(1)
    return torch.where(
        total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(total, dtype=torch.float32)
    )
