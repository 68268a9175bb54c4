"""Training of heads on a frozen network: its features are computed once for each slice and kept while they fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.errors import MedSAMError
from ...core.geometry import SliceAxis
from ...core.prompts import ObjectPrompts, SliceRef, box_from_voxels
from ...engine.heads import STACK, features_of, suggested_prompts, with_pixels
from ...engine.segmenter import VolumeSegmenter
from ...io.atomic import write_bytes
from ...sam2.heads import Head, HeadConfig, ImplicitHead, PatchHead, VolumeHead, made, serialized_head
from ...sam2.networks import Network
from .fields import Source
from .labeled import DataSettings, LabeledVolume, TrainingTarget, find_cases, read_cases, split
from .rng import seed_of

HEAD = "head.safetensors"
_AXIS = SliceAxis.K
_PLACES = 1024  # of a mask, in a step of "implicit"
_NEAR_EDGE = 0.5  # part of them near the outline
_RAMP = 0.2  # part of the steps after which the second network counts more than the first


@dataclass(frozen=True)
class HeadTraining:
    """The settings by which a head learns.

    Args:
        out: folder of `head.safetensors`.
        kind: "patch", "volume" or "implicit".
        data: labeled volumes; each label value is a class of "volume".
        steps: slices (of "volume": stacks) learned from.
        learning_rate: highest, falling along a cosine.
        seed: of everything.
        threads: of the network.
        cache_mb: for features.
    """

    out: Path
    kind: str
    data: DataSettings
    steps: int = 500
    learning_rate: float = 2e-3
    seed: int = 0
    threads: int | None = None
    cache_mb: int = 2048


def train_head(
    settings: HeadTraining, model: Network, progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Train a head and write it.

    Returns:
        The mean loss of the first and of the last tenth of the steps, and the score on volumes that were kept apart:
        of "patch" the share of slices whose first suggested click lies on an object.

    Raises:
        MedSAMError: If there is no such head, or the labeled volumes cannot be used.
    """
    return _HeadTrainer(settings, model).run(progress)


def head_for(model: nn.Module, kind: str, classes: Sequence[str] = ("object",)) -> Head:
    """A head with random weights that fits a network.

    Raises:
        MedSAMError: If there is no such head.
    """
    config = cast(Any, model.config)
    decoder = cast(Any, getattr(model, "sam_mask_decoder", None) or model.mask_decoder)
    channels = decoder.transformer.norm_final_attn.normalized_shape[0]
    if kind == "implicit":
        channels //= 8
    levels = int(math.log2(config.stride)) if kind == "volume" else 0
    grid = config.image_size // config.stride if kind == "patch" else 0
    return made(HeadConfig(kind, channels, levels, grid, tuple(classes)))


