"""Training goes in legs, survives a kill, and its weights load in the engine."""

from __future__ import annotations

import csv
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from Testing.small_networks import SMALLEST  # noqa: E402

from MedSAMSlicerLib.core.errors import CheckpointError, OutputError  # noqa: E402
from MedSAMSlicerLib.io.atomic import reserved  # noqa: E402
from MedSAMSlicerLib.lab.training.feed import ClipStream  # noqa: E402
from MedSAMSlicerLib.lab.training.loop import train  # noqa: E402
from MedSAMSlicerLib.lab.training.settings import TrainSettings  # noqa: E402
from MedSAMSlicerLib.lab.training.trainer import Trainer, learning_rate  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import load  # noqa: E402


def leg(out: Path, **changes: object) -> TrainSettings:
    settings = TrainSettings(
        out=out,
        minutes=0.02,
        size=32,
        frames=4,
        threads=1,
        workers=0,
        validation_clips=8,
        uses=8,
        pool=3,
        shortest=3,
        longest=4,
    )
    return replace(settings, **changes)


@pytest.mark.parametrize("stage", [1, 2])
def test_every_weight_that_tracking_uses_gets_a_gradient(tmp_path: Path, stage: int) -> None:
    settings = leg(tmp_path, stage=stage, single_share=0.0)
    trainer = Trainer(settings, SMALLEST)
    stream = ClipStream(settings, 0)
    touched: set[str] = set()
    for number in range(6):
        trainer.step(stream.batch(number))
        touched |= {
            name
            for name, weight in trainer.model.named_parameters()
            if weight.grad is not None and weight.grad.any()
        }
    assert any(name.startswith("image_encoder") for name in touched)
    assert any(name.startswith("sam_mask_decoder") for name in touched)
    tracks = {
        part
        for part in ("memory_attention", "memory_encoder", "obj_ptr_proj")
        if any(part in name for name in touched)
    }
    assert bool(tracks) == (stage == 2)
    assert stage == 1 or len(tracks) == 3


def test_the_loss_of_one_batch_falls(tmp_path: Path) -> None:
    settings = leg(tmp_path, warmup_steps=1, learning_rate=3e-3)
    trainer = Trainer(settings, SMALLEST)
    batch = ClipStream(settings, 1).sampler.batch(4, 1)
    losses = [trainer.step(batch) for _ in range(40)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_a_leg_continues_where_the_last_one_stopped(tmp_path: Path) -> None:
    train(leg(tmp_path), SMALLEST, resume=False)
    first = torch.load(tmp_path / "state.pt", weights_only=True)
    train(leg(tmp_path), SMALLEST, resume=True)
    second = torch.load(tmp_path / "state.pt", weights_only=True)
    assert second["counts"][0] > first["counts"][0] >= 1
    assert second["counts"][2] == 2  # legs
    assert second["minutes"][0] > first["minutes"][0]
    with (tmp_path / "log.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


def test_a_leg_judges_the_best_weights_again_before_it_replaces_them(tmp_path: Path) -> None:
    train(leg(tmp_path), SMALLEST, resume=False)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    torch.save({**state, "best": 2.0}, tmp_path / "state.pt")  # a score on some other scale
    train(leg(tmp_path), SMALLEST, resume=True)
    assert 0 < torch.load(tmp_path / "state.pt", weights_only=True)["best"] < 1


def test_a_second_run_in_the_same_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with reserved(out), pytest.raises(OutputError, match=r"run: another run is writing there"):
        train(leg(out, minutes=0.001), SMALLEST, resume=True)
    assert list(out.iterdir()) == []


def test_a_line_of_the_log_that_a_killed_run_left_half_written_is_dropped(tmp_path: Path) -> None:
    train(leg(tmp_path, minutes=0.001), SMALLEST, resume=False)
    log = tmp_path / "log.csv"
    whole = log.read_bytes()
    log.write_bytes(whole + whole[whole.index(b"\n") + 1 : -5])
    train(leg(tmp_path, minutes=0.001), SMALLEST, resume=True)
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert int(rows[1]["step"]) > int(rows[0]["step"])
    assert not list(tmp_path.glob(".*"))


def test_a_resumed_trainer_is_the_saved_one(tmp_path: Path) -> None:
    settings = leg(tmp_path)
    trainer = Trainer(settings, SMALLEST)
    trainer.step(ClipStream(settings, 0).batch(0))
    trainer.save_state()
    again = Trainer(settings, SMALLEST)
    assert again.resume()
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name
    batch = ClipStream(settings, 1).batch(1)
    assert trainer.step(batch) == again.step(batch)  # the prompts, too, are those of the step


def test_a_new_stage_keeps_the_weights_and_starts_its_own_schedule(tmp_path: Path) -> None:
    trainer = Trainer(leg(tmp_path), SMALLEST)
    trainer.step_count, trainer.stage_steps, trainer.stage_minutes, trainer.best = 70, 70, 9.0, 0.9
    trainer.save_state()
    again = Trainer(leg(tmp_path, stage=2), SMALLEST)
    again.resume()
    assert (again.step_count, again.stage_steps, again.stage_minutes, again.best) == (70, 0, 0.0, -1.0)


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    Trainer(leg(tmp_path), SMALLEST).save_state()
    with pytest.raises(CheckpointError, match="another network"):
        Trainer(leg(tmp_path), replace(SMALLEST, memory_attention_layers=2)).resume()


def test_the_best_weights_load_with_config_and_license(tmp_path: Path) -> None:
    from safetensors import safe_open

    train(leg(tmp_path), SMALLEST, resume=False)
    model, config = load(tmp_path / "best.safetensors")
    assert config == SMALLEST
    assert not model.training
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        metadata = file.metadata()
        assert metadata["license"] == "Apache-2.0"
        assert "no patient data" in metadata["training_data"]
        assert file.get_tensor("no_mem_embed").dtype == torch.float16


def test_the_learning_rate_warms_up_and_falls_to_its_last_share(tmp_path: Path) -> None:
    settings = leg(tmp_path, minutes=5.0, plan=20.0, warmup_steps=10)
    assert learning_rate(settings, 0, 0.0) == pytest.approx(settings.learning_rate / 10)
    assert learning_rate(settings, 100, 0.0) == pytest.approx(settings.learning_rate)
    assert learning_rate(settings, 100, 20.0) == pytest.approx(settings.learning_rate * settings.final_share)
    rates = [learning_rate(settings, 100, minutes) for minutes in range(21)]
    assert rates == sorted(rates, reverse=True)


def test_two_runs_with_one_seed_take_the_same_steps(tmp_path: Path) -> None:
    losses = []
    for _ in range(2):
        settings = leg(tmp_path)
        trainer, stream = Trainer(settings, SMALLEST), ClipStream(settings, 0)
        losses.append([trainer.step(stream.batch(number)) for number in range(3)])
    assert losses[0] == losses[1]


def test_a_run_says_at_once_what_takes_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(leg(tmp_path, steps=1), SMALLEST, resume=False)
    assert capsys.readouterr().err.startswith("Drawing validation scenes\n")


def test_an_error_begins_on_a_line_of_its_own(
    tmp_path: Path, small_disk: AbstractContextManager[None], capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk, pytest.raises(OutputError):
        train(leg(tmp_path, steps=1), SMALLEST, resume=False)
    printed = capsys.readouterr().err
    assert "step 1" in printed
    assert printed.endswith("\n")
