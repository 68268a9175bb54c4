"""A cine of a beating heart, as Slicer's Sequences module shows it: one time point is segmented and carried to all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from .user import User, dice, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]

PHASES = 3
SHAPE = (7, 96, 96)
MATRIX = np.array([[-1.6, 0, 0, 76], [0, -1.6, 0, 76], [0, 0, 8.0, -32], [0, 0, 0, 1]], dtype=float)
VENTRICLE = "left_ventricle"
Mask = npt.NDArray[np.bool_]


def ventricle(phase: int, wall: float = 0.0) -> Mask:
    """(K, J, I): the left ventricle, smallest in the middle of the beat; `wall` voxels thicker all around."""
    k, j, i = np.indices(SHAPE)
    radius = 15 * (1 - 0.2 * np.sin(np.pi * phase / PHASES)) + wall
    return np.asarray(((j - 48) ** 2 + (i - 52) ** 2) / radius**2 + ((k - 3) / 3.2) ** 2 <= 1)


def cine(phase: int) -> npt.NDArray[np.int16]:
    """(K, J, I): a short-axis MR of two ventricles with the wall between, in noise."""
    k, j, i = np.indices(SHAPE)
    chest = ((j - 48) / 44) ** 2 + ((i - 48) / 46) ** 2 <= 1
    image = np.where(chest, 130.0, 10.0)
    image[((j - 44) / 21) ** 2 + ((i - 26) / 16) ** 2 + ((k - 3) / 3.2) ** 2 <= 1] = 290.0
    image[ventricle(phase, wall=6)] = 70.0
    image[ventricle(phase)] = 320.0
    noise = np.random.default_rng(phase).normal(0, 3, SHAPE)
    return np.asarray(np.rint(image + noise), np.int16)


def beating(host: Any) -> tuple[Any, Any]:
    """The browser of the cine, and the volume that it shows."""
    import slicer

    items = host.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Cine MR")
    for phase in range(PHASES):
        node = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(node, cine(phase))
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(MATRIX))
        items.SetDataNodeAtValue(node, f"{0.2 * phase:.1f}")
    browser = host.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Cine MR browser")
    browser.SetAndObserveMasterSequenceNodeID(items.GetID())
    volume = browser.GetProxyNode(items)
    host.set_window(volume, 400, 200)
    host.show_volume(volume)
    return browser, volume


def item_mask(user: User, browser: Any, phase: int) -> Mask:
    """(K, J, I): what the sequence of segmentations holds at a time point."""
    import slicer

    node = browser.GetSequenceNode(user.segmentation).GetNthDataNode(phase)
    segment = user.controller.inputs.segment_id
    return np.array(slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, user.volume), np.bool_)


def shown_voxels() -> npt.NDArray[np.int16]:
    """(K, J, I): the volume that the axial view has in its background."""
    import slicer

    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    node = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID())
    return np.array(slicer.util.arrayFromVolume(node))


def stand_ins() -> list[str]:
    """The nodes that stand in for a volume and a segmentation while masks are carried."""
    import slicer

    found = slicer.util.getNodesByClass("vtkMRMLDisplayableNode")
    return [node.GetID() for node in found if node.GetName() == "MedSAMSlicer time point in view"]


def visible_mask(user: User, mask: Mask) -> bool:
    """Return whether all segmentations that the views show hold this mask."""
    import slicer

    shown = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetDisplayVisibility() and node.GetSegmentation().GetNumberOfSegments()
    ]
    segment = user.controller.inputs.segment_id
    arrays = [slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, user.volume) for node in shown]
    return len(arrays) > 0 and all(same(np.array(each, np.bool_), mask) for each in arrays)


def test_one_time_point_is_segmented_carried_to_all_and_played(user: User) -> None:
    browser, volume = beating(user.host)
    user.truth = {VENTRICLE: ventricle(0)}
    user.turn_to(volume)
    assert user.ui.timeFrame.visible
    assert user.ui.timeLabel.text == "Time point 1 of 3: time=0.00s"
    assert not user.ui.carryAllButton.enabled
    assert "Add or select a segment first" in user.ui.carryAllButton.toolTip
    user.box_around(VENTRICLE)
    user.propagate()
    assert user.dice(VENTRICLE) > 0.8
    first = user.mask()

    user.host.move("Green", user.world(2, 2, 3))
    user.host.process_events(0.05)
    picture, selected = shown_voxels(), set()
    user.press("carryAllButton")
    user.until(lambda: user.controller.carrying.busy)
    user.host.process_events(0.05)
    assert user.ui.cancelButton.visible
    assert not user.ui.propagateButton.visible

    def arrives() -> bool:
        selected.add(browser.GetSelectedItemNumber())
        assert same(shown_voxels(), picture), (
            f"the views flip to time point {browser.GetSelectedItemNumber()}"
        )
        assert visible_mask(user, first)
        return not user.controller.carrying.busy

    user.until(lambda: browser.GetSelectedItemNumber() == 1)
    user.host.process_events(0.05)
    assert not user.ui.positiveButton.enabled, "a click would go to the time point that is not in view"
    assert "being carried through time" in user.ui.positiveButton.toolTip
    user.picture("carrying-in-the-background")
    user.until(arrives)
    user.settled()
    assert selected == {*range(PHASES)}
    assert same(shown_voxels(), picture)
    assert stand_ins() == []
    assert user.message.startswith("Carried from time=0.00s to 2 of 2 time points.")
    for phase in range(PHASES):
        assert dice(item_mask(user, browser, phase), ventricle(phase)) > 0.8
    assert same(user.mask(), first)
    user.picture("time-points")

    browser.SetPlaybackActive(True)  # as Slicer's toolbar plays: one item after the other
    for _ in range(2 * PHASES + 1):
        browser.SelectNextItem()
        user.host.process_events(0.02)
    assert "playing" in user.ui.propagateButton.toolTip
    assert user.ui.inputsSection.collapsed, "the panel does not jump"
    assert user.ui.volumeSelector.currentNode() is volume
    browser.SetPlaybackActive(False)
    user.settled()
    assert user.ui.timeLabel.text == "Time point 2 of 3: time=0.20s"
    assert "changed" not in user.message
    assert dice(user.mask(), ventricle(1)) > 0.8
    user.press("undoButton")
    user.settled()
    assert not user.controller.history.undo_label, "carrying is one step of undo at each time point"
    assert same(item_mask(user, browser, 0), first)


def test_an_ordinary_volume_shows_no_time_points(user: User) -> None:
    assert not user.ui.timeFrame.visible
