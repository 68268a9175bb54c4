"""Any checkpoint learns from a folder of labeled volumes, and what comes out is an ordinary checkpoint."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402

from MedSAMSlicerLib.cli import main  # noqa: E402
from MedSAMSlicerLib.core.errors import CheckpointError, MedSAMError, VolumeError  # noqa: E402
from MedSAMSlicerLib.lab.training.feed import VolumeStream  # noqa: E402
from MedSAMSlicerLib.lab.training.labeled import DataSettings  # noqa: E402
from MedSAMSlicerLib.lab.training.loop import train  # noqa: E402
from MedSAMSlicerLib.lab.training.settings import TrainSettings  # noqa: E402
from MedSAMSlicerLib.lab.training.state import read_state  # noqa: E402
from MedSAMSlicerLib.lab.training.trainer import Trainer  # noqa: E402
from MedSAMSlicerLib.sam2.adapters import adapter_weights, base_hash, load_adapters  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import load, save, seeded  # noqa: E402
from MedSAMSlicerLib.sam2.config import Config  # noqa: E402


def leg(out: Path, data: Path, **changes: object) -> TrainSettings:
    settings = TrainSettings(
        out=out,
        minutes=5.0,
        steps=3,
        stage=2,
        size=32,
        frames=8,
        threads=1,
        workers=0,
        warmup_steps=1,
        validation_clips=2,
        shortest=3,
        longest=4,
        data=DataSettings(data),
    )
    return replace(settings, **changes)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name].half(), after[name].half())}


@pytest.mark.parametrize("network", ["tiny_network", "official_network"])
def test_the_loss_on_a_few_volumes_falls(
    tmp_path: Path, balls: Path, network: str, request: pytest.FixtureRequest
) -> None:
    config: Config = request.getfixturevalue(network)
    size = config.image_size
    settings = leg(tmp_path, balls, steps=60, learning_rate=3e-3, size=size, single_share=1.0, bfloat16=False)
    trainer = Trainer(settings, config, seeded(config, 1))
    batches = [VolumeStream(settings, config.crop_margin).batch(0)] * 30
    losses = [trainer.step(batch) for batch in batches]
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


@pytest.mark.parametrize("network", ["tiny_network", "official_network"])
@pytest.mark.parametrize("tune", ["decoder", "lora", "all"])
def test_only_the_chosen_weights_change_and_the_result_is_an_ordinary_checkpoint(
    tmp_path: Path, balls: Path, network: str, tune: str, request: pytest.FixtureRequest
) -> None:
    config: Config = request.getfixturevalue(network)
    start = seeded(config, 1)
    before = {name: weight.clone() for name, weight in start.state_dict().items()}
    size = config.image_size
    settings = leg(tmp_path, balls, tune=tune, rank=2, learning_rate=1e-2, size=size, single_share=0.0)
    train(settings, config, resume=False, start=start, provenance={"license": "CC0-1.0"})
    model, read = load(tmp_path / "last.safetensors")
    assert read == config
    names = changed(before, model.state_dict())
    if tune == "decoder":
        assert names
        assert all(name.startswith("sam_mask_decoder.") for name in names)
    else:
        parts = {name.split(".")[0] for name in names}
        assert {"image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder"} <= parts
    if tune == "lora":
        assert not any(name.endswith("bias") for name in names)
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["license"] == "CC0-1.0"
    assert metadata["tune"] == tune


@pytest.mark.parametrize("adapter", ["temporal", "depthwise-3d", "parallel-conv"])
def test_other_adapters_learn_on_clips_and_segment_a_volume(
    tmp_path: Path, balls: Path, official_network: Config, adapter: str
) -> None:
    from MedSAMSlicerLib.core.geometry import SliceAxis
    from MedSAMSlicerLib.core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
    from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
    from MedSAMSlicerLib.lab.training.labeled import find_cases, read_case

    start = seeded(official_network, 1)
    settings = leg(
        tmp_path, balls, tune="adapters", adapter=adapter, learning_rate=1e-2, size=64, single_share=0.0
    )
    train(settings, official_network, resume=False, start=start)
    tuned = seeded(official_network, 1)
    load_adapters(tuned, tmp_path / "last.safetensors")
    assert any(bool(w.any()) for name, w in adapter_weights(tuned).items() if "up" in name)
    volume = read_case(find_cases(balls)[0])
    box = box_from_voxels(volume.geometry, SliceRef(SliceAxis.K, 6), 10, 10, 30, 30)
    prompts = PromptSet(volume.geometry, objects=(ObjectPrompts("ball", (1, 0, 0), (box,)),))
    found = VolumeSegmenter(
        volume.array, volume.geometry, tuned, volume.window, threads=1, patience=0
    ).segment(prompts)
    assert len(found.objects[0].slices) == 12
    with pytest.raises(CheckpointError, match=r"other weights were learning \(adapters, " + adapter):
        train(replace(settings, adapter="bottleneck"), official_network, resume=True, start=start)


def test_adapters_are_trained_and_saved_alone_and_a_run_of_them_goes_on(
    tmp_path: Path, balls: Path, tiny_network: Config
) -> None:
    start = seeded(tiny_network, 1)
    settings = leg(tmp_path, balls, tune="adapters", learning_rate=1e-2, single_share=0.0)
    train(settings, tiny_network, resume=False, start=start)
    tuned = seeded(tiny_network, 1)
    load_adapters(tuned, tmp_path / "last.safetensors")
    assert (tmp_path / "last.safetensors").stat().st_size < 300_000
    assert any(bool(w.any()) for name, w in adapter_weights(tuned).items() if name.endswith("up.weight"))
    assert base_hash(tuned) == base_hash(start)
    with pytest.raises(CheckpointError, match="belong to another network"):
        load_adapters(seeded(tiny_network, 2), tmp_path / "last.safetensors")
    train(replace(settings, steps=5), tiny_network, resume=True, start=start)
    with (tmp_path / "log.csv").open(newline="") as file:
        assert list(csv.DictReader(file))[-1]["step"] == "5"


def test_the_start_is_judged_first_and_stays_the_best_when_training_does_not_help(
    tmp_path: Path, balls: Path, tiny_network: Config
) -> None:
    start = seeded(tiny_network, 1)
    before = {name: weight.clone() for name, weight in start.state_dict().items()}
    settings = leg(tmp_path, balls, learning_rate=1e-12)
    train(settings, tiny_network, resume=False, start=start)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "3"]
    best, _ = load(tmp_path / "best.safetensors")
    assert not changed(before, best.state_dict())


@pytest.mark.parametrize("tune", ["all", "lora"])
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, balls: Path, official_network: Config, tune: str
) -> None:
    weights = []
    for name, legs in (("once", 1), ("often", 4)):
        minutes = 5.0 if legs == 1 else 1e-9  # a leg without time makes one step
        settings = leg(
            tmp_path / name, balls, steps=4, minutes=minutes, tune=tune, rank=2, size=64, frames=4, longest=3
        )
        for number in range(legs):
            train(settings, official_network, resume=number > 0, start=seeded(official_network, 1))
        state = read_state(tmp_path / name, "cpu")
        assert state is not None
        assert state["counts"][:2] == [4, 4]
        weights.append(state)
    for part in ("model", "average"):
        assert all(torch.equal(weights[0][part][name], weights[1][part][name]) for name in weights[0][part])


def test_a_run_goes_on_only_with_what_was_learning(tmp_path: Path, balls: Path, tiny_network: Config) -> None:
    Trainer(leg(tmp_path, balls, tune="decoder"), tiny_network).save_state()
    with pytest.raises(CheckpointError, match="decoder"):
        Trainer(leg(tmp_path, balls, tune="lora"), tiny_network).resume()
    with pytest.raises(MedSAMError, match="'head'"):
        Trainer(leg(tmp_path, balls, tune="head"), tiny_network)


def test_the_image_encoder_learns_at_its_own_rate(tmp_path: Path, balls: Path, tiny_network: Config) -> None:
    settings = leg(tmp_path, balls, encoder_share=0.5, learning_rate=1e-3, steps=100)
    trainer = Trainer(settings, tiny_network)
    trainer.step(VolumeStream(settings, 1.7).batch(0))
    groups = trainer.optimizer.param_groups
    encoder = {id(p) for p in trainer.model.image_encoder.parameters()}
    for group in groups:
        inside = {id(p) in encoder for p in group["params"]}
        assert len(inside) == 1
        assert group["lr"] == pytest.approx(0.5e-3 if inside == {True} else 1e-3)
    assert sum(len(group["params"]) for group in groups) == len(trainer.learning)


@pytest.mark.slow
@pytest.mark.usefixtures("few_validation_clips")
def test_the_command_tunes_a_file_in_the_official_format(
    tmp_path: Path,
    balls: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from MedSAMSlicerLib.sam2.config import TINY

    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    torch.save({"model": seeded(TINY, 2).state_dict()}, tmp_path / "MedSAM2_own.pt")
    arguments = ["train", "--data", str(balls), "--checkpoint", str(tmp_path / "MedSAM2_own.pt"), "--yes"]
    arguments += ["--tune", "decoder", "--size", "64", "--steps", "1", "--frames", "4", "--longest", "4"]
    arguments += ["--threads", "1", "--workers", "0", "--leave-out", "case3", "--out", str(tmp_path / "run")]
    assert main(arguments) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"box", "point", "neighbor", "clip", "clip_last"}
    model, config = load(tmp_path / "run" / "best.safetensors")
    assert (config.name, config.image_size, model.training) == ("medsam2", 64, False)
    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_make_the_same_clips_as_the_trainer(
    tmp_path: Path, balls: Path, tiny_network: Config
) -> None:
    states = []
    for workers in (0, 2):
        settings = leg(tmp_path / str(workers), balls, workers=workers)
        train(settings, tiny_network, resume=False, start=seeded(tiny_network, 1))
        states.append(read_state(settings.out, "cpu"))
    assert all(torch.equal(states[0]["model"][name], states[1]["model"][name]) for name in states[0]["model"])


def test_what_a_worker_cannot_read_is_reported(tmp_path: Path, balls: Path, tiny_network: Config) -> None:
    settings = leg(tmp_path / "run", balls, workers=1, shortest=60, longest=60, stage=2)
    with pytest.raises(MedSAMError, match="60 slices"):
        train(settings, tiny_network, resume=False)


def test_what_is_wrong_with_the_data_is_reported_once(
    tmp_path: Path, balls: Path, tiny_network: Config, caplog: pytest.LogCaptureFixture
) -> None:
    data = shutil.copytree(balls, tmp_path / "data")
    (data / "empty_label.nii.gz").touch()
    (data / "bad_image.nii.gz").touch()
    (data / "bad_label.nii.gz").touch()
    settings = leg(tmp_path / "run", data, steps=1, workers=0)
    assert settings.data is not None
    with caplog.at_level(logging.WARNING):
        train(replace(settings, data=replace(settings.data, validation=0.0)), tiny_network, resume=False)
    for text in ("No volume is kept for validation", "empty_label.nii.gz is left out", "bad is left out"):
        assert sum(text in message for message in caplog.messages) == 1, text


@pytest.mark.parametrize("tensorboard", [False, True])
def test_data_that_cannot_be_used_leaves_no_folder_behind(
    tmp_path: Path, tiny_network: Config, tensorboard: bool
) -> None:
    if tensorboard:
        pytest.importorskip("tensorboard")
    (tmp_path / "data").mkdir()
    settings = leg(tmp_path / "runs" / "first", tmp_path / "data", tensorboard=tensorboard)
    with pytest.raises(VolumeError, match="no image with labels"):
        train(settings, tiny_network, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    settings.out.mkdir(parents=True)  # the user's own stays
    with pytest.raises(VolumeError):
        train(settings, tiny_network, resume=False)
    assert settings.out.is_dir()


def test_a_bundled_kind_of_file_is_tuned_from_safetensors(
    tmp_path: Path, balls: Path, tiny_network: Config
) -> None:
    save(seeded(tiny_network, 4), tmp_path / "start.safetensors", half=True)
    start, config = load(tmp_path / "start.safetensors")
    scores = train(leg(tmp_path / "run", balls, tune="lora", rank=2), config, resume=False, start=start)
    assert 0 <= scores.clip <= 1
