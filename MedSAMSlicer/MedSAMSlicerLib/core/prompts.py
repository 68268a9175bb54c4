"""Prompts: points, boxes, scribbles, masks and lines, each bound to one slice.

Places are RAS in mm, so that a prompt survives a saved scene and a volume shown by another program. Every
prompt knows its round: 0 when it was given before the first propagation, n when it corrects the n-th one.
Constructors check what can be checked alone, `validate` checks a prompt against its volume, and a `PromptSet`
always fits its volume.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

from . import kinds
from ._prompt_placement import (
    box_from_ras,
    box_from_voxels,
    in_slice,
    line_from_voxels,
    point_from_ras,
    point_from_voxel,
    validate,
)
from .cleanups import CLEANUPS
from .errors import PromptError
from .geometry import SliceAxis, VolumeGeometry
from .intensity import Window
from .kinds import *  # noqa: F403 - each kind is named in its own folder only
from .kinds import Prompt
from .kinds.base import RAS, SliceRef, finite, whole
from .tiers import OVERLAPS, TIERS

__all__ = [
    "CLEANUPS",
    "OVERLAPS",
    "RAS",
    "SCHEMA_VERSION",
    "TIERS",
    "ObjectPrompts",
    "PromptSet",
    "SliceRef",
    "box_from_ras",
    "box_from_voxels",
    "in_slice",
    "line_from_voxels",
    "point_from_ras",
    "point_from_voxel",
    "validate",
]
__all__ += kinds.__all__

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ObjectPrompts:
    """All prompts of one object.

    Attributes:
        name: that of the segment.
        color: red, green, blue in 0..1.
        prompts: in the order in which they were given.
        slice_range: first and last slice to propagate over (inclusive); None for the whole volume.
    """

    name: str
    color: tuple[float, float, float]
    prompts: tuple[Prompt, ...] = ()
    slice_range: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise PromptError(f"An object needs a name, got {self.name!r}.")
        if any("\ud800" <= letter <= "\udfff" for letter in self.name):  # no file can hold it
            raise PromptError(f"The name {self.name!r} is not valid text (not UTF-8).")
        if len(self.color) != 3:
            raise PromptError(f"A color needs red, green and blue, got {self.color!r}.")
        color = tuple(finite(value, "color") for value in self.color)
        if min(color) < 0.0 or max(color) > 1.0:
            raise PromptError(f"The color of {self.name!r} must lie within 0 and 1, got {color}.")
        object.__setattr__(self, "color", color)
        object.__setattr__(self, "prompts", tuple(self.prompts))
        for prompt in self.prompts:
            if not isinstance(prompt, Prompt.__args__):  # type: ignore[attr-defined]
                raise PromptError(f"{self.name!r} holds something that is not a prompt: {prompt!r}.")
        if self.slice_range is not None:
            object.__setattr__(self, "slice_range", _slice_range(self.slice_range, self.name))


@dataclass(frozen=True)
class PromptSet:
    """Everything needed to repeat a segmentation; a value of this type fits its volume.

    Attributes:
        geometry: that of the volume; its digest and shape are what a file is recognized by.
        axis: the slice axis of all prompts.
        objects: with distinct names.
        window: the gray window of the volume.
        checkpoint_id, checkpoint_sha256: the network's weights.
        tier: "exact", "balanced" or "fast" arithmetic.
        cleanup: "none", "islands", "holes" or "both": what is done to the finished masks; None = not given.
        overlap: "keep" or "highest": which object has a voxel that several claim; None = not given.

    Raises:
        PromptError: prompts on another axis or outside the volume, a name given twice, an unknown tier,
            clean-up or way with overlaps.
    """

    geometry: VolumeGeometry
    axis: SliceAxis = SliceAxis.K
    objects: tuple[ObjectPrompts, ...] = ()
    window: Window | None = None
    checkpoint_id: str | None = None
    checkpoint_sha256: str | None = None
    tier: str | None = None
    cleanup: str | None = None
    overlap: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "axis", SliceAxis(self.axis))
        object.__setattr__(self, "objects", tuple(self.objects))
        names: set[str] = set()
        for obj in self.objects:
            if obj.name in names:
                raise PromptError(f"Two objects have the same name, {obj.name!r}.")
            names.add(obj.name)
        _check_choice("tier", self.tier, TIERS)
        _check_choice("clean-up", self.cleanup, CLEANUPS)
        _check_choice("way with overlaps", self.overlap, OVERLAPS)
        if self.checkpoint_sha256 is not None and not _is_sha256(self.checkpoint_sha256):
            raise PromptError(f"A SHA-256 is 64 hexadecimal digits, got {self.checkpoint_sha256!r}.")
        for obj in self.objects:
            self._check_object(obj)

    def _check_object(self, obj: ObjectPrompts) -> None:
        last = self.geometry.slice_count(self.axis) - 1
        if obj.slice_range is not None and obj.slice_range[1] > last:
            raise PromptError(
                f"The slice range {obj.slice_range} of {obj.name!r} exceeds the last slice, {last}."
            )
        for prompt in obj.prompts:
            if prompt.slice.axis != self.axis:
                given, wanted = prompt.slice.axis.name.lower(), self.axis.name.lower()
                raise PromptError(f"A prompt of {obj.name!r} is for slice axis {given}, not {wanted}.")
            validate(prompt, self.geometry)

    def to_json(self) -> str:
        """The set as JSON text of schema version 1; every number comes back exactly."""
        from ._prompt_json import dumps  # it imports this module

        return dumps(self)

    @classmethod
    def from_json(cls, text: str, geometry: VolumeGeometry | None = None) -> PromptSet:
        """The set that `to_json` wrote; with `geometry`, only if it was made on that volume.

        Raises:
            PromptError: naming the field, its value and the reason.
        """
        from ._prompt_json import loads

        return loads(text, geometry)


def _check_choice(what: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise PromptError(f"The {what} must be one of {', '.join(choices)}, got {value!r}.")


def _slice_range(slice_range: Sequence[int], name: str) -> tuple[int, int]:
    values = tuple(whole(value, "slice range") for value in slice_range)
    if len(values) != 2 or values[0] > values[1]:
        raise PromptError(f"The slice range of {name!r} needs a first and a last slice, got {values}.")
    return values[0], values[1]


def _is_sha256(text: object) -> bool:
    return isinstance(text, str) and len(text) == 64 and set(text) <= set(string.hexdigits.lower())
