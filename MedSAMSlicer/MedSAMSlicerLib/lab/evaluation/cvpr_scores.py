"""Scores of the CVPR 2025 protocol: those of a case, the mean over its labels, and means over cases.

As its evaluation computes them: the surface Dice of a step counts as 0 where the Dice is not above 0.2; areas under the
curve are trapezoids over the five steps with clicks, so that 4 is the most and the box does not count; a case that took
more than 90 seconds for each of its labels counts as 0 throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .cvpr_protocol import CLICKS, CVPR25
from .measurement import Measurement
from .report_data import AccuracyReport
from .statistics import mean_of
from .summary import ALL, modality_of, runners_of

GATE = 0.2
"""The Dice that a case must be above for its surface Dice to count."""

SECONDS = 90.0
"""For each label of a case, all six masks together."""


@dataclass(frozen=True)
class CaseScores:
    """One case of one runner.

    Args:
        case, runner, modality: names.
        classes: labels.
        dice, nsd: after the box and after each of five clicks.
        seconds: of all masks of all labels.
        in_time: whether those are within the limit; if not, all scores are 0.
    """

    case: str
    runner: str
    modality: str
    classes: int
    dice: tuple[float, ...]
    nsd: tuple[float, ...]
    seconds: float
    in_time: bool

    @property
    def dice_area(self) -> float:
        """DSC_AUC, 0..4."""
        return area_over_clicks(self.dice)

    @property
    def nsd_area(self) -> float:
        """NSD_AUC, 0..4."""
        return area_over_clicks(self.nsd)


@dataclass(frozen=True)
class CvprRow:
    """Means of one runner over the cases of a group.

    Args:
        group: "all", or a modality.
        runner: name.
        cases, classes: how many.
        dice_area, nsd_area: DSC_AUC and NSD_AUC.
        dice, nsd: after the last click.
        box_dice: after the box.
        seconds: a case.
        late: cases beyond the limit of time.
    """

    group: str
    runner: str
    cases: int
    classes: int
    dice_area: float
    nsd_area: float
    dice: float
    nsd: float
    box_dice: float
    seconds: float
    late: int


def area_over_clicks(scores: Sequence[float]) -> float:
    """The area under the last five scores, one click apart (trapezoids): 4 when all are 1."""
    return sum((before + after) / 2 for before, after in pairwise(scores[-CLICKS:]))


def case_scores(measurements: Sequence[Measurement]) -> CaseScores:
    """The scores of one case from the measurements of its labels by one runner; at least one."""
    first, count = measurements[0], len(measurements)
    seconds = sum(step.seconds for m in measurements for step in m.steps)
    in_time = seconds <= SECONDS * count
    dice, nsd = [], []
    for clicks in range(CLICKS + 1):
        agreed = sum(m.dice_after(clicks) for m in measurements) / count
        surface = sum(m.nsd_after(clicks) for m in measurements) / count
        dice.append(agreed if in_time else 0.0)
        nsd.append(surface if in_time and agreed > GATE else 0.0)
    return CaseScores(
        first.case, first.runner, modality_of(first), count, tuple(dice), tuple(nsd), seconds, in_time
    )


def scores_of_cases(report: AccuracyReport) -> list[CaseScores]:
    """All cases of all runners that were measured in the protocol."""
    found: dict[tuple[str, str], list[Measurement]] = {}
    for m in report.measurements:
        if m.protocol == CVPR25:
            found.setdefault((m.runner, m.case), []).append(m)
    return [
        case_scores(members)
        for runner in runners_of(report)
        for (name, _), members in found.items()
        if name == runner
    ]


def cvpr_rows(report: AccuracyReport) -> list[CvprRow]:
    """Means over all cases, then over those of each modality where there are several."""
    scores = scores_of_cases(report)
    modalities = sorted({case.modality for case in scores})
    groups = [ALL, *(modalities if len(modalities) > 1 else [])]
    rows = []
    for group in groups:
        for runner in dict.fromkeys(case.runner for case in scores):
            members = [c for c in scores if c.runner == runner and group in (ALL, c.modality)]
            if members:
                rows.append(_row(group, runner, members))
    return rows


def _row(group: str, runner: str, members: Sequence[CaseScores]) -> CvprRow:
    return CvprRow(
        group,
        runner,
        len(members),
        sum(case.classes for case in members),
        dice_area=mean_of(case.dice_area for case in members) or 0.0,
        nsd_area=mean_of(case.nsd_area for case in members) or 0.0,
        dice=mean_of(case.dice[-1] for case in members) or 0.0,
        nsd=mean_of(case.nsd[-1] for case in members) or 0.0,
        box_dice=mean_of(case.dice[0] for case in members) or 0.0,
        seconds=mean_of(case.seconds for case in members) or 0.0,
        late=sum(not case.in_time for case in members),
    )
