"""A slice through a network of SAM, which remembers nothing: prompt, draw, correct; differentiable, batched."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...engine.network import PREVIOUS_LOGIT_LIMIT
from ...sam2.config import Sam1Config
from ...sam2.mask_decoder import chosen_mask
from ...sam2.model import DecoderPrompts, MaskOutput
from ...sam2.sam1 import SAM1
from ...sam2.tinyvit import BatchNorm
from .fields import Source
from .rollout import CLICKS, PromptMix, Rollout, corrected_by_clicks, first_prompts, nearest_alternative

_THERE = 10.0  # logit of "the object is on this slice": such a network has no other answer
ONLY_BOXES = PromptMix(box=1.0, point=0.0, scribble=0.0, box_and_point=0.0, mask=0.0)


def known_prompts(config: Sam1Config, mix: PromptMix) -> PromptMix:
    """The prompts of a mixture that mean something to a network."""
    return ONLY_BOXES if config.only_boxes else mix


def slice_rollout(
    network: SAM1,
    frames: Tensor,
    masks: Tensor,
    source: Source,
    kind: str,
    *,
    teach: bool,
    corrections: float = 0.0,
    clicks: tuple[int, int] = CLICKS,
) -> Rollout:
    """Masks of B slices.

    Args:
        network: in training mode when `teach`.
        frames: (1, B, S, S) uint8, or in color (1, B, S, S, 3); S is a multiple of the network's stride.
        masks: (1, B, S, S) uint8, 255 inside.
        source: draws the prompts.
        kind: a name of `PromptMix`.
        teach: of several masks the one nearest to the truth learns, not the one the network trusts most.
        corrections: chance that the mask is corrected by clicks.
        clicks: least and most of them in a row.
    """
    truth = masks[0]
    embedding = network.encode_image(network.normalize(frames[0]))
    prompts = first_prompts(source, kind, truth, 4 * embedding.shape[-1])
    output = _drawn(network, embedding, prompts, truth, teach)
    found: list[tuple[int, MaskOutput]] = []
    if source.chance(corrections) and kind != "mask":
        corrected = corrected_by_clicks(
            source,
            output,
            truth > 127,
            prompts,
            lambda given: _drawn(network, embedding, given, truth, teach),
            PREVIOUS_LOGIT_LIMIT,
            clicks,
        )
        found, output = [(0, each) for each in corrected], corrected[-1]
    return Rollout([output], found)


def keep_statistics(network: nn.Module) -> None:
    """Leave the statistics of batch norms as they are: the few slices of a step say less than the checkpoint's."""
    for module in network.modules():
        if isinstance(module, BatchNorm | nn.BatchNorm2d):
            module.eval()


def _drawn(
    network: SAM1, embedding: Tensor, prompts: DecoderPrompts, truth: Tensor, teach: bool
) -> MaskOutput:
    logits, iou = network.candidates(embedding, prompts)
    points = 0 if prompts.labels is None else prompts.labels.shape[1]
    multimask = network.config.multimask_for(points, has_mask=prompts.mask is not None)
    if multimask and teach:
        chosen = nearest_alternative(logits, truth)
    else:
        chosen = chosen_mask(iou, "best" if multimask else "single")
    rows = torch.arange(len(chosen), device=chosen.device)
    there = torch.full((len(chosen),), _THERE, device=logits.device)
    return MaskOutput(logits[rows, chosen][:, None].float(), iou[rows, chosen], there, there[:, None])
