"""The trainer: a network, its moving average and its optimizer, one step at a time."""

from __future__ import annotations

import copy
import logging
import math
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...core.errors import CheckpointError
from ...io.atomic import write_bytes
from ...sam2.adapters import load_adapters, serialized_adapters
from ...sam2.checkpoint import load_network, serialized
from ...sam2.config import Config, Sam1Config, any_config
from ...sam2.model import MaskOutput
from ...sam2.networks import Network, build
from ...sam2.sam1 import SAM1
from . import distributed
from .clips import Batch
from .lora import merged
from .losses import mask_loss, soft_dice, soft_target
from .memoryless import keep_statistics, known_prompts, slice_rollout
from .rng import SeededRng, seed_of
from .rollout import Rollout, neighbor_step, rollout
from .settings import TrainSettings
from .state import check_recipe, read_state, write_state
from .tuning import choose_weights, parameter_groups
from .validation import Scores

logger = logging.getLogger(__name__)

_STEPS = 4  # what a seed is for; see feed.py
_GATED = -1000.0  # logits below it were gated away


def learning_rate(settings: TrainSettings, step: int, minutes: float) -> float:
    """Linear warm-up over steps, then a cosine over the steps or minutes of the stage down to `final_share`."""
    done = step / settings.steps if settings.steps else minutes / max(settings.schedule_minutes, 1e-6)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    share = settings.final_share + (1 - settings.final_share) * cosine
    return settings.learning_rate * min(1.0, (step + 1) / settings.warmup_steps) * share