class _HeadTrainer:
    def __init__(self, settings: HeadTraining, model: Network) -> None:
        self.settings, self.model = settings, model
        training, held_out = split(find_cases(settings.data.folder), settings.data, settings.seed)
        self.volumes = self._opened(read_cases(training, settings.data.window))
        self.held_out = self._opened(read_cases(held_out, settings.data.window, warn=False))
        names = sorted({t.name for volume, _ in self.volumes for t in volume.targets}, key=_by_number)
        torch.manual_seed(settings.seed)
        self.head: Head = head_for(model, settings.kind, names if settings.kind == "volume" else ("object",))
        self.source = Source(seed_of(settings.seed, 7))

    def run(self, progress: Callable[[int, int], None] | None) -> dict[str, float]:
        settings, head = self.settings, self.head
        optimizer = torch.optim.AdamW(head.parameters(), lr=settings.learning_rate, weight_decay=1e-3)
        losses = []
        for step in range(settings.steps):
            for group in optimizer.param_groups:
                cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
                group["lr"] = settings.learning_rate * (0.02 + 0.98 * cosine)
            loss = self._loss(step / settings.steps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            if progress is not None:
                progress(step + 1, settings.steps)
        head.eval()
        settings.out.mkdir(parents=True, exist_ok=True)
        write_bytes(settings.out / HEAD, serialized_head(head, self.model))
        tenth = max(1, len(losses) // 10)
        scores = {"first_loss": float(np.mean(losses[:tenth])), "last_loss": float(np.mean(losses[-tenth:]))}
        if isinstance(head, PatchHead):
            scores["first_click_hits"] = self._hits(head)
        return scores

    def _opened(self, volumes: Sequence[LabeledVolume]) -> list[tuple[LabeledVolume, VolumeSegmenter]]:
        share = (self.settings.cache_mb << 20) // max(1, len(volumes))
        return [
            (
                volume,
                VolumeSegmenter(
                    volume.array, volume.geometry, self.model, None if volume.array.ndim == 4 else volume.window,
                    cache_bytes=share, threads=self.settings.threads, volume_stage="off",
                ),
            )
            for volume in volumes
        ]  # fmt: skip

    def _loss(self, done: float) -> Tensor:
        volume, segmenter = self.volumes[self.source.integer(0, len(self.volumes) - 1)]
        if isinstance(self.head, PatchHead):
            return self._patch_loss(volume, segmenter, self.head)
        if isinstance(self.head, VolumeHead):
            return self._volume_loss(volume, segmenter, self.head)
        return self._implicit_loss(volume, segmenter, self.head, done)

    # ------------------------------------------------------------------------------------------------------- patch

    def _patch_loss(self, volume: LabeledVolume, segmenter: VolumeSegmenter, head: PatchHead) -> Tensor:
        target = volume.targets[self.source.integer(0, len(volume.targets) - 1)]
        index = target.extent(_AXIS)[self.source.integer(0, len(target.extent(_AXIS)) - 1)]
        if self.source.chance(0.2):
            index = self.source.integer(0, volume.geometry.slice_count(_AXIS) - 1)
        logits = head(_features(segmenter, index))
        union = _labels_on(volume, index) > 0
        frame = segmenter.whole(_AXIS).frame(union.astype(np.uint8) * 255)
        wanted = torch.from_numpy(frame)[None, None].float().to(logits.device) / 255
        return _overlap_and_entropy(logits, functional.interpolate(wanted, logits.shape[-2:], mode="area"))

    def _hits(self, head: PatchHead) -> float:
        hits = []
        for volume, segmenter in self.held_out:
            for index in range(volume.geometry.slice_count(_AXIS)):
                truth = _labels_on(volume, index) > 0
                found = suggested_prompts(segmenter, head, index, _AXIS) if truth.any() else []
                if truth.any():
                    hits.append(bool(found) and bool(truth[found[0].point[1], found[0].point[0]]))
        return float(np.mean(hits)) if hits else math.nan

    # ------------------------------------------------------------------------------------------------------- volume

    def _volume_loss(self, volume: LabeledVolume, segmenter: VolumeSegmenter, head: VolumeHead) -> Tensor:
        count = volume.geometry.slice_count(_AXIS)
        start = self.source.integer(0, max(0, count - STACK))
        indices = range(start, min(start + STACK, count))
        stack = torch.stack([_features(segmenter, index) for index in indices], 2)
        whole, classes = segmenter.whole(_AXIS), head.config.classes
        frames = []
        for index in indices:
            labels = _labels_on(volume, index, classes)
            shown = [
                whole.frame((labels == number).astype(np.uint8) * 255)
                for number in range(1, 1 + len(classes))
            ]
            frames.append(np.where(np.max(shown, 0) > 127, np.argmax(shown, 0) + 1, 0))
        truth = torch.from_numpy(np.stack(frames))[None, None].float().to(stack.device)  # (1, 1, D, S, S)
        levels = head.at_levels(stack)
        weights = [0.5**place for place in range(len(levels))][::-1]
        losses = []
        for logits in levels:
            wanted = functional.interpolate(truth, logits.shape[2:], mode="nearest")[:, 0].long()
            entropy = functional.cross_entropy(logits, wanted)
            shares = logits.softmax(1)[:, 1:]
            members = functional.one_hot(wanted, logits.shape[1]).movedim(-1, 1)[:, 1:].float()
            axes = (0, 2, 3, 4)
            overlap, total = (shares * members).sum(axes), (shares + members).sum(axes)
            losses.append(entropy + (1 - (2 * overlap + 1) / (total + 1)).mean())
        return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / torch.tensor(sum(weights))

    # ------------------------------------------------------------------------------------------------------ implicit

    def _implicit_loss(
        self, volume: LabeledVolume, segmenter: VolumeSegmenter, head: ImplicitHead, done: float
    ) -> Tensor:
        target, index = self._shown_target(volume)
        truth = target.on_slice(volume.geometry, _AXIS, index)
        rows, columns = np.nonzero(truth)
        sides = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        box = box_from_voxels(volume.geometry, SliceRef(_AXIS, index), *(float(side) for side in sides))  # type: ignore[arg-type]
        mask, pixels = with_pixels(segmenter, ObjectPrompts("object", (1.0, 0.0, 0.0), (box,)), index, _AXIS)
        low = torch.from_numpy(mask.low)[None, None].to(pixels.device)
        frame = torch.from_numpy(mask.view.frame(truth.astype(np.uint8) * 255))[None, None].float() / 255
        places = self._places(frame)
        wanted = functional.grid_sample(frame, places.view(1, 1, -1, 2), align_corners=False)[0, 0, 0]
        coarse, final, _ = head(pixels.clone(), low.clone(), places.to(pixels.device))
        wanted = (wanted > 0.5).float().to(pixels.device)
        late = min(1.0, done / _RAMP)
        first, second = (_overlap_and_entropy(each, wanted) for each in (coarse, final))
        return (0.8 - 0.6 * late) * first + (0.2 + 0.6 * late) * second

    def _shown_target(self, volume: LabeledVolume) -> tuple[TrainingTarget, int]:
        target = volume.targets[self.source.integer(0, len(volume.targets) - 1)]
        filled = np.flatnonzero(target.areas(_AXIS) > 0)
        return target, target.extent(_AXIS)[int(filled[self.source.integer(0, len(filled) - 1)])]

    def _places(self, frame: Tensor) -> Tensor:
        """(P, 2) places in -1..1, part of them near the outline."""
        generator = torch.Generator().manual_seed(self.source.integer(0, 2**31 - 1))
        places = torch.rand(_PLACES, 2, generator=generator) * 2 - 1
        rough = functional.avg_pool2d(frame, 5, 1, 2)[0, 0]
        edge = ((rough > 0.02) & (rough < 0.98)).nonzero()
        count = round(_NEAR_EDGE * _PLACES)
        if len(edge):
            chosen = edge[torch.randint(len(edge), (count,), generator=generator)].float()
            chosen = chosen + torch.rand(count, 2, generator=generator)
            places[:count] = chosen.flip(1) * 2 / frame.shape[-1] - 1
        return places


def _features(segmenter: VolumeSegmenter, index: int) -> Tensor:
    with segmenter.settings(), torch.inference_mode():
        found = features_of(segmenter, index, _AXIS)
    return found.clone()  # an ordinary tensor, which gradients may pass


def _labels_on(volume: LabeledVolume, index: int, classes: Sequence[str] = ()) -> np.ndarray[Any, Any]:
    """(rows, columns) the number of the class of each voxel on a slice, 0 = none; without classes all are 1."""
    labels = np.zeros(volume.geometry.slice_shape(_AXIS), np.uint8)
    for target in volume.targets:
        number = classes.index(target.name) + 1 if target.name in classes else int(not classes)
        labels[target.on_slice(volume.geometry, _AXIS, index)] = number
    return labels


def _overlap_and_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    inside = logits.sigmoid()
    overlap, total = (inside * wanted).sum(), (inside + wanted).sum()
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted)
    return entropy + 1 - (2 * overlap + 1) / (total + 1)


def _by_number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (1 << 30, name)


def check_kind(kind: str | None) -> str:
    """The kind of head, if it is one; MedSAMError otherwise."""
    from ...sam2.heads import KINDS

    if kind not in KINDS:
        got = "none was named" if kind is None else f"got {kind!r}"
        raise MedSAMError(f"The head must be one of {', '.join(KINDS)}: {got}.")
    return kind
