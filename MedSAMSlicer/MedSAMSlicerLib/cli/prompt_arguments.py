"""The arguments of `--box`, `--point`, `--line` and `--mask`, turned into prompts on a volume."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..core.errors import PromptError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.prompts import (
    MaskPrompt,
    ObjectPrompts,
    Prompt,
    RecistLine,
    SliceRef,
    box_from_ras,
    box_from_voxels,
    line_from_voxels,
    point_from_ras,
    point_from_voxel,
    validate,
)
from ..io.labels import read_slice_mask
from ..io.segmentations import color_of
from .argument_types import split_label
from .exit_codes import UsageError
from .prompt_text import PromptText

DEFAULT_NAME = "Segment_1"
Range = tuple[int, int]

_ON_CENTER = 0.01  # of a slice: a box that ends so near to a slice's center, beside it, ends on it


@dataclass
class _Object:
    """An object while its prompts are being collected."""

    prompts: list[Prompt] = field(default_factory=list)
    range: Range | None = None
    color: tuple[float, float, float] | None = None


def objects_from_arguments(
    texts: Sequence[PromptText],
    geometry: VolumeGeometry,
    axis: SliceAxis,
    ras: bool,
    slice_range: Range | None,
    given: Sequence[ObjectPrompts] = (),
) -> tuple[ObjectPrompts, ...]:
    """Objects in the order in which their names first appear, colored in turn; prompts in the order of `texts`.

    ras: places are mm instead of voxel indices. slice_range: first and last slice for every object.
    given: objects to begin with, such as those of a prompts file; prompts of the same name are added to them.

    Raises:
        UsageError: text that cannot be understood.
        PromptError, GeometryError, VolumeError: a prompt that does not fit the volume, or a mask file.
    """
    objects = {obj.name: _Object(list(obj.prompts), obj.slice_range, obj.color) for obj in given}
    for text in texts:
        obj = objects.setdefault(text.name or DEFAULT_NAME, _Object())
        if text.kind == "mask":
            obj.prompts.append(_mask(text, geometry, axis))
        elif ras:
            prompt, extent = _in_mm(text, geometry, axis)
            obj.prompts.append(prompt)
            obj.range = _joined(obj.range, extent)
        else:
            obj.prompts.append(_in_voxels(text, geometry, axis))
    return tuple(
        ObjectPrompts(name, obj.color or color_of(number), tuple(obj.prompts), slice_range or obj.range)
        for number, (name, obj) in enumerate(objects.items())
    )


def check_range(objects: Sequence[ObjectPrompts]) -> None:
    """Raise PromptError when a prompt lies on a slice outside the range of its object."""
    for obj in objects:
        for prompt in obj.prompts if obj.slice_range else ():
            first, last = obj.slice_range or (0, 0)
            if not first <= prompt.slice.index <= last:
                raise PromptError(
                    f"A prompt of {obj.name!r} is on slice {prompt.slice.index}, outside the range {first},{last}."
                )


def parse_range(text: str) -> Range:
    """`FIRST,LAST`, both included. Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text)
    if not found or int(found[1]) > int(found[2]):
        raise UsageError(f"--range needs FIRST,LAST in ascending order, not {text!r}")
    return int(found[1]), int(found[2])


def parse_spacing(text: str) -> tuple[float, ...]:
    """`X,Y` or `X,Y,Z` in mm. Raises UsageError."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (2, 3) or not all(math.isfinite(value) and value > 0 for value in values):
        raise UsageError(f"--spacing needs X,Y or X,Y,Z in mm, not {text!r}")
    return values


def _in_voxels(text: PromptText, geometry: VolumeGeometry, axis: SliceAxis) -> Prompt:
    slice_ref = SliceRef(axis, text.whole(0))
    if text.kind == "box":
        positive, corners = text.polarity()
        _, x0, y0, x1, y1 = corners.numbers(5)
        return box_from_voxels(geometry, slice_ref, x0, y0, x1, y1, positive=positive)
    if text.kind == "line":
        _, x0, y0, x1, y1 = text.numbers(5)
        return line_from_voxels(geometry, slice_ref, x0, y0, x1, y1)
    positive, place = text.polarity()
    _, x, y = place.numbers(3)
    return point_from_voxel(geometry, slice_ref, x, y, positive)


def _in_mm(text: PromptText, geometry: VolumeGeometry, axis: SliceAxis) -> tuple[Prompt, Range | None]:
    """The prompt, and for a box with depth the slices whose centers lie in it."""
    if text.kind == "point":
        positive, place = text.polarity()
        return point_from_ras(geometry, axis, place.numbers(3), positive=positive), None
    positive, text = text.polarity() if text.kind == "box" else (True, text)
    values = text.numbers(6)
    start, end = values[:3], values[3:]
    if text.kind == "line":
        return _line_in_mm(geometry, axis, start, end), None
    low, high = sorted(geometry.slice_position([start, end], axis).tolist())
    middle = [(a + b) / 2 for a, b in zip(start, end, strict=True)]
    slice_ref = SliceRef(axis, geometry.slice_index(middle, axis))
    box = box_from_ras(geometry, slice_ref, start, end, positive=positive)
    if not positive:
        return box, None
    first = max(math.ceil(low - _ON_CENTER), 0)
    last = min(math.floor(high + _ON_CENTER), geometry.slice_count(axis) - 1)
    return box, (first, last) if last > first else None


def _line_in_mm(
    geometry: VolumeGeometry, axis: SliceAxis, start: Sequence[float], end: Sequence[float]
) -> RecistLine:
    slice_ref = SliceRef(
        axis, geometry.slice_index([(a + b) / 2 for a, b in zip(start, end, strict=True)], axis)
    )
    line = RecistLine(slice_ref, (start[0], start[1], start[2]), (end[0], end[1], end[2]))
    validate(line, geometry)
    return line


def _mask(text: PromptText, geometry: VolumeGeometry, axis: SliceAxis) -> MaskPrompt:
    slice_ref = SliceRef(axis, text.whole(0))
    last = geometry.slice_count(axis) - 1
    if slice_ref.index > last:
        raise PromptError(
            f"Slice {slice_ref.index} does not exist: axis {axis.name.lower()} has slices 0 to {last}."
        )
    path, label = split_label(text.rest_after_slice())
    mask = read_slice_mask(path, geometry, axis, slice_ref.index, label, text.name)
    if not mask.any():
        raise PromptError(f"{path} has nothing marked on slice {slice_ref.index}.")
    prompt = MaskPrompt(slice_ref, mask)
    validate(prompt, geometry)
    return prompt


def _joined(one: Range | None, other: Range | None) -> Range | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])
