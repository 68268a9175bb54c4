from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import GeometryError, PromptError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import (
    Box,
    Lasso,
    MaskPrompt,
    ObjectPrompts,
    Point,
    PromptSet,
    RecistLine,
    Scribble,
    SliceRef,
    box_from_ras,
    box_from_voxels,
    in_slice,
    line_from_voxels,
    point_from_ras,
    point_from_voxel,
    validate,
)

from .strategies import axes, geometries, places

GEOMETRY = VolumeGeometry.from_spacing((30, 40, 50), (0.8, 0.9, 5.0), (-20.0, 10.0, 100.0))
SLICE = SliceRef(SliceAxis.K, 12)
MASK = np.zeros((40, 50), dtype=bool)
MASK[5:9, 6:20] = True


# -- places


@given(geometries(), axes, st.data())
def test_voxel_is_found_again_in_its_slice(
    geometry: VolumeGeometry, axis: SliceAxis, data: st.DataObject
) -> None:
    rows, columns = geometry.slice_shape(axis)
    index = SliceRef(axis, data.draw(st.integers(0, geometry.slice_count(axis) - 1)))
    x, y = data.draw(places(columns)), data.draw(places(rows))
    found = in_slice(point_from_voxel(geometry, index, x, y), geometry)
    # Indices are exact to a billionth of 2 m over voxels of 0.05 mm.
    assert np.allclose(found, [(x, y)], atol=1e-6, rtol=0)


@given(geometries(), axes, st.data())
def test_box_covers_the_voxel_edges_it_was_given(
    geometry: VolumeGeometry, axis: SliceAxis, data: st.DataObject
) -> None:
    rows, columns = geometry.slice_shape(axis)
    index = SliceRef(axis, data.draw(st.integers(0, geometry.slice_count(axis) - 1)))
    x0, y0 = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, columns)), data.draw(st.integers(y0 + 1, rows))
    box = box_from_voxels(geometry, index, x0, y0, x1, y1)
    assert np.allclose(
        in_slice(box, geometry), [(x0 - 0.5, y0 - 0.5), (x1 - 0.5, y1 - 0.5)], atol=1e-6, rtol=0
    )
    # Whichever corners the user dragged between, and however the volume is mirrored, the box is the same.
    again = box_from_ras(geometry, index, box.opposite_corner, box.corner)
    assert np.allclose(in_slice(again, geometry), in_slice(box, geometry), atol=1e-6, rtol=0)


@given(geometries(), axes, st.data())
def test_ras_point_belongs_to_the_slice_that_holds_it(
    geometry: VolumeGeometry, axis: SliceAxis, data: st.DataObject
) -> None:
    ijk = [data.draw(st.floats(-0.49, size - 0.51)) for size in reversed(geometry.shape)]
    ras = geometry.to_ras([ijk])[0]
    point = point_from_ras(geometry, axis, ras)
    assert abs(point.slice.index - ijk[2 - axis]) <= 0.5 + 1e-6
    assert point.ras == tuple(ras)


def test_line_ends_lie_at_voxel_centers() -> None:
    line = line_from_voxels(GEOMETRY, SLICE, 3, 4, 30, 31)
    assert line.start == pytest.approx((-20 + 3 * 0.8, 10 + 4 * 0.9, 100 + 12 * 5))
    assert in_slice(line, GEOMETRY) == pytest.approx(np.array([(3, 4), (30, 31)]))


def test_scribble_keeps_the_order_of_its_points() -> None:
    ends = line_from_voxels(GEOMETRY, SLICE, 3, 4, 30, 31)
    stroke = Scribble(SLICE, (ends.end, ends.start, ends.end), radius_mm=2)
    assert in_slice(stroke, GEOMETRY) == pytest.approx(np.array([(30, 31), (3, 4), (30, 31)]))


# -- values


def every_kind() -> list:
    line = line_from_voxels(GEOMETRY, SLICE, 3, 4, 30, 31, round=2)
    return [
        point_from_voxel(GEOMETRY, SLICE, 7, 8, positive=False),
        box_from_voxels(GEOMETRY, SLICE, 1, 2, 11, 12, round=1),
        line,
        Scribble(SLICE, (line.start, line.end), False, 3.5),
        MaskPrompt(SLICE, MASK),
    ]


