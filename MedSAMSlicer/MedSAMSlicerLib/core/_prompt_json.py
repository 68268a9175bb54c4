"""Prompts as JSON text and back: schema "medsamslicer-prompts", version 1.

Floats are written as their shortest exact representation, so that reading gives the same bits. Masks are run
lengths in row order, the first run being background. Reading takes nothing on trust: an unknown version, key
or prompt type, a value of the wrong type, NaN and a prompt outside its volume are named with their place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from .errors import MedSAMError, PromptError
from .geometry import SAME_PLACE_VOXELS, SliceAxis, VolumeGeometry
from .intensity import Window
from .prompts import (
    RAS,
    SCHEMA_VERSION,
    Box,
    MaskPrompt,
    ObjectPrompts,
    Point,
    Prompt,
    PromptSet,
    RecistLine,
    Scribble,
    SliceRef,
    no_kind,
)

SCHEMA = "medsamslicer-prompts"
# The same volume saved in another format may differ by the rounding of float32 coordinates.
_SAME_PLACE_MM = 1e-3
_FLOAT32_ROUNDING = 2.0**-22  # of the largest coordinate

T = TypeVar("T")


def dumps(prompts: PromptSet) -> str:
    """JSON text of a prompt set."""
    geometry, window = prompts.geometry, prompts.window
    content = {
        "schema": SCHEMA,
        "version": SCHEMA_VERSION,
        "geometry": {
            "shape": list(geometry.shape),
            "ijk_to_ras": geometry.ijk_to_ras.tolist(),
            "digest": geometry.digest,
        },
        "axis": prompts.axis.name.lower(),
        "window": window and {"name": window.name, "lower": window.lower, "upper": window.upper},
        "checkpoint": {"id": prompts.checkpoint_id, "sha256": prompts.checkpoint_sha256},
        "tier": prompts.tier,
        "cleanup": prompts.cleanup,
        "overlap": prompts.overlap,
        "objects": [
            {
                "name": item.name,
                "color": list(item.color),
                "slice_range": item.slice_range and list(item.slice_range),
                "prompts": [_prompt_content(prompt) for prompt in item.prompts],
            }
            for item in prompts.objects
        ],
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    # Each list of numbers on one line. No text can match: JSON writes a line break within it as an escape.
    return re.sub(r"\[\n[-+.\deE,\s]+\]", lambda found: json.dumps(json.loads(found[0])), text)


def _prompt_content(prompt: Prompt) -> dict[str, Any]:
    shared = {"slice": prompt.slice.index, "round": prompt.round}
    if isinstance(prompt, Point):
        return {"type": "point", **shared, "ras": prompt.ras, "positive": prompt.positive}
    if isinstance(prompt, Box):
        return {"type": "box", **shared, "corner": prompt.corner, "opposite_corner": prompt.opposite_corner}
    if isinstance(prompt, Scribble):
        stroke = {"points_ras": prompt.points_ras, "radius_mm": prompt.radius_mm}
        return {"type": "scribble", **shared, **stroke, "positive": prompt.positive}
    if isinstance(prompt, RecistLine):
        return {"type": "line", **shared, "start": prompt.start, "end": prompt.end}
    if isinstance(prompt, MaskPrompt):
        return {"type": "mask", **shared, "shape": prompt.mask.shape, "runs": _run_lengths(prompt.mask)}
    raise no_kind(prompt)


def loads(text: str, geometry: VolumeGeometry | None = None) -> PromptSet:
    """The prompt set in JSON text, made on `geometry` if that is given; PromptError when it does not fit."""
    try:
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"The prompts are not valid JSON: {error}.") from None
    root = _Field("", content)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise PromptError(f'The file holds no prompts: its "schema" is not "{SCHEMA}".')
    version = content.get("version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise PromptError(f"The prompts have version {version!r}, but only {SCHEMA_VERSION} can be read.")
    fields = root.members(
        "schema version geometry axis window checkpoint tier objects", optional="cleanup overlap"
    )
    place = _read_geometry(fields["geometry"], geometry)
    axis = fields["axis"].checked(SliceAxis.parse, fields["axis"].text())
    checkpoint = fields["checkpoint"].members("id sha256")
    return root.checked(
        PromptSet,
        place,
        axis,
        tuple(_read_object(item, place, axis) for item in fields["objects"].items()),
        fields["window"].optional(_read_window),
        checkpoint["id"].optional(_Field.text),
        checkpoint["sha256"].optional(_Field.text),
        fields["tier"].optional(_Field.text),
        fields["cleanup"].optional(_Field.text),
        fields["overlap"].optional(_Field.text),
    )


def _read_geometry(field: _Field, volume: VolumeGeometry | None) -> VolumeGeometry:
    fields = field.members("shape ijk_to_ras digest")
    shape = [item.whole() for item in fields["shape"].items(3)]
    matrix = [[item.number() for item in row.items(4)] for row in fields["ijk_to_ras"].items(4)]
    stored = field.checked(VolumeGeometry, (shape[0], shape[1], shape[2]), np.array(matrix))
    digest = fields["digest"].text()
    if digest != stored.digest:
        fields["digest"].refuse(f"does not belong to the shape and matrix beside it: {digest!r}")
    if volume is None or volume.digest == stored.digest:
        return volume or stored
    if volume.shape != stored.shape:
        field.refuse(f"is of another volume: {stored.shape} voxels along K, J, I, here {volume.shape}")
    distance, voxel = volume.distance_to(stored), min(volume.spacing)
    rounding = _FLOAT32_ROUNDING * float(np.abs(volume.ijk_to_ras[:3]).max())
    if not distance <= min(max(_SAME_PLACE_MM, rounding), SAME_PLACE_VOXELS * voxel):
        apart = f"{distance:.4g} mm ({distance / voxel:.2g} voxels)"
        field.refuse(f"is of another volume: its voxels lie up to {apart} from those here")
    return volume


def _read_window(field: _Field) -> Window:
    fields = field.members("name lower upper")
    return field.checked(Window, fields["lower"].number(), fields["upper"].number(), fields["name"].text())


def _read_object(field: _Field, geometry: VolumeGeometry, axis: SliceAxis) -> ObjectPrompts:
    fields = field.members("name color slice_range prompts")
    red, green, blue = (item.number() for item in fields["color"].items(3))
    item = field.checked(
        ObjectPrompts,
        fields["name"].text(),
        (red, green, blue),
        tuple(_read_prompt(prompt, geometry, axis) for prompt in fields["prompts"].items()),
        fields["slice_range"].optional(_read_range),
    )
    field.checked(PromptSet, geometry, axis, (item,))  # so that the reason names this object
    return item


def _read_range(field: _Field) -> tuple[int, int]:
    first, last = (item.whole() for item in field.items(2))
    return first, last


_PROMPT_KEYS = {
    "point": "ras positive",
    "box": "corner opposite_corner",
    "scribble": "points_ras radius_mm positive",
    "line": "start end",
    "mask": "shape runs",
}


def _read_prompt(field: _Field, geometry: VolumeGeometry, axis: SliceAxis) -> Prompt:
    kind = field.value.get("type") if isinstance(field.value, dict) else None
    if not isinstance(kind, str) or kind not in _PROMPT_KEYS:
        field.refuse(f"has the prompt type {kind!r}, which is none of {', '.join(_PROMPT_KEYS)}")
    fields = field.members(f"type slice round {_PROMPT_KEYS[kind]}")
    place, turn = SliceRef(axis, fields["slice"].whole()), fields["round"].whole()
    if kind == "point":
        ras, positive = _read_ras(fields["ras"]), fields["positive"].flag()
        return field.checked(Point, place, ras, positive, turn)
    if kind == "box":
        corners = _read_ras(fields["corner"]), _read_ras(fields["opposite_corner"])
        return field.checked(Box, place, *corners, turn)
    if kind == "scribble":
        points = tuple(_read_ras(point) for point in fields["points_ras"].items())
        positive, radius = fields["positive"].flag(), fields["radius_mm"].number()
        return field.checked(Scribble, place, points, positive, radius, turn)
    if kind == "line":
        return field.checked(RecistLine, place, _read_ras(fields["start"]), _read_ras(fields["end"]), turn)
    rows, columns = (item.whole() for item in fields["shape"].items(2))
    if (rows, columns) != geometry.slice_shape(axis):
        fields["shape"].refuse(f"is {(rows, columns)}, but slices have {geometry.slice_shape(axis)}")
    runs = [item.whole() for item in fields["runs"].items()]
    if sum(runs) != rows * columns:
        fields["runs"].refuse(f"cover {sum(runs)} pixels, but the mask has {rows * columns}")
    return field.checked(MaskPrompt, place, _from_run_lengths(runs, (rows, columns)), turn)


def _read_ras(field: _Field) -> RAS:
    right, anterior, superior = (item.number() for item in field.items(3))
    return right, anterior, superior


def _run_lengths(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of the alternating runs of a mask in row order, the first one of False and maybe 0."""
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size])))
    return ([0] if flat.size and flat[0] else []) + [int(run) for run in runs]


