"""Generated 4-D volumes: Slicer's sequence, its browser, and the volume that shows one time point."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .conftest import MrmlScene
from .controllers import LEFT, MATRIX, RIGHT, Driver

VALUES = ("0", "0.5", "1", "1.5")  # seconds, as the sequence says them


def left_at(number: int) -> npt.NDArray[np.bool_]:
    """(K, J, I): the left body, one column further with each time point."""
    return np.roll(LEFT, number, axis=2)


def scan_at(number: int) -> npt.NDArray[np.int16]:
    """Two bright bodies in noise; the left one moves."""
    noise = np.random.default_rng(number).normal(0, 12, LEFT.shape)
    return np.asarray(np.rint(noise - 80 + 180 * left_at(number) + 150 * RIGHT), np.int16)


def sequence(mrml: MrmlScene, count: int = 4) -> tuple[Any, Any]:
    """The browser of a sequence of `count` volumes, and the volume that shows its items."""
    scene = mrml.scene
    items = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    for number in range(count):
        node = mrml.slicer.vtkMRMLScalarVolumeNode()
        mrml.slicer.util.updateVolumeFromArray(node, scan_at(number))
        node.SetIJKToRASMatrix(mrml.slicer.util.vtkMatrixFromArray(MATRIX))
        node.SetName(f"frame {number}")
        items.SetDataNodeAtValue(node, VALUES[number])
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(items.GetID())
    return browser, browser.GetProxyNode(items)


class TimeDriver(Driver):
    """A controller on a sequence, which is at its first time point."""

    def __init__(self, mrml: MrmlScene, count: int = 4) -> None:
        super().__init__(mrml)
        mrml.scene.RemoveNode(self.volume)
        self.browser, self.volume = sequence(mrml, count)

    def go(self, number: int) -> None:
        """Select a time point in the browser and wait until its session is there."""
        self.browser.SetSelectedItemNumber(number)
        self.settle()

    def item(self, number: int) -> Any:
        """The segmentation of a time point, as the sequence holds it."""
        segmentation = self.controller.inputs.segmentation_node
        return self.browser.GetSequenceNode(segmentation).GetNthDataNode(number)
