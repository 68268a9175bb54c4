"""The prompts that each markups node shows, made equal to those that it should show with few changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Union

import numpy as np

from ..core.errors import MedSAMError
from ..core.geometry import VolumeGeometry
from ..core.prompts import Box, DrawnPrompt, Point, Prompt, RecistLine, no_kind, point_from_ras
from .nodes import matrix_array
from .prompt_markups import (
    RANGE,
    SLICE,
    Kind,
    defined_points,
    describe,
    described,
    put_box,
    read_box,
    read_line,
    same_place,
)
from .refusals import OutsideError

WHOLE = ""  # the key of the one prompt of a ROI or line
Place = tuple[float, ...]
Wanted = tuple[int, Prompt]  # position in the session, prompt
SinglePrompt = Union[Box, RecistLine]  # noqa: UP007 - evaluated by Python 3.10


@dataclass
class ShownPrompt:
    """One prompt as a node shows it.

    Attributes:
        position: in the session; None while the session has not taken it.
        prompt: the session's; None likewise.
        place: numbers that change when the user moves it.
    """

    position: int | None
    prompt: Prompt | None
    place: Place


@dataclass
class Shown:
    """The prompts that one node shows: prompts by control point, or one under WHOLE."""

    object_id: int
    kind: Kind
    prompts: dict[str, ShownPrompt] = field(default_factory=dict)
    slice_range: tuple[int, int] | None = None


def places(node: Any, kind: Kind) -> dict[str, Place]:
    """The places of the prompts of a node now; none for a box or line that is not finished."""
    points = defined_points(node)
    if kind.holds_points:
        return {key: ras for key, (_, ras) in points.items()}
    if kind is Kind.LINE:
        return (
            {WHOLE: tuple(value for _, ras in points.values() for value in ras)} if len(points) == 2 else {}
        )
    size = tuple(node.GetSize())
    placing = node.GetNumberOfControlPoints() > len(points) or not node.GetControlPointPlacementComplete()
    if placing or sum(length > 0 for length in size) < 2:
        return {}
    return {WHOLE: (*np.round(matrix_array(node.GetObjectToNodeMatrix())[:3], 9).ravel().tolist(), *size)}


def sync_points(node: Any, object_id: int, kind: Kind, wanted: Sequence[Wanted]) -> Shown:
    """Make the control points of a node the wanted points; points that lie where one is wanted stay as they are."""
    present = {key: ras for key, (_, ras) in defined_points(node).items()}
    kept: dict[str, Wanted] = {}
    missing = []
    for position, point in wanted:
        assert isinstance(point, Point)
        free = (
            key
            for key, ras in present.items()
            if key not in kept and np.allclose(ras, point.ras, rtol=0, atol=1e-4)
        )
        key = next(free, None)
        if key is None:
            missing.append((position, point))
        else:
            kept[key] = (position, point)
    spare = [key for key in present if key not in kept]
    for position, point in missing:
        if spare:
            key = spare.pop(0)
            node.SetNthControlPointPosition(node.GetNthControlPointIndexByID(key), *point.ras)
        else:
            key = node.GetNthControlPointID(node.AddControlPoint(*point.ras))
        kept[key] = (position, point)
    for key in spare:
        node.RemoveNthControlPoint(node.GetNthControlPointIndexByID(key))
    for key, (position, point) in kept.items():
        number, text = node.GetNthControlPointIndexByID(key), describe(point, position)
        if node.GetNthControlPointDescription(number) != text:
            node.SetNthControlPointDescription(number, text)
    now = places(node, kind)
    return Shown(object_id, kind, {key: ShownPrompt(*kept[key], now[key]) for key in kept})


def sync_single(
    node: Any,
    object_id: int,
    kind: Kind,
    wanted: Wanted,
    geometry: VolumeGeometry,
    slice_range: tuple[int, int] | None,
) -> Shown:
    """Make a ROI or line show the wanted prompt."""
    position, prompt = wanted
    if isinstance(prompt, Box):
        slice_range = slice_range if prompt.positive else None
        put_box(node, prompt, geometry, slice_range)
    elif isinstance(prompt, RecistLine):
        ends = (prompt.start, prompt.end)
        for number, ras in enumerate(ends):
            if number >= node.GetNumberOfControlPoints():
                node.AddControlPoint(*ras)
            elif not np.allclose(node.GetNthControlPointPosition(number), ras, rtol=0, atol=1e-4):
                node.SetNthControlPointPosition(number, *ras)
    elif isinstance(prompt, (Point, DrawnPrompt)):
        raise TypeError(f"A {prompt.kind} is shown by no ROI and no line.")
    else:
        raise no_kind(prompt)
    node.SetAttribute(SLICE, describe(prompt, position))
    node.SetAttribute(RANGE, None if slice_range is None else "{} {}".format(*slice_range))
    return Shown(
        object_id,
        kind,
        {WHOLE: ShownPrompt(position, prompt, places(node, kind).get(WHOLE, ()))},
        slice_range,
    )


def read_single(
    node: Any, kind: Kind, geometry: VolumeGeometry, prompt: SinglePrompt, flat: bool
) -> tuple[SinglePrompt, tuple[int, int] | None] | None:
    """Return what a ROI or line says, on the axis of `prompt`; None when it is unfinished or does not fit."""
    try:
        if not places(node, kind):
            return None
        if kind.is_box:
            return read_box(node, geometry, prompt.slice.axis, flat, kind is Kind.BOX)
        ends = [ras for _, ras in defined_points(node).values()]
        return read_line(ends, geometry, prompt.slice.axis), None
    except MedSAMError:
        return None


def matched(
    nodes: Sequence[Any], kind: Kind, wanted: Sequence[Wanted], geometry: VolumeGeometry
) -> tuple[list[tuple[Any, Wanted]], list[Wanted], list[Any]]:
    """The match of ROIs and lines with prompts: pairs, prompts without a node, nodes without a prompt."""
    pairs: list[tuple[Any, Wanted]] = []
    missing: list[Wanted] = []
    spare = list(nodes)
    for position, prompt in wanted:
        assert isinstance(prompt, (Box, RecistLine))
        for node in spare:
            described_as = [read_single(node, kind, geometry, prompt, flat) for flat in (False, True)]
            if any(found is not None and same_place(found[0], prompt) for found in described_as):
                pairs.append((node, (position, prompt)))
                spare.remove(node)
                break
        else:
            missing.append((position, prompt))
    while missing and spare:
        pairs.append((spare.pop(0), missing.pop(0)))
    return pairs, missing, spare


def read_node(node: Any, kind: Kind, geometry: VolumeGeometry) -> tuple[list[Wanted], tuple[int, int] | None]:
    """The prompts that a node of a loaded scene holds, with their positions, and its slice range."""
    if kind.holds_points:
        found: list[Wanted] = []
        for number, ras in defined_points(node).values():
            described_as = described(node.GetNthControlPointDescription(number))
            if described_as is not None:
                found.append(
                    (described_as[0], Point(described_as[1], ras, kind is Kind.POSITIVE, described_as[2]))
                )
        return found, None
    described_as = described(node.GetAttribute(SLICE))
    if described_as is None:
        return [], None
    position, where, round_number = described_as
    if kind.is_box:
        box, slice_range = read_box(node, geometry, where.axis, positive=kind is Kind.BOX)
        return [(position, replace(box, slice=where, round=round_number))], slice_range
    line = read_line([ras for _, ras in defined_points(node).values()], geometry, where.axis)
    return [(position, RecistLine(where, line.start, line.end, round_number))], None


def new_point(node: Any, kind: Kind, key: str, geometry: VolumeGeometry, axis: Any) -> Point:
    """The point at a control point; PromptError outside the volume."""
    number = node.GetNthControlPointIndexByID(key)
    ras = node.GetNthControlPointPosition(number)
    try:
        return point_from_ras(geometry, axis, ras, kind is Kind.POSITIVE)
    except MedSAMError:
        raise OutsideError from None
