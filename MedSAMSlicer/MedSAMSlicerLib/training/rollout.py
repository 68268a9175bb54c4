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
        return DecoderPrompts(mask=_given_logits(masks, grid))
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
    """Attend to the conditioning slices and the last slices, as the official predictor chooses them.

    Pointers come from slices that lie behind; a conditioning slice ahead counts with its memory alone.
    """
    if not bank.conditioning:
        return model.condition_first(top)
    slots = model.config.num_memories - 1
    memories = [(memory, slots) for _, memory, _ in bank.conditioning]
    memories += [(memory, position - at - 1) for at, memory, _ in bank.recent if position - at <= slots]
    reach = model.config.max_object_pointers - 1
    pointers = [(pointer, float(position - at)) for at, _, pointer in bank.conditioning if at <= position]
    pointers += [
        (pointer, float(position - at)) for at, _, pointer in reversed(bank.recent) if position - at <= reach
    ]
    return model.condition_on_memory(top, memories, pointers)


@dataclass
class _Clip:
    """A clip on its way through the network; `present` is (L, B), whether the object is on the slice."""

    model: SAM2
    masks: Tensor
    features: ImageFeatures
    present: Tensor
    source: Source
    teach: bool
    bank: _Bank = field(default_factory=_Bank)

    def image(self, position: int) -> ImageFeatures:
        batch = self.masks.shape[1]
        return pick_frames(self.features, position * batch, (position + 1) * batch)

    def gate(self, position: int, prompted: bool) -> Tensor | None:
        """The truth, but now and then open where the object is gone, so that masks learn to be empty."""
        if not self.teach:
            return None
        open_everywhere = prompted or self.source.chance(0.6)
        return torch.ones_like(self.present[position]) if open_everywhere else self.present[position]

    def decode(
        self, conditioned: Tensor, position: int, prompts: DecoderPrompts, prompted: bool
    ) -> MaskOutput:
        image = self.image(position)
        gate = self.gate(position, prompted)
        return self.model.decode(conditioned, image.mid, image.fine, prompts, present=gate)

    def prompt(self, position: int, kind: str) -> tuple[MaskOutput, DecoderPrompts]:
        """Prompt a slice of which nothing is remembered."""
        image, masks = self.image(position), self.masks[position]
        if kind == "mask" and self.source.chance(0.6):
            given = (masks[:, None] > 127).float()
            return self.model.decode_mask_as_output(image.top, image.mid, image.fine, given), DecoderPrompts()
        prompts = first_prompts(self.source, kind, masks, 4 * image.top.shape[-1])
        output = self.decode(self.model.condition_first(image.top), position, prompts, True)
        return output, prompts

    def correct(self, position: int, output: MaskOutput, before: DecoderPrompts | None) -> MaskOutput:
        """One click in the error region of a slice, which then knows the other prompted slices only."""
        masks = self.masks[position] > 127
        shown = functional.interpolate(output.logits.detach(), masks.shape[-2:], mode="bilinear")[:, 0] > 0
        clicks = correction_clicks(self.source, shown, masks, before)
        prior = output.logits.detach().clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
        known = _Bank(conditioning=self.bank.conditioning)
        conditioned = _condition(self.model, self.image(position).top, known, position)
        return self.decode(conditioned, position, DecoderPrompts(clicks.points, clicks.labels, prior), True)

    def shown(self, position: int, logits: Tensor) -> Tensor:
        """The mask of a slice as the next one is shown it: mostly the network's own, now and then true or smeared."""
        choice = self.source.uniform(0, 1)
        if choice < 0.15:
            return _given_logits(self.masks[position], logits.shape[-1])
        if choice < 0.25:
            return functional.avg_pool2d(logits, 5, 1, 2)
        return logits * self.source.uniform(0.2, 0.8) if choice < 0.3 else logits

    def remember(self, position: int, output: MaskOutput, prompted: bool) -> None:
        score = output.object_score
        if self.teach and self.source.chance(0.7):
            score = 20 * self.present[position].float() - 10
        memory = self.model.encode_memory(self.image(position).top, output.logits, score, prompted)
        (self.bank.conditioning if prompted else self.bank.recent).append((position, memory, output.pointer))


def rollout(
    model: SAM2,
    frames: Tensor,
    masks: Tensor,
    source: Source,
    kind: str,
    *,
    teach: bool,
    corrections: float = 0.0,
    second_key: float = 0.0,
) -> list[MaskOutput]:
    """Masks of every slice of B clips, the first slice prompted.

    Args:
        model: In training mode when `teach`.
        frames: (L, B, S, S) uint8.
        masks: (L, B, S, S) uint8, 255 inside.
        source: Draws the prompts.
        kind: A name of `PromptMix`.
        teach: Gate masks by the truth (while training) instead of by the predicted object score.
        corrections: Chance that the first or a later slice gets a correction click, as a key slice.
        second_key: Chance that the last slice is prompted too, before tracking starts.
    """
    length = len(frames)
    features = model.encode_image(model.normalise(frames.flatten(0, 1)))
    present = (masks > 127).flatten(2).sum(2) > 3
    clip = _Clip(model, masks, features, present, source, teach)
    corrected = source.integer(0, length - 1) if length > 1 and source.chance(corrections) else -1
    first, prompts = clip.prompt(0, kind)
    if corrected == 0 and kind != "mask":
        first = clip.correct(0, first, prompts)
    last: MaskOutput | None = None
    if length > 2 and source.chance(second_key) and bool((masks[-1] > 127).flatten(1).any(1).all()):
        last, _ = clip.prompt(length - 1, kind)
    clip.remember(0, first, True)
    if last is not None:
        clip.remember(length - 1, last, True)
    outputs = [first]
    for position in range(1, length - (last is not None)):
        previous = outputs[-1].logits.detach().clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
        if teach:
            previous = clip.shown(position - 1, previous)
        shown = DecoderPrompts(mask=previous)
        conditioned = _condition(model, clip.image(position).top, clip.bank, position)
        output = clip.decode(conditioned, position, shown, False)
        if position == corrected:
            output = clip.correct(position, output, None)
        outputs.append(output)
        if position + 1 < length:
            clip.remember(position, output, position == corrected)
    return outputs if last is None else [*outputs, last]


def _given_logits(masks: Tensor, grid: int) -> Tensor:
    """(B, S, S) uint8 masks -> (B, 1, grid, grid) logits in -8..8."""
    share = functional.interpolate(masks[:, None].float() / 255, (grid, grid), mode="area")
    return PREVIOUS_LOGIT_LIMIT * (2 * share - 1)


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
