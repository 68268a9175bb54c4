"""Lessons: what a teacher without memory, such as LiteMedSAM, draws on real volumes where it is sure.

A few neighboring slices of a volume are shown to it, with boxes around regions of one gray (a watershed of the
gradient) and boxes at random. A mask counts as an object where the masks of jittered boxes agree with it and the gray
values on both sides of its outline differ; on the next slice it is drawn in the box of the one before, and must
agree with that. Nothing a lesson shows was drawn by hand.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch

from ...core.errors import MedSAMError
from ...engine.second_reader import SecondReader
from ...io.atomic import write_bytes
from ...sam2.model import SAM2
from .fields import Source
from .labeled import LabeledVolume, TrainingCase, read_cases
from .rng import seed_of
from .synthetic import GeneratedScene
from .volume_clips import usable_axes
from .volume_examples import tracker_and_reader

logger = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]
SLICES = 4
"""Neighboring slices of a lesson."""
_BOXES = 60  # that are tried on a slice
_RANDOM = 0.3  # of them at random
_AREA = (0.006, 0.3)  # of a box / of the slice
_LEAST_PIXELS, _LEAST_SIDE = 90, 80  # of a mask; of a slice that shows anything to learn
_JITTER, _SURE = 0.06, 0.88  # of a box's sides; IoU of the masks from jittered boxes
_FULL = (0.35, 0.93)  # of a box that a mask fills: less is nothing, more is the box itself
_EDGE = 14.0  # gray values of 255 between both sides of an outline
_SAME, _DOUBLE = 0.75, 0.8  # IoU with the slice before; with another object
_MARGIN = 0.06


def make_lessons(
    cases: Sequence[TrainingCase], out: Path, model: SAM2, seed: int, groups: int = 1, minutes: float = 1e9
) -> int:
    """Write the lessons of each case that has none yet; return how many objects there are.

    Args:
        cases: volumes; their labels are not looked at, but to keep away from them.
        out: folder, a file for each case.
        model: the network that is to learn; it says how volumes are read.
        seed: of everything.
        groups: of neighboring slices in each volume.
        minutes: after which no further volume is begun.

    Raises:
        MedSAMError: If the teacher is not there.
    """
    begun, count = time.monotonic(), 0
    for case in cases:
        path = _path(out, case.name)
        if path.is_file():
            continue
        if time.monotonic() - begun > 60 * minutes:
            break
        source = Source(seed_of(seed, *case.name.encode()))
        found = [scene for volume in read_cases([case]) for scene in _lessons(volume, model, source, groups)]
        _store(path, found)
        count += sum(len(scene.keys) for scene in found)
        logger.info("%s: %d objects", case.name, sum(len(scene.keys) for scene in found))
    return count


def read_lessons(folder: Path, names: Sequence[str]) -> list[GeneratedScene]:
    """The lessons of these cases that the folder holds."""
    scenes = []
    for name in names:
        path = _path(folder, name)
        if path.is_file():
            with np.load(path) as stored:
                for number in range(int(stored["count"])):
                    image, masks = stored[f"image{number}"], stored[f"masks{number}"]
                    scenes.append(
                        GeneratedScene(torch.from_numpy(image), torch.from_numpy(masks), (0,) * len(masks))
                    )
    return scenes


def _lessons(volume: LabeledVolume, model: SAM2, source: Source, groups: int) -> Iterator[GeneratedScene]:
    axis = usable_axes(volume.geometry)[0]
    if min(volume.geometry.slice_shape(axis)) < _LEAST_SIDE:
        return
    _, reader = tracker_and_reader(volume.array, volume.geometry, volume.window, axis, model)
    if reader is None:
        raise MedSAMError("The second network is not there, or the environment leaves it out.")
    last = volume.geometry.slice_count(axis) - SLICES
    for _ in range(groups if last >= 0 else 0):
        first = source.integer(0, last)
        order = list(range(first, first + SLICES))
        if source.chance(0.5):
            order.reverse()
        grays = [volume.window.apply(np.take(volume.array, index, axis=int(axis))) for index in order]
        yield from _lesson(grays, order, reader, source)


def _lesson(
    grays: Sequence[npt.NDArray[np.uint8]], order: Sequence[int], reader: SecondReader, source: Source
) -> Iterator[GeneratedScene]:
    """Objects on all slices of the group as one scene, and those on the first one alone as another."""
    found: list[list[Mask]] = []
    for box in boxes_on(grays[0], source):
        mask = sure_mask(grays[0], order[0], box, reader, source)
        if mask is None or any(_iou(mask, other[0]) > _DOUBLE for other in found):
            continue
        track = [mask]
        for gray, index in zip(grays[1:], order[1:], strict=True):
            carried = reader.drawn(index, _box_of(track[-1], _MARGIN)) > 0
            if (
                carried.sum() < _LEAST_PIXELS
                or _iou(carried, track[-1]) < _SAME
                or edge_of(gray, carried) < _EDGE
            ):
                break
            track.append(carried)
        found.append(track)
    for length in (1, len(grays)):
        tracks = [track[:length] for track in found if (len(track) == len(grays)) == (length > 1)]
        if tracks:
            yield _scene(grays[:length], tracks)


def boxes_on(gray: npt.NDArray[np.uint8], source: Source) -> list[Box]:
    """Boxes around regions of one gray, and at random: left, top, right and bottom on voxel edges."""
    image = sitk.GetImageFromArray(gray.astype(np.float32))
    gradient = sitk.GradientMagnitudeRecursiveGaussian(image, source.uniform(1.0, 2.5))
    level = float(np.percentile(sitk.GetArrayViewFromImage(gradient), source.uniform(30, 75)))
    regions = sitk.MorphologicalWatershed(gradient, level=0.5 * level, markWatershedLine=False)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(regions)
    rows, columns = gray.shape
    boxes: list[Box] = []
    for label in shapes.GetLabels():
        x, y, width, height = shapes.GetBoundingBox(label)
        boxes.append((x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5))
    source.choice.shuffle(boxes)
    kept = [box for box in boxes if _AREA[0] <= _area(box) / gray.size <= _AREA[1]]
    chosen = kept[: round(_BOXES * (1 - _RANDOM))]
    while len(chosen) < _BOXES:
        side = np.sqrt(source.log_uniform(*_AREA) * gray.size)
        width, height = (side * source.log_uniform(0.6, 1.6) for _ in range(2))
        x, y = source.uniform(0, max(1, columns - width)), source.uniform(0, max(1, rows - height))
        chosen.append((x - 0.5, y - 0.5, min(x + width, columns) - 0.5, min(y + height, rows) - 0.5))
    return chosen


def sure_mask(
    gray: npt.NDArray[np.uint8], index: int, box: Box, reader: SecondReader, source: Source
) -> Mask | None:
    """What the teacher draws in a box, where it is sure; see the module's docstring."""
    mask = reader.drawn(index, box) > 0
    if mask.sum() < _LEAST_PIXELS:
        return None
    tight = _box_of(mask, 0.0)
    if not _FULL[0] <= mask.sum() / _area(tight) <= _FULL[1] or edge_of(gray, mask) < _EDGE:
        return None
    mask = reader.drawn(index, tight) > 0  # as a user's box would be
    for _ in range(2):
        left, top, right, bottom = tight
        dx, dy = _JITTER * (right - left), _JITTER * (bottom - top)
        moved = (
            left + source.uniform(-dx, dx),
            top + source.uniform(-dy, dy),
            right + source.uniform(-dx, dx),
            bottom + source.uniform(-dy, dy),
        )
        if _iou(reader.drawn(index, moved) > 0, mask) < _SURE:
            return None
    return mask


