"""The plots of a report, as SVG: Dice over prompts, by modality, and of each target beside its best baseline; times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .measurement import Measurement
from .plot_style import FAINT, GRID, INK, PAPER, as_svg, color_of, drawing, mark_of
from .report_data import AccuracyReport
from .statistics import mean_curve, mean_of
from .summary import (
    BASELINES,
    best_baseline,
    corrections_in,
    modality_of,
    protocols_of,
    reference_of,
    runners_of,
    seed_of,
    settings_of,
)
from .tables import seconds

PROMPTS, MODALITIES, TIMES, TARGETS = "prompts", "modality", "time", "targets"
_WIDE = 9.0  # inches; 100 pixels each
_MOST_TARGETS = 60


@dataclass(frozen=True)
class Plot:
    """One plot.

    Args:
        name: in file names.
        title: what it shows, one sentence.
        svg: the text of its file.
    """

    name: str
    title: str
    svg: str


def plots(report: AccuracyReport) -> list[Plot]:
    """Every plot that the report has the numbers for.

    Raises:
        MedSAMError: matplotlib is not installed.
    """
    drawn = (prompts_plot(report), modality_plot(report), time_plot(report), targets_plot(report))
    return [plot for plot in drawn if plot is not None]


def prompts_plot(report: AccuracyReport) -> Plot | None:
    """Mean Dice over prompts with its 95 % interval: a panel for each protocol with corrections."""
    settings = list(settings_of(report))
    most = {
        protocol: max(corrections_in(members) for _, other, members in settings if other == protocol)
        for protocol in protocols_of(report.measurements)
    }
    shown = [protocol for protocol in most if most[protocol]]
    if not shown:
        return None
    title = "Dice over the number of prompts: mean over targets, with its 95 % interval"
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    width = _WIDE if columns > 1 else 7.2
    with drawing(width, 3.7 * rows + 0.5, PROMPTS) as figure:
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
        for panel, protocol in zip(panels, shown, strict=False):
            for runner, other, members in settings:
                if other == protocol:
                    _curve(panel, report, runner, members, most[protocol])
            panel.set_title(protocol)
            panel.set_xlabel("prompts given")
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.grid(axis="y")
        panels[0].set_ylabel("3-D Dice")
        _legend(figure, report, [runner for runner, protocol, _ in settings if protocol in shown], lines=True)
        return Plot(PROMPTS, title, as_svg(figure, title))


def _curve(
    panel: Any, report: AccuracyReport, runner: str, members: Sequence[Measurement], most: int
) -> None:
    """One runner; one that cannot be corrected is a dotted line at the height of its first mask."""
    given = [m.steps[0].interactions for m in members if m.steps]
    first = round(float(np.median(given))) if given else 1
    scores = [[m.dice_after(n) for n in range(most + 1)] for m in members]
    mean, low, high = mean_curve(scores, [m.case for m in members], seed_of(report))
    x = first + np.arange(most + 1)
    color, mark = color_of(runner, runners_of(report)), mark_of(runner, runners_of(report))
    corrected, ours = corrections_in(members) > 0, runner not in BASELINES
    if corrected:
        panel.fill_between(x, low, high, color=color, alpha=0.18 if ours else 0.10, linewidth=0)
        panel.plot(x, mean, color=color, marker=mark, markersize=5, linewidth=2.4 if ours else 1.6,
                   zorder=3 if ours else 2)  # fmt: skip
    else:
        panel.plot(x, mean, color=color, linewidth=1.2, linestyle=(0, (1, 2)), zorder=1)
        panel.plot(x[:1], mean[:1], color=color, marker=mark, markersize=5, linestyle="none", zorder=2)


def modality_plot(report: AccuracyReport) -> Plot | None:
    """Box plots of the Dice of each runner by modality, in the reference protocol."""
    chosen = [m for m in report.measurements if m.protocol == reference_of(report)]
    if not chosen:
        return None
    names = [name for name in runners_of(report) if any(m.runner == name for m in chosen)]
    groups = sorted({modality_of(m) for m in chosen})
    title = f"3-D Dice by modality ({reference_of(report)}): median, quartiles, and every target"
    width = float(np.clip(1.6 + 0.42 * len(names) * len(groups), 5.0, 11.0))
    with drawing(width, 4.3, MODALITIES) as figure:
        panel = figure.subplots()
        chance = np.random.default_rng(0)
        step = 0.84 / len(names)
        for place, group in enumerate(groups):
            for number, name in enumerate(names):
                scores = [m.dice_after(0) for m in chosen if m.runner == name and modality_of(m) == group]
                if scores:
                    middle = place + (number - (len(names) - 1) / 2) * step
                    _box(panel, middle, 0.78 * step, scores, color_of(name, runners_of(report)), chance)
        counts = [len({m.place for m in chosen if modality_of(m) == group}) for group in groups]
        labels = [f"{group}\n{n} target{'s' * (n != 1)}" for group, n in zip(groups, counts, strict=True)]
        panel.set_xticks(range(len(groups)), labels)
        panel.tick_params(axis="x", length=0)
        panel.set_xlim(-0.5, len(groups) - 0.5)
        panel.set_ylim(-0.02, 1.0)
        panel.set_ylabel("3-D Dice")
        panel.grid(axis="y")
        _legend(figure, report, names)
        return Plot(MODALITIES, title, as_svg(figure, title))


def _box(
    panel: Any, middle: float, width: float, scores: Sequence[float], color: str, chance: np.random.Generator
) -> None:
    if len(scores) > 2:
        look = {"color": color, "linewidth": 1.2}
        panel.boxplot(
            [scores], positions=[middle], widths=width, showfliers=False, patch_artist=True, manage_ticks=False,
            boxprops={"facecolor": color, "alpha": 0.35, "linewidth": 0}, whiskerprops=look, capprops={"linewidth": 0},
            medianprops={"color": INK, "linewidth": 1.8},
        )  # fmt: skip
    spread = chance.uniform(-0.28, 0.28, len(scores)) * width
    panel.scatter(
        middle + spread,
        scores,
        s=11 if len(scores) > 2 else 36,
        color=color,
        linewidths=0,
        alpha=0.9,
        zorder=3,
        clip_on=False,
    )


def time_plot(report: AccuracyReport) -> Plot | None:
    """Mean seconds until a first slice, until the whole mask and after a correction (reference protocol)."""
    settings = [
        (runner, [m for m in members if m.steps])
        for runner, protocol, members in settings_of(report)
        if protocol == reference_of(report)
    ]
    settings = [(runner, members) for runner, members in settings if members]
    if not settings:
        return None
    kinds = {
        "first slice": [mean_of(m.first_seconds for m in members) for _, members in settings],
        "whole mask": [mean_of(m.steps[0].seconds for m in members) for _, members in settings],
        "after a correction": [
            mean_of(step.seconds for m in members for step in m.steps[1:]) for _, members in settings
        ],
    }
    kinds = {kind: values for kind, values in kinds.items() if any(v is not None for v in values)}
    title = f"Seconds that a user waits ({reference_of(report)}): mean over targets"
    names = [runner for runner, _ in settings]
    with drawing(_WIDE, 1.3 + 0.34 * len(names), TIMES) as figure:
        panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False).ravel()
        for panel, (kind, values) in zip(panels, kinds.items(), strict=True):
            colors = [color_of(name, runners_of(report)) for name in names]
            panel.barh(range(len(names)), [value or 0.0 for value in values], height=0.62, color=colors)
            longest = max(value or 0.0 for value in values) or 1.0
            for row, value in enumerate(values):
                text = "not corrected" if value is None else seconds(value)
                panel.text((value or 0.0) + 0.02 * longest, row, text, va="center", fontsize=9,
                           color=FAINT if value is None else INK)  # fmt: skip
            panel.set_title(kind)
            panel.set_xlim(0, 1.3 * longest)
            panel.set_xlabel("seconds")
            panel.xaxis.get_major_locator().set_params(nbins=4)
            panel.tick_params(axis="y", length=0)
            panel.spines["left"].set_visible(False)
            panel.grid(axis="x")
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        return Plot(TIMES, title, as_svg(figure, title))


def targets_plot(report: AccuracyReport) -> Plot | None:
    """Each target: the Dice of our first runner beside that of the best baseline, in the order of the difference."""
    best, reference = best_baseline(report), reference_of(report)
    ours = next((name for name in runners_of(report) if name not in BASELINES), None)
    scores = {
        m.place: m.dice_after(0)
        for m in report.measurements
        if m.runner == ours and m.protocol == reference and m.place in best
    }
    if ours is None or not scores:
        return None
    places = sorted(scores, key=lambda place: scores[place] - best[place][1])[:_MOST_TARGETS]
    title = (
        f"Every target ({reference}): {ours} beside the best baseline; "
        "where the baseline is ahead, the line is orange"
    )
    with drawing(_WIDE, 1.2 + 0.215 * len(places), TARGETS) as figure:
        panel = figure.subplots()
        names = runners_of(report)
        for row, place in enumerate(places):
            baseline, theirs = best[place]
            ahead = scores[place] > theirs
            panel.plot(
                [theirs, scores[place]], [row, row], color=color_of(ours, names) if ahead else "#D97706", linewidth=2.2,
                alpha=0.45, solid_capstyle="round", zorder=1,
            )  # fmt: skip
            panel.plot(theirs, row, marker=mark_of(baseline, names), color=color_of(baseline, names), markersize=6,
                       markeredgecolor=PAPER, markeredgewidth=0.5, zorder=2)  # fmt: skip
            panel.plot(scores[place], row, marker=mark_of(ours, names), color=color_of(ours, names), markersize=7.5,
                       markeredgecolor=PAPER, markeredgewidth=0.5, zorder=3)  # fmt: skip
        panel.set_yticks(range(len(places)), [_short(place) for place in places], fontsize=8.5)
        panel.set_ylim(-0.8, len(places) - 0.2)
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        lowest = min(*scores.values(), *(best[place][1] for place in places))
        panel.set_xlim(max(0.0, np.floor(10 * lowest) / 10 - 0.03), 1.0)
        panel.set_xlabel("3-D Dice")
        panel.grid(axis="x")
        panel.hlines(range(len(places)), *panel.get_xlim(), color=GRID, linewidth=0.5, zorder=0)
        _legend(figure, report, [ours, *(best[place][0] for place in places)])
        return Plot(TARGETS, title, as_svg(figure, title))


def _short(place: str, most: int = 42) -> str:
    return place if len(place) <= most else place[: most - 1] + "…"


def _legend(figure: Any, report: AccuracyReport, runners: Sequence[str], *, lines: bool = False) -> None:
    """Draw the legend of runners, colors and marks above the plot."""
    from matplotlib.lines import Line2D

    names = [name for name in runners_of(report) if name in runners]
    signs = [
        Line2D([], [], color=color_of(name, runners_of(report)), marker=mark_of(name, runners_of(report)), markersize=7,
               linewidth=2 if lines else 0)
        for name in names
    ]  # fmt: skip
    for columns in range(len(names), 0, -1):  # as many as there is room for
        legend = figure.legend(signs, names, loc="outside upper left", ncols=columns, handletextpad=0.5)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()
