"""The mask decoder of SAM (Kirillov et al. 2023): tokens and image look at each other, then each token draws a mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import MLP, Attention, LayerNorm2d

HEADS = 8


class MaskDecoder(nn.Module):
    """Draws 1 + `alternatives` masks (T in all) of B objects and estimates how good they are.

    The decoder of SAM 2 also says whether the object is there at all; that of SAM 1 (`sam2` false) does not, and its
    estimate of the IoU goes through no sigmoid. With `high_resolution` the finer features of the image are read.
    """

    def __init__(
        self,
        channels: int,
        feedforward: int,
        iou_hidden: int,
        alternatives: int,
        sam2: bool = True,
        high_resolution: bool = True,
    ) -> None:
        super().__init__()
        masks = 1 + alternatives
        self.sam2 = sam2
        self.transformer = TwoWayTransformer(channels, feedforward)
        if sam2:
            self.obj_score_token = nn.Embedding(1, channels)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(masks, channels)
        self.high_resolution = high_resolution
        if high_resolution:
            self.conv_s0 = nn.Conv2d(channels, channels // 8, 1)
            self.conv_s1 = nn.Conv2d(channels, channels // 4, 1)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, stride=2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(channels, channels, channels // 8, layers=3) for _ in range(masks)
        )
        self.iou_prediction_head = MLP(channels, iou_hidden, masks, layers=3)
        if sam2:
            self.pred_obj_score_head = MLP(channels, channels, 1, layers=3)

    def forward(
        self,
        image: Tensor,
        image_position: Tensor,
        prompts: Tensor,
        mid: Tensor | None = None,
        fine: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Let prompts and image read each other, then draw.

        Args:
            image: (B, C, h, w) conditioned features with the dense prompt added.
            image_position: (1, C, h, w).
            prompts: (B, P, C) prompt tokens.
            mid, fine: (B or 1, C / 4, 2h, 2w) and (B or 1, C / 8, 4h, 4w), through `conv_s1` and `conv_s0`; not
                looked at without `high_resolution`.

        Returns:
            Mask logits (B, T, 4h, 4w), predicted IoU (B, T), mask tokens (B, T, C) and object scores (B,), which are
            positive for SAM 1: it takes the object for granted.
        """
        batch, _, height, width = image.shape
        scores = [self.obj_score_token.weight] if self.sam2 else []
        own = torch.cat([*scores, self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(batch, -1, -1), prompts], 1)  # (B, 1 or 2 + T + P, C)
        tokens, pixels = self.transformer(
            tokens, image.flatten(2).transpose(1, 2), image_position.flatten(2).transpose(1, 2)
        )
        first = len(scores)
        iou_token = tokens[:, first]
        mask_tokens = tokens[:, first + 1 : first + 1 + self.mask_tokens.num_embeddings]  # (B, T, C)

        pixels = self.upscale(
            pixels.transpose(1, 2).unflatten(2, (height, width)), mid, fine
        )  # (B, C / 8, 4h, 4w)
        brushes = torch.stack(
            [mlp(mask_tokens[:, index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)], 1
        )  # (B, T, C / 8)
        masks = (brushes @ pixels.flatten(2)).unflatten(2, pixels.shape[-2:])
        iou = self.iou_prediction_head(iou_token)
        if not self.sam2:
            return masks, iou, mask_tokens, iou.new_ones(batch)
        return masks, iou.sigmoid(), mask_tokens, self.pred_obj_score_head(tokens[:, 0])[:, 0]

    def upscale(self, pixels: Tensor, mid: Tensor | None, fine: Tensor | None) -> Tensor:
        """(B, C, h, w) -> (B, C / 8, 4h, 4w), with the image's finer features let in on the way, if there are any."""
        double, norm, activation, quadruple, last_activation = self.output_upscaling
        doubled = double(pixels)
        pixels = activation(norm(doubled + mid if mid is not None and self.high_resolution else doubled))
        quadrupled = quadruple(pixels)
        out: Tensor = last_activation(
            quadrupled + fine if fine is not None and self.high_resolution else quadrupled
        )
        return out


def chosen_mask(iou: Tensor, token: str) -> Tensor:
    """The one of the masks that were drawn that counts, for each of B objects.

    Args:
        iou: (B, T) predicted IoU of the single mask and of the alternatives.
        token: "single", "first" of the alternatives, or "best" of them by `iou`. Where
            there are no alternatives (T = 1) it is the single mask in any case.

    Returns:
        (B,) indices from 0 to T - 1.
    """
    if token == "best" and iou.shape[1] > 1:
        return iou[:, 1:].argmax(1) + 1
    place = 1 if token == "first" and iou.shape[1] > 1 else 0
    return torch.full((len(iou),), place, dtype=torch.long, device=iou.device)


class TwoWayTransformer(nn.Module):
    """Two rounds in which the tokens read the image and the image reads the tokens."""

    def __init__(self, channels: int, feedforward: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayLayer(channels, feedforward, first=index == 0) for index in range(2)
        )
        self.final_attn_token_to_image = Attention(channels, HEADS, inner=channels // 2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(self, prompts: Tensor, image: Tensor, image_position: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, C) tokens, (B, hw, C) pixels and (1, hw, C) their positions -> new tokens, new pixels."""
        tokens = prompts
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompts, image_position)
        read = self.final_attn_token_to_image(tokens + prompts, image + image_position, image)
        return self.norm_final_attn(tokens + read), image


class TwoWayLayer(nn.Module):
    """Tokens to themselves, tokens to image, feed-forward, image to tokens; the prompts are the tokens' positions."""

    def __init__(self, channels: int, feedforward: int, first: bool) -> None:
        super().__init__()
        self.first = first  # here the tokens still are the prompts: no position, no residual
        self.self_attn = Attention(channels, HEADS)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = Attention(channels, HEADS, inner=channels // 2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels, feedforward, channels)
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = Attention(channels, HEADS, inner=channels // 2)

    def forward(
        self, tokens: Tensor, image: Tensor, prompts: Tensor, image_position: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + prompts
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        placed_image = image + image_position
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + prompts, placed_image, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(placed_image, tokens + prompts, tokens))
        return tokens, image
