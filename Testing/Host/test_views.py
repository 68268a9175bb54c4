"""Real MRML and Slicer's own displayable managers: what the mouse and the keys do in the views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slicer


def place_points(host, count_of_lists=1):
    node = host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.CreateDefaultDisplayNodes()
    host.application.module_logics["Markups"].SetActiveList(node)
    interaction = host.node("vtkMRMLInteractionNode")
    interaction.SetPlaceModePersistence(1)
    interaction.SetCurrentInteractionMode(interaction.Place)
    return node


def pixel_mm(host, view):
    node = host.view(view).mrmlSliceNode()
    return node.GetFieldOfView()[0] / node.GetDimensions()[0]


@pytest.mark.parametrize(
    ("view", "ras"), [("Red", (10, -12, 6)), ("Green", (-9, 3, 15)), ("Yellow", (7, 20, -13))]
)
def test_click_places_a_control_point_where_the_mouse_is(host, ball, view, ras):
    host.add_volume(*ball)
    node = place_points(host)
    host.click(view, ras)
    assert node.GetNumberOfDefinedControlPoints() == 1
    place = np.array(node.GetNthControlPointPositionWorld(0))
    assert np.abs(place - ras).max() <= 0.75 * pixel_mm(host, view)


def test_second_click_places_a_second_point_and_drag_moves_the_first(host, ball):
    host.add_volume(*ball)
    node = place_points(host)
    host.click("Red", (10, -12, 6))
    host.click("Red", (-20, 15, 6))
    assert node.GetNumberOfDefinedControlPoints() == 2
    interaction = host.node("vtkMRMLInteractionNode")
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    host.drag("Red", [(10, -12, 6), (16, -2, 6)])
    moved = np.array(node.GetNthControlPointPositionWorld(0))
    assert np.abs(moved - (16, -2, 6)).max() <= 2 * pixel_mm(host, "Red")


def test_delete_key_over_a_point_deletes_it(host, ball):
    host.add_volume(*ball)
    node = place_points(host)
    host.click("Red", (10, -12, 6))
    interaction = host.node("vtkMRMLInteractionNode")
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    host.move("Red", (10, -12, 6))
    host.key("Del", view="Red")
    assert node.GetNumberOfControlPoints() == 0


def test_drag_in_place_mode_draws_a_box(host, ball):
    host.add_volume(*ball)
    node = host.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    node.CreateDefaultDisplayNodes()
    host.application.module_logics["Markups"].SetActiveList(node)
    interaction = host.node("vtkMRMLInteractionNode")
    interaction.SetCurrentInteractionMode(interaction.Place)
    host.click("Red", (-20, -20, 0))
    host.click("Red", (15, 10, 0))
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    assert np.abs(bounds[:4] - (-20, 15, -20, 10)).max() <= 2 * pixel_mm(host, "Red")


def test_wheel_steps_by_one_slice_of_the_volume(host, ball):
    host.add_volume(*ball)
    logic = host.view("Red").sliceLogic()
    before = logic.GetSliceOffset()
    host.wheel("Red", 1)
    forward = logic.GetSliceOffset()
    assert abs(abs(forward - before) - 3.0) < 1e-6
    host.wheel("Red", -1)
    assert abs(logic.GetSliceOffset() - before) < 1e-6


def test_slider_moves_the_slice_and_follows_it(host, ball):
    host.add_volume(*ball)
    slider = host.view("Red").sliceController().sliceOffsetSlider()
    slider.value = 13.5
    host.process_events()
    assert abs(host.view("Red").sliceLogic().GetSliceOffset() - 13.5) < 1e-6
    host.show_slice("Red", (0, 0, -22.5))
    assert abs(slider.value + 22.5) < 1e-6


def test_drag_in_window_level_mode_changes_the_display_window(host, ball):
    volume = host.add_volume(*ball)
    host.set_window(volume, 400, 40)
    interaction = host.node("vtkMRMLInteractionNode")
    interaction.SetCurrentInteractionMode(interaction.AdjustWindowLevel)
    host.drag("Red", [(0, 0, 0), (20, 12, 0)])
    display = volume.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) != (400, 40)


def test_picture_shows_the_volume_and_not_an_empty_view(host, ball, tmp_path):
    volume = host.add_volume(*ball)
    host.set_window(volume, 400, 40)
    view = host.view("Red").sliceView()
    image = host.picture(view)
    middle = image.pixelColor(image.width() // 2, image.height() // 2)
    assert min(middle.red(), middle.green(), middle.blue()) > 200
    assert image.pixelColor(5, image.height() // 2).lightness() < 30
    path = host.screenshot(tmp_path / "window.png")
    assert path.stat().st_size > 20_000


def test_segment_is_lit_from_the_camera(host, ball):
    import slicer

    volume = host.add_volume(*ball)
    node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segments")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = node.GetSegmentation().AddEmptySegment("ball", "ball", (1.0, 0.2, 0.2))
    slicer.util.updateSegmentBinaryLabelmapFromArray((ball[0] > 0).astype(np.uint8), node, segment, volume)
    node.CreateClosedSurfaceRepresentation()
    view = host.view("3D").threeDView()
    view.resetCamera()
    image = host.picture(view)
    front = image.pixelColor(image.width() // 2, image.height() // 2)
    assert front.red() > 200
    host.drag_pixels("3D", [(200, 200), (340, 230)])
    turned = host.picture(view)
    assert turned != image
    assert turned.pixelColor(turned.width() // 2, turned.height() // 2).red() > 180


def test_widget_put_under_the_controller_is_between_slider_and_image(host, ball):
    import qt

    host.add_volume(*ball)
    widget = host.view("Red")
    strip = qt.QLabel("strip")
    widget.layout().insertWidget(1, strip)
    host.process_events()
    assert widget.sliceController().pos.y() < strip.pos.y() < widget.sliceView().pos.y()


def test_saved_scene_comes_back_in_the_same_views(host, ball, tmp_path: Path):
    host.add_volume(*ball, name="patient")
    node = place_points(host)
    host.click("Red", (10, -12, 6))
    place = np.array(node.GetNthControlPointPositionWorld(0))
    host.save_scene(tmp_path / "scene.mrb")
    host.load_scene(tmp_path / "scene.mrb")
    assert host.node("vtkMRMLScalarVolumeNode").GetName() == "patient"
    loaded = host.node("vtkMRMLMarkupsFiducialNode")
    assert np.abs(np.array(loaded.GetNthControlPointPositionWorld(0)) - place).max() < 1e-3
    assert host.scene.GetNumberOfNodesByClass("vtkMRMLSliceNode") == 3
    composite = host.view("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == host.node("vtkMRMLScalarVolumeNode").GetID()
