"""Points, boxes and masks as tokens and maps for the mask decoder (Kirillov et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layers import LayerNorm2d

MASK_CHANNELS = 16


class PromptEncoder(nn.Module):
    """Turns prompts of B objects into P' tokens (B, P', C) and a map (B or 1, C, h or 1, w or 1) added to the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pe_layer = RandomPosition(channels // 2)
        self.point_embeddings = nn.ModuleList(
            nn.Embedding(1, channels) for _ in range(4)
        )  # outside, inside, corners
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.no_mask_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, MASK_CHANNELS // 4, 2, stride=2),
            LayerNorm2d(MASK_CHANNELS // 4),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS // 4, MASK_CHANNELS, 2, stride=2),
            LayerNorm2d(MASK_CHANNELS),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS, channels, 1),
        )

    def forward(
        self,
        points: Tensor | None,
        labels: Tensor | None,
        mask: Tensor | None,
        batch: int,
        side: int,
        padded: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Encode what there is of points (B, P, 2) in pixels, labels (B, P) and mask logits (B, 1, 4h, 4w).

        `side` is the image's, in pixels. A "not a point" token ends the list; without points there are two. SAM 1 wants
        none of them beside a box, and no token at all without points: `padded` false.

        Raises:
            ValueError: If only one of points and labels is given, or their shapes do not fit.
        """
        weight = self.no_mask_embed.weight
        if points is None and labels is None:
            points = weight.new_zeros(batch, int(padded), 2)
            labels = torch.full((batch, int(padded)), -1, device=weight.device)
        if points is None or labels is None or points.shape != (*labels.shape, 2) or len(points) != batch:
            got = (
                None if points is None else tuple(points.shape),
                None if labels is None else tuple(labels.shape),
            )
            raise ValueError(
                f"Points must be ({batch}, P, 2) and labels ({batch}, P), got {got[0]} and {got[1]}"
            )
        dense = weight.view(1, -1, 1, 1) if mask is None else self.mask_downscaling(mask.to(weight.dtype))
        return self.tokens(points, labels, side, padded), dense

    def tokens(self, points: Tensor, labels: Tensor, side: int, padded: bool = True) -> Tensor:
        """(B, P, 2) and (B, P) -> (B, P + 1, C), or (B, P, C) when not padded."""
        if padded:
            points = torch.cat([points, points.new_zeros(len(points), 1, 2)], 1)
            labels = torch.cat([labels, labels.new_full((len(labels), 1), -1)], 1)
        labels = labels[:, :, None]
        position: Tensor = self.pe_layer((points + 0.5) / side)
        tokens = position.where(labels >= 0, self.not_a_point_embed.weight)
        for label, embedding in enumerate(self.point_embeddings):
            tokens = tokens + embedding.get_parameter("weight") * (labels == label).to(tokens.dtype)
        return tokens

    def grid_position(self, height: int, width: int) -> Tensor:
        """(1, C, height, width): the position embedding of every feature's center."""
        device = self.no_mask_embed.weight.device
        rows = (torch.arange(height, device=device) + 0.5) / height
        columns = (torch.arange(width, device=device) + 0.5) / width
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        encoded: Tensor = self.pe_layer(torch.stack([x, y], 2))  # (h, w, C)
        return encoded.permute(2, 0, 1)[None]


class RandomPosition(nn.Module):
    """Places as sines and cosines of random projections (Tancik et al. 2020); the checkpoint holds the projections."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, frequencies))

    def forward(self, places: Tensor) -> Tensor:
        """(..., 2) x, y in 0..1 -> (..., 2 * frequencies)."""
        angles = 2 * math.pi * ((2 * places.float() - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], -1)
