"""The published packages as runners see what our engine sees, and answer what it answers in the published order."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import ObjectPrompts, Prompt, PromptSet
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.io.volumes import Volume
from MedSAMSlicerLib.lab.evaluation.datasets import Target
from MedSAMSlicerLib.lab.evaluation.official import published_network
from MedSAMSlicerLib.lab.evaluation.official_runners import Sam2Runner, TransformersRunner
from MedSAMSlicerLib.lab.evaluation.protocol import PROTOCOLS, PromptProtocol
from MedSAMSlicerLib.lab.evaluation.runners import EngineRunner, LastWindow, Request, Runner, RunnerAnswer
from MedSAMSlicerLib.lab.evaluation.simulated_user import click_on
from MedSAMSlicerLib.lab.evaluation.trial import run_trial
from MedSAMSlicerLib.sam2 import MEDSAM2, NANO, SAM2, SMALL, TINY
from MedSAMSlicerLib.sam2.checkpoint import seeded

from .labeled_volumes import target_of

pytestmark = pytest.mark.parity

SIZE = 128
SHAPE = (6, 64, 54)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (0.9, 0.7, 2.5), (3.0, -4.0, 5.0))
FORWARD = PromptProtocol("forward", "click", start="first", direction="forward")


def ball() -> np.ndarray:
    k, j, i = np.indices(SHAPE)
    return ((k - 3) / 3) ** 2 + ((j - 31) / 16) ** 2 + ((i - 26) / 12) ** 2 <= 1.1


def volume_of(mask: np.ndarray, color: bool = False) -> Volume:
    noise = np.random.default_rng(0).normal(0, 5, mask.shape)
    gray = (90 + 110 * mask + noise).clip(0, 255)
    gray[:, 12:50, 8:44] += 30
    if color:
        return Volume(
            np.stack([gray, gray * 0.6, 255 - gray], -1).clip(0, 255).astype(np.uint8), GEOMETRY, "case", None
        )
    return Volume(gray.astype(np.int16), GEOMETRY, "case", None)


@pytest.fixture(scope="module")
def model() -> SAM2:
    return seeded(replace(TINY, image_size=SIZE), 0)


@pytest.fixture(scope="module")
def engine(model: SAM2) -> EngineRunner:
    return EngineRunner("ours", model, tier="exact", threads=1, volume_stage="off")


@pytest.fixture(scope="module")
def sam2(model: SAM2) -> Sam2Runner:
    return Sam2Runner("sam2", model, threads=1)


@pytest.fixture(scope="module")
def transformers(model: SAM2) -> TransformersRunner:
    return TransformersRunner("transformers", model, threads=1)


@pytest.fixture(scope="module")
def target() -> Target:
    return target_of(ball())


def answer_of(
    runner: Runner,
    target: Target,
    protocol: PromptProtocol,
    more: tuple[tuple[Prompt, ...], ...] = (),
    color: bool = False,
) -> RunnerAnswer:
    volume = volume_of(target.mask, color)
    ask = runner.begin(volume, target.axis)
    prompts = protocol.first(target, GEOMETRY, [0])
    answer = ask(Request(_object_prompts(prompts, target, protocol), protocol))
    for round_ in more:
        prompts += round_
        answer = ask(Request(_object_prompts(prompts, target, protocol), protocol))
    return answer


def _object_prompts(prompts: tuple[Prompt, ...], target: Target, protocol: PromptProtocol) -> ObjectPrompts:
    return ObjectPrompts("object", (1, 0, 0), prompts, protocol.slice_range(target))


def agreement(one: np.ndarray, other: np.ndarray) -> list[float]:
    """IoU of each slice along the first axis, 1 where both are empty."""
    common, union = (one & other).sum((1, 2)), (one | other).sum((1, 2))
    return np.where(union > 0, common / np.maximum(union, 1), 1.0).tolist()


@pytest.mark.parametrize("kind", ["sam2", "transformers"])
@pytest.mark.parametrize("prompt", ["box", "click", "line", "mask"])
def test_the_mask_of_each_prompted_slice_is_that_of_our_engine(
    kind: str, prompt: str, engine: EngineRunner, target: Target, request: pytest.FixtureRequest
) -> None:
    single = PromptProtocol("single", prompt, slices=None)
    theirs = answer_of(request.getfixturevalue(kind), target, single)
    if (
        prompt == "mask"
    ):  # our engine keeps the user's mask voxel by voxel, theirs goes through a quarter of the frame
        assert min(agreement(answer_of(engine, target, single).mask, theirs.mask)) > 0.8
        return
    ours = answer_of(engine, target, single)
    assert ours.mask.any(axis=(1, 2)).all()
    assert min(agreement(ours.mask, theirs.mask)) > 0.999
    assert 0 < theirs.first_seconds <= theirs.seconds


@pytest.mark.parametrize("kind", ["sam2", "transformers"])
@pytest.mark.parametrize("axis", [SliceAxis.K, SliceAxis.J])
def test_carried_forward_from_the_first_slice_all_agree(
    kind: str, axis: SliceAxis, engine: EngineRunner, request: pytest.FixtureRequest
) -> None:
    mask = ball()
    if axis is SliceAxis.J:
        mask[:, :28] = mask[:, 33:] = False
    target = target_of(mask, axis)
    ours, theirs = (
        np.moveaxis(answer_of(runner, target, FORWARD).mask, axis, 0)
        for runner in (engine, request.getfixturevalue(kind))
    )
    assert ours.any()
    assert min(agreement(ours, theirs)) >= 0.99


def test_frames_in_color_go_through_both(sam2: Sam2Runner, engine: EngineRunner, target: Target) -> None:
    ours, theirs, gray = (
        answer_of(runner, target, FORWARD, color=color).mask
        for runner, color in ((engine, True), (sam2, True), (engine, False))
    )
    assert min(agreement(ours, theirs)) >= 0.99
    assert min(agreement(ours, gray)) < 0.99


def test_a_correction_is_carried_both_ways_as_our_engine_does_in_the_published_order(
    model: SAM2, sam2: Sam2Runner, target: Target
) -> None:
    protocol = PromptProtocol("corrected", "click", start="middle", ranged=False, corrections=2)
    clicks = ((click_on(target, GEOMETRY, 5),), (click_on(target, GEOMETRY, 3),))
    clicks = tuple((replace(prompts[0], round=number),) for number, prompts in enumerate(clicks, start=1))
    theirs = answer_of(sam2, target, protocol, clicks).mask
    volume = volume_of(target.mask)
    segmenter = VolumeSegmenter(
        volume.array, GEOMETRY, model, LastWindow()(volume), tier="exact", volume_stage="off", threads=1
    )
    prompts = sum(clicks, protocol.first(target, GEOMETRY, [0]))
    ours = segmenter.segment(
        PromptSet(GEOMETRY, SliceAxis.K, (_object_prompts(prompts, target, protocol),)), scope="video"
    )
    assert min(agreement(ours.masks["object"], theirs)) >= 0.99
    before = answer_of(sam2, target, protocol).mask
    assert min(agreement(before, theirs)) < 0.99


@pytest.mark.parametrize("kind", ["sam2", "transformers"])
def test_range_and_direction_are_obeyed(kind: str, request: pytest.FixtureRequest) -> None:
    runner, mask = request.getfixturevalue(kind), ball()
    mask[:2] = mask[5:] = False
    target = target_of(mask)
    held = {
        name: np.flatnonzero(answer_of(runner, target, PROTOCOLS[name]).mask.any(axis=(1, 2))).tolist()
        for name in ("box+range", "box", "forward+range", "backward+range", "every slice")
    }
    assert held["box+range"] == held["every slice"] == [2, 3, 4]
    assert set(held["box"]) > {2, 3, 4}
    assert held["forward+range"] == list(range(target.largest_slice, 5))
    assert held["backward+range"] == list(range(2, target.largest_slice + 1))


@pytest.mark.parametrize(
    ("kind", "correct_with", "steps"),
    [("sam2", "click", 2), ("transformers", "click", 1), ("transformers", "box", 2)],
)
def test_they_are_corrected_in_a_trial_where_the_package_carries_that_on(
    kind: str, correct_with: str, steps: int, target: Target, request: pytest.FixtureRequest
) -> None:
    runner = request.getfixturevalue(kind)
    protocol = PromptProtocol("corrected", corrections=1, correct_with=correct_with)
    measured = run_trial(volume_of(target.mask), target, protocol, runner, 0)
    assert (measured.error, len(measured.steps)) == (None, steps)


def test_what_is_needed_to_repeat_is_reported(sam2: Sam2Runner, transformers: TransformersRunner) -> None:
    for runner in (sam2, transformers):
        about = runner.describe()
        assert about["package"].startswith(f"{runner.package} ")
        assert about["arithmetic"] == "float32"


@pytest.mark.parametrize("made", [Sam2Runner, TransformersRunner])
def test_a_network_that_is_not_theirs_is_refused(made: type[Sam2Runner | TransformersRunner]) -> None:
    with pytest.raises(MedSAMError, match="cannot compute the network 'medsamslicer_nano'"):
        made("nano", seeded(NANO))


def test_networks_of_other_image_sizes_are_theirs() -> None:
    assert published_network(MEDSAM2) is TINY
    assert published_network(replace(SMALL, image_size=256)) is SMALL


@pytest.mark.parametrize(("made", "package"), [(Sam2Runner, "sam2"), (TransformersRunner, "transformers")])
def test_a_package_that_is_missing_is_one_sentence(
    made: type[Sam2Runner | TransformersRunner], package: str, model: SAM2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for module in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(MedSAMError, match=f"needs the Python package '{package}'"):
        made("net", model)
