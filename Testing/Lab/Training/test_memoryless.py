"""A network of SAM, which has no memory, learns from single slices of labeled volumes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from MedSAMSlicerLib.cli import main
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.engine.view import FrameView
from MedSAMSlicerLib.lab.training.feed import VolumeStream
from MedSAMSlicerLib.lab.training.labeled import DataSettings, find_cases, read_cases
from MedSAMSlicerLib.lab.training.memoryless import slice_rollout
from MedSAMSlicerLib.lab.training.presets import PRESETS, preset
from MedSAMSlicerLib.lab.training.rng import SeededRng
from MedSAMSlicerLib.lab.training.settings import TrainSettings
from MedSAMSlicerLib.lab.training.trainer import Trainer
from MedSAMSlicerLib.lab.training.validation import Validation, validation_batches
from MedSAMSlicerLib.lab.training.volume_clips import VolumeClips, usable_axes
from MedSAMSlicerLib.sam2.checkpoint import load_network, save
from MedSAMSlicerLib.sam2.config import Sam1Config, TinyViTConfig
from MedSAMSlicerLib.sam2.sam1 import SAM1
from MedSAMSlicerLib.sam2.tinyvit import BatchNorm

TINYVIT = TinyViTConfig((32, 32, 32, 32), (1, 1, 1, 1), (4, 4, 4, 4), stem_kernel=1, stem_stride=1)
SMALL = Sam1Config("small_sam", 32, TINYVIT, decoder_feedforward=32)
SINGLE = [name for name, each in PRESETS.items() if each.settings.get("stage") == 1]


def network(config: Sam1Config = SMALL) -> SAM1:
    torch.manual_seed(0)
    return SAM1(config).eval()


def settings_of(out: Path, data: Path, **values: object) -> TrainSettings:
    chosen = {"stage": 1, "pair_share": 0.0, "shortest": 1, "longest": 1, "size": 32, "frames": 12, **values}
    chosen |= {"bfloat16": False, "warmup_steps": 5, "ema_decay": 0.9, "validation_clips": 4, "workers": 0}
    return TrainSettings(out, 5.0, data=DataSettings(data, validation=0.25), **chosen)


@pytest.mark.slow
def test_it_learns_masks_from_boxes_and_keeps_the_statistics_of_its_norms(
    tmp_path: Path, balls: Path
) -> None:
    settings = settings_of(tmp_path, balls, learning_rate=5e-4, steps=60, corrections=0.0)
    start = network()
    trainer, stream = Trainer(settings, SMALL, start), VolumeStream(settings, None)
    validation = Validation(settings, validation_batches(settings, None))
    before = validation.scores(trainer.average)
    for number in range(60):
        trainer.step(stream.batch(number))
    after = validation.scores(trainer.average)
    assert after.box > before.box + 0.2
    assert after.clip == after.box  # nothing is carried on
    norms = [module for module in trainer.model.modules() if isinstance(module, BatchNorm)]
    assert norms
    kept = [module for module in start.modules() if isinstance(module, BatchNorm)]
    for learned, begun in zip(norms, kept, strict=True):
        assert torch.equal(learned.running_mean, begun.running_mean)
        assert not learned.training
    trainer.export(tmp_path / "net.safetensors", after)
    found = load_network(tmp_path / "net.safetensors")
    assert found.config == SMALL
    assert not torch.equal(found.mask_decoder.iou_token.weight, start.mask_decoder.iou_token.weight)


def test_a_click_learns_the_alternative_that_is_nearest_to_the_truth(tmp_path: Path, balls: Path) -> None:
    batch = VolumeStream(settings_of(tmp_path, balls), None).batch(0)
    frames, masks = torch.from_numpy(batch.frames), torch.from_numpy(batch.masks)
    model = network()
    one = slice_rollout(model, frames, masks, SeededRng(0), "point", teach=True).slices[0]
    trusted = slice_rollout(model, frames, masks, SeededRng(0), "point", teach=False).slices[0]
    boxed = slice_rollout(model, frames, masks, SeededRng(0), "box", teach=True).slices[0]
    truth = torch.nn.functional.interpolate((masks[0, :, None] > 127).float(), one.logits.shape[-2:])
    overlaps = [((out.logits > 0) * truth).sum() / ((out.logits > 0) + truth).sum() for out in (one, trusted)]
    assert overlaps[0] >= overlaps[1]
    assert not torch.equal(boxed.logits, one.logits)


def test_nine_rounds_correct_the_mask_of_the_round_before(tmp_path: Path, balls: Path) -> None:
    batch = VolumeStream(settings_of(tmp_path, balls), None).batch(0)
    frames, masks = torch.from_numpy(batch.frames), torch.from_numpy(batch.masks)
    clicks = preset("sam-med2d").settings["correction_clicks"]
    found = slice_rollout(
        network(), frames, masks, SeededRng(0), "box", teach=True, corrections=1.0, clicks=clicks
    )
    assert len(found.corrections) == 8
    drawn = [output.logits for _, output in found.corrections]
    assert all(not torch.equal(one, other) for one, other in pairwise(drawn))


def test_a_network_that_is_shown_stretched_slices_learns_from_such(balls: Path) -> None:
    volumes = read_cases(find_cases(balls))
    clips = VolumeClips(volumes[:1], 32, None, None, shortest=1, fit="stretch")
    geometry = volumes[0].geometry
    views = [FrameView.whole(geometry, axis, 32, "stretch") for axis in usable_axes(geometry)]
    shown = {
        view.frame(volumes[0].window.apply(np.take(volumes[0].array, index, axis=int(axis)))).tobytes()
        for axis, view in zip(usable_axes(geometry), views, strict=True)
        for index in range(geometry.slice_count(SliceAxis(axis)))
    }
    assert all(clips.clip(seed, 1)[0][0].tobytes() in shown for seed in range(6))


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command that tunes a small network for one step."""
    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    save(network(), tmp_path / "start.safetensors")
    return ["train", "--checkpoint", str(tmp_path / "start.safetensors"), "--yes", "--workers", "0",
            "--steps", "1", "--frames", "6", "--threads", "1", "--precision", "float32"]  # fmt: skip


