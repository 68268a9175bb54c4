"""Somebody who works in SlicerHost with mouse and keyboard, and looks at what the scene then holds."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6 import QtCore, QtGui, QtWidgets

Mask = npt.NDArray[np.bool_]
PATIENCE = float(os.environ.get("MEDSAMSLICER_PATIENCE", "180"))
"""Seconds until something that never comes fails the test: a busy computer takes long, and may be given longer."""

logger = logging.getLogger(__name__)


class User:
    """One person, one volume, the module open.

    Args:
        host: an open SlicerHost whose scene holds the volume.
        volume: the volume node.
        truth: (K, J, I) bool of each object that the person knows.
    """

    def __init__(self, host: Any, volume: Any, truth: dict[str, Mask], widget: Any | None = None) -> None:
        self.host, self.volume, self.truth = host, volume, truth
        self.matrix = matrix_of(volume)
        self.widget = host.open_module() if widget is None else widget

    # ------------------------------------------------------------------------------------------------ what there is

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def controller(self) -> Any:
        return self.widget.controller

    @property
    def message(self) -> str:
        """What the message line of the panel says."""
        return str(self.ui.messageLabel.text)

    @property
    def segmentation(self) -> Any:
        return self.controller.inputs.segmentation_node

    def mask(self, segment_id: str | None = None) -> Mask:
        """(K, J, I): what Slicer itself says that a segment holds."""
        import slicer

        chosen = segment_id or self.controller.inputs.segment_id
        array = slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentation, chosen, self.volume)
        return np.array(array, dtype=np.bool_)

    def names(self) -> list[str]:
        """Names of the segments in the table's order."""
        segmentation = self.segmentation.GetSegmentation()
        return [segmentation.GetSegment(each).GetName() for each in segmentation.GetSegmentIDs()]

    def markups(self, class_name: str = "vtkMRMLMarkupsNode") -> list[Any]:
        """The markups of the scene that show something."""
        import slicer

        return [
            node
            for node in slicer.util.getNodesByClass(class_name)
            if node.GetNumberOfControlPoints() and node.GetDisplayVisibility()
        ]

    def prompts(self) -> tuple[Any, ...]:
        """The prompts of the selected segment, as it would be saved."""
        from MedSAMSlicerLib.app.state import Action  # not above: the library may be loaded again

        name = self.segmentation.GetSegmentation().GetSegment(self.controller.inputs.segment_id).GetName()
        sets = (
            self.controller.files.prompt_sets()
            if self.controller.reason(Action.EXPORT_PROMPTS) is None
            else ()
        )
        return tuple(
            prompt for given in sets for each in given.objects if each.name == name for prompt in each.prompts
        )

    def checksum(self) -> str:
        """Of the voxels of the volume, and of its matrix so far as files keep it."""
        import slicer

        voxels = np.ascontiguousarray(slicer.util.arrayFromVolume(self.volume))
        return hashlib.sha256(
            voxels.tobytes() + (np.round(matrix_of(self.volume), 6) + 0.0).tobytes()
        ).hexdigest()

    # ------------------------------------------------------------------------------------------------------- waiting

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
        if not self.host.wait_until(condition, seconds):
            raise AssertionError(f"waited {seconds:.0f} s in vain; the panel says: {self.message}")

    def ready(self) -> User:
        """Wait until the network is."""
        self.until(lambda: self.controller.network.state.name in ("READY", "FAILED"))
        assert self.controller.network.state.name == "READY", self.message
        return self.settled()

    def settled(self) -> User:
        """Wait until nothing is under way, and the panel shows it."""
        self.until(lambda: not self.controller._work.poller.active)
        self.host.process_events(0.05)
        self.until(lambda: not self.controller._work.poller.active)
        return self

    # --------------------------------------------------------------------------------------------- places and prompts

    def world(self, i: float, j: float, k: float) -> tuple[float, float, float]:
        """World RAS in mm of a voxel, through the transform of the volume."""
        from MedSAMSlicerLib.scene.nodes import to_world

        own = (self.matrix @ [i, j, k, 1.0])[:3]
        return tuple(float(part) for part in to_world(self.volume, [own])[0])  # type: ignore[return-value]

    def turn_to(self, volume: Any) -> User:
        """Choose another volume and wait until the network is ready for it."""
        self.volume, self.matrix = volume, matrix_of(volume)
        self.ui.volumeSelector.setCurrentNode(volume)
        self.settled()
        assert self.controller.inputs.volume_node is volume, self.message
        return self.ready()

    def press(self, name: str) -> None:
        """Click a widget of the panel, scrolled to; a check box at its mark, where it is hit."""
        widget = getattr(self.ui, name)
        self.host.window._panel.ensureWidgetVisible(widget)
        assert widget.isEnabled(), f"{name} is disabled: {widget.toolTip}; {self.message}"
        if not isinstance(widget, QtWidgets.QCheckBox):
            self.host.press(widget)
            return
        assert widget.isVisible(), f"{name} is hidden"
        self.host._mouse.click(widget, QtCore.QPoint(8, QtWidgets.QWidget.height(widget) // 2), "left", "")

    def choose(self, name: str, entry: str) -> None:
        """Click a button of the panel that has a menu, then the entry that begins so."""
        application, timer = QtWidgets.QApplication, QtCore.QTimer()

        def click() -> None:
            menu = application.activePopupWidget()
            if not isinstance(menu, QtWidgets.QMenu):
                return
            timer.stop()
            [action] = [each for each in menu.actions() if QtGui.QAction.text(each).startswith(entry)]
            assert QtGui.QAction.isEnabled(action), QtGui.QAction.toolTip(action)
            place = QtWidgets.QMenu.actionGeometry(menu, action).center()
            self.host._mouse.click(menu, place, "left", "")

        timer.timeout.connect(click)
        timer.start(20)
        self.press(name)
        self.until(lambda: not timer.isActive(), 20)
        self.host.process_events(0.05)

    def point(self, place: tuple[float, float, float], positive: bool = True, view: str = "Red") -> None:
        """Click a point at a voxel (i, j, k); the tool is put down again."""
        name = "positiveButton" if positive else "negativeButton"
        self.press(name)
        self.host.click(view, self.world(*place))
        self.host.process_events(0.02)
        if self.controller.editing.placing is not None:
            self.press(name)
        self.settled()

    def box(
        self,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        view: str = "Red",
        settle: bool = True,
    ) -> None:
        """Click two opposite corners, voxels (i, j, k)."""
        self.press("boxButton")
        self.host.click(view, self.world(*low))
        self.host.click(view, self.world(*high), jump=False)
        if settle:
            self.host.process_events(0.02)
            self.settled()

    def box_around(self, name: str, axis: int = 0, view: str = "Red", margin: float = 0.5) -> int:
        """A box around an object on the slice where it is largest; returns the index of the slice."""
        index, low, high = largest(self.truth[name], axis, margin)
        self.box(low, high, view)
        return index

    def propagate(self) -> User:
        """Press the button and wait for the end."""
        self.press("propagateButton")
        self.until(lambda: not self.controller.runs.busy)
        return self.settled()

    def dice(self, name: str, segment_id: str | None = None) -> float:
        return dice(self.mask(segment_id), self.truth[name])

    def choose_range(self, first: int, last: int) -> None:
        """Tick "Only slices" and type the two numbers."""
        if not self.ui.rangeBox.checked:
            self.press("rangeBox")
        self.settled()
        typed = [("first", first), ("last", last)]
        if first > self.controller.editing.slice_range[1]:
            typed.reverse()
        for end, index in typed:
            self.type_range_end(end, index)
        assert self.controller.editing.slice_range == (first, last)

    def type_range_end(self, end: str, index: int) -> None:
        """Type the number of the "first" or the "last" slice beside the range."""
        boxes = QtWidgets.QWidget.findChildren(self.ui.rangeWidget, QtWidgets.QDoubleSpinBox)
        box = boxes[end == "last"]
        self.host.window._panel.ensureWidgetVisible(box)
        line = QtWidgets.QDoubleSpinBox.lineEdit(box)
        self.host._mouse.click(line, QtWidgets.QWidget.rect(line).center(), "left", "")
        for key in ("Ctrl+A", *str(index), "Return"):
            self.host._mouse.key(box, key)
        self.settled()

    def picture(self, name: str) -> None:
        """Keep a picture of the window where MEDSAMSLICER_SCREENSHOTS says, for people to look at."""
        folder = os.environ.get("MEDSAMSLICER_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.host.screenshot(Path(folder) / f"{name}.png")


class Counted:
    """What a user does: each key, button, click or drag in a view, and answered dialog counted as one action."""

    def __init__(self, user: User) -> None:
        self.user, self.actions = user, 0

    def key(self, keys: str) -> None:
        self.actions += 1
        self.user.host.key(keys, view="Red")
        self.user.host.process_events(0.05)

    def drag(self, low: tuple[float, float, float], high: tuple[float, float, float]) -> None:
        """Drag in the axial view from one voxel (i, j, k) to another."""
        self.actions += 1
        self.user.host.drag("Red", [self.user.world(*low), self.user.world(*high)])
        self.user.host.process_events(0.05)

    def click(self, place: tuple[float, float, float]) -> None:
        """Click at a voxel (i, j, k) in the axial view."""
        self.actions += 1
        self.user.host.click("Red", self.user.world(*place))
        self.user.host.process_events(0.05)

    def press(self, name: str) -> None:
        self.actions += 1
        self.user.press(name)

    def choose(self, name: str, entry: str) -> None:
        """Click a button, then an entry of its menu."""
        self.actions += 2
        self.user.choose(name, entry)


def actions_in_tutorial(task: str, live: bool) -> int:
    """How many actions a task takes here, with Live or without, by the table in the tutorial."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "tutorial.md").read_text("utf-8")
    [found] = re.findall(rf"^\| {task}[^|]*\| (\d+) \| (\d+) \|", text, re.MULTILINE)
    return int(found[0 if live else 1])


# ------------------------------------------------------------------------------------------------------------- helpers


def dice(one: Mask, other: Mask) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


def matrix_of(node: Any) -> npt.NDArray[np.float64]:
    """(4, 4) IJK to the node's own RAS."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array(slicer.util.arrayFromVTKMatrix(matrix))


def largest(
    mask: Mask, axis: int = 0, margin: float = 0.5
) -> tuple[int, tuple[float, float, float], tuple[float, float, float]]:
    """The slice across array axis `axis` where a mask is largest, and two corners (i, j, k) around it there."""
    others = tuple(each for each in range(3) if each != axis)
    index = int(mask.sum(axis=others).argmax())
    found = np.argwhere(np.take(mask, index, axis=axis))
    low, high = found.min(axis=0) - margin, found.max(axis=0) + margin
    corners = []
    for corner in (low, high):
        kji = [*corner.tolist()]
        kji.insert(axis, float(index))
        corners.append(tuple(reversed(kji)))
    return index, corners[0], corners[1]


def running(user: User) -> User:
    """A propagation under way, at least one slice reported."""
    user.box_around("left_kidney")
    user.press("propagateButton")
    user.until(lambda: not user.controller.runs.busy or user.controller.runs.progress.done >= 1)
    assert user.controller.runs.busy
    return user


def observers(*things: Any) -> int:
    """How many observers there are on VTK objects, counted from what VTK prints."""
    return sum(str(thing).count("vtkObserver (") for thing in things)


def network_threads() -> list[str]:
    """The threads of ours that are alive."""
    names = ("MedSAMSlicer network", "slice features")
    return [thread.name for thread in threading.enumerate() if thread.name in names]


def middle_of(wrong: Mask, truth: Mask) -> tuple[tuple[float, float, float], bool]:
    """The voxel (i, j, k) that lies deepest within what is wrong on a slice, and whether it must be inside."""
    deepest, found = -1, ((0, 0, 0), True)
    for positive in (True, False):
        part = wrong & (truth if positive else ~truth)
        depth = -1
        while part.any():
            left, part, depth = part, eroded(part), depth + 1
        if depth > deepest:
            k, j, i = (int(at) for at in np.argwhere(left)[len(np.argwhere(left)) // 2])
            deepest, found = depth, ((i, j, k), positive)
    (i, j, k), positive = found
    return (float(i), float(j), float(k)), positive


def same(one: Mask, other: Mask) -> bool:
    """Return whether two masks are equal in every voxel; a bool keeps the report of a failure short."""
    return bool(np.array_equal(one, other))


def grown(mask: Mask) -> Mask:
    """(K, J, I) with one more voxel all around on each slice."""
    more = mask.copy()
    for axis in (1, 2):
        for step in (-1, 1):
            more |= np.roll(mask, step, axis)
    return more


def eroded(mask: Mask) -> Mask:
    """(K, J, I) without its outermost voxels on each slice."""
    inner = mask.copy()
    for axis in (1, 2):
        for step in (-1, 1):
            inner &= np.roll(mask, step, axis)
    inner[:, [0, -1]] = inner[:, :, [0, -1]] = False
    return inner


class Pulse:
    """A timer on the main thread that finds out how long it was kept waiting, and how much of that it worked.

    On a busy computer the first number says how many others there are; the second is the module's own.
    """

    def __init__(self, every_ms: int = 5) -> None:
        import qt

        self._timer = qt.QTimer()
        self._timer.setInterval(every_ms)
        self._timer.connect("timeout()", self._beat)
        self.gaps: list[tuple[float, float]] = []
        self._last = (0.0, 0.0)

    def __enter__(self) -> Pulse:
        self._last = (time.perf_counter(), time.thread_time())
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.stop()

    def _beat(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        self.gaps.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now

    @property
    def longest_ms(self) -> float:
        return 1000 * max((gap for gap, _ in self.gaps), default=0.0)

    @property
    def longest_cpu_ms(self) -> float:
        return 1000 * max((worked for _, worked in self.gaps), default=0.0)
