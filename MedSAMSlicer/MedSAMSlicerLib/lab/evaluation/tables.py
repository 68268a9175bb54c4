"""The tables of a report, in plain words and numbers; as Markdown here, as HTML in :mod:`.html_report`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .measurement import Measurement
from .protocol import PROTOCOLS, SUITES, PromptProtocol
from .report_data import AccuracyReport
from .statistics import mean_of, summarize
from .summary import (
    ALL,
    BASELINES,
    FIRST_BASELINES,
    THRESHOLDS,
    Effort,
    best_baseline,
    corrections_in,
    efforts,
    modality_of,
    reference_of,
    runners_of,
    seed_of,
    settings_of,
    summaries,
    wins,
)

NOTHING = "–"
_LATER = 3  # corrections whose Dice the table of targets shows


@dataclass(frozen=True)
class Table:
    """One table.

    Args:
        name: what it is about, a short heading.
        columns: headings.
        rows: cells, as many as there are columns.
        texts: how many columns from the left are text; the others are numbers.
        note: sentences below it; empty = none.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1
    note: str = ""

    def as_markdown(self) -> str:
        """Heading row, alignment, rows, note; empty without rows."""
        if not self.rows:
            return ""
        aligned = ["---"] * self.texts + ["---:"] * (len(self.columns) - self.texts)
        lines = [_line(self.columns), f"|{'|'.join(aligned)}|", *map(_line, self.rows)]
        return "\n".join([*lines, *(["", escaped(self.note)] if self.note else [])])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no HTML, no cell borders, no line ends."""
    for sign, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        text = text.replace(sign, shown)
    return " ".join(text.split())


def score(value: float | None) -> str:
    """A number of 0..1 as `.853`."""
    return NOTHING if value is None else f"{value:.3f}".removeprefix("0")


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A number with its unit."""
    return NOTHING if value is None else f"{value:.{digits}f}{unit}"


def seconds(value: float | None) -> str:
    """Seconds, or milliseconds where there are few."""
    if value is None:
        return NOTHING
    return (
        f"{1000 * value:.0f} ms"
        if value < 0.0995
        else f"{value:.2f} s"
        if value < 9.995
        else f"{value:.0f} s"
    )


def summary_tables(report: AccuracyReport) -> list[Table]:
    """Every setting: Dice, surface Dice, distance and failures.

    A table for each group of targets; those of a part of them leave out the pipelines, which have a table of their own.
    """
    summary_rows = summaries(report)
    tables = []
    for group in dict.fromkeys(row.group for row in summary_rows):
        members = [
            row for row in summary_rows if row.group == group and (group == ALL or _plain(row.protocol))
        ]
        if not members:  # nothing but pipelines was measured
            continue
        rows = [
            (
                row.setting,
                row.runner,
                str(row.dice.count),
                score(row.dice.mean),
                score(row.dice.median),
                f"{score(row.dice.low)} to {score(row.dice.high)}",
                score(row.nsd),
                number(row.hd95) + (f" (none on {row.without_distance})" if row.without_distance else ""),
                str(row.failures) if row.corrections is not None else NOTHING,
            )
            for row in members
        ]
        tables.append(
            Table(
                f"Targets: {group} ({max(row.dice.count for row in members)})",
                ("setting", "runner", "targets", "3-D Dice, mean", "median", "95 % interval of the mean",
                 "NSD at 2 mm, mean", "HD95 in mm, median", "failures"),
                tuple(rows),
                2,
            )
        )  # fmt: skip
    return tables


def _plain(protocol: str) -> bool:
    """Return whether one prompt on the largest slice is carried both ways."""
    way = PROTOCOLS.get(protocol)
    return way is None or (way.has_one_prompt and way.start == "largest")


def win_sentences(report: AccuracyReport) -> list[str]:
    """Return a sentence for each baseline that a runner of ours beats."""
    sentences = []
    for win in wins(report):
        if win.baselines == FIRST_BASELINES:
            baselines = f"the better of {' and '.join(win.baselines)} of the target"
        elif len(win.baselines) > 1:
            baselines = f"the best of {', '.join(win.baselines[:-1])} and {win.baselines[-1]} of the target"
        else:
            baselines = win.baselines[0]
        share = 100 * win.won / max(win.count, 1)
        sentences.append(
            f"{win.group}: {win.runner} beats {baselines} on {win.won} of {win.count} targets ({share:.0f} %)."
        )
    return sentences


def group_tables(report: AccuracyReport) -> list[Table]:
    """Dice by modality, and by kind (volumes, pictures, videos) where there is more than one."""
    kinds = {m.kind for m in report.measurements}
    tables = [_by("modality", modality_of, report)]
    return tables + ([_by("kind", lambda m: m.kind, report)] if len(kinds) > 1 else [])


