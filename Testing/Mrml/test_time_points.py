"""Sequences: each time point has a session and a segmentation of its own, and playing changes none of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from MedSAMSlicerLib.app.ports import Tool
from MedSAMSlicerLib.app.state import Action, Level, NetworkState
from MedSAMSlicerLib.app.worker import Job
from MedSAMSlicerLib.core.errors import SessionError

from .conftest import MrmlScene
from .controllers import LEFT, MATRIX, SHAPE, Driver, dice, scan
from .sequences import TimeDriver, left_at

pytestmark = pytest.mark.slicer


@pytest.fixture
def times(mrml: MrmlScene) -> Iterator[TimeDriver]:
    """A controller on a sequence of four time points."""
    driver = TimeDriver(mrml)
    yield driver
    driver.controller.close()


def voxels(driver: TimeDriver, number: int, segment_id: str) -> np.ndarray:  # type: ignore[type-arg]
    """(K, J, I): what the item of the sequence holds of a segment."""
    array = driver.mrml.slicer.util.arrayFromSegmentBinaryLabelmap(
        driver.item(number), segment_id, driver.volume
    )
    return np.zeros(SHAPE, np.bool_) if array is None else np.asarray(array, np.bool_)


def test_each_time_point_has_prompts_masks_and_history_of_its_own(times: TimeDriver) -> None:
    controller = times.prompted().controller
    segment = controller.inputs.segment_id
    assert segment is not None
    first = times.mask()
    assert first[7].any()
    confidence = controller.review.slices[7].confidence

    times.go(1)
    assert times.texts == []
    assert controller.inputs.volume_node is times.volume
    assert controller.inputs.segment_ids == (segment,)
    assert controller.inputs.masks.name(segment) == "left"
    assert not times.mask().any()
    assert controller.history.undo_label is None
    times.place(times.box(8, 9, 14, 28, 35))
    times.settle()
    second = times.mask()
    assert second[8].any()
    assert not second[7].any()

    times.go(0)
    assert np.array_equal(times.mask(), first)
    assert np.array_equal(times.session_mask(), first)
    assert controller.history.undo_label == "Add box"
    assert controller.review.slices[7].confidence == confidence
    controller.history.undo()
    assert not times.mask().any()
    controller.history.redo()
    times.settle()
    times.go(1)
    assert np.array_equal(times.mask(), second)
    assert np.array_equal(voxels(times, 0, segment), first)
    assert times.texts == []


def test_playing_changes_nothing_and_prompts_wait_until_it_stops(times: TimeDriver) -> None:
    controller = times.prompted().controller
    mask = times.mask()
    times.browser.SetPlaybackActive(True)
    for _ in range(6):
        times.browser.SelectNextItem()
        times.settle()
        assert controller.inputs.volume_node is times.volume, "the panel goes on showing it"
    assert times.browser.GetSelectedItemNumber() == 2
    assert "playing" in (controller.reason(Action.PLACE) or "")
    with pytest.raises(SessionError, match="playing"):
        controller.editing.start_placing(Tool.BOX)
    times.browser.SetPlaybackActive(False)
    times.settle()
    assert controller.reason(Action.PLACE) is None
    assert not times.mask().any()
    times.go(0)
    assert np.array_equal(times.mask(), mask)
    assert controller.history.undo_label == "Add box"
    assert times.texts == []
    passed = [times.item(number).GetSegmentation().GetNumberOfSegments() for number in (1, 3)]
    assert passed == [0, 0], "what was only passed on the way was not touched"


def test_a_run_that_is_left_keeps_what_it_found_and_goes_on_when_asked(times: TimeDriver) -> None:
    controller = times.prompted().controller
    segment = controller.inputs.segment_id
    assert segment is not None
    before = int(times.mask().any(axis=(1, 2)).sum())
    controller.runs.propagate()
    times.until(lambda: int(times.mask().any(axis=(1, 2)).sum()) > before or not controller.runs.busy)
    times.browser.SetSelectedItemNumber(1)
    assert not controller.runs.busy
    times.settle()
    assert not times.mask().any(), "nothing of the run gets into the other time point"
    assert len(times.texts) == 1
    assert "was stopped when another time point was shown" in times.texts[0]
    assert times.messages[0].level is Level.WARNING
    times.go(0)
    assert times.mask()[7].any()
    assert controller.reason(Action.PROPAGATE) is None
    controller.runs.propagate()
    times.settle()
    assert dice(times.mask(), LEFT) > 0.8


def test_segments_drawn_elsewhere_at_a_time_point_stay_there(times: TimeDriver) -> None:
    controller = times.prompted().controller
    segment = controller.inputs.segment_id
    assert segment is not None
    times.go(2)
    drawn = left_at(2)
    node = controller.inputs.segmentation_node
    times.mrml.slicer.util.updateSegmentBinaryLabelmapFromArray(
        drawn.astype(np.uint8), node, segment, times.volume
    )
    times.browser.SetSelectedItemNumber(0)  # before anybody looked
    times.settle()
    assert not np.array_equal(times.mask(), drawn)
    times.go(2)
    assert np.array_equal(times.mask(), drawn)
    assert np.array_equal(voxels(times, 2, segment), drawn)


def test_a_segment_deleted_at_one_time_point_stays_deleted_there(times: TimeDriver) -> None:
    controller = times.prompted().controller
    segment = controller.inputs.segment_id
    assert segment is not None
    times.go(1)
    times.place(times.box(8, 9, 14, 28, 35))
    times.settle()
    controller.inputs.masks.remove(segment)
    times.settle()
    times.go(0)
    assert times.mask()[7].any()
    times.go(1)
    assert controller.inputs.segment_ids == ()
    controller.history.undo()
    times.settle()
    assert controller.inputs.segment_ids == (segment,)
    assert times.mask()[8].any()
    times.go(2)
    assert controller.inputs.segment_ids == (segment,)


def test_a_name_is_that_of_all_time_points(times: TimeDriver) -> None:
    controller = times.prompted().controller
    segment = controller.inputs.segment_id
    assert segment is not None
    times.go(1)
    times.place(times.box(8, 9, 14, 28, 35))
    times.settle()
    controller.inputs.masks.rename(segment, "ventricle")
    times.go(0)
    assert controller.inputs.masks.name(segment) == "ventricle"
    assert [obj.name for obj in controller._work.objects] == ["ventricle"]
    assert controller.history.undo_label == "Add box"


def test_a_segmentation_that_was_there_becomes_that_of_the_time_point(times: TimeDriver) -> None:
    slicer, scene = times.mrml.slicer, times.mrml.scene
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(times.volume)
    segment = node.GetSegmentation().AddEmptySegment("", "given")
    slicer.util.updateSegmentBinaryLabelmapFromArray(LEFT.astype(np.uint8), node, segment, times.volume)
    times.ready().controller.inputs.set_segmentation(node)
    times.settle()
    assert np.array_equal(times.mask(segment), LEFT)
    times.go(3)
    assert times.controller.inputs.segment_ids == (segment,)
    assert not times.mask(segment).any()
    times.go(0)
    assert np.array_equal(times.mask(segment), LEFT)


def test_a_sequence_of_segmentations_that_was_there_keeps_what_is_written(times: TimeDriver) -> None:
    scene, browser = times.mrml.scene, times.browser
    items = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "theirs")
    empty = times.mrml.slicer.vtkMRMLSegmentationNode()
    for number in range(browser.GetNumberOfItems()):
        items.SetDataNodeAtValue(empty, browser.GetMasterSequenceNode().GetNthIndexValue(number))
    browser.AddSynchronizedSequenceNode(items)
    assert not browser.GetSaveChanges(items)
    times.ready().controller.inputs.set_segmentation(browser.GetProxyNode(items))
    times.prompted()
    mask = times.mask()
    times.go(1)
    times.go(0)
    assert np.array_equal(times.mask(), mask)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 2


def test_the_session_outlives_the_browser(times: TimeDriver) -> None:
    controller = times.prompted().controller
    mask = times.mask()
    times.mrml.scene.RemoveNode(times.browser)
    times.settle()
    assert np.array_equal(times.mask(), mask)
    assert controller.history.undo_label == "Add box"
    controller.inputs.set_volume(None)
    controller.inputs.set_volume(times.volume)
    times.settle()
    assert controller.editing.segment_states[controller.inputs.segment_id] == "1 prompt, 1 slice"


class Wait(Job):
    """Keeps the worker until it may go on."""

    def __init__(self) -> None:
        self.entered, self.may_go_on = threading.Event(), threading.Event()

    def run(self, tools: object, canceled: Callable[[], bool]) -> Iterator[object]:
        """Yields nothing."""
        self.entered.set()
        self.may_go_on.wait(60)
        yield from ()


def test_a_network_that_was_prepared_for_another_time_point_is_not_ready(times: TimeDriver) -> None:
    controller = times.controller
    controller.inputs.set_volume(times.volume)
    times.until(lambda: controller.network.state is NetworkState.PREPARING)
    wait = Wait()
    controller._work.worker.submit(wait, lambda value: None, lambda error: None)
    assert wait.entered.wait(60)  # the network is prepared, and nobody has taken that in yet
    times.browser.SetSelectedItemNumber(1)
    controller.inputs.times.arrive()
    controller.poll()  # takes in what was prepared for the first time point, through the same window
    assert controller.network.state is NetworkState.PREPARING
    wait.may_go_on.set()
    times.until(lambda: controller.network.state is NetworkState.READY)


def test_a_saved_scene_brings_every_time_point_back(times: TimeDriver, tmp_path: Path) -> None:
    from .test_scene_saving import save_and_load

    mrml, controller = times.mrml, times.prompted().controller
    segment = controller.inputs.segment_id
    assert segment is not None
    first = times.mask()
    times.go(1)
    times.place(times.box(8, 9, 14, 28, 35))
    times.settle()
    second = times.mask()
    controller.inputs.save()
    save_and_load(mrml, tmp_path, bundle=True)
    times.settle()
    times.browser = mrml.scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    assert times.browser.GetNumberOfItems() == 4
    times.volume = controller.inputs.volume_node
    assert times.volume is not None
    assert np.array_equal(times.mask(segment), second)
    assert times.controller.editing.segment_states[segment] == "1 prompt, 1 slice"
    times.go(0)
    assert np.array_equal(times.mask(segment), first)
    assert times.controller.editing.segment_states[segment] == "1 prompt, 1 slice"
    times.go(1)
    assert np.array_equal(times.mask(segment), second)


def test_another_volume_of_the_same_grid_does_not_share_the_segmentation(times: TimeDriver) -> None:
    controller = times.prompted().controller
    theirs = controller.inputs.segmentation_node
    still = times.mrml.volume_node(scan(), MATRIX)
    controller.inputs.set_volume(still)
    assert controller.inputs.segmentation_node is None
    controller.inputs.add_segment("still")
    ours = controller.inputs.segmentation_node
    controller.inputs.set_volume(times.volume)
    assert controller.inputs.segmentation_node is theirs
    controller.inputs.set_volume(still)
    assert controller.inputs.segmentation_node in (None, ours)


def test_an_ordinary_volume_gets_no_sequence(driver: Driver) -> None:
    driver.prompted()
    assert driver.mrml.scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0
