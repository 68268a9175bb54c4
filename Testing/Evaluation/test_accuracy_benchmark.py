"""The accuracy benchmark measures everything once, goes on after a kill, and repeats with its seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import MedSAMError, PromptError, VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.prompts import ObjectPrompts, Point
from MedSAMSlicerLib.evaluation.accuracy import HEADER, RESULTS, AccuracyBenchmark, run_accuracy_benchmark
from MedSAMSlicerLib.evaluation.accuracy_report import as_csv, as_markdown, complete, write_report
from MedSAMSlicerLib.evaluation.protocol import PROTOCOLS, Protocol
from MedSAMSlicerLib.evaluation.rivals import Rival, box_rival, ellipsoid_rival
from MedSAMSlicerLib.evaluation.runners import Answer, Ask, EngineRunner
from MedSAMSlicerLib.io.volumes import Volume
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.config import NANO

from .labelled_volumes import GEOMETRY, brick, data_set, ellipsoid, target_of, volume_of

BOX = (PROTOCOLS["box+range"],)


class Obedient:
    """A runner that thresholds the bright volumes badly, and sets slices right that are clicked on."""

    corrects = True

    def __init__(self, name: str = "obedient", fail: bool = False) -> None:
        self.name, self.asked, self._fail = name, 0, fail

    def supports(self, protocol: Protocol) -> bool:
        return True

    def describe(self) -> dict[str, Any]:
        return {"kind": "test"}

    def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
        bright = volume.array > 160

        def ask(said: ObjectPrompts) -> Answer:
            self.asked += 1
            if self._fail:
                raise PromptError("Nothing was understood.")
            mask = bright.copy()
            clicked = {prompt.slice.index for prompt in said.prompts if isinstance(prompt, Point)}
            for index in range(len(mask)):
                if index not in clicked:
                    mask[index, :20] = False
            return Answer(mask, 0.5, 0.1, {})

        return ask


def growcut_double() -> Rival:
    """Something of GrowCut's name: the test knows what it gives."""
    return Rival("GrowCut", lambda slices, said: said.inside(slices.shape), "a box")


def run(folder: Path, *runners: Any, protocols: tuple[Protocol, ...] = BOX, **more: Any) -> dict[str, Any]:
    data = folder / "data"
    if not data.exists():
        data.mkdir()
        data_set(data)
    benchmark = AccuracyBenchmark(data, folder / "out", protocols, **more)
    return run_accuracy_benchmark(benchmark, runners or (Obedient(),))


def test_every_target_is_measured_by_every_runner(tmp_path: Path) -> None:
    report = run(tmp_path, Obedient(), box_rival())
    found = {(row["case"], row["target"], row["runner"]) for row in report["rows"]}
    assert len(found) == len(report["rows"]) == 8


def test_a_damaged_case_is_reported_and_skipped(tmp_path: Path) -> None:
    report = run(tmp_path)
    assert [entry["case"] for entry in report["skipped"]] == ["broken"]
    assert report["skipped"][0]["reason"].startswith("DATA/broken/image.nii.gz is not an image")
    assert {row["case"] for row in report["rows"]} == {"first", "second"}
    assert "skipped broken" in as_markdown(complete(report))


def test_corrections_are_given_until_nothing_is_wrong_and_scores_keep_their_places(tmp_path: Path) -> None:
    [row, *_] = [row for row in run(tmp_path)["rows"] if row["target"] == "rest"]
    assert len(row["dice"]) == 6
    assert row["dice"] == sorted(row["dice"])
    assert len(row["seconds"]) == 6


def test_a_runner_that_takes_no_corrections_has_one_score(tmp_path: Path) -> None:
    assert {len(row["dice"]) for row in run(tmp_path, box_rival())["rows"]} == {1}


def test_a_second_run_measures_nothing_again(tmp_path: Path) -> None:
    first, second = Obedient(), Obedient()
    report = run(tmp_path, first)
    again = run(tmp_path, second)
    assert first.asked > 0
    assert second.asked == 0
    assert again["rows"] == report["rows"]


def test_a_killed_run_goes_on_and_no_case_is_done_twice(tmp_path: Path) -> None:
    whole = run(tmp_path)["rows"]
    results = tmp_path / "out" / RESULTS
    lines = results.read_text(encoding="utf-8").splitlines(keepends=True)
    results.write_text(
        "".join(lines[:2]) + lines[2][:40], encoding="utf-8"
    )  # killed while it wrote the third
    assert run(tmp_path)["rows"] == whole
    keys = [json.loads(line)["key"] for line in results.read_text(encoding="utf-8").splitlines()]
    assert len(keys) == len(set(keys)) == len(lines)


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    class Stopped(Obedient):
        def begin(self, volume: Volume, axis: SliceAxis) -> Ask:
            if self.asked >= 6:
                raise KeyboardInterrupt
            return super().begin(volume, axis)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Stopped())
    assert 0 < len((tmp_path / "out" / RESULTS).read_text(encoding="utf-8").splitlines()) < 4
    assert len(run(tmp_path)["rows"]) == 4


