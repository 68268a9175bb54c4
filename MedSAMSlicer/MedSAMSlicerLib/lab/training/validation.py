"""The scores of a network on clips it was not trained on: of held-out families of scenes, or of held-out volumes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor

from ...sam2.model import SAM2, MaskOutput
from ...sam2.networks import Network
from ...sam2.sam1 import SAM1
from .clips import Batch, ClipSampler, ClipSettings, scene_size
from .fields import Source
from .labeled import TrainingCase, find_cases, read_cases, split
from .losses import soft_dice, soft_target
from .memoryless import keep_statistics, slice_rollout
from .mixture import anatomy_scene, parts
from .rng import SeededRng
from .rollout import neighbor_step, rollout
from .settings import TrainSettings
from .synthetic import SceneSettings, make_scene
from .volume_clips import VolumeClips

logger = logging.getLogger(__name__)

VALIDATION_SEED = 20_011
_BATCH = 8
_LENGTH = 12  # drift is what must be seen
_SHORTER = 8  # of images drawn on label maps, whose structures may end early


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

    Of a mixture half are generated scenes of held-out families; of the rest every second one is drawn on label maps
    that were kept apart, and the others are of labeled volumes that were.

    Raises VolumeError when the labeled volumes cannot be used.
    """
    count = min(_BATCH, settings.validation_clips)
    rounds = max(1, settings.validation_clips // _BATCH)
    if settings.data is None:
        return _generated(settings, count, rounds)
    if settings.mixture is None:
        training, held_out = split(find_cases(settings.data.folder), settings.data, settings.seed)
        if training == held_out:
            logger.warning(
                "No volume is kept for validation: the best weights are chosen on what was trained on"
            )
        return _labeled(settings, held_out, margin, settings.validation_clips)
    _, _, (held_out, maps) = parts(settings)
    generated = _generated(settings, count, max(1, rounds // 2))
    labeled = _labeled(settings, held_out, margin, max(count, settings.validation_clips // 4))
    if not maps:
        return generated + labeled
    source = Source(VALIDATION_SEED + 1)
    sampler = ClipSampler(
        source,
        partial(anatomy_scene, source, maps),
        ClipSettings(size=settings.size, wide=0.0, rotate=0.0),
        pool=settings.validation_clips,
        uses=2,
    )
    return generated + labeled + [sampler.batch(count, _SHORTER) for _ in range(max(1, rounds // 4))]


def _generated(settings: TrainSettings, count: int, rounds: int) -> list[Batch]:
    """Clips of generated scenes of families that training never draws."""
    scenes = SceneSettings(slices=2 * _LENGTH, size=scene_size(settings.size), targets=2, held_out=True)
    clips = ClipSettings(size=settings.size, wide=0.0, rotate=0.0)
    source = Source(VALIDATION_SEED)
    make = partial(make_scene, source, scenes)
    sampler = ClipSampler(source, make, clips, pool=settings.validation_clips, uses=2)
    return [sampler.batch(count, _LENGTH) for _ in range(rounds)]


def _labeled(
    settings: TrainSettings, cases: Sequence[TrainingCase], margin: float | None, clips: int
) -> list[Batch]:
    """Clips of the objects in labeled volumes, as the engine would show them."""
    assert settings.data is not None
    volumes = read_cases(cases, settings.data.window, smallest=settings.data.smallest)
    pictures = all(
        max(volume.geometry.shape) < settings.shortest or len(volume.array) == 1 for volume in volumes
    )
    length = 1 if pictures else settings.longest
    shortest = min(length, settings.shortest)
    volume_clips = VolumeClips(volumes, settings.size, margin, None, shortest, fit=settings.fit)
    count = max(1, min(_BATCH, clips, settings.frames // length))
    rounds = range(max(1, clips // count))
    return [volume_clips.batch(VALIDATION_SEED + number, count, length) for number in rounds]


class Validation:
    """A fixed set of clips and how a network does on them."""

    def __init__(self, settings: TrainSettings, batches: Sequence[Batch]) -> None:
        self.settings = settings
        self.batches = list(batches)

    @torch.no_grad()
    def scores(self, model: Network) -> Scores:
        """Evaluate a model as the engine runs it: gates by its own object score, nothing taught."""
        was_training = model.training
        model.eval()
        values: dict[str, list[Tensor]] = {field.name: [] for field in fields(Scores)}
        device = self.settings.device
        for number, batch in enumerate(self.batches):
            frames, masks = (torch.from_numpy(part).to(device) for part in (batch.frames, batch.masks))
            lasts = None if batch.lasts is None else torch.from_numpy(batch.lasts).to(device)
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=self.settings.bfloat16):
                dices = (
                    _of_slice(model, frames[:1], masks[:1], number)
                    if isinstance(model, SAM1)
                    else _of_clip(model, frames, masks, lasts, number)
                )
            for name, found in values.items():
                found.append(dices[name])
        model.train(was_training)
        if isinstance(model, SAM1):
            keep_statistics(model)
        return Scores(**{name: float(torch.cat(found).mean()) for name, found in values.items()})


def _of_slice(network: SAM1, frames: Tensor, masks: Tensor, seed: int) -> dict[str, Tensor]:
    """(B,) Dice by the names of `Scores`; nothing is carried on, so that clips count as their first slice."""
    dices = {}
    for kind in ("box", "point"):
        (output,) = slice_rollout(network, frames, masks, SeededRng(seed), kind, teach=False).slices
        dices[kind] = soft_dice(output.logits, soft_target(masks[0], output.logits.shape[-1]))
    return {**dices, **dict.fromkeys(("neighbor", "clip", "clip_last"), dices["box"])}


def _of_clip(
    model: SAM2, frames: Tensor, masks: Tensor, lasts: Tensor | None, seed: int
) -> dict[str, Tensor]:
    """(B,) Dice by the names of `Scores`."""
    point = rollout(model, frames[:1], masks[:1], SeededRng(seed), "point", teach=False).slices
    clip = rollout(model, frames, masks, SeededRng(seed), "box", teach=False, lasts=lasts).slices
    side = clip[0].logits.shape[-1]
    targets = [soft_target(mask, side) for mask in masks]
    box = soft_dice(clip[0].logits, targets[0])
    dices = {"box": box, "point": soft_dice(point[0].logits, targets[0])}
    if len(frames) == 1:  # of pictures nothing is carried on
        return {**dices, **dict.fromkeys(("neighbor", "clip", "clip_last"), box)}
    step = neighbor_step(model, frames[:2], masks[:2])
    return {
        **dices,
        "neighbor": soft_dice(step.logits, targets[1]),
        "clip": volume_dice(clip[1:], targets[1:], lasts),
        "clip_last": soft_dice(clip[-1].logits, targets[-1]),
    }


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
