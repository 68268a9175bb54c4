"""One clip through the network as the engine does it: prompt, remember, track; differentiable, batched over clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ...engine.network import PREVIOUS_LOGIT_LIMIT
from ...engine.taper import tapered
from ...sam2.adapters import set_stack, stack_of
from ...sam2.model import SAM2, DecoderPrompts, ImageFeatures, MaskOutput, Memory
from ...sam2.recall import recalled
from .distributed import everywhere
from .fields import Source
from .losses import soft_dice, soft_target
from .mask_noise import corrupted
from .prompts import box_prompts, correction_clicks, inner_points, point_prompts, scribble_prompts
from .rng import SeededRng

DENSE_PROMPT_LOGITS = 8.0
"""Masks that dense prompts show a network while it is trained are cut to this, lest it learns to copy them."""

CLICKS = (1, 3)
"""Least and most correction clicks in a row on one slice while training."""
_WORSE_THAN_SEEN = 0.6
_CORRUPTED_MEMORY = 0.08


@dataclass(frozen=True)
class PromptMix:
    """The shares of first slices that are prompted by a box, clicks, a scribble, box and click, or a given mask."""

    box: float = 0.45
    point: float = 0.22
    scribble: float = 0.08
    box_and_point: float = 0.05
    mask: float = 0.2

    def draw(self, source: Source) -> str:
        """A name of these."""
        weights = asdict(self)
        return source.pick(list(weights), list(weights.values()))


class Rollout(NamedTuple):
    """The outputs for a clip.

    Attributes:
        slices: the mask of every slice; of a corrected one the last.
        corrections: the masks after each correction click, with their position in the clip.
    """

    slices: list[MaskOutput]
    corrections: list[tuple[int, MaskOutput]]


@dataclass
class _Bank:
    """The memories: conditioning slices and recent slices, as (position in the clip, memory, pointer)."""

    conditioning: list[tuple[int, Memory, Tensor]] = field(default_factory=list)
    recent: list[tuple[int, Memory, Tensor]] = field(default_factory=list)


def first_prompts(source: Source, kind: str, masks: Tensor, grid: int) -> DecoderPrompts:
    """Prompts of the given kind for uint8 masks (B, S, S); `grid` is the side of the logits."""
    inside = masks > 127
    if kind == "mask":
        return DecoderPrompts(mask=_given_logits(masks, grid))
    if kind == "point":
        return point_prompts(source, inside, 1 if source.chance(0.75) else source.integer(2, 3))
    if kind == "scribble":
        return scribble_prompts(source, inside)
    prompts = box_prompts(source, inside, source.uniform(0.0, 0.06))
    if kind == "box_and_point" and prompts.points is not None and prompts.labels is not None:
        positive = source.chance(0.7)
        points, found = inner_points(source, inside if positive else ~inside)
        labels = torch.where(found, 1 if positive else 0, -1)
        return DecoderPrompts(
            torch.cat([prompts.points, points[:, None]], 1), torch.cat([prompts.labels, labels[:, None]], 1)
        )
    return prompts


def nearest_alternative(logits: Tensor, masks: Tensor) -> Tensor:
    """(B,) which of T candidates (B, T, h, w), the first left out, is nearest to the true masks (B, S, S) uint8.

    That one learns, as in the published recipe.
    """
    with torch.no_grad():
        target = soft_target(masks, logits.shape[-1])
        dices = [soft_dice(logits[:, n, None], target) for n in range(1, logits.shape[1])]
        return torch.stack(dices, 1).argmax(1) + 1


def corrected_by_clicks(
    source: Source,
    output: MaskOutput,
    masks: Tensor,
    before: DecoderPrompts | None,
    draw: Callable[[DecoderPrompts], MaskOutput],
    limit: float,
    clicks: tuple[int, int],
) -> list[MaskOutput]:
    """The masks of B slices after each of some clicks in their error regions.

    What is corrected is often worse than the network's own mask, so that it learns to draw the whole slice again.

    Args:
        source: draws how many clicks, and where.
        output: what is corrected.
        masks: (B, S, S) bool, the truth.
        before: the prompts so far.
        draw: draws the slices with all prompts and the mask before.
        limit: how certain a mask may be that the network is shown again.
        clicks: least and most of them.
    """
    found = []
    prior = output.logits.detach().clamp(-limit, limit)
    if source.chance(_WORSE_THAN_SEEN):
        prior = corrupted(source, prior, 2.0)
    for _ in range(source.integer(*clicks)):
        shown = functional.interpolate(prior, masks.shape[-2:], mode="bilinear")[:, 0] > 0
        clicked = correction_clicks(source, shown, masks, before)
        before = DecoderPrompts(clicked.points, clicked.labels, prior)
        found.append(draw(before))
        prior = found[-1].logits.detach().clamp(-limit, limit)
    return found


def pick_frames(features: ImageFeatures, start: int, stop: int) -> ImageFeatures:
    """The features of some of the frames."""
    return ImageFeatures(*(level[start:stop] for level in features))


def _condition(model: SAM2, top: Tensor, bank: _Bank, position: int) -> Tensor:
    """Attend to the conditioning slices and the last slices, as the official predictor chooses them.

    Pointers come from slices that lie behind; a conditioning slice ahead counts with its memory alone.
    """
    if not bank.conditioning:
        return model.condition_first(top)
    conditioning = {at: (memory, pointer) for at, memory, pointer in bank.conditioning}
    recent = {at: (memory, pointer) for at, memory, pointer in bank.recent}
    own = (model.config.num_memories, model.config.max_object_pointers)
    prompted, tracked = recalled(position, 1, conditioning, recent, *own)
    memories = [(conditioning[at][0], when) for at, when in prompted.memories]
    memories += [(recent[at][0], when) for at, when in tracked.memories]
    pointers = [(conditioning[at][1], distance) for at, distance in prompted.pointers]
    pointers += [(recent[at][1], distance) for at, distance in tracked.pointers]
    return model.condition_on_memory(top, memories, pointers)


@dataclass
class _Clip:
    """A clip on its way through the network; `present` is (L, B), whether the object is on the slice.

    Networks without dense prompts go the way of the official predictor: a given mask is the answer, and a slice that
    is tracked gets nothing but its memories.
    """

    model: SAM2
    masks: Tensor
    features: ImageFeatures
    present: Tensor
    source: Source
    teach: bool
    clicks: tuple[int, int] = CLICKS
    bank: _Bank = field(default_factory=_Bank)
    corrections: list[tuple[int, MaskOutput]] = field(default_factory=list)

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
        points = 0 if prompts.labels is None else prompts.labels.shape[1]
        # While tracking, official networks draw alternatives, too.
        if not self.teach or not self.model.multimask_for(points):
            multimask = self.model.multimask_for(points)
            return self.model.decode(
                conditioned, image.mid, image.fine, prompts, multimask=multimask, present=gate
            )
        candidates = self.model.candidates(conditioned, image.mid, image.fine, prompts)
        best = nearest_alternative(candidates.logits, self.masks[position])
        return self.model.finish(candidates, best, best, gate)

    @property
    def limit(self) -> float:
        """The limit of the logits of a mask that the network is shown again."""
        return DENSE_PROMPT_LOGITS if self.model.config.dense_prompts else PREVIOUS_LOGIT_LIMIT

    def prompt(self, position: int, kind: str) -> tuple[MaskOutput, DecoderPrompts]:
        """Prompt a slice of which nothing is remembered."""
        image, masks = self.image(position), self.masks[position]
        if kind == "mask" and (not self.model.config.dense_prompts or self.source.chance(0.6)):
            given = (masks[:, None] > 127).float()
            return self.model.decode_mask_as_output(image.top, image.mid, image.fine, given), DecoderPrompts()
        prompts = first_prompts(self.source, kind, masks, 4 * image.top.shape[-1])
        output = self.decode(self.model.condition_first(image.top), position, prompts, True)
        return output, prompts

    def correct(self, position: int, output: MaskOutput, before: DecoderPrompts | None) -> MaskOutput:
        """Clicks in the error regions of a slice, which then knows the other prompted slices only."""
        known = _Bank(conditioning=self.bank.conditioning)
        conditioned = _condition(self.model, self.image(position).top, known, position)
        found = corrected_by_clicks(
            self.source,
            output,
            self.masks[position] > 127,
            before,
            lambda prompts: self.decode(conditioned, position, prompts, True),
            self.limit,
            self.clicks,
        )
        self.corrections += [(position, each) for each in found]
        return found[-1]

    def carried(
        self, position: int, before: MaskOutput, lasts: Tensor | None, key_area: Tensor
    ) -> DecoderPrompts:
        """The input of a slice besides its memories: the mask of the slice before, where the network takes one."""
        if not self.model.config.dense_prompts:
            return DecoderPrompts()
        previous = before.logits.detach().clamp(-self.limit, self.limit)
        shown = self.shown(position - 1, previous) if self.teach else previous
        return DecoderPrompts(mask=shown if lasts is None else tapered(shown, position, lasts, key_area))

    def shown(self, position: int, logits: Tensor) -> Tensor:
        """The mask of a slice as the next one is shown it: mostly the network's own, now and then true or mistaken."""
        choice = self.source.uniform(0, 1)
        if choice < 0.1:
            return _given_logits(self.masks[position], logits.shape[-1])
        if choice < 0.28:
            return corrupted(self.source, logits)
        if choice < 0.32:
            return functional.avg_pool2d(logits, 5, 1, 2)
        return logits * self.source.uniform(0.2, 0.8) if choice < 0.35 else logits

    def remember(self, position: int, output: MaskOutput, prompted: bool) -> None:
        score, logits = output.object_score, output.logits
        if self.teach and not prompted and self.source.chance(_CORRUPTED_MEMORY):
            logits = corrupted(self.source, logits)
        if self.teach and self.source.chance(0.7):
            score = 20 * self.present[position].float() - 10
        memory = self.model.encode_memory(self.image(position).top, logits, score, prompted)
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
    lasts: Tensor | None = None,
    clicks: tuple[int, int] = CLICKS,
) -> Rollout:
    """Masks of every slice of B clips, the first slice prompted.

    Args:
        model: In training mode when `teach`.
        frames: (L, B, S, S) uint8, or in color (L, B, S, S, 3).
        masks: (L, B, S, S) uint8, 255 inside.
        source: Draws the prompts.
        kind: A name of `PromptMix`.
        teach: Gate masks by the truth (while training) instead of by the predicted object score.
        corrections: Chance that the first or a later slice gets a correction click, as a key slice.
        second_key: Chance that the last slice is prompted too, before tracking starts.
        lasts: (B,) how many slices after the first the object is last seen, as a given slice range implies (see
            `engine.taper`); negative or None = not given. Does not count where the last slice is prompted.
        clicks: least and most correction clicks in a row on one slice.
    """
    length = len(frames)
    features = _encoded(model, frames)
    present = (masks > 127).flatten(2).sum(2) > 3
    clip = _Clip(model, masks, features, present, source, teach, clicks)
    corrected = source.integer(0, length - 1) if source.chance(corrections) else -1
    first, prompts = clip.prompt(0, kind)
    if corrected == 0 and kind != "mask":
        first = clip.correct(0, first, prompts)
    last: MaskOutput | None = None
    if length > 2 and source.chance(second_key):
        there = bool((masks[-1] > 127).flatten(1).any(1).all())
        if everywhere(there, masks.device):
            last, _ = clip.prompt(length - 1, kind)
    clip.remember(0, first, True)
    if last is not None:
        clip.remember(length - 1, last, True)
        lasts = None
    key_area = (first.logits.detach() > 0).flatten(1).sum(1)
    outputs = [first]
    for position in range(1, length - (last is not None)):
        shown = clip.carried(position, outputs[-1], lasts, key_area)
        conditioned = _condition(model, clip.image(position).top, clip.bank, position)
        output = clip.decode(conditioned, position, shown, False)
        if position == corrected:
            output = clip.correct(position, output, None)
        outputs.append(output)
        if position + 1 < length:
            clip.remember(position, output, position == corrected)
    return Rollout(outputs if last is None else [*outputs, last], clip.corrections)


