"""Tables of protocols with measures of their own: key slices, CVPR 2025, RadioActive, MedSAM2#44, the SAM 2 study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from .cvpr_scores import SECONDS, cvpr_rows
from .measurement import Measurement
from .protocol import KEY_SLICES, MEDSAM2_44, SUITES, boxed_key_slices, drawn_key_slices
from .report_data import AccuracyReport
from .statistics import mean_of
from .study_protocol import FRAMES, PROMPTS_2D, STUDY_2D, STUDY_3D, STUDY_PROMPTS, TOKENS_2D, mean_iou
from .summary import corrections_in, runners_of, settings_of
from .tables import NOTHING, Table, number, score, seconds

_CLICKS = (0, 1, 2, 3, 5, 10)


def protocol_tables(report: AccuracyReport) -> list[Table]:
    """All of them; those of protocols that were not measured have no rows."""
    return [
        key_slices_table(report),
        cvpr_table(report),
        clicks_table(report),
        radioactive_table(report),
        study_table(report),
        study_2d_table(report),
    ]


def key_slices_table(report: AccuracyReport) -> Table:
    """Dice and surface Dice after 1, 2, 3 and 5 key slices."""
    measured = {(runner, protocol): members for runner, protocol, members in settings_of(report)}
    kinds: tuple[tuple[str, Callable[[int], str]], ...] = (
        ("boxes", boxed_key_slices),
        ("masks", drawn_key_slices),
    )
    rows = []
    for kind, name in kinds:
        for runner in runners_of(report):
            found = [measured.get((runner, name(count)), []) for count in KEY_SLICES]
            if any(found):
                shown = next(filter(None, found))
                rows.append((kind, runner, str(len(shown)), *map(_scores, found), _wait(found)))
    columns = ("key slices with", "runner", "targets", *map(str, KEY_SLICES), "whole mask")
    note = (
        "Mean 3-D Dice and NSD at 2 mm by the number of key slices, which lie evenly over the object; the range is "
        "given. Objects on fewer slices than that are left out of the mean."
    )
    return Table("Key slices", columns, tuple(rows), 2, note)


def _scores(members: Sequence[Measurement], corrections: int = 0) -> str:
    if not members:
        return NOTHING
    dice = mean_of(m.dice_after(corrections) for m in members)
    return f"{score(dice)} ({score(mean_of(m.nsd_after(corrections) for m in members))})"


def _wait(found: Sequence[Sequence[Measurement]]) -> str:
    return seconds(mean_of(m.steps[0].seconds for members in found for m in members if m.steps))


def cvpr_table(report: AccuracyReport) -> Table:
    """The measures of the CVPR 2025 competition, over all cases and by modality."""
    rows = tuple(
        (
            row.group,
            row.runner,
            str(row.cases),
            str(row.classes),
            number(row.dice_area, 3),
            number(row.nsd_area, 3),
            score(row.dice),
            score(row.nsd),
            score(row.box_dice),
            seconds(row.seconds),
            str(row.late),
        )
        for row in cvpr_rows(report)
    )
    columns = ("cases", "runner", "number", "labels", "DSC AUC", "NSD AUC", "final DSC", "final NSD",
               "DSC after the box", "a case", "too slow")  # fmt: skip
    note = (
        "Means over cases, each the mean over its labels. Areas are over the five clicks, 4 at most; NSD at 2 mm "
        f"counts as 0 where the Dice is not above .2; a case of more than {SECONDS:.0f} seconds a label counts as 0."
    )
    return Table("CVPR 2025 interactive", columns, rows, 2, note)


def clicks_table(report: AccuracyReport) -> Table:
    """One 2-D box, then clicks: the whole volume after each, as MedSAM2#44 asks for."""
    rows = []
    for runner, protocol, members in settings_of(report):
        if protocol not in MEDSAM2_44:
            continue
        clicks = corrections_in(members)
        lowered, given = clicks_that_lowered(members)
        cells = [_scores(members, count) if count <= clicks else NOTHING for count in _CLICKS]
        share = f"{100 * lowered / given:.0f} % of {given}" if given else NOTHING
        rows.append((protocol, runner, str(len(members)), *cells, share))
    columns = (
        "protocol", "runner", "targets", "box alone", *(f"{n} click{'s' * (n > 1)}" for n in _CLICKS[1:]),
        "clicks that lowered the Dice",
    )  # fmt: skip
    note = (
        "Mean 3-D Dice and NSD at 2 mm of the whole volume. The box is on the slice with the most voxels, no range is "
        "given, and each click lies at the deepest voxel of the largest 3-D error."
    )
    return Table("One 2-D box, then clicks", columns, tuple(rows), 2, note)


