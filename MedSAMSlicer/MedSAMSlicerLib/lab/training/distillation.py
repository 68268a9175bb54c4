"""A small image encoder learns from the embeddings of a large one; then, where it is wanted, the decoder is tuned.

1. **Encoder.** The student's embedding is brought to the teacher's: "mse" is the mean squared difference (MobileSAM,
   LiteMedSAM); "mse+perceptual" adds that of the maps inside the teacher's frozen mask decoder when it reads either
   embedding (the idea of KD-SAM, whose fixed ImageNet network is not needed so).
2. **Modality.** The shared weights are frozen and small adapters, one set for each modality, learn what is left of the
   difference on images of that modality alone (the idea of ESP-MedSAM's decoupled distillation).
3. **Decoder.** The image encoder is frozen and the mask decoder, until then a copy of the teacher's, learns masks from
   boxes with the Dice loss.

Teacher and student are networks of SAM without memory, whose embeddings have the same rows and columns.

A run goes in legs: where it was stopped or killed, it goes on from the state in its folder, and on labeled volumes
learns what it would have learned without the stop.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.errors import CheckpointError, MedSAMError, VolumeError
from ...io.atomic import write_bytes
from ...sam2.adapters import AdapterConfig, attach, serialized_adapters, set_modality
from ...sam2.checkpoint import serialized
from ...sam2.config import ConvTrunkConfig, Sam1Config, TinyViTConfig
from ...sam2.model import DecoderPrompts
from ...sam2.networks import Network
from ...sam2.sam1 import SAM1
from ...sam2.tensors import read_tensors, tensors_bytes
from .distillation_feed import SliceFeed, Slices, resized
from .labeled import DataSettings
from .losses import soft_dice, soft_target
from .prompts import box_prompts
from .rng import SeededRng, seed_of
from .state import read_state, write_state

LOSSES = ("mse", "mse+perceptual")
STUDENTS: dict[str, TinyViTConfig | ConvTrunkConfig] = {
    "tinyvit": TinyViTConfig(stem_kernel=1, stem_stride=1),
    "tinyvit-half": TinyViTConfig((32, 64, 96, 160), (2, 2, 4, 2), stem_kernel=1, stem_stride=1),
    "convolutional": ConvTrunkConfig(channels=(32, 64, 96, 128), blocks=(1, 2, 3, 1)),
}
"""Image encoders that can learn, by name."""

STUDENT, ADAPTERS, LOG = "student.safetensors", "modality_adapters.safetensors", "distillation.csv"
LESSONS = "lessons"
CONTROLLER = AdapterConfig("modality", "image_encoder.*.mlp", scale=1.0)
_JUDGING, _PROMPTS, _STEPS = 2, 3, 4  # what a seed is for; 1 is the feed's
_STRIDE = 4  # of all students
_LOG_EVERY = 10
_SAVE_SECONDS = 300.0


@dataclass(frozen=True)
class DistillationSettings:
    """The settings by which a student learns.

    Args:
        out: folder of `student.safetensors`, `modality_adapters.safetensors` and `distillation.csv`.
        student: one of `STUDENTS`.
        loss: one of `LOSSES`.
        perceptual_weight: of the second part of "mse+perceptual".
        encoder_steps, modality_steps, decoder_steps: of the three stages; 0 = left out.
        batch: slices a step.
        learning_rate: of encoder and adapters, falling along a cosine; the decoder gets a fifth.
        data: labeled volumes; None = generated scenes, which have no modality.
        lessons: so many batches are made for encoder and adapters, each read by the teacher once; what it says is kept
            in the folder `lessons` of the run and learned again and again. None = every step has a new one. A teacher
            that is much slower than the student is used best so.
        judged: slices that are kept to judge on.
        minutes: length of this leg; None = until all is learned.
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
    lessons: int | None = None
    judged: int = 16
    minutes: float | None = None
    seed: int = 0

    @property
    def steps(self) -> dict[str, int]:
        """The steps of each stage, in their order; those left out are not in it."""
        stages = {
            "encoder": self.encoder_steps,
            "decoder": self.decoder_steps,
            "modality": self.modality_steps,  # last: the adapters belong to the finished student
        }
        return {stage: count for stage, count in stages.items() if count}

    def __post_init__(self) -> None:
        for what, value, known in (("loss", self.loss, LOSSES), ("student", self.student, tuple(STUDENTS))):
            if value not in known:
                raise MedSAMError(f"The {what} must be one of {', '.join(known)}, got {value!r}.")
        if self.modality_steps and self.data is None:
            raise MedSAMError("Modalities are told apart in labeled volumes only: name a folder of them.")
        if self.lessons is not None and self.data is None:
            raise MedSAMError("Lessons are kept of labeled volumes only: name a folder of them.")
        if self.modality_steps and isinstance(STUDENTS[self.student], ConvTrunkConfig):
            raise MedSAMError(
                "Adapters for modalities lie beside the MLPs of a transformer, and a convolutional student has none."
            )


