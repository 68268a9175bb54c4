"""Several registered volumes as the channels of the network, on the real scene with the bundled network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.app.state import Action, Level
from MedSAMSlicerLib.core.errors import MedSAMError, SessionError

from .conftest import MrmlScene
from .controllers import LEFT, MATRIX, SHAPE, Driver, dice
from .sequences import VALUES, TimeDriver, left_at, sequence
from .test_color_sequences import VideoDriver
from .test_scene_saving import save_and_load

pytestmark = pytest.mark.slicer
COARSE = np.array([[2, 0, 0, -3], [0, 2, 0, -5], [0, 0, 1, -1], [0, 0, 0, 1.0]])
"""From the voxels (i, j, k) of the PET to those of the CT."""


def seen_by_pet() -> np.ndarray:
    """The left body on coarser voxels that begin elsewhere, (K, J, I) float32."""
    k, j, i = np.indices((16, 30, 32))
    fine = [np.rint(2 * i - 3).astype(int), np.rint(2 * j - 5).astype(int), k - 1]
    inside = np.all([(at >= 0) & (at < size) for at, size in zip(fine, SHAPE[::-1], strict=True)], axis=0)
    found = np.zeros(k.shape, np.float32)
    found[inside] = LEFT[fine[2][inside], fine[1][inside], fine[0][inside]]
    noise = np.random.default_rng(2).random(k.shape).astype(np.float32)
    return np.asarray(5 * found + noise, np.float32)


class Patient(Driver):
    """A CT of noise alone, and a PET that shows the left body."""

    def __init__(self, mrml: MrmlScene) -> None:
        super().__init__(mrml, np.random.default_rng(1).normal(40, 20, SHAPE).astype(np.int16))
        self.pet = mrml.volume_node(seen_by_pet(), MATRIX @ COARSE)
        self.pet.SetName("PET")

    @property
    def channels(self) -> Any:
        return self.controller.inputs.channels

    def seen(self) -> np.ndarray:
        """What the network sees, once it is ready."""
        self.settle()
        assert self.channels.fused is not None, self.texts
        return np.array(self.channels.fused)

    def propagated(self) -> np.ndarray:
        """The mask (K, J, I) of a box around the body on one slice, through the volume."""
        self.controller.inputs.add_segment("lesion")
        self.place(self.box(7, 8, 14, 27, 35))
        self.settle()
        self.controller.runs.propagate()
        self.settle()
        return self.session_mask()

    def under(self, node: Any, matrix: np.ndarray) -> Any:
        """Put a volume under a linear transform."""
        transform = self.mrml.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(self.mrml.slicer.util.vtkMatrixFromArray(matrix))
        node.SetAndObserveTransformNodeID(transform.GetID())
        return transform


@pytest.fixture
def patient(mrml: MrmlScene) -> Iterator[Patient]:
    patient = Patient(mrml)
    patient.ready()
    yield patient
    patient.controller.close()


def test_body_that_only_pet_shows_is_found_on_the_voxels_of_the_ct_as_the_engine_finds_it(
    patient: Patient,
) -> None:
    from MedSAMSlicerLib.core.intensity import Window
    from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
    from MedSAMSlicerLib.models.registry import Registry
    from MedSAMSlicerLib.sam2.checkpoint import load_named

    patient.channels.choose(0, patient.pet, "full")
    frames = patient.seen()
    assert frames.shape == (*SHAPE, 3)
    assert np.array_equal(frames[..., 0], frames[..., 2])
    found = patient.propagated()
    assert dice(found, LEFT) > 0.7
    [prompts] = patient.controller.files.prompt_sets()
    file = Registry.from_environment().open("medsamslicer-nano")
    model = load_named(file.path, file.checkpoint.config)
    engine = VolumeSegmenter(frames, prompts.geometry, model, Window(0, 255), threads=1)
    assert np.array_equal(engine.segment(prompts).masks["lesion"], found)
    patient.channels.choose(0, None)
    patient.settle()
    assert patient.channels.fused is None
    assert patient.controller.reason(Action.PROPAGATE) is None, "the network sees something else now"
    patient.controller.runs.propagate()
    patient.settle()
    assert dice(patient.session_mask(), LEFT) < dice(found, LEFT) - 0.2


def test_transforms_of_both_volumes_are_respected_and_followed(patient: Patient) -> None:
    patient.channels.choose(0, patient.pet, "full")
    in_place = patient.seen()
    away = np.eye(4)
    away[:3, 3] = 40, -25, 12
    back = np.linalg.inv(away)
    moved = patient.mrml.volume_node(seen_by_pet(), away @ MATRIX @ COARSE)
    transform = patient.under(moved, back)
    patient.channels.choose(0, moved, "full")
    assert np.array_equal(patient.seen(), in_place)
    patient.under(patient.volume, away)  # the first volume goes away: the PET does not go with it
    patient.until(lambda: not np.array_equal(patient.channels.fused, in_place))
    transform.SetMatrixTransformToParent(patient.mrml.slicer.util.vtkMatrixFromArray(np.eye(4)))
    patient.until(lambda: patient.channels.fused is not None and np.array_equal(patient.seen(), in_place))


def test_volume_that_is_moved_away_or_deleted_is_reported_and_the_session_goes_on(patient: Patient) -> None:
    patient.channels.choose(0, patient.pet, "full")
    patient.settle()
    found = patient.propagated()
    assert patient.controller.reason(Action.PROPAGATE) is not None
    far = np.eye(4)
    far[0, 3] = 9000.0
    transform = patient.under(patient.pet, far)
    patient.until(lambda: not patient.channels.chosen)
    assert '"PET" and "CT" do not overlap in space' in patient.texts[-1]
    transform.SetMatrixTransformToParent(patient.mrml.slicer.util.vtkMatrixFromArray(np.eye(4)))
    patient.settle()
    patient.channels.choose(0, patient.pet, "full")
    patient.settle()
    patient.mrml.scene.RemoveNode(patient.pet)
    patient.settle()
    message = patient.messages[-1]
    assert (message.level, patient.channels.chosen) == (Level.WARNING, ())
    assert message.text.startswith('The volume "PET" was deleted.')
    assert np.array_equal(patient.session_mask(), found)
    assert patient.controller.reason(Action.PROPAGATE) is None
    patient.controller.history.undo()
    patient.settle()


def test_volume_that_goes_during_a_propagation_makes_its_masks_due_again(patient: Patient) -> None:
    patient.channels.choose(0, patient.pet, "full")
    patient.settle()
    patient.controller.inputs.add_segment("lesion")
    patient.place(patient.box(7, 8, 14, 27, 35))
    patient.settle()
    patient.controller.runs.propagate()
    with pytest.raises(SessionError, match="A propagation is running"):
        patient.channels.choose(0, None)
    patient.mrml.scene.RemoveNode(patient.pet)
    patient.settle()
    assert patient.session_mask().any()
    assert patient.channels.chosen == ()
    assert patient.controller.reason(Action.PROPAGATE) is None


def test_session_is_found_again_with_its_volumes_and_windows_and_others_have_none(patient: Patient) -> None:
    mr = patient.mrml.volume_node(np.full(SHAPE, 7, np.int16) + LEFT, MATRIX)
    mr.SetName("MR")
    patient.channels.choose(0, patient.pet, "full")
    patient.channels.choose(1, mr, "percentile")
    frames, found = patient.seen(), patient.propagated()
    windows = [each.window for each in patient.channels.chosen]
    other = patient.mrml.volume_node(np.full(SHAPE, 3, np.int16) + LEFT, MATRIX)
    patient.controller.inputs.set_volume(other)
    patient.settle()
    assert patient.channels.chosen == ()
    patient.controller.inputs.set_volume(patient.volume)
    assert np.array_equal(patient.seen(), frames)
    assert [each.node for each in patient.channels.chosen] == [patient.pet, mr]
    assert [each.window for each in patient.channels.chosen] == windows
    assert np.array_equal(patient.session_mask(), found)
    assert patient.controller.reason(Action.PROPAGATE) is not None, "nothing is due"
    patient.controller.inputs.set_volume(None)
    patient.mrml.scene.RemoveNode(patient.pet)
    patient.controller.inputs.set_volume(patient.volume)
    patient.settle()
    assert any('made with "PET" as further channels' in text for text in patient.texts)
    assert [each.node for each in patient.channels.chosen] == [mr]
    assert patient.controller.reason(Action.PROPAGATE) is None


def test_choice_before_the_first_prompt_comes_back_with_its_volume(patient: Patient) -> None:
    patient.channels.choose(0, patient.pet, "pet")
    patient.settle()
    patient.controller.inputs.set_volume(None)
    patient.controller.inputs.set_volume(patient.volume)
    patient.settle()
    assert [(each.node, each.spec) for each in patient.channels.chosen] == [(patient.pet, "pet")]


def test_windows_are_each_volumes_own_and_the_third_one_moves_up(patient: Patient) -> None:
    mr = patient.mrml.volume_node(np.asarray(100 * LEFT, np.int16), MATRIX)
    patient.channels.choose(0, patient.pet, "full")
    patient.channels.choose(1, mr, "full")
    both = patient.seen()
    patient.channels.set_window(0, "pet")
    assert not np.array_equal(patient.seen()[..., 1], both[..., 1])
    assert np.array_equal(patient.seen()[..., 2], both[..., 2])
    patient.channels.choose(0, None)
    assert np.array_equal(patient.seen()[..., 1], both[..., 2])
    display = mr.GetDisplayNode()
    if display is None:
        mr.CreateDefaultDisplayNodes()
        display = mr.GetDisplayNode()
    patient.channels.set_window(0, "display")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(50, 25)
    patient.until(
        lambda: (
            patient.channels.chosen[0].window is not None
            and (patient.channels.chosen[0].window.lower, patient.channels.chosen[0].window.upper) == (0, 50)
        )
    )
    with pytest.raises(MedSAMError, match="must be one of display, auto"):
        patient.channels.set_window(0, "nonsense")
    with pytest.raises(SessionError, match="Choose the volume first, then its window"):
        patient.channels.set_window(1, "auto")


def test_every_reason_why_a_volume_cannot_be_a_channel_is_one_sentence(patient: Patient) -> None:
    scene, channels = patient.mrml.scene, patient.channels
    assert channels.reason(patient.volume) == ('"CT" is the volume that is segmented: choose another one.')
    assert channels.reason(patient.pet, 1) == "Choose the second volume first."
    colors = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    patient.mrml.slicer.util.updateVolumeFromArray(colors, np.zeros((*SHAPE, 3), np.uint8))
    assert "has 3 values per voxel" in channels.reason(colors)
    nothing = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert channels.reason(nothing) == 'The volume "empty" has no image data.'
    far = MATRIX.copy()
    far[0, 3] += 5000
    elsewhere = patient.mrml.volume_node(seen_by_pet(), far)
    elsewhere.SetName("far")
    assert channels.reason(elsewhere) == ('"far" and "CT" do not overlap in space. Register them first.')
    bent = patient.mrml.volume_node(seen_by_pet(), MATRIX @ COARSE)
    grid = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    import vtk

    spline = vtk.vtkThinPlateSplineTransform()
    grid.SetAndObserveTransformToParent(spline)
    bent.SetAndObserveTransformNodeID(grid.GetID())
    assert "non-linear transform" in channels.reason(bent)
    with pytest.raises(MedSAMError) as refused:
        channels.choose(0, bent)
    assert refused.value.offer is None
    channels.choose(0, patient.pet)
    patient.settle()
    assert channels.reason(patient.pet, 1) == '"PET" is a channel already: choose another one.'
    assert channels.reason(None, 1) is None
    patient.controller.inputs.set_volume(None)
    assert channels.reason(None) == "Choose a volume first."


def test_volume_of_a_sequence_in_gray_or_color_is_no_channel(patient: Patient) -> None:
    video = VideoDriver(patient.mrml)
    video.controller.close()
    sentence = "belongs to a sequence and changes with the time point"
    for node, text in ((sequence(patient.mrml, 2)[1], sentence), (video.volume, "is in color")):
        assert text in (patient.channels.reason(node) or "")


def test_choices_and_references_survive_a_saved_scene(mrml: MrmlScene, tmp_path: Path) -> None:
    from MedSAMSlicerLib.scene.parameter_node import ParameterNode
    from MedSAMSlicerLib.scene.segments import create_segmentation

    nodes = {}
    for name in ("CT", "PET", "MR"):
        nodes[name] = mrml.volume_node(np.zeros(SHAPE, np.int16), MATRIX)
        nodes[name].SetName(name)
    parameters = ParameterNode(mrml.scene)
    segmentation = create_segmentation(mrml.scene, nodes["CT"])
    parameters.volume, parameters.segmentation = nodes["CT"], segmentation
    parameters.set_channels_of(nodes["CT"], [(nodes["MR"], "percentile")])
    parameters.set_session_of(nodes["CT"], segmentation, "{}", channels=[nodes["PET"], nodes["MR"]])
    nodes.clear()
    del segmentation
    save_and_load(mrml, tmp_path, bundle=True)
    parameters = ParameterNode(mrml.scene)
    volume, segmentation = parameters.volume, parameters.segmentation
    kept = parameters.session_channels(volume, segmentation)
    assert [node.GetName() for node in kept] == ["PET", "MR"]
    assert [(node.GetName(), spec) for node, spec in parameters.channels_of(volume)] == [("MR", "percentile")]
    assert parameters.channels_of(kept[0]) == ()


@pytest.fixture
def times(mrml: MrmlScene) -> Iterator[TimeDriver]:
    """A controller on a sequence of three time points, and a second sequence in the same browser."""
    driver = TimeDriver(mrml, count=3)
    items = mrml.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "PET sequence")
    for number in range(3):
        node = mrml.volume_node((100 * left_at(number)).astype(np.int16), MATRIX)
        items.SetDataNodeAtValue(node, VALUES[number])
        mrml.scene.RemoveNode(node)
    driver.browser.AddSynchronizedSequenceNode(items)
    driver.pet = driver.browser.GetProxyNode(items)  # type: ignore[attr-defined]
    driver.ready()
    yield driver
    driver.controller.close()


def seen_second(driver: TimeDriver) -> np.ndarray:
    """(K, J, I) bool: where the network sees the second volume bright."""
    driver.settle()
    fused = driver.controller.inputs.channels.fused
    assert fused is not None, driver.texts
    return np.asarray(fused[..., 1] > 127)


def test_second_volume_of_the_same_browser_goes_from_one_time_point_to_the_next(times: TimeDriver) -> None:
    controller, pet = times.controller, times.pet  # type: ignore[attr-defined]
    channels = controller.inputs.channels
    channels.choose(0, pet, "full")
    assert np.array_equal(seen_second(times), left_at(0))
    controller.inputs.add_segment("left")
    times.place(times.box(7, 8, 14, 27, 35))
    times.settle()
    first = times.mask()
    times.go(1)
    assert [each.node for each in channels.chosen] == [pet]
    assert np.array_equal(seen_second(times), left_at(1))
    times.place(times.box(8, 9, 14, 28, 35))
    times.settle()
    assert "remove those under More volumes" in (controller.reason(Action.CARRY_NEXT) or "")
    for number in (0, 2, 1, 0):
        times.browser.SetSelectedItemNumber(number)  # as when a sequence plays
    times.settle()
    assert np.array_equal(seen_second(times), left_at(0))
    assert np.array_equal(times.mask(), first)
    assert controller.history.undo_label == "Add box"
    controller.history.undo()
    assert not times.mask().any()
    assert times.texts == []


def test_second_volume_that_stands_still_is_seen_at_every_time_point(
    times: TimeDriver, mrml: MrmlScene
) -> None:
    channels, still = (
        times.controller.inputs.channels,
        mrml.volume_node((100 * LEFT).astype(np.int16), MATRIX),
    )
    channels.choose(0, still, "full")
    for number in (0, 2):
        times.go(number)
        assert [each.node for each in channels.chosen] == [still]
        assert np.array_equal(seen_second(times), LEFT)


def test_second_volume_of_another_browser_is_refused_with_the_reason(
    times: TimeDriver, mrml: MrmlScene
) -> None:
    other = sequence(mrml, 2)[1]
    assert "select both in one sequence browser" in (times.controller.inputs.channels.reason(other) or "")
