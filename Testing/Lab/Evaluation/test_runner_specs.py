"""Runners in a few words: their names, that they can be sent, and that weights are those that were meant."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from MedSAMSlicerLib.core.errors import CheckpointError, MedSAMError
from MedSAMSlicerLib.lab.evaluation.runner_specs import (
    BASELINES,
    ENGINE,
    OWN,
    SAM2_PACKAGE,
    TRANSFORMERS,
    RunnerSpec,
    build,
    forget_built,
    network_spec,
)
from MedSAMSlicerLib.lab.evaluation.runners import EngineRunner
from MedSAMSlicerLib.models.registry import BUNDLED_ID, Registry


@pytest.fixture(scope="module")
def bundled() -> RunnerSpec:
    return network_spec(ENGINE, Registry.from_environment().open(BUNDLED_ID), threads=1)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (RunnerSpec(ENGINE, "net"), "net"),
        (RunnerSpec(ENGINE, "net", tier="exact"), "net, exact"),
        (RunnerSpec(SAM2_PACKAGE, "net"), "net, sam2"),
        (RunnerSpec(TRANSFORMERS, "net"), "net, transformers"),
        *((RunnerSpec(name), name) for name in BASELINES),
    ],
)
def test_names(spec: RunnerSpec, name: str) -> None:
    assert spec.name == name
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_what_is_no_runner_is_reported() -> None:
    with pytest.raises(MedSAMError, match="'telepathy' is no runner"):
        RunnerSpec("telepathy")


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_has_the_name_it_is_asked_by(name: str) -> None:
    if name == "GrowCut":
        pytest.importorskip("vtk")
    runner = build(RunnerSpec(name))
    assert runner.name == name
    assert runner.describe()["method"]


def test_a_network_says_where_its_weights_come_from(bundled: RunnerSpec) -> None:
    runner = build(bundled)
    assert isinstance(runner, EngineRunner)
    about = runner.describe()
    assert (about["checkpoint"], about["sha256"]) == (BUNDLED_ID, bundled.sha256)


def test_the_same_words_are_built_once_until_they_are_forgotten(bundled: RunnerSpec) -> None:
    first = build(bundled)
    assert build(pickle.loads(pickle.dumps(bundled))) is first
    forget_built()
    assert build(bundled) is not first


def test_weights_that_are_not_there_or_not_those_that_were_meant_are_reported(tmp_path: Path) -> None:
    weights = tmp_path / "net.safetensors"
    with pytest.raises(CheckpointError, match="are not on this computer"):
        build(RunnerSpec(ENGINE, "net", str(weights), sha256="0" * 64))
    weights.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="are not those that were meant"):
        build(RunnerSpec(ENGINE, "net", str(weights), sha256="0" * 64))


@pytest.mark.usefixtures("own_runners")
def test_a_runner_of_the_user_is_found_by_module_and_function() -> None:
    assert build(RunnerSpec(OWN, "own_runners:patient")).name == "patient"


@pytest.mark.usefixtures("own_runners")
@pytest.mark.parametrize("name", ["nothing:here", "own_runners:nobody", "own_runners", ":", ""])
def test_a_runner_of_the_user_that_cannot_be_made_is_reported(name: str) -> None:
    with pytest.raises(MedSAMError, match=r"cannot be made .* it is MODULE:FUNCTION of yours"):
        build(RunnerSpec(OWN, name))
