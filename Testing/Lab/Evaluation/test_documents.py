"""Sections are put into their places in a document, all of them or none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from MedSAMSlicerLib.core.errors import OutputError
from MedSAMSlicerLib.lab.evaluation.documents import (
    check_engine_places,
    check_report_places,
    document_sections,
    put_engine_into,
    put_into,
    put_report_into,
)
from MedSAMSlicerLib.lab.evaluation.engine_benchmark import STEPS, EngineBenchmark

from .reports import measurement, report, whole_report

DOCS = Path(__file__).resolve().parents[3] / "docs"
ENGINE = {
    "machine": {"processor": "A GPU", "torch": "2.13.0", "python": "3.11"},
    "settings": {"rounds": 1, "slices": 4, "size": 64, "threads": 1, "device": "cuda", "memory_slices": 8},
    "seconds": {
        name: {step: [value] for step in STEPS} for name, value in (("official", 2.0), ("exact", 0.5))
    },
    "ratios": {"official": dict.fromkeys(STEPS, 1.0), "exact": dict.fromkeys(STEPS, 4.0)},
    "memory": {"official": {"peak_mb": 100, "growth_mb": 80}, "exact": {"peak_mb": 50, "growth_mb": 20}},
}


def document(folder: Path, *names: str, text: str = "before") -> Path:
    path = folder / "page.md"
    places = "".join(f"<!-- begin {name} -->\nold {name}\n<!-- end {name} -->\nbetween\n" for name in names)
    path.write_text(f"{text}\n{places}after\n", encoding="utf-8")
    return path


def test_only_what_lies_in_a_place_is_replaced(tmp_path: Path) -> None:
    path = document(tmp_path, "one", "two", "three")
    put_into(path, {"one": "new 1\n", "three": "new \\3"})
    assert path.read_text(encoding="utf-8") == (
        "before\n<!-- begin one -->\n\nnew 1\n\n<!-- end one -->\nbetween\n"
        "<!-- begin two -->\nold two\n<!-- end two -->\nbetween\n"
        "<!-- begin three -->\n\nnew \\3\n\n<!-- end three -->\nbetween\nafter\n"
    )


def test_putting_twice_changes_nothing_more(tmp_path: Path) -> None:
    path = document(tmp_path, "one")
    put_into(path, {"one": "new"})
    once = path.read_bytes()
    put_into(path, {"one": "new"})
    assert path.read_bytes() == once


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("<!-- begin two -->", ""),
        lambda text: text.replace("<!-- end two -->", ""),
        lambda text: text + "<!-- begin two --><!-- end two -->",
        lambda text: (
            text.replace("begin two", "x").replace("end two", "begin two").replace("x -->", "end two -->")
        ),
    ],
)
def test_a_missing_place_is_stated_in_one_sentence_and_nothing_is_written(tmp_path: Path, damage) -> None:
    path = document(tmp_path, "one", "two")
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="has no place for two: it needs one line <!-- begin two -->"):
        put_into(path, {"one": "new", "two": "new"})
    assert path.read_bytes() == before


def test_a_document_that_is_not_there_or_no_text_is_stated_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"gone\.md"):
        put_into(tmp_path / "gone.md", {"one": "new"})
    path = tmp_path / "page.md"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(OutputError, match="is not text in UTF-8"):
        put_into(path, {"one": "new"})


def test_the_ends_of_lines_stay_those_of_the_document(tmp_path: Path) -> None:
    path = document(tmp_path, "one")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    put_into(path, {"one": "a\nb"})
    assert b"\n" not in path.read_bytes().replace(b"\r\n", b"")


def test_a_report_fills_its_places_and_draws_its_plots_beside_the_document(tmp_path: Path) -> None:
    made = whole_report(cases=3)
    path = document(tmp_path, *document_sections(made))
    written = put_report_into(path, made)
    assert written[0] == path
    text = path.read_text(encoding="utf-8")
    assert "old " not in text
    linked = set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text))
    assert linked == {file.name for file in written[1:]} == {file.name for file in tmp_path.glob("*.svg")}
    assert "page-accuracy-prompts.svg" in linked


def test_beside_a_document_of_effort_lie_only_the_plots_that_it_shows(tmp_path: Path) -> None:
    made = whole_report(cases=3)
    path = document(tmp_path, *document_sections(made, "effort"))
    written = put_report_into(path, made, "effort")
    linked = set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text(encoding="utf-8")))
    assert "page-effort-prompts.svg" in linked
    assert linked == {file.name for file in written[1:]} == {file.name for file in tmp_path.glob("*.svg")}


def test_nothing_is_drawn_beside_a_document_without_places(tmp_path: Path) -> None:
    path = document(tmp_path, "accuracy-summary")
    with pytest.raises(OutputError, match="has no place for accuracy-"):
        put_report_into(path, report(measurement()))
    assert [file.name for file in tmp_path.iterdir()] == ["page.md"]


def test_what_a_run_has_not_measured_is_not_left_from_an_earlier_run() -> None:
    assert (
        document_sections(report(measurement(protocol="click")))["accuracy-pipelines"]
        == "Not part of this run."
    )


def test_a_name_cannot_end_its_place(tmp_path: Path) -> None:
    made = report(measurement("<!-- end accuracy-targets -->"))
    path = document(tmp_path, *document_sections(made))
    put_report_into(path, made)
    put_report_into(path, made)
    assert path.read_text(encoding="utf-8").count("<!-- end accuracy-targets -->") == 1


def test_a_missing_place_is_reported_before_a_long_run(tmp_path: Path) -> None:
    path = document(tmp_path, "accuracy-summary", "engine-cpu")
    with pytest.raises(OutputError, match="has no place for accuracy-machine"):
        check_report_places(path)
    with pytest.raises(OutputError, match="has no place for engine-cpu-memory"):
        check_engine_places(path, EngineBenchmark())
    check_engine_places(path, EngineBenchmark(memory_slices=0))
    for focus in ("accuracy", "effort"):
        check_report_places(DOCS / "benchmark-report.md", focus)


def test_a_measurement_of_the_engine_fills_the_places_of_its_device(tmp_path: Path) -> None:
    path = document(tmp_path, "engine-cpu", "engine-cuda", "engine-cuda-memory")
    assert put_engine_into(path, ENGINE) == [path]
    text = path.read_text(encoding="utf-8")
    assert "old engine-cpu\n" in text
    assert "A GPU, 1 thread, cuda, torch 2.13.0" in text
    assert "| exact | 500 ms (4.0x)" in text
    assert "| exact | 50 MB (0.50 of official) | 20 MB (0.25 of official) |" in text


@pytest.mark.parametrize("focus", ["accuracy", "effort"])
def test_the_page_of_the_benchmark_has_a_place_for_every_section(tmp_path: Path, focus: str) -> None:
    copy = tmp_path / "benchmark-report.md"
    copy.write_bytes((DOCS / "benchmark-report.md").read_bytes())
    put_into(copy, document_sections(whole_report(cases=3), focus))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_page_of_the_engine_has_places_for_both_devices(tmp_path: Path, device: str) -> None:
    copy = tmp_path / "engine.md"
    copy.write_bytes((DOCS / "engine.md").read_bytes())
    put_engine_into(copy, {**ENGINE, "settings": {**ENGINE["settings"], "device": device}})
    assert "A GPU, 1 thread" in copy.read_text(encoding="utf-8")