def _by(name: str, group: Callable[[Measurement], str], report: AccuracyReport) -> Table:
    """Mean Dice of each runner by a property of the target, in the reference protocol."""
    reference = reference_of(report)
    runners = [r for r, protocol, _ in settings_of(report) if protocol == reference]
    rows = []
    chosen = [m for m in report.measurements if m.protocol == reference]
    for value in sorted({group(m) for m in chosen}):
        members = [m for m in chosen if group(m) == value]
        cells = []
        for runner in runners:
            own = [m for m in members if m.runner == runner]
            if not own:
                cells.append(NOTHING)
                continue
            found = summarize([m.dice_after(0) for m in own], [m.case for m in own], seed_of(report))
            cells.append(f"{score(found.mean)} ({score(found.low)} to {score(found.high)})")
        rows.append((value, str(len({m.place for m in members})), *cells))
    note = f"Mean 3-D Dice ({reference}) with its 95 % interval; a group of one case has no width."
    return Table(f"By {name}", (name, "targets", *runners), tuple(rows), 1, note)


def pipelines_table(report: AccuracyReport) -> Table:
    """The protocols beside each other: which slices are prompted, where it starts, which way it goes."""
    rows = []
    for runner, protocol, members in settings_of(report):
        if protocol not in SUITES["pipelines"]:
            continue
        found = summarize([m.dice_after(0) for m in members], [m.case for m in members], seed_of(report))
        done = [m.steps[0] for m in members if m.steps]
        rows.append(
            (
                protocol,
                *_described(PROTOCOLS[protocol]),
                runner,
                number(mean_of(step.interactions for step in done)),
                score(found.mean),
                f"{score(found.low)} to {score(found.high)}",
                score(mean_of(m.steps[0].nsd if m.steps else 0.0 for m in members)),
                seconds(mean_of(step.seconds for step in done)),
            )
        )
    columns = ("protocol", "pipeline", "prompted first", "direction", "range", "runner", "prompts",
               "3-D Dice", "95 % interval", "NSD at 2 mm", "whole mask")  # fmt: skip
    note = (
        "2-D: every slice is prompted and segmented by itself. 3-D: the mask is carried from slice to slice."
    )
    return Table("Pipelines", columns, tuple(rows), 6, note)


def _described(way: PromptProtocol) -> tuple[str, str, str, str]:
    """Pipeline, what is prompted, direction, range."""
    ranged = "yes" if way.ranged else "no"
    if way.is_single_frame:
        return "2-D, single-frame", f"{way.prompt} on every slice", NOTHING, ranged
    where = f"the {way.start} slice" if way.slices == 1 else f"{way.slices} slices"
    return "3-D, multi-frame", f"{way.prompt} on {where}", way.direction, ranged


def effort_table(report: AccuracyReport) -> Table:
    """Prompts to a Dice, area under the curve, seconds and memory."""
    reached = tuple(f"prompts to {score(threshold)[:-1]} (reached on)" for threshold in THRESHOLDS)
    columns = ("protocol", "runner", *reached, "area under Dice over prompts", "first slice", "whole mask",
               "after a correction", "waiting in all", "peak memory")  # fmt: skip
    rows = tuple(_effort_row(effort) for effort in efforts(report))
    note = (
        "Prompts are counted from the first one; a slice range is not counted. Targets that never reach the Dice are "
        "not in the mean of prompts. Seconds are means over targets; memory is the most that any target took."
    )
    return Table("Effort", columns, rows, 2, note if rows else "")


def _effort_row(effort: Effort) -> tuple[str, ...]:
    pairs = zip(effort.interactions, effort.reached, strict=True)
    return (
        effort.protocol,
        effort.runner + ("" if effort.corrected else " (not corrected)"),
        *(f"{number(mean)} ({count} of {effort.count})" for mean, count in pairs),
        score(effort.area),
        *(
            seconds(value)
            for value in (
                effort.first_seconds,
                effort.mask_seconds,
                effort.correction_seconds,
                effort.waiting_seconds,
            )
        ),
        number(effort.peak_mb, 0, " MB"),
    )


def effort_sentences(report: AccuracyReport) -> list[str]:
    """The numbers of clicks and seconds, as a plain paragraph for each setting of ours."""
    return [_effort_words(effort) for effort in efforts(report) if effort.runner not in BASELINES]


def _effort_words(effort: Effort) -> str:
    sentences = []
    for threshold, count, mean in zip(THRESHOLDS, effort.reached, effort.interactions, strict=True):
        after = "" if mean is None else f", on average with {mean:.1f} prompts"
        sentences.append(f"a Dice of {score(threshold)[:-1]} on {count} of {effort.count} targets{after}")
    words = (
        f"How many clicks, how many seconds? {effort.runner}, {effort.protocol}, reaches {'; '.join(sentences)}. "
        "The first prompt is counted."
    )
    if effort.mask_seconds is not None:
        words += (
            f" The user sees a first slice after {seconds(effort.first_seconds)} and the whole mask after "
            f"{seconds(effort.mask_seconds)}"
        )
        if effort.correction_seconds is not None:
            words += f", and waits {seconds(effort.correction_seconds)} after a correction"
        words += f": {seconds(effort.waiting_seconds)} of waiting in all for a target."
    return words


