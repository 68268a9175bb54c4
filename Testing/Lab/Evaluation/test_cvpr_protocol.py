"""The CVPR 2025 interactive protocol: its box, its labels at once, and its scores, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import Point, in_slice
from MedSAMSlicerLib.io.volumes import Volume
from MedSAMSlicerLib.lab.evaluation.accuracy import AccuracyBenchmark, run_accuracy_benchmark
from MedSAMSlicerLib.lab.evaluation.class_trial import exclusive, run_class_trial
from MedSAMSlicerLib.lab.evaluation.cvpr_protocol import CVPR25, middle_box
from MedSAMSlicerLib.lab.evaluation.cvpr_scores import area_over_clicks, case_scores, cvpr_rows
from MedSAMSlicerLib.lab.evaluation.datasets import Target
from MedSAMSlicerLib.lab.evaluation.measurement import VIDEO
from MedSAMSlicerLib.lab.evaluation.npz_cases import MiddleBox
from MedSAMSlicerLib.lab.evaluation.protocol import PROTOCOLS
from MedSAMSlicerLib.lab.evaluation.protocol_tables import cvpr_table
from MedSAMSlicerLib.lab.evaluation.runner_specs import RunnerSpec
from MedSAMSlicerLib.lab.evaluation.runners import Ask, EngineRunner, Request, RunnerAnswer
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.config import NANO

from .labeled_volumes import GEOMETRY, SHAPE, brick, data_set, ellipsoid, target_of, volume_of
from .reports import measurement, report

PROTOCOL = PROTOCOLS[CVPR25]


# ------------------------------------------------------------------------------------------------------------- the box


def test_the_box_lies_on_the_upper_middle_one_of_the_slices_that_hold_the_label() -> None:
    mask = np.zeros((10, 256, 512), bool)
    for index in (1, 2, 5, 8):  # four slices: the third of them
        mask[index, 100:120, 200:240] = True
    mask[5, 90:101, 200] = True
    assert middle_box(target_of(mask), 0) == MiddleBox(1, 8, 5, 200, 90, 239, 119)
    assert PROTOCOL.prompted_slices(target_of(mask)) == (5,)
    assert PROTOCOL.slice_range(target_of(mask)) == (1, 8)


def test_one_jitter_moves_all_sides_in_parts_of_256_and_ends_at_the_border() -> None:
    mask = np.zeros((3, 256, 512), bool)
    mask[1, 2:120, 200:240] = True
    box = middle_box(target_of(mask), 5)  # 5 x 512 / 256 = 10 columns, 5 rows
    assert box == MiddleBox(1, 1, 1, 190, 0, 249, 124)
    small = np.zeros((3, 100, 100), bool)
    small[1, 50, 50] = True
    assert middle_box(target_of(small), 2) == MiddleBox(1, 1, 1, 50, 50, 50, 50)  # int(2 x 100 / 256) = 0


def test_the_jitter_is_drawn_from_nothing_to_five_and_repeats_with_its_seed() -> None:
    mask = np.zeros((3, 256, 256), bool)
    mask[1, 100:110, 100:110] = True
    geometry = VolumeGeometry.from_spacing(mask.shape, (1, 1, 1))
    lows = {
        in_slice(PROTOCOL.first(target_of(mask), geometry, [seed])[0], geometry)[0, 0] for seed in range(60)
    }
    assert lows == {100 - jitter - 0.5 for jitter in range(6)}
    assert PROTOCOL.first(target_of(mask), geometry, [3]) == PROTOCOL.first(target_of(mask), geometry, [3])


def test_a_box_of_the_data_is_taken_as_it_is_with_closed_sides() -> None:
    target = replace(target_of(brick()), box=MiddleBox(3, 10, 6, 10, 8, 29, 23))
    [box] = PROTOCOL.first(target, GEOMETRY, [0])
    assert box.slice.index == 6
    assert in_slice(box, GEOMETRY).ravel().tolist() == pytest.approx([9.5, 7.5, 29.5, 23.5])
    assert PROTOCOL.slice_range(target) == (3, 10)


def test_only_volumes_are_measured_in_it() -> None:
    assert PROTOCOL.fits(target_of(brick()))
    assert not PROTOCOL.fits(target_of(brick()[7:8]))
    clip = target_of(brick())
    assert not PROTOCOL.fits(replace(clip, case=replace(clip.case, kind=VIDEO)))
    assert not PROTOCOL.fits(target_of(brick(), SliceAxis.J))


# ------------------------------------------------------------------------------------------------- all labels at once


class Scripted:
    """Answers with prepared masks, one after the other; the last one stays."""

    name = "scripted"

    def __init__(self, answers: Sequence[Sequence[np.ndarray]], confidence: Sequence[float] = (0, 0)) -> None:
        self._answers, self._confidence, self._begun = answers, confidence, 0
        self.requests: list[tuple[int, Request]] = []

    def supports(self, protocol: Any) -> bool:
        return True

    def corrects(self, protocol: Any) -> bool:
        return True

    def describe(self) -> dict[str, Any]:
        return {"method": "scripted"}

    def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
        number, asked = self._begun, 0
        self._begun += 1

        def ask(request: Request) -> RunnerAnswer:
            nonlocal asked
            self.requests.append((number, request))
            answers = self._answers[number]
            mask = answers[min(asked, len(answers) - 1)]
            asked += 1
            confidence = dict.fromkeys(range(len(mask)), self._confidence[number])
            return RunnerAnswer(mask, 2.0, 0.5, confidence)

        return ask


def block(first: int, last: int) -> np.ndarray:
    """Columns first to last - 1 of some rows of slices 2 to 9."""
    mask = np.zeros(SHAPE, bool)
    mask[2:10, 8:20, first:last] = True
    return mask


def named(mask: np.ndarray, name: str, **more: Any) -> Target:
    return replace(target_of(mask), name=name, **more)


def test_a_voxel_belongs_to_the_label_that_is_surer_of_its_slice_then_to_the_lower_one() -> None:
    low, high = block(4, 20), block(12, 30)

    def answer(mask: np.ndarray, **confidence: float) -> RunnerAnswer:
        return RunnerAnswer(mask, 0, 0, {int(key[1:]): value for key, value in confidence.items()})

    first, second = exclusive([answer(low, s3=0.9, s4=0.5), answer(high, s3=0.2, s4=0.8)], SHAPE)
    assert not (first & second).any()
    assert np.array_equal(first | second, low | high)
    assert first[3, 10, 15]  # surer
    assert second[4, 10, 15]
    assert first[5, 10, 15]  # neither knows: the lower label
    nothing, alone = exclusive([None, answer(high)], SHAPE)
    assert not nothing.any()
    assert np.array_equal(alone, high)


def test_every_label_is_clicked_until_it_is_perfect_and_all_are_scored_after_each_round() -> None:
    truth = [block(4, 16), block(20, 32)]
    runner = Scripted([[truth[0]], [block(20, 26), block(20, 30), truth[1]]])
    targets = [named(mask, name) for mask, name in zip(truth, "ab", strict=True)]
    first, second = run_class_trial(volume_of(truth[0]), targets, PROTOCOL, runner, 0)
    assert [(m.target, m.protocol, len(m.steps)) for m in (first, second)] == [
        ("a", CVPR25, 3),
        ("b", CVPR25, 3),
    ]
    assert [step.dice for step in first.steps] == [1.0, 1.0, 1.0]
    assert [step.interactions for step in first.steps] == [1, 1, 1]
    assert [step.seconds for step in first.steps] == [2.0, 0.0, 0.0]
    assert [step.interactions for step in second.steps] == [1, 2, 3]
    assert [step.dice for step in second.steps] == pytest.approx([2 / 3, 10 / 11, 1.0], abs=1e-4)
    assert [number for number, _ in runner.requests] == [0, 1, 1, 1]
    last = runner.requests[-1][1].prompts
    assert [type(prompt) is Point for prompt in last.prompts] == [False, True, True]  # clicks add up
    assert [prompt.round for prompt in last.prompts] == [0, 1, 2]
    assert last.slice_range == (2, 9)


def test_five_clicks_are_the_most() -> None:
    targets = [named(block(4, 16), "a"), named(block(20, 32), "b")]
    runner = Scripted([[block(4, 10)], [block(20, 26)]])
    found = run_class_trial(volume_of(brick()), targets, PROTOCOL, runner, 0)
    assert [len(m.steps) for m in found] == [6, 6]
    assert [m.steps[-1].interactions for m in found] == [6, 6]


def test_a_label_without_a_box_begins_with_nothing_and_is_found_by_clicks() -> None:
    truth = block(4, 16)
    runner = Scripted([[block(4, 12), truth]])
    [found] = run_class_trial(volume_of(truth), [named(truth, "vessel", boxless=True)], PROTOCOL, runner, 0)
    first = found.steps[0]
    assert (first.interactions, first.dice, first.nsd) == (0, 0.0, 0.0)
    assert [step.dice for step in found.steps] == pytest.approx([0, 0.8, 1.0], abs=1e-4)
    assert found.prompted_slices == ()
    [click] = runner.requests[0][1].prompts.prompts
    assert isinstance(click, Point)
    assert (click.positive, click.round, runner.requests[0][1].prompts.slice_range) == (True, 1, None)


def test_a_label_on_which_the_runner_fails_is_empty_and_the_others_go_on() -> None:
    class Failing(Scripted):
        def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
            ask, number = super().begin(volume, axis), self._begun

            def failing(request: Request) -> RunnerAnswer:
                if number == 1:
                    raise PromptError("Nothing was understood.")
                return ask(request)

            return failing

    truth = [block(4, 16), block(20, 32)]
    targets = [named(mask, name) for mask, name in zip(truth, "ab", strict=True)]
    first, second = run_class_trial(volume_of(truth[0]), targets, PROTOCOL, Failing([[], [truth[1]]]), 0)
    assert (first.error, first.steps, first.dice_after(5)) == ("Nothing was understood.", (), 0.0)
    assert second.dice_after(5) == 1.0


def test_a_runner_that_cannot_begin_fails_on_every_label() -> None:
    class Unable(Scripted):
        def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
            raise PromptError("There is nothing to see.")

    targets = [named(block(4, 16), "a"), named(block(20, 32), "b")]
    found = run_class_trial(volume_of(brick()), targets, PROTOCOL, Unable([]), 0)
    assert [(m.target, m.error, m.steps) for m in found] == [
        ("a", "There is nothing to see.", ()),
        ("b", "There is nothing to see.", ()),
    ]


def test_labels_of_one_volume_share_the_features_of_the_engine_and_nothing_else() -> None:
    runner = EngineRunner("net", seeded(NANO, 3), tier="exact", threads=1, volume_stage="off")
    targets = [named(ellipsoid(), "a"), named(block(30, 40), "b")]
    volume = volume_of(ellipsoid())
    requests = []
    for target in targets:
        from MedSAMSlicerLib.core.prompts import ObjectPrompts

        prompts = PROTOCOL.first(target, GEOMETRY, [0])
        requests.append(
            Request(ObjectPrompts(target.name, (1, 0, 0), prompts, PROTOCOL.slice_range(target)), PROTOCOL)
        )
    together = [
        ask(request).mask
        for ask, request in zip(runner.begin_many(volume, SliceAxis.K, 2), requests, strict=True)
    ]
    alone = [runner.begin(volume, SliceAxis.K)(request).mask for request in requests]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


# ---------------------------------------------------------------------------------------------------------- the scores


def test_the_area_is_that_of_the_trapezoids_over_the_five_clicks() -> None:
    assert area_over_clicks([0.3, 0.5, 0.6, 0.7, 0.8, 0.9]) == pytest.approx(0.25 + 0.6 + 0.7 + 0.8 + 0.45)
    assert area_over_clicks([0.0, 1, 1, 1, 1, 1]) == 4.0


def test_a_case_is_the_mean_of_its_labels_and_later_scores_stay_once_all_is_right() -> None:
    found = case_scores(
        [
            measurement(target="a", protocol=CVPR25, dices=(0.4, 0.8)),
            measurement(target="b", protocol=CVPR25, dices=(0.6, 0.6)),
        ]
    )
    assert found.dice == pytest.approx((0.5, 0.7, 0.7, 0.7, 0.7, 0.7))
    assert found.nsd == pytest.approx((0.55, 0.75, 0.75, 0.75, 0.75, 0.75))
    assert (found.dice_area, found.nsd_area) == pytest.approx((2.8, 3.0))
    assert (found.classes, found.seconds, found.in_time) == (2, pytest.approx(2.2), True)


def test_the_surface_dice_counts_only_above_a_dice_of_one_fifth() -> None:
    found = case_scores([measurement(protocol=CVPR25, dices=(0.2, 0.21))])
    assert found.nsd == pytest.approx((0.0, *[0.26] * 5))
    # the gate is on the mean over labels, not on each of them
    both = [
        measurement(target=name, protocol=CVPR25, dices=(dice,)) for name, dice in (("a", 0.1), ("b", 0.5))
    ]
    assert case_scores(both).nsd[0] == pytest.approx((0.15 + 0.55) / 2)


def test_a_case_that_took_more_than_ninety_seconds_a_label_counts_as_nothing() -> None:
    slow = measurement(target="a", protocol=CVPR25, dices=(0.9, 0.9))
    slow = replace(slow, steps=tuple(replace(step, seconds=50.0) for step in slow.steps))
    alone = case_scores([slow])
    assert (alone.in_time, alone.dice, alone.nsd_area) == (False, (0.0,) * 6, 0.0)
    quick = measurement(target="b", protocol=CVPR25, dices=(0.7,))
    assert case_scores([slow, quick]).in_time  # 100.5 of 180 seconds
    assert cvpr_rows(report(slow))[0].late == 1


def test_the_table_has_a_row_for_all_cases_and_one_for_each_modality() -> None:
    made = report(
        measurement("c1", "a", protocol=CVPR25, dices=(0.5, 0.8), modality="CT"),
        measurement("c2", "a", protocol=CVPR25, dices=(0.3, 0.4), modality="MR"),
        measurement("c2", "b", protocol=CVPR25, dices=(), modality="MR", error="No."),
    )
    table = cvpr_table(made)
    assert [row[0] for row in table.rows] == ["all", "CT", "MR"]
    #                       cases labels DSC AUC: (3.2 + .8) / 2, NSD AUC: (3.4 + 0) / 2, DSC: (.8 + .2) / 2
    assert table.rows[0][2:] == ("2", "3", "2.000", "1.700", ".500", ".425", ".325", "1.10 s", "0")
    assert table.rows[1][4:8] == ("3.200", "3.400", ".800", ".850")
    assert not cvpr_table(report(measurement())).rows


def test_a_run_measures_all_labels_of_each_case_and_goes_on_where_it_was(
    tmp_path: Path, own_runners: None
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data_set(data)
    benchmark = AccuracyBenchmark(data, tmp_path / "out", (PROTOCOL,), only=("first",), keep_masks=True)
    specs = [RunnerSpec("own", "own_runners:obedient")]
    made = run_accuracy_benchmark(benchmark, specs)
    assert [(m.target, m.protocol) for m in made.measurements] == [("egg", CVPR25), ("rest", CVPR25)]
    results = tmp_path / "out" / "results.jsonl"
    lines = results.read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) == 3
    assert run_accuracy_benchmark(benchmark, specs).measurements == made.measurements
    assert len(results.read_text(encoding="utf-8").splitlines()) == 3
    results.write_text("".join(lines[:2]), encoding="utf-8")  # killed before the second label was written
    again = run_accuracy_benchmark(benchmark, specs)
    assert [m.key for m in again.measurements] == [m.key for m in made.measurements]
    assert [m.dice_after(5) for m in again.measurements] == [m.dice_after(5) for m in made.measurements]