def clicks_that_lowered(members: Sequence[Measurement]) -> tuple[int, int]:
    """The number of clicks that lowered the Dice of their target, and of those that were given."""
    changes = [after.dice - before.dice for m in members for before, after in pairwise(m.steps)]
    return sum(change < 0 for change in changes), len(changes)


def radioactive_table(report: AccuracyReport) -> Table:
    """RadioActive's protocols: Dice before and after the corrections, and what a user gives."""
    rows = []
    for runner, protocol, members in settings_of(report):
        if protocol not in SUITES["radioactive"]:
            continue
        last = corrections_in(members)
        done = [m for m in members if m.steps]
        rows.append(
            (
                protocol.removeprefix("RadioActive: "),
                runner,
                str(len(members)),
                number(mean_of(m.steps[0].interactions for m in done)),
                score(mean_of(m.dice_after(0) for m in members)),
                score(mean_of(m.dice_after(last) for m in members)) if last else NOTHING,
                number(mean_of(m.steps[-1].degrees for m in done), 0) if last else NOTHING,
            )
        )
    columns = ("prompts", "runner", "targets", "given first", "3-D Dice", "corrected", "degrees of freedom")
    note = (
        "Mean 3-D Dice before and after five corrections; degrees of freedom are those that the user sets with them, 3 "
        "for a point and 12 for a scribble."
    )
    return Table("RadioActive", columns, tuple(rows), 2, note)


def study_table(report: AccuracyReport) -> Table:
    """The mean IoU by frame, direction and prompt, as the study "SAM 2: an application to medical images" has it."""
    ways = sorted({(FRAMES.index(p.frame), p.direction) for p in STUDY_3D})
    cells: dict[tuple[str, ...], list[str]] = {
        (FRAMES[place], direction): [
            p.name for p in STUDY_3D if (p.frame, p.direction) == (FRAMES[place], direction)
        ]
        for place, direction in ways
    }
    columns = ("slice", "direction", "runner", "targets", *STUDY_PROMPTS)
    note = (
        "Mean IoU of the slices that hold the object, the mean over targets. No range is given; what is drawn beyond "
        "the object does not count here. Several boxes are as many objects, whose masks are united."
    )
    return Table("SAM 2 study", columns, _study_rows(report, cells), 3, note)


def study_2d_table(report: AccuracyReport) -> Table:
    """The mean IoU by mask and prompt in the 2-D mode of that study."""
    cells: dict[tuple[str, ...], list[str]] = {
        (token,): [p.name for p in STUDY_2D if p.mask_token == token] for token in TOKENS_2D
    }
    columns = ("mask", "runner", "targets", *PROMPTS_2D)
    note = (
        "Every slice that holds the object is prompted and segmented by itself; mean IoU of these slices, the mean "
        "over targets. The mask is the decoder's single one, the first of its alternatives, or the one of them with "
        "the highest predicted IoU; a network that draws no alternatives has a single one."
    )
    return Table("SAM 2 study, 2-D", columns, _study_rows(report, cells), 2, note)


def _study_rows(
    report: AccuracyReport, cells: Mapping[tuple[str, ...], list[str]]
) -> tuple[tuple[str, ...], ...]:
    """A row for each group of protocols and each runner that was measured in one of them."""
    measured = {(runner, protocol): members for runner, protocol, members in settings_of(report)}
    rows = []
    for first, protocols in cells.items():
        for runner in runners_of(report):
            found = [measured.get((runner, protocol), []) for protocol in protocols]
            if any(found):
                shown = next(filter(None, found))
                scores = [score(mean_of(map(mean_iou, members))) if members else NOTHING for members in found]
                rows.append((*first, runner, str(len(shown)), *scores))
    return tuple(rows)
