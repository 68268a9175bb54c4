"""An accuracy report as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.metrics import number_of_interactions
from .protocol import PROTOCOLS
from .statistics import area_under_curve, share_beating, summarise

Row = dict[str, Any]
Report = dict[str, Any]

REFERENCE_PROTOCOL = "box+range"
RIVALS = ("ellipsoid", "GrowCut")
CLICKS = (1, 3, 5)
THRESHOLDS = (0.85, 0.90)
_LEFT_OUT = (" 1 correction", " 5 corrections")  # of the table of targets
FILES = ("report.md", "report.csv", "report.json")
_COLUMNS = ("case", "target", "modality", "runner", "protocol", "voxels", "first_slice", "last_slice",
            "prompted_slice", "prompted_dice")  # fmt: skip


def complete(report: Report) -> Report:
    """The report of a run with what follows from its rows: "summary" and "wins"."""
    rows, seed = report["rows"], int(report["run"]["seed"])
    return {**report, "summary": _summary(rows, seed), "wins": _wins(rows)}


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write the Markdown, CSV and JSON files of a completed report; returns their paths."""
    contents = (as_markdown(report), as_csv(report["rows"]), json.dumps(report, indent=1) + "\n")
    paths = [folder / name for name in FILES]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content, encoding="utf-8", newline="\n")
    return paths


def as_csv(rows: Sequence[Row]) -> str:
    """One line for every measurement; Dice after the first prompt is `dice_0`, after n corrections `dice_n`."""
    most = max((len(row["dice"]) for row in rows), default=1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [*_COLUMNS, *(f"dice_{step}" for step in range(most)), "first_seconds", "seconds", "error"]
    )
    for row in rows:
        first, last = row["range"]
        said = [row[name] for name in ("case", "target", "modality", "runner", "protocol", "voxels")]
        scores = [*row["dice"], *[""] * (most - len(row["dice"]))]
        seconds = (row.get("seconds") or [""])[0]
        writer.writerow(
            [*said, first, last, row["prompted_slice"], row["prompted"], *scores,
             row.get("first_seconds", ""), seconds, row.get("error", "")]
        )  # fmt: skip
    return text.getvalue()


