"""Prompts as markups: there and back, edited by the user, kept in place under any geometry and transform."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import (
    MaskPrompt,
    Point,
    SliceRef,
    box_from_voxels,
    in_slice,
    line_from_voxels,
    point_from_voxel,
)

from .conftest import MrmlScene
from .volumes import case, geometries, node_of, put_under, transforms

pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
from MedSAMSlicerLib.app.ports import ObjectMarkups, PromptEdit, Tool
from MedSAMSlicerLib.scene import nodes
from MedSAMSlicerLib.scene.placing import Placing
from MedSAMSlicerLib.scene.prompt_markups import Kind, kind_of_tool
from MedSAMSlicerLib.scene.prompt_nodes import PromptNodes

pytestmark = pytest.mark.slicer
ANY = settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
YELLOW = (1.0, 0.9, 0.1)


def prompts_on(geometry: VolumeGeometry, axis: SliceAxis = SliceAxis.K, index: int = 1) -> tuple[Any, ...]:
    where = SliceRef(axis, index)
    rows, columns = geometry.slice_shape(axis)
    return (
        point_from_voxel(geometry, where, columns - 1, 0),
        box_from_voxels(geometry, where, 1, 0, columns, rows - 1),
        point_from_voxel(geometry, where, 0.25, rows - 1.4, positive=False, round=2),
        point_from_voxel(geometry, SliceRef(axis, 0), 1, 1, round=1),
        line_from_voxels(geometry, where, 0, 0.5, columns - 1, rows - 1),
    )


def of(prompts: tuple[Any, ...], object_id: int = 3, **more: Any) -> ObjectMarkups:
    return ObjectMarkups(object_id, f"Segment_{object_id}", f"Läsion {object_id}", YELLOW, prompts, **more)


class Recorder:
    """PromptNodes whose session is a tuple of prompts that takes every edit, as the controller does."""

    def __init__(self, mrml: MrmlScene, volume: Any, obj: ObjectMarkups, answer: bool = True) -> None:
        self.edits: list[PromptEdit] = []
        self.volume, self.obj, self.answer = volume, obj, answer
        self.nodes = PromptNodes(mrml.scene, self.take)
        self.nodes.sync([obj], volume)

    def take(self, edit: PromptEdit) -> None:
        self.edits.append(edit)
        prompts = list(self.obj.prompts)
        if edit.error is None and edit.kind == "add":
            prompts.append(edit.prompt)
        elif edit.error is None and edit.kind == "change":
            prompts[edit.position] = edit.prompt
        elif edit.error is None:
            del prompts[edit.position]
        slice_range = edit.slice_range if edit.range_changed else self.obj.slice_range
        self.obj = replace(self.obj, prompts=tuple(prompts), slice_range=slice_range)
        if self.answer:
            self.nodes.sync([self.obj], self.volume)

    def node(self, kind: Kind, number: int = 0) -> Any:
        return self.nodes._nodes_of(self.volume, self.obj.object_id, kind)[number]

    def all(self) -> list[Any]:
        return self.nodes._nodes_of(self.volume)


def assert_same(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    assert type(found) is type(expected)
    assert found.slice == expected.slice
    assert found.round == expected.round
    for name in ("ras", "corner", "opposite_corner", "start", "end"):
        if hasattr(expected, name):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=tolerance)


@ANY
@given(geometry=geometries(), transform=transforms(), axis=st.sampled_from(SliceAxis))
def test_prompts_come_back_from_markups_as_they_were(mrml: MrmlScene, geometry, transform, axis) -> None:
    if min(geometry.shape) < 2:
        return
    volume = node_of(mrml, geometry, transform)
    wanted = prompts_on(geometry, axis)
    recorder = Recorder(mrml, volume, of(wanted))
    assert recorder.edits == []
    (found,) = recorder.nodes.read(volume)
    assert (found.object_id, found.segment_id, found.name) == (3, "Segment_3", "Läsion 3")
    for one, other in zip(found.prompts, wanted, strict=True):
        assert_same(one, other)
    # Under the volume's transform: in the world the markup lies where the voxel is shown.
    world = [0.0] * 3
    recorder.node(Kind.POSITIVE).GetNthControlPointPositionWorld(0, world)
    np.testing.assert_allclose(world, nodes.to_world(volume, [wanted[0].ras])[0], rtol=0, atol=1e-5)
    recorder.nodes.close()
    mrml.clear()


@ANY
@given(geometry=geometries(), transform=transforms(), data=st.data())
def test_a_click_in_the_world_is_a_prompt_on_the_voxel_there(
    mrml: MrmlScene, geometry, transform, data
) -> None:
    volume = node_of(mrml, geometry, transform)
    axis = data.draw(st.sampled_from(SliceAxis))
    kji = [data.draw(st.integers(0, size - 1)) for size in geometry.shape]
    recorder = Recorder(mrml, volume, of((), axis=axis))
    node = recorder.nodes.node_for_placing(Kind.NEGATIVE, recorder.obj, volume)
    node.AddControlPointWorld(*nodes.to_world(volume, geometry.to_ras([kji[::-1]]))[0].tolist())
    (edit,) = recorder.edits
    assert (edit.kind, edit.object_id, edit.position, edit.error) == ("add", 3, None, None)
    assert edit.prompt.slice == SliceRef(axis, kji[axis])
    assert not edit.prompt.positive
    np.testing.assert_allclose(
        in_slice(edit.prompt, geometry)[0], [kji[axis.column_axis], kji[axis.row_axis]], atol=1e-6
    )
    recorder.nodes.close()
    mrml.clear()


def test_dragging_a_point_is_one_edit_at_its_end(mrml: MrmlScene) -> None:
    geometry = case("oblique")
    volume = node_of(mrml, geometry)
    recorder = Recorder(mrml, volume, of(prompts_on(geometry)))
    node = recorder.node(Kind.POSITIVE)
    events = mrml.slicer.vtkMRMLMarkupsNode
    node.InvokeEvent(events.PointStartInteractionEvent)
    for x in (7, 6, 5):
        node.SetNthControlPointPosition(0, *geometry.slice_to_ras([(x, 2)], 4, SliceAxis.K)[0])
    recorder.nodes.sync([recorder.obj], volume)  # as a mask streams in; the point must not jump back
    assert recorder.edits == []
    node.InvokeEvent(events.PointEndInteractionEvent)
    (edit,) = recorder.edits
    assert (edit.kind, edit.position) == ("change", 0)
    assert edit.prompt.slice == SliceRef(SliceAxis.K, 4)
    np.testing.assert_allclose(in_slice(edit.prompt, geometry), [(5, 2)], atol=1e-9)
    recorder.nodes.close()


@pytest.mark.parametrize("answer", [True, False], ids=["synced at once", "synced later"])
def test_deleting_points_and_nodes_takes_their_prompts_away(mrml: MrmlScene, answer: bool) -> None:
    geometry = case("permuted")
    volume = node_of(mrml, geometry)
    wanted = prompts_on(geometry)
    recorder = Recorder(mrml, volume, of(wanted), answer)
    recorder.node(Kind.POSITIVE).RemoveNthControlPoint(0)
    assert recorder.obj.prompts == wanted[1:]
    mrml.scene.RemoveNode(recorder.node(Kind.BOX))
    assert recorder.obj.prompts == wanted[2:]
    mrml.scene.RemoveNode(recorder.node(Kind.LINE))
    assert recorder.obj.prompts == wanted[2:4]
    recorder.node(Kind.POSITIVE).RemoveAllControlPoints()
    assert recorder.obj.prompts == wanted[2:3]
    assert [edit.kind for edit in recorder.edits] == ["remove"] * 4
    recorder.nodes.close()


def test_a_line_that_loses_an_end_is_gone(mrml: MrmlScene) -> None:
    geometry = case("permuted")
    volume = node_of(mrml, geometry)
    recorder = Recorder(mrml, volume, of(prompts_on(geometry)))
    recorder.node(Kind.LINE).RemoveNthControlPoint(1)
    assert [edit.kind for edit in recorder.edits] == ["remove"]
    assert recorder.edits[0].position == 4
    assert len(recorder.all()) == 3
    recorder.nodes.close()


def test_undo_moves_points_back_without_a_word_and_keeps_the_nodes(mrml: MrmlScene) -> None:
    geometry = case("left-handed")
    volume = node_of(mrml, geometry)
    wanted = prompts_on(geometry)
    recorder = Recorder(mrml, volume, of(wanted))
    before = [node.GetID() for node in recorder.all()]
    point_id = recorder.node(Kind.POSITIVE).GetNthControlPointID(0)
    moved = point_from_voxel(geometry, SliceRef(SliceAxis.K, 3), 2, 2)
    box = box_from_voxels(geometry, SliceRef(SliceAxis.K, 2), 2, 2, 4, 5)
    for prompts in ((moved, box, *wanted[2:]), wanted, wanted[:1], (), wanted):
        recorder.nodes.sync([of(prompts)], volume)
        (found,) = recorder.nodes.read(volume) or (of(()),)
        for one, other in zip(found.prompts, prompts, strict=True):
            assert_same(one, other)
        if prompts == wanted[:1]:
            assert recorder.node(Kind.POSITIVE).GetNthControlPointID(0) == point_id
    assert recorder.edits == []
    assert [node.GetID() for node in recorder.all() if node.GetID() in before][:1] == before[:1]
    recorder.nodes.close()


def test_box_around_something_else_is_a_red_roi_of_its_own_whose_depth_limits_nothing(
    mrml: MrmlScene,
) -> None:
    geometry = VolumeGeometry((21, 12, 14), case("oblique").ijk_to_ras)
    volume = node_of(mrml, geometry)
    place = SliceRef(SliceAxis.K, 10)
    around = box_from_voxels(geometry, place, 2, 3, 9, 8)
    other = box_from_voxels(geometry, place, 4, 4, 6, 6, positive=False)
    recorder = Recorder(mrml, volume, of((around, other)))
    node = recorder.node(Kind.NEGATIVE_BOX)
    assert node.GetName().endswith("box \N{MINUS SIGN}")
    red, green, _blue = node.GetDisplayNode().GetSelectedColor()
    assert red > 2 * green
    (found,) = recorder.nodes.read(volume)
    assert [prompt.positive for prompt in found.prompts] == [True, False]
    for one, wanted in zip(found.prompts, (around, other), strict=True):
        assert_same(one, wanted)
    width, height, depth = node.GetSize()
    node.SetSize(width, height, 7 * depth)
    node.SetSize(2 * width, height, 7 * depth)
    assert not any(edit.range_changed for edit in recorder.edits)
    assert recorder.edits[-1].position == 1
    assert not recorder.edits[-1].prompt.positive
    low, high = in_slice(recorder.edits[-1].prompt, geometry)
    np.testing.assert_allclose(high - low, (4, 2), atol=1e-6)
    recorder.nodes.close()


def test_a_deep_roi_is_a_box_on_its_middle_slice_and_a_range(mrml: MrmlScene) -> None:
    geometry = VolumeGeometry((21, 12, 14), case("oblique").ijk_to_ras)
    volume = node_of(mrml, geometry)
    box = box_from_voxels(geometry, SliceRef(SliceAxis.K, 10), 2, 3, 9, 8)
    recorder = Recorder(mrml, volume, of((box,)))
    node = recorder.node(Kind.BOX)
    spacing = geometry.spacing
    np.testing.assert_allclose(node.GetSize(), (7 * spacing[0], 5 * spacing[1], spacing[2]))
    width, height, _ = node.GetSize()
    node.SetSize(width, height, 7 * spacing[2])
    (edit,) = recorder.edits
    assert edit.range_changed
    assert edit.slice_range == (7, 13)
    assert_same(edit.prompt, box, 1e-3)
    np.testing.assert_allclose(node.GetSize()[2], 7 * spacing[2])  # the session's answer left it as it is
    node.SetSize(width, height, spacing[2])
    assert (recorder.edits[-1].range_changed, recorder.edits[-1].slice_range) == (True, None)
    node.SetSize(width, height, 1000 * spacing[2])
    assert recorder.edits[-1].slice_range == (0, 20)
    recorder.nodes.sync([of((box,), slice_range=(2, 5))], volume)  # a range beside the box leaves it flat
    np.testing.assert_allclose(node.GetSize()[2], spacing[2])
    recorder.nodes.close()


@pytest.mark.parametrize("axis", SliceAxis)
def test_a_box_in_a_tilted_volume_keeps_its_size_when_it_is_dragged(mrml: MrmlScene, axis: SliceAxis) -> None:
    matrix = np.diag([0.8, 0.8, 3.0, 1.0])
    matrix[1, 2] = 3.0 * np.tan(np.radians(20))  # as of a CT with a tilted gantry
    geometry = VolumeGeometry((24, 60, 50), matrix)
    volume = node_of(mrml, geometry)
    box = box_from_voxels(geometry, SliceRef(axis, 10), 8, 6, 20, 18)
    for slice_range in (None, (3, 17)):
        recorder = Recorder(mrml, volume, of((box,), axis=axis, slice_range=slice_range))
        node = recorder.node(Kind.BOX)
        node.SetCenter((np.array(node.GetCenter()) + matrix[:3, 2 - axis.column_axis]).tolist())
        edit = recorder.edits[-1]
        assert (edit.error, edit.range_changed) == (None, False)
        np.testing.assert_allclose(in_slice(edit.prompt, geometry), [(8.5, 5.5), (20.5, 17.5)], atol=1e-4)
        recorder.nodes.close()


def test_a_box_beyond_the_edge_is_cut_and_one_outside_is_put_back(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    volume = node_of(mrml, geometry)
    box = box_from_voxels(geometry, SliceRef(SliceAxis.K, 2), 2, 3, 6, 5)
    recorder = Recorder(mrml, volume, of((box,)))
    node = recorder.node(Kind.BOX)
    node.SetCenter(geometry.slice_to_ras([(8, 3.5)], 2, SliceAxis.K)[0].tolist())
    assert recorder.edits[-1].error is None
    np.testing.assert_allclose(in_slice(recorder.edits[-1].prompt, geometry)[1], (8.5, 4.5), atol=1e-5)
    kept = tuple(node.GetCenter())
    node.SetCenter(geometry.slice_to_ras([(80, 3.5)], 2, SliceAxis.K)[0].tolist())
    assert isinstance(recorder.edits[-1].error, MedSAMError)
    np.testing.assert_allclose(node.GetCenter(), kept, atol=1e-6)
    recorder.nodes.close()


def test_a_point_outside_the_volume_is_refused_and_taken_away(mrml: MrmlScene) -> None:
    geometry = case("permuted")
    volume = node_of(mrml, geometry)
    recorder = Recorder(mrml, volume, of(prompts_on(geometry)))
    node = recorder.node(Kind.POSITIVE)
    node.AddControlPoint(*geometry.to_ras([(-3, 2, 2)])[0])
    assert "outside the volume" in str(recorder.edits[-1].error)
    assert node.GetNumberOfControlPoints() == 2
    place = node.GetNthControlPointPosition(1)
    node.SetNthControlPointPosition(1, *geometry.to_ras([(2, 2, 99)])[0])
    assert "outside the volume" in str(recorder.edits[-1].error)
    assert (recorder.edits[-1].kind, recorder.edits[-1].prompt) == ("change", None)
    np.testing.assert_allclose(node.GetNthControlPointPosition(1), place)
    recorder.nodes.close()


def test_a_line_across_the_slices_is_refused_and_one_askew_is_laid_into_its_slice(mrml: MrmlScene) -> None:
    geometry = VolumeGeometry((20, 20, 20), np.eye(4))
    volume = node_of(mrml, geometry)
    recorder = Recorder(mrml, volume, of((point_from_voxel(geometry, SliceRef(SliceAxis.K, 5), 3, 3),)))
    line = recorder.nodes.node_for_placing(Kind.LINE, recorder.obj, volume)
    line.AddControlPoint(2, 2, 3)
    line.AddControlPoint(2, 4, 15)
    assert "across the slices of this segment: draw it on the axial slices." in str(recorder.edits[-1].error)
    line = recorder.nodes.node_for_placing(Kind.LINE, recorder.obj, volume)
    line.AddControlPoint(2, 2, 3)
    line.AddControlPoint(2, 12, 7)
    assert recorder.edits[-1].prompt.start == (2, 2, 5)
    assert recorder.edits[-1].prompt.end == (2, 12, 5)
    recorder.nodes.close()


def test_only_the_active_object_is_bright_and_open_to_the_mouse(mrml: MrmlScene) -> None:
    geometry = case("oblique")
    volume = node_of(mrml, geometry)
    recorder = Recorder(mrml, volume, of(prompts_on(geometry)))
    recorder.nodes.sync([of(prompts_on(geometry), active=False), of(prompts_on(geometry), 4)], volume)
    looks = {}
    for node in recorder.all():
        key = (node.GetAttribute("MedSAMSlicer.Object"), node.GetAttribute("MedSAMSlicer.Kind"))
        looks[key] = (bool(node.GetLocked()), node.GetDisplayNode().GetOpacity())
    assert {look for (owner, _), look in looks.items() if owner == "3"} == {(True, 0.35)}
    assert {look for (owner, _), look in looks.items() if owner == "4"} == {(False, 1.0)}
    red, green, blue = recorder.node(Kind.NEGATIVE).GetDisplayNode().GetSelectedColor()
    assert red > 0.9
    assert max(green, blue) < 0.5
    recorder.nodes.close()


def test_masks_are_no_markups_and_positions_count_them(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    volume = node_of(mrml, geometry)
    mask = MaskPrompt(SliceRef(SliceAxis.K, 1), np.ones(geometry.slice_shape(SliceAxis.K), bool))
    point = point_from_voxel(geometry, SliceRef(SliceAxis.K, 1), 2, 2)
    recorder = Recorder(mrml, volume, of((mask, point)))
    recorder.node(Kind.POSITIVE).RemoveNthControlPoint(0)
    assert recorder.edits[-1].position == 1
    assert recorder.obj.prompts == (mask,)
    recorder.nodes.close()


def test_markups_of_somebody_else_are_left_alone(mrml: MrmlScene) -> None:
    volume = node_of(mrml, case("as scanned"))
    theirs = mrml.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
    theirs.AddControlPoint(1, 2, 3)
    recorder = Recorder(mrml, volume, of(()))
    theirs.AddControlPoint(4, 5, 6)
    recorder.nodes.sync([], volume)
    recorder.nodes.sync([], None)
    assert recorder.edits == []
    assert mrml.scene.GetNodeByID(theirs.GetID()) is theirs
    recorder.nodes.close()


def test_prompts_follow_when_the_volume_gets_another_transform(mrml: MrmlScene) -> None:
    geometry = case("sheared")
    volume = node_of(mrml, geometry)
    wanted = prompts_on(geometry)
    recorder = Recorder(mrml, volume, of(wanted))
    put_under(mrml, volume, np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]]))
    world = [0.0] * 3
    recorder.node(Kind.POSITIVE).GetNthControlPointPositionWorld(0, world)
    np.testing.assert_allclose(world, nodes.to_world(volume, [wanted[0].ras])[0], atol=1e-9)
    volume.SetAndObserveTransformNodeID(None)
    assert recorder.node(Kind.BOX).GetTransformNodeID() is None
    assert recorder.edits == []
    recorder.nodes.close()


def test_closing_the_scene_reports_no_edit_and_close_leaves_no_observer(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    volume = node_of(mrml, geometry)
    recorder = Recorder(mrml, volume, of(prompts_on(geometry)))
    kept = recorder.all()
    recorder.nodes.close()
    events = mrml.slicer.vtkMRMLMarkupsNode
    for node in kept:
        assert not node.HasObserver(events.PointPositionDefinedEvent)
        assert not node.HasObserver(events.PointEndInteractionEvent)
    kept[0].SetNthControlPointPosition(0, 1, 2, 3)
    again = Recorder(mrml, volume, of(prompts_on(geometry)))
    del kept
    mrml.scene.Clear(False)
    assert again.edits == []
    assert recorder.edits == []
    again.nodes.sync([], None)
    again.nodes.close()


# -- placing


def place_mode(mrml: MrmlScene) -> tuple[Any, Any]:
    interaction = mrml.scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    return interaction, mrml.scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")


@pytest.mark.parametrize("tool", Tool)
def test_a_tool_makes_its_node_the_one_that_takes_clicks(mrml: MrmlScene, tool: Tool) -> None:
    volume = node_of(mrml, case("oblique"))
    recorder, left = Recorder(mrml, volume, of(())), []
    placing = Placing(mrml.scene, recorder.nodes, lambda void: left.append(True))
    placing.start(tool, recorder.obj, volume)
    interaction, selection = place_mode(mrml)
    node = mrml.scene.GetNodeByID(selection.GetActivePlaceNodeID())
    assert node.GetClassName() == kind_of_tool(tool).node_class
    assert node.GetAttribute("MedSAMSlicer.Object") == "3"
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert bool(interaction.GetPlaceModePersistence()) == kind_of_tool(tool).holds_points
    placing.stop()
    assert interaction.GetCurrentInteractionMode() != interaction.Place
    assert placing.tool is None
    assert left == []
    assert len(recorder.all()) == (1 if kind_of_tool(tool).holds_points else 0)
    placing.close()
    recorder.nodes.close()


def test_leaving_place_mode_or_taking_another_tool_is_reported_once(mrml: MrmlScene) -> None:
    volume = node_of(mrml, case("oblique"))
    recorder, left = Recorder(mrml, volume, of(())), []
    placing = Placing(mrml.scene, recorder.nodes, lambda void: left.append(placing.tool))
    interaction, selection = place_mode(mrml)
    placing.start(Tool.POINT_POSITIVE, recorder.obj, volume)
    placing.start(Tool.POINT_NEGATIVE, recorder.obj, volume)
    placing.start(Tool.BOX, recorder.obj, volume)
    assert left == []
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert left == [None]
    placing.start(Tool.LINE, recorder.obj, volume)
    theirs = mrml.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    selection.SetActivePlaceNodeID(theirs.GetID())
    assert left == [None, None]
    placing.close()
    recorder.nodes.close()
    assert not interaction.HasObserver(interaction.InteractionModeChangedEvent)


def test_a_point_keeps_its_axis_when_it_is_clicked_in_another_view(mrml: MrmlScene) -> None:
    from .test_volume_nodes import slice_view

    geometry = VolumeGeometry((20, 20, 20), np.eye(4))
    volume = node_of(mrml, geometry)
    recorder = Recorder(mrml, volume, of(()))
    crosshair = mrml.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    green, red = slice_view(mrml, "Coronal", "Green"), slice_view(mrml, "Axial")
    node = recorder.nodes.node_for_placing(Kind.POSITIVE, recorder.obj, volume)
    crosshair.SetCursorPositionXYZ([0.0] * 3, green)
    node.AddControlPoint(3, 7, 5)
    assert recorder.edits[-1].prompt.slice == SliceRef(SliceAxis.J, 7)
    assert recorder.edits[-1].view.view_name == "Green"
    crosshair.SetCursorPositionXYZ([0.0] * 3, red)
    node.AddControlPoint(3, 9, 5)
    assert isinstance(recorder.edits[-1].prompt, Point)
    assert recorder.edits[-1].prompt.slice == SliceRef(SliceAxis.J, 9)
    line = recorder.nodes.node_for_placing(Kind.LINE, recorder.obj, volume)
    line.AddControlPoint(3, 9, 5)
    line.AddControlPoint(8, 9, 5)
    assert "draw it on the coronal slices" in str(recorder.edits[-1].error)
    recorder.nodes.close()
