"""A recipe runs its stages one after the other, in as many legs as it takes, by one command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from MedSAMSlicerLib.cli import main  # noqa: E402
from MedSAMSlicerLib.core.errors import CheckpointError, MedSAMError  # noqa: E402
from MedSAMSlicerLib.lab.training.loop import train, train_recipe  # noqa: E402
from MedSAMSlicerLib.lab.training.settings import RECIPES, Recipe, Stage, TrainSettings, recipe  # noqa: E402
from MedSAMSlicerLib.lab.training.state import read_state  # noqa: E402
from MedSAMSlicerLib.sam2.config import NANO, Config  # noqa: E402

SHORT = Recipe(
    name="short",
    stages=(
        Stage(minutes=0.11, stage=1, size=32, frames=4, learning_rate=1e-3),
        Stage(minutes=0.11, stage=2, size=32, frames=4, learning_rate=1e-3, longest=4),
    ),
    workers=1,
    scene_device="cpu",
    pool=2,
    uses=8,
)


def base(out: Path) -> TrainSettings:
    return TrainSettings(
        out=out, minutes=5.0, threads=1, workers=0, validation_clips=2, shortest=3, part_mb=1
    )


def test_legs_follow_one_another_to_the_end(tmp_path: Path, tiny_network: Config) -> None:
    settings = base(tmp_path)
    scores, left = train_recipe(replace(settings, minutes=0.01), SHORT, tiny_network)
    state = read_state(tmp_path, "cpu")
    assert scores is not None
    assert state is not None
    assert state["part"] == 0
    assert 0 < left < SHORT.minutes
    scores, left = train_recipe(settings, SHORT, tiny_network)
    assert scores is not None
    assert left == 0
    state = read_state(tmp_path, "cpu")
    assert (state["part"], state["counts"][3]) == (1, 2)
    assert train_recipe(settings, SHORT, tiny_network) == (None, 0)
    assert all(path.stat().st_size < 1_100_000 for path in tmp_path.iterdir())


@pytest.mark.parametrize(("name", "kinds"), [(name, kinds) for name, kinds in RECIPES.items()])
def test_every_recipe_can_be_run(name: str, kinds: dict[str, Recipe]) -> None:
    for device, found in kinds.items():
        assert recipe(name, f"{device}:0" if device == "cuda" else device) is found
        assert all(stage.size % 16 == 0 and stage.longest >= 4 for stage in found.stages)
    assert kinds["cuda"].minutes <= 25


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(MedSAMError, match="'soup'"):
        recipe("soup", "cpu")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--lr", "1"),
        ("--plan", "1"),
        ("--steps", "1"),
        ("--frames", "24"),
        ("--longest", "8"),
        ("--size", "128"),
    ],
)
def test_a_recipe_takes_no_settings_of_its_own(
    tmp_path: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--recipe", "bundled", "--out", str(tmp_path / "run"), option, value]) == 2
    assert f"recipe sets these itself: leave out {option}." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_recipe_does_not_go_on_with_a_run_of_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(base(tmp_path), size=32, frames=4, steps=1)
    train(settings, NANO, resume=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["train", "--recipe", "bundled", "--out", str(tmp_path), "--minutes", "0.01"]) == 1
    assert "holds a run of no recipe" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_of_a_recipe_goes_on_with_the_recipe_only(tmp_path: Path, tiny_network: Config) -> None:
    settings = base(tmp_path)
    train_recipe(replace(settings, minutes=0.01), SHORT, tiny_network)
    with pytest.raises(CheckpointError, match="--recipe short"):
        train(replace(settings, size=32, frames=4, steps=1), tiny_network, resume=True)
    with pytest.raises(CheckpointError, match="--recipe short"):
        train_recipe(settings, replace(SHORT, name="long"), tiny_network)
