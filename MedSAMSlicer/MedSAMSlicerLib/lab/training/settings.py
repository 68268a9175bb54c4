"""Everything that decides a training run, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import MedSAMError
from .labeled import DataSettings
from .losses import LossWeights
from .mixture import Mixture
from .rollout import CLICKS, PromptMix


@dataclass(frozen=True)
class TrainSettings:
    """One leg of training.

    Args:
        out: Folder of the state, `best.safetensors` and `log.csv`.
        minutes: Length of this leg in minutes of wall clock, all in all; at least one step is made.
        plan: Minutes of this stage's steps in all legs together, after which it ends; the learning rate falls over
            them. None = this leg.
        steps: Steps of this stage, after which it ends; the learning rate falls over them instead of over minutes.
        part: Number of this stage in its recipe.
        recipe: Name of the recipe that this stage belongs to; empty = none.
        stage: 1 = single slices, 2 = clips with memory (a share of the steps stays single slices).
        size: Side of the frames in pixels.
        fit: How whole slices lie in them, see `sam2.config.InputRule`.
        frames: Frames per step and process; a step of clips of L slices has `frames / L` clips.
        tune: Which weights learn, one of `tuning.TUNE`.
        rank: Of the adapters of "lora".
        adapter: What "adapters" adds, one of `tuning.ADAPTERS`.
        encoder_share: Part of the learning rate that the image encoder gets.
        layer_decay: By what factor it is lower for every block of the image encoder's trunk that follows.
        data: Labeled volumes to learn from; None = generated volumes.
        mixture: With `data`, what else is learned from, and in which shares; None = these volumes alone.
        lessons: Folder of what a teacher drew on these volumes, for a mixture.
        bfloat16: Compute products in bfloat16.
        threads: CPU threads of the trainer; the generator has a process of its own.
        device: "cpu", "cuda" or "cuda:1".
        scene_device: Where scenes are generated, "cpu" or "cuda".
        pool: Scenes the generator keeps; `uses` clips are cut from each before it is replaced.
        workers: Processes that make batches; 0 = the trainer does (tests).
        part_mb: Write the state in files of at most so many MB; 0 = one file.
        tensorboard: Log for TensorBoard, too.
        unions: Share of the clips of labeled volumes whose object is united with those that touch it.
        single_share, pair_share: Part of the batches of stage 2 that are not of clips; part of those that are of pairs.
        correction_clicks: Least and most clicks in a row on a slice that is corrected.
        corrections: Chance that a slice of a clip is corrected by clicks; `correction_weight` is the weight of what
            they lead to beside the masks of the clip.
    """

    out: Path
    minutes: float
    plan: float | None = None
    part: int = 0
    recipe: str = ""
    steps: int | None = None
    stage: int = 1
    size: int = 128
    fit: str = "center"
    frames: int = 24
    seed: int = 0
    learning_rate: float = 1e-3
    final_share: float = 0.03
    warmup_steps: int = 200
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    tune: str = "all"
    rank: int = 8
    adapter: str = "bottleneck"
    encoder_share: float = 1.0
    layer_decay: float = 1.0
    data: DataSettings | None = None
    mixture: Mixture | None = None
    lessons: Path | None = None
    bfloat16: bool = True
    device: str = "cpu"
    scene_device: str = "cpu"
    threads: int = 2
    workers: int = 1
    pool: int = 24
    uses: int = 16
    validate_minutes: float = 5.0
    save_minutes: float = 2.0
    part_mb: int = 0
    tensorboard: bool = False
    validation_clips: int = 32
    shortest: int = 4
    longest: int = 8
    unions: float = 0.0
    single_share: float = 0.42
    pair_share: float = 0.15
    correction_clicks: tuple[int, int] = CLICKS
    corrections: float = 0.7
    correction_weight: float = 0.6
    second_key: float = 0.3
    range_given: float = 0.7
    mix: PromptMix = field(default_factory=PromptMix)
    weights: LossWeights = field(default_factory=LossWeights)

    @property
    def schedule_minutes(self) -> float:
        """Minutes over which the learning rate falls."""
        return self.plan or self.minutes


LEARNING_RATES = {
    "all": 5e-5,
    "decoder": 2e-4,
    "encoder-decoder": 5e-5,
    "memory-decoder": 1e-4,
    "lora": 5e-4,
    "adapters": 5e-4,
}
"""Highest learning rate of fine-tuning; with "all" the image encoder gets `ENCODER_SHARE` of it (Ravi et al. 2024)."""
ENCODER_SHARE = 0.6
MIXED_LEARNING_RATE = 3e-4
"""Of a long run on a mixture, which has enough to learn from for all weights alike."""


@dataclass(frozen=True)
class Stage:
    """One part of a recipe: fields as in `TrainSettings`; `minutes` is its length in all legs together."""

    minutes: float
    stage: int
    size: int
    frames: int
    learning_rate: float
    longest: int = 8


@dataclass(frozen=True)
class Recipe:
    """The making of a checkpoint from nothing, stage after stage, and the settings that all its stages share."""

    name: str
    stages: tuple[Stage, ...]
    workers: int
    scene_device: str
    pool: int
    uses: int

    @property
    def minutes(self) -> float:
        """Length of the whole run."""
        return sum(stage.minutes for stage in self.stages)


RECIPES: dict[str, dict[str, Recipe]] = {
    "bundled": {
        "cpu": Recipe(
            name="bundled",
            stages=(
                Stage(minutes=15, stage=1, size=128, frames=24, learning_rate=1e-3),
                Stage(minutes=90, stage=2, size=128, frames=24, learning_rate=8e-4),
                Stage(minutes=150, stage=2, size=128, frames=24, learning_rate=6e-4, longest=14),
            ),
            workers=1,
            scene_device="cpu",
            pool=24,
            uses=16,
        ),
        "cuda": Recipe(
            name="bundled",
            stages=(
                Stage(minutes=5, stage=1, size=160, frames=256, learning_rate=1.5e-3),
                Stage(minutes=13, stage=2, size=160, frames=256, learning_rate=1.2e-3),
                Stage(minutes=6, stage=2, size=192, frames=256, learning_rate=5e-4, longest=14),
            ),
            workers=12,
            scene_device="cpu",
            pool=32,
            uses=24,
        ),
    }
}
"""By name, then by the kind of device. The stages of "cuda" are chosen for 24 minutes of one H100; never run so far."""


def recipe(name: str, device: str) -> Recipe:
    """The recipe of that name for that device; MedSAMError when there is none."""
    if name not in RECIPES:
        raise MedSAMError(f"The recipe must be one of {', '.join(RECIPES)}, got {name!r}.")
    return RECIPES[name]["cuda" if device.startswith("cuda") else "cpu"]
