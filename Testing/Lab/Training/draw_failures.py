"""Draws how the bundled network fails on generated volumes, for docs/model-card.md: truth green, its mask orange.

python Testing/Lab/Training/draw_failures.py docs

Of `SCENES` scenes of one seed (shapes as in training) the worst target of each kind is shown, beside how many fail so.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "MedSAMSlicer"))

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry  # noqa: E402
from MedSAMSlicerLib.core.intensity import Window  # noqa: E402
from MedSAMSlicerLib.core.prompts import ObjectPrompts, PromptSet  # noqa: E402
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter  # noqa: E402
from MedSAMSlicerLib.io.atomic import write_bytes  # noqa: E402
from MedSAMSlicerLib.io.canvas import Canvas, resampled  # noqa: E402
from MedSAMSlicerLib.lab.evaluation.datasets import Case, Target  # noqa: E402
from MedSAMSlicerLib.lab.evaluation.simulated_user import box_on, click_on  # noqa: E402
from MedSAMSlicerLib.lab.training.families import TRAINED  # noqa: E402
from MedSAMSlicerLib.lab.training.fields import Source  # noqa: E402
from MedSAMSlicerLib.lab.training.synthetic import SceneSettings, make_scene  # noqa: E402
from MedSAMSlicerLib.sam2.checkpoint import load  # noqa: E402
from MedSAMSlicerLib.sam2.model import SAM2  # noqa: E402

logger = logging.getLogger(__name__)

CHECKPOINT = ROOT / "MedSAMSlicer" / "Resources" / "Models" / "medsamslicer_nano.safetensors"
SCENES, SEED = 60, 2026
TILE, GAP, LINE = 150, 4, 22
INK, TRUTH, FOUND = (0.9, 0.92, 0.94), (0.2, 0.8, 0.3), (0.95, 0.6, 0.1)
FAR = 8  # slices from the prompted one
UNLIKE = ("tumor", "patchwork")  # shapes of several tissues
LARGE = 150  # pixels of a target that is worth a click
LEAST = 3  # slices that are judged far from the prompted one


@dataclass
class Trial:
    """One target of a scene with what the network made of it; masks are (slices, rows, columns) bool."""

    image: np.ndarray
    body: str
    key: int
    truth: np.ndarray
    masks: dict[str, np.ndarray]

    def dice(self, prompt: str, slices: slice | int) -> float:
        """Dice of the mask from a prompt on some slices."""
        truth, mask = self.truth[slices], self.masks[prompt][slices]
        return float(2 * (truth & mask).sum() / max(1, truth.sum() + mask.sum()))

    def shares(self, prompt: str) -> tuple[float, float]:
        """On the prompted slice: how much of the mask is right, how much of the truth is found."""
        truth, mask = self.truth[self.key], self.masks[prompt][self.key]
        both = (truth & mask).sum()
        return float(both / max(1, mask.sum())), float(both / max(1, truth.sum()))


def trials(scenes: int) -> list[Trial]:
    """The targets of each scene, from a box with the slice range, and from one click."""
    model, _ = load(CHECKPOINT)
    source, done = Source(SEED), []
    for _ in range(scenes):
        scene = make_scene(source, SceneSettings(slices=24, size=128, targets=3))
        for number, key in enumerate(scene.keys):
            done.append(
                trial(model, scene.image.numpy(), scene.masks[number].numpy(), key, scene.shapes[number])
            )
    return done


def trial(model: SAM2, image: np.ndarray, truth: np.ndarray, key: int, body: str) -> Trial:
    """Both prompts on one target."""
    geometry = VolumeGeometry.from_spacing(truth.shape, (1.0, 1.0, 2.0))
    target = Target(Case("scene", Path(), Path()), "target", truth)
    segmenter = VolumeSegmenter(image, geometry, model, Window(0.0, 255.0), threads=1)
    masks = {}
    for name, prompt, reach in (
        ("box", box_on(target, geometry, key), target.slice_range),
        ("click", click_on(target, geometry, key), (key, key)),
    ):
        asked = ObjectPrompts("target", (1.0, 0.0, 0.0), (prompt,), reach)
        masks[name] = segmenter.segment(PromptSet(geometry, SliceAxis.K, (asked,))).masks["target"]
    return Trial(image, body, key, truth, masks)


def drift(trial: Trial) -> float | None:
    """Right on the prompted slice, wrong far from it: Dice there, where the target is still seen."""
    first, last = np.flatnonzero(trial.truth.any(axis=(1, 2)))[[0, -1]]
    far = [slice(first, trial.key - FAR + 1), slice(trial.key + FAR, last + 1)]
    far = [part for part in far if part.stop - part.start >= LEAST]
    if not far or trial.body in TRAINED.backgrounds or trial.dice("box", trial.key) < 0.9:
        return None
    return min(trial.dice("box", part) for part in far)


def part_only(trial: Trial) -> float | None:
    """An inhomogeneous target of which the box finds a part: the share of it that is found."""
    right, found = trial.shares("box")
    return found if trial.body in UNLIKE and right > 0.8 else None


def other_extent(trial: Trial) -> float | None:
    """One click that finds more, or less, than was meant: Dice, where one of both lies in the other."""
    if (
        trial.body in TRAINED.backgrounds
        or trial.truth[trial.key].sum() < LARGE
        or max(trial.shares("click")) < 0.9
    ):
        return None
    return trial.dice("click", trial.key)


@dataclass(frozen=True)
class Kind:
    """A kind of failure: `judge` gives a value, the lower the worse, or None where the target cannot show it.

    `shown` targets are drawn, the bare prompted slice and then `slices` slices of each; below `limit` is a failure.
    """

    file: str
    title: str
    judge: Callable[[Trial], float | None]
    prompt: str
    shown: int
    slices: int
    limit: float = 0.7


KINDS = (
    Kind("failure-drift.png", "One box and the range, the track drifts", drift, "box", 1, 5),
    Kind("failure-extent.png", "One box, a part of the target", part_only, "box", 2, 1),
    Kind("failure-extent.png", "One click, another extent", other_extent, "click", 2, 1),
)


def strip(trial: Trial, prompt: str, count: int) -> Canvas:
    """Slices from the prompted one toward where the mask is worst, the bare image of the first one before them."""
    seen = np.flatnonzero(trial.truth.any(axis=(1, 2)))
    ends = [end for end in (seen[0], seen[-1]) if abs(int(end) - trial.key) >= min(FAR, count - 1)]
    between = [slice(min(trial.key, int(end)), max(trial.key, int(end)) + 1) for end in ends or [trial.key]]
    worst = int(np.argmin([trial.dice(prompt, part) for part in between]))
    end = int((ends or [trial.key])[worst])
    indices = np.linspace(trial.key, end, count).round().astype(int).tolist() if count > 1 else [trial.key]
    both = trial.truth[indices].any(axis=0) | trial.masks[prompt][indices].any(axis=0)
    rows, columns = np.nonzero(both)
    half = 0.6 * max(np.ptp(rows) + 1, np.ptp(columns) + 1)
    middle = (np.array([columns.min() + columns.max(), rows.min() + rows.max()]) + 1) / 2
    region = [*(middle - half), *(middle + half)]
    canvas = Canvas(TILE * (count + 1) + GAP * count, TILE)
    for place, index in enumerate([trial.key, *indices]):
        gray, inside = resampled(trial.image[index], region, (TILE, TILE))
        left = place * (TILE + GAP)
        canvas.paste(np.repeat((gray * inside)[..., None].clip(0, 255) / 255, 3, axis=2), left, 0)
        for mask, color in ((trial.truth, TRUTH), (trial.masks[prompt], FOUND)) if place else ():
            level, _ = resampled(mask[index].astype(float), region, (TILE, TILE), smooth=False)
            up, across = np.gradient(level)
            edge = np.clip(1.5 - np.abs(level - 0.5) / np.maximum(np.hypot(up, across), 1e-3), 0, 1)
            canvas.cover(edge, left, 0, color)
        canvas.text(f"{index - trial.key:+d}" if index != trial.key else "0", left + 6, 16, INK, height=10)
    return canvas


def row(trials: list[Trial], kind: Kind, caption: str) -> Canvas:
    """The worst targets of a kind side by side, below their captions."""
    parts = [strip(trial, kind.prompt, kind.slices) for trial in trials]
    canvas = Canvas(
        sum(part.pixels.shape[1] + GAP for part in parts), TILE + LINE + GAP, (0.055, 0.065, 0.08)
    )
    canvas.text(caption, 4, 16, INK, height=9)
    left = 0
    for part in parts:
        canvas.paste(part.pixels, left, LINE)
        left += part.pixels.shape[1] + GAP
    return canvas


def draw(folder: Path, scenes: int = SCENES) -> list[Path]:
    """Write the pictures into a folder; kinds of which no target is found are left out."""
    done = trials(scenes)
    rows: dict[str, list[Canvas]] = {}
    for kind in KINDS:
        judged = [(value, n) for n, trial in enumerate(done) if (value := kind.judge(trial)) is not None]
        if not judged:
            continue
        worst = sorted(judged)[: kind.shown]
        failing = sum(value < kind.limit for value, _ in judged)
        message = ", ".join(f"{done[n].body} {value:.2f}" for value, n in worst)
        caption = f"{kind.title}: {message} (below {kind.limit}: {failing} of {len(judged)})"
        logger.info("%s", caption)
        rows.setdefault(kind.file, []).append(row([done[n] for _, n in worst], kind, caption))
    for file, parts in rows.items():
        width = max(part.pixels.shape[1] for part in parts)
        canvas = Canvas(width, sum(part.pixels.shape[0] for part in parts), (0.055, 0.065, 0.08))
        for number, part in enumerate(parts):
            canvas.paste(part.pixels, 0, number * part.pixels.shape[0])
        write_bytes(folder / file, canvas.png())
    return [folder / file for file in rows]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    draw(Path(sys.argv[1]))
