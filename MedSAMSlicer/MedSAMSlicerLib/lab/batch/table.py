"""The table of prompts of a batch: CSV with the columns case, object, slice, box or point, and maybe axis and range."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import PromptError
from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.prompts import ObjectPrompts, Prompt, PromptSet, SliceRef, box_from_voxels, point_from_voxel
from ...io.segmentations import color_of

COLUMNS = ("case", "object", "axis", "slice", "box", "point", "range")
_NEEDED = ("case", "object", "slice")


@dataclass(frozen=True)
class PromptRow:
    """One row of the table.

    Attributes:
        line: in the file, counted from 1.
        case: name of a file or folder.
        object: name of the segment.
        axis, index: the slice.
        box: x0, y0, x1, y1 in voxels, the far edges exclusive; None for a point.
        point: x, y in voxels; None for a box.
        positive: whether a point lies on the object.
        slice_range: first and last slice to propagate over; None for all, or as another row of the object says.
    """

    line: int
    case: str
    object: str
    axis: SliceAxis
    index: int
    box: tuple[float, ...] | None = None
    point: tuple[float, ...] | None = None
    positive: bool = True
    slice_range: tuple[int, int] | None = None

    def prompt(self, geometry: VolumeGeometry) -> Prompt:
        """The prompt on a volume. Raises PromptError when it does not fit."""
        place = SliceRef(self.axis, self.index)
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            return box_from_voxels(geometry, place, x0, y0, x1, y1)
        assert self.point is not None
        x, y = self.point
        return point_from_voxel(geometry, place, x, y, self.positive)


def read_table(path: Path) -> dict[str, tuple[PromptRow, ...]]:
    """The rows of a table by case, in their order.

    Raises:
        PromptError: naming the file, the line and the value, for a table that cannot be understood.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptError(f"{path} is not text (UTF-8).") from error
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror or error}.") from error
    delimiter = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    missing = [name for name in _NEEDED if name not in names]
    unknown = [name for name in names if name and name not in COLUMNS]
    if missing or unknown or not {"box", "point"} & {*names}:
        listed = ", ".join(COLUMNS)
        raise PromptError(
            f"{path} needs the columns {listed} (axis and range may be left out), not {', '.join(names)}."
        )
    rows: dict[str, list[PromptRow]] = {}
    for fields in reader:
        values = {name: (value or "").strip() for name, value in fields.items() if isinstance(value, str)}
        if any(values.values()):
            row = _row(path, reader.line_num, values)
            rows.setdefault(row.case, []).append(row)
    if not rows:
        raise PromptError(f"{path} has no prompts.")
    return {case: tuple(found) for case, found in rows.items()}


def prompts_of(rows: Sequence[PromptRow], geometry: VolumeGeometry) -> PromptSet:
    """The prompts of one case on its volume.

    Raises:
        PromptError: naming the line of the prompt that does not fit.
    """
    axes = {row.axis for row in rows}
    if len(axes) > 1:
        raise PromptError(f"The prompts of {rows[0].case!r} lie along several axes; give one axis a case.")
    objects: dict[str, list[PromptRow]] = {}
    for row in rows:
        objects.setdefault(row.object, []).append(row)
    made = []
    for number, (name, own) in enumerate(objects.items()):
        prompts = []
        for row in own:
            try:
                prompts.append(row.prompt(geometry))
            except PromptError as error:
                raise PromptError(f"Line {row.line}: {error}") from error
        ranges = [row.slice_range for row in own if row.slice_range is not None]
        reach = None
        if ranges:
            indices = [index for each in ranges for index in each] + [row.index for row in own]
            reach = (min(indices), min(max(indices), geometry.slice_count(own[0].axis) - 1))
        made.append(ObjectPrompts(name, color_of(number), tuple(prompts), reach))
    return PromptSet(geometry, axes.pop(), tuple(made))


def _row(path: Path, line: int, values: Mapping[str, str]) -> PromptRow:
    where = f"{path}, line {line}"
    for name in _NEEDED:
        if not values.get(name):
            raise PromptError(f"{where}: the column {name} is empty.")
    box, point = values.get("box", ""), values.get("point", "")
    if bool(box) == bool(point):
        raise PromptError(f"{where}: a row needs either a box or a point.")
    axis = values.get("axis") or "k"
    if axis.lower() not in ("k", "j", "i"):
        raise PromptError(f"{where}: the axis is k, j or i, not {axis!r}.")
    if not re.fullmatch(r"\d+", values["slice"]):
        raise PromptError(f"{where}: the slice must be a whole number from 0, not {values['slice']!r}.")
    sign = re.search(r"[\s,;]([+-])$", point)
    return PromptRow(
        line,
        values["case"],
        values["object"],
        SliceAxis.parse(axis),
        int(values["slice"]),
        _numbers(where, "box", box, 4) if box else None,
        _numbers(where, "point", point[: sign.start()] if sign else point, 2) if point else None,
        sign is None or sign[1] == "+",
        _range(where, values.get("range", "")),
    )


def _numbers(where: str, what: str, text: str, count: int) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in re.split(r"[\s,;]+", text.strip()))
    except ValueError:
        found = ()
    if len(found) != count or not all(map(math.isfinite, found)):
        form = "x0 y0 x1 y1" if what == "box" else "x y, then + or - where wanted"
        raise PromptError(f"{where}: a {what} is written {form}, not {text!r}.")
    return found


def _range(where: str, text: str) -> tuple[int, int] | None:
    if not text:
        return None
    found = re.fullmatch(r"(\d+)\s*[-,; ]\s*(\d+)", text)
    if found is None or int(found[1]) > int(found[2]):
        raise PromptError(f"{where}: a range is written FIRST-LAST, not {text!r}.")
    return int(found[1]), int(found[2])
