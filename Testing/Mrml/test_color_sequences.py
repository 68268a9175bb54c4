"""Videos in color, one sequence item a frame: objects begin on any frame and touch no other object."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from MedSAMSlicerLib.app.state import NetworkState
from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.scene import nodes

from .conftest import MrmlScene
from .controllers import Driver, dice

pytestmark = pytest.mark.slicer

FRAMES = 4
SHAPE = (1, 72, 96)


def disc(center: tuple[float, float], radius: float) -> npt.NDArray[np.bool_]:
    """(1, rows, columns)."""
    _, rows, columns = np.indices(SHAPE)
    return np.asarray((rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2)


def tool(frame: int) -> npt.NDArray[np.bool_]:
    """What is there from the beginning, and moves."""
    return disc((24, 24 + 3 * frame), 11)


def needle(frame: int) -> npt.NDArray[np.bool_]:
    """What enters at frame 2."""
    return disc((52, 66 - 3 * frame), 10) & (frame >= 2)


def picture(frame: int) -> npt.NDArray[np.uint8]:
    """(1, rows, columns, 3): tissue of one brightness, in which only the colors differ."""
    noise = np.random.default_rng(frame).normal(0, 5, (*SHAPE, 3))
    image = np.full((*SHAPE, 3), (170.0, 80.0, 75.0))
    image[tool(frame)] = (60.0, 120.0, 190.0)
    image[needle(frame)] = (60.0, 165.0, 60.0)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


class VideoDriver(Driver):
    """A controller on a video of four frames."""

    def __init__(self, mrml: MrmlScene) -> None:
        super().__init__(mrml)
        mrml.scene.RemoveNode(self.volume)
        items = mrml.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "operation")
        for frame in range(FRAMES):
            node = mrml.slicer.vtkMRMLVectorVolumeNode()
            mrml.slicer.util.updateVolumeFromArray(node, picture(frame))
            items.SetDataNodeAtValue(node, str(frame))
        self.browser = mrml.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
        self.browser.SetAndObserveMasterSequenceNodeID(items.GetID())
        self.volume = self.browser.GetProxyNode(items)

    def go(self, frame: int) -> None:
        """Show a frame and wait for its session."""
        self.browser.SetSelectedItemNumber(frame)
        self.settle()

    def found(self, segment_id: str) -> npt.NDArray[np.bool_]:
        """(1, rows, columns): what the segment holds on the frame that is shown."""
        from MedSAMSlicerLib.core.geometry import SliceAxis

        masks = self.controller._work.masks
        assert masks is not None
        return masks.read_slices(segment_id, SliceAxis.K, [0])[0][None]


@pytest.fixture
def video(mrml: MrmlScene) -> Iterator[VideoDriver]:
    """A controller on a video."""
    driver = VideoDriver(mrml)
    yield driver
    driver.controller.close()


def test_objects_begin_on_any_frame_and_touch_no_other(video: VideoDriver) -> None:
    controller = video.ready().controller
    first = controller.inputs.add_segment("tool")
    video.place(video.box(0, 12, 12, 36, 36))
    video.settle()
    assert dice(video.found(first), tool(0)) > 0.85
    controller.carrying.carry(all_times=True)
    video.settle()
    tools = []
    for frame in range(FRAMES):
        video.go(frame)
        tools.append(video.found(first))
        assert dice(tools[-1], tool(frame)) > 0.8, f"frame {frame}"

    video.go(2)
    second = controller.inputs.add_segment("needle")
    video.place(video.box(0, 49, 41, 71, 63))
    video.settle()
    controller.carrying.carry()
    video.settle()
    assert dice(video.found(second), needle(3)) > 0.8
    for frame in range(FRAMES):
        video.go(frame)
        assert np.array_equal(video.found(first), tools[frame]), f"frame {frame} of the tool was touched"
    video.go(1)
    assert not video.found(second).any(), "it is not there before it enters"


def test_a_single_picture_in_color_is_refused_with_a_sentence(video: VideoDriver, mrml: MrmlScene) -> None:
    photo = mrml.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    mrml.slicer.util.updateVolumeFromArray(photo, picture(0))
    with pytest.raises(VolumeError, match="or a sequence of frames in color"):
        video.controller.inputs.set_volume(photo)
    nodes.check_usable(video.volume)
    assert nodes.volume_array(video.volume, color=True).shape == (*SHAPE, 3)


def test_the_gray_window_of_the_views_plays_no_part(video: VideoDriver) -> None:
    controller = video.ready().controller
    controller.network.set_window("lung")
    video.until(lambda: controller.network.state is NetworkState.READY)
    assert controller.network.window is not None
    assert (controller.network.window.lower, controller.network.window.upper) == (0, 255)
