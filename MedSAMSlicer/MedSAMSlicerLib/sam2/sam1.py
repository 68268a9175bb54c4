"""SAM (Kirillov et al. 2023): an image encoder and the mask decoder, without memory. LiteMedSAM and MobileSAM are such.

A slice goes through `encode_image`, `decode` draws the masks of any number of prompts on it.

Shapes: B prompts, N frames, S image side in pixels, h = w = S / stride of the trunk.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import Sam1Config
from .mask_decoder import MaskDecoder
from .model import DecoderPrompts
from .prompt_encoder import PromptEncoder
from .tinyvit import EMBEDDING, TinyViT

BOX_CORNER = 2


class SAM1(nn.Module):
    """The network."""

    def __init__(self, config: Sam1Config) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = TinyViT(config.trunk)
        self.prompt_encoder = PromptEncoder(EMBEDDING)
        self.mask_decoder = MaskDecoder(
            EMBEDDING, config.decoder_feedforward, EMBEDDING, config.num_multimask_outputs, sam2=False
        )

    @staticmethod
    def normalize(frames: Tensor) -> Tensor:
        """Values 0..255, gray (N, S, S) or RGB (N, S, S, 3) -> (N, 3, S, S) float32, each frame stretched to 0..1."""
        channels = frames[:, None] if frames.ndim == 3 else frames.permute(0, 3, 1, 2)
        values = channels.to(torch.float32)
        lowest = values.amin((1, 2, 3), keepdim=True)
        span = (values.amax((1, 2, 3), keepdim=True) - lowest).clamp(min=1e-8)
        return ((values - lowest) / span).expand(-1, 3, -1, -1).contiguous()

    def encode_image(self, frames: Tensor) -> Tensor:
        """(N, 3, S, S) frames in the checkpoint's own scale (LiteMedSAM: 0..1) -> (N, 256, h, w) embeddings.

        Raises:
            ValueError: If the frames are not square, or their side is not a multiple of the stride.
        """
        side, stride = frames.shape[-1], self.config.trunk.stride
        if frames.ndim != 4 or frames.shape[-2] != side or side % stride:
            raise ValueError(
                f"Frames must be (N, 3, S, S) with S a multiple of {stride}, got {tuple(frames.shape)}"
            )
        embedding: Tensor = self.image_encoder(frames)
        return embedding

    def decode(
        self, embedding: Tensor, prompts: DecoderPrompts, multimask: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Draw the masks of B prompts on one slice.

        Args:
            embedding: (1 or B, 256, h, w).
            prompts: points in network pixels, labels (2 and 3 are box corners), and logits of an earlier mask.
            multimask: Take the best of the alternatives instead of the single mask.

        Returns:
            Logits (B, 1, 4h, 4w) and the predicted IoU (B,).
        """
        given = prompts.points if prompts.points is not None else prompts.mask
        batch = 1 if given is None else len(given)
        _, _, height, width = embedding.shape
        labels = prompts.labels
        has_box = labels is not None and bool((labels >= BOX_CORNER).any())
        sparse, dense = self.prompt_encoder(
            prompts.points,
            labels,
            prompts.mask,
            batch=batch,
            side=height * self.config.trunk.stride,
            padded=not has_box,
        )
        position = self.prompt_encoder.grid_position(height, width)
        logits, iou, _, _ = self.mask_decoder(embedding.expand(batch, -1, -1, -1) + dense, position, sparse)
        rows = torch.arange(batch, device=logits.device)
        best = iou[:, 1:].argmax(1) + 1 if multimask else torch.zeros_like(rows)
        return logits[rows, best][:, None], iou[rows, best]
