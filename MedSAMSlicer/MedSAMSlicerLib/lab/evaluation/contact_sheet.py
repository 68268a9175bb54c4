"""Pictures of the best, the median and the worst target of each runner of ours, with truth and mask drawn in.

They show the volumes themselves, so they stay in the folder of results.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import MedSAMError
from ...core.metrics import dice
from ...io.slice_display import SliceDisplay
from ...io.volumes import Volume
from .datasets import Case, Target, find_cases, load_case, load_classes
from .measurement import VOLUME, Measurement
from .plot_style import INK, drawing
from .protocol import PROTOCOLS
from .report_data import AccuracyReport
from .results import load_masks, mask_path
from .simulated_user import plane_of
from .summary import BASELINES, reference_of, runners_of
from .tables import score
from .windows import window_of

logger = logging.getLogger(__name__)

TRUTH, MASK, BOX = "#FFD23F", "#2FB8FF", "#FFFFFF"
_MOST_RUNNERS = 3
_SIDE = 2.75  # inches of a slice on the sheet; 100 pixels each
_AROUND = 1.7  # shown beside what is drawn, in parts of its extent
_LEAST = 0.3  # of the slice's longer side that is shown at least

Plane = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Slice:
    """A slice as it is drawn.

    Args:
        image: (rows, columns) uint8, or with a third axis of color.
        truth, mask: (rows, columns).
        spacing: mm per (row, column).
        box: whether a tight box was the prompt here.
        words: above it.
    """

    image: npt.NDArray[np.uint8]
    truth: Plane
    mask: Plane
    spacing: tuple[float, float]
    box: bool
    words: str


def contact_sheet(report: AccuracyReport, folder: Path, data: Path) -> bytes | None:
    """A PNG with three slices of the best, the median and the worst target of each of our runners.

    Masks are those after the first prompts in the reference protocol. The first slice is the prompted one; the
    others lie a quarter and three quarters along the target. Slices are square in mm; gray values are those that the
    network saw.

    Args:
        report: what was measured.
        folder: of the results, where the masks are.
        data: where the volumes are.

    Returns:
        None when no masks were kept.

    Raises:
        MedSAMError: the data cannot be read, or matplotlib is not installed.
    """
    cases = {case.name: case for case in find_cases(data)}
    most = int(report.run.get("most", 4))
    rows: list[tuple[str, list[_Slice]]] = []
    for runner in [name for name in runners_of(report) if name not in BASELINES][:_MOST_RUNNERS]:
        for word, measurement in _chosen(report, runner, folder, cases):
            mask = _first_mask(folder, measurement)
            try:
                volume, targets = _loaded(cases[measurement.case], measurement.protocol, most)
            except MedSAMError as error:  # it was there when it was measured
                logger.warning("%s is not on the contact sheet: %s", measurement.case, error)
                continue
            target = next((target for target in targets if target.name == measurement.target), None)
            if target is None or mask is None or mask.shape != target.mask.shape:
                logger.warning("%s is not on the contact sheet: the data are others now", measurement.place)
                continue
            words = f"{runner}, {word}: {measurement.place}, Dice {score(measurement.dice_after(0))}"
            rows.append((words, _slices(volume, target, mask, measurement)))
    return _drawn(rows, reference_of(report)) if rows else None


def _loaded(case: Case, protocol: str, most: int) -> tuple[Volume, list[Target]]:
    """The volume and the targets that a protocol measured on."""
    way = PROTOCOLS.get(protocol)
    return load_classes(case) if way is not None and way.all_classes else load_case(case, most)


def _first_mask(folder: Path, measurement: Measurement) -> npt.NDArray[np.bool_] | None:
    try:
        found = load_masks(folder, measurement.key)
    except MedSAMError as error:
        logger.warning("%s is not on the contact sheet: %s", measurement.place, error)
        return None
    return None if found is None else found[0]


def _chosen(
    report: AccuracyReport, runner: str, folder: Path, cases: Container[str]
) -> list[tuple[str, Measurement]]:
    """Best, median and worst of a runner, of those whose masks are there; of equals the first."""
    own = [
        m
        for m in report.measurements
        if (m.runner, m.protocol) == (runner, reference_of(report)) and m.steps and m.case in cases
    ]
    ranked = sorted(own, key=lambda m: -m.dice_after(0))
    ranked = [m for m in ranked if mask_path(folder, m.key).is_file()]
    if not ranked:
        return []
    places = {"best": 0, "worst": len(ranked) - 1, "median": len(ranked) // 2}  # of two, there is no median
    taken: dict[int, str] = {}
    for word, place in places.items():
        taken.setdefault(place, word)
    return [(taken[place], ranked[place]) for place in sorted(taken)]


def _slices(
    volume: Volume, target: Target, mask: npt.NDArray[np.bool_], measurement: Measurement
) -> list[_Slice]:
    """The prompted slice, and those a quarter and three quarters along the target."""
    first, last = target.slice_range
    held = measurement.prompted_slices or (target.largest_slice,)
    prompted = held[len(held) // 2]
    others = [first + round(part * (last - first)) for part in (0.25, 0.75, 0.5, 1.0, 0.0)]
    indices = [prompted, *[index for index in dict.fromkeys(others) if index != prompted][:2]]
    is_volume = target.case.kind == VOLUME  # pictures are shown as they are
    display = SliceDisplay.of(volume.geometry, target.axis) if is_volume else None
    spacing = display.spacing if display else volume.geometry.in_plane_spacing(target.axis)
    way = PROTOCOLS.get(measurement.protocol)
    found = []
    for index in indices:
        image = _image(volume, target, index)
        truth, seen = plane_of(target.mask, target.axis, index), plane_of(mask, target.axis, index)
        agreed = score(dice(seen[None], truth[None]))
        if display is not None:
            image, truth, seen = (display.image(plane) for plane in (image, truth, seen))
        text = "prompted slice" if index == prompted and measurement.prompted_slices else "slice"
        boxed = index in measurement.prompted_slices and way is not None and way.prompt == "box"
        found.append(_Slice(image, truth, seen, spacing, boxed, f"{text} {index}, Dice {agreed}"))
    return found


def _image(volume: Volume, target: Target, index: int) -> npt.NDArray[np.uint8]:
    """Gray values as the network saw them; color as it is."""
    taken = np.take(volume.array, index, axis=int(target.axis))
    window = window_of(volume.array, volume.modality)
    return np.asarray(taken, np.uint8) if window is None else window.apply(np.ascontiguousarray(taken))


def _drawn(rows: Sequence[tuple[str, list[_Slice]]], protocol: str) -> bytes:
    columns = max(len(slices) for _, slices in rows)
    height = len(rows) * (_SIDE + 0.62) + 0.5
    with drawing(max(columns * (_SIDE + 0.12), 5.5), height, "cases") as figure:
        from matplotlib.lines import Line2D  # not before: `drawing` says what to install

        parts = figure.subfigures(len(rows), 1, squeeze=False).ravel()
        for part, (words, slices) in zip(parts, rows, strict=True):
            part.suptitle(words, x=0.01, ha="left", fontsize=10.5, fontweight="bold", color=INK)
            panels = part.subplots(1, columns, squeeze=False).ravel()
            for panel, shown in zip(panels, slices, strict=False):
                _draw_slice(panel, shown)
            for panel in panels[len(slices) :]:
                panel.set_visible(False)
        signs = [
            Line2D([], [], color=TRUTH, linewidth=3),
            Line2D([], [], color=MASK, linewidth=3),
            Line2D([], [], color="#6b7280", linewidth=1.5, linestyle=(0, (3, 2))),
        ]
        names = ["truth", f"mask ({protocol})", "box that was given"]
        figure.legend(signs, names, loc="outside lower left", ncols=3)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
        return stream.getvalue()


def _draw_slice(panel: Any, shown: _Slice) -> None:
    row_mm, column_mm = shown.spacing
    gray = {"cmap": "gray", "vmin": 0, "vmax": 255} if shown.image.ndim == 2 else {}
    panel.imshow(shown.image, aspect=row_mm / column_mm, interpolation="nearest", **gray)
    for plane, color, width in ((shown.truth, TRUTH, 2.4), (shown.mask, MASK, 1.5)):
        if plane.any():
            outer = np.pad(plane, 1).astype(np.float32)
            rows, columns = (np.arange(-1, count + 1) for count in plane.shape)
            panel.contour(columns, rows, outer, levels=[0.5], colors=[color], linewidths=[width])
    if shown.box and shown.truth.any():
        ys, xs = np.nonzero(shown.truth)
        left, right, top, bottom = xs.min() - 0.5, xs.max() + 0.5, ys.min() - 0.5, ys.max() + 0.5
        panel.plot(
            [left, right, right, left, left],
            [top, top, bottom, bottom, top],
            color=BOX,
            linewidth=1.2,
            linestyle=(0, (3, 2)),
        )
    _look_at(panel, shown)
    panel.set_facecolor("black")
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.set_title(shown.words, fontsize=9, fontweight="normal", pad=4)


def _look_at(panel: Any, shown: _Slice) -> None:
    """A square in mm around truth and mask, or the whole slice where both are empty."""
    row_mm, column_mm = shown.spacing
    height, width = shown.truth.shape
    longest = max(height * row_mm, width * column_mm)
    drawn = shown.truth | shown.mask
    ys, xs = np.nonzero(drawn) if drawn.any() else (np.array([0, height - 1]), np.array([0, width - 1]))
    extent = max((np.ptp(ys) + 1) * row_mm, (np.ptp(xs) + 1) * column_mm)
    side = min(max(_AROUND * extent, _LEAST * longest), longest)
    centers = []
    for places, count, mm in ((xs, width, column_mm), (ys, height, row_mm)):
        half = side / mm / 2
        middle = (places.min() + places.max()) / 2
        room = (half - 0.5, count - 0.5 - half)  # the square stays inside the slice where it fits
        centers.append(float(np.clip(middle, *room)) if room[0] <= room[1] else (count - 1) / 2)
    x, y = centers
    panel.set_xlim(x - side / column_mm / 2, x + side / column_mm / 2)
    panel.set_ylim(y + side / row_mm / 2, y - side / row_mm / 2)
