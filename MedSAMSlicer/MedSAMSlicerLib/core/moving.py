"""Prompts and objects that move with their volume: other places in space, the same voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from .geometry import FloatArray, VolumeGeometry
from .prompts import RAS, Prompt, PromptSet
from .segment_object import SegmentObject

Mover = Callable[[Prompt], Prompt]


def mover(before: VolumeGeometry, after: VolumeGeometry) -> Mover:
    """Return what moves a prompt of a volume with geometry `before` to the same voxels of `after`, of the same shape.

    A stroke becomes wider or narrower as the volume does on the whole.
    """
    matrix = after.ijk_to_ras @ before.ras_to_ijk
    scale = float(abs(np.linalg.det(matrix[:3, :3])) ** (1 / 3))

    def moved(prompt: Prompt) -> Prompt:
        return prompt.moved(lambda ras: _applied(matrix, ras), scale)

    return moved


def moved_object(obj: SegmentObject, move: Mover) -> SegmentObject:
    """The object with all its prompts moved, those of its past as well; masks are of voxels and stay."""
    propagated, settled = (
        {index: (tuple(map(move, prompts)), mask, turn) for index, (prompts, mask, turn) in content.items()}
        for content in (obj.propagated, obj.settled)
    )
    previews = {
        index: replace(preview, prompts=tuple(map(move, preview.prompts)))
        for index, preview in obj.previews.items()
    }
    return replace(
        obj,
        object_prompts=replace(obj.object_prompts, prompts=tuple(map(move, obj.prompts))),
        propagated=MappingProxyType(propagated),
        settled=MappingProxyType(settled),
        previews=MappingProxyType(previews),
    )


def moved_prompts(prompts: PromptSet, geometry: VolumeGeometry) -> PromptSet:
    """A prompt set for the same voxels, which lie in `geometry` now."""
    move = mover(prompts.geometry, geometry)
    objects = tuple(replace(obj, prompts=tuple(map(move, obj.prompts))) for obj in prompts.objects)
    return replace(prompts, geometry=geometry, objects=objects)


def _applied(matrix: FloatArray, ras: RAS) -> RAS:
    x, y, z = (matrix[:3, :3] @ ras + matrix[:3, 3]).tolist()
    return x, y, z
