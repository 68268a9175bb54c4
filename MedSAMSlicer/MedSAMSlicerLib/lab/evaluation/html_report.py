"""A report as one page of HTML that is opened from the disk: all is in it, and it asks the network for nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape

from .documents import ACCURACY, EFFORT, TITLES
from .html_style import SCRIPT, STYLE
from .plot_style import for_page
from .plots import MODALITIES, PROMPTS, TARGETS, TIMES, Plot
from .protocol_tables import protocol_tables
from .report_data import AccuracyReport
from .statistics import mean_of, summarize
from .summary import BASELINES, THRESHOLDS, efforts, reference_of, runners_of, seed_of, settings_of, wins
from .tables import (
    Table,
    effort_sentences,
    effort_table,
    group_tables,
    lost_table,
    machine,
    pipelines_table,
    score,
    seconds,
    summary_tables,
    targets_table,
    trouble,
    win_sentences,
)

_MANY = 30  # rows, beyond which a table scrolls by itself
_SCORE = re.compile(r"(?:1\.000|\.\d{3})(?: |$)")


def as_html(
    report: AccuracyReport, focus: str = ACCURACY, drawn: Sequence[Plot] = (), sheet: bytes | None = None
) -> str:
    """The page.

    Args:
        report: what was measured.
        focus: ACCURACY or EFFORT, which parts come first.
        drawn: the plots that are shown.
        sheet: the contact sheet, a PNG.
    """
    plots = {plot.name: _figure(plot) for plot in drawn}
    parts = {
        "summary": _part("Summary", _tables(summary_tables(report)), _listed(win_sentences(report))),
        "effort": _part(
            "How many prompts, how many seconds",
            *(f"<p>{escape(text)}</p>" for text in effort_sentences(report)),
            plots.get(PROMPTS, ""),
            plots.get(TIMES, ""),
            _tables([effort_table(report)]),
        ),
        "modality": _part("By modality", plots.get(MODALITIES, ""), _tables(group_tables(report))),
        "pipelines": _part("Protocols", _tables([pipelines_table(report), *protocol_tables(report)])),
        "targets": _part("Every target", plots.get(TARGETS, ""), _targets(report)),
        "cases": _part("Best, median and worst target", _sheet(sheet)),
        "trouble": _part("Not measured", _listed(trouble(report))),
        "machine": _machine(report),
    }
    order = [*parts] if focus != EFFORT else ["effort", *(name for name in parts if name != "effort")]
    title = TITLES[focus]
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{title}: {escape(str(report.run.get('data', '')))}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{_head(report, title)}\n{''.join(parts[name] for name in order)}</main>\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _head(report: AccuracyReport, title: str) -> str:
    run, measured = report.run, report.measurements
    cases = len({m.case for m in measured})
    text = (
        f"{_counted(len({m.place for m in measured}), 'target')} of {_counted(cases, 'case')} in {run.get('data')}, "
        f"{_counted(len(runners_of(report)), 'runner')}, {_counted(len(measured), 'measurement')}."
    )
    made = f"MedSAMSlicer {run.get('version')} {str(run.get('date') or '')[:10]}"
    lead = f"<p class=lead>{escape(text)} <span class=faint>{escape(made.strip())}</span></p>"
    return f"<h1>{escape(title)}</h1>\n{lead}\n{_cards(report)}"


def _cards(report: AccuracyReport) -> str:
    """The headline numbers of our first runner."""
    ours = next((name for name in runners_of(report) if name not in BASELINES), None)
    reference = reference_of(report)
    members = next((m for name, way, m in settings_of(report) if (name, way) == (ours, reference)), None)
    if ours is None or not members:
        return ""
    found = summarize([m.dice_after(0) for m in members], [m.case for m in members], seed_of(report))
    surface = mean_of(m.steps[0].nsd if m.steps else 0.0 for m in members)
    waited = mean_of(m.steps[0].seconds for m in members if m.steps)
    interval = f"95 % interval {score(found.low)} to {score(found.high)}"
    cards = [
        ("3-D Dice", score(found.mean), interval),
        ("NSD at 2 mm", score(surface), "surface Dice, mean"),
        ("Whole mask", seconds(waited), "mean wait after the first prompts"),
    ]
    effort = next((e for e in efforts(report) if (e.runner, e.protocol) == (ours, reference)), None)
    if effort is not None:
        for threshold, count, mean in zip(THRESHOLDS, effort.reached, effort.interactions, strict=True):
            after = "never reached" if mean is None else f"with {mean:.1f} prompts on average"
            cards.append((f"Dice {score(threshold)[:-1]} reached", f"{count} of {effort.count}", after))
    best = [win for win in wins(report) if win.group == "all" and win.runner == ours]
    if best:
        baselines = ", ".join(best[-1].baselines)
        cards.append(("Ahead of baselines", f"{best[-1].won} of {best[-1].count}", baselines))
    blocks = (
        f"<div class=card><span class=what>{escape(what)}</span><b>{escape(value)}</b><span>{escape(more)}</span></div>"
        for what, value, more in cards
    )
    return (
        f"<p class=faint>{escape(ours)}, {escape(reference)}</p>\n<div class=cards>\n"
        + "\n".join(blocks)
        + "\n</div>"
    )


def _part(title: str, *content: str) -> str:
    held = [block for block in content if block]
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(held) + "\n</section>\n" if held else ""


def _tables(tables: Sequence[Table]) -> str:
    return "\n".join(_table(table) for table in tables if table.rows)


def _table(table: Table, name: str = "") -> str:
    heads = "".join(
        f'<th scope="col"{_class(n >= table.texts and "number")}>{escape(column)}</th>'
        for n, column in enumerate(table.columns)
    )
    rows = "\n".join(
        "<tr>" + "".join(_cell(cell, n >= table.texts) for n, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    identity = f' id="{name}"' if name else ""
    kind = "table long" if len(table.rows) > _MANY else "table"
    note = f"<p class=note>{escape(table.note)}</p>" if table.note else ""
    return (
        f'<div class="{kind}"><h3>{escape(table.name)}</h3>'
        f"<table{identity}><thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table>{note}</div>"
    )


def _cell(cell: str, is_number: bool) -> str:
    """A cell; a score has a bar behind it."""
    style, kinds = "", ["number"] if is_number else []
    if is_number and _SCORE.match(cell) and " to " not in cell.partition("(")[0]:
        kinds.append("score")
        style = f' style="--v:{float(cell.split()[0]):.3f}"'
    if cell == "failed":
        kinds.append("failed")
    return f"<td{_class(' '.join(kinds))}{style}>{escape(cell)}</td>"


def _class(kinds: str | bool) -> str:
    return f' class="{kinds}"' if kinds else ""


def _targets(report: AccuracyReport) -> str:
    table = targets_table(report)
    if not table.rows:
        return ""
    field = (
        '<p><input type="search" data-table="targets" placeholder="Show only …" aria-label="Show only"></p>'
    )
    return "\n".join([_tables([lost_table(report)]), field, _table(table, "targets")])


def _figure(plot: Plot) -> str:
    """A plot whose colors follow those of the page."""
    title = escape(plot.title)
    drawn = for_page(plot.svg, plot.name).replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
    return f"<figure>\n{drawn}<figcaption>{title}.</figcaption></figure>"


def _sheet(sheet: bytes | None) -> str:
    if sheet is None:
        return ""
    content = base64.b64encode(sheet).decode("ascii")
    text = "Slices of the best, the median and the worst target with truth and mask"
    return f'<figure><img alt="{text}" src="data:image/png;base64,{content}"></figure>'


def _machine(report: AccuracyReport) -> str:
    text, runners = machine(report)
    about = "".join(f"<li><b>{escape(name)}</b>: {escape(what)}</li>" for name, what in runners)
    command = str(report.run.get("command") or "")
    shown = f"<pre>{escape(command)}</pre>" if command else ""
    return _part(
        "With what it was measured", f"<p>{escape(text)}</p>", f"<ul>{about}</ul>" if about else "", shown
    )


def _listed(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in sentences) + "</ul>" if sentences else ""


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
