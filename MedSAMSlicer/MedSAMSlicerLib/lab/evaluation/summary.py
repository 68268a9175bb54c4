"""The numbers of a report: what the measurements of each runner in each protocol say together.

A runner that failed on a target counts with Dice 0 and surface Dice 0, and has no distance and no seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .measurement import Measurement, Step
from .protocol import PROTOCOLS, REFERENCE
from .report_data import AccuracyReport
from .statistics import Summary, area_under_curve, mean_of, median_of, share_beating, summarize

BASELINES = ("box", "ellipsoid", "GrowCut", "interpolation", "random walker")
FIRST_BASELINES = ("ellipsoid", "GrowCut")  # those that earlier figures of this project refer to
CORRECTIONS = (1, 3, 5, 10)
THRESHOLDS = (0.85, 0.90)
ALL, FILES_ALONE = "all", "without DICOM series"

_MODALITIES = {
    "CT": ("ct", "cbct"), "MR": ("mr", "mri"), "PET": ("pet", "pt"), "Ultrasound": ("us", "ultrasound", "echo"),
    "Endoscopy": ("endoscopy", "es", "colonoscopy"), "X-ray": ("xr", "xray", "cr", "dx", "rf", "mg"),
    "Microscopy": ("microscopy", "sm", "histology"), "Dermoscopy": ("dermoscopy",), "Fundus": ("fundus", "op"),
    "OCT": ("oct", "opt"), "Video": ("video",), "Picture": ("picture", "photo", "rgb"),
}  # fmt: skip


@dataclass(frozen=True)
class SettingSummary:
    """One runner in one protocol, after so many corrections, over some targets.

    Args:
        group: which targets.
        runner, protocol: names.
        corrections: given before; None = the prompted slice alone, after the first prompts.
        dice: of all targets.
        nsd: mean; None for the prompted slice alone.
        hd95: median in mm over the targets that have a distance; None where none has.
        without_distance: how many have none.
        failures: on how many targets the runner failed.
    """

    group: str
    runner: str
    protocol: str
    corrections: int | None
    dice: Summary
    nsd: float | None
    hd95: float | None
    without_distance: int
    failures: int

    @property
    def setting(self) -> str:
        """Protocol and corrections, as tables say it."""
        if self.corrections is None:
            return f"{self.protocol}: prompted slice alone"
        if not self.corrections:
            return self.protocol
        return f"{self.protocol}, {self.corrections} correction{'s' if self.corrections > 1 else ''}"


@dataclass(frozen=True)
class Win:
    """On how many targets a runner beats the best of some baselines, in the reference protocol."""

    group: str
    runner: str
    baselines: tuple[str, ...]
    won: int
    count: int
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Effort:
    """The effort that a runner asks of its user in one protocol.

    Args:
        runner, protocol: names.
        count: targets.
        reached: for each of THRESHOLDS, on how many targets the Dice was reached.
        interactions: for each of THRESHOLDS, the mean number of prompts until then, over those targets; None = none.
        area: mean area under Dice over interactions, 0..1.
        first_seconds, mask_seconds: means until a first slice, and until the whole mask.
        correction_seconds: mean after a correction; None where none was given.
        waiting_seconds: mean over targets of all waiting together.
        peak_mb: the most memory any target took, MiB; None where it is unknown.
        corrected: whether any correction was given.
    """

    runner: str
    protocol: str
    count: int
    reached: tuple[int, ...]
    interactions: tuple[float | None, ...]
    area: float
    first_seconds: float | None
    mask_seconds: float | None
    correction_seconds: float | None
    waiting_seconds: float | None
    peak_mb: float | None
    corrected: bool


def seed_of(report: AccuracyReport) -> int:
    """The seed of the run, which its intervals are drawn with too."""
    return int(report.run.get("seed", 0))


def runners_of(report: AccuracyReport) -> list[str]:
    """Names of the runners that measured anything, the engine's before the baselines."""
    measured = dict.fromkeys(m.runner for m in report.measurements)
    listed = [name for name in report.run.get("runners", {}) if name in measured]
    names = [*dict.fromkeys([*listed, *measured])]
    return sorted(names, key=lambda name: BASELINES.index(name) + 1 if name in BASELINES else 0)


def protocols_of(measurements: Sequence[Measurement]) -> list[str]:
    """Names of the protocols that were measured, in the order of the protocols."""
    measured = dict.fromkeys(m.protocol for m in measurements)
    return [name for name in dict.fromkeys([*PROTOCOLS, *measured]) if name in measured]


def reference_of(report: AccuracyReport) -> str:
    """The protocol in which runners are compared: box and range; without it, what begins like it or was first."""
    measured = protocols_of(report.measurements)
    alike = [name for name in measured if name.startswith(REFERENCE)]
    return next((name for name in (REFERENCE, *alike, *measured) if name in measured), REFERENCE)


def settings_of(report: AccuracyReport) -> Iterator[tuple[str, str, list[Measurement]]]:
    """(runner, protocol, its measurements) of all that was measured, by protocol and runner."""
    found: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in report.measurements:
        found.setdefault((measurement.protocol, measurement.runner), []).append(measurement)
    for protocol in protocols_of(report.measurements):
        for runner in runners_of(report):
            if (protocol, runner) in found:
                yield runner, protocol, found[protocol, runner]


