"""Prompts as JSON text and back: schema "medsamslicer-prompts", version 1.

Floats are written as their shortest exact representation, so that reading gives the same bits. Masks are run
lengths in row order, the first run being background. Reading takes nothing on trust: an unknown version, key
or prompt type, a value of the wrong type, NaN and a prompt outside its volume are named with their place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from .errors import PromptError
from .geometry import SAME_PLACE_VOXELS, SliceAxis, VolumeGeometry
from .intensity import Window
from .json_fields import Field, shown
from .kinds import KINDS, Prompt
from .prompts import SCHEMA_VERSION, ObjectPrompts, PromptSet, SliceRef

SCHEMA = "medsamslicer-prompts"
# The same volume saved in another format may differ by the rounding of float32 coordinates.
_SAME_PLACE_MM = 1e-3
_FLOAT32_ROUNDING = 2.0**-22  # of the largest coordinate


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
                "prompts": [
                    {"type": prompt.kind, "slice": prompt.slice.index, "round": prompt.round}
                    | prompt.content()
                    for prompt in item.prompts
                ],
            }
            for item in prompts.objects
        ],
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    # Each list of numbers on one line. No text can match: JSON writes a line break within it as an escape.
    return re.sub(r"\[\n[-+.\deE,\s]+\]", lambda found: json.dumps(json.loads(found[0])), text)


def loads(text: str, geometry: VolumeGeometry | None = None) -> PromptSet:
    """The prompt set in JSON text, made on `geometry` if that is given; PromptError when it does not fit."""
    try:
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"The prompts are not valid JSON: {error}.") from None
    root = Field("", content)
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
        checkpoint["id"].optional(Field.text),
        checkpoint["sha256"].optional(Field.text),
        fields["tier"].optional(Field.text),
        fields["cleanup"].optional(Field.text),
        fields["overlap"].optional(Field.text),
    )


def _read_geometry(field: Field, volume: VolumeGeometry | None) -> VolumeGeometry:
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


def _read_window(field: Field) -> Window:
    fields = field.members("name lower upper")
    return field.checked(Window, fields["lower"].number(), fields["upper"].number(), fields["name"].text())


def _read_object(field: Field, geometry: VolumeGeometry, axis: SliceAxis) -> ObjectPrompts:
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


def _read_range(field: Field) -> tuple[int, int]:
    first, last = (item.whole() for item in field.items(2))
    return first, last


def _read_prompt(field: Field, geometry: VolumeGeometry, axis: SliceAxis) -> Prompt:
    kind = field.value.get("type") if isinstance(field.value, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        field.refuse(f"has the prompt type {kind!r}, which is none of {', '.join(KINDS)}")
    fields = field.members(f"type slice round {KINDS[kind].keys}", optional=KINDS[kind].optional_keys)
    place, turn = SliceRef(axis, fields["slice"].whole()), fields["round"].whole()
    make: Callable[..., Prompt] = KINDS[kind]
    between = KINDS[kind].arguments(fields, geometry.slice_shape(axis))
    return field.checked(make, place, *between, turn)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON knows")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(repeated)} comes twice")
    return content
