"""A segment that another program made is corrected with the mouse: one button, one click, Propagate."""

from __future__ import annotations

import numpy as np
import pytest

from .user import Mask, User, dice, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


def made_elsewhere(user: User) -> tuple[Mask, int]:
    """A segmentation of the kidney with a fault on three slices, chosen in the selector; its voxels and the middle."""
    import slicer

    mask = user.truth[KIDNEY].copy()
    middle = int(mask.sum(axis=(1, 2)).argmax())
    columns = np.flatnonzero(mask[middle].any(axis=0))
    mask[middle - 1 : middle + 2, :, columns[len(columns) // 2] :] = False
    node = user.host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "TotalSegmentator")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(user.volume)
    node.GetSegmentation().AddEmptySegment("kidney_left", "kidney_left")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, "kidney_left", user.volume)
    user.ui.segmentationSelector.setCurrentNode(node)
    user.settled()
    assert user.controller.inputs.segmentation_node is node
    return mask, middle


def missed(user: User, mask: Mask, index: int) -> tuple[float, float, float]:
    """A voxel (i, j, k) in the middle of what the segment lacks on a slice."""
    places = np.argwhere(user.truth[KIDNEY][index] & ~mask[index])
    j, i = places[len(places) // 2]
    return float(i), float(j), float(index)


def test_button_then_one_click_corrects_the_gap_and_nothing_else(user: User) -> None:
    before, middle = made_elsewhere(user)
    assert not user.ui.reachBox.enabled
    user.press("startButton")
    user.settled()
    assert "stays as it is" in user.message
    assert user.ui.reachBox.enabled
    user.ui.reachBox.value = 2
    user.settled()
    user.point(missed(user, before, middle))
    user.picture("start-from-segment")
    user.propagate()
    after, gap = user.mask(), slice(middle - 2, middle + 3)
    outside = [index for index in range(len(after)) if not middle - 2 <= index < middle + 3]
    assert same(after[outside], before[outside])
    truth = user.truth[KIDNEY]
    assert dice(after[gap], truth[gap]) > dice(before[gap], truth[gap]) + 0.02
    user.picture("start-from-segment-corrected")
    while user.ui.undoButton.enabled:
        user.press("undoButton")
        user.settled()
    assert same(user.mask(), before)


def test_click_without_the_button_is_refused_and_the_offer_does_both(user: User) -> None:
    before, middle = made_elsewhere(user)
    user.point(missed(user, before, middle))
    assert "was drawn by you" in user.message
    assert same(user.mask(), before)
    assert user.ui.offerButton.text == "Start from this segment"
    user.picture("start-from-segment-offered")
    user.press("offerButton")
    user.settled()
    assert len(user.prompts()) > 0
    outside = [index for index in range(len(before)) if index != middle]
    assert same(user.mask()[outside], before[outside])