def _from_run_lengths(runs: Sequence[int], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON knows")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {_shown(repeated)} comes twice")
    return content


@dataclass(frozen=True)
class _Field:
    """A value of the file with its place, so that every complaint names where and what."""

    path: str
    value: Any

    def refuse(self, reason: str) -> NoReturn:
        raise PromptError(f"The prompts do not fit: {self.path or 'the file'} {reason}.")

    def members(self, keys: str, optional: str = "") -> dict[str, _Field]:
        """The fields of an object with exactly these keys (parted by spaces); optional ones that lack are None."""
        if not isinstance(self.value, dict):
            self.refuse(f"must be an object, got {_shown(self.value)}")
        for key in keys.split():
            if key not in self.value:
                self.refuse(f"lacks {key!r}")
        for key in self.value:
            if key not in keys.split() + optional.split():
                self.refuse(f"has the unknown key {key!r}")
        prefix = f"{self.path}." if self.path else ""
        content = dict.fromkeys(optional.split()) | self.value
        return {key: _Field(f"{prefix}{key}", value) for key, value in content.items()}

    def items(self, length: int | None = None) -> Sequence[_Field]:
        if not isinstance(self.value, list) or (length is not None and len(self.value) != length):
            wanted = "a list" if length is None else f"a list of {length}"
            self.refuse(f"must be {wanted}, got {_shown(self.value)}")
        return [_Field(f"{self.path}[{i}]", value) for i, value in enumerate(self.value)]

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            self.refuse(f"must be a number, got {_shown(self.value)}")
        if not abs(self.value) < 1e308:
            self.refuse(f"must be a finite number, got {_shown(self.value)}")
        return float(self.value)

    def whole(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not 0 <= self.value < 1 << 53:
            self.refuse(f"must be a whole number from 0, got {_shown(self.value)}")
        return self.value

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.refuse(f"must be text, got {_shown(self.value)}")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            self.refuse(f"must be true or false, got {_shown(self.value)}")
        return self.value

    def optional(self, read: Callable[[_Field], T]) -> T | None:
        return None if self.value is None else read(self)

    def checked(self, make: Callable[..., T], *arguments: Any) -> T:
        """`make(*arguments)`, its complaint extended by the place."""
        try:
            return make(*arguments)
        except MedSAMError as error:
            raise PromptError(f"The prompts do not fit: {self.path or 'the file'}: {error}") from None


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