@pytest.mark.parametrize("name", [None, *SINGLE])
def test_the_command_tunes_it_by_itself_or_as_in_a_study(
    name: str | None, start: list[str], tmp_path: Path, balls: Path, few_validation_clips: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = [*start, "--data", str(balls), "--out", str(tmp_path / "out")]
    words += [] if name is None else ["--preset", name]
    assert main(words) == 0, capsys.readouterr().err
    assert load_network(tmp_path / "out" / "last.safetensors").config == SMALL
    assert main([*words, "--resume", "--steps", "2"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (["--size", "64"], "is shown 32 pixels"),
        (["--stage", "2"], "has no memory and learns single slices"),
        (["--longest", "6"], "has no memory and learns single slices"),
        (["--preset", "surgical"], "has no memory and learns single slices"),
        (["--tune", "memory-decoder"], "has no memory"),
        (["--mix"], "has no memory"),
    ],
)
def test_what_needs_a_memory_is_refused(
    wrong: list[str], sentence: str, start: list[str], tmp_path: Path, balls: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main([*start, "--data", str(balls), "--out", str(tmp_path / "out"), *wrong]) in (1, 2)
    error = capsys.readouterr().err
    assert sentence in error
    assert not (tmp_path / "out" / "last.safetensors").exists()


def test_it_needs_labeled_volumes(
    start: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*start, "--out", str(tmp_path / "out")]) == 2
    assert "--data" in capsys.readouterr().err


def test_a_network_that_knows_boxes_alone_is_shown_nothing_else(tmp_path: Path, balls: Path) -> None:
    only = replace(SMALL, only_boxes=True)
    settings = settings_of(tmp_path, balls, corrections=1.0)
    trainer, stream = Trainer(settings, only, network(only)), VolumeStream(settings, None)
    for number in range(12):
        trainer.step(stream.batch(number))
    assert set(trainer.dices) == {"box"}
