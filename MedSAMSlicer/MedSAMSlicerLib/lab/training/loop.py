"""The training loop: legs of any length that continue where the last one stopped, even when it was killed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import torch

from ...core.errors import OutputError
from ...io.atomic import output_error, reserved
from ...sam2.config import Config, Sam1Config
from ...sam2.networks import Network
from . import distributed
from .feed import batches
from .log import Report
from .settings import Recipe, TrainSettings
from .state import check_recipe, read_state
from .trainer import Trainer
from .validation import Scores, Validation, validation_batches

BEST, LAST = "best.safetensors", "last.safetensors"
GENERATED = {"license": "Apache-2.0", "training_data": "procedurally generated volumes only; no patient data"}
_LEAST_MINUTES = 0.1  # a stage with less left is over
_USEFUL_MINUTES = 0.5  # no new stage begins in a leg with less left


def train(
    settings: TrainSettings,
    config: Config | Sam1Config,
    resume: bool,
    start: Network | None = None,
    provenance: dict[str, str] | None = None,
) -> Scores | None:
    """Run one leg and return the last validation scores; `best.safetensors` in `settings.out` is the best so far.

    Of several processes only the first one judges; the others return None.

    With weights to start from, these are judged first and are the best until training beats them.

    Args:
        settings: of the leg.
        config: of the network.
        resume: Go on from the state in `settings.out`, if there is one.
        start: Weights to start from; None = random ones.
        provenance: What the written files say of their origin; None = that of generated volumes.

    Raises CheckpointError when there is a state that does not fit, VolumeError when labeled volumes cannot be used,
    OutputError when the folder cannot be written or another run is writing there.
    """
    begun = time.monotonic()
    torch.set_num_threads(settings.threads)
    alone = reserved(settings.out) if distributed.is_first() else nullcontext()
    with _folder(settings.out), alone, distributed.process_group(settings.device) as device:
        settings = replace(settings, device=device)
        trainer = Trainer(settings, config, start, GENERATED if provenance is None else provenance)
        resumed = resume and trainer.resume()
        trainer.leg += 1
        leg = _Leg(trainer, config, begun)
        try:
            return leg.run(judge_first=start is not None and not resumed)
        finally:
            leg.report.close()


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """The folder of a run, made where it is missing; one that was made and is still empty goes when the run fails.

    See at once, not after the first leg, whether files can be written there.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; a run needs a folder of its own.")
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise output_error(out, error) from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty: there is something to keep
            for folder in missing:
                folder.rmdir()
        raise


