"""A trial asks, corrects and scores; our engine carries masks as each protocol says."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from Testing.small_networks import SMALL

from MedSAMSlicerLib.core.errors import MedSAMError, PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import Box, ObjectPrompts, Point, in_slice
from MedSAMSlicerLib.engine.bank import Recollection
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.slice_prompts import slice_prompts
from MedSAMSlicerLib.io.volumes import Volume
from MedSAMSlicerLib.lab.evaluation.datasets import Case, Target
from MedSAMSlicerLib.lab.evaluation.measurement import VIDEO, VOLUME, Measurement
from MedSAMSlicerLib.lab.evaluation.protocol import PROTOCOLS, PromptProtocol
from MedSAMSlicerLib.lab.evaluation.runners import Ask, EngineRunner, Request, RunnerAnswer
from MedSAMSlicerLib.lab.evaluation.scores import check_installed, step_of
from MedSAMSlicerLib.lab.evaluation.trial import is_measured, run_trial
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.config import TINY, HieraConfig
from MedSAMSlicerLib.sam2.model import SAM2, DecoderPrompts

from .labeled_volumes import GEOMETRY, brick, bright, ellipsoid, target_of, volume_of

NAME = "object"
RADIOACTIVE_ONES = [
    f"RadioActive: {what}"
    for what in ("5 points a slice, in and out", "3 boxes interpolated", "3 points in 3-D", "box in 3-D")
]


class Obedient:
    """A runner that finds the upper half of the bright object, and sets slices right that are prompted again."""

    name = "obedient"

    def __init__(
        self, obeys: bool = True, fails_at: int | None = None, failure: MedSAMError | None = None
    ) -> None:
        self.requests: list[Request] = []
        self._obeys, self._fails_at = obeys, fails_at
        self._failure = failure or MedSAMError("Nothing was understood.")

    def supports(self, protocol: PromptProtocol) -> bool:
        return protocol.prompt != "line"

    def corrects(self, protocol: PromptProtocol) -> bool:
        return self._obeys

    def describe(self) -> dict[str, Any]:
        return {"kind": "test"}

    def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
        bright = volume.array > 160

        def ask(request: Request) -> RunnerAnswer:
            if len(self.requests) == self._fails_at:
                raise self._failure
            self.requests.append(request)
            mask = bright.copy()
            right = {prompt.slice.index for prompt in request.prompts.prompts if prompt.round}
            for index in range(len(mask)):
                if index not in right:
                    mask[index, :18] = False
            return RunnerAnswer(mask, 0.5, 0.1, {})

        return ask


def trial(runner: Any, protocol: PromptProtocol = PROTOCOLS["box+range"], **more: Any) -> Measurement:
    return run_trial(volume_of(ellipsoid()), target_of(ellipsoid()), protocol, runner, 0, **more)


def test_every_step_is_scored_and_corrections_make_it_better() -> None:
    kept: list[int] = []
    measured = trial(Obedient(), keep=lambda step, answer: kept.append(step))
    assert kept == [0, 1, 2, 3, 4, 5]
    assert [step.interactions for step in measured.steps] == [1, 2, 3, 4, 5, 6]
    for score in ("dice", "nsd"):
        values = [getattr(step, score) for step in measured.steps]
        assert values == sorted(values)
        assert 0 < values[0] < values[-1] <= 1
    assert measured.steps[0].hd95 is not None
    assert measured.steps[0].hd95 > 2
    assert (measured.kind, measured.prompted_slices, measured.slice_range) == (VOLUME, (7,), (2, 12))
    assert measured.first_seconds == 0.1
    assert measured.prompted_dice == pytest.approx(dict(measured.slices)[7], abs=1e-4)


def test_a_mask_that_is_empty_has_no_distance() -> None:
    class Blind(Obedient):
        def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
            return lambda request: RunnerAnswer(np.zeros(volume.array.shape, bool), 0.5, 0.1, {})

    [step] = trial(Blind(obeys=False)).steps
    assert (step.dice, step.nsd, step.hd95) == (0.0, 0.0, None)


def test_a_picture_is_scored_in_its_plane() -> None:
    mask = ellipsoid()[7:8]
    geometry = VolumeGeometry.from_spacing(mask.shape, (1.0, 1.0, 40.0))
    volume = Volume((100 + 120 * mask).astype(np.int16), geometry, "picture", None)
    [step] = run_trial(volume, target_of(mask), PROTOCOLS["box+range"], Obedient(obeys=False), 0).steps
    assert step.hd95 is not None
    assert 8 <= step.hd95 <= 10


def test_the_frames_of_a_video_are_scored_one_by_one() -> None:
    truth = np.zeros((5, 40, 40), bool)
    truth[:3, 10:30, 10:30] = True
    seen = np.zeros_like(truth)
    seen[0, 10:30, 10:30] = seen[1, 10:30, 10:35] = seen[3, 10:30, 10:30] = (
        True  # right, larger, missed, invented
    )
    case = Case("clip", Path("clip.avi"), Path("clip.png"), kind=VIDEO)
    step = step_of(seen, Target(case, "object", truth), (1, 1, 1), 1, 0.5)
    single = step_of(seen[1:2], Target(case, "object", truth[1:2]), (1, 1, 1), 1, 0.5)
    assert 0 < single.nsd < 1
    assert step.nsd == pytest.approx((1 + single.nsd + 0 + 0) / 4, abs=1e-4)
    assert step.hd95 == pytest.approx((0 + 5) / 2)
    nothing = step_of(truth & False, Target(case, "object", truth), (1, 1, 1), 1, 0.5)
    assert (nothing.nsd, nothing.hd95) == (0.0, None)


def test_without_the_surface_metrics_a_run_stops_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "surface_distance.lookup_tables", None)
    with pytest.raises(MedSAMError, match=r"pip install 'medsamslicer\[lab\]'"):
        check_installed()


def test_corrections_end_when_nothing_is_wrong() -> None:
    assert len(trial(Obedient(), PromptProtocol("many", corrections=30)).steps) < 20


def test_a_runner_that_makes_no_use_of_corrections_is_asked_once() -> None:
    assert len(trial(Obedient(obeys=False)).steps) == 1


def test_corrections_come_as_the_protocol_says() -> None:
    runner = Obedient()
    trial(runner, PROTOCOLS["box+range, 5 boxes"])
    prompt_set = runner.requests[-1].prompts
    assert all(isinstance(prompt, Box) for prompt in prompt_set.prompts)
    assert len({prompt.slice.index for prompt in prompt_set.prompts}) == 6
    assert prompt_set.slice_range == (2, 12)
    trial(runner, PROTOCOLS["10 clicks"])
    prompt_set = runner.requests[-1].prompts
    assert all(isinstance(prompt, Point) for prompt in prompt_set.prompts)
    assert (len(prompt_set.prompts), prompt_set.slice_range) == (10, None)


@pytest.mark.parametrize("at", [0, 2])
def test_a_runner_that_fails_scores_nothing_and_says_why(at: int) -> None:
    measured = trial(Obedient(fails_at=at))
    assert measured.error == "Nothing was understood."
    assert (measured.steps, measured.slices, measured.dice_after(0)) == ((), (), 0.0)


def test_a_correction_that_is_refused_leaves_the_mask_as_it_was() -> None:
    """A network that was trained on boxes takes no click on a slice where it found nothing."""
    whole, measured = trial(Obedient()), trial(Obedient(fails_at=2, failure=PromptError("Boxes only.")))
    assert measured.error is None
    assert measured.steps == whole.steps[:2]
    assert measured.dice_after(5) == measured.dice_after(1) == whole.dice_after(1)
    assert trial(Obedient(fails_at=0, failure=PromptError("Boxes only."))).error == "Boxes only."


def test_a_measurement_is_read_back_as_it_was() -> None:
    measured = trial(Obedient())
    assert Measurement.from_json(measured.to_json()) == measured


def test_the_growth_of_memory_is_measured_where_the_system_reports_it() -> None:
    class Hungry(Obedient):
        def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
            ask = super().begin(volume, axis)

            def eat(request: Request) -> RunnerAnswer:
                np.ones(64 << 20, np.uint8)
                return ask(request)

            return eat

    peaks = [trial(Hungry(obeys=False)).peak_mb for _ in range(2)]
    if None in peaks:
        pytest.skip("this system does not count again")
    assert all(60 < peak < 90 for peak in peaks)


def test_only_what_fits_the_target_and_the_runner_is_measured() -> None:
    assert is_measured(target_of(brick()), PROTOCOLS["box"], Obedient())
    assert not is_measured(target_of(brick()), PROTOCOLS["line+range"], Obedient())


# ---------------------------------------------------------------------------------------------------------- our engine


@pytest.fixture(scope="module")
def network() -> SAM2:
    return seeded(SMALL, 3)


def answer_of(network: SAM2, protocol: PromptProtocol, target: Target) -> RunnerAnswer:
    runner = EngineRunner("net", network, tier="exact", threads=1, volume_stage="off")
    volume = volume_of(target.mask)
    prompts = protocol.first(target, GEOMETRY, [0])
    prompt_set = ObjectPrompts(NAME, (1, 0, 0), prompts, protocol.slice_range(target))
    return runner.begin(volume, target.axis)(Request(prompt_set, protocol))


USUAL = [
    name
    for name, protocol in PROTOCOLS.items()
    if protocol.mask_token in ("auto", "single") and not name.startswith("RadioActive")
]


@pytest.mark.parametrize("name", USUAL + RADIOACTIVE_ONES)
def test_the_engine_answers_in_every_way_of_working(network: SAM2, name: str) -> None:
    answer = answer_of(network, PROTOCOLS[name], target_of(ellipsoid()))
    assert answer.mask.shape == brick().shape
    assert 0 < answer.first_seconds <= answer.seconds
    assert set(answer.confidence) <= set(range(2, 13) if PROTOCOLS[name].ranged else range(15))


@pytest.mark.parametrize("prompt", ["box", "click", "line", "mask"])
def test_with_every_slice_prompted_each_mask_is_that_of_its_slice_alone(network: SAM2, prompt: str) -> None:
    mask = ellipsoid(radii=(2, 9, 12))
    mask[6] = False  # a gap, as where something leaves a video and comes back
    target = target_of(mask)
    protocol = PromptProtocol("single", prompt, slices=None)
    answer = answer_of(network, protocol, target)
    volume = volume_of(mask)
    prompts = protocol.first(target, GEOMETRY, [0])
    assert sorted(answer.confidence) == [prompt.slice.index for prompt in prompts]
    assert not answer.mask[6].any()
    for prompt_set in prompts:
        alone = VolumeSegmenter(
            volume.array, GEOMETRY, network, tier="exact", threads=1, volume_stage="off"
        ).live()
        seen = alone.preview(ObjectPrompts("alone", (1, 0, 0), (prompt_set,)), prompt_set.slice.index)
        assert np.array_equal(seen.mask, answer.mask[prompt_set.slice.index])


@pytest.mark.parametrize("axis", [SliceAxis.K, SliceAxis.J])
def test_one_way_alone_is_that_half_of_both_ways(network: SAM2, axis: SliceAxis) -> None:
    target = target_of(ellipsoid(), axis)
    both, forward, backward = (
        np.moveaxis(answer_of(network, PromptProtocol(way, direction=way), target).mask, axis, 0)
        for way in ("both", "forward", "backward")
    )
    start = target.largest_slice
    assert both[:start].any()
    assert both[start + 1 :].any()
    assert np.array_equal(forward[start:], both[start:])
    assert not forward[:start].any()
    assert np.array_equal(backward[: start + 1], both[: start + 1])
    assert not backward[start + 1 :].any()


class FillsBoxes(Obedient):
    """A runner that fills the boxes of the one object that it is given."""

    def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
        def ask(request: Request) -> RunnerAnswer:
            self.requests.append(request)
            mask = np.zeros(volume.geometry.shape, bool)
            for box in request.prompts.prompts:
                assert isinstance(box, Box)
                (left, top), (right, bottom) = np.round(in_slice(box, GEOMETRY) + 0.5).astype(int)
                mask[box.slice.index, top:bottom, left:right] = True
            indices = [box.slice.index for box in request.prompts.prompts]
            return RunnerAnswer(mask, 0.5, 0.1, dict.fromkeys(indices, 1 / len(self.requests)))

        return ask


def test_several_boxes_are_asked_for_one_by_one_and_their_masks_are_united() -> None:
    mask = np.zeros(brick().shape, bool)
    mask[3:8, 2:9, 2:9] = mask[3:8, 20:25, 30:34] = True
    mask[5, 5:22, 5:32] = True  # one object in 3-D, in two parts on the other slices
    runner, kept = FillsBoxes(), []
    protocol = PROTOCOLS["SAM 2 study, 2-D: boxes, single mask"]
    measured = run_trial(
        volume_of(mask), target_of(mask), protocol, runner, 0, lambda _, answer: kept.append(answer)
    )
    assert [len(request.prompts.prompts) for request in runner.requests] == [5, 4]
    assert dict(measured.slices)[3] == 1.0  # both parts are rectangles
    assert measured.steps[0].seconds == 1.0
    assert kept[0].confidence == {3: 0.5, 4: 0.5, 5: 1.0, 6: 0.5, 7: 0.5}


@pytest.fixture(scope="module")
def with_alternatives() -> SAM2:
    trunk = HieraConfig(16, 1, (1, 1, 2, 1), (3,), (8, 4, 4, 2), (4, 4))
    return seeded(replace(TINY, name="small", image_size=64, trunk=trunk))


@pytest.mark.parametrize("token", ["single", "first", "best"])
def test_each_mask_that_a_network_draws_can_be_measured(with_alternatives: SAM2, token: str) -> None:
    target = target_of(ellipsoid(radii=(1, 9, 12)))
    protocol = PROTOCOLS[f"SAM 2 study, 2-D: box, {token} mask"]
    answer = answer_of(with_alternatives, protocol, target)
    segmenter = VolumeSegmenter(
        bright(target.mask), GEOMETRY, with_alternatives, tier="exact", threads=1, volume_stage="off"
    )
    whole, network = segmenter.whole(), segmenter.network()
    for box in protocol.first(target, GEOMETRY, [0]):
        index = box.slice.index
        features = network.features([(index, whole)])
        points, labels = slice_prompts([box], GEOMETRY).in_network(whole, network.device)
        with torch.inference_mode():
            conditioned = network.condition(features, [Recollection([], [])], 1)
            drawn = with_alternatives.candidates(
                conditioned, features.mid, features.fine, DecoderPrompts(points, labels)
            )
        place = {"single": 0, "first": 1, "best": 1 + int(drawn.iou[0, 1:].argmax())}[token]
        assert answer.confidence[index] == pytest.approx(float(drawn.iou[0, place]), abs=1e-5)


def test_what_a_network_does_not_draw_is_not_measured(network: SAM2, with_alternatives: SAM2) -> None:
    for model, known in ((network, {"single"}), (with_alternatives, {"single", "first", "best"})):
        runner = EngineRunner("net", model, threads=1)
        found = {
            token
            for token in ("single", "first", "best")
            if runner.supports(PROTOCOLS[f"SAM 2 study, 2-D: box, {token} mask"])
        }
        assert found == known


def test_the_engine_repeats_with_its_seed(network: SAM2) -> None:
    runner = EngineRunner("net", network, tier="exact", threads=1)

    def once(seed: int) -> list[tuple[float, float]]:
        measured = run_trial(
            volume_of(ellipsoid()), target_of(ellipsoid()), PROTOCOLS["loose box+range"], runner, seed
        )
        return [(step.dice, step.nsd) for step in measured.steps]

    assert once(3) == once(3) != once(4)
