"""SAM (Kirillov et al. 2023): an image encoder and the mask decoder, without memory.

MedSAM and SAM-Med2D are such with a vision transformer, LiteMedSAM and MobileSAM with a TinyViT; networks distilled
from these may have a convolutional trunk.

A slice goes through `encode_image`, `decode` draws the masks of any number of prompts on it.

Shapes: B prompts, N frames, S image side in pixels, h = w = S / stride of the trunk.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ConvTrunkConfig, Sam1Config, TinyViTConfig
from .convtrunk import ConvEncoder
from .input_rule import normalized
from .mask_decoder import MaskDecoder, chosen_mask
from .model import DecoderPrompts
from .prompt_encoder import PromptEncoder
from .tinyvit import TinyViT
from .vit import ViT

BOX_CORNER = 2
EMBEDDING = 256


class SAM1(nn.Module):
    """The network."""

    def __init__(self, config: Sam1Config) -> None:
        super().__init__()
        self.config = config
        trunk, channels = config.trunk, config.input.channels
        self.image_encoder: TinyViT | ViT | ConvEncoder
        if isinstance(trunk, TinyViTConfig):
            self.image_encoder = TinyViT(trunk, EMBEDDING, channels)
        elif isinstance(trunk, ConvTrunkConfig):
            self.image_encoder = ConvEncoder(trunk, EMBEDDING, channels)
        else:
            self.image_encoder = ViT(trunk, EMBEDDING, channels)
        self.prompt_encoder = PromptEncoder(EMBEDDING)
        self.mask_decoder = MaskDecoder(
            EMBEDDING,
            config.decoder_feedforward,
            EMBEDDING,
            config.num_multimask_outputs,
            sam2=False,
            high_resolution=False,
        )

    def normalize(self, frames: Tensor, inside: Tensor | None = None) -> Tensor:
        """Values 0..255 as the checkpoint reads them; see :func:`~.input_rule.normalized`."""
        return normalized(self.config.input, frames, inside)

    def encode_image(self, frames: Tensor) -> Tensor:
        """(N, 3, S, S) frames from :meth:`normalize` -> (N, 256, h, w) embeddings.

        Raises:
            ValueError: If the frames are not square, or their side is not a multiple of the stride.
        """
        side, stride = frames.shape[-1], self.config.stride
        if frames.ndim != 4 or frames.shape[-2] != side or side % stride:
            raise ValueError(
                f"Frames must be (N, 3, S, S) with S a multiple of {stride}, got {tuple(frames.shape)}"
            )
        embedding: Tensor = self.image_encoder(frames)
        return embedding

    def decode(
        self, embedding: Tensor, prompts: DecoderPrompts, multimask: bool = False, token: str = "auto"
    ) -> tuple[Tensor, Tensor]:
        """Draw the masks of B prompts on one slice.

        Args:
            embedding: (1 or B, 256, h, w).
            prompts: points in network pixels, labels (2 and 3 are box corners), and logits of an earlier mask.
            multimask: Take the best of the alternatives instead of the single mask.
            token: Which mask to take whatever `multimask` says, see :func:`chosen_mask`; "auto" = as `multimask` says.

        Returns:
            Logits (B, 1, 4h, 4w) and the predicted IoU (B,).
        """
        logits, iou = self.candidates(embedding, prompts)
        rows = torch.arange(len(iou), device=logits.device)
        usual = "best" if multimask else "single"
        chosen = chosen_mask(iou, usual if token == "auto" else token)
        return logits[rows, chosen][:, None], iou[rows, chosen]

    def candidates(self, embedding: Tensor, prompts: DecoderPrompts) -> tuple[Tensor, Tensor]:
        """All masks of B prompts, the single one first: logits (B, T, 4h, 4w) and predicted IoU (B, T)."""
        given = prompts.points if prompts.points is not None else prompts.mask
        batch = 1 if given is None else len(given)
        _, _, height, width = embedding.shape
        labels = prompts.labels
        has_box = labels is not None and bool((labels >= BOX_CORNER).any())
        has_points = labels is not None and bool((labels >= 0).any())
        sparse, dense = self.prompt_encoder(
            prompts.points,
            labels,
            prompts.mask,
            batch=batch,
            side=height * self.config.stride,
            padded=has_points and not has_box,
        )
        position = self.prompt_encoder.grid_position(height, width)
        logits, iou, _, _ = self.mask_decoder(embedding.expand(batch, -1, -1, -1) + dense, position, sparse)
        return logits, iou