def test_prompts_are_equal_by_value_and_hashable() -> None:
    assert every_kind() == every_kind()
    assert len({*every_kind(), *every_kind()}) == 5
    assert len({dataclasses.replace(prompt, round=9) for prompt in every_kind()} | set(every_kind())) == 10


def test_masks_of_one_count_but_another_shape_differ() -> None:
    one, other = np.ones((2, 6), dtype=bool), np.ones((3, 4), dtype=bool)
    assert MaskPrompt(SLICE, one) != MaskPrompt(SLICE, other)
    assert MaskPrompt(SLICE, one) != "mask"


def test_prompts_cannot_be_changed() -> None:
    for prompt in every_kind():
        with pytest.raises(dataclasses.FrozenInstanceError):
            prompt.round = 3
    mine = MASK.copy()
    prompt = MaskPrompt(SLICE, mine)
    mine[:] = True
    assert np.array_equal(prompt.mask, MASK)
    with pytest.raises(ValueError, match="read-only"):
        prompt.mask[0, 0] = True


def test_numpy_numbers_become_plain_ones() -> None:
    point = Point(SliceRef(SliceAxis.K, np.int64(3)), np.array([1, 2, 3], dtype=np.float32), np.bool_(True))
    assert [type(value) for value in point.ras] == [float] * 3
    assert type(point.slice.index) is int
    assert point.positive is True
    assert repr(Point(SLICE, (-0.0, 0, 0))) == repr(Point(SLICE, (0.0, 0, 0)))  # so that both write one text


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Point(SLICE, (1, 2)), r"three coordinates in mm, got \(1\.0, 2\.0\)"),
        (lambda: Point(SLICE, (1, 2, float("nan"))), "finite numbers, got nan"),
        (lambda: Point(SLICE, (1, 2, "3")), "needs numbers, got '3'"),
        (lambda: Point(SLICE, (1, 2, 10**400)), "finite numbers"),
        (lambda: Point(SLICE, (1, 2, 3), round=-1), "round must be a whole number from 0, got -1"),
        (lambda: SliceRef(SliceAxis.K, -1), "slice index must be a whole number from 0, got -1"),
        (lambda: SliceRef(SliceAxis.K, 1.5), "got 1.5"),
        (lambda: SliceRef(SliceAxis.K, True), "got True"),
        (lambda: Scribble(SLICE, ()), "at least one point"),
        (lambda: Scribble(SLICE, ((1, 2, 3),), radius_mm=0), "above 0 mm, got 0"),
        (lambda: MaskPrompt(SLICE, MASK.astype(np.uint8)), r"got uint8 of shape \(40, 50\)"),
        (lambda: MaskPrompt(SLICE, MASK[None]), r"shape \(1, 40, 50\)"),
        (lambda: RecistLine(SLICE, (1, 2, 3), (1, 2)), "line end needs three"),
    ],
)
def test_prompt_that_makes_no_sense_is_refused(make: object, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        make()


# -- against the volume


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: point_from_voxel(GEOMETRY, SLICE, 50, 3),
            "column 50.00, row 3.00, but the slice has 50 columns and 40",
        ),
        (lambda: point_from_voxel(GEOMETRY, SLICE, 3, -0.6), "row -0.60"),
        (
            lambda: point_from_voxel(GEOMETRY, SliceRef(SliceAxis.K, 30), 3, 3),
            "Slice 30 does not exist.* 0 to 29",
        ),
        (lambda: point_from_voxel(GEOMETRY, SLICE, float("nan"), 3), "finite"),
        (lambda: box_from_voxels(GEOMETRY, SLICE, 3, 4, 51, 20), "outside the volume: at column 50.50"),
        (lambda: box_from_voxels(GEOMETRY, SLICE, -1, 4, 5, 20), "outside the volume: at column -1.50"),
        (
            lambda: box_from_voxels(GEOMETRY, SLICE, 20, 4, 10, 20),
            "column 20, row 4 to column 10, row 20 is inverted",
        ),
        (lambda: box_from_voxels(GEOMETRY, SLICE, 3, 20, 10, 10), "inverted"),
        (
            lambda: box_from_voxels(GEOMETRY, SLICE, 3, 4, 3, 20),
            "column 3, row 4 to column 3, row 20 has no size",
        ),
        (lambda: line_from_voxels(GEOMETRY, SLICE, 3, 4, 3, 4), "no length"),
        (lambda: line_from_voxels(GEOMETRY, SLICE, 3, 4, 3, 44), "A line on slice 12 lies outside"),
        (
            lambda: validate(MaskPrompt(SLICE, MASK.T.copy()), GEOMETRY),
            r"shape \(50, 40\), the slice \(40, 50\)",
        ),
        (lambda: validate(MaskPrompt(SLICE, np.zeros_like(MASK)), GEOMETRY), "slice 12 is empty"),
        (lambda: validate(Point(SLICE, (0, 20, 166)), GEOMETRY), "does not lie on it, but at slice 13.20"),
        (lambda: box_from_ras(GEOMETRY, SLICE, (0, 0, 0), (900, 0, 0)), "outside the volume"),
    ],
)
def test_prompt_that_does_not_fit_the_volume_is_refused_with_its_place(make: object, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        make()


def test_point_outside_every_slice_is_refused() -> None:
    with pytest.raises(GeometryError, match="outside the volume: at slice -20"):
        point_from_ras(GEOMETRY, SliceAxis.K, (0, 20, 0))


def test_box_over_the_whole_slice_is_inside() -> None:
    box = box_from_voxels(GEOMETRY, SLICE, 0, 0, 50, 40)
    validate(box, GEOMETRY)
    validate(Box(SLICE, box.corner, box.opposite_corner), GEOMETRY)


# -- sets


def test_prompt_set_refuses_what_does_not_belong_together() -> None:
    point = point_from_voxel(GEOMETRY, SLICE, 7, 8)
    liver = ObjectPrompts("liver", (1, 0, 0), (point,))
    with pytest.raises(PromptError, match="same name, 'liver'"):
        PromptSet(GEOMETRY, SliceAxis.K, (liver, liver))
    with pytest.raises(PromptError, match="slice axis k, not j"):
        PromptSet(GEOMETRY, SliceAxis.J, (liver,))
    with pytest.raises(PromptError, match="tier must be one of exact, balanced, fast, got 'quick'"):
        PromptSet(GEOMETRY, SliceAxis.K, (liver,), tier="quick")
    with pytest.raises(PromptError, match="64 hexadecimal digits, got 'ABC'"):
        PromptSet(GEOMETRY, SliceAxis.K, (liver,), checkpoint_sha256="ABC")
    with pytest.raises(PromptError, match=r"\(0, 30\) of 'liver' exceeds the last slice, 29"):
        PromptSet(GEOMETRY, SliceAxis.K, (dataclasses.replace(liver, slice_range=(0, 30)),))
    with pytest.raises(PromptError, match="outside the volume"):
        PromptSet(VolumeGeometry((30, 4, 5), GEOMETRY.ijk_to_ras), SliceAxis.K, (liver,))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"name": " "}, "needs a name"),
        ({"color": (1, 2, 0)}, "within 0 and 1"),
        ({"color": (1, 0)}, "red, green and blue"),
        ({"color": (1, 0, float("nan"))}, "finite"),
        ({"slice_range": (5, 3)}, r"first and a last slice, got \(5, 3\)"),
        ({"slice_range": (5,)}, "first and a last slice"),
        ({"prompts": ("point",)}, "not a prompt: 'point'"),
    ],
)
def test_object_that_makes_no_sense_is_refused(arguments: dict, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        ObjectPrompts(**{"name": "liver", "color": (1, 0, 0), **arguments})


@pytest.mark.parametrize("name", ["l\udce9sion", "\ud800"])
def test_a_name_that_no_file_can_hold_is_refused_at_once(name: str) -> None:
    with pytest.raises(PromptError, match="not valid text") as error:
        ObjectPrompts(name, (1.0, 0.0, 0.0))
    str(error.value).encode("utf-8")


def test_only_clicks_and_strokes_on_the_object_mark_its_voxels() -> None:
    place, here, there = SliceRef(SliceAxis.K, 3), (0.0, 0.0, 0.0), (4.0, 3.0, 0.0)
    assert Point(place, here).marks_inside
    assert Scribble(place, (here, there)).marks_inside
    others = [
        Point(place, here, positive=False),
        Scribble(place, (here, there), positive=False),
        Box(place, here, there),
        RecistLine(place, here, there),
        Lasso(place, (here, there, (0.0, 5.0, 0.0))),
        MaskPrompt(place, np.ones((3, 4), bool)),
    ]
    assert not any(prompt.marks_inside for prompt in others)
