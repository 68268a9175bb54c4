"""A controller on the real scene with the bundled network, driven by hand: no Qt, no timer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from MedSAMSlicerLib.app.controller import Controller
from MedSAMSlicerLib.app.ports import PromptEdit
from MedSAMSlicerLib.app.state import Message, NetworkState, Topic
from MedSAMSlicerLib.app.workspace import Settings
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.prompts import Point, Prompt, SliceRef, box_from_voxels, point_from_voxel
from MedSAMSlicerLib.scene.slicer_scene import slicer_scene

from .conftest import MrmlScene

SHAPE = (14, 48, 56)
MATRIX = np.array([[-0.8, 0, 0, 20], [0, -0.8, 0, 18], [0, 0, 3.0, -40], [0, 0, 0, 1]], dtype=float)


def ellipsoid(center: tuple[float, float, float], radii: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
    """(K, J, I) bool."""
    k, j, i = np.indices(SHAPE)
    parts = ((at - c) / r for at, c, r in zip((k, j, i), center, radii, strict=True))
    return np.asarray(sum(part**2 for part in parts) <= 1.0)


LEFT = ellipsoid((7, 24, 17), (5.5, 10, 9))
RIGHT = ellipsoid((6, 22, 40), (4.5, 9, 8))


def scan() -> npt.NDArray[np.int16]:
    """Two bright bodies in noise, CT-like numbers."""
    noise = np.random.default_rng(0).normal(0, 12, SHAPE)
    return np.asarray(np.rint(noise - 80 + 180 * LEFT + 150 * RIGHT), np.int16)


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


class Driver:
    """A controller, its messages, and a user who clicks."""

    def __init__(self, mrml: MrmlScene, array: npt.NDArray[Any] | None = None) -> None:
        self.mrml = mrml
        self.volume = mrml.volume_node(scan() if array is None else array, MATRIX)
        self.volume.SetName("CT")
        self.controller = Controller(slicer_scene(mrml.scene), None, Settings(device="cpu", threads=1))
        self.messages: list[Message] = []
        self.topics: list[Topic] = []
        self.controller.observe(self._note)

    def _note(self, topic: Topic) -> None:
        self.topics.append(topic)
        if topic is Topic.MESSAGE:
            assert self.controller.message is not None
            self.messages.append(self.controller.message)

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    def ready(self) -> Driver:
        """Choose the volume and wait for the network."""
        self.controller.inputs.set_volume(self.volume)
        self.until(lambda: self.controller.network.state in (NetworkState.READY, NetworkState.FAILED))
        assert self.controller.network.state is NetworkState.READY, self.texts
        return self

    def prompted(self) -> Driver:
        """As `ready`, with a segment "left", a box around `LEFT` and the preview that it gives."""
        self.ready().controller.inputs.add_segment("left")
        self.place(self.box(7, 8, 14, 27, 35))
        self.settle()
        return self

    def until(self, condition: Callable[[], bool], seconds: float = 180.0) -> None:
        end = time.perf_counter() + seconds
        while not condition():
            assert time.perf_counter() < end, f"waited {seconds} s in vain; {self.texts}"
            self.controller.poll(0.02)

    def settle(self) -> None:
        """Until nothing is under way."""
        self.until(lambda: not self.controller.poll(0.02))

    def place(self, prompt: Prompt, segment_id: str | None = None) -> None:
        """Place a prompt: what the markups report when the user has done so."""
        work = self.controller._work
        object_id = self.controller.editing.object_of(segment_id or self.controller.inputs.segment_id)
        work.prompt_edited.emit(PromptEdit("add", object_id, None, prompt))

    def point(
        self, index: int, x: float, y: float, positive: bool = True, axis: SliceAxis = SliceAxis.K
    ) -> Point:
        assert self.controller.inputs.geometry is not None
        return point_from_voxel(self.controller.inputs.geometry, SliceRef(axis, index), x, y, positive)

    def box(self, index: int, x0: float, y0: float, x1: float, y1: float) -> Prompt:
        assert self.controller.inputs.geometry is not None
        return box_from_voxels(self.controller.inputs.geometry, SliceRef(SliceAxis.K, index), x0, y0, x1, y1)

    def mask(self, segment_id: str | None = None) -> npt.NDArray[np.bool_]:
        """(K, J, I): what the segment holds."""
        masks = self.controller._work.masks
        volume = np.zeros(SHAPE, np.bool_)
        chosen = segment_id or self.controller.inputs.segment_id
        for index, mask in masks.read_slices(chosen, SliceAxis.K).items():
            volume[index] = mask
        return volume

    def tag(self, segment: Any, name: str) -> str | None:
        """What a tag of a vtkSegment says."""
        import vtk

        value = vtk.reference("")
        return str(value) if segment.GetTag(name, value) else None

    def session_mask(self, segment_id: str | None = None) -> npt.NDArray[np.bool_]:
        """(K, J, I): what the session holds."""
        work = self.controller._work
        obj = work.session.object(work.object_ids[segment_id or self.controller.inputs.segment_id])
        volume = np.zeros(SHAPE, np.bool_)
        for index, stored in obj.masks.items():
            np.moveaxis(volume, int(obj.axis), 0)[index] = stored.mask.to_array()
        return volume


def choose_from_elsewhere(driver: Driver, mask: npt.NDArray[np.bool_]) -> None:
    """Choose a segmentation that another program made, with one segment of these voxels (K, J, I), in the module."""
    util, scene = driver.mrml.slicer.util, driver.mrml.scene
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "from elsewhere")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(driver.volume)
    node.GetSegmentation().AddEmptySegment("organ", "organ")
    util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, "organ", driver.volume)
    driver.ready().controller.inputs.set_segmentation(node)
    driver.settle()
