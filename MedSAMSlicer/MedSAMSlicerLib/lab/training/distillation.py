"""A small image encoder learns from the embeddings of a large one; then, where it is wanted, the decoder is tuned.

1. **Encoder.** The student's embedding is brought to the teacher's: "mse" is the mean squared difference (MobileSAM,
   LiteMedSAM); "mse+perceptual" adds that of the maps inside the teacher's frozen mask decoder when it reads either
   embedding (the idea of KD-SAM, whose fixed ImageNet network is not needed so).
2. **Modality.** The shared weights are frozen and small adapters, one set for each modality, learn what is left of the
   difference on images of that modality alone (the idea of ESP-MedSAM's decoupled distillation).
3. **Decoder.** The image encoder is frozen and the mask decoder, until then a copy of the teacher's, learns masks from
   boxes with the Dice loss.

Teacher and student are networks of SAM without memory, whose embeddings have the same rows and columns.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.errors import MedSAMError, VolumeError
from ...io.atomic import write_bytes
from ...sam2.adapters import AdapterConfig, attach, serialized_adapters, set_modality
from ...sam2.checkpoint import serialized
from ...sam2.config import ConvTrunkConfig, Sam1Config, TinyViTConfig
from ...sam2.model import DecoderPrompts
from ...sam2.networks import Network
from ...sam2.sam1 import SAM1
from .clips import ClipSampler, ClipSettings, scene_size
from .fields import Source
from .labeled import DataSettings, find_cases, read_cases, split
from .losses import soft_dice, soft_target
from .prompts import box_prompts
from .rng import SeededRng, seed_of
from .synthetic import SceneSettings, make_scene
from .volume_clips import Augmentation, VolumeClips

LOSSES = ("mse", "mse+perceptual")
STUDENTS: dict[str, TinyViTConfig | ConvTrunkConfig] = {
    "tinyvit": TinyViTConfig(stem_kernel=1, stem_stride=1),
    "tinyvit-half": TinyViTConfig((32, 64, 96, 160), (2, 2, 4, 2), stem_kernel=1, stem_stride=1),
    "convolutional": ConvTrunkConfig(channels=(32, 64, 96, 128), blocks=(1, 2, 3, 1)),
}
"""Image encoders that can learn, by name."""

STUDENT, ADAPTERS, LOG = "student.safetensors", "modality_adapters.safetensors", "distillation.csv"
CONTROLLER = AdapterConfig("modality", "image_encoder.*.mlp", scale=1.0)
_TRAINING, _JUDGING, _PROMPTS = 1, 2, 3  # what a seed is for
_STRIDE = 4  # of all students
_LOG_EVERY = 10
_SAVE_SECONDS = 300.0


@dataclass(frozen=True)
class DistillationSettings:
    """How a student learns.

    Args:
        out: folder of `student.safetensors`, `modality_adapters.safetensors` and `distillation.csv`.
        student: one of `STUDENTS`.
        loss: one of `LOSSES`.
        perceptual_weight: of the second part of "mse+perceptual".
        encoder_steps, modality_steps, decoder_steps: of the three stages; 0 = left out.
        batch: slices a step.
        learning_rate: of encoder and adapters, falling along a cosine; the decoder gets a fifth.
        data: labeled volumes; None = generated scenes, which have no modality.
        judged: slices that are kept to judge on.
        seed: of everything.
    """

    out: Path
    student: str = "tinyvit"
    loss: str = "mse"
    perceptual_weight: float = 0.1
    encoder_steps: int = 1000
    modality_steps: int = 0
    decoder_steps: int = 0
    batch: int = 4
    learning_rate: float = 5e-4
    data: DataSettings | None = None
    judged: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for what, value, known in (("loss", self.loss, LOSSES), ("student", self.student, tuple(STUDENTS))):
            if value not in known:
                raise MedSAMError(f"The {what} must be one of {', '.join(known)}, got {value!r}.")
        if self.modality_steps and self.data is None:
            raise MedSAMError("Modalities are told apart in labeled volumes only: name a folder of them.")
        if self.modality_steps and isinstance(STUDENTS[self.student], ConvTrunkConfig):
            raise MedSAMError(
                "Adapters for modalities lie beside the MLPs of a transformer, and a convolutional student has none."
            )


@dataclass(frozen=True)
class Judgment:
    """How a student does on slices that it did not learn from.

    Args:
        difference: mean squared difference of the embeddings, over the mean square of the teacher's.
        dice: of masks from tight boxes.
        teacher_dice: the same of the teacher.
    """

    difference: float
    dice: float
    teacher_dice: float


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices to learn from: (N, S, S) uint8 frames, or in color (N, S, S, 3), and masks; their modality if known."""

    frames: Tensor
    masks: Tensor
    modality: str | None


