"""What happens around the module while its worker runs: closing, deleting, reloading, leaving."""

from __future__ import annotations

import numpy as np
import pytest

from .user import User, largest, observers, running

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


def works_again(user: User, volume: object) -> None:
    """A click on another volume shows a mask."""
    user.turn_to(volume)
    user.box_around(KIDNEY)
    assert user.mask().any()


def again(user: User) -> object:
    import slicer

    array = np.array(slicer.util.arrayFromVolume(user.volume))
    return user.host.add_volume(array, user.matrix, name="again", show=False)


def test_scene_closed_during_the_run(user: User) -> None:
    import slicer

    array = np.array(slicer.util.arrayFromVolume(user.volume))
    running(user)
    user.host.close_scene()
    user.settled()
    assert not user.controller.runs.busy
    assert user.controller.inputs.volume_node is None
    assert user.message.startswith("Load a CT or MR volume")
    assert not user.ui.propagateButton.enabled
    works_again(user, user.host.add_volume(array, user.matrix, name="again"))


def test_volume_deleted_during_the_run(user: User) -> None:
    other = again(user)
    running(user)
    user.host.scene.RemoveNode(user.volume)
    user.settled()
    assert not user.controller.runs.busy
    assert user.controller.inputs.volume_node is not user.volume
    assert "was deleted" in user.message
    works_again(user, other)


def test_segmentation_deleted_during_the_run(user: User) -> None:
    running(user)
    user.host.scene.RemoveNode(user.segmentation)
    user.settled()
    assert not user.controller.runs.busy
    assert "was deleted" in user.message
    assert user.markups() == []
    user.box_around(KIDNEY)
    assert user.mask().any()


def test_segment_deleted_during_the_run(user: User) -> None:
    running(user)
    user.press("deleteSegmentButton")
    user.settled()
    assert not user.controller.runs.busy
    assert user.names() == []
    user.box_around(KIDNEY)
    assert user.mask().any()


def test_node_renamed_during_the_run(user: User) -> None:
    running(user)
    user.volume.SetName("other name")
    user.segmentation.SetName("masks")
    user.until(lambda: not user.controller.runs.busy)
    user.settled()
    assert user.controller.history.undo_label.startswith("Propagate")


def test_another_volume_is_chosen_during_the_run_and_the_first_comes_back(user: User) -> None:
    other = again(user)
    running(user)
    first = user.volume
    user.ui.volumeSelector.setCurrentNode(other)
    user.settled()
    assert not user.controller.runs.busy
    assert user.controller.inputs.volume_node is other
    assert user.markups() == []
    user.ui.volumeSelector.setCurrentNode(first)
    user.ready()
    assert len(user.prompts()) == 1
    assert len(user.markups()) == 1


def test_module_left_during_the_run_goes_on_and_is_found_finished(user: User) -> None:
    index, low, high = largest(user.truth[KIDNEY])
    user.box(low, high)
    user.choose_range(index - 3, index + 3)
    user.press("propagateButton")
    user.host.leave_module()
    user.until(lambda: not user.controller.runs.busy)
    user.host.enter_module()
    user.settled()
    assert np.count_nonzero(user.mask().any(axis=(1, 2))) > 3


def test_strips_and_observers_of_the_views_go_when_the_module_is_left(user: User) -> None:
    from PySide6 import QtCore, QtWidgets

    user.box_around(KIDNEY)
    nodes = [user.host.view(name).mrmlSliceNode() for name in ("Red", "Green", "Yellow")]
    user.host.leave_module()
    left = observers(*nodes)
    for _ in range(3):
        user.host.enter_module()
        user.settled()
        user.host.leave_module()
    assert observers(*nodes) == left
    find = QtWidgets.QWidget.findChild
    assert find(user.host.view("Red"), QtCore.QObject, "MedSAMSlicerStripRed") is None
    user.host.enter_module()
    user.settled()
    assert find(user.host.view("Red"), QtCore.QObject, "MedSAMSlicerStripRed") is not None
