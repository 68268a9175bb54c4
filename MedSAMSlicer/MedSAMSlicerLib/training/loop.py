"""The training loop: legs of any length that continue where the last one stopped, even when it was killed."""

from __future__ import annotations

import copy
import csv
import logging
import math
import os
import sys
import time
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError
from ..sam2.checkpoint import load, save
from ..sam2.config import Config
from ..sam2.model import SAM2
from .clips import Batch
from .feed import batches
from .fields import Source
from .losses import mask_loss, soft_dice, soft_target
from .rollout import neighbour_step, rollout
from .settings import TrainSettings
from .validation import Scores, Validation

logger = logging.getLogger(__name__)

LICENCE = "Apache-2.0"
_STATE, _BEST, _LAST, _LOG = "state.pt", "best.safetensors", "last.safetensors", "log.csv"


def learning_rate(settings: TrainSettings, step: int, minutes: float) -> float:
    """Linear warm-up over steps, then a cosine over the planned minutes down to `final_share`."""
    plan = settings.plan or settings.minutes
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, minutes / max(plan, 1e-6))))
    share = settings.final_share + (1 - settings.final_share) * cosine
    return settings.learning_rate * min(1.0, (step + 1) / settings.warmup_steps) * share


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only, not for biases, norms and single embeddings."""
    decayed = [
        parameter for parameter in model.parameters() if parameter.ndim >= 2 and parameter.shape[0] > 1
    ]
    chosen = {id(parameter) for parameter in decayed}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


class Trainer:
    """A network, its moving average and its optimiser, with everything needed to go on after a kill."""

    def __init__(self, settings: TrainSettings, config: Config) -> None:
        self.settings = settings
        torch.manual_seed(settings.seed)
        self.model = SAM2(replace(config, image_size=settings.size)).to(settings.device).train()
        self.average = copy.deepcopy(self.model).eval()
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, settings.weight_decay), lr=settings.learning_rate, betas=(0.9, 0.95)
        )
        self.source = Source(settings.seed + 1, settings.device)
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
        device = self.settings.device
        frames = torch.from_numpy(batch.frames).to(device)
        masks = torch.from_numpy(batch.masks).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            if len(frames) == 2:
                kind, outputs, judged = "neighbour", [neighbour_step(self.model, frames, masks)], masks[1:]
            else:
                kind = self.settings.mix.draw(self.source)
                if len(frames) == 1 and kind == "mask":
                    kind = "box"
                long = len(frames) > 2
                outputs = rollout(
                    self.model,
                    frames,
                    masks,
                    self.source,
                    kind,
                    teach=True,
                    corrections=0.35 if long else 0.0,
                    second_key=0.3 if long else 0.0,
                )
                judged = masks
        side = outputs[0].logits.shape[-1]
        losses, dices = [], []
        for output, mask in zip(outputs, judged, strict=True):
            target = soft_target(mask, side)
            ungated = output.logits.detach().flatten(1).amax(1) > -1000
            losses.append(mask_loss(output, target, self.settings.weights, ungated))
            dices.append(soft_dice(output.logits.detach(), target))
        name = kind if len(frames) <= 2 else f"clip-{kind}"
        return torch.stack(losses).mean(), name, torch.stack(dices)

    def step(self, batch: Batch) -> float:
        """One optimiser step; returns the loss. A loss that is not finite is skipped and logged."""
        rate = learning_rate(self.settings, self.stage_steps, self.stage_minutes)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, name, dices = self._losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
            self._follow()
        else:
            logger.warning("Step %d was skipped: its gradient is not finite", self.step_count)
        self.step_count += 1
        self.stage_steps += 1
        counted = dices[1:] if len(dices) > 1 else dices
        self.dices.setdefault(name, deque(maxlen=200)).append(float(counted.mean()))
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.settings.ema_decay, (1 + self.step_count) / (10 + self.step_count))
        ours: list[Tensor] = list(self.average.parameters())
        theirs: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - decay)

    # ------------------------------------------------------------------------------------ state and weights

    def save_state(self) -> None:
        """Write `state.pt` next to the old one, then replace it."""
        path = self.settings.out / _STATE
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counts": [self.step_count, self.stage_steps, self.leg, self.settings.stage, self.settings.size],
            "minutes": [self.minutes, self.stage_minutes],
            "best": self.best,
            "config": self.model.config.to_json(),
            "torch_random": torch.get_rng_state(),
            "choice_random": repr(self.source.choice.bit_generator.state),
        }
        temporary = path.with_suffix(".part")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def resume(self) -> bool:
        """Take up `state.pt`; False when there is none. A new stage or size starts a new schedule and a new best.

        Raises CheckpointError when the state belongs to another network.
        """
        path = self.settings.out / _STATE
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self.settings.device, weights_only=True)
        theirs = replace(Config.from_json(state["config"]), image_size=self.settings.size)
        if theirs != self.model.config:
            raise CheckpointError(f"{path} belongs to another network than the one asked for.")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_count, stage_steps, self.leg, stage, size = state["counts"]
        self.minutes, stage_minutes = state["minutes"]
        torch.set_rng_state(state["torch_random"].cpu())
        if (stage, size) == (self.settings.stage, self.settings.size):
            self.stage_steps, self.stage_minutes, self.best = stage_steps, stage_minutes, state["best"]
            self.source.choice.bit_generator.state = _plain(state["choice_random"])
        return True

    def export(self, path: Path, scores: Scores | None) -> None:
        """Write the moving average as float16 safetensors with config, licence and scores."""
        metadata = {
            "licence": LICENCE,
            "training_data": "procedurally generated volumes only; no patient data",
            "steps": str(self.step_count),
            "minutes": f"{self.minutes:.1f}",
            "stage": str(self.settings.stage),
            "seed": str(self.settings.seed),
        }
        if scores is not None:
            metadata["validation"] = repr({name: round(value, 4) for name, value in asdict(scores).items()})
        save(self.average, path, metadata, half=True)


def _plain(text: str) -> Any:
    import ast

    return ast.literal_eval(text)


def _write_log(path: Path, row: dict[str, float | int | str]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def _judge(trainer: Trainer, validation: Validation) -> Scores:
    settings = trainer.settings
    scores = validation.scores(trainer.average)
    value = scores.choose_by(settings.stage)
    trainer.export(settings.out / _LAST, scores)
    if value > trainer.best:
        trainer.best = value
        trainer.export(settings.out / _BEST, scores)
    training = {name: round(sum(values) / len(values), 4) for name, values in sorted(trainer.dices.items())}
    row: dict[str, float | int | str] = {
        "minutes": round(trainer.minutes, 2),
        "step": trainer.step_count,
        "stage": settings.stage,
        "size": settings.size,
        **{name: round(number, 4) for name, number in asdict(scores).items()},
        "training": repr(training),
    }
    _write_log(settings.out / _LOG, row)
    logger.info("validation %s", row)
    return scores


def _show(trainer: Trainer, loss: float, waited: float, elapsed: float, ending: str) -> None:
    dices = " ".join(
        f"{name} {sum(values) / len(values):.3f}" for name, values in sorted(trainer.dices.items())
    )
    sys.stderr.write(
        f"{ending}{trainer.minutes:7.1f} min  step {trainer.step_count}  loss {loss:.3f}  {dices}"
        f"  waited {100 * waited / max(elapsed, 1e-6):.0f} %  best {trainer.best:.4f}   "
    )
    sys.stderr.flush()


def train(settings: TrainSettings, config: Config, resume: bool) -> Scores:
    """Run one leg and return the last validation scores; `best.safetensors` in `settings.out` is the best so far.

    Raises CheckpointError when there is a state that does not fit, OSError when the folder cannot be written.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(settings.threads)
    trainer = Trainer(settings, config)
    if resume:
        trainer.resume()
    trainer.leg += 1
    validation = Validation(settings)
    if trainer.best > 0 and (settings.out / _BEST).is_file():
        best, _ = load(settings.out / _BEST)  # judged again: the validation scenes may be others by now
        trainer.best = validation.scores(best.to(settings.device)).choose_by(settings.stage)
    start = last = time.monotonic()
    next_validation, next_save, next_show = settings.validate_minutes, settings.save_minutes, 0.0
    waited, before = 0.0, (trainer.minutes, trainer.stage_minutes)
    terminal = sys.stderr.isatty()
    with batches(settings, settings.seed + 104_729 * trainer.leg) as stream:
        while True:
            asked = time.monotonic()
            batch = next(stream)
            waited += time.monotonic() - asked
            loss = trainer.step(batch)
            last = time.monotonic()
            leg_minutes = (last - start) / 60
            trainer.minutes, trainer.stage_minutes = before[0] + leg_minutes, before[1] + leg_minutes
            if leg_minutes >= next_show:
                _show(trainer, loss, waited, last - start, "\r" if terminal else "\n")
                next_show = leg_minutes + (0.03 if terminal else 1.0)
            if leg_minutes >= next_save:
                trainer.save_state()
                next_save = leg_minutes + settings.save_minutes
            if leg_minutes >= settings.minutes:
                break
            if leg_minutes >= next_validation:
                _judge(trainer, validation)
                next_validation = leg_minutes + settings.validate_minutes
    scores = _judge(trainer, validation)
    trainer.save_state()
    sys.stderr.write("\n")
    return scores