def edge_of(gray: npt.NDArray[np.uint8], mask: Mask) -> float:
    """Median difference of gray values (0 to 255) between both sides of a mask's outline."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    outer = sitk.GetArrayFromImage(sitk.BinaryDilate(image, [2, 2])) > 0
    inner = sitk.GetArrayFromImage(sitk.BinaryErode(image, [2, 2])) > 0
    ring, rim = outer & ~mask, mask & ~inner
    if not ring.any() or not rim.any():
        return 0.0
    return abs(float(np.median(gray[rim])) - float(np.median(gray[ring])))


def _scene(grays: Sequence[npt.NDArray[np.uint8]], tracks: Sequence[Sequence[Mask]]) -> GeneratedScene:
    """Slices in the middle of squares, (slices, S, S), and masks (objects, slices, S, S)."""
    rows, columns = grays[0].shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    around = (top, side - rows - top), (left, side - columns - left)
    image = np.stack([np.pad(gray, around) for gray in grays])
    masks = np.stack([np.stack([np.pad(mask, around) for mask in track]) for track in tracks])
    return GeneratedScene(torch.from_numpy(image), torch.from_numpy(masks), (0,) * len(tracks))


def _box_of(mask: Mask, margin: float) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    dx, dy = margin * width, margin * height
    return (
        float(columns[0] - 0.5 - dx),
        float(rows[0] - 0.5 - dy),
        float(columns[-1] + 0.5 + dx),
        float(rows[-1] + 0.5 + dy),
    )


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _iou(one: Mask, other: Mask) -> float:
    together = int((one | other).sum())
    return int((one & other).sum()) / together if together else 0.0


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '_')}.npz"


def _store(path: Path, scenes: Sequence[GeneratedScene]) -> None:
    content = io.BytesIO()
    arrays: dict[str, Any] = {f"image{number}": scene.image.numpy() for number, scene in enumerate(scenes)}
    arrays |= {f"masks{number}": scene.masks.numpy() for number, scene in enumerate(scenes)}
    np.savez_compressed(content, count=len(scenes), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())
