"""Tables, CSV and JSON of a report say what follows from its measurements by hand."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from MedSAMSlicerLib.lab.evaluation.accuracy_report import as_csv, as_json, as_markdown, write_report
from MedSAMSlicerLib.lab.evaluation.measurement import IMAGE, VIDEO
from MedSAMSlicerLib.lab.evaluation.report_data import CaseSkipped
from MedSAMSlicerLib.lab.evaluation.summary import (
    best_baseline,
    efforts,
    modality_of,
    reference_of,
    runners_of,
    summaries,
    wins,
)
from MedSAMSlicerLib.lab.evaluation.tables import (
    Table,
    effort_sentences,
    effort_table,
    group_tables,
    lost_table,
    machine,
    pipelines_table,
    seconds,
    summary_tables,
    targets_table,
    trouble,
    win_sentences,
)

from .reports import OURS, measurement, report, whole_report


def three_targets():
    """Ours .9, .6 and failed; ellipsoid .8, .7, .5; GrowCut .5, .4, .6; the last one a DICOM series."""
    found = []
    scores = {OURS: (0.9, 0.6, None), "ellipsoid": (0.8, 0.7, 0.5), "GrowCut": (0.5, 0.4, 0.6)}
    for runner, dices in scores.items():
        for case, dice in zip("abc", dices, strict=True):
            more = {"error": "It broke."} if dice is None else {}
            steps = () if dice is None else (dice,)
            modality = "CT DICOM series" if case == "c" else "CT"
            found.append(
                measurement(case, runner=runner, dices=steps, series=case == "c", modality=modality, **more)
            )
    return report(*found)


def test_a_summary_counts_a_failure_as_zero_and_gives_it_no_distance() -> None:
    obj = next(
        e for e in summaries(three_targets()) if (e.group, e.runner, e.corrections) == ("all", OURS, 0)
    )
    assert (obj.dice.count, obj.dice.mean, obj.dice.median) == (
        3,
        pytest.approx(0.5),
        pytest.approx(0.6),
    )
    assert obj.nsd == pytest.approx((0.95 + 0.65 + 0.0) / 3)
    assert (obj.hd95, obj.without_distance) == (pytest.approx((2.0 + 8.0) / 2), 1)
    assert obj.failures == 1


def test_targets_are_summed_up_with_and_without_dicom_series() -> None:
    means = {
        e.group: e.dice.mean for e in summaries(three_targets()) if (e.runner, e.corrections) == (OURS, 0)
    }
    assert means == {"all": pytest.approx(0.5), "without DICOM series": pytest.approx(0.75)}
    assert {e.group for e in summaries(report(measurement()))} == {"all"}


def test_a_setting_says_how_many_targets_it_has_and_pipelines_stand_in_the_table_of_all_only() -> None:
    made = report(
        measurement("a"),
        measurement("b"),
        measurement("b", protocol="every slice"),
        measurement("c", series=True),
    )
    everything, files = summary_tables(made)
    assert [(row[0], row[2]) for row in everything.rows] == [
        ("box+range", "3"), ("box+range: prompted slice alone", "3"), ("every slice", "1"),
    ]  # fmt: skip
    assert [(row[0], row[2]) for row in files.rows] == [
        ("box+range", "2"),
        ("box+range: prompted slice alone", "2"),
    ]


def test_where_nothing_but_pipelines_was_measured_there_is_one_table(tmp_path: Path) -> None:
    pipelines = ("5 drawn key slices+range", "every slice")
    made = report(
        *(measurement("a", protocol=name) for name in pipelines),
        *(measurement("b", protocol=name, series=True) for name in pipelines),
    )
    [everything] = summary_tables(made)
    assert {row[0].partition(":")[0] for row in everything.rows} == set(pipelines)
    assert write_report(made, tmp_path, pictures=False)


def test_the_same_report_gives_the_same_text_every_time() -> None:
    assert as_markdown(whole_report(cases=4)) == as_markdown(whole_report(cases=4))


def test_who_beats_whom_is_stated_for_the_first_baselines_and_for_all() -> None:
    made = three_targets()
    boxes = [
        measurement(case, runner="box", dices=(dice,))
        for case, dice in zip("abc", (0.95, 0.1, 0.1), strict=True)
    ]
    both = report(*made.measurements, *boxes)
    assert [(w.won, w.count, w.lost) for w in wins(made) if w.group == "all"] == [
        (1, 3, ("c: liver", "b: liver"))
    ]
    assert [(w.baselines, w.won) for w in wins(both) if w.group == "all"] == [
        (("ellipsoid", "GrowCut"), 1),
        (("box", "ellipsoid", "GrowCut"), 0),
    ]
    assert (
        f"all: {OURS} beats the better of ellipsoid and GrowCut of the target on 1 of 3 targets (33 %)."
        in win_sentences(both)
    )
    assert best_baseline(both)["a: liver"] == ("box", 0.95)


def test_the_worst_loss_comes_first() -> None:
    assert [row[0] for row in lost_table(three_targets()).rows] == ["c", "b"]
    assert lost_table(three_targets()).rows[1] == ("b", "liver", OURS, "ellipsoid", ".600", ".700", "-0.100")


@pytest.mark.parametrize(
    ("message", "group"),
    [
        ("CT", "CT"), ("CT DICOM series", "CT"), ("MRI", "MR"), ("T1 MR", "MR"), ("PT", "PET"), ("US 4D", "Ultrasound"),
        ("RGB endoscopy video", "Endoscopy"), ("X-ray", "X-ray"), ("RGB video", "Video"), ("not given", "not given"),
    ],
)  # fmt: skip
def test_the_words_of_a_manifest_are_grouped_by_modality(message: str, group: str) -> None:
    assert modality_of(measurement(modality=message)) == group


def test_modalities_and_kinds_have_tables_of_their_own() -> None:
    made = report(
        measurement("a", dices=(0.8,)),
        measurement("b", dices=(0.6,), modality="CT DICOM series"),
        measurement("c", dices=(0.3,), modality="dermoscopy", kind=IMAGE),
        measurement("d", dices=(0.5,), modality="endoscopy", kind=VIDEO),
    )
    modality, kind = group_tables(made)
    assert modality.rows[0][:2] == ("CT", "2")
    assert modality.rows[0][2].startswith(".700 (.600 to .800)")
    assert [row[0] for row in kind.rows] == ["image", "video", "volume"]
    assert len(group_tables(report(measurement()))) == 1


def test_effort_counts_prompts_to_a_dice_and_leaves_out_targets_that_never_reach_it() -> None:
    made = report(
        measurement("a", dices=(0.7, 0.86, 0.95)),
        measurement("b", dices=(0.88,)),  # nothing was wrong any more
        measurement("c", dices=(0.2, 0.3, 0.4)),
    )
    [effort] = efforts(made)
    assert effort.reached == (2, 1)
    assert effort.interactions == (1.5, 3.0)
    areas = [(0.7 + 0.86) / 4 + (0.86 + 0.95) / 4, 0.88, 0.3]
    assert effort.area == pytest.approx(sum(areas) / 3)
    assert effort.correction_seconds == pytest.approx((0.6 + 0.7) / 2)
    assert effort.waiting_seconds == pytest.approx((1.8 + 0.5 + 1.8) / 3)
    assert effort.peak_mb == 120
    row = effort_table(made).rows[0]
    assert row[2:5] == ("1.5 (2 of 3)", "3.0 (1 of 3)", score_of(sum(areas) / 3))


def score_of(value: float) -> str:
    return f"{value:.3f}"[1:]


def test_effort_counts_all_boxes_that_were_given_at_first() -> None:
    [effort] = efforts(report(measurement(dices=(0.8, 0.86), interactions=3)))
    assert effort.interactions[0] == 4.0


def test_effort_is_stated_in_one_plain_paragraph() -> None:
    [message] = effort_sentences(report(measurement(dices=(0.7, 0.86)), measurement("b", dices=(0.5,))))
    assert message.startswith(
        f"How many clicks, how many seconds? {OURS}, box+range, reaches a Dice of .85 on 1 of 2"
    )
    assert "with 2.0 prompts" in message
    assert "a Dice of .90 on 0 of 2 targets. The first prompt is counted." in message
    assert "the whole mask after 0.50 s, and waits 0.60 s after a correction" in message


def test_ways_of_working_are_kept_apart_by_their_pipeline() -> None:
    made = report(
        measurement(), measurement(protocol="every slice", interactions=10), measurement(protocol="click")
    )
    rows = pipelines_table(made).rows
    assert rows[0][:7] == (
        "box+range",
        "3-D, multi-frame",
        "box on the largest slice",
        "both",
        "yes",
        OURS,
        "1.0",
    )
    assert rows[1][1:3] == ("2-D, single-frame", "box on every slice")
    assert rows[1][6] == "10.0"
    assert len(rows) == 2


def test_every_target_has_a_row_with_ours_before_and_after_corrections_and_every_baseline() -> None:
    made = report(
        measurement(dices=(0.5, 0.6, 0.7, 0.8)),
        measurement(runner="box", dices=(0.4,)),
        measurement(runner="GrowCut", dices=(), error="No seed."),
        measurement("b", "kidney", dices=(0.55,), protocol="click"),
    )
    table = targets_table(made)
    assert table.columns[4:] == (OURS, f"{OURS}, 3 corrections", "box", "GrowCut", f"{OURS}: click")
    assert table.rows[0] == ("case", "liver", "CT", "10", ".500", ".800", ".400", "failed", "–")
    assert table.rows[1] == ("b", "kidney", "CT", "10", "–", "–", "–", "–", ".550")


def test_an_effort_run_is_compared_in_its_own_way_of_working() -> None:
    made = report(measurement(protocol="10 clicks"), measurement(protocol="box+range, 10 clicks"))
    assert reference_of(made) == "box+range, 10 clicks"
    assert reference_of(report(measurement(protocol="click"))) == "click"


def test_baselines_come_after_our_runners() -> None:
    made = report(
        measurement(runner="GrowCut"), measurement(runner="box"), measurement(), measurement(runner="other")
    )
    assert runners_of(made) == [OURS, "other", "box", "GrowCut"]


def test_what_was_skipped_and_what_failed_is_listed_with_its_reason() -> None:
    made = three_targets()
    skipped = report(*made.measurements, skipped=[CaseSkipped("broken", "It cannot be read.")])
    assert trouble(skipped) == [
        "skipped broken: It cannot be read.",
        f"{OURS} failed on c, liver (box+range): It broke.",
    ]


def test_the_machine_is_named_with_its_software() -> None:
    message, runners = machine(report(measurement()))
    assert "A Processor, 1 thread, 2 processes, 16 GB" in message
    assert dict(runners)["box"] == "what box does"


def test_seconds_of_another_machine_are_not_passed_off_as_those_of_this_one() -> None:
    earlier = [{"processor": "An Older One", "gpu": None, "threads": 4, "processes": 1, "torch": "2.9"}]
    message, _ = machine(report(measurement(), earlier=earlier))
    assert message.endswith("Measured before on: An Older One, 4 threads, torch 2.9.")


def test_markdown_shows_names_as_they_are() -> None:
    table = Table("t", ("a", "b"), (("<script>|", "x\ny"),))
    assert table.as_markdown().splitlines()[-1] == "| &lt;script&gt;\\| | x y |"
    hostile = as_markdown(report(measurement("<script>alert(1)</script>", "-->|")))
    assert "<script>" not in hostile
    assert "-->" not in hostile


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0.0123, "12 ms"), (0.1, "0.10 s"), (9.5, "9.50 s"), (61.2, "61 s")]
)
def test_seconds_are_shown_as_a_reader_wants_them(value: float | None, shown: str) -> None:
    assert seconds(value) == shown


def test_csv_has_a_line_for_every_measurement_and_columns_for_every_step() -> None:
    made = report(measurement(dices=(0.5, 0.75)), measurement("b, c", dices=(), error="No."))
    first, second = csv.DictReader(io.StringIO(as_csv(made.measurements)))
    assert (first["dice_0"], first["dice_1"], first["interactions_1"], first["hd95_1"]) == (
        "0.5",
        "0.75",
        "2",
        "5",
    )
    assert (first["first_slice"], first["last_slice"], first["prompted_slices"]) == ("2", "11", "6")
    assert (second["case"], second["dice_0"], second["error"]) == ("b, c", "", "No.")


def test_json_holds_versions_seed_machine_and_all_numbers() -> None:
    made = whole_report(cases=3)
    read = json.loads(json.dumps(as_json(made), allow_nan=False))
    assert (read["run"]["seed"], read["run"]["processor"]) == (0, "A Processor")
    assert len(read["measurements"]) == len(made.measurements)
    assert {"summary", "wins", "effort", "skipped"} <= set(read)


def test_an_effort_report_begins_with_clicks_and_seconds() -> None:
    text = as_markdown(report(measurement(protocol="10 clicks", dices=(0.5, 0.9))), "effort")
    assert text.startswith(
        "# How many clicks, how many seconds\n\n## How many prompts, how many seconds\n\nHow many"
    )


def test_a_run_that_measured_nothing_has_a_report_too(tmp_path: Path) -> None:
    empty = report(skipped=[CaseSkipped("broken", "It cannot be read.")])
    written = write_report(empty, tmp_path / "new")
    assert [path.name for path in written] == ["report.md", "report.csv", "report.json", "report.html"]
    assert "skipped broken: It cannot be read." in written[0].read_text(encoding="utf-8")