def as_markdown(report: Report) -> str:
    """The report for people: summary, who wins, every target, what was skipped or failed."""
    return "\n".join(
        [*_machine(report["run"]), "", *_summary_table(report["summary"]), "", *_wins_text(report["wins"]), "",
         *_effort_table(report["rows"]), "", *_target_table(report["rows"]), *_trouble(report), ""]
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- numbers


def _summary(rows: Sequence[Row], seed: int) -> list[Row]:
    found = []
    for group, members in _groups(rows):
        for name, protocol, label, score in _settings(members):
            scored = [
                (score(row), row["case"])
                for row in members
                if (row["runner"], row["protocol"]) == (name, protocol)
            ]
            scores, cases = zip(*scored, strict=True)
            found.append(
                {"group": group, "runner": name, "setting": label, **asdict(summarise(scores, cases, seed))}
            )
    return found


def _groups(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    yield "all", list(rows)
    files = [row for row in rows if not row["series"]]
    if 0 < len(files) < len(rows):
        yield "without DICOM series", files


def _settings(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, Callable[[Row], float]]]:
    """(runner, protocol, what it is called, which score) of every column of a report, in the order of protocols."""
    runners = list(dict.fromkeys(row["runner"] for row in rows))
    protocols = dict.fromkeys([*PROTOCOLS, *(row["protocol"] for row in rows)])
    steps = {(row["runner"], row["protocol"]): len(row["dice"]) for row in rows}
    for protocol in protocols:
        for name in runners:
            if (name, protocol) not in steps:
                continue
            yield name, protocol, protocol, lambda row: float(row["dice"][0])
            if protocol == REFERENCE_PROTOCOL:
                yield name, protocol, f"{protocol}: prompted slice alone", lambda row: float(row["prompted"])
            for clicks in CLICKS:
                if clicks < steps[name, protocol]:
                    label = f"{protocol}, {clicks} correction{'s' if clicks > 1 else ''}"
                    yield name, protocol, label, lambda row, at=clicks: float(row["dice"][at])  # type: ignore[misc]


def _wins(rows: Sequence[Row]) -> list[Row]:
    found = []
    for group, members in _groups(rows):
        by_runner = {
            name: _by_target(members, name) for name in dict.fromkeys(row["runner"] for row in members)
        }
        rivals = [by_runner[name] for name in RIVALS if by_runner.get(name)]
        if len(rivals) < len(RIVALS):
            continue
        for name, scores in by_runner.items():
            if name not in ("box", *RIVALS) and scores:
                won, count, lost = share_beating(scores, rivals)
                found.append({"group": group, "runner": name, "won": won, "count": count, "lost": lost})
    return found


def _by_target(rows: Sequence[Row], runner: str) -> dict[str, float]:
    return {
        f"{row['case']}: {row['target']}": row["dice"][0]
        for row in rows
        if (row["runner"], row["protocol"]) == (runner, REFERENCE_PROTOCOL)
    }


# --------------------------------------------------------------------------------------------------------------- tables


def _machine(run: Row) -> list[str]:
    machine = f"{run['processor']}, {run['threads']} threads, {run['system']}"
    software = f"Python {run['python']}, torch {run['torch']}, numpy {run['numpy']}"
    lines = [f"Version {run['version']}, seed {run['seed']}, {machine}, {software}.", ""]
    for name, about in run["runners"].items():
        said = about.get("method") or ", ".join(f"{key} {value}" for key, value in about.items())
        lines.append(f"- **{name}**: {said}")
    return lines


def _summary_table(summary: Sequence[Row]) -> list[str]:
    lines = []
    for group in dict.fromkeys(entry["group"] for entry in summary):
        members = [entry for entry in summary if entry["group"] == group]
        lines += [
            f"Targets: {group} ({max(entry['count'] for entry in members)})",
            "",
            "| setting | runner | 3-D Dice, mean | median | 95 % interval of the mean |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {entry['setting']} | {entry['runner']} | {_score(entry['mean'])} | {_score(entry['median'])} "
            f"| {_score(entry['low'])} to {_score(entry['high'])} |"
            for entry in members
        ]
        lines.append("")
    return lines[:-1]


def _wins_text(wins: Sequence[Row]) -> list[str]:
    rivals = " and ".join(RIVALS)
    return [
        f"- {entry['group']}: {entry['runner']} beats the better of {rivals} of the target on "
        f"{entry['won']} of {entry['count']} targets ({100 * entry['won'] / max(entry['count'], 1):.0f} %)."
        for entry in wins
    ]


def _effort_table(rows: Sequence[Row]) -> list[str]:
    """Clicks to a Dice, area under the curve and seconds, of runners that were corrected."""
    corrected = [row for row in rows if len(row["dice"]) > 1 and row.get("seconds")]
    if not corrected:
        return []
    said = [f"interactions to {threshold:.2f} (reached on)" for threshold in THRESHOLDS]
    said += ["area under Dice over clicks", "s to first slice", "s to mask", "s after a click"]
    lines = [f"| runner, setting | {' | '.join(said)} |", "|---|" + "---|" * len(said)]
    for name, protocol in dict.fromkeys((row["runner"], row["protocol"]) for row in corrected):
        members = [row for row in corrected if (row["runner"], row["protocol"]) == (name, protocol)]
        cells = []
        for threshold in THRESHOLDS:
            counts = [number_of_interactions(row["dice"], threshold) for row in members]
            reached = [count for count in counts if count is not None]
            mean = f"{sum(reached) / len(reached):.1f}" if reached else "–"
            cells.append(f"{mean} ({len(reached)} of {len(members)})")
        later = [second for row in members for second in row["seconds"][1:]]
        seconds = [
            _mean(row["first_seconds"] for row in members),
            _mean(row["seconds"][0] for row in members),
        ]
        cells += [_score(_mean(area_under_curve(row["dice"]) for row in members))]
        cells += [f"{second:.2f}" for second in (*seconds, _mean(later))]
        lines.append(f"| {name}, {protocol} | {' | '.join(cells)} |")
    return lines


def _target_table(rows: Sequence[Row]) -> list[str]:
    """3-D Dice of every target: a column for every runner and protocol, and for what follows from corrections."""
    corrected = {row["runner"] for row in rows if len(row["dice"]) > 1}
    settings = [
        setting
        for setting in _settings(rows)
        if setting[2] == setting[1] or (setting[0] in corrected and not setting[2].endswith(_LEFT_OUT))
    ]
    targets: dict[tuple[str, str], Row] = {}
    for row in rows:
        targets.setdefault((row["case"], row["target"]), row)
    lines = [
        "| case | target | slices | "
        + " | ".join(f"{name}: {label}" for name, _, label, _ in settings)
        + " |",
        "|---|---|---|" + "---|" * len(settings),
    ]
    scores = {(row["case"], row["target"], row["runner"], row["protocol"]): row for row in rows}
    for (case, target), row in targets.items():
        cells = []
        for name, protocol, _, score in settings:
            found = scores.get((case, target, name, protocol))
            cells.append("–" if found is None else _score(score(found)))
        lines.append(f"| {case} | {target} | {row['range'][1] - row['range'][0] + 1} | {' | '.join(cells)} |")
    return lines


def _trouble(report: Report) -> list[str]:
    lines = [f"- skipped {entry['case']}: {entry['reason']}" for entry in report["skipped"]]
    lines += [
        f"- {row['runner']} failed on {row['case']}, {row['target']} ({row['protocol']}): {row['error']}"
        for row in report["rows"]
        if row.get("error")
    ]
    return ["", *lines] if lines else []


def _mean(values: Any) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else float("nan")


def _score(value: float) -> str:
    """A number of 0..1 as `.853`."""
    return f"{value:.3f}".removeprefix("0")
