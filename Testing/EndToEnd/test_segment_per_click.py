"""Many small things quickly: a click in an empty place begins a new segment."""

from __future__ import annotations

import numpy as np
import pytest

from .test_lesions import rows
from .user import User

pytestmark = [pytest.mark.slicer, pytest.mark.slow]


def middle(user: User, name: str, index: int) -> tuple[float, float, float]:
    """A voxel (i, j, k) in the middle of an organ on a slice."""
    found = np.argwhere(user.truth[name][index])
    j, i = found[np.abs(found - found.mean(axis=0)).sum(axis=1).argmin()]
    return float(i), float(j), float(index)


def test_click_in_an_empty_place_begins_a_segment_and_one_on_a_segment_does_not(user: User) -> None:
    index = user.box_around("left_kidney")
    right = middle(user, "right_kidney", index)
    user.ui.lesionsSection.collapsed = False
    user.host.process_events(0.05)
    user.press("newSegmentBox")
    assert user.controller.editing.new_segment_per_click
    assert user.names() == ["Segment_1"]
    user.press("positiveButton")
    user.host.click("Red", user.world(*right))
    user.settled()
    assert len(user.names()) == 2
    first, second = user.segmentation.GetSegmentation().GetSegmentIDs()
    assert user.controller.inputs.segment_id == second
    assert [len(user.controller.editing.prompts_of(each)) for each in (first, second)] == [1, 1]
    assert sum(node.GetNumberOfControlPoints() for node in user.markups("vtkMRMLMarkupsFiducialNode")) == 1
    i, j, k = (int(value) for value in right)
    assert user.mask(second)[k, j, i]
    assert not user.mask(first)[k, j, i]
    assert user.controller.editing.placing is not None, "the tool stays in hand"
    user.host.click("Red", user.world(right[0] + 2, right[1] + 2, index), jump=False)
    user.settled()
    assert len(user.names()) == 2
    assert len(user.controller.editing.prompts_of(second)) == 2
    assert [row[::3] for row in rows(user)] == [["Segment_2", "to review"]], "it is in the list, measured"
    assert user.ui.lesionCsvButton.isEnabled()
    user.picture("segment-per-click")
    user.press("undoButton")
    user.press("undoButton")
    user.settled()
    assert not user.mask(second).any()
    assert user.mask(first).any()
    user.press("newSegmentBox")
    user.host.click("Red", user.world(*right), jump=False)
    user.settled()
    assert len(user.names()) == 2, "without the switch a click goes to the selected segment"
