"""The self test of `Reload & Test` in 3D Slicer. Continuous integration runs it in SlicerHost, a stand-in for Slicer.

Each test gets the test case, in an empty scene with the module's library freshly loaded. Those that need the network
are left out, and say so, where PyTorch is not installed.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from ..app.ports import Tool
from ..app.state import SliceMark
from ..phantom.ct import ct_phantom
from ..scene.sample_data import load_generated
from .install import missing
from .scribble import Scribbler
from .shortcuts import shortcuts

logger = logging.getLogger(__name__)

Test = Callable[[Any], None]

_REACH = 4
"""Slices beside the prompted one that are propagated: enough to see that it works."""


def tests() -> tuple[Test, ...]:
    """All tests in the order in which they run."""
    return (
        opening_imports_no_torch,
        strips_and_shortcuts_come_and_go,
        brush_leaves_nothing_behind,
        point_propagates_and_is_undone,
        closing_the_scene_leaves_an_empty_panel,
    )


def opening_imports_no_torch(case: Any) -> None:
    """The module opens before PyTorch was needed."""
    loaded = "torch" in sys.modules
    widget = _open()
    case.assertIsNotNone(widget.panel)
    case.assertTrue(widget.ui.messageLabel.text)
    if missing().torch:
        case.assertEqual(loaded, "torch" in sys.modules)


def strips_and_shortcuts_come_and_go(case: Any) -> None:
    """Strips and shortcuts are there while the module is open, and gone when it is left."""
    _open()
    views = slicer.app.layoutManager().sliceViewNames()
    case.assertEqual(len(_strips()), len(views))
    slicer.util.selectModule("Data")
    _wait(lambda: not _strips(), 5.0)
    case.assertEqual(_strips(), [])
    keys = [shortcut.key for shortcut in shortcuts()]
    case.assertEqual(len(keys), len(set(keys)))


def brush_leaves_nothing_behind(case: Any) -> None:
    """The brush of Segment Editor can be taken and put down, and its hidden nodes go."""
    volume = load_generated()
    before = slicer.mrmlScene.GetNumberOfNodes()
    scribbler = Scribbler(slicer.mrmlScene, lambda mask, positive, shown: None)
    scribbler.start(volume, positive=True, diameter_mm=6.0)
    case.assertTrue(scribbler.active)
    scribbler.set_positive(False)
    scribbler.close()
    case.assertFalse(scribbler.active)
    case.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)


def point_propagates_and_is_undone(case: Any) -> None:
    """One point on the liver becomes a mask, the mask a segment, and Undo takes both back."""
    if missing():
        logger.warning("Left out, as PyTorch is not installed: one point becomes a segment")
        return
    widget = _open()
    controller = widget.controller
    controller.growing.switch(False)  # each step by itself
    controller.inputs.set_volume(load_generated())
    controller.editing.start_placing(Tool.POINT_POSITIVE)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    points.AddControlPointWorld(*_inside("liver"))
    controller.editing.stop_placing()
    case.assertTrue(
        _wait(lambda: any(each.confidence is not None for each in controller.review.slices), 300.0)
    )
    prompted = next(each.index for each in controller.review.slices if each.state is SliceMark.PROMPTED)
    controller.editing.set_range(prompted - _REACH, prompted + _REACH)
    controller.runs.propagate()
    case.assertTrue(_wait(lambda: not controller.runs.busy, 600.0))
    case.assertEqual(_marks(controller, SliceMark.PREDICTED), 2 * _REACH)
    for _step in ("propagation", "range", "point"):
        controller.history.undo()
    case.assertEqual(_marks(controller, SliceMark.PREDICTED), 0)
    controller.growing.switch(bool(widget.ui.liveBox.checked))


def closing_the_scene_leaves_an_empty_panel(case: Any) -> None:
    """Closing the scene while the module is open ends the work on its volume."""
    widget = _open()
    widget.controller.inputs.set_volume(load_generated())
    slicer.mrmlScene.Clear()
    case.assertTrue(_wait(lambda: widget.controller.inputs.volume_node is None, 10.0))


def _open() -> Any:
    """Open the module; its Widget object."""
    slicer.util.selectModule("MedSAMSlicer")
    return slicer.modules.MedSAMSlicerWidget


def _strips() -> list[Any]:
    manager = slicer.app.layoutManager()
    widgets = [manager.sliceWidget(name) for name in manager.sliceViewNames()]
    found = [slicer.util.findChildren(widget, name="MedSAMSlicerStrip*") for widget in widgets]
    return [strip for strips in found for strip in strips]


def _inside(organ: str) -> tuple[float, float, float]:
    """A place within an organ of the generated volume, RAS in mm."""
    _array, geometry, masks = ct_phantom()
    mask = masks[organ]
    index = int(mask.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(mask[index])
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    ras = geometry.to_ras(np.array([[columns[nearest], rows[nearest], index]], dtype=np.float64))[0]
    return float(ras[0]), float(ras[1]), float(ras[2])


def _marks(controller: Any, mark: SliceMark) -> int:
    return sum(state.state is mark for state in controller.review.slices)


def _wait(condition: Callable[[], Any], seconds: float) -> bool:
    """Let Slicer work until a condition holds; False when it never did."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        slicer.app.processEvents()
        time.sleep(0.02)  # gives the worker the interpreter
    return True
