"""Hypothesis strategies for volumes and prompts: every kind of geometry a scanner or a converter produces."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
from hypothesis import strategies as st

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.core.prompts import (
    MaskPrompt,
    ObjectPrompts,
    PromptSet,
    Scribble,
    SliceRef,
    box_from_voxels,
    line_from_voxels,
    point_from_voxel,
)

axes = st.sampled_from(SliceAxis)
_signed_permutations = [
    np.diag(signs) @ np.eye(3)[list(order)]
    for signs, order in product(product((1.0, -1.0), repeat=3), permutations(range(3)))
]


def rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    cosines, sines = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    about_r = np.array([[1, 0, 0], [0, cosines[0], -sines[0]], [0, sines[0], cosines[0]]])
    about_a = np.array([[cosines[1], 0, sines[1]], [0, 1, 0], [-sines[1], 0, cosines[1]]])
    about_s = np.array([[cosines[2], -sines[2], 0], [sines[2], cosines[2], 0], [0, 0, 1]])
    return about_s @ about_a @ about_r


@st.composite
def geometries(draw: st.DrawFn, largest: int = 60) -> VolumeGeometry:
    """Mirrored, permuted, oblique, anisotropic and sheared volumes up to 2 m from the origin."""
    angle = st.one_of(st.just(0.0), st.floats(-math.pi, math.pi))
    shear = st.one_of(st.just(0.0), st.floats(-0.6, 0.6))
    shape = draw(st.tuples(*[st.integers(1, largest)] * 3))
    sheared = np.eye(3)
    sheared[0, 1], sheared[0, 2], sheared[1, 2] = draw(shear), draw(shear), draw(shear)
    turned = rotation(draw(angle), draw(angle), draw(angle)) @ draw(st.sampled_from(_signed_permutations))
    spacing = draw(st.tuples(*[st.floats(0.05, 20.0)] * 3))
    matrix = np.eye(4)
    matrix[:3, :3] = turned @ sheared * spacing
    matrix[:3, 3] = draw(st.tuples(*[st.floats(-2000.0, 2000.0)] * 3))
    return VolumeGeometry(shape, matrix)


def places(size: int) -> st.SearchStrategy[float]:
    return st.floats(-0.5, size - 0.5)


@st.composite
def prompts(draw: st.DrawFn, geometry: VolumeGeometry, axis: SliceAxis):
    rows, columns = geometry.slice_shape(axis)
    slice_ = SliceRef(axis, draw(st.integers(0, geometry.slice_count(axis) - 1)))
    turn = draw(st.integers(0, 3))
    kind = draw(st.sampled_from(["point", "box", "line", "scribble", "mask"]))
    if kind == "point":
        return point_from_voxel(
            geometry, slice_, draw(places(columns)), draw(places(rows)), draw(st.booleans()), turn
        )
    if kind == "scribble":
        pairs = draw(st.lists(st.tuples(places(columns), places(rows)), min_size=1, max_size=5))
        points = tuple(map(tuple, geometry.slice_to_ras(pairs, slice_.index, axis).tolist()))
        return Scribble(slice_, points, draw(st.booleans()), draw(st.floats(0.01, 50)), turn)
    if kind == "mask":
        mask = np.zeros((rows, columns), dtype=bool)
        for row in range(draw(st.integers(1, 3))):
            mask[row % rows, draw(st.integers(0, columns - 1)) :] = True
        return MaskPrompt(slice_, mask, turn)
    x0, y0 = draw(st.integers(0, columns - 1)), draw(st.integers(0, rows - 1))
    if kind == "box":
        x1, y1 = draw(st.integers(x0 + 1, columns)), draw(st.integers(y0 + 1, rows))
        return box_from_voxels(geometry, slice_, x0, y0, x1, y1, turn, positive=draw(st.booleans()))
    return line_from_voxels(geometry, slice_, x0, y0, x0 + 0.25, y0 - 0.25, turn)


@st.composite
def prompt_sets(draw: st.DrawFn) -> PromptSet:
    geometry, axis = draw(geometries(largest=12)), draw(axes)
    last = geometry.slice_count(axis) - 1
    names = draw(st.lists(st.text(min_size=1).filter(str.strip), max_size=3, unique=True))
    objects = []
    for name in names:
        color = draw(st.tuples(*[st.floats(0.0, 1.0)] * 3))
        first = draw(st.integers(0, last))
        limits = draw(st.sampled_from([None, (first, draw(st.integers(first, last)))]))
        prompt_set = draw(st.lists(prompts(geometry, axis), max_size=4))
        objects.append(ObjectPrompts(name, color, tuple(prompt_set), limits))
    lower = draw(st.floats(-1e6, 1e6))
    window = draw(st.sampled_from([None, Window(lower, lower + draw(st.floats(1e-3, 1e6)), "custom")]))
    checkpoint = draw(st.sampled_from([None, "0123456789abcdef" * 4]))
    tier = draw(st.sampled_from([None, "exact", "balanced", "fast"]))
    return PromptSet(geometry, axis, tuple(objects), window, checkpoint and "nano", checkpoint, tier)
