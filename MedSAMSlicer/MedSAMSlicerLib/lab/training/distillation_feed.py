"""The slices that a student learns from, and those it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from .clips import ClipSampler, ClipSettings, scene_size
from .fields import Source
from .labeled import DataSettings, TrainingCase, cases_with_images, read_cases, split
from .rng import seed_of
from .synthetic import SceneSettings, make_scene
from .volume_clips import Augmentation, VolumeClips

_TRAINING, _JUDGING = 1, 2  # what a seed is for


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices to learn from: (N, S, S) uint8 frames, or in color (N, S, S, 3), and masks; their modality if known."""

    frames: Tensor
    masks: Tensor
    modality: str | None


class SliceFeed:
    """Slices of labeled volumes, of one modality in each batch, or of generated scenes.

    Args:
        data: the labeled volumes; None = generated scenes.
        size: side of the slices in pixels.
        batch: slices of each batch.
        seed: of everything.
    """

    def __init__(self, data: DataSettings | None, size: int, batch: int, seed: int) -> None:
        self._size, self._count, self._seed = size, batch, seed
        self._generated: dict[bool, ClipSampler] = {}
        self._clips: dict[bool, dict[str | None, VolumeClips]] = {}
        if data is not None:
            learned, judged = split(cases_with_images(data.folder), data, seed)
            self._clips = {
                False: _by_modality(learned, data.window, size, Augmentation()),
                True: _by_modality(judged, data.window, size, None),
            }

    @property
    def knows_modalities(self) -> bool:
        """Return whether any volume says its modality."""
        return any(kind is not None for kind in self._clips.get(False, ()))

    def batch(self, stage: str, step: int) -> Slices:
        """The slices of a step of a stage; those of generated scenes also depend on where the leg began."""
        return self._slices(False, seed_of(self._seed, _TRAINING, len(stage), step), step, stage)

    def held_out(self, number: int) -> Slices:
        """Slices to judge on."""
        return self._slices(True, seed_of(_JUDGING, number), number, "")

    def _slices(self, held_out: bool, seed: int, turn: int, stage: str) -> Slices:
        if self._clips:
            kinds: Sequence[str | None] = [*self._clips[held_out]]
            if stage == "modality":
                kinds = [kind for kind in kinds if kind is not None]
            kind = kinds[turn % len(kinds)]
            made = self._clips[held_out][kind].batch(seed, self._count, 1)
            return Slices(torch.from_numpy(made.frames[0]), torch.from_numpy(made.masks[0]), kind)
        made = self._sampler(held_out, seed).batch(self._count, 1)
        return Slices(torch.from_numpy(made.frames[0]), torch.from_numpy(made.masks[0]), None)

    def _sampler(self, held_out: bool, seed: int) -> ClipSampler:
        """The sampler that cuts slices from generated scenes, with a seed for its first ones."""
        if held_out not in self._generated:
            scenes = SceneSettings(slices=4, size=scene_size(self._size), held_out=held_out)
            source = Source(seed)
            self._generated[held_out] = ClipSampler(
                source, partial(make_scene, source, scenes), ClipSettings(size=self._size), 8, 16
            )
        return self._generated[held_out]


def _by_modality(
    cases: Sequence[TrainingCase], window: str, size: int, augmentation: Augmentation | None
) -> dict[str | None, VolumeClips]:
    """Single slices of the volumes of each modality; None for those that do not say theirs."""
    members: dict[str | None, list[TrainingCase]] = {}
    for case in cases:
        members.setdefault(case.modality, []).append(case)
    return {
        kind: VolumeClips(
            read_cases(these, window, warn=augmentation is not None), size, None, augmentation, 1
        )
        for kind, these in members.items()
    }


def resized(frames: Tensor, size: int) -> Tensor:
    """Frames (N, S, S) or (N, S, S, 3) of 0..255 at another size, each pixel the mean of what it covers; float32."""
    if frames.shape[1] == size:
        return frames
    channels = frames[:, None] if frames.ndim == 3 else frames.permute(0, 3, 1, 2)
    made = functional.interpolate(channels.float(), (size, size), mode="area")
    return made[:, 0] if frames.ndim == 3 else made.permute(0, 2, 3, 1)
