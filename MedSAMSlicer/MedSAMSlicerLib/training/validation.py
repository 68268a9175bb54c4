"""How good the network is on generated scenes from families it was never trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..sam2.model import SAM2
from .clips import ClipSampler, ClipSettings
from .feed import scene_size
from .fields import Source
from .losses import soft_dice, soft_target
from .rollout import neighbour_step, rollout
from .settings import TrainSettings
from .synthetic import SceneSettings

VALIDATION_SEED = 20_011
_BATCH = 8
_LENGTH = 12  # longer than training clips: drift is what must be seen


@dataclass(frozen=True)
class Scores:
    """Mean Dice of the prompted slice (box, click), of one teacher-forced step, and of whole clips from a box."""

    box: float
    point: float
    neighbour: float
    clip: float
    clip_last: float

    def choose_by(self, stage: int) -> float:
        """The one number by which the best checkpoint of a stage is kept."""
        if stage == 1:
            return 0.5 * self.box + 0.2 * self.point + 0.3 * self.neighbour
        return 0.25 * self.box + 0.1 * self.point + 0.65 * self.clip


class Validation:
    """A fixed set of held-out clips; the same for every run with the same size."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        scenes = SceneSettings(slices=_LENGTH + 3, size=scene_size(settings.size), targets=2, held_out=True)
        clips = ClipSettings(size=settings.size, wide=0.0, rotate=0.0)
        sampler = ClipSampler(Source(VALIDATION_SEED), scenes, clips, pool=settings.validation_clips, uses=2)
        count = max(1, settings.validation_clips // _BATCH)
        self.batches = [sampler.batch(_BATCH, _LENGTH) for _ in range(count)]

    @torch.no_grad()
    def scores(self, model: SAM2) -> Scores:
        """Evaluate a model as the engine runs it: gates by its own object score, nothing taught."""
        was_training = model.training
        model.eval()
        values: dict[str, list[Tensor]] = {
            "box": [],
            "point": [],
            "neighbour": [],
            "clip": [],
            "clip_last": [],
        }
        device = self.settings.device
        for number, batch in enumerate(self.batches):
            frames = torch.from_numpy(batch.frames).to(device)
            masks = torch.from_numpy(batch.masks).to(device)
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                point = rollout(model, frames[:1], masks[:1], Source(number), "point", teach=False)
                clip = rollout(model, frames, masks, Source(number), "box", teach=False)
                step = neighbour_step(model, frames[:2], masks[:2])
            side = clip[0].logits.shape[-1]
            targets = [soft_target(mask, side) for mask in masks]
            dices = [soft_dice(output.logits, target) for output, target in zip(clip, targets, strict=True)]
            values["box"].append(dices[0])
            values["clip"].append(torch.stack(dices[1:]).mean(0))
            values["clip_last"].append(dices[-1])
            values["point"].append(soft_dice(point[0].logits, targets[0]))
            values["neighbour"].append(soft_dice(step.logits, targets[1]))
        model.train(was_training)
        return Scores(**{name: float(torch.cat(parts).mean()) for name, parts in values.items()})