class _Leg:
    """One leg of a trainer. Process 0 looks at the clock, judges and saves; the others follow it step by step."""

    def __init__(self, trainer: Trainer, config: Config | Sam1Config, begun: float) -> None:
        self.trainer, self.settings, self.begun = trainer, trainer.settings, begun
        self.margin = config.crop_margin
        self.first = distributed.rank() == 0
        self.report = Report(self.settings, self.first)
        self.validation: Validation | None = None
        if self.first:
            generated = self.settings.data is None
            self.report.begin("Drawing validation scenes" if generated else "Reading validation volumes")
            self.validation = Validation(self.settings, validation_batches(self.settings, self.margin))
        self.ending_minutes = 0.0  # what the last validation and the last state will take
        self.scores: Scores | None = None

    def run(self, judge_first: bool) -> Scores | None:
        trainer, settings = self.trainer, self.settings
        self._take_up_best()
        if judge_first:
            self._judge()
        waited, stepped, before = 0.0, 0.0, (trainer.minutes, trainer.stage_minutes)
        next_validation = self.minutes() + settings.validate_minutes
        next_save = self.minutes() + settings.save_minutes
        start = time.monotonic()
        with batches(settings, self.margin, trainer.leg, trainer.step_count) as stream:
            while True:
                asked = time.monotonic()
                batch = next(stream)
                waited += time.monotonic() - asked
                loss = trainer.step(batch)
                stepped = (time.monotonic() - start) / 60
                now, stepped = distributed.from_first([self.minutes(), stepped], settings.device)
                trainer.minutes, trainer.stage_minutes = before[0] + stepped, before[1] + stepped
                self.report.step(trainer, loss, now, waited / max(60 * stepped, 1e-6))
                if self._is_over(now):
                    break
                if now >= next_save:
                    self._save()
                    next_save = now + settings.save_minutes
                if now >= next_validation:
                    self._judge()
                    next_validation = now + settings.validate_minutes
        self._judge()
        self._save()
        distributed.from_first([0.0], settings.device)  # the others wait until the state is written
        return self.scores

    def minutes(self) -> float:
        """Minutes since the leg began, everything counted."""
        return (time.monotonic() - self.begun) / 60

    def _is_over(self, now: float) -> bool:
        trainer, settings = self.trainer, self.settings
        if settings.steps is not None and trainer.stage_steps >= settings.steps:
            return True
        if settings.plan is not None and trainer.stage_minutes >= settings.plan:
            return True
        (ending,) = distributed.from_first([self.ending_minutes], settings.device)
        return now + ending >= settings.minutes

    def _take_up_best(self) -> None:
        """Judge the best weights so far again: the validation clips may be others by now."""
        path = self.settings.out / BEST
        if self.validation is not None and self.trainer.best > 0 and path.is_file():
            begun = time.monotonic()
            best = self.trainer.exported(path)
            scores = self.validation.scores(best.to(self.settings.device))
            self.trainer.best = scores.choose_by(self.settings.stage)
            self.ending_minutes = 1.3 * (time.monotonic() - begun) / 60

    def _judge(self) -> None:
        if self.validation is None:
            return
        begun, trainer, out = time.monotonic(), self.trainer, self.settings.out
        self.scores = self.validation.scores(trainer.average)
        value = self.scores.choose_by(self.settings.stage)
        trainer.export(out / LAST, self.scores)
        if value > trainer.best:
            trainer.best = value
            trainer.export(out / BEST, self.scores)
        self.report.validated(trainer, self.scores)
        self.ending_minutes = 1.3 * (time.monotonic() - begun) / 60

    def _save(self) -> None:
        if self.first:
            self.trainer.save_state()


def train_recipe(base: TrainSettings, recipe: Recipe, config: Config) -> tuple[Scores | None, float]:
    """Run as much of a recipe as fits into `base.minutes`, from where the state in `base.out` stands.

    Args:
        base: Folder, minutes of this leg, seed, device, threads; the rest comes from the recipe.
        recipe: Its stages follow one another.
        config: Of the network.

    Raises, beside what `train` does, CheckpointError when the folder holds a run of another recipe or of none.

    Returns:
        The last scores and the minutes of the recipe that are left; no scores when the recipe was finished before, and
        on all processes but the first.
    """
    begun = time.monotonic()
    scores: Scores | None = None
    part, done = first, _ = _progress(base.out, recipe)
    while part < len(recipe.stages):
        minutes = base.minutes - (time.monotonic() - begun) / 60
        if part > first and minutes < _USEFUL_MINUTES:
            break
        scores = train(_of_stage(base, recipe, part, minutes), config, resume=True)
        before, (part, done) = part, _progress(base.out, recipe)
        if part == before:  # the leg is over, the stage is not
            break
    return scores, max(0.0, sum(stage.minutes for stage in recipe.stages[part:]) - done)


def _of_stage(base: TrainSettings, recipe: Recipe, part: int, minutes: float) -> TrainSettings:
    stage = recipe.stages[part]
    return replace(
        base,
        minutes=minutes,
        plan=stage.minutes,
        part=part,
        recipe=recipe.name,
        stage=stage.stage,
        size=stage.size,
        frames=stage.frames,
        learning_rate=stage.learning_rate,
        longest=stage.longest,
        workers=recipe.workers if base.workers else 0,
        scene_device=recipe.scene_device,
        pool=recipe.pool,
        uses=recipe.uses,
    )


def _progress(out: Path, recipe: Recipe) -> tuple[int, float]:
    """The stage that comes next, and the minutes it has had; as many as there are stages when all are done."""
    state = read_state(out, "cpu")
    if state is None:
        return 0, 0.0
    check_recipe(out, state, recipe.name)
    part, done = int(state.get("part", 0)), float(state["minutes"][1])
    if part < len(recipe.stages) and recipe.stages[part].minutes - done < _LEAST_MINUTES:
        return part + 1, 0.0
    return part, done
