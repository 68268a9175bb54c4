"""The course of a run, as a picture: validation and training Dice over the steps, from `log.csv`."""

from __future__ import annotations

import ast
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.errors import VolumeError
from ...io.atomic import write_bytes
from ...io.canvas import Canvas, Color
from ...io.segmentations import PALETTE
from .log import LOG

VALIDATED = ("box", "point", "neighbor", "clip", "clip_last")

_BACKGROUND: Color = (0.055, 0.065, 0.08)
_INK: Color = (0.90, 0.92, 0.94)
_FAINT: Color = (0.32, 0.36, 0.41)
_PANEL = (560, 400)
_LEFT, _TOP, _GAP, _BOTTOM = 54, 62, 66, 50
_LATE = 0.2  # a log that begins later than this part of the steps is drawn from its beginning
_ROW = 18


@dataclass(frozen=True)
class Curve:
    """Values of one kind: `points` (N, 2), step and value."""

    name: str
    points: np.ndarray


def read_log(out: Path) -> tuple[list[Curve], list[Curve], list[int]]:
    """Validation curves, training curves, and the steps at which a new stage or size began.

    Raises VolumeError when the folder holds no log or the log cannot be read.
    """
    path = out / LOG
    if not path.is_file():
        raise VolumeError(
            f"There is no {path}: a run writes it when its weights are judged for the first time."
        )
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        steps = [int(row["step"]) for row in rows]
        validated = [_curve(name, steps, [float(row[name]) for row in rows]) for name in VALIDATED]
        training = [ast.literal_eval(row["training"]) for row in rows]
        kinds = [(row["stage"], row["size"]) for row in rows]
    except (OSError, KeyError, ValueError, TypeError, SyntaxError) as error:
        raise VolumeError(f"{path} is not the log of a training run: {error}.") from error
    if not rows:
        raise VolumeError(f"{path} holds no validation yet.")
    names = sorted({name for values in training for name in values})
    trained = [
        _curve(
            name,
            [step for step, values in zip(steps, training, strict=True) if name in values],
            [values[name] for values in training if name in values],
        )
        for name in names
    ]
    begun = [steps[n] for n in range(1, len(rows)) if kinds[n] != kinds[n - 1]]
    return validated, trained, begun


def _curve(name: str, steps: list[int], values: list[float]) -> Curve:
    return Curve(name, np.array([steps, values], np.float64).T.reshape(-1, 2))


def draw_curves(path: Path, out: Path, title: str = "") -> None:
    """Write a PNG of the run in `out`.

    Raises VolumeError as `read_log` does, OutputError when the file cannot be written.
    """
    validated, trained, begun = read_log(out)
    dices = [curve for curve in trained if curve.name != "loss"]
    width, height = _PANEL
    legend = _ROW * max(len(validated), len(dices), 1)
    canvas = Canvas(2 * (_LEFT + width) + _GAP, _TOP + height + _BOTTOM + legend, _BACKGROUND)
    canvas.text(title or f"Training of {out.name}", _LEFT, 26, _INK, height=14)
    first, last = float(validated[0].points[0, 0]), float(validated[0].points[-1, 0])
    span = (first if _LATE * last < first < last else 0.0, max(last, 1.0))
    panels = (("Dice on validation clips", validated), ("Dice while training, mean of 200 steps", dices))
    for number, (name, curves) in enumerate(panels):
        _panel(canvas, _LEFT + number * (width + _LEFT + _GAP // 2), name, curves, begun, span)
    write_bytes(path, canvas.png())


def _panel(
    canvas: Canvas, left: int, name: str, curves: list[Curve], begun: list[int], span: tuple[float, float]
) -> None:
    width, height = _PANEL
    first, last = span
    scale = width / (last - first)
    lowest = min((float(curve.points[:, 1].min()) for curve in curves), default=0.0)
    floor = min(0.9, np.floor(10 * lowest) / 10)
    canvas.text(name, left, _TOP - 12, _INK, height=11)
    for tick in (np.arange(round(10 * floor), 11) / 10).tolist():
        line = _TOP + height * (1 - (tick - floor) / (1 - floor))
        canvas.rectangle(left, line, left + width, line + 1, _FAINT)
        canvas.text(f"{tick:.1f}", left - 8, line + 4, _INK, height=9, align=1.0)
    for step in begun:
        at = left + scale * (step - first)
        canvas.rectangle(at, _TOP, at + 1, _TOP + height, _INK, opacity=0.5)
    canvas.text(f"{first:.0f}", left, _TOP + height + 18, _INK, height=9)
    canvas.text(f"{last:.0f} steps", left + width, _TOP + height + 18, _INK, height=9, align=1.0)
    for number, curve in enumerate(curves):
        color = PALETTE[number % len(PALETTE)]
        x = left + scale * (curve.points[:, 0] - first)
        y = _TOP + height * (1 - (curve.points[:, 1] - floor) / (1 - floor))
        places = np.stack([x, y], 1)
        for start in range(max(1, len(places) - 1)):
            canvas.polyline(places[[start, min(start + 1, len(places) - 1)]], color, width=2.0)
        row = _TOP + height + 46 + _ROW * number
        canvas.rectangle(left, row - 5, left + 22, row - 2, color)
        value = f"{curve.name}  {curve.points[-1, 1]:.3f}"
        canvas.text(value, left + 32, row, _INK, height=9)
