"""RadioActive's prompts and corrections on small shapes."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.prompts import Box, Point, Prompt, in_slice
from MedSAMSlicerLib.lab.evaluation import radioactive_places as places
from MedSAMSlicerLib.lab.evaluation.protocol import PROTOCOLS
from MedSAMSlicerLib.lab.evaluation.radioactive_protocol import RADIOACTIVE, RadioActiveProtocol
from MedSAMSlicerLib.lab.evaluation.runners import EngineRunner
from MedSAMSlicerLib.lab.evaluation.trial import run_trial
from MedSAMSlicerLib.sam2.checkpoint import seeded
from MedSAMSlicerLib.sam2.config import NANO

from .labeled_volumes import GEOMETRY, SHAPE, brick, ellipsoid, target_of, volume_of


def protocol(what: str) -> RadioActiveProtocol:
    found = PROTOCOLS[f"RadioActive: {what}"]
    assert isinstance(found, RadioActiveProtocol)
    return found


def pixel(prompt: Prompt) -> tuple[int, int, int]:
    """Slice, row and column of a point."""
    assert isinstance(prompt, Point)
    x, y = in_slice(prompt, GEOMETRY)[0].round().astype(int).tolist()
    return prompt.slice.index, y, x


def first(what: str, mask: np.ndarray, axis: SliceAxis = SliceAxis.K) -> tuple[Prompt, ...]:
    found = protocol(what).first(target_of(mask, axis), GEOMETRY, [0])
    assert protocol(what).prompted_slices(target_of(mask, axis)) == tuple(
        sorted({prompt.slice.index for prompt in found})
    )
    return found


def sides(box: Prompt) -> list[float]:
    assert isinstance(box, Box)
    return in_slice(box, GEOMETRY).ravel().tolist()


def test_points_lie_in_the_object_on_each_of_its_slices_and_are_different() -> None:
    mask = brick()
    found = [pixel(prompt) for prompt in first("3 points a slice", mask)]
    assert len(set(found)) == len(found) == 3 * 9
    assert all(mask[place] for place in found)
    assert first("3 points a slice", mask) == first("3 points a slice", mask)


def test_where_a_slice_has_fewer_pixels_some_are_clicked_twice() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[4, 5, 5:7] = mask[5, 5, 5:7] = True
    assert len(first("5 points a slice", mask)) == 10


def test_points_beside_the_object_lie_in_a_ring_of_three_to_five_pixels() -> None:
    plane = np.zeros((21, 21), bool)
    plane[10, 10] = True
    ring = places.ring(plane)
    assert [bool(ring[10, 10 + away]) for away in range(1, 8)] == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    found = first("5 points a slice, in and out", brick())
    inside = [pixel(p) for p in found if isinstance(p, Point) and p.positive]
    beside = [pixel(p) for p in found if isinstance(p, Point) and not p.positive]
    assert (len(inside), len(beside)) == (3 * 9, 2 * 9)
    assert all(brick()[place] for place in inside)
    for index, y, x in beside:
        away = max(8 - y, y - 24, 10 - x, x - 30)
        assert 3 <= away <= 5, (index, y, x)


def test_boxes_of_slices_and_of_the_object() -> None:
    mask = brick()
    mask[3, :, :20] = False
    by_slice = first("box a slice", mask)
    assert sides(by_slice[0]) == pytest.approx([19.5, 7.5, 30.5, 24.5])
    whole = first("box of the object a slice", mask)
    assert [len(by_slice), len(whole)] == [9, 9]
    assert all(sides(box) == pytest.approx([9.5, 7.5, 30.5, 24.5]) for box in whole)
    [single] = first("box in 3-D", mask)
    assert (single.slice.index, sides(single)) == (7, pytest.approx([9.5, 7.5, 30.5, 24.5]))


def test_slices_are_spread_from_the_first_to_the_last_and_move_to_the_nearest_that_holds_the_object() -> None:
    held = np.array([0, 1, 1, 0, 0, 1, 1, 1, 1, 0], bool)
    assert places.spread_slices(held, 3) == [1, 5, 8]  # 4 holds nothing
    assert places.spread_slices(held, 2) == [1, 8]
    assert places.spread_slices(held, 10) == [1, 2, 5, 6, 8]  # six places: 1, 2, 3, 5, 6 and 8
    assert places.median_slice(held) == 5  # between 5 and 6: rounded down
    assert places.median_slice(np.array([1, 0, 0, 0, 1], bool)) == 0


def test_boxes_are_interpolated_between_a_few_slices() -> None:
    mask = np.zeros(SHAPE, bool)
    for index in range(2, 11):
        mask[index, 10:20, 4 : 10 + 2 * index] = True
    mask[4, 10:20, 30:40] = True  # never looked at
    found = first("3 boxes interpolated", mask)
    assert [box.slice.index for box in found] == list(range(2, 11))
    assert [sides(box)[2] for box in found] == pytest.approx([13.5 + 2 * step for step in range(9)])
    assert protocol("3 boxes interpolated").first_interactions(target_of(mask), found) == 3
    assert places.interpolated([(4, 0, 8), (0, 2, 0)]) == [
        (0, 2, 0),
        (1, 2, 2),
        (2, 1, 4),
        (3, 0, 6),
        (4, 0, 8),
    ]


def test_points_are_interpolated_between_the_centers_of_the_largest_parts() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[2, 10:13, 10:13] = mask[6, 10:13, 18:21] = mask[10, 10:13, 10:13] = True
    mask[2, 30, 2] = True
    for index in (3, 4, 5, 7, 8, 9):
        mask[index, 10:13, 10:21] = True
    found = [pixel(prompt) for prompt in first("3 points interpolated", mask)]
    assert found[0] == (2, 11, 11)
    assert found[2] == (4, 11, 15)
    assert found[4] == (6, 11, 19)
    assert len(found) == 9


def test_the_center_of_a_hollow_shape_is_moved_into_it() -> None:
    plane = np.ones((5, 7), bool)
    plane[1:4, 1:6] = False
    assert plane[places.box_center(plane)]
    assert plane[places.mass_center(plane)]
    corner = np.zeros((6, 6), bool)
    corner[0, 0] = corner[1, 1] = corner[2, 2] = True  # one part over corners
    corner[5, 4:6] = True
    assert places.box_center(corner) == (1, 1)


def test_what_is_propagated_starts_on_the_median_slice_with_the_range() -> None:
    target = target_of(brick())
    found = first("5 points propagated", brick())
    assert [prompt.slice.index for prompt in found] == [7] * 5
    [box] = first("box propagated", brick())
    assert box.slice.index == 7
    assert protocol("box propagated").slice_range(target) == (3, 11)
    assert protocol("3 points in 3-D").slice_range(target) is None


def test_points_in_3_d_lie_anywhere_in_the_object_or_along_its_middle() -> None:
    mask = ellipsoid()
    found = [pixel(prompt) for prompt in first("10 points in 3-D", mask)]
    assert len(set(found)) == 10
    assert all(mask[place] for place in found)
    middle = [pixel(prompt) for prompt in first("3 center points in 3-D", mask)]
    assert middle == [
        (4, 18, 20),
        (7, 18, 20),
        (9, 18, 20),
    ]  # a quarter, a half and three quarters of 2 .. 12


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_prompts_lie_on_the_slices_of_any_axis(axis: SliceAxis) -> None:
    mask = ellipsoid()
    for prompt in first("1 point a slice", mask, axis):
        index, y, x = pixel(prompt)
        assert np.moveaxis(mask, int(axis), 0)[index, y, x]


# --------------------------------------------------------------------------------------------------------- corrections


def test_what_was_missed_gets_a_point_on_each_slice_of_its_largest_part() -> None:
    shown = brick()
    shown[4:7, 10:13, 12:15] = False
    shown[9, 20, 25] = False
    more = protocol("3 boxes interpolated, corrected").next_correction(
        target_of(brick()), shown, GEOMETRY, (), 2
    )
    assert more is not None
    assert [pixel(prompt) for prompt in more.prompts] == [(index, 11, 13) for index in (4, 5, 6)]
    assert {(p.positive, p.round) for p in more.prompts if isinstance(p, Point)} == {(True, 2)}
    assert more.degrees == 9


def test_what_leaked_gets_a_scribble_two_pixels_beside_the_object() -> None:
    shown = brick()
    shown[:, 8:25, 31:40] = True
    more = protocol("3 boxes interpolated, corrected").next_correction(
        target_of(brick()), shown, GEOMETRY, (), 1
    )
    assert more is not None
    assert more.degrees == 12
    found = [pixel(prompt) for prompt in more.prompts]
    assert not any(p.positive for p in more.prompts if isinstance(p, Point))
    assert all(shown[place] and not brick()[place] for place in found)
    assert len({y for _, y, _ in found}) == 1  # one plane across the slices


def test_a_scribble_takes_three_fifths_of_the_contour_where_all_around_leaked() -> None:
    truth = np.zeros((41, 41), bool)
    truth[15:26, 15:26] = True
    seen = np.ones_like(truth)
    stroke = places.scribble_beside(truth, seen, np.random.RandomState(0))
    grown = np.zeros_like(truth)
    grown[13:28, 15:26] = grown[15:26, 13:28] = True
    rows, columns = np.nonzero(stroke)
    assert ((rows < 15) | (rows > 25) | (columns < 15) | (columns > 25)).all()
    around = 4 * 11 + 8 * 2  # pixels of the contour, about
    assert 0.4 * around <= np.count_nonzero(stroke) <= 0.75 * around


def test_without_an_object_on_the_plane_the_scribble_is_the_fullest_column() -> None:
    seen = np.zeros((6, 8), bool)
    seen[1:4, 2] = seen[0:6, 5] = True
    stroke = places.scribble_beside(np.zeros_like(seen), seen, np.random.RandomState(0))
    assert np.argwhere(stroke)[:, 1].tolist() == [5] * 6


def test_a_leak_that_no_scribble_reaches_gets_three_points() -> None:
    shown = brick()
    shown[5:7, 33:35, 35:37] = True  # rows without an object would give a column; here one is on the plane
    truth = brick()
    truth[3, 33, 1:3] = shown[3, 33, 1:3] = True
    truth[3, 34, 1:3] = shown[3, 34, 1:3] = True
    more = protocol("3 boxes interpolated, corrected").next_correction(
        target_of(truth), shown, GEOMETRY, (), 1
    )
    assert more is not None
    assert (len(more.prompts), more.degrees) == (3, 9)
    assert not any(p.positive for p in more.prompts if isinstance(p, Point))


def test_a_wrong_pixel_on_every_slice_and_a_wrong_voxel_are_reported_by_the_truth() -> None:
    shown = brick()
    shown[5, 10, 12] = False
    shown[6, 30, 12] = True
    target = target_of(brick())
    each = protocol("1 point a slice, each slice, corrected").next_correction(target, shown, GEOMETRY, (), 1)
    assert each is not None
    assert [(pixel(p), p.positive) for p in each.prompts if isinstance(p, Point)] == [
        ((5, 10, 12), True),
        ((6, 30, 12), False),
    ]
    assert each.degrees == 6
    single = protocol("1 point in 3-D, corrected").next_correction(target, shown, GEOMETRY, (), 1)
    assert single is not None
    assert pixel(single.prompts[0]) in {(5, 10, 12), (6, 30, 12)}
    assert protocol("1 point in 3-D, corrected").next_correction(target, brick(), GEOMETRY, (), 1) is None


def test_pictures_are_left_out_and_unknown_styles_are_refused() -> None:
    assert not any(each.fits(target_of(brick()[7:8])) for each in RADIOACTIVE)
    with pytest.raises(MedSAMError, match=r"style is one of .* not 'dream'"):
        RadioActiveProtocol("wrong", style="dream")
    with pytest.raises(MedSAMError, match="at least one prompt"):
        RadioActiveProtocol("wrong", count=0)


def test_the_engine_is_corrected_slice_by_slice_and_the_effort_is_counted() -> None:
    runner = EngineRunner("net", seeded(NANO, 3), tier="exact", threads=1, volume_stage="off")
    mask = ellipsoid(radii=(2, 9, 12))
    measured = run_trial(
        volume_of(mask), target_of(mask), protocol("3 boxes interpolated, corrected"), runner, 0
    )
    assert measured.error is None
    assert [step.interactions for step in measured.steps] == [3 + n for n in range(len(measured.steps))]
    degrees = [step.degrees for step in measured.steps]
    assert degrees[0] is None
    assert degrees[1:] == sorted(value for value in degrees[1:] if value is not None)
    assert len(degrees) > 1
