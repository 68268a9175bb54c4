"""Everything that decides a training run, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .losses import LossWeights
from .rollout import PromptMix


@dataclass(frozen=True)
class TrainSettings:
    """One leg of training.

    Args:
        out: Folder of `state.pt`, `best.safetensors` and `log.csv`.
        minutes: Length of this leg in minutes of wall clock.
        plan: Minutes of this stage over which the learning rate falls, in all legs together; None = this leg.
        stage: 1 = single slices, 2 = clips with memory (a share of the steps stays single slices).
        size: Side of the frames in pixels.
        frames: Frames per step; a step of clips of L slices has `frames / L` clips.
        threads: CPU threads of the trainer; the generator has a process of its own.
        device: "cpu" or "cuda".
        pool: Scenes the generator keeps; `uses` clips are cut from each before it is replaced.
        workers: Processes that generate; 0 = generate in the trainer (tests).
    """

    out: Path
    minutes: float
    plan: float | None = None
    stage: int = 1
    size: int = 128
    frames: int = 24
    seed: int = 0
    learning_rate: float = 1e-3
    final_share: float = 0.03
    warmup_steps: int = 200
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    device: str = "cpu"
    threads: int = 2
    workers: int = 1
    pool: int = 24
    uses: int = 16
    validate_minutes: float = 5.0
    save_minutes: float = 2.0
    validation_clips: int = 32
    shortest: int = 4
    longest: int = 8
    single_share: float = 0.3
    mix: PromptMix = field(default_factory=PromptMix)
    weights: LossWeights = field(default_factory=LossWeights)