@dataclass(frozen=True)
class Judgment:
    """The scores of a student on slices that it did not learn from.

    Args:
        difference: mean squared difference of the embeddings, over the mean square of the teacher's.
        dice: of masks from tight boxes.
        teacher_dice: the same of the teacher.
    """

    difference: float
    dice: float
    teacher_dice: float


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
    """Teach a student and write it, or go on teaching the one whose state is in the folder.

    Args:
        settings: see there.
        teacher: a network of SAM without memory.
        provenance: what the file says of its origin.
        progress: called as progress(steps done, steps in all, stage).

    Returns:
        How the student does at the start and after each stage that is done, by the stage's name; where the minutes
        ended within one, "now", too.

    Raises:
        MedSAMError: If the teacher has a memory, or the labeled volumes cannot be used.
        CheckpointError: If the state in the folder is damaged or that of another run.
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
        self.feed = SliceFeed(settings.data, teacher.config.image_size, settings.batch, settings.seed)
        if settings.modality_steps and settings.data is not None and not self.feed.knows_modalities:
            raise VolumeError(f"No volume in {settings.data.folder} says its modality in manifest.json.")
        self.provenance, self.progress = provenance, progress
        self.rows: list[dict[str, Any]] = []
        self.found: dict[str, Judgment] = {}
        self.stage, self.step = "", 0  # what is being learned, and the steps of it that are done
        self.optimizer: torch.optim.Optimizer | None = None
        self.until = math.inf if settings.minutes is None else time.monotonic() + 60 * settings.minutes
        self.judged = [self.feed.held_out(n) for n in range(max(1, settings.judged // settings.batch))]

    def run(self) -> dict[str, Judgment]:
        settings = self.settings
        settings.out.mkdir(parents=True, exist_ok=True)
        begun = self._resume()
        if begun is None:
            self.found["start"] = self._judge()
        for stage, steps in settings.steps.items():
            if stage in self.found:
                continue
            self._begin(stage, begun if begun is not None and begun["stage"] == stage else None)
            self._learn(steps)
            finished = self.step == steps
            judgment = self._judge()
            if finished:
                self.found[stage] = judgment
            self._write()
            if not finished:
                return {**self.found, "now": judgment}
        if not settings.steps:
            self._write()  # a student that has learned nothing
        return self.found

    # ------------------------------------------------------------------------------------------------ what is written

    @property
    def _metadata(self) -> dict[str, str]:
        return {
            **self.provenance,
            "distilled_from": self.teacher.config.name,
            "loss": self.settings.loss,
        }

    @property
    def _identity(self) -> str:
        """The settings that must be the same for a run to go on."""
        run = asdict(self.settings)
        left_out = ("out", "minutes", "data")
        data = self.settings.data
        choices = {
            **{name: value for name, value in run.items() if name not in left_out},
            "teacher": self.teacher.config.to_json(),
            "data": None if data is None else [data.only, data.leave_out, data.validation, str(data.window)],
        }
        return json.dumps(choices, sort_keys=True)

    def _write(self) -> None:
        """Write what was learned so far, and all that is needed to go on."""
        out = self.settings.out
        if self.stage == "modality":
            write_bytes(out / ADAPTERS, serialized_adapters(self.student, self._metadata))
        else:
            write_bytes(out / STUDENT, serialized(self.student, STUDENT, self._metadata))
        write_bytes(out / LOG, _as_csv(self.rows).encode())
        state = {
            "identity": self._identity,
            "stage": self.stage,
            "step": self.step,
            "student": self.student.state_dict(),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "found": {stage: asdict(judgment) for stage, judgment in self.found.items()},
            "rows": self.rows,
        }
        write_state(out, state)

    def _resume(self) -> dict[str, Any] | None:
        """Take up the results in the run's folder and return its state; None where there is none."""
        state = read_state(self.settings.out, "cpu")
        if state is None:
            return None
        if state.get("identity") != self._identity:
            raise CheckpointError(
                f"{self.settings.out} holds a run with another teacher, other data or other settings: "
                "repeat its command, or take another folder."
            )
        self.rows = state["rows"]
        self.found = {stage: Judgment(**judgment) for stage, judgment in state["found"].items()}
        if state["stage"] != "modality":
            self.student.load_state_dict(state["student"])
        return state

    # ------------------------------------------------------------------------------------------------ one stage

    def _begin(self, stage: str, state: dict[str, Any] | None) -> None:
        """Get ready to learn a stage, or to go on with it from a state."""
        rate = self.settings.learning_rate / (5 if stage == "decoder" else 1)
        if stage == "modality":
            attach(self.student, [CONTROLLER])
        else:
            self.student.requires_grad_(False)
            part = self.student.image_encoder if stage == "encoder" else self.student.mask_decoder
            part.requires_grad_(True)
        learning = [weight for weight in self.student.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, lr=rate, betas=(0.9, 0.999), weight_decay=1e-3)
        self.stage, self.step = stage, 0
        if state is not None:
            self.student.load_state_dict(state["student"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def _learn(self, steps: int) -> None:
        """Do the steps of the stage that are left, or as many as there is time for."""
        assert self.optimizer is not None
        rate, stage = self.optimizer.defaults["lr"], self.stage
        loss_of = self._mask_loss if stage == "decoder" else self._embedding_loss
        learning = self.optimizer.param_groups[0]["params"]
        before = sum(count for name, count in self.settings.steps.items() if name in self.found)
        self.student.train(stage == "encoder")  # later on the batch norms stay as they are
        saved = time.monotonic()
        while self.step < steps and time.monotonic() < self.until:
            step = self.step
            torch.manual_seed(seed_of(self.settings.seed, _STEPS, len(stage), step))  # for what is dropped
            for group in self.optimizer.param_groups:
                group["lr"] = rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            slices = self.feed.batch(stage, self._lesson(step))
            with self._seen_as(slices.modality if stage == "modality" else None):
                losses = loss_of(slices, step)
            self.optimizer.zero_grad(set_to_none=True)
            torch.stack([*losses.values()]).sum().backward()
            nn.utils.clip_grad_norm_(learning, 1.0)
            self.optimizer.step()
            self.step += 1
            if step % _LOG_EVERY == 0 or self.step == steps:
                values = {name: float(loss.detach()) for name, loss in losses.items()}
                self.rows.append({"stage": stage, "step": self.step, "modality": slices.modality, **values})
            if self.progress is not None:
                self.progress(before + self.step, sum(self.settings.steps.values()), stage)
            if time.monotonic() - saved > _SAVE_SECONDS:
                self._write()  # what a run of hours has learned outlasts its end
                saved = time.monotonic()
        self.student.eval()

    def _lesson(self, step: int) -> int:
        """The number of a step's batch."""
        lessons = self.settings.lessons
        return step if lessons is None or self.stage == "decoder" else step % lessons

    @torch.no_grad()
    def _wanted(self, slices: Slices, step: int) -> Tensor:
        """The teacher's embeddings of a step's slices, (N, C, rows, columns), perhaps as it was kept before."""
        if self.settings.lessons is None:
            return self.teacher.encode_image(self.teacher.normalize(slices.frames))
        path = self.settings.out / LESSONS / f"{self.stage}_{self._lesson(step):05d}.safetensors"
        if path.is_file():
            return read_tensors(path, "a lesson")[0]["embedding"].float()
        found = self.teacher.encode_image(self.teacher.normalize(slices.frames)).half().contiguous()
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, tensors_bytes({"embedding": found}, {}))
        return found.float()

    def _embedding_loss(self, slices: Slices, step: int) -> dict[str, Tensor]:
        wanted = self._wanted(slices, step)
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
        """The maps of the teacher's mask decoder for an embedding: after its transformer, and enlarged."""
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
