"""Training of the learned volume stage: half real volumes, half generated ones, in legs that can be resumed.

Everything follows from the folder of labeled volumes, the checkpoint that tracks, and a seed. Label maps without an
image (`"image": null` in the manifest) are drawn again as often as asked for (:mod:`.anatomy`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...core.errors import VolumeError
from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.intensity import Window
from ...engine.volume.network import VolumeNet
from ...engine.volume.stack import READING
from ...engine.volume.weights import bundled_stage, save_stage
from ...io.atomic import write_bytes
from ...sam2.model import SAM2
from .anatomy import draw_anatomy
from .example_files import example_file, read_examples, write_examples
from .fields import Source
from .labeled import cases_with_images, label_maps, read_cases, read_label_map
from .state import read_state, write_state
from .synthetic import SceneSettings, make_scene
from .volume_clips import usable_axes
from .volume_examples import Example, examples_of

logger = logging.getLogger(__name__)

BEST = "best.safetensors"
_BATCH = 3
_VOXELS = 100_000  # of an example in training; larger ones are cut or binned
_SIDE = 64
_EMA = 0.998
_STATE_SECONDS, _VALIDATION_SECONDS = 60.0, 240.0
_SIZES = (64, 144)
_UNREAD = (
    0.25  # examples that are shown without the second network's reading, so that the stage does without, too
)


@dataclass(frozen=True)
class VolumeTraining:
    """The settings by which the stage is trained.

    Args:
        out: folder for examples, state and the best weights.
        data: folder of labeled volumes; None = generated ones alone.
        minutes: of training in all, without the making of examples.
        drawn: generated volumes; three of four are label maps of the folder where it has any, the rest scenes.
        validation: share of the volumes that choose the best weights, real and generated ones alike.
        learning_rate: the highest one.
        seed: of everything.
        ranged: whether the slice range is given in most examples. If not, it is in none: the run begins with the
            bundled weights, and learns where objects end.
    """

    out: Path
    data: Path | None = None
    minutes: float = 60.0
    drawn: int = 200
    validation: float = 0.25
    learning_rate: float = 2e-3
    seed: int = 0
    ranged: bool = True


@dataclass(frozen=True)
class StageScores:
    """Mean Dice over the examples kept for validation: of the fused evidence, and with the network."""

    fused: float
    learned: float
    examples: int


def train_volume_stage(settings: VolumeTraining, model: SAM2) -> StageScores:
    """Make the examples that are missing, go on training from the state in the folder, and return the best scores.

    Raises:
        VolumeError: If there is nothing to learn from.
        CheckpointError: If the state in the folder is damaged.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    real = list(_real(settings, model))
    generated = list(_generated(settings, model))
    groups = [group for group in (real, generated) if group]
    if not groups:
        raise VolumeError(f"{settings.data} holds nothing that the volume stage can learn from.")
    kept: list[Example] = []
    training: list[list[Example]] = []
    for group in groups:
        count = max(1, round(settings.validation * len(group))) if len(group) > 1 else 0
        kept += [example for volume in group[:count] for example in volume]
        training.append([example for volume in group[count:] for example in volume])
    return _StageRun(settings, training, kept).go()


# ----------------------------------------------------------------------------------------------------------- examples


def _real(settings: VolumeTraining, model: SAM2) -> Iterator[list[Example]]:
    """The examples of each labeled volume."""
    if settings.data is None:
        return
    for case in cases_with_images(settings.data):
        path = example_file(settings.out / "examples", case.name)
        if not path.is_file():
            found: list[Example] = []
            for volume in read_cases([case]):
                for number, target in enumerate(volume.targets):
                    whole = target.in_volume(volume.geometry)
                    rng = np.random.default_rng([settings.seed, number, *case.name.encode()])
                    axis = usable_axes(volume.geometry)[0]
                    found += examples_of(
                        volume.array, volume.geometry, volume.window, whole, axis, model, rng, settings.ranged
                    )
            _store(path, found)
        yield _read(path)


