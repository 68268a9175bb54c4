"""Tables of key slices, of one box with clicks, and of RadioActive, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedSAMSlicerLib.core.prompts import Box, MaskPrompt, Point, box_from_voxels
from MedSAMSlicerLib.lab.evaluation.accuracy_report import as_markdown
from MedSAMSlicerLib.lab.evaluation.html_report import as_html
from MedSAMSlicerLib.lab.evaluation.protocol import (
    KEY_SLICES,
    MEDSAM2_44,
    PROTOCOLS,
    SUITES,
    boxed_key_slices,
    drawn_key_slices,
)
from MedSAMSlicerLib.lab.evaluation.protocol_tables import (
    clicks_table,
    clicks_that_lowered,
    key_slices_table,
    protocol_tables,
    radioactive_table,
    study_2d_table,
    study_table,
)
from MedSAMSlicerLib.lab.evaluation.study_protocol import STUDY_PROTOCOLS, mean_iou

from .labeled_volumes import GEOMETRY, brick, target_of
from .reports import OURS, measurement, report


@pytest.mark.parametrize(
    ("count", "slices"), [(1, (7,)), (2, (5, 9)), (3, (4, 7, 10)), (5, (3, 5, 7, 9, 11))]
)
def test_key_slices_lie_evenly_over_the_object_as_boxes_or_as_it_is(
    count: int, slices: tuple[int, ...]
) -> None:
    mask = brick()
    mask[3:6, :12] = False  # the largest slice does not matter
    boxes = PROTOCOLS[boxed_key_slices(count)].first(target_of(mask), GEOMETRY, [0])
    masks = PROTOCOLS[drawn_key_slices(count)].first(target_of(mask), GEOMETRY, [0])
    assert tuple(box.slice.index for box in boxes) == tuple(drawn.slice.index for drawn in masks) == slices
    assert all(isinstance(box, Box) for box in boxes)
    for drawn in masks:
        assert isinstance(drawn, MaskPrompt)
        assert np.array_equal(drawn.mask, mask[drawn.slice.index])


def test_the_table_of_key_slices_has_a_column_for_each_number() -> None:
    made = report(
        measurement(protocol=boxed_key_slices(1), dices=(0.6,)),
        measurement(protocol=boxed_key_slices(3), dices=(0.8,)),
        measurement(protocol=drawn_key_slices(5), dices=(0.9,)),
    )
    table = key_slices_table(made)
    assert table.columns[3:7] == ("1", "2", "3", "5")
    assert table.rows == (
        ("boxes", OURS, "1", ".600 (.650)", "–", ".800 (.850)", "–", "0.50 s"),
        ("masks", OURS, "1", "–", "–", "–", ".900 (.950)", "0.50 s"),
    )
    assert len(SUITES["key-slices"]) == 2 * len(KEY_SLICES)


def test_one_box_with_clicks_shows_the_volume_after_each_and_the_clicks_that_made_it_worse() -> None:
    members = [
        measurement("a", protocol=MEDSAM2_44[0], dices=(0.5, 0.6, 0.55, 0.7)),
        measurement("b", protocol=MEDSAM2_44[0], dices=(0.9, 0.8)),
        measurement("c", protocol=MEDSAM2_44[0], dices=(), error="No."),
    ]
    assert clicks_that_lowered(members) == (2, 4)
    [row] = clicks_table(report(*members)).rows
    dice = [(0.5 + 0.9) / 3, (0.6 + 0.8) / 3, (0.55 + 0.8) / 3, (0.7 + 0.8) / 3]
    assert row[:3] == (MEDSAM2_44[0], OURS, "3")
    assert [cell.split()[0] for cell in row[3:7]] == [f"{value:.3f}"[1:] for value in dice]
    assert row[7:] == ("–", "–", "50 % of 4")


def test_the_box_is_on_the_largest_slice_without_a_range_and_clicks_go_anywhere() -> None:
    both, positive = (PROTOCOLS[name] for name in MEDSAM2_44)
    target = target_of(brick())
    assert both.prompted_slices(target) == (3,)
    assert both.slice_range(target) is None
    shown = brick()
    shown[13, 5:30, 5:30] = True  # beyond the object
    more = both.next_correction(target, shown, GEOMETRY, (), 1)
    assert more is not None
    assert more.prompts[0].slice.index == 13
    assert positive.next_correction(target, shown, GEOMETRY, (), 1) is None


def test_radioactive_counts_what_is_given_first_and_the_degrees_of_freedom_after() -> None:
    from dataclasses import replace

    corrected = measurement(
        protocol="RadioActive: 3 boxes interpolated, corrected", dices=(0.5, 0.8), interactions=3
    )
    first, last = corrected.steps
    corrected = replace(corrected, steps=(first, replace(last, degrees=12)))
    plain = measurement(protocol="RadioActive: box a slice", dices=(0.7,), interactions=9)
    rows = radioactive_table(report(corrected, plain)).rows
    assert rows == (
        ("box a slice", OURS, "1", "9.0", ".700", "–", "–"),
        ("3 boxes interpolated, corrected", OURS, "1", "3.0", ".500", ".800", "12"),
    )


def test_the_tables_stand_in_the_report_only_where_they_say_something() -> None:
    assert all(not table.rows for table in protocol_tables(report(measurement())))
    made = report(measurement(protocol=boxed_key_slices(2), dices=(0.6,)))
    assert "Key slices:" in as_markdown(made)
    assert "CVPR 2025" not in as_markdown(made)
    assert "<h3>Key slices</h3>" in as_html(made)


def test_the_grid_of_the_sam2_study_prompts_slices_and_parts_as_it_says() -> None:
    mask = brick()
    held = np.flatnonzero(mask.any(axis=(1, 2)))
    mask[held[0]] = False
    mask[held[0], 2:5, 2:5] = mask[held[0], 2:4, 8:10] = mask[held[0], 9, 2] = mask[held[0], 12, 12] = True
    target = target_of(mask)
    cells = {protocol.cell: protocol for protocol in STUDY_PROTOCOLS}
    assert len(cells) == 35 + 12
    assert cells["middle, box, both ways"].prompted_slices(target) == (int(held[len(held) // 2]),)
    assert cells["largest, box, forward"].prompted_slices(target) == (target.largest_slice,)
    assert len(cells["three, mask, both ways"].prompted_slices(target)) == 3
    points = cells["first, points, forward"].first(target, GEOMETRY, [0])
    assert [type(point) for point in points] == [Point] * 3
    assert len(cells["first, point, forward"].first(target, GEOMETRY, [0])) == 1
    [one] = cells["first, box, forward"].first(target, GEOMETRY, [0])
    assert one == box_from_voxels(GEOMETRY, one.slice, 2, 2, 5, 5)
    assert cells["first, box, forward"].slice_range(target) is None


def in_parts() -> np.ndarray:
    """The brick; its first slice is in four parts of 9, 4, 2 and 1 voxels, its second in two."""
    mask = brick()
    mask[3:5] = False
    mask[3, 2:5, 2:5] = mask[3, 2:4, 8:10] = mask[3, 9, 2:4] = mask[3, 12, 12] = True
    mask[4, 20:26, 20:26] = mask[4, 2:4, 2:4] = True
    return mask


def test_several_boxes_are_as_many_objects_by_size_of_their_parts() -> None:
    cells = {protocol.cell: protocol for protocol in STUDY_PROTOCOLS}
    target = target_of(in_parts())
    boxes = cells["first, boxes, forward"]
    given = boxes.first(target, GEOMETRY, [0])
    sides = [(2, 2, 5, 5), (8, 2, 10, 4), (2, 9, 4, 10)]  # of up to three parts, the largest first
    assert given == tuple(box_from_voxels(GEOMETRY, given[0].slice, *map(float, each)) for each in sides)
    assert boxes.as_objects(given) == [(box,) for box in given]
    everywhere = cells["boxes, first mask"]
    first, second, third = everywhere.as_objects(everywhere.first(target, GEOMETRY, [0]))
    assert [len(first), len(second), len(third)] == [9, 2, 1]
    assert first[1] == box_from_voxels(GEOMETRY, first[1].slice, 20, 20, 26, 26)
    points = cells["first, points, forward"]
    assert len(points.as_objects(points.first(target, GEOMETRY, [0]))) == 1


def test_in_2d_every_slice_is_prompted_and_the_mask_of_a_token_is_taken() -> None:
    target = target_of(brick())
    cells = [protocol for protocol in STUDY_PROTOCOLS if protocol.is_single_frame]
    assert [protocol.mask_token for protocol in cells] == ["single"] * 4 + ["first"] * 4 + ["best"] * 4
    for protocol in cells:
        assert protocol.fits(target)
        assert protocol.prompted_slices(target) == tuple(range(3, 12))


def test_the_table_in_2d_has_a_row_for_each_mask_and_runner() -> None:
    members = [
        measurement(protocol=f"SAM 2 study, 2-D: box, {token} mask", dices=(value,))
        for token, value in (("first", 1.0), ("best", 0.5))
    ]
    made = report(*(replace(m, slice_range=(3, 3), slices=((3, m.steps[0].dice),)) for m in members))
    assert study_table(made).rows == ()
    assert study_2d_table(made).rows == (
        ("first", OURS, "1", "–", "–", "1.000", "–"),
        ("best", OURS, "1", "–", "–", ".333", "–"),
    )


def test_the_table_of_the_study_is_the_iou_of_the_slices_that_hold_the_object() -> None:
    name = next(p.name for p in STUDY_PROTOCOLS if p.cell == "middle, box, both ways")
    made = replace(
        measurement(protocol=name, dices=(0.5,)), slice_range=(3, 4), slices=((3, 1.0), (4, 0.5), (9, 0.0))
    )
    assert mean_iou(made) == pytest.approx((1 + 1 / 3) / 2)
    table = study_table(report(made))
    assert table.rows == (("middle", "both", OURS, "1", "–", "–", ".667", "–", "–"),)