@pytest.mark.parametrize(("change", "said"), [({"seed": 1}, "seed 0, not 1"), ({"most": 1}, "most 4, not 1")])
def test_a_folder_of_another_run_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    run(tmp_path)
    with pytest.raises(MedSAMError, match=said):
        run(tmp_path, **change)


def test_results_of_another_checkpoint_of_that_name_are_refused(tmp_path: Path) -> None:
    run(tmp_path, EngineRunner("net", seeded(NANO), {"sha256": "a"}), protocols=(), only=("first",))
    with pytest.raises(MedSAMError, match="another net"):
        run(tmp_path, EngineRunner("net", seeded(NANO), {"sha256": "b"}), protocols=(), only=("first",))


def test_another_runner_is_added_to_a_folder(tmp_path: Path) -> None:
    run(tmp_path, Obedient("one"))
    report = run(tmp_path, Obedient("one"), Obedient("two"))
    assert {row["runner"] for row in report["rows"]} == {"one", "two"}
    assert set(json.loads((tmp_path / "out" / HEADER).read_text(encoding="utf-8"))["runners"]) == {
        "one",
        "two",
    }


def test_the_same_seed_gives_the_same_results_and_another_one_others(tmp_path: Path) -> None:
    protocols = (PROTOCOLS["loose box+range"],)

    def scores(name: str, seed: int) -> list[float]:
        (tmp_path / name).mkdir()
        report = run(tmp_path / name, box_rival(), protocols=protocols, seed=seed)
        return [row["dice"] for row in report["rows"]]

    first = scores("a", 3)
    assert scores("b", 3) == first != scores("c", 4)


def test_what_is_left_to_chance_does_not_depend_on_which_cases_are_measured(tmp_path: Path) -> None:
    protocols = (PROTOCOLS["loose box+range"],)
    both = run(tmp_path, box_rival(), protocols=protocols)["rows"]
    (tmp_path / "alone").mkdir()
    alone = run(tmp_path / "alone", box_rival(), protocols=protocols, only=("second",))["rows"]
    assert alone == [
        {**row, "seconds": mine["seconds"], "first_seconds": mine["first_seconds"]}
        for row, mine in zip((row for row in both if row["case"] == "second"), alone, strict=True)
    ]


def test_a_runner_that_fails_scores_nothing_and_is_listed(tmp_path: Path) -> None:
    report = complete(run(tmp_path, Obedient("broken", fail=True)))
    assert all(row["dice"] == [0.0] * 6 for row in report["rows"])
    assert "broken failed on first, egg (box+range): Nothing was understood." in as_markdown(report)


def test_no_case_of_that_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="no labelled case named like nothing"):
        run(tmp_path, only=("nothing",))


def test_masks_are_kept_on_demand(tmp_path: Path) -> None:
    run(tmp_path, box_rival(), only=("first",), keep_masks=True)
    kept = sorted((tmp_path / "out" / "masks").iterdir())
    assert len(kept) == 2
    content = np.load(kept[0])
    shape = content["shape"]
    mask = np.unpackbits(content["first"], count=int(np.prod(shape))).reshape(shape)
    assert mask.any()


def test_the_report_says_who_wins_and_how_much_depends_on_the_cases(tmp_path: Path) -> None:
    report = complete(run(tmp_path, Obedient(), ellipsoid_rival(), growcut_double(), box_rival()))
    [wins] = [entry for entry in report["wins"] if entry["runner"] == "obedient"]
    assert len(report["wins"]) == 1
    assert wins["count"] == 4
    assert wins["won"] + len(wins["lost"]) == 4
    [box] = [
        entry for entry in report["summary"] if entry["runner"] == "box" and entry["setting"] == "box+range"
    ]
    assert box["low"] <= box["mean"] <= box["high"]
    settings = {entry["setting"] for entry in report["summary"] if entry["runner"] == "obedient"}
    assert settings == {
        "box+range",
        "box+range: prompted slice alone",
        "box+range, 1 correction",
        "box+range, 3 corrections",
        "box+range, 5 corrections",
    }


def test_the_report_is_written_as_markdown_csv_and_json(tmp_path: Path) -> None:
    report = complete(run(tmp_path, Obedient(), box_rival()))
    markdown, table, values = (path.read_text("utf-8") for path in write_report(report, tmp_path / "out"))
    assert "| first | egg | 11 |" in markdown
    assert report["run"]["processor"] in markdown
    assert len(table.splitlines()) == 1 + len(report["rows"])
    assert table == as_csv(report["rows"])
    assert json.loads(values) == json.loads(json.dumps(report))


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_the_engine_answers_in_every_way_of_working(name: str) -> None:
    runner = EngineRunner("net", seeded(NANO, 3), threads=1)
    target, volume = target_of(ellipsoid()), volume_of(ellipsoid())
    ask = runner.begin(volume, SliceAxis.K)
    prompt = PROTOCOLS[name].first(target, GEOMETRY, [0])
    answer = ask(ObjectPrompts("object", (1, 0, 0), (prompt,), target.slice_range))
    assert answer.mask.shape == brick().shape
    assert 0 < answer.first_seconds <= answer.seconds
    assert set(answer.confidence) <= set(range(2, 13))
