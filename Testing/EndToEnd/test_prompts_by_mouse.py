"""Prompts that are dragged, deleted, refused, and given in every view."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PySide6 import QtGui

from .user import User, dice, largest, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
Pixels = npt.NDArray[np.int_]
KIDNEY, OTHER = "left_kidney", "right_kidney"


def center(user: User, name: str) -> tuple[float, float, float]:
    """The middle voxel (i, j, k) of an object on its largest slice."""
    index, _, _ = largest(user.truth[name])
    found = np.argwhere(user.truth[name][index])
    j, i = found[np.abs(found - found.mean(axis=0)).sum(axis=1).argmin()]
    return float(i), float(j), float(index)


def where(user: User) -> list[float]:
    """Right, anterior and superior, in mm, of the sagittal, the coronal and the axial view."""
    nodes = [user.host.view(name).mrmlSliceNode() for name in ("Yellow", "Green", "Red")]
    return [node.GetSliceToRAS().GetElement(row, 3) for row, node in enumerate(nodes)]


def test_first_prompt_of_an_object_brings_the_other_views_to_its_place(user: User) -> None:
    i, j, k = center(user, KIDNEY)
    place = user.world(i, j, k)
    user.point((i, j, k))
    assert np.allclose(where(user), place, atol=2.0)
    user.picture("three-planes")
    after_first = where(user)
    user.point((i + 6, j + 6, k))
    user.press("undoButton")
    user.settled()
    assert where(user) == after_first
    user.press("addSegmentButton")
    user.settled()
    _, low, high = largest(user.truth[OTHER])
    user.box(low, high)
    middle = user.world(*((a + b) / 2 for a, b in zip(low, high, strict=True)))
    assert np.allclose(where(user), middle, atol=2.0)


def test_point_shows_a_mask_at_once_and_a_dragged_point_takes_it_along(user: User) -> None:
    start = center(user, KIDNEY)
    i, j, _ = center(user, "aorta")
    end = (i, j, start[2])
    user.point(start)
    before = user.mask()
    assert before[int(start[2]), int(start[1]), int(start[0])]
    user.host.drag("Red", [user.world(*start), user.world(*end)])
    user.settled()
    [point] = user.prompts()
    assert np.allclose(point.ras, (user.matrix @ [*end, 1])[:3], atol=3.0)
    after = user.mask()
    assert not same(after, before)
    assert after[int(end[2]), int(end[1]), int(end[0])]
    assert user.controller.history.undo_label
    user.host.key("Ctrl+Z", view="Red")
    user.settled()
    assert same(user.mask(), before)


def test_dragged_handle_of_a_box_changes_box_and_preview(user: User) -> None:
    index, low, high = largest(user.truth[KIDNEY])
    user.box(low, high)
    before, [box] = user.mask(), user.prompts()
    middle = ((low[0] + high[0]) / 2, low[1], index)
    farther = (middle[0], (low[1] + high[1]) / 2, index)
    user.host.drag("Red", [user.world(*middle), user.world(*farther)])
    user.settled()
    [smaller] = user.prompts()
    assert smaller != box
    assert smaller.slice == box.slice
    assert not same(user.mask(), before)
    assert np.flatnonzero(user.mask().any(axis=(1, 2))).tolist() == [index]


def pixels(user: User, view: str = "Red") -> Pixels:
    """(rows, columns, 3): what a slice view shows, before Qt makes it larger or smaller."""
    image = user.host.picture(user.host._canvas(view)).convertToFormat(QtGui.QImage.Format.Format_RGB888)
    lines = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return lines[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def pointed_at(user: User, place: tuple[float, float, float], view: str = "Red") -> Pixels:
    """What a view shows with the mouse at a voxel (i, j, k)."""
    user.host.move(view, user.world(*place))
    user.host.process_events(0.05)
    return pixels(user, view)


def box_frames() -> list[Any]:
    import slicer

    found = slicer.util.getNodesByClass("vtkMRMLModelNode")
    return [each for each in found if each.GetName() == "MedSAMSlicer box frame"]


def test_box_has_a_frame_one_pixel_wide_and_handles_only_where_the_mouse_is(user: User) -> None:
    index, low, high = largest(user.truth[KIDNEY])
    far, middle = (8.0, 8.0, index), ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, index)
    below = (middle[0], high[1], index)
    user.box(low, high)
    at_rest = pointed_at(user, far)
    edge = user.host.position("Red", user.world(*below))
    beside_corner = user.host.position("Red", user.world(*low)).x() + 3  # where there is no mask
    across = at_rest[edge.y() - 4 : edge.y() + 5, beside_corner]
    colored = across.max(axis=1) - across.min(axis=1) > 100
    assert colored.sum() == 1
    hovered = pointed_at(user, middle)
    changed = np.argwhere((hovered != at_rest).any(axis=2))
    corners = [user.host.position("Red", user.world(*corner)) for corner in (low, high)]
    for at in (*corners, edge):
        assert (np.abs(changed - [at.y(), at.x()]).max(axis=1) <= 5).any(), f"no handle at {at}"
    user.picture("box-hovered")
    other = user.host.view("Green").mrmlSliceNode().GetID()
    [roi] = user.markups("vtkMRMLMarkupsROINode")
    assert not roi.GetDisplayNode().IsDisplayableInView(other)
    assert (pointed_at(user, far) == at_rest).all()
    assert roi.GetDisplayNode().IsDisplayableInView(other)
    user.host.drag("Red", [user.world(*below), user.world(middle[0], high[1] + 5, index)])
    user.settled()
    moved = pointed_at(user, far)
    new_edge = user.host.position("Red", user.world(middle[0], high[1] + 5, index))
    across = moved[new_edge.y() - 4 : new_edge.y() + 5, beside_corner]
    assert (across.max(axis=1) - across.min(axis=1) > 100).sum() == 1
    assert len(box_frames()) == 1


def test_handles_of_a_box_around_a_small_object_cover_no_more_than_half_of_it(user: User) -> None:
    i, j, k = center(user, KIDNEY)
    low, high = (i - 1.0, j - 1.0, k), (i + 1.0, j + 1.0, k)
    user.box(low, high)
    at_rest, hovered = pointed_at(user, (8.0, 8.0, k)), pointed_at(user, (i, j, k))
    one, other = (user.host.position("Red", user.world(*corner)) for corner in (low, high))
    side = abs(one.x() - other.x())
    changed = np.argwhere((hovered != at_rest).any(axis=2))
    outside = np.maximum(changed - max(one.y(), other.y()), 0)[:, 0].max()
    assert 5 < side < 16  # so that handles as large as those of a large box would cover it
    assert len(changed) > 0
    assert outside <= side / 4 + 1.5


def test_frames_of_boxes_are_no_part_of_the_saved_scene_and_go_with_their_box(user: User) -> None:
    index, low, high = largest(user.truth[KIDNEY])
    user.box(low, high)
    [frame] = box_frames()
    assert not frame.GetSaveWithScene()
    assert not frame.GetDisplayNode().GetSaveWithScene()
    user.press("addSegmentButton")
    user.settled()
    assert not frame.GetDisplayVisibility()
    user.box((20.0, 20.0, index), (30.0, 30.0, index))
    [_, new] = box_frames()
    assert new.GetDisplayVisibility()
    user.press("undoButton")
    user.settled()
    assert box_frames() == [frame]


@pytest.mark.parametrize(("button", "what"), [("boxButton", "corners"), ("lineButton", "ends")])
def test_two_clicks_at_one_place_say_what_to_do_and_the_tool_stays_in_hand(
    user: User, button: str, what: str
) -> None:
    _, low, high = largest(user.truth[KIDNEY])
    user.press(button)
    user.host.click("Red", user.world(*low))
    user.host.click("Red", user.world(*low), jump=False)
    user.host.process_events(0.05)
    user.settled()
    assert user.message.startswith("Both clicks were at the same place")
    assert what in user.message
    assert getattr(user.ui, button).checked
    assert user.markups() == []
    user.host.click("Red", user.world(*low))
    user.host.click("Red", user.world(*high), jump=False)
    user.host.process_events(0.05)
    user.settled()
    assert len(user.prompts()) == 1
    assert len(user.markups()) == 1
    assert not getattr(user.ui, button).checked
    assert "one place" not in user.message


def test_deleted_point_takes_its_prompt_and_mask_away_and_undo_brings_both(user: User) -> None:
    first = center(user, KIDNEY)
    user.point(first)
    mask = user.mask()
    [node] = user.markups("vtkMRMLMarkupsFiducialNode")
    user.host.move("Red", user.world(*first))
    user.host.key("Delete", view="Red")
    user.settled()
    if node.GetNumberOfControlPoints():  # as the entry "Delete point" of its menu does
        node.RemoveNthControlPoint(0)
        user.settled()
    assert user.prompts() == ()
    assert not user.mask().any()
    user.press("undoButton")
    user.settled()
    assert same(user.mask(), mask)
    assert len(user.prompts()) == 1


def test_removed_markups_node_takes_its_prompts_away(user: User) -> None:
    i, j, k = center(user, KIDNEY)
    user.point((i, j, k))
    user.point((i + 2, j, k))
    [node] = user.markups("vtkMRMLMarkupsFiducialNode")
    user.host.scene.RemoveNode(node)
    user.settled()
    assert user.prompts() == ()
    assert not user.mask().any()


@pytest.mark.parametrize(("view", "axis"), [("Green", 1), ("Yellow", 2)])
def test_first_prompt_fixes_the_axis_of_the_view_it_is_given_in(user: User, view: str, axis: int) -> None:
    index = user.box_around(KIDNEY, axis, view)
    assert int(user.controller.editing.axis) == axis
    mask, truth = user.mask(), user.truth[KIDNEY]
    filled = np.flatnonzero(mask.any(axis=tuple(each for each in range(3) if each != axis)))
    assert filled.tolist() == [index]
    assert dice(np.take(mask, index, axis), np.take(truth, index, axis)) > 0.6
    user.choose_range(index - 3, index + 3)
    user.propagate()
    mask = user.mask()
    filled = np.flatnonzero(mask.any(axis=tuple(each for each in range(3) if each != axis)))
    assert len(filled) > 3
    assert filled.min() >= index - 3
    assert filled.max() <= index + 3
    user.picture(f"axis-{view}")


def test_box_across_the_axis_is_refused_and_leaves_no_picture(user: User) -> None:
    user.box_around(KIDNEY)
    before, prompts = user.mask(), user.prompts()
    _, low, high = largest(user.truth[KIDNEY], axis=1)
    user.box(low, high, view="Green")
    assert user.prompts() == prompts
    assert same(user.mask(), before)
    assert "lies across the slices of this segment: draw it on the axial slices (view Red)." in user.message
    assert len(user.markups("vtkMRMLMarkupsROINode")) == 1


def test_click_beside_the_volume_is_refused_in_words_of_the_views(user: User) -> None:
    user.point((-9.0, 64.0, 5.0))
    assert user.message == "That place lies outside the volume: click inside the volume."


def test_point_in_another_view_counts_on_its_slice_of_the_axis(user: User) -> None:
    user.box_around(KIDNEY)
    i, j, k = center(user, KIDNEY)
    user.point((i, j, k + 3), view="Yellow")
    slices = {prompt.slice for prompt in user.prompts()}
    assert {place.index for place in slices} == {int(k), int(k) + 3}
    assert {int(place.axis) for place in slices} == {0}


def test_negative_point_takes_its_place_out_of_the_mask(user: User) -> None:
    user.box_around(KIDNEY)
    i, j, k = center(user, KIDNEY)
    user.point((i, j, k), positive=False)
    assert not user.mask()[int(k), int(j), int(i)]


def test_line_along_the_longest_diameter_shows_a_mask(user: User) -> None:
    index, *_ = largest(user.truth[KIDNEY])
    found = np.argwhere(user.truth[KIDNEY][index])
    top, bottom = found[found[:, 0].argmin()], found[found[:, 0].argmax()]
    user.press("lineButton")
    user.host.click("Red", user.world(float(top[1]), float(top[0]), index))
    user.host.click("Red", user.world(float(bottom[1]), float(bottom[0]), index), jump=False)
    user.settled()
    assert len(user.prompts()) == 1
    mask, truth = user.mask()[index], user.truth[KIDNEY][index]
    assert np.count_nonzero(mask & truth) > 0.5 * np.count_nonzero(mask)


def test_another_window_is_seen_by_the_next_preview(user: User) -> None:
    user.box_around(KIDNEY)
    before, window = user.mask(), user.controller.network.window
    selector = user.ui.windowSelector
    selector.setCurrentIndex(selector.findData("bone"))
    user.ready().settled()
    assert user.controller.network.window != window
    drawn_again = user.mask()
    assert drawn_again.any()
    assert not same(drawn_again, before)
    i, j, k = center(user, KIDNEY)
    user.point((i, j, k))
    assert user.mask().any()
    assert not same(user.mask(), drawn_again)
    user.press("undoButton")
    user.settled()
    assert same(user.mask(), drawn_again)


def test_box_around_what_is_not_the_organ_takes_its_voxels_away_and_undo_brings_them_back(user: User) -> None:
    index, low, high = largest(user.truth[KIDNEY])
    user.box(low, high)
    before = user.mask()
    found = np.argwhere(before[index])
    (top, left), (bottom, right) = found.min(axis=0), found.max(axis=0)
    middle = (left + right) // 2
    user.host.key("X", view="Red")
    user.host.key("T", view="Red")
    user.host.process_events(0.05)
    assert user.controller.editing.placing.name == "BOX_NEGATIVE"
    assert user.ui.boxButton.text.startswith("Box \N{MINUS SIGN}")
    assert "nothing inside belongs to the object" in user.message
    ends = [(middle + 0.5, top - 1.5, index), (right + 1.5, bottom + 1.5, index)]
    user.host.drag("Red", [user.world(*(float(part) for part in end)) for end in ends])
    user.settled()
    assert user.controller.editing.placing is None
    assert user.ui.boxButton.text.startswith("Box\n")
    assert [(prompt.kind, prompt.positive) for prompt in user.prompts()] == [("box", True), ("box", False)]
    after = user.mask()
    assert before[index, :, middle + 1 :].sum() > 20
    assert not after[index, :, middle + 1 :].any()
    assert after[index].sum() > 20
    user.picture("box-background")
    user.press("undoButton")
    user.settled()
    assert same(user.mask(), before)
    assert len(user.prompts()) == 1


def test_next_box_is_around_the_organ_again(user: User) -> None:
    user.host.key("X", view="Red")
    user.host.key("T", view="Red")
    user.host.key("X", view="Red")
    user.host.process_events(0.05)
    assert user.controller.editing.placing is None
    user.host.key("X", view="Red")
    user.host.process_events(0.05)
    assert user.controller.editing.placing.name == "BOX"
    user.host.key("T", view="Red")
    user.host.key("T", view="Red")
    user.host.process_events(0.05)
    assert user.controller.editing.placing.name == "BOX"
