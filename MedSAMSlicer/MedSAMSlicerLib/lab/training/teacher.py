"""Lessons: what a teacher without memory, such as LiteMedSAM, draws on real volumes where it is sure.

On a few neighboring slices of a volume objects are found as for a user's suggestions
(:mod:`...engine.box_proposals`), then drawn on the next slice in the box of the one before, and must agree with that.
Nothing a lesson shows was drawn by hand.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ...core.errors import MedSAMError
from ...engine.box_proposals import BoxSearch, box_of, find_in_boxes, overlap
from ...engine.crop import Bounds
from ...engine.second_reader import SecondReader
from ...sam2.model import SAM2
from .example_files import example_file, read_examples, write_examples
from .fields import Source
from .labeled import LabeledVolume, TrainingCase, read_cases
from .rng import seed_of
from .synthetic import GeneratedScene
from .volume_clips import usable_axes
from .volume_examples import tracker_and_reader

logger = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]
SLICES = 4
"""Neighboring slices of a lesson."""
_SEARCH = BoxSearch(agreement=0.88)
_LEAST_SIDE = 80  # pixels of a slice that shows anything to learn
_SAME, _MARGIN = 0.75, 0.06  # IoU with the slice before; by how much the box is wider there


def make_lessons(cases: Sequence[TrainingCase], out: Path, model: SAM2, seed: int) -> int:
    """Write the lessons of each case that has none yet; return how many objects there are.

    Args:
        cases: volumes; their labels are not looked at.
        out: folder, a file for each case.
        model: the network that is to learn; it says how volumes are read.
        seed: of everything.

    Raises:
        MedSAMError: If the teacher is not there.
    """
    count = 0
    for case in cases:
        path = example_file(out, case.name)
        if path.is_file():
            continue
        source = Source(seed_of(seed, *case.name.encode()))
        found = [scene for volume in read_cases([case]) for scene in _lessons(volume, model, source)]
        lessons = [{"image": scene.image.numpy(), "masks": scene.masks.numpy()} for scene in found]
        write_examples(path, lessons, compressed=True)
        count += sum(len(scene.keys) for scene in found)
        logger.info("%s: %d objects", case.name, sum(len(scene.keys) for scene in found))
    return count


def read_lessons(folder: Path, names: Sequence[str]) -> list[GeneratedScene]:
    """The lessons of these cases that the folder holds."""
    scenes = []
    for name in names:
        path = example_file(folder, name)
        for lesson in read_examples(path, ("image", "masks")) if path.is_file() else ():
            image, masks = torch.from_numpy(lesson["image"]), torch.from_numpy(lesson["masks"])
            scenes.append(GeneratedScene(image, masks, (0,) * len(masks)))
    return scenes


def _lessons(volume: LabeledVolume, model: SAM2, source: Source) -> Iterator[GeneratedScene]:
    axis = usable_axes(volume.geometry)[0]
    if min(volume.geometry.slice_shape(axis)) < _LEAST_SIDE:
        return
    _, reader = tracker_and_reader(volume.array, volume.geometry, volume.window, axis, model)
    if reader is None:
        raise MedSAMError("The second network is not there, or the environment leaves it out.")
    last = volume.geometry.slice_count(axis) - SLICES
    if last < 0:
        return
    first = source.integer(0, last)
    order = list(range(first, first + SLICES))
    if source.chance(0.5):
        order.reverse()
    grays = [volume.window.apply(np.take(volume.array, index, axis=int(axis))) for index in order]
    yield from _lesson(grays, order, reader)


def _lesson(
    grays: Sequence[npt.NDArray[np.uint8]], order: Sequence[int], reader: SecondReader
) -> Iterator[GeneratedScene]:
    """Objects on all slices of the group as one scene, and those on the first one alone as another."""

    def draw(boxes: Sequence[Bounds]) -> list[Mask]:
        return reader.masks_in(order[0], boxes)

    found: list[list[Mask]] = []
    for mask in (proposal.mask for proposal in find_in_boxes(grays[0], draw, _SEARCH)):
        track = [mask]
        for index in order[1:]:
            (carried,) = reader.masks_in(index, [box_of(track[-1], _MARGIN)])
            if overlap(carried, track[-1]) < _SAME:
                break
            track.append(carried)
        found.append(track)
    for length in (1, len(grays)):
        tracks = [track[:length] for track in found if (len(track) == len(grays)) == (length > 1)]
        if tracks:
            yield _scene(grays[:length], tracks)


def _scene(grays: Sequence[npt.NDArray[np.uint8]], tracks: Sequence[Sequence[Mask]]) -> GeneratedScene:
    """Slices in the middle of squares, (slices, S, S), and masks (objects, slices, S, S)."""
    rows, columns = grays[0].shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    around = (top, side - rows - top), (left, side - columns - left)
    image = np.stack([np.pad(gray, around) for gray in grays])
    masks = np.stack([np.stack([np.pad(mask, around) for mask in track]) for track in tracks])
    return GeneratedScene(torch.from_numpy(image), torch.from_numpy(masks), (0,) * len(tracks))
