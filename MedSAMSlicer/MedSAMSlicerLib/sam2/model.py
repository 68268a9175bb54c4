"""SAM 2 (Ravi et al. 2024): one image encoder, a memory of earlier slices, and the mask decoder of SAM.

Read it from top to bottom: a slice goes through `encode_image`; `condition_first` or `condition_on_memory` adds to it
what is known of the object; `decode` draws the mask; `encode_memory` remembers it for the slices that follow. Every
step is batched over objects and differentiable, so that the engine and the training share it. Parameter names are
those of the published checkpoints.

Shapes: B objects, N frames, S image side in pixels, C `hidden_dim`, D `memory_dim`, h = w = S / `stride`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import Config, HieraConfig, InputRule, ViTConfig
from .convtrunk import ConvTrunk
from .dense_prompts import dense_prompt
from .hiera import Hiera
from .input_rule import normalized
from .layers import MLP
from .mask_decoder import MaskDecoder, chosen_mask
from .memory import MemoryAttention, MemoryEncoder
from .neck import FeaturePyramid, ImageEncoder
from .position import sine_embedding_1d, sine_embedding_2d
from .prompt_encoder import PromptEncoder
from .vit import ViT

NO_OBJECT_LOGIT = -1024.0
"""The mask logit everywhere on a slice without the object."""


class ImageFeatures(NamedTuple):
    """The features that the network keeps of N frames; they depend on no prompt. Without finer maps these are empty."""

    top: Tensor  # (N, C, h, w), without the embedding that says "no memory"
    mid: Tensor  # (N, C / 4, 2h, 2w), ready for the mask decoder
    fine: Tensor  # (N, C / 8, 4h, 4w), ready for the mask decoder

    @classmethod
    def alone(cls, top: Tensor) -> ImageFeatures:
        """The features of a network without finer maps."""
        nothing = top.new_empty(len(top), 0, 0, 0)
        return cls(top, nothing, nothing)


class DecoderPrompts(NamedTuple):
    """The prompts of B objects on one slice; empty while tracking."""

    points: Tensor | None = None  # (B, P, 2) x, y in network pixels, pixel centers at integers
    labels: Tensor | None = None  # (B, P) integers: 1 inside, 0 outside, 2 and 3 box corners, -1 padding
    mask: Tensor | None = None  # (B, 1, 4h, 4w) logits, e.g. of the mask that is being corrected


NO_PROMPTS = DecoderPrompts()


class MaskCandidates(NamedTuple):
    """All masks the decoder drew, before one is chosen and before the object score gates it.

    The first is the single mask, the others are alternatives for an ambiguous prompt: T = 1 + `num_multimask_outputs`.
    """

    logits: Tensor  # (B, T, 4h, 4w)
    iou: Tensor  # (B, T) predicted, 0..1
    tokens: Tensor  # (B, T, C), from which object pointers are made
    object_score: Tensor  # (B,) logit: the object is on this slice


class MaskOutput(NamedTuple):
    """The mask of each of B objects on one slice."""

    logits: (
        Tensor  # (B, 1, 4h, 4w) float32, > 0 inside; NO_OBJECT_LOGIT everywhere if the object is not there
    )
    iou: Tensor  # (B,) the network's own estimate of the mask's IoU, 0..1
    object_score: Tensor  # (B,) logit, > 0 if the object is on this slice
    pointer: Tensor  # (B, C) the object in one vector


class Memory(NamedTuple):
    """One slice and its mask, as later slices see them."""

    features: Tensor  # (B, D, h, w); bfloat16 outside training, as the official predictor stores them
    position: Tensor  # (1, D, h, w)


class SAM2(nn.Module):
    """The network; see the module's docstring for the order of its steps."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        C, D = config.hidden_dim, config.memory_dim
        self.image_encoder = _image_encoder(config)
        self.memory_attention = MemoryAttention(
            C,
            D,
            config.memory_attention_feedforward,
            config.memory_attention_layers,
            config.memory_attention_dropout,
        )
        self.memory_encoder = MemoryEncoder(C, D, config.stride)
        self.sam_prompt_encoder = PromptEncoder(C)
        self.sam_mask_decoder = MaskDecoder(
            C,
            config.decoder_feedforward,
            config.iou_hidden_dim,
            config.num_multimask_outputs,
            high_resolution=config.high_resolution,
        )
        self.mask_downsample = nn.Conv2d(1, 1, config.stride // 4, config.stride // 4)
        self.obj_ptr_proj = MLP(C, C, C, layers=3)
        if config.pointer_positions:
            self.obj_ptr_tpos_proj = nn.Linear(C, D)
        self.maskmem_tpos_enc = nn.Parameter(torch.empty(config.num_memories, 1, 1, D))
        self.no_mem_embed = nn.Parameter(torch.empty(1, 1, C))
        self.no_mem_pos_enc = nn.Parameter(torch.empty(1, 1, C))  # in every checkpoint, used by none
        self.no_obj_ptr = nn.Parameter(torch.empty(1, C))
        embeddings = [self.maskmem_tpos_enc, self.no_mem_embed, self.no_mem_pos_enc, self.no_obj_ptr]
        if config.absent_memory:
            self.no_obj_embed_spatial = nn.Parameter(torch.empty(1, D))
            embeddings.append(self.no_obj_embed_spatial)
        for embedding in embeddings:
            nn.init.trunc_normal_(embedding, std=0.02)

    # ---------------------------------------------------------------------------------------------- the image

    @staticmethod
    def normalize(frames: Tensor) -> Tensor:
        """Values 0..255 (uint8 or float), gray (N, S, S) or RGB (N, S, S, 3) -> (N, 3, S, S) float32 for the trunks."""
        return normalized(InputRule(), frames)

    def encode_image(self, frames: Tensor) -> ImageFeatures:
        """(N, 3, S, S) normalized frames -> their features; S is any multiple of `stride`.

        Raises:
            ValueError: If the frames are not square, or their side is not a multiple of `stride`.
        """
        side = frames.shape[-1]
        if frames.ndim != 4 or frames.shape[-2] != side or side % self.config.stride:
            raise ValueError(
                f"Frames must be (N, 3, S, S) with S a multiple of {self.config.stride}, got {tuple(frames.shape)}"
            )
        if isinstance(self.image_encoder, ViT):
            return ImageFeatures.alone(self.image_encoder(frames))
        fine, mid, top = self.image_encoder(frames)  # (N, C, 4h, 4w), (N, C, 2h, 2w), (N, C, h, w)
        return ImageFeatures(top, self.sam_mask_decoder.conv_s1(mid), self.sam_mask_decoder.conv_s0(fine))

    # ------------------------------------------------------------------------------------- what is known already

    def condition_first(self, top: Tensor) -> Tensor:
        """(B, C, h, w) -> the same for a slice that is prompted without any memory."""
        return top + self.no_mem_embed.view(1, -1, 1, 1)

    def condition_on_memory(
        self,
        top: Tensor,
        memories: Sequence[tuple[Memory, int]],
        pointers: Sequence[tuple[Tensor, float]] = (),
        pointer_span: int | None = None,
    ) -> Tensor:
        """Let a slice attend to what is remembered of its objects.

        Args:
            top: (B, C, h, w) image features, without the "no memory" embedding.
            memories: At least one, each with its temporal index: `num_memories - 1` for a conditioning slice, 0 for the
                slice just before in tracking order, 1 for the one before that, and so on.
            pointers: (B, C) object pointers, each with its distance in slices: positive for slices that lie behind in
                tracking order. At most `max_object_pointers` are useful.
            pointer_span: The distances are divided by this minus one; the official predictor takes
                min(number of slices, `max_object_pointers`). None: `max_object_pointers`.

        Returns:
            (B, C, h, w) conditioned features for :meth:`decode`.
        """
        batch, channels, height, width = top.shape
        tokens, positions = [], []
        for memory, temporal_index in memories:
            features = memory.features.to(top.dtype).flatten(2).transpose(1, 2)  # (B, hw, D)
            position = memory.position.to(top.dtype).flatten(2).transpose(1, 2)  # (1, hw, D)
            tokens.append(features)
            positions.append((position + self.maskmem_tpos_enc[temporal_index]).expand_as(features))
        pointer_tokens, pointer_positions = self.pointer_tokens(pointers, pointer_span)
        if pointers:
            tokens.append(pointer_tokens.expand(batch, -1, -1))
            positions.append(pointer_positions.expand(batch, -1, -1))
        image_position = sine_embedding_2d(channels, height, width, top.device).to(top.dtype)  # (1, C, h, w)
        conditioned = self.memory_attention(
            top.flatten(2).transpose(1, 2),  # (B, hw, C)
            image_position.flatten(2).transpose(1, 2),
            torch.cat(tokens, 1),  # (B, L, D)
            torch.cat(positions, 1),
            grid=(height, width),
            num_pointer_tokens=pointer_tokens.shape[1],
        )
        grid: Tensor = conditioned.transpose(1, 2).unflatten(2, (height, width))
        return grid

    def pointer_tokens(
        self, pointers: Sequence[tuple[Tensor, float]], pointer_span: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Object pointers as memory tokens: each pointer is cut into C / D tokens of one temporal position.

        Returns:
            Tokens (B, P, D) and their positions (1, P, D), P = number of pointers * C / D.
        """
        C, D = self.config.hidden_dim, self.config.memory_dim
        reference = self.no_obj_ptr
        if not pointers:
            return reference.new_zeros(1, 0, D), reference.new_zeros(1, 0, D)
        span = self.config.max_object_pointers if pointer_span is None else pointer_span
        distances = torch.tensor(
            [distance for _, distance in pointers], dtype=torch.float32, device=reference.device
        )
        positions = reference.new_zeros(len(pointers), D)
        if self.config.pointer_positions:
            positions = self.obj_ptr_tpos_proj(sine_embedding_1d(distances / max(span - 1, 1), C))
        tokens = torch.stack([pointer for pointer, _ in pointers], 1)  # (B, n, C)
        return tokens.unflatten(2, (C // D, D)).flatten(1, 2), positions.repeat_interleave(C // D, 0)[None]

    # ------------------------------------------------------------------------------------------------ the mask

    def multimask_for(self, num_points: int) -> bool:
        """Return whether the decoder should choose among alternatives: with at most one point (a box counts as two)."""
        return self.config.num_multimask_outputs > 0 and num_points <= 1

    def decode(
        self,
        conditioned: Tensor,
        mid: Tensor,
        fine: Tensor,
        prompts: DecoderPrompts = NO_PROMPTS,
        multimask: bool = False,
        present: Tensor | None = None,
        token: str = "auto",
    ) -> MaskOutput:
        """Draw the mask of B objects on one slice, as the official predictor does with its post-processing on.

        Args:
            conditioned: (B, C, h, w) from `condition_first` or `condition_on_memory`.
            mid, fine: The slice's finer features, (B or 1, C / 4, 2h, 2w) and (B or 1, C / 8, 4h, 4w).
            prompts: The user's prompts; none while tracking.
            multimask: Take the best of the alternatives (see `multimask_for`) instead of the single mask. Outside
                training an unstable single mask is replaced by the best alternative in any case.
            present: (B,) booleans that replace "object score > 0" as the gate of mask and pointer. Training passes the
                truth, since a closed gate has no gradient.
            token: Which mask to take whatever `multimask` says, see :func:`chosen_mask`; "auto" = as described.
        """
        candidates = self.candidates(conditioned, mid, fine, prompts)
        return self.finish(candidates, *self.choose(candidates, multimask, token), present)

    def finish(
        self, candidates: MaskCandidates, chosen: Tensor, token: Tensor, present: Tensor | None = None
    ) -> MaskOutput:
        """The masks of B objects from the candidates with the indices `chosen` and `token`, as `choose` gives them."""
        rows = torch.arange(len(chosen), device=chosen.device)
        logits = candidates.logits[rows, chosen][:, None].float()
        if present is None:
            present = candidates.object_score > 0
        return MaskOutput(
            logits.where(present[:, None, None, None], NO_OBJECT_LOGIT),
            candidates.iou[rows, chosen],
            candidates.object_score,
            self._gate(self.obj_ptr_proj(candidates.tokens[rows, token]), present),
        )

    def candidates(
        self, conditioned: Tensor, mid: Tensor, fine: Tensor, prompts: DecoderPrompts
    ) -> MaskCandidates:
        """All masks the decoder draws for a slice (arguments as for :meth:`decode`), none chosen, none gated."""
        batch, _, height, width = conditioned.shape
        side = height * self.config.stride
        mask = prompts.mask
        if self.config.dense_prompts:
            mask = dense_prompt(prompts.points, prompts.labels, mask, side=side, grid=4 * height)
        sparse, dense = self.sam_prompt_encoder(prompts.points, prompts.labels, mask, batch=batch, side=side)
        image_position = self.sam_prompt_encoder.grid_position(height, width)  # (1, C, h, w)
        return MaskCandidates(*self.sam_mask_decoder(conditioned + dense, image_position, sparse, mid, fine))

    def choose(
        self, candidates: MaskCandidates, multimask: bool, token: str = "auto"
    ) -> tuple[Tensor, Tensor]:
        """The mask to show and the token that becomes the object pointer: two (B,) indices into the candidates."""
        if token != "auto":
            chosen = chosen_mask(candidates.iou, token)
            return chosen, chosen
        single = chosen_mask(candidates.iou, "single")
        if self.config.num_multimask_outputs == 0:
            return single, single
        best_alternative = chosen_mask(candidates.iou, "best")
        if multimask:
            return best_alternative, best_alternative
        if self.training:
            return single, single
        return single.where(_is_stable(candidates.logits[:, 0]), best_alternative), single

    def decode_mask_as_output(self, top: Tensor, mid: Tensor, fine: Tensor, mask: Tensor) -> MaskOutput:
        """Take a mask the user gave as the answer; only its object pointer comes from the decoder.

        Args:
            top, mid, fine: The slice's features, not conditioned.
            mask: (B, 1, S, S) zeros and ones at the image's size; all zeros = the object is not on this slice.
        """
        mask = mask.to(top.dtype)
        size = [4 * extent for extent in top.shape[-2:]]
        logits = functional.interpolate(20 * mask.float() - 10, size, mode="bilinear", antialias=True)
        present = mask.flatten(1).any(1)
        prompt = DecoderPrompts(mask=logits if self.config.dense_prompts else self.mask_downsample(mask))
        pointer = self._gate(self.decode(top, mid, fine, prompt).pointer, present)
        score = 20 * present.float() - 10
        return MaskOutput(logits, torch.ones_like(score), score, pointer)

    def _gate(self, pointer: Tensor, present: Tensor) -> Tensor:
        """(B, C) pointers, replaced by the one that means "no object" where `present` (B,) is false."""
        return pointer.where(present[:, None], self.no_obj_ptr)

    # ---------------------------------------------------------------------------------------------- the memory

    def encode_memory(self, top: Tensor, logits: Tensor, object_score: Tensor, from_points: bool) -> Memory:
        """Remember a slice and its masks.

        Args:
            top: (B, C, h, w) image features, not conditioned.
            logits: (B, 1, 4h, 4w) mask logits as `decode` returns them, or (B, 1, S, S).
            object_score: (B,) logits; where it is not positive, the memory says that the object is gone.
            from_points: The user prompted this slice (by points, box or mask): outside training the mask is then
                remembered as black and white, just as the user saw it.
        """
        side = top.shape[-1] * self.config.stride
        logits = logits.float()
        if logits.shape[-1] != side:
            logits = functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        mask = (logits > 0).float() if from_points and not self.training else logits.sigmoid()
        features = self.memory_encoder(top, 20 * mask.to(top.dtype) - 10)  # (B, D, h, w)
        if self.config.absent_memory:
            absent = (object_score <= 0).to(features.dtype).view(-1, 1, 1, 1)
            features = features + absent * self.no_obj_embed_spatial.view(1, -1, 1, 1)
        if not self.training:
            features = features.to(torch.bfloat16)
        _, channels, height, width = features.shape
        return Memory(features, sine_embedding_2d(channels, height, width, features.device))


def _image_encoder(config: Config) -> ImageEncoder | ViT:
    """The image encoder of a network; ValueError when it cannot give what the mask decoder reads."""
    if isinstance(config.trunk, ViTConfig):
        if config.high_resolution:
            raise ValueError("a plain vision transformer has no high-resolution maps for the mask decoder")
        return ViT(config.trunk, config.hidden_dim, config.input.channels)
    if not config.high_resolution:
        raise ValueError("a trunk with several levels must give its high-resolution maps to the mask decoder")
    trunk: Hiera | ConvTrunk = (
        Hiera(config.trunk) if isinstance(config.trunk, HieraConfig) else ConvTrunk(config.trunk)
    )
    return ImageEncoder(trunk, FeaturePyramid(trunk.channels, config.hidden_dim))


def _is_stable(logits: Tensor, delta: float = 0.05, threshold: float = 0.98) -> Tensor:
    """(B, H, W) logits -> (B,) whether the mask hardly changes when its threshold moves by `delta` up or down."""
    inner = (logits > delta).flatten(1).sum(1)
    outer = (logits > -delta).flatten(1).sum(1)
    return (inner.float() / outer.clamp(min=1).float() >= threshold) | (outer == 0)
