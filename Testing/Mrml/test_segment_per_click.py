"""A click in an empty place begins a new segment, if the user wants that."""

from __future__ import annotations

import numpy as np
import pytest

from .controllers import Driver

pytestmark = pytest.mark.slicer


def test_click_beside_all_segments_begins_a_new_one(driver: Driver) -> None:
    controller = driver.prompted().controller
    first = controller.inputs.segment_id
    assert first is not None
    controller.editing.new_segment_per_click = True
    driver.place(driver.point(6, 40, 22))
    driver.settle()
    second = controller.inputs.segment_id
    assert second != first
    assert [len(controller.editing.prompts_of(each)) for each in (first, second)] == [1, 1]
    assert driver.mask(second)[6, 22, 40]
    assert not driver.mask(first)[6, 22, 40]
    j, i = (int(at) for at in np.argwhere(driver.mask(first)[7])[20])
    driver.place(driver.point(7, i, j))  # on the other segment, as a correction at a border is
    driver.place(driver.point(6, 30, 22, positive=False))
    driver.settle()
    assert controller.inputs.segment_ids == (first, second)
    assert len(controller.editing.prompts_of(second)) == 3
    assert [each.segment_id for each in controller.lesions.lesions] == [second], "it was clicked, not boxed"
    controller.editing.new_segment_per_click = False
    driver.place(driver.point(3, 2, 2))
    driver.settle()
    assert controller.inputs.segment_ids == (first, second)


def test_first_click_of_all_is_in_the_list_of_lesions_and_a_click_outside_is_not(driver: Driver) -> None:
    controller = driver.ready().controller
    controller.editing.new_segment_per_click = True
    controller.inputs.add_segment("outside")
    driver.place(driver.point(6, 30, 22, positive=False))
    driver.settle()
    assert not controller.lesions.has_lesions
    controller.inputs.add_segment("clicked")
    driver.place(driver.point(6, 40, 22))
    driver.settle()
    assert [each.name for each in controller.lesions.lesions] == ["clicked"]
    assert "clicked,new," in controller.lesions.csv_text()