def _given_logits(masks: Tensor, grid: int) -> Tensor:
    """(B, S, S) uint8 masks -> (B, 1, grid, grid) logits in -8..8."""
    share = functional.interpolate(masks[:, None].float() / 255, (grid, grid), mode="area")
    return DENSE_PROMPT_LOGITS * (2 * share - 1)


def _encoded(model: SAM2, frames: Tensor) -> ImageFeatures:
    """The features of clips (L, B, S, S), slice after slice; plug-ins along a stack see each clip as one."""
    length, batch = frames.shape[:2]
    if stack_of(model) == 1:
        return model.encode_image(model.normalize(frames.flatten(0, 1)))
    set_stack(model, length)
    features = model.encode_image(model.normalize(frames.transpose(0, 1).flatten(0, 1)))
    return ImageFeatures(
        *(level.unflatten(0, (batch, length)).transpose(0, 1).flatten(0, 1) for level in features)
    )


def neighbor_step(model: SAM2, frames: Tensor, masks: Tensor, source: Source | None = None) -> MaskOutput:
    """One teacher-forced step of tracking: from the true mask of one slice to the mask of the next.

    With dense prompts the mask before is the only thing known; else it is remembered, as the official predictor does.

    Args:
        frames, masks: (2, B, S, S) uint8; frames may be in color, (2, B, S, S, 3).
        source: Of the choices while training; None = a fixed one.
    """
    if not model.config.dense_prompts:
        return rollout(model, frames, masks, source or SeededRng(0), "mask", teach=model.training).slices[1]
    features = _encoded(model, frames[1:2])
    prompts = first_prompts(SeededRng(0), "mask", masks[0], 4 * features.top.shape[-1])
    gate = torch.ones(frames.shape[1], dtype=torch.bool, device=frames.device)
    return model.decode(
        model.condition_first(features.top), features.mid, features.fine, prompts, present=gate
    )
