"""How good the network is on clips it was never trained on: of held-out families of scenes, or of held-out volumes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...sam2.model import SAM2, MaskOutput
from .clips import Batch, ClipSampler, ClipSettings
from .feed import scene_size
from .fields import Source
from .labeled import find_cases, read_cases, split
from .losses import soft_dice, soft_target
from .rng import SeededRng
from .rollout import neighbor_step, rollout
from .settings import TrainSettings
from .synthetic import SceneSettings
from .volume_clips import VolumeClips

logger = logging.getLogger(__name__)

VALIDATION_SEED = 20_011
_BATCH = 8
_LENGTH = 12  # drift is what must be seen


@dataclass(frozen=True)
class Scores:
    """Mean Dice of the prompted slice (box, click), of one teacher-forced step, and of whole clips from a box.

    `clip` is over all slices of a clip after the first together, the range given where the object ends in the scene.
    """

    box: float
    point: float
    neighbor: float
    clip: float
    clip_last: float

    def choose_by(self, stage: int) -> float:
        """The one number by which the best checkpoint of a stage is kept."""
        if stage == 1:
            return 0.5 * self.box + 0.2 * self.point + 0.3 * self.neighbor
        return 0.25 * self.box + 0.1 * self.point + 0.65 * self.clip


def validation_batches(settings: TrainSettings, margin: float | None) -> list[Batch]:
    """A fixed set of clips, the same for every run with the same size and data.

    Raises VolumeError when the labeled volumes cannot be used.
    """
    count = min(_BATCH, settings.validation_clips)
    rounds = range(max(1, settings.validation_clips // _BATCH))
    if settings.data is None:
        scenes = SceneSettings(slices=2 * _LENGTH, size=scene_size(settings.size), targets=2, held_out=True)
        clips = ClipSettings(size=settings.size, wide=0.0, rotate=0.0)
        sampler = ClipSampler(Source(VALIDATION_SEED), scenes, clips, pool=settings.validation_clips, uses=2)
        return [sampler.batch(count, _LENGTH) for _ in rounds]
    training, held_out = split(find_cases(settings.data.folder), settings.data, settings.seed)
    if training == held_out:
        logger.warning("No volume is kept for validation: the best weights are chosen on what was trained on")
    volumes = read_cases(held_out, settings.data.window, smallest=settings.data.smallest)
    pictures = all(
        max(volume.geometry.shape) < settings.shortest or len(volume.array) == 1 for volume in volumes
    )
    length = 1 if pictures else settings.longest
    volume_clips = VolumeClips(volumes, settings.size, margin, None, min(length, settings.shortest))
    count = max(1, min(count, settings.frames // length))
    rounds = range(max(1, settings.validation_clips // count))
    return [volume_clips.batch(VALIDATION_SEED + number, count, length) for number in rounds]


class Validation:
    """A fixed set of clips and how a network does on them."""

    def __init__(self, settings: TrainSettings, batches: Sequence[Batch]) -> None:
        self.settings = settings
        self.batches = list(batches)

    @torch.no_grad()
    def scores(self, model: SAM2) -> Scores:
        """Evaluate a model as the engine runs it: gates by its own object score, nothing taught."""
        was_training = model.training
        model.eval()
        values: dict[str, list[Tensor]] = {
            "box": [],
            "point": [],
            "neighbor": [],
            "clip": [],
            "clip_last": [],
        }
        device = self.settings.device
        for number, batch in enumerate(self.batches):
            frames = torch.from_numpy(batch.frames).to(device)
            masks = torch.from_numpy(batch.masks).to(device)
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=self.settings.bfloat16):
                point = rollout(model, frames[:1], masks[:1], SeededRng(number), "point", teach=False).slices
                lasts = None if batch.lasts is None else torch.from_numpy(batch.lasts).to(device)
                clip = rollout(
                    model, frames, masks, SeededRng(number), "box", teach=False, lasts=lasts
                ).slices
                step = neighbor_step(model, frames[:2], masks[:2]) if len(frames) > 1 else None
            side = clip[0].logits.shape[-1]
            targets = [soft_target(mask, side) for mask in masks]
            values["box"].append(soft_dice(clip[0].logits, targets[0]))
            values["point"].append(soft_dice(point[0].logits, targets[0]))
            if step is None:  # of pictures nothing is carried on
                for name in ("neighbor", "clip", "clip_last"):
                    values[name].append(values["box"][-1])
                continue
            values["clip"].append(volume_dice(clip[1:], targets[1:], lasts))
            values["clip_last"].append(soft_dice(clip[-1].logits, targets[-1]))
            values["neighbor"].append(soft_dice(step.logits, targets[1]))
        model.train(was_training)
        return Scores(**{name: float(torch.cat(parts).mean()) for name, parts in values.items()})


def volume_dice(outputs: Sequence[MaskOutput], targets: Sequence[Tensor], lasts: Tensor | None) -> Tensor:
    """(B,) Dice over all slices of a track together; slices beyond a known end are not in a user's range."""
    inside = torch.stack([output.logits[:, 0] for output in outputs], 1) > 0
    wanted = torch.stack([target[:, 0] for target in targets], 1) > 0.5
    if lasts is not None:
        distance = torch.arange(1, len(outputs) + 1, device=lasts.device)
        asked = (lasts[:, None] < 0) | (distance <= lasts[:, None])
        inside, wanted = inside & asked[..., None, None], wanted & asked[..., None, None]
    total = inside.flatten(1).sum(1) + wanted.flatten(1).sum(1)
    overlap = (inside & wanted).flatten(1).sum(1)
    return torch.where(total > 0, 2 * overlap / total.clamp(min=1), 1.0)