def _generated(settings: VolumeTraining, model: SAM2) -> Iterator[list[Example]]:
    """The examples of each drawn volume."""
    maps = label_maps(settings.data)
    for number in range(settings.drawn):
        path = example_file(settings.out / "examples", f"drawn_{number:05d}")
        if not path.is_file():
            source = Source(settings.seed * 1_000_003 + number)
            drawn = _drawn(source, maps if number % 4 != 3 else [])
            found: list[Example] = []
            if drawn is not None:
                image, mask, spacing = drawn
                geometry = VolumeGeometry.from_spacing(image.shape, spacing[::-1])
                rng = np.random.default_rng([settings.seed, number])
                window = Window(0.0, 255.0, "full")
                found += examples_of(image, geometry, window, mask, SliceAxis.K, model, rng, settings.ranged)
            _store(path, found)
        if examples := _read(path):
            yield examples


def _drawn(source: Source, maps: Sequence[Path]) -> tuple[Any, Any, tuple[float, float, float]] | None:
    """Image, mask and spacing (mm along K, J, I) of a generated volume."""
    if not maps:
        size = int(source.choice.choice([96, 128, 160]))
        scene = make_scene(source, SceneSettings(source.integer(16, 40), size, targets=1))
        return scene.image.numpy(), scene.masks[0].numpy(), (source.log_uniform(1.0, 4.0), 1.0, 1.0)
    labels, spacing = read_label_map(maps[source.integer(0, len(maps) - 1)])
    drawn = draw_anatomy(labels, spacing, source, _SIZES)
    return None if drawn is None else (drawn.image, drawn.mask, drawn.spacing)


def _store(path: Path, examples: Sequence[Example]) -> None:
    write_examples(path, [vars(example) for example in examples])


def _read(path: Path) -> list[Example]:
    names = [field.name for field in fields(Example)]
    found = read_examples(path, names)
    return [Example(**(arrays | {"anisotropy": float(arrays["anisotropy"])})) for arrays in found]


# ----------------------------------------------------------------------------------------------------------- learning


