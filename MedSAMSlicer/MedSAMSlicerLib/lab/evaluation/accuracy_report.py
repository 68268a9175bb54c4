"""A report in a folder: Markdown, CSV, JSON, plots, the contact sheet and a page for the browser."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...core.errors import MedSAMError
from ...io.atomic import output_error, write_bytes
from .contact_sheet import contact_sheet
from .cvpr_scores import cvpr_rows, scores_of_cases
from .documents import ACCURACY, HEADINGS, ORDERS, TITLES, sections_of
from .html_report import as_html
from .measurement import Measurement
from .plots import Plot, plots
from .report_data import AccuracyReport
from .summary import efforts, summaries, wins

logger = logging.getLogger(__name__)

MARKDOWN, CSV, JSON, HTML = "report.md", "report.csv", "report.json", "report.html"
PLOTS, SHEET = "plots", "cases.png"

_ABOUT = ("case", "target", "modality", "kind", "series", "runner", "protocol", "voxels", "first_slice", "last_slice",
          "prompted_slices", "prompted_dice", "first_seconds", "peak_mb", "error")  # fmt: skip
_STEP = ("interactions", "dice", "nsd", "hd95", "seconds")


def write_report(
    report: AccuracyReport,
    folder: Path,
    *,
    data: Path | None = None,
    pictures: bool = True,
    focus: str = ACCURACY,
) -> list[Path]:
    """Write all files of a report; returns their paths. What cannot be drawn is left out, and the log says why.

    Args:
        report: what was measured.
        folder: where to.
        data: where the volumes are, for the contact sheet; None = without it.
        pictures: whether plots and contact sheet are drawn.
        focus: what the report is about, ACCURACY or EFFORT.

    Raises:
        OutputError: a file cannot be written.
    """
    drawn = _plots(report) if pictures else []
    sheet = _sheet(report, folder, data) if pictures and data is not None else None
    files: dict[str, bytes] = {f"{PLOTS}/{plot.name}.svg": plot.svg.encode() for plot in drawn}
    images = {plot.name: f"{PLOTS}/{plot.name}.svg" for plot in drawn}
    pictured = (
        f"\n## Best, median and worst target\n\n![Truth and mask on some slices]({SHEET})\n" if sheet else ""
    )
    files[MARKDOWN] = (as_markdown(report, focus, images, drawn) + pictured).encode()
    files[CSV] = as_csv(report.measurements).encode()
    files[JSON] = (json.dumps(as_json(report), indent=1) + "\n").encode()
    if sheet is not None:
        files[SHEET] = sheet
    files[HTML] = as_html(report, focus, drawn, sheet).encode()
    try:
        (folder / PLOTS if drawn else folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    for name, content in files.items():
        write_bytes(folder / name, content)
    return [folder / name for name in files]


def as_markdown(
    report: AccuracyReport,
    focus: str = ACCURACY,
    images: Mapping[str, str] | None = None,
    drawn: Sequence[Plot] = (),
) -> str:
    """The report for people.

    Args:
        report: what was measured.
        focus: which sections come first.
        images: where the file of each plot is, by its name.
        drawn: the plots.
    """
    sections = sections_of(report, images or {}, drawn)
    parts = (f"## {HEADINGS[name]}\n\n{sections[name]}\n" for name in ORDERS[focus])
    return "\n".join([f"# {TITLES[focus]}\n", *parts])


def as_csv(measurements: Sequence[Measurement]) -> str:
    """One line for every measurement; `dice_0` is after the first prompts, `dice_n` after n corrections, and so on."""
    most = max((len(m.steps) for m in measurements), default=1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_ABOUT, *(f"{name}_{step}" for step in range(most) for name in _STEP)])
    for m in measurements:
        begin, end = m.slice_range
        prompted = " ".join(map(str, m.prompted_slices))
        about = [m.case, m.target, m.modality, m.kind, int(m.series), m.runner, m.protocol, m.voxels, begin, end,
                 prompted, _cell(m.prompted_dice), _cell(m.first_seconds), _cell(m.peak_mb), m.error or ""]  # fmt: skip
        cells = [_cell(getattr(step, name)) for step in m.steps for name in _STEP]
        writer.writerow([*about, *cells, *[""] * (most * len(_STEP) - len(cells))])
    return text.getvalue()


def as_json(report: AccuracyReport) -> dict[str, Any]:
    """All of a report as plain values: with what it was measured, what follows, and every measurement."""
    return {
        "run": dict(report.run),
        "summary": [{**asdict(row), "setting": row.setting} for row in summaries(report)],
        "wins": [asdict(win) for win in wins(report)],
        "effort": [asdict(effort) for effort in efforts(report)],
        "cvpr25": [asdict(row) for row in cvpr_rows(report)],
        "cvpr25_cases": [
            {**asdict(case), "dice_area": case.dice_area, "nsd_area": case.nsd_area}
            for case in scores_of_cases(report)
        ],
        "measurements": [m.to_json() for m in report.measurements],
        "skipped": [asdict(row) for row in report.skipped],
    }


def _cell(value: float | None) -> str:
    """A number with six digits, which Dice, mm and seconds need; nothing for None."""
    return "" if value is None else f"{value:.6g}"


def _plots(report: AccuracyReport) -> list[Plot]:
    try:
        return plots(report)
    except MedSAMError as error:
        logger.warning("No plots: %s", error)
        return []


def _sheet(report: AccuracyReport, folder: Path, data: Path) -> bytes | None:
    try:
        return contact_sheet(report, folder, data)
    except MedSAMError as error:
        logger.warning("No contact sheet: %s", error)
        return None
