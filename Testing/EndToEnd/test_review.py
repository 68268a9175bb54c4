"""A colleague's segment is reviewed with the mouse: the spoiled slices come first, one is corrected, the rest stays."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.lab.evaluation.faults import spoiled

from .user import Mask, User, dice, largest, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"
WRONG = (5, 10, 14)
"""Slices that are shifted, cut and leaking."""


def made_elsewhere(user: User) -> Mask:
    """A segmentation of the kidney with three spoiled slices, chosen in the selector; its voxels."""
    import slicer

    mask = spoiled(user.truth[KIDNEY], WRONG)
    node = user.host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "From a colleague")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(user.volume)
    node.GetSegmentation().AddEmptySegment("kidney_left", "kidney_left")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, "kidney_left", user.volume)
    user.ui.segmentationSelector.setCurrentNode(node)
    user.settled().ready()
    return mask


def shown(user: User) -> int:
    index = user.controller.review.shown_index
    assert index is not None
    return int(index)


def test_three_spoiled_slices_come_first_and_one_is_corrected_while_the_others_stay(user: User) -> None:
    before = made_elsewhere(user)
    assert not user.ui.doubtfulButton.enabled
    user.press("reviewButton")
    user.until(user.ui.progressBar.isVisible)
    assert user.ui.cancelButton.isVisible()
    assert not user.ui.propagateButton.isVisible()
    assert not user.ui.reviewButton.enabled
    user.picture("review-under-way")
    user.settled()
    assert "kidney_left" in user.message
    assert "was reviewed" in user.message
    assert not user.ui.progressBar.isVisible()
    assert same(user.mask(), before)
    visited = []
    for _ in WRONG:
        user.host.key("U", view="Red")
        user.settled()
        visited.append(shown(user))
        user.picture(f"review-doubtful-{len(visited)}")
    assert {*visited} == {*WRONG}
    cut = WRONG[1]
    while shown(user) != cut:
        user.press("doubtfulButton")
        user.settled()
    assert user.ui.reachBox.value == 0
    truth = user.truth[KIDNEY].copy()
    truth[[index for index in range(len(truth)) if index != cut]] = False
    _index, low, high = largest(truth)
    user.box(low, high)
    user.propagate()
    after = user.mask()
    others = [index for index in range(len(after)) if index != cut]
    assert same(after[others], before[others])
    assert dice(after[cut], user.truth[KIDNEY][cut]) > dice(before[cut], user.truth[KIDNEY][cut]) + 0.1
    user.press("changesButton")
    user.settled()
    assert user.ui.changesFrame.isVisible()
    assert "added" in user.ui.changesLabel.text
    user.picture("review-corrected")
    user.press("doubtfulButton")
    user.settled()
    assert shown(user) != cut


def test_review_is_canceled_with_the_button_and_goes_on_where_it_was(user: User) -> None:
    before = made_elsewhere(user)
    user.press("reviewButton")
    user.until(lambda: user.controller.scoring.progress is None or user.controller.scoring.progress.done > 1)
    user.press("cancelButton")
    user.settled()
    assert "was canceled" in user.message
    assert same(user.mask(), before)
    assert user.ui.propagateButton.isVisible()
    user.press("reviewButton")
    assert user.controller.scoring.progress.total < len(before)
    user.settled()
    assert "was reviewed" in user.message