def student_config(teacher: Network, student: str) -> Sam1Config:
    """The network that a student is: the teacher's decoder and input with another image encoder.

    Raises:
        MedSAMError: If the teacher has a memory, so that its embedding is another.
    """
    if not isinstance(teacher, SAM1):
        raise MedSAMError(
            f"{teacher.config.name} has a memory; teachers are networks without, such as litemedsam or sam-vit-b."
        )
    config = teacher.config
    side = _STRIDE * config.image_size // config.stride
    return replace(
        config, name=f"{student} taught by {config.name}", image_size=side, trunk=STUDENTS[student]
    )


def distil(
    settings: DistillationSettings,
    teacher: Network,
    provenance: dict[str, str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Judgment]:
    """Teach a student and write it.

    Args:
        settings: see there.
        teacher: a network of SAM without memory.
        provenance: what the file says of its origin.
        progress: called as progress(steps done, steps in all, stage).

    Returns:
        How the student does at the start and after each stage, by the stage's name.

    Raises:
        MedSAMError: If the teacher has a memory, or the labeled volumes cannot be used.
    """
    config = student_config(teacher, settings.student)
    assert isinstance(teacher, SAM1)
    return _Distillation(settings, teacher, config, provenance or {}, progress).run()


class _Distillation:
    def __init__(
        self,
        settings: DistillationSettings,
        teacher: SAM1,
        config: Sam1Config,
        provenance: dict[str, str],
        progress: Callable[[int, int, str], None] | None,
    ) -> None:
        self.settings, self.teacher = settings, teacher.eval().requires_grad_(False)
        torch.manual_seed(settings.seed)
        self.student = SAM1(config)
        for part in ("prompt_encoder", "mask_decoder"):
            getattr(self.student, part).load_state_dict(getattr(teacher, part).state_dict())
        last_norm = self.student.image_encoder.neck[-1]  # the scale of each channel, from the first step on
        last_norm.load_state_dict(teacher.image_encoder.neck[-1].state_dict())
        self.feed = _Feed(settings, teacher.config.image_size)
        self.provenance, self.progress = provenance, progress
        self.rows: list[dict[str, Any]] = []
        self.done = 0
        self.judged = [self.feed.held_out(n) for n in range(max(1, settings.judged // settings.batch))]

    def run(self) -> dict[str, Judgment]:
        settings, found = self.settings, {"start": self._judge()}
        settings.out.mkdir(parents=True, exist_ok=True)
        if settings.encoder_steps:
            self.student.requires_grad_(False).image_encoder.requires_grad_(True)
            self._learn("encoder", settings.encoder_steps, settings.learning_rate, self._embedding_loss)
            self._write_student()
            found["encoder"] = self._judge()
        if settings.decoder_steps:
            self.student.requires_grad_(False).mask_decoder.requires_grad_(True)
            self._learn("decoder", settings.decoder_steps, settings.learning_rate / 5, self._mask_loss)
            found["decoder"] = self._judge()
        self._write_student()
        if settings.modality_steps:  # last: the adapters belong to the finished student
            attach(self.student, [CONTROLLER])
            self._learn("modality", settings.modality_steps, settings.learning_rate, self._embedding_loss)
            found["modality"] = self._judge()
            write_bytes(settings.out / ADAPTERS, serialized_adapters(self.student, self._metadata))
            self._write_log()
        return found

    @property
    def _metadata(self) -> dict[str, str]:
        return {
            **self.provenance,
            "distilled_from": self.teacher.config.name,
            "loss": self.settings.loss,
        }

    def _write_student(self) -> None:
        write_bytes(self.settings.out / STUDENT, serialized(self.student, STUDENT, self._metadata))
        self._write_log()

    def _write_log(self) -> None:
        write_bytes(self.settings.out / LOG, _as_csv(self.rows).encode())

    # ------------------------------------------------------------------------------------------------ one stage

    def _learn(
        self, stage: str, steps: int, rate: float, loss_of: Callable[[Slices, int], dict[str, Tensor]]
    ) -> None:
        learning = [weight for weight in self.student.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=rate, betas=(0.9, 0.999), weight_decay=1e-3)
        self.student.train(stage == "encoder")  # later on the batch norms stay as they are
        settings = self.settings
        total = settings.encoder_steps + settings.modality_steps + settings.decoder_steps
        saved = time.monotonic()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            slices = self.feed.batch(stage, step)
            with self._seen_as(slices.modality if stage == "modality" else None):
                losses = loss_of(slices, step)
            optimizer.zero_grad(set_to_none=True)
            torch.stack([*losses.values()]).sum().backward()
            nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            self.done += 1
            if step % _LOG_EVERY == 0 or step == steps - 1:
                values = {name: float(loss.detach()) for name, loss in losses.items()}
                self.rows.append({"stage": stage, "step": step + 1, "modality": slices.modality, **values})
            if self.progress is not None:
                self.progress(self.done, total, stage)
            if time.monotonic() - saved > _SAVE_SECONDS and stage != "modality":
                self._write_student()  # what a run of hours has learned outlasts its end
                saved = time.monotonic()
        self.student.eval()

    def _embedding_loss(self, slices: Slices, step: int) -> dict[str, Tensor]:
        with torch.no_grad():
            wanted = self.teacher.encode_image(self.teacher.normalize(slices.frames))
        found = self._embedding(slices)
        losses = {"mse": functional.mse_loss(found, wanted)}
        if self.settings.loss == "mse+perceptual":
            prompts = box_prompts(SeededRng(self.settings.seed, _PROMPTS, step), slices.masks > 127)
            with torch.no_grad():
                maps = self._decoder_maps(wanted, prompts)
            ours = self._decoder_maps(found, prompts)
            parts = [functional.mse_loss(a, b) for a, b in zip(ours, maps, strict=True)]
            losses["perceptual"] = self.settings.perceptual_weight * torch.stack(parts).mean()
        return losses

    def _mask_loss(self, slices: Slices, step: int) -> dict[str, Tensor]:
        with torch.no_grad():
            embedding = self._embedding(slices)
        prompts = box_prompts(SeededRng(self.settings.seed, _PROMPTS, step), slices.masks > 127)
        logits, _ = self._drawn(self.student, embedding, prompts, slices)
        target = soft_target(slices.masks, logits.shape[-1])
        inside = logits.sigmoid()
        overlap, total = (inside * target).sum((1, 2, 3)), (inside + target).sum((1, 2, 3))
        return {"dice": (1 - (2 * overlap + 1) / (total + 1)).mean()}

    def _embedding(self, slices: Slices) -> Tensor:
        frames = resized(slices.frames, self.student.config.image_size)
        return self.student.encode_image(self.student.normalize(frames))

    def _decoder_maps(self, embedding: Tensor, prompts: DecoderPrompts) -> list[Tensor]:
        """What the teacher's mask decoder makes of an embedding: after its transformer, and enlarged."""
        decoder, maps = self.teacher.mask_decoder, []
        hooks = [
            decoder.transformer.register_forward_hook(lambda _, __, output: maps.append(output[1])),
            decoder.output_upscaling[3].register_forward_hook(lambda _, __, output: maps.append(output)),
        ]
        try:
            self.teacher.candidates(embedding, prompts)
        finally:
            for hook in hooks:
                hook.remove()
        return maps

    def _drawn(
        self, network: SAM1, embedding: Tensor, prompts: DecoderPrompts, slices: Slices
    ) -> tuple[Tensor, Tensor]:
        """Masks from prompts that are places on the slices as they are."""
        scale = network.config.image_size / slices.frames.shape[1]
        assert prompts.points is not None
        points = (prompts.points + 0.5) * scale - 0.5
        return network.decode(embedding, DecoderPrompts(points, prompts.labels))

    @contextlib.contextmanager
    def _seen_as(self, modality: str | None) -> Iterator[None]:
        if modality is None:
            yield
            return
        set_modality(self.student, modality)
        try:
            yield
        finally:
            set_modality(self.student, None)

    # ------------------------------------------------------------------------------------------------ how good it is

    @torch.no_grad()
    def _judge(self) -> Judgment:
        self.student.eval()
        differences, scores = [], []
        for number, slices in enumerate(self.judged):
            wanted = self.teacher.encode_image(self.teacher.normalize(slices.frames))
            with self._seen_as(slices.modality if self._controlled else None):
                found = self._embedding(slices)
            differences.append(((found - wanted).square().mean() / wanted.square().mean()).item())
            prompts = box_prompts(SeededRng(_JUDGING, number), slices.masks > 127, 0.0)
            for network, embedding in ((self.student, found), (self.teacher, wanted)):
                logits, _ = self._drawn(network, embedding, prompts, slices)
                scores.append(soft_dice(logits, soft_target(slices.masks, logits.shape[-1])).mean().item())
        return Judgment(
            float(np.mean(differences)), float(np.mean(scores[::2])), float(np.mean(scores[1::2]))
        )

    @property
    def _controlled(self) -> bool:
        return any("adapter_modality" in name for name, _ in self.student.named_modules())


class _Feed:
    """Slices of labeled volumes, of one modality in each batch, or of generated scenes."""

    def __init__(self, settings: DistillationSettings, size: int) -> None:
        self.settings, self.size = settings, size
        self._generated: dict[int, ClipSampler] = {}
        self._clips: dict[bool, dict[str | None, VolumeClips]] = {}
        if settings.data is None:
            return
        cases = split(find_cases(settings.data.folder), settings.data, settings.seed)
        for held_out, chosen in enumerate(cases):
            by_kind: dict[str | None, list[Any]] = {}
            for case in chosen:
                by_kind.setdefault(case.modality, []).append(case)
            self._clips[bool(held_out)] = {
                kind: VolumeClips(
                    read_cases(members, settings.data.window, warn=not held_out),
                    size,
                    None,
                    None if held_out else Augmentation(),
                    1,
                )
                for kind, members in by_kind.items()
            }
        if settings.modality_steps and not any(self._clips[False]):
            raise VolumeError(f"No volume in {settings.data.folder} says its modality in manifest.json.")

    def batch(self, stage: str, step: int) -> Slices:
        """The slices of a step of a stage."""
        return self._slices(False, seed_of(self.settings.seed, _TRAINING, len(stage), step), step, stage)

    def held_out(self, number: int) -> Slices:
        """Slices to judge on."""
        return self._slices(True, seed_of(_JUDGING, number), number, "")

    def _slices(self, held_out: bool, seed: int, turn: int, stage: str) -> Slices:
        count = self.settings.batch
        if self._clips:
            kinds: Sequence[str | None] = [*self._clips[held_out]]
            if stage == "modality":
                kinds = [kind for kind in kinds if kind is not None]
            kind = kinds[turn % len(kinds)]
            made = self._clips[held_out][kind].batch(seed, count, 1)
            return Slices(torch.from_numpy(made.frames[0]), torch.from_numpy(made.masks[0]), kind)
        made = self._sampler(held_out).batch(count, 1)
        return Slices(torch.from_numpy(made.frames[0]), torch.from_numpy(made.masks[0]), None)

    def _sampler(self, held_out: bool) -> ClipSampler:
        if held_out not in self._generated:
            scenes = SceneSettings(slices=4, size=scene_size(self.size), held_out=held_out)
            source = Source(seed_of(self.settings.seed, _JUDGING if held_out else _TRAINING))
            self._generated[held_out] = ClipSampler(
                source, partial(make_scene, source, scenes), ClipSettings(size=self.size), 8, 16
            )
        return self._generated[held_out]


def resized(frames: Tensor, size: int) -> Tensor:
    """Frames (N, S, S) or (N, S, S, 3) of 0..255 at another size, each pixel the mean of what it covers; float32."""
    if frames.shape[1] == size:
        return frames
    channels = frames[:, None] if frames.ndim == 3 else frames.permute(0, 3, 1, 2)
    made = functional.interpolate(channels.float(), (size, size), mode="area")
    return made[:, 0] if frames.ndim == 3 else made.permute(0, 2, 3, 1)


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    columns = ["stage", "step", "modality", "mse", "perceptual", "dice"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def described(found: dict[str, Judgment]) -> dict[str, dict[str, float]]:
    """The judgments as plain values, rounded."""
    return {
        stage: {name: round(value, 4) for name, value in asdict(judgment).items()}
        for stage, judgment in found.items()
    }
