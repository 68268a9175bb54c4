"""What becomes of a session when the scene changes under it, also while the network computes."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.app import jobs
from MedSAMSlicerLib.app.controller import Controller
from MedSAMSlicerLib.app.state import Action, Level, NetworkState, SliceMark
from MedSAMSlicerLib.app.workspace import Settings
from MedSAMSlicerLib.core.errors import Canceled, GeometryError, MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.scene.segment_call import segment
from MedSAMSlicerLib.scene.segments import SegmentMasks, create_segmentation
from MedSAMSlicerLib.scene.slicer_scene import slicer_scene

from .conftest import MrmlScene
from .controllers import LEFT, MATRIX, SHAPE, Driver, dice, scan

pytestmark = pytest.mark.slicer


def network_threads() -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread.name in ("MedSAMSlicer network", "slice features")
    ]


def observers(*nodes: Any) -> int:
    """How many observers there are on nodes, counted from what VTK prints."""
    return sum(str(node).count("vtkObserver (") for node in nodes)


def test_closing_leaves_no_thread_and_no_observer(mrml: MrmlScene) -> None:
    volume = mrml.volume_node(scan(), MATRIX)
    before = observers(mrml.scene, volume)
    controller = Controller(slicer_scene(mrml.scene), None, Settings(device="cpu", threads=1))
    controller.inputs.set_volume(volume)
    segment_id = controller.inputs.add_segment("left")
    while controller.poll(0.02):
        pass
    segmentation = controller.inputs.segmentation_node
    assert observers(mrml.scene, volume) > before
    controller.close()
    controller.close()
    assert observers(mrml.scene, volume) == before
    assert segmentation.GetSegmentation().GetSegment(segment_id) is not None
    assert network_threads() == []


def test_volume_deleted_during_the_run_ends_the_session_with_a_sentence(driver: Driver) -> None:
    controller = driver.prompted().controller
    mask = driver.mask()
    node, segment_id = controller.inputs.segmentation_node, controller.inputs.segment_id
    controller.runs.propagate()
    driver.mrml.scene.RemoveNode(driver.volume)
    driver.settle()
    assert not controller.runs.busy
    assert controller.inputs.volume_node is None
    assert driver.texts == ['The volume "CT" was deleted: its session has ended, its masks stay.']
    assert controller.reason(Action.PROPAGATE) == "Choose a volume first."
    assert mask.any()
    assert node.GetSegmentation().GetSegment(segment_id) is not None


def test_segmentation_deleted_during_the_run_ends_the_session_with_a_sentence(driver: Driver) -> None:
    controller = driver.prompted().controller
    controller.runs.propagate()
    driver.mrml.scene.RemoveNode(controller.inputs.segmentation_node)
    driver.settle()
    assert not controller.runs.busy
    assert controller.inputs.segmentation_node is None
    assert driver.texts == ["The segmentation was deleted, and its session with it."]
    controller.inputs.add_segment("again")
    driver.until(lambda: controller.network.state is NetworkState.READY)
    driver.place(driver.box(7, 8, 14, 27, 35))
    driver.settle()
    assert driver.mask()[7].any()


def test_voxels_that_change_keep_prompts_masks_and_history(driver: Driver) -> None:
    controller = driver.prompted().controller
    before = driver.mask()
    other = scan()
    other[:, 30:, :] = -500
    driver.mrml.slicer.util.updateVolumeFromArray(driver.volume, other)
    driver.settle()
    assert "were changed" in driver.texts[0]
    assert controller.history.undo_label == "Add box"
    assert controller.review.slices[7].state is SliceMark.PROMPTED
    driver.until(lambda: controller.network.state is NetworkState.READY)
    driver.settle()
    again = driver.mask()
    assert again[7].any()
    assert not np.array_equal(again, before)  # the preview is of the new voxels
    controller.runs.propagate()
    driver.settle()
    assert driver.mask().sum() > again.sum()
    for _ in range(2):
        controller.history.undo()
        driver.settle()
    assert not driver.mask().any()


def test_event_without_a_change_of_voxels_changes_nothing(driver: Driver) -> None:
    controller = driver.prompted().controller
    driver.volume.GetImageData().Modified()
    driver.volume.Modified()
    driver.volume.SetName("other name")
    driver.settle()
    assert controller.history.undo_label == "Add box"
    assert driver.texts == []


def test_volume_on_another_grid_loses_its_prompts_with_a_sentence(driver: Driver) -> None:
    controller = driver.prompted().controller
    driver.volume.SetOrigin(1, 2, 3)
    driver.settle()
    assert "different voxel grid" in driver.texts[-1] or "different voxel grid" in driver.texts[0]
    assert controller.history.undo_label is None
    assert controller.review.slices == ()


def test_volume_under_a_linear_transform_is_segmented_in_place(driver: Driver) -> None:
    scene, slicer = driver.mrml.scene, driver.mrml.slicer
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turned = np.array([[0, -1, 0, 30], [1, 0, 0, -10], [0, 0, 1, 5], [0, 0, 0, 1]], dtype=float)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turned))
    driver.volume.SetAndObserveTransformNodeID(transform.GetID())
    controller = driver.prompted().controller
    controller.runs.propagate()
    driver.settle()
    assert dice(driver.mask(), LEFT) > 0.8
    assert controller.inputs.segmentation_node.GetParentTransformNode() is transform


def test_volume_under_a_non_linear_transform_is_refused(driver: Driver) -> None:
    transform = driver.mrml.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    driver.volume.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(GeometryError, match="harden"):
        driver.controller.inputs.set_volume(driver.volume)


def test_exception_on_the_worker_ends_the_run_with_one_sentence(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = driver.prompted().controller
    before = driver.mask()

    def broken(*_: Any) -> Any:
        raise RuntimeError("the oven is cold")

    monkeypatch.setattr(jobs, "_updated", broken)
    controller.runs.propagate()
    driver.settle()
    assert not controller.runs.busy
    assert controller.runs.progress is None
    [text] = driver.texts
    assert "the oven is cold" in text
    assert np.array_equal(driver.mask(), before)
    assert controller.history.undo_label == "Add box"


def test_less_memory_is_not_offered_where_it_would_not_do(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = driver.prompted().controller
    estimate_of = jobs.estimate_of
    monkeypatch.setattr(
        jobs, "estimate_of", lambda tools, objects: replace(estimate_of(tools, objects), free_bytes=1000)
    )
    controller.runs.propagate()
    driver.settle()
    assert controller.message is not None
    assert controller.message.offer is None
    assert "use a smaller model" in controller.message.text


def test_lack_of_memory_is_reported_and_less_is_offered(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = driver.prompted().controller
    estimate_of = jobs.estimate_of
    calls: list[int] = []

    def too_much_at_first(tools: Any, objects: Any) -> Any:
        calls.append(1)
        found = estimate_of(tools, objects)
        short = replace(found, free_bytes=1000, spared_bytes=found.peak_bytes)
        return found if len(calls) > 1 else short

    monkeypatch.setattr(jobs, "estimate_of", too_much_at_first)
    controller.runs.propagate()
    driver.settle()
    assert controller.message is not None
    assert controller.message.offer == "Run with less memory"
    assert "GB" in controller.message.text
    controller.take_offer()
    driver.settle()
    assert dice(driver.mask(), LEFT) > 0.8


def test_memory_error_of_torch_is_one_sentence() -> None:
    from MedSAMSlicerLib.app.worker import sentence_for

    assert "not enough memory" in str(sentence_for(MemoryError()))
    message = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"
    assert "not enough memory" in str(sentence_for(RuntimeError(message)))


def test_session_comes_back_with_the_saved_scene(driver: Driver, tmp_path: Path) -> None:
    controller = driver.prompted().controller
    controller.runs.propagate()
    driver.settle()
    controller.editing.accept_slice(5)
    driver.place(driver.point(10, 17, 24))
    driver.settle()
    mask, slices = driver.mask(), controller.review.slices
    volume = driver.volume
    controller.inputs.set_volume(None)
    assert controller.history.undo_label is None
    controller.inputs.set_volume(volume)
    assert controller.review.slices == slices
    assert np.array_equal(driver.session_mask(), mask)
    driver.until(lambda: controller.network.state is NetworkState.READY)
    driver.settle()
    controller.runs.propagate()
    driver.settle()
    assert np.array_equal(driver.mask()[5], mask[5])
    assert np.array_equal(driver.mask(), driver.session_mask())


def test_segmentation_moved_away_during_the_run_ends_it_with_a_sentence(driver: Driver) -> None:
    controller = driver.prompted().controller
    before = driver.mask()
    controller.runs.propagate()
    matrix = driver.mrml.slicer.util.vtkMatrixFromArray(np.diag([1.0, 1.0, 1.3, 1.0]))
    transform = driver.mrml.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    controller.inputs.segmentation_node.SetAndObserveTransformNodeID(transform.GetID())
    driver.settle()
    assert not controller.runs.busy
    assert "another transform" in driver.texts[-1]
    controller.inputs.segmentation_node.SetAndObserveTransformNodeID(None)
    controller.runs.propagate()
    driver.settle()
    assert np.array_equal(driver.mask(), driver.session_mask())
    assert driver.mask().sum() > before.sum()


def test_segment_is_not_locked_while_it_is_propagated(driver: Driver) -> None:
    controller = driver.prompted().controller
    controller.runs.propagate()
    with pytest.raises(MedSAMError, match="'left' is being propagated"):
        controller.editing.set_locked(controller.inputs.segment_id, True)
    driver.settle()
    assert driver.mask().any(axis=(1, 2)).sum() > 5
    controller.editing.set_locked(controller.inputs.segment_id, True)
    assert controller.editing.is_locked(controller.inputs.segment_id)


def test_points_beside_the_object_alone_are_not_propagated(driver: Driver) -> None:
    controller = driver.ready().controller
    controller.inputs.add_segment("left")
    driver.place(driver.point(7, 40, 24, positive=False))
    driver.settle()
    assert "click on the object, too" in controller.reason(Action.PROPAGATE)
    driver.place(driver.point(7, 17, 24))
    driver.settle()
    assert controller.reason(Action.PROPAGATE) is None


def test_another_segmentation_and_back_brings_prompts_masks_and_marks_back(driver: Driver) -> None:
    controller = driver.prompted().controller
    controller.runs.propagate()
    driver.settle()
    controller.editing.accept_slice(5)
    first, mask, slices = controller.inputs.segmentation_node, driver.mask(), controller.review.slices
    second = create_segmentation(driver.mrml.scene, driver.volume)
    controller.inputs.set_segmentation(second)
    assert controller.inputs.segment_ids == ()
    controller.inputs.add_segment("right")
    driver.place(driver.box(6, 33, 14, 47, 31))
    driver.settle()
    controller.inputs.set_segmentation(first)
    driver.until(lambda: controller.network.state is NetworkState.READY)
    assert controller.review.slices == slices
    assert np.array_equal(driver.session_mask(), mask)
    assert np.array_equal(driver.mask(), mask)
    controller.inputs.set_segmentation(second)
    assert [len(obj.prompts) for obj in controller._work.session.objects] == [1]


def test_volume_of_another_grid_and_back_goes_on_where_it_was(driver: Driver) -> None:
    controller = driver.prompted().controller
    controller.runs.propagate()
    driver.settle()
    first, mask, slices = controller.inputs.segmentation_node, driver.mask(), controller.review.slices
    other = driver.mrml.volume_node(scan()[:9, :40], MATRIX @ np.diag([1, 1, 1.1, 1]))
    reported = len(driver.messages)
    controller.inputs.set_volume(other)
    assert controller.inputs.segmentation_node is None
    driver.until(lambda: controller.network.state is NetworkState.READY)
    controller.inputs.add_segment("another")
    driver.place(driver.box(4, 8, 14, 27, 35))
    driver.settle()
    assert controller.inputs.segmentation_node is not first
    controller.inputs.set_volume(driver.volume)
    assert controller.inputs.segmentation_node is first
    assert controller.review.slices == slices
    assert np.array_equal(driver.session_mask(), mask)
    controller.inputs.set_volume(other)
    assert [len(obj.prompts) for obj in controller._work.session.objects] == [1]
    assert [message.text for message in driver.messages[reported:] if message.level is Level.ERROR] == []


def test_segmenting_in_one_call_writes_new_segments(mrml: MrmlScene) -> None:
    driver = Driver(mrml)
    driver.controller.close()
    from MedSAMSlicerLib.core.prompts import SliceRef, box_from_voxels
    from MedSAMSlicerLib.scene.nodes import volume_geometry

    box = box_from_voxels(volume_geometry(driver.volume), SliceRef(SliceAxis.K, 7), 8, 14, 27, 35)
    reported: list[tuple[int, int]] = []
    done = segment(driver.volume, [box], device="cpu", progress=lambda *message: reported.append(message))
    masks = SegmentMasks(done.segmentation_node, driver.volume)
    volume = np.zeros(SHAPE, bool)
    for index, mask in masks.read_slices(done.segment_ids["Segment"], SliceAxis.K).items():
        volume[index] = mask
    assert dice(volume, LEFT) > 0.8
    assert reported[-1][0] == reported[-1][1]
    again = segment(driver.volume, [box], done.segmentation_node, overlap="all", device="cpu")
    assert [masks.name(each) for each in masks.segment_ids()] == ["Segment", "Segment (2)"]
    assert again.segment_ids["Segment"] != done.segment_ids["Segment"]
    assert masks.read_slices(done.segment_ids["Segment"], SliceAxis.K) == {}, "the same mask took all voxels"
    masks.close()
    with pytest.raises(MedSAMError, match="must be one of stop, none, visible, all, got 'some'"):
        segment(driver.volume, [box], overlap="some")
    with pytest.raises(Canceled):
        segment(driver.volume, [box], device="cpu", cancel=lambda: True)
    with pytest.raises(MedSAMError, match="no prompts"):
        segment(driver.volume, [])
    assert network_threads() == []


def close_at_random(mrml: MrmlScene, seed: int) -> None:
    random = np.random.default_rng(seed)
    driver = Driver(mrml)
    controller = driver.controller
    controller.inputs.set_volume(driver.volume)
    moments = int(random.integers(0, 60))
    began = False
    for _ in range(moments):
        controller.poll(float(random.uniform(0, 0.03)))
        if controller.network.state is NetworkState.READY and controller.inputs.segment_id is None:
            controller.inputs.add_segment("left")
            driver.place(driver.box(7, 8, 14, 27, 35))
        if not began and controller.reason(Action.PROPAGATE) is None:
            controller.runs.propagate()
            began = True
    mrml.scene.Clear(False)
    assert controller.inputs.volume_node is None
    assert not controller.runs.busy
    driver.settle()
    controller.close()
    assert network_threads() == []


@pytest.mark.parametrize("seed", range(10))
def test_scene_closed_at_a_random_moment_leaves_nothing_behind(mrml: MrmlScene, seed: int) -> None:
    close_at_random(mrml, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 100))
def test_scene_closed_at_many_random_moments_leaves_nothing_behind(mrml: MrmlScene, seed: int) -> None:
    close_at_random(mrml, seed)


def test_deleted_volume_is_freed(driver: Driver) -> None:
    driver.prompted()
    scene = driver.mrml.scene
    name = driver.volume.GetID()
    scene.RemoveNode(driver.volume)
    driver.volume = None
    driver.settle()
    gc.collect()
    assert scene.GetNodeByID(name) is None