def target_columns(report: AccuracyReport) -> list[tuple[str, str, int]]:
    """(runner, protocol, corrections) of the columns of the table of targets.

    The reference protocol of every runner, before and after some corrections; then the other ways of ours in
    which one prompt on the largest slice is carried both ways.
    """
    compared, others = [], []
    reference = reference_of(report)
    for runner, protocol, members in settings_of(report):
        if protocol == reference:
            compared.append((runner, protocol, 0))
            if corrections_in(members) >= _LATER and runner not in BASELINES:
                compared.append((runner, protocol, _LATER))
        elif runner not in BASELINES and _plain(protocol):
            others.append((runner, protocol, 0))
    return compared + others


def targets_table(report: AccuracyReport) -> Table:
    """3-D Dice of every target."""
    columns, reference = target_columns(report), reference_of(report)
    found = {(m.place, m.runner, m.protocol): m for m in report.measurements}
    first: dict[str, Measurement] = {}
    for m in report.measurements:
        first.setdefault(m.place, m)
    rows = []
    for place, m in first.items():
        cells = []
        for runner, protocol, corrections in columns:
            own = found.get((place, runner, protocol))
            cells.append(
                NOTHING if own is None else "failed" if own.error else score(own.dice_after(corrections))
            )
        begin, end = m.slice_range
        rows.append((m.case, m.target, modality_of(m), str(end - begin + 1), *cells))
    names = [
        f"{runner}, {count} corrections"
        if count
        else runner
        if protocol == reference
        else f"{runner}: {protocol}"
        for runner, protocol, count in columns
    ]
    note = f"3-D Dice; {reference} where nothing else is given."
    return Table(
        "3-D Dice of every target", ("case", "target", "modality", "slices", *names), tuple(rows), 3, note
    )


def lost_table(report: AccuracyReport, most: int = 10) -> Table:
    """The targets on which a runner of ours is farthest behind the best baseline."""
    best, reference = best_baseline(report), reference_of(report)
    rows = []
    for runner in (name for name in runners_of(report) if name not in BASELINES):
        own = [m for m in report.measurements if (m.runner, m.protocol) == (runner, reference)]
        behind = sorted(
            (m.dice_after(0) - best[m.place][1], m.place, m)
            for m in own
            if m.place in best and m.dice_after(0) <= best[m.place][1]
        )
        for gap, place, m in behind[:most]:
            baseline, theirs = best[place]
            ours = score(m.dice_after(0))
            rows.append((m.case, m.target, runner, baseline, ours, score(theirs), f"{gap:+.3f}"))
    columns = ("case", "target", "runner", "best baseline", "3-D Dice", "the baseline's", "difference")
    return Table("Behind the best baseline", columns, tuple(rows), 4)


def trouble(report: AccuracyReport) -> list[str]:
    """Return what was skipped and what failed, a sentence each."""
    return [f"skipped {row.case}: {row.reason}" for row in report.skipped] + [
        f"{m.runner} failed on {m.case}, {m.target} ({m.protocol}): {m.error}"
        for m in report.measurements
        if m.error is not None
    ]


def machine(report: AccuracyReport) -> tuple[str, list[tuple[str, str]]]:
    """With what it was measured, one sentence; and what each runner is."""
    run = report.run
    parts = [str(run.get("processor", "unknown processor")), _counted(run.get("threads"), "thread")]
    if run.get("processes") not in (None, 1):
        parts.append(_counted(run["processes"], "process", "processes"))
    if run.get("memory_gb"):
        parts.append(f"{run['memory_gb']:.0f} GB")
    parts += [str(run[name]) for name in ("gpu", "system") if run.get(name)]
    software = [f"{name} {run[key]}" for name, key in _SOFTWARE if run.get(key)]
    software += [f"{name} {number}" for name, number in run.get("packages", {}).items()]
    parts = [f"Version {run.get('version')}", f"seed {run.get('seed')}", *parts, *software]
    sentences = f"{', '.join(filter(None, parts))}."
    for before in run.get("earlier", ()):
        where = (str(before.get("processor")), _counted(before.get("threads"), "thread"), before.get("gpu"))
        sentences += f" Measured before on: {', '.join(filter(None, where))}, torch {before.get('torch')}."
    runners = [(name, _about(about)) for name, about in run.get("runners", {}).items()]
    return sentences, runners


_SOFTWARE = (("Python", "python"), ("torch", "torch"), ("numpy", "numpy"), ("SimpleITK", "SimpleITK"))


def _counted(count: object, one: str, many: str | None = None) -> str:
    return "" if count is None else f"{count} {one if count == 1 else many or one + 's'}"


def _about(about: Mapping[str, object]) -> str:
    return str(about.get("method") or ", ".join(f"{key} {value}" for key, value in about.items()))