def groups_of(report: AccuracyReport) -> Iterator[tuple[str, AccuracyReport]]:
    """All targets, and where there are both, those that are not DICOM series."""
    yield ALL, report
    files = tuple(m for m in report.measurements if not m.series)
    if 0 < len(files) < len(report.measurements):
        yield FILES_ALONE, AccuracyReport(report.run, files, report.skipped)


def modality_of(measurement: Measurement) -> str:
    """The modality in one word: "CT DICOM series" is CT; what is not known stays as the data set calls it."""
    words = re.findall(r"[a-z]+", measurement.modality.lower().replace("x-ray", "xray"))
    for word in words:
        for name, known in _MODALITIES.items():
            if word in known and name not in ("Picture", "Video"):
                return name
    return next(
        (name for name, known in _MODALITIES.items() if set(words) & set(known)), measurement.modality
    )


def step_after(measurement: Measurement, corrections: int) -> Step | None:
    """The step after so many corrections; once nothing is wrong any more, the last one stays. None where it failed."""
    return measurement.steps[min(corrections, len(measurement.steps) - 1)] if measurement.steps else None


def corrections_in(members: Sequence[Measurement]) -> int:
    """The most corrections that were given."""
    return max((len(m.steps) - 1 for m in members if m.steps), default=0)


def summaries(report: AccuracyReport) -> list[SettingSummary]:
    """Every setting of a report in every group of targets."""
    seed = seed_of(report)
    found = []
    for group, part in groups_of(report):
        for runner, protocol, members in settings_of(part):
            found.append(_summary(group, runner, protocol, 0, members, seed))
            if protocol == reference_of(report):
                found.append(_summary(group, runner, protocol, None, members, seed))
            most = corrections_in(members)
            found += [
                _summary(group, runner, protocol, count, members, seed)
                for count in CORRECTIONS
                if count <= most
            ]
    return found


def _summary(
    group: str, runner: str, protocol: str, corrections: int | None, members: Sequence[Measurement], seed: int
) -> SettingSummary:
    alone = corrections is None
    steps = [None if alone else step_after(m, corrections or 0) for m in members]
    scores = [m.prompted_dice if alone else m.dice_after(corrections or 0) for m in members]
    distances = [step.hd95 if step else None for step in steps]
    return SettingSummary(
        group,
        runner,
        protocol,
        corrections,
        summarize(scores, [m.case for m in members], seed),
        None if alone else mean_of(step.nsd if step else 0.0 for step in steps),
        median_of(distances),
        0 if alone else sum(distance is None for distance in distances),
        sum(m.error is not None for m in members),
    )


def wins(report: AccuracyReport) -> list[Win]:
    """Return what each runner of ours beats: the better of the first two baselines, the best of all measured."""
    found = []
    for group, part in groups_of(report):
        scores = {
            runner: {m.place: m.dice_after(0) for m in members}
            for runner, protocol, members in settings_of(part)
            if protocol == reference_of(report)
        }
        baselines = tuple(name for name in BASELINES if name in scores)
        chosen = [names for names in (FIRST_BASELINES, baselines) if names and set(names) <= set(scores)]
        for runner in (name for name in scores if name not in BASELINES):
            for names in dict.fromkeys(chosen):
                won, count, lost = share_beating(scores[runner], [scores[name] for name in names])
                found.append(Win(group, runner, names, won, count, tuple(lost)))
    return found


def efforts(report: AccuracyReport) -> list[Effort]:
    """Return what each setting asks of its user, of the protocols in which any runner was corrected."""
    settings = list(settings_of(report))
    most = {
        protocol: max(corrections_in(m) for _, other, m in settings if other == protocol)
        for _, protocol, _ in settings
    }
    return [
        _effort(runner, protocol, members, most[protocol])
        for runner, protocol, members in settings
        if most[protocol]
    ]


def _effort(runner: str, protocol: str, members: Sequence[Measurement], most: int) -> Effort:
    counts = [[interactions_to(m, threshold) for m in members] for threshold in THRESHOLDS]
    done = [m for m in members if m.steps]
    return Effort(
        runner,
        protocol,
        len(members),
        tuple(sum(count is not None for count in found) for found in counts),
        tuple(mean_of(found) for found in counts),
        mean_of(area_under_curve([m.dice_after(n) for n in range(most + 1)]) for m in members) or 0.0,
        mean_of(m.first_seconds for m in done),
        mean_of(m.steps[0].seconds for m in done),
        mean_of(step.seconds for m in done for step in m.steps[1:]),
        mean_of(sum(step.seconds for step in m.steps) for m in done),
        max((m.peak_mb for m in done if m.peak_mb is not None), default=None),
        corrections_in(members) > 0,
    )


def interactions_to(measurement: Measurement, threshold: float) -> int | None:
    """The number of prompts given when the Dice reached a threshold first; None if it never did."""
    return next((step.interactions for step in measurement.steps if step.dice >= threshold), None)


def best_baseline(report: AccuracyReport) -> dict[str, tuple[str, float]]:
    """By target, which baseline is best in the reference protocol, and its Dice."""
    best: dict[str, tuple[str, float]] = {}
    reference = reference_of(report)
    for m in report.measurements:
        if m.protocol == reference and m.runner in BASELINES:
            score = m.dice_after(0)
            if m.place not in best or score > best[m.place][1]:
                best[m.place] = (m.runner, score)
    return best