class Trainer:
    """A network on its way, with everything needed to go on after a kill.

    Every step draws its prompts from the seed and the number of the step, so a run that was interrupted makes the same
    steps as one that was not, given the same batches.

    Args:
        settings: of the leg.
        config: of the network.
        start: weights to start from; None = random ones from the seed.
        provenance: what the file of the weights says of where they come from (license, what they were made from).
    """

    def __init__(
        self,
        settings: TrainSettings,
        config: Config | Sam1Config,
        start: Network | None = None,
        provenance: dict[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.provenance = provenance or {}
        torch.manual_seed(settings.seed)
        model = build(replace(config, image_size=settings.size))
        if start is not None:
            model.load_state_dict(start.state_dict())
        self.model = model.to(settings.device).train()
        if isinstance(model, SAM1):
            keep_statistics(model)
        self.learning = choose_weights(self.model, settings.tune, settings.rank, settings.adapter)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, settings.weight_decay, settings.encoder_share, settings.layer_decay),
            lr=settings.learning_rate,
            betas=(0.9, 0.95),
        )
        names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        followers = dict(self.average.named_parameters())
        self._followers: list[Tensor] = [followers[name] for name in names]
        self.step_count = 0
        self.stage_steps = 0
        self.stage_minutes = 0.0
        self.minutes = 0.0
        self.leg = 0
        self.best = -1.0
        self.dices: dict[str, deque[float]] = {}

    # -------------------------------------------------------------------------------------------- one step

    def _losses(self, batch: Batch) -> tuple[Tensor, str, Tensor]:
        """Loss, the name of what was trained, and the Dice of the slices that count."""
        settings, device = self.settings, torch.device(self.settings.device)
        frames = torch.from_numpy(batch.frames).to(device)
        masks = torch.from_numpy(batch.masks).to(device)
        lasts = None if batch.lasts is None else torch.from_numpy(batch.lasts).to(device)
        length, clips = frames.shape[:2]
        rng = SeededRng(settings.seed, _STEPS, self.step_count, first=distributed.rank() * clips)
        kind, judged = "neighbor", masks
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.bfloat16), parametrize.cached():
            if isinstance(self.model, SAM1):
                kind = known_prompts(self.model.config, settings.mix).draw(rng)
                found = slice_rollout(
                    self.model,
                    frames,
                    masks,
                    rng,
                    "box" if kind == "mask" else kind,
                    teach=True,
                    corrections=0.0 if self.model.config.only_boxes else settings.corrections,
                    clicks=settings.correction_clicks,
                )
            elif length == 2:
                found = Rollout([neighbor_step(self.model, frames, masks, rng)], [])
                judged = masks[1:]
            else:
                kind = settings.mix.draw(rng)
                if length == 1 and kind == "mask":
                    kind = "box"
                found = rollout(
                    self.model,
                    frames,
                    masks,
                    rng,
                    kind,
                    teach=True,
                    corrections=settings.corrections,
                    second_key=settings.second_key if length > 2 else 0.0,
                    lasts=lasts if rng.chance(settings.range_given) else None,
                    clicks=settings.correction_clicks,
                )
        loss, dices = self._judged(found.slices, judged)
        if found.corrections:
            corrected = masks[[position for position, _ in found.corrections]]
            more, better = self._judged([output for _, output in found.corrections], corrected)
            loss = loss + settings.correction_weight * more
            self._note("corrected", better)
        return loss, kind if length <= 2 else f"clip-{kind}", dices

    def _judged(self, outputs: list[MaskOutput], masks: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss over slices, and the Dice of each slice and clip (L, B)."""
        targets = [soft_target(mask, outputs[0].logits.shape[-1]) for mask in masks]
        counted = [output.logits.detach().flatten(1).amax(1) > _GATED for output in outputs]
        counts = distributed.mean(torch.stack([slices.sum() for slices in counted]).float())
        losses = [
            mask_loss(output, target, self.settings.weights, slices, count)
            for output, target, slices, count in zip(outputs, targets, counted, counts, strict=True)
        ]
        dices = [
            soft_dice(output.logits.detach(), target) for output, target in zip(outputs, targets, strict=True)
        ]
        return torch.stack(losses).mean(), torch.stack(dices)

    def step(self, batch: Batch) -> float:
        """One optimizer step; returns the loss. A step whose gradient is not finite is skipped and logged."""
        rate = learning_rate(self.settings, self.stage_steps, self.stage_minutes)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        torch.manual_seed(
            seed_of(self.settings.seed, _STEPS, self.step_count, distributed.rank())
        )  # for dropout
        loss, name, dices = self._losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:  # what learns may have had no part in it, as a plug-in for clicks in a box
            loss.backward()
        distributed.average_gradients(self.learning)
        norm = nn.utils.clip_grad_norm_(self.learning, self.settings.clip_norm)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
            self._follow()
        else:
            logger.warning("Step %d was skipped: its gradient is not finite", self.step_count)
        self.step_count += 1
        self.stage_steps += 1
        self._note(name, dices[1:] if len(dices) > 1 else dices)
        return float(loss.detach())

    def _note(self, name: str, dices: Tensor) -> None:
        self.dices.setdefault(name, deque(maxlen=200)).append(float(dices.mean()))

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.settings.ema_decay, (1 + self.step_count) / (10 + self.step_count))
        learning: list[Tensor] = list(self.learning)
        torch._foreach_lerp_(self._followers, learning, 1 - decay)

    # ------------------------------------------------------------------------------------ state and weights

    def save_state(self) -> None:
        """Replace the state in the run's folder."""
        settings = self.settings
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counts": [self.step_count, self.stage_steps, self.leg, settings.stage, settings.size],
            "minutes": [self.minutes, self.stage_minutes],
            "part": settings.part,
            "recipe": settings.recipe,
            "best": self.best,
            "config": self.model.config.to_json(),
            "tune": [settings.tune, settings.rank, settings.adapter],
        }
        write_state(settings.out, state, settings.part_mb)

    def resume(self) -> bool:
        """Take up the state in the run's folder; False when there is none.

        A new stage or size starts a new schedule and a new best. Raises CheckpointError when the state belongs to
        another network or recipe, or other weights of it were learning.
        """
        state = read_state(self.settings.out, self.settings.device)
        if state is None:
            return False
        check_recipe(self.settings.out, state, self.settings.recipe)
        theirs = replace(any_config(state["config"]), image_size=self.settings.size)
        tune, rank, adapter = [*state.get("tune", ["all", 0]), "bottleneck"][
            :3
        ]  # older states name no adapter
        if theirs != self.model.config:
            raise CheckpointError(f"{self.settings.out} belongs to another network than the one asked for.")
        others = (tune == "lora" and rank != self.settings.rank) or (
            tune == "adapters" and adapter != self.settings.adapter
        )
        if tune != self.settings.tune or others:
            what = adapter if tune == "adapters" else f"rank {rank}"
            raise CheckpointError(f"In {self.settings.out} other weights were learning ({tune}, {what}).")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_count, stage_steps, self.leg, stage, size = state["counts"]
        self.minutes, stage_minutes = state["minutes"]
        ours = (self.settings.stage, self.settings.size, self.settings.part)
        if (stage, size, state.get("part", 0)) == ours:
            self.stage_steps, self.stage_minutes, self.best = stage_steps, stage_minutes, state["best"]
        return True

    def exported(self, path: Path) -> Network:
        """The network that :meth:`export` wrote. Raises CheckpointError."""
        if self.settings.tune != "adapters":
            return load_network(path)
        network = copy.deepcopy(self.average)
        load_adapters(network, path)
        return network

    def export(self, path: Path, scores: Scores | None) -> None:
        """Write the moving average as float16 safetensors of an ordinary network, with config, license and scores.

        Adapters are written alone, in float32, with the hash of the network that they belong to.

        Raises OutputError when the file cannot be written.
        """
        metadata = {
            **self.provenance,
            "steps": str(self.step_count),
            "minutes": f"{self.minutes:.1f}",
            "stage": str(self.settings.stage),
            "seed": str(self.settings.seed),
            "tune": self.settings.tune,
        }
        if scores is not None:
            metadata["validation"] = repr({name: round(value, 4) for name, value in asdict(scores).items()})
        if self.settings.tune == "adapters":
            write_bytes(path, serialized_adapters(self.average, metadata))
        else:
            write_bytes(path, serialized(merged(self.average), path.name, metadata, half=True))