class _StageRun:
    """One run in its folder."""

    def __init__(
        self, settings: VolumeTraining, training: Sequence[Sequence[Example]], kept: Sequence[Example]
    ) -> None:
        self._settings, self._kept = settings, kept
        self._training = [group for group in training if group]
        if not self._training or not kept:
            raise VolumeError(
                "The volume stage needs at least two volumes, to learn from and to validate on."
            )
        torch.manual_seed(settings.seed)
        self._network, self._mean = VolumeNet(), VolumeNet()
        if not settings.ranged and (bundled := bundled_stage()) is not None:
            self._network.load_state_dict(bundled.state_dict())
        self._optimizer = torch.optim.AdamW(self._network.parameters(), weight_decay=1e-3)
        self._step, self._spent, self._best = 0, 0.0, -1.0
        self._mean.load_state_dict(self._network.state_dict())
        if (state := read_state(settings.out, "cpu")) is not None:
            self._network.load_state_dict(state["network"])
            self._mean.load_state_dict(state["mean"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._step, self._spent, self._best = state["step"], state["spent"], state["best"]

    def go(self) -> StageScores:
        """Train until the minutes are over; the scores of the best weights."""
        began = saved = validated = time.monotonic()
        spent = self._spent
        while self._spent < 60 * self._settings.minutes:
            self._learn()
            now = time.monotonic()
            self._spent = spent + now - began
            if now - validated > _VALIDATION_SECONDS:
                self._validate()
                validated = time.monotonic()
            if now - saved > _STATE_SECONDS:
                self._save()
                saved = now
        scores = self._validate()
        self._save()
        return scores

    def _save(self) -> None:
        write_state(
            self._settings.out,
            {
                "network": self._network.state_dict(),
                "mean": self._mean.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "step": self._step,
                "spent": self._spent,
                "best": self._best,
            },
        )

    def _learn(self) -> None:
        """One step on examples of all groups in equal shares."""
        source = Source(self._settings.seed * 7_000_003 + self._step)
        done = min(self._spent / (60 * self._settings.minutes), 1.0)
        rate = self._settings.learning_rate * min(1.0, (self._step + 1) / 50)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * done)) + 0.01 * self._settings.learning_rate
        self._optimizer.zero_grad()
        for _ in range(_BATCH):
            kind = self._training[source.integer(0, len(self._training) - 1)]
            example = kind[source.integer(0, len(kind) - 1)]
            stack, together, truth, counted, anisotropy = varied(example, source)
            if bool(counted.any()):
                added = self._network(stack[None], anisotropy)[0, 0]
                (stage_loss(together + added, truth, counted) / _BATCH).backward()
        norm = torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._step += 1
        if not bool(torch.isfinite(norm)):
            return
        self._optimizer.step()
        decay = min(_EMA, (1 + self._step) / (10 + self._step))
        with torch.no_grad():
            for mean, value in zip(self._mean.parameters(), self._network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def _validate(self) -> StageScores:
        """Score the averaged weights, and keep them if they are the best."""
        scores = [_scored(self._mean, example) for example in self._kept]
        fused, learned = (float(np.mean([score[n] for score in scores])) for n in (0, 1))
        logger.info("step %d: fused %.4f, learned %.4f", self._step, fused, learned)
        if learned > self._best:
            self._best = learned
            metadata = {"steps": str(self._step), "validation_dice": f"{learned:.4f}"}
            write_bytes(self._settings.out / BEST, save_stage(self._mean, metadata))
        return StageScores(fused, learned, len(scores))


def stage_loss(logits: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy and soft Dice over the slices that count.

    Args:
        logits, truth: (slices, rows, columns); truth is 0..1.
        counted: (slices,) bool, at least one.
    """
    weight = counted.float()[:, None, None].expand_as(truth)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    inside, wanted = torch.sigmoid(logits) * weight, truth * weight
    overlap = (2 * (inside * wanted).sum() + 1) / (inside.sum() + wanted.sum() + 1)
    return 2 * (entropy * weight).sum() / weight.sum() + 1 - overlap


def varied(example: Example, source: Source) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """An example mirrored, turned, with other grays and logits, coarser or cut, as chance has it.

    Returns:
        Stack, fused logit, truth (0..1), counted slices, and anisotropy.
    """
    stack, together = torch.from_numpy(example.stack).float(), torch.from_numpy(example.fused).float()
    truth, counted = torch.from_numpy(example.truth).float() / 255, torch.from_numpy(example.counted)
    anisotropy = example.anisotropy
    mirrored = [axis for axis in range(3) if source.chance(0.5)]
    stack = stack.flip([axis + 1 for axis in mirrored])
    together, truth = together.flip(mirrored), truth.flip(mirrored)
    if 0 in mirrored:
        counted = counted.flip(0)
    if source.chance(0.5):
        stack, together, truth = stack.transpose(2, 3), together.transpose(1, 2), truth.transpose(1, 2)
    stack = stack.clone()
    if source.chance(0.5):
        stack[0] *= source.log_uniform(0.74, 1.35)
    stack[1] = stack[1] * source.log_uniform(0.82, 1.22) + source.uniform(-0.2, 0.2)
    if source.chance(0.15):
        stack[2] = -stack[2]
    if source.chance(_UNREAD):
        stack[READING] = 0
    side = min(truth.shape[1:])
    if side > _SIDE * 0.625 and source.chance(0.6 if side > _SIDE else 0.25):
        pooled = functional.avg_pool3d(
            torch.cat([stack, together[None], truth[None]])[None], (1, 2, 2), ceil_mode=True
        )[0]
        stack, together, truth, anisotropy = pooled[:-2], pooled[-2], pooled[-1], anisotropy / 2
    parts = [slice(None)] * 3
    for axis in (1, 2):
        if truth.shape[axis] > _SIDE:
            at = source.integer(0, truth.shape[axis] - _SIDE)
            parts[axis] = slice(at, at + _SIDE)
    area = min(truth.shape[1], _SIDE) * min(truth.shape[2], _SIDE)
    if truth.shape[0] * area > _VOXELS:
        count = max(8, _VOXELS // area)
        at = source.integer(0, truth.shape[0] - count)
        parts[0] = slice(at, at + count)
    slices, rows, columns = parts
    return (
        stack[:, slices, rows, columns].contiguous(),
        together[slices, rows, columns],
        truth[slices, rows, columns],
        counted[slices],
        anisotropy,
    )


@torch.inference_mode()
def _scored(network: VolumeNet, example: Example) -> tuple[float, float]:
    """Dice of the counted slices, fused and learned."""
    stack, together = torch.from_numpy(example.stack).float(), torch.from_numpy(example.fused).float()
    added = network(stack[None], example.anisotropy)[0, 0]
    truth = torch.from_numpy(example.truth)[example.counted] > 127
    found = []
    for logits in (together, together + added):
        mask = logits[example.counted] > 0
        found.append(float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()).clamp(min=1)))
    return found[0], found[1]
