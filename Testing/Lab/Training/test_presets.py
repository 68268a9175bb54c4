"""Each preset trains what its study trained, with its prompts and its loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main  # noqa: E402
from MedSAMSlicerLib.core.errors import MedSAMError  # noqa: E402
from MedSAMSlicerLib.lab.training.feed import VolumeStream, clip_length  # noqa: E402
from MedSAMSlicerLib.lab.training.labeled import DataSettings  # noqa: E402
from MedSAMSlicerLib.lab.training.presets import PRESETS, preset  # noqa: E402
from MedSAMSlicerLib.lab.training.settings import TrainSettings  # noqa: E402
from MedSAMSlicerLib.lab.training.trainer import Trainer  # noqa: E402
from MedSAMSlicerLib.lab.training.tuning import TUNE  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import load, save, seeded  # noqa: E402
from MedSAMSlicerLib.sam2.config import Config  # noqa: E402

LEARNS = {
    "flare22": {"image_encoder", "sam_mask_decoder"},
    "medsam": {"image_encoder", "sam_mask_decoder"},
    "biosam2": {"memory_attention", "memory_encoder", "sam_mask_decoder"},
    "biosam2-article": {"image_encoder", "sam_mask_decoder"},
    "surgical": None,  # everything
    "sam-med2d": {"image_encoder", "sam_mask_decoder"},
}


@pytest.mark.parametrize("name", PRESETS)
def test_only_what_the_study_trained_learns_and_a_step_changes_it(
    name: str, tmp_path: Path, balls: Path, tiny_network: Config
) -> None:
    chosen = preset(name)
    settings = TrainSettings(
        tmp_path, 5.0, size=32, frames=8, threads=1, workers=0, warmup_steps=1, data=DataSettings(balls)
    )
    settings = replace(settings, tune=chosen.tune, learning_rate=chosen.learning_rate, **chosen.settings)
    trainer = Trainer(settings, tiny_network, seeded(tiny_network, 1))
    before = {key: weight.clone() for key, weight in trainer.model.state_dict().items()}
    trainer.step(VolumeStream(settings, tiny_network.crop_margin).batch(0))
    changed = {
        key.split(".")[0] for key, weight in trainer.model.state_dict().items()
        if not torch.equal(weight, before[key])
    }  # fmt: skip
    learning = {key.split(".")[0] for key, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert changed
    assert changed <= learning
    assert learning == (LEARNS[name] or {key.split(".")[0] for key, _ in trainer.model.named_parameters()})
    lengths = {clip_length(settings, number) for number in range(30)}
    assert lengths == ({1} if settings.stage == 1 else {8}) or name.startswith("biosam2")


@pytest.mark.parametrize("network", ["tiny_network", "official_network"])
def test_the_rate_falls_by_a_tenth_with_every_block_toward_the_image_as_for_surgical_sam_2(
    tmp_path: Path, balls: Path, network: str, request: pytest.FixtureRequest
) -> None:
    config = request.getfixturevalue(network)
    settings = TrainSettings(tmp_path, 5.0, size=config.image_size, data=DataSettings(balls))
    settings = replace(settings, learning_rate=1.0, **preset("surgical").settings)
    trainer = Trainer(settings, config, seeded(config, 1))
    shares = {id(p): group["share"] for group in trainer.optimizer.param_groups for p in group["params"]}
    found = {name: shares[id(p)] for name, p in trainer.model.named_parameters()}
    blocks = len(config.trunk.blocks) if network == "tiny_network" else sum(config.trunk.stages)
    first = "stem.0.weight" if network == "tiny_network" else "patch_embed.proj.weight"
    assert found[f"image_encoder.trunk.{first}"] == pytest.approx(0.9 ** (blocks + 1))
    last = "stages.3.0.conv1.weight" if network == "tiny_network" else f"blocks.{blocks - 1}.norm1.weight"
    assert found[f"image_encoder.trunk.{last}"] == pytest.approx(0.9)
    assert found["image_encoder.neck.convs.0.conv.weight"] == 1
    assert found["sam_mask_decoder.iou_token.weight"] == 1


def test_nine_rounds_are_eight_clicks_after_the_first_prompt(
    tmp_path: Path, balls: Path, tiny_network: Config
) -> None:
    from MedSAMSlicerLib.lab.training.rng import SeededRng
    from MedSAMSlicerLib.lab.training.rollout import rollout

    settings = TrainSettings(tmp_path, 5.0, size=32, stage=1, frames=4, data=DataSettings(balls))
    batch = VolumeStream(replace(settings, pair_share=0.0), None).batch(0)
    frames, masks = torch.from_numpy(batch.frames), torch.from_numpy(batch.masks)
    clicks = preset("sam-med2d").settings["correction_clicks"]
    model = seeded(tiny_network, 1).train()
    found = rollout(model, frames, masks, SeededRng(0), "box", teach=True, corrections=1.0, clicks=clicks)
    assert len(found.corrections) == 8


@pytest.mark.parametrize("name", PRESETS)
def test_the_command_takes_a_preset_and_says_so_in_the_file(
    name: str, tmp_path: Path, balls: Path, tiny_network: Config, few_validation_clips: None,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from safetensors import safe_open

    monkeypatch.setenv("MEDSAMSLICER_MODELS", str(tmp_path / "models"))
    save(seeded(tiny_network, 1), tmp_path / "start.safetensors")
    words = ["train", "--preset", name, "--checkpoint", str(tmp_path / "start.safetensors"), "--yes",
             "--data", str(balls), "--steps", "1", "--frames", "8", "--threads", "1", "--workers", "0"]  # fmt: skip
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    load(tmp_path / "out" / "last.safetensors")
    with safe_open(tmp_path / "out" / "last.safetensors", "pt") as file:
        assert file.metadata()["preset"] == name
        assert file.metadata()["tune"] == preset(name).tune
    capsys.readouterr()
    for wrong, sentence in (
        (["--stage", "1"], "A preset sets these itself: leave out --stage"),
        (["--preset", "flare99"], "preset must be one of flare22, medsam"),
    ):
        assert main([*words, *wrong, "--out", str(tmp_path / "other")]) != 0
        assert sentence in capsys.readouterr().err


def test_presets_name_what_this_trainer_knows() -> None:
    assert all(each.tune in TUNE and each.study and each.different for each in PRESETS.values())
    with pytest.raises(MedSAMError, match="must be one of flare22"):
        preset("none")
