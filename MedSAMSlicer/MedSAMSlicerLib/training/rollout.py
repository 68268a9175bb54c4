"""One clip through the network as the engine does it: prompt, remember, track; differentiable, batched over clips."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from ..sam2.model import SAM2, DecoderPrompts, ImageFeatures, MaskOutput, Memory
from .fields import Source
from .prompts import box_prompts, correction_clicks, inner_points, point_prompts

PREVIOUS_LOGIT_LIMIT = 8.0


@dataclass(frozen=True)
class PromptMix:
    """How often the first slice is prompted by a box, a click, both, or a given mask."""

    box: float = 0.5
    point: float = 0.25
    box_and_point: float = 0.05
    mask: float = 0.2

    def draw(self, source: Source) -> str:
        names = ["box", "point", "box_and_point", "mask"]
        return source.pick(names, [self.box, self.point, self.box_and_point, self.mask])


@dataclass
class _Bank:
    """What is remembered: conditioning slices and recent slices, as (position in the clip, memory, pointer)."""

    conditioning: list[tuple[int, Memory, Tensor]] = field(default_factory=list)
    recent: list[tuple[int, Memory, Tensor]] = field(default_factory=list)


def first_prompts(source: Source, kind: str, masks: Tensor, grid: int) -> DecoderPrompts:
    """Prompts of the given kind for uint8 masks (B, S, S); `grid` is the side of the logits."""
    inside = masks > 127
    if kind == "mask":
        logits = 16 * functional.interpolate(masks[:, None].float() / 255, (grid, grid), mode="area") - 8
        return DecoderPrompts(mask=logits)
    if kind == "point":
        return point_prompts(source, inside, 1 if source.chance(0.75) else source.integer(2, 3))
    prompts = box_prompts(source, inside, source.uniform(0.0, 0.06))
    if kind == "box_and_point" and prompts.points is not None and prompts.labels is not None:
        positive = source.chance(0.7)
        points, found = inner_points(source, inside if positive else ~inside)
        labels = torch.where(found, 1 if positive else 0, -1)
        return DecoderPrompts(
            torch.cat([prompts.points, points[:, None]], 1), torch.cat([prompts.labels, labels[:, None]], 1)
        )
    return prompts


def pick_frames(features: ImageFeatures, start: int, stop: int) -> ImageFeatures:
    """The features of some of the frames."""
    return ImageFeatures(*(level[start:stop] for level in features))


def _condition(model: SAM2, top: Tensor, bank: _Bank, position: int) -> Tensor:
    """Attend to the conditioning slices and the last slices, as the official predictor chooses them."""
    slots = model.config.num_memories - 1
    memories = [(memory, slots) for _, memory, _ in bank.conditioning]
    memories += [(memory, position - at - 1) for at, memory, _ in bank.recent if position - at <= slots]
    reach = model.config.max_object_pointers - 1
    pointers = [(pointer, float(position - at)) for at, _, pointer in bank.conditioning]
    pointers += [
        (pointer, float(position - at)) for at, _, pointer in reversed(bank.recent) if position - at <= reach
    ]
    return model.condition_on_memory(top, memories, pointers[: model.config.max_object_pointers])


def rollout(
    model: SAM2,
    frames: Tensor,
    masks: Tensor,
    source: Source,
    kind: str,
    *,
    teach: bool,
    corrections: float = 0.0,
) -> list[MaskOutput]:
    """Masks of every slice of B clips, the first slice prompted.

    Args:
        frames, masks: (L, B, S, S) uint8, masks 255 inside.
        kind: A name of `PromptMix`.
        teach: Gate masks by the truth (while training) instead of by the predicted object score.
        corrections: Chance that one slice in the middle gets a correction click and becomes a conditioning slice.
    """
    length, batch, side = frames.shape[0], frames.shape[1], frames.shape[-1]
    features = model.encode_image(model.normalise(frames.flatten(0, 1)))
    present = (masks > 127).flatten(2).sum(2) > 3  # (L, B)
    grid = 4 * features.top.shape[-1]
    prompts = first_prompts(source, kind, masks[0], grid)
    corrected = source.integer(1, length - 1) if length > 1 and source.chance(corrections) else -1
    bank = _Bank()
    outputs: list[MaskOutput] = []
    for position in range(length):
        image = pick_frames(features, position * batch, (position + 1) * batch)
        gate = _gate(source, present[position], position) if teach else None
        if position == 0:
            conditioned = model.condition_first(image.top)
        else:
            conditioned = _condition(model, image.top, bank, position)
            previous = outputs[-1].logits.detach().clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
            prompts = DecoderPrompts(mask=_worn(source, previous) if teach else previous)
        output = model.decode(conditioned, image.mid, image.fine, prompts, present=gate)
        if position == corrected or (
            position == 0 and corrected > 0 and kind != "mask" and source.chance(0.5)
        ):
            shown = functional.interpolate(output.logits.detach(), (side, side), mode="bilinear")[:, 0] > 0
            clicks = correction_clicks(source, shown, masks[position] > 127, prompts)
            prompts = DecoderPrompts(
                clicks.points,
                clicks.labels,
                output.logits.detach().clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT),
            )
            output = model.decode(conditioned, image.mid, image.fine, prompts, present=gate)
        outputs.append(output)
        if position + 1 < length:
            prompted = position in (0, corrected)
            score = output.object_score
            if teach and source.chance(0.7):
                score = 20 * present[position].float() - 10
            memory = model.encode_memory(image.top, output.logits, score, prompted)
            (bank.conditioning if prompted else bank.recent).append((position, memory, output.pointer))
    return outputs


def _gate(source: Source, present: Tensor, position: int) -> Tensor:
    """The truth, but now and then open where the object is gone, so that masks themselves learn to be empty."""
    return torch.ones_like(present) if position == 0 or source.chance(0.6) else present


def _worn(source: Source, logits: Tensor) -> Tensor:
    """Now and then a smeared previous mask, so that the image and the memory are needed too."""
    if source.chance(0.12):
        return functional.avg_pool2d(logits, 5, 1, 2)
    if source.chance(0.08):
        return logits * source.uniform(0.2, 0.8)
    return logits


def neighbour_step(model: SAM2, frames: Tensor, masks: Tensor) -> MaskOutput:
    """One teacher-forced step of tracking without memory: the mask of the slice before is the prompt of this one.

    Args:
        frames, masks: (2, B, S, S) uint8.
    """
    features = model.encode_image(model.normalise(frames[1]))
    prompts = first_prompts(Source(0), "mask", masks[0], 4 * features.top.shape[-1])
    gate = torch.ones(frames.shape[1], dtype=torch.bool, device=frames.device)
    return model.decode(
        model.condition_first(features.top), features.mid, features.fine, prompts, present=gate
    )
