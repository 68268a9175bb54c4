"""Plots and the contact sheet show what was measured, and come out the same every time."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from MedSAMSlicerLib.core.metrics import dice
from MedSAMSlicerLib.lab.evaluation.accuracy_report import write_report
from MedSAMSlicerLib.lab.evaluation.contact_sheet import MASK, TRUTH, _chosen, contact_sheet
from MedSAMSlicerLib.lab.evaluation.datasets import find_cases, load_case
from MedSAMSlicerLib.lab.evaluation.plot_style import as_svg, color_of, drawing, for_page, mark_of
from MedSAMSlicerLib.lab.evaluation.plots import (
    Plot,
    modality_plot,
    plots,
    prompts_plot,
    targets_plot,
    time_plot,
)
from MedSAMSlicerLib.lab.evaluation.report_data import AccuracyReport
from MedSAMSlicerLib.lab.evaluation.results import PackedMasks, mask_path

from .labeled_volumes import mixed_data_set
from .reports import BASELINES, OURS, measurement, report, whole_report

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    """Everything that can be read in a plot."""
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text")]


def width(svg: str) -> float:
    return float(ET.fromstring(svg).attrib["viewBox"].split()[2]) * 4 / 3  # points to pixels


@pytest.fixture(scope="module")
def whole() -> AccuracyReport:
    return whole_report()


@pytest.fixture(scope="module")
def drawn(whole: AccuracyReport) -> list[Plot]:
    return plots(whole)


def test_a_report_has_four_plots_that_are_small_and_legible(drawn: list[Plot]) -> None:
    assert [plot.name for plot in drawn] == ["prompts", "modality", "time", "targets"]
    for plot in drawn:
        assert len(plot.svg.encode()) < 100_000
        assert width(plot.svg) <= 1200
        assert OURS in texts(plot.svg)


def test_plots_come_out_the_same_every_time(whole: AccuracyReport) -> None:
    assert plots(whole) == plots(whole)
    assert all(
        not re.search(r"20\d\d-\d\d-\d\d|matplotlib v", plot.svg, re.IGNORECASE) for plot in plots(whole)
    )


def test_every_runner_has_a_color_and_a_mark_of_its_own() -> None:
    names = [OURS, "another", "a third", *BASELINES, "interpolation"]
    assert len({color_of(name, names) for name in names}) == len(names)
    assert len({mark_of(name, names) for name in names}) == len(names)
    assert color_of("GrowCut", ["GrowCut"]) == color_of("GrowCut", names)


def test_each_way_of_working_with_corrections_has_a_panel() -> None:
    made = report(
        measurement(dices=(0.5, 0.6)),
        measurement(protocol="10 clicks", dices=(0.3, 0.9)),
        measurement(protocol="click", dices=(0.4,)),
    )
    found = prompts_plot(made)
    assert found is not None
    assert {"box+range", "10 clicks"} <= set(texts(found.svg))
    assert "click" not in texts(found.svg)


def test_what_was_not_measured_is_not_drawn() -> None:
    assert prompts_plot(report(measurement())) is None
    assert targets_plot(report(measurement())) is None  # no baseline
    assert time_plot(report(measurement(dices=(), error="It broke."))) is None
    assert plots(report()) == []


def test_a_legend_of_all_runners_does_not_reach_beyond_the_plot() -> None:
    names = [OURS, "box", "ellipsoid", "GrowCut", "interpolation", "random walker"]
    made = report(*(measurement(runner=name, dices=(0.5, 0.6)) for name in names))
    for found in (modality_plot(made), prompts_plot(made)):
        assert found is not None
        picture = ET.fromstring(found.svg)
        right = float(picture.attrib["viewBox"].split()[2])
        legend = [text for text in picture.iter(f"{SVG}text") if text.text in names]
        assert {text.text for text in legend} == set(names)
        assert all(float(text.attrib["x"]) + 5.7 * len(text.text or "") <= right for text in legend)


def test_a_modality_says_how_many_targets_it_has(whole: AccuracyReport) -> None:
    found = modality_plot(whole)
    assert found is not None
    assert {"CT", "MR", "PET", "10 targets", "3 targets"} <= set(texts(found.svg))


def test_a_runner_that_is_not_corrected_is_stated_to_be_so(whole: AccuracyReport) -> None:
    found = time_plot(whole)
    assert found is not None
    assert texts(found.svg).count("not corrected") == 2


def test_where_there_are_many_targets_the_worst_are_kept() -> None:
    ours = [measurement(f"case {n}", dices=(n / 100,)) for n in range(90)]
    made = report(*ours, *(measurement(m.case, runner="box", dices=(0.5,)) for m in ours))
    found = targets_plot(made)
    assert found is not None
    assert "case 0: liver" in texts(found.svg)
    assert "case 89: liver" not in texts(found.svg)


def test_names_are_text_and_no_markup_or_formula() -> None:
    name = "<script>alert(1)</script> $\\frac$"
    made = report(measurement(name, "a & b"), measurement(name, "a & b", "box", dices=(0.5,)))
    found = targets_plot(made)
    assert found is not None
    assert "<script" not in found.svg
    assert any(text.startswith("<script>alert(1)</script> $") for text in texts(found.svg))


def test_inside_a_page_the_colors_are_those_of_the_page_and_no_name_is_there_twice(
    whole: AccuracyReport,
) -> None:
    shown = [for_page(plot.svg, plot.name) for plot in plots(whole)]
    names = [name for svg in shown for name in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(names) == len(set(names))
    for svg in shown:
        assert "#1f2937" not in svg
        assert "var(--ink)" in svg
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= set(names)
        ET.fromstring(svg)


def test_a_users_own_settings_of_matplotlib_change_nothing() -> None:
    import matplotlib as mpl

    def drawn() -> str:
        with drawing(2, 1, "x") as figure:
            figure.subplots().plot([0, 1])
            return as_svg(figure, "x")

    before = drawn()
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30}):
        assert drawn() == before


# ------------------------------------------------------------------------------------------------------- contact sheet


def measured(data: Path, folder: Path) -> AccuracyReport:
    """Masks beside the truth, farther on each case."""
    found = []
    for number, case in enumerate(find_cases(data), 1):
        [target] = load_case(case)[1]
        mask = np.roll(target.mask, 2 * number, axis=2)
        made = measurement(
            case.name, target.name, dices=(dice(mask, target.mask),), kind=case.kind,
            prompted_slices=(target.largest_slice,), slice_range=target.slice_range,
        )  # fmt: skip
        packed = PackedMasks.of(mask, mask)
        path = mask_path(folder, made.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path, shape=packed.shape, corners=packed.corners, extents=packed.extents, first=packed.bits[0],
            last=packed.bits[1],
        )  # fmt: skip
        found.append(made)
    return report(*found)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int16)


def near(image: np.ndarray, color: str) -> np.ndarray:
    """(rows, columns) where the picture has a color."""
    wanted = np.array([int(color[n : n + 2], 16) for n in (1, 3, 5)])
    return np.asarray(np.abs(image - wanted).max(axis=2) < 12)


def test_the_contact_sheet_shows_volumes_pictures_and_videos_with_truth_and_mask(tmp_path: Path) -> None:
    data = mixed_data_set(tmp_path / "data")
    made = measured(data, tmp_path / "out")
    sheet = contact_sheet(made, tmp_path / "out", data)
    assert sheet is not None
    assert sheet == contact_sheet(made, tmp_path / "out", data)
    image = pixels(sheet)
    assert image.shape[1] <= 1200
    rows = np.array_split(image[:-60], 3)  # best, median, worst; below them stands what the lines are
    assert all(near(row, TRUTH).sum() > 50 and near(row, MASK).sum() > 50 for row in rows)
    red, green, blue = 220, 120, 90  # of the object in the picture and in the video; the volume is gray
    colored = [near(row, f"#{red:02x}{green:02x}{blue:02x}").sum() for row in rows]
    assert sum(count > 2000 for count in colored) == 2, colored


def test_of_two_targets_one_is_the_best_and_one_the_worst(tmp_path: Path) -> None:
    made = report(*measured(mixed_data_set(tmp_path / "data"), tmp_path / "out").measurements[:2])
    cases = {m.case for m in made.measurements}
    assert [word for word, _ in _chosen(made, OURS, tmp_path / "out", cases)] == ["best", "worst"]
    assert [word for word, _ in _chosen(report(made.measurements[0]), OURS, tmp_path / "out", cases)] == [
        "best"
    ]


def test_without_masks_there_is_no_contact_sheet(tmp_path: Path) -> None:
    data = mixed_data_set(tmp_path / "data")
    made = measured(data, tmp_path / "out")
    assert contact_sheet(made, tmp_path / "elsewhere", data) is None


def test_without_matplotlib_the_rest_of_the_report_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, out = mixed_data_set(tmp_path / "data"), tmp_path / "out"
    made = measured(data, out)
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.lines"):
        monkeypatch.setitem(sys.modules, name, None)
    files = {path.name for path in write_report(made, out, data=data)}
    assert files == {"report.md", "report.csv", "report.json", "report.html"}
    assert sum("pip install 'medsamslicer[lab]'" in each.getMessage() for each in caplog.records) == 2


def test_other_data_than_those_that_were_measured_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = mixed_data_set(tmp_path / "data")
    made = measured(data, tmp_path / "out")
    others = report(*(measurement(m.case, "gone", kind=m.kind) for m in made.measurements))
    for before, after in zip(made.measurements, others.measurements, strict=True):
        mask_path(tmp_path / "out", before.key).rename(mask_path(tmp_path / "out", after.key))
    assert contact_sheet(others, tmp_path / "out", data) is None
    assert "the data are others now" in caplog.text


def test_a_report_is_written_with_all_its_pictures(tmp_path: Path) -> None:
    data = mixed_data_set(tmp_path / "data")
    made = measured(data, tmp_path / "out")
    written = write_report(made, tmp_path / "out", data=data)
    names = [path.relative_to(tmp_path / "out").as_posix() for path in written]
    assert names == [
        "plots/modality.svg", "plots/time.svg", "report.md", "report.csv", "report.json", "cases.png", "report.html",
    ]  # fmt: skip
    assert all(path.stat().st_size for path in written)
    linked = re.findall(
        r"!\[[^\]]*\]\(([^)]+)\)", (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    )
    assert set(linked) == {"plots/modality.svg", "plots/time.svg", "cases.png"}


def test_without_pictures_only_text_is_written(tmp_path: Path) -> None:
    written = write_report(report(measurement()), tmp_path, pictures=False)
    assert [path.suffix for path in written] == [".md", ".csv", ".json", ".html"]
