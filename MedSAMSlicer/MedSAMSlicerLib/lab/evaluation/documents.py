"""The sections of a report as Markdown, and a way to put them into a document that has places for them.

For the command line, `benchmark accuracy|effort --into DOCUMENT` is :func:`put_report_into` and
`benchmark engine --into DOCUMENT` is :func:`put_engine_into`; :func:`check_report_places` and
:func:`check_engine_places` report before a long run that a place is missing. A place is what lies between two lines
`<!-- begin NAME -->` and `<!-- end NAME -->`; :func:`document_sections` says the names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import OutputError
from ...io.atomic import output_error, write_bytes
from .engine_benchmark import EngineBenchmark, place_names
from .engine_benchmark import document_sections as engine_sections
from .plots import MODALITIES, PROMPTS, TARGETS, TIMES, Plot, plots
from .protocol_tables import protocol_tables
from .report_data import AccuracyReport
from .tables import (
    effort_sentences,
    effort_table,
    escaped,
    group_tables,
    lost_table,
    machine,
    pipelines_table,
    summary_tables,
    targets_table,
    trouble,
    win_sentences,
)

ACCURACY, EFFORT = "accuracy", "effort"
TITLES = {ACCURACY: "How well it segments", EFFORT: "How many clicks, how many seconds"}

HEADINGS = {
    "machine": "With what it was measured",
    "summary": "Summary",
    "modality": "By modality",
    "pipelines": "Protocols",
    "effort": "How many prompts, how many seconds",
    "targets": "Every target",
    "trouble": "Not measured",
}
"""The sections of a report."""

ORDERS = {
    ACCURACY: tuple(HEADINGS),
    EFFORT: ("effort", "summary", "machine", "targets", "trouble"),
}
"""Which sections a report has, in which order, by what it is about."""


def sections_of(report: AccuracyReport, images: Mapping[str, str], drawn: Sequence[Plot]) -> dict[str, str]:
    """Every section as Markdown, by name; one that the run has nothing for says so.

    Args:
        report: what was measured.
        images: where the file of each plot is, by the plot's name, as Markdown links to it.
        drawn: the plots.
    """
    shown = {plot.name: _image(plot, images[plot.name]) for plot in drawn if plot.name in images}
    text, runners = machine(report)
    about = [f"- **{escaped(name)}**: {escaped(what)}" for name, what in runners]
    sections = {
        "machine": [escaped(text), "\n".join(about), _command(report)],
        "summary": [
            *(f"{escaped(table.name)}\n\n{table.as_markdown()}" for table in summary_tables(report)),
            _listed(win_sentences(report)),
        ],
        "modality": [*(table.as_markdown() for table in group_tables(report)), shown.get(MODALITIES, "")],
        "pipelines": [
            pipelines_table(report).as_markdown(),
            *protocol_parts(report),
        ],
        "effort": [
            *map(escaped, effort_sentences(report)),
            effort_table(report).as_markdown(),
            shown.get(PROMPTS, ""),
            shown.get(TIMES, ""),
        ],
        "targets": [targets_table(report).as_markdown(), _behind(report), shown.get(TARGETS, "")],
        "trouble": [_listed(trouble(report)) or "Nothing was skipped, and nothing failed."],
    }
    return {
        name: "\n\n".join(filter(None, parts)) or "Not part of this run." for name, parts in sections.items()
    }


def protocol_parts(report: AccuracyReport) -> list[str]:
    """The tables of protocols that have measures of their own, each with its name; none that were not measured."""
    return [f"{table.name}:\n\n{table.as_markdown()}" for table in protocol_tables(report) if table.rows]


def document_sections(
    report: AccuracyReport,
    focus: str = ACCURACY,
    images: Mapping[str, str] | None = None,
    drawn: Sequence[Plot] = (),
) -> dict[str, str]:
    """The sections of a report by the names of their places: `accuracy-summary`, `effort-effort` and so on."""
    sections = sections_of(report, images or {}, drawn)
    return {f"{focus}-{name}": sections[name] for name in ORDERS[focus]}


def put_report_into(document: Path, report: AccuracyReport, focus: str = ACCURACY) -> list[Path]:
    """Write a report into its places in a Markdown document, and its plots beside it; returns all files written.

    Raises:
        OutputError: a place is missing, or a file cannot be written; then the document is as it was.
        MedSAMError: matplotlib is not installed.
    """
    with_places(
        document, document_sections(report, focus)
    )  # nothing is drawn for a document that has no place
    drawn = plots(report)
    names = {plot.name: f"{document.stem}-{focus}-{plot.name}.svg" for plot in drawn}
    content = with_places(document, document_sections(report, focus, names, drawn))
    shown = [plot for plot in drawn if f"]({names[plot.name]})" in content]  # no file that nothing shows
    paths = [document.with_name(names[plot.name]) for plot in shown]
    for path, plot in zip(paths, shown, strict=True):
        write_bytes(path, plot.svg.encode())
    write_bytes(document, content.encode())
    return [document, *paths]


def check_report_places(document: Path, focus: str = ACCURACY) -> None:
    """Raise OutputError when :func:`put_report_into` would."""
    with_places(document, dict.fromkeys((f"{focus}-{name}" for name in ORDERS[focus]), ""))


def check_engine_places(document: Path, benchmark: EngineBenchmark) -> None:
    """Raise OutputError when :func:`put_engine_into` would with what this benchmark measures."""
    with_places(document, dict.fromkeys(place_names(benchmark), ""))


def put_engine_into(document: Path, report: Mapping[str, Any]) -> list[Path]:
    """Write a report of the engine benchmark into its places in a Markdown document; returns the files written.

    Raises:
        OutputError: a place is missing, or the document cannot be written.
    """
    put_into(document, engine_sections(dict(report)))
    return [document]


def put_into(document: Path, sections: Mapping[str, str]) -> None:
    """Replace what lies between `<!-- begin NAME -->` and `<!-- end NAME -->`, for every section or for none.

    Raises:
        OutputError: a place is missing, there twice or has no end, or the document cannot be read or written.
    """
    write_bytes(document, with_places(document, sections).encode())


def with_places(document: Path, sections: Mapping[str, str]) -> str:
    """The text that :func:`put_into` writes. Raises OutputError as it does."""
    try:
        text = document.read_bytes().decode("utf-8")
    except OSError as error:
        raise output_error(document, error) from error
    except UnicodeDecodeError as error:
        raise OutputError(f"{document} is not text in UTF-8.") from error
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    for name, content in sections.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise OutputError(
                f"{document} has no place for {name}: it needs one line {begin} and, further down, one line {end}."
            )
        lines = end_of_line.join(f"{begin}\n\n{content.strip()}\n\n{end}".split("\n"))
        text = text[: text.index(begin)] + lines + text[text.index(end) + len(end) :]
    return text


def _image(plot: Plot, place: str) -> str:
    title = re.sub(r"[\[\]]", "", escaped(plot.title))
    return f"![{title}]({place})\n\n*{title}.*"


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(sentence)}" for sentence in sentences)


def _behind(report: AccuracyReport) -> str:
    table = lost_table(report).as_markdown()
    return f"Farthest behind the best baseline:\n\n{table}" if table else ""


def _command(report: AccuracyReport) -> str:
    command = str(report.run.get("command") or "")
    return f"```\n{' '.join(command.replace('```', '').split())}\n```" if command else ""
