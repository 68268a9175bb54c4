"""Sequences (Slicer's 4-D data): which time point a volume shows, and one segmentation for each.

A volume or segmentation is a "proxy node" of a vtkMRMLSequenceBrowserNode: when another item is selected, Slicer's
sequences logic copies that item into it. Segmentations are kept with "save changes", so that the proxy node and the
item share their segments, and what is written at a time point is in the sequence at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy.typing as npt
import slicer
import vtk
from slicer.i18n import tr as _

from ..app.ports import Handle
from ..app.time_series import TimePoint
from ..core.errors import VolumeError
from .held_view import HeldView
from .labelmaps import SURFACE, VolumeGrid, is_empty, labelmap_of, own_labelmap, segment_ids
from .nodes import volume_array
from .observers import Observers
from .sequence_browsers import browser_of

_FIRST, _LAST = 1000.0, -1000.0  # priorities of observers: those of Slicer's logics have 0


class SlicerTimeSeries:
    """See :class:`..app.time_series.TimeSeries`."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._held = HeldView(scene)

    def of(self, volume: Handle) -> TimePoint | None:
        """The item that the browser of the volume has selected."""
        browser = browser_of(self._scene, volume)
        number = -1 if browser is None else browser.GetSelectedItemNumber()
        if browser is None or not 0 <= number < browser.GetNumberOfItems():
            return None
        value = str(browser.GetMasterSequenceNode().GetNthIndexValue(number))
        text = _words(browser, number)
        return TimePoint(number, browser.GetNumberOfItems(), value, text, bool(browser.GetPlaybackActive()))

    def together(self, volume: Handle, other: Handle) -> bool:
        """Return whether one browser shows both."""
        browser = browser_of(self._scene, volume)
        return browser is not None and browser is browser_of(self._scene, other)

    def watch(
        self, volume: Handle, on_leaving: Callable[[], None], on_passed: Callable[[], None]
    ) -> SequenceWatch:
        """Observe the browser of the volume."""
        return SequenceWatch(browser_of(self._scene, volume), on_leaving, on_passed)

    def select(self, volume: Handle, number: int) -> None:
        """Let the browser select an item."""
        browser = browser_of(self._scene, volume)
        if browser is not None:
            browser.SetSelectedItemNumber(number)

    def array(self, volume: Handle, number: int) -> npt.NDArray[Any]:
        """The voxels of an item, without selecting it."""
        browser = browser_of(self._scene, volume)
        node = None
        if browser is not None:
            value = browser.GetMasterSequenceNode().GetNthIndexValue(number)
            node = browser.GetSequenceNode(volume).GetDataNodeAtValue(value, False)
        if node is None:
            text = _('The sequence of "{volume}" has no item {number}.')
            raise VolumeError(text.format(volume=volume.GetName(), number=number))
        return volume_array(node, color=True)

    def name_of(self, volume: Handle, number: int) -> str:
        """Name, value and unit of the index."""
        browser = browser_of(self._scene, volume)
        return "" if browser is None else _words(browser, number)

    def hold_view(self, volume: Handle, segmentation: Handle | None) -> None:
        """See :class:`.held_view.HeldView`."""
        browser = browser_of(self._scene, volume)
        if browser is not None:
            item = browser.GetSequenceNode(volume).GetDataNodeAtValue(
                browser.GetMasterSequenceNode().GetNthIndexValue(browser.GetSelectedItemNumber()), False
            )
            self._held.hold(volume, item, segmentation)

    def release_view(self) -> None:
        """See :class:`.held_view.HeldView`."""
        self._held.release()

    def share_segments(
        self, segmentation: Handle, volume: Handle, value: str, without: Collection[str]
    ) -> None:
        """Copy what the table of segments says, not their voxels; surfaces are shown where they were shown."""
        browser = browser_of(self._scene, volume)
        sequence = None if browser is None else browser.GetSequenceNode(segmentation)
        source = None if sequence is None else sequence.GetDataNodeAtValue(value, True)
        ours = segmentation.GetSegmentation()
        if source is None or source.GetSegmentation() is ours:
            return
        grid, tag = VolumeGrid(segmentation, volume), slicer.vtkSegment.GetTerminologyEntryTagName()
        for segment_id in segment_ids(source):
            theirs, segment = source.GetSegmentation().GetSegment(segment_id), ours.GetSegment(segment_id)
            if segment is None and segment_id not in without:
                ours.AddEmptySegment(segment_id, theirs.GetName(), theirs.GetColor())
                segment, terminology = ours.GetSegment(segment_id), vtk.reference("")
                own_labelmap(segment, grid)
                if theirs.GetTag(tag, terminology):
                    segment.SetTag(tag, str(terminology))
            elif segment is not None:
                segment.SetName(theirs.GetName())
                segment.SetColor(theirs.GetColor())
        if source.GetSegmentation().ContainsRepresentation(SURFACE):
            _show_surfaces(segmentation)


class SequenceWatch:
    """Observers of a browser, until `close`; see :meth:`..app.time_series.TimeSeries.watch`."""

    def __init__(self, browser: Any, on_leaving: Callable[[], None], on_passed: Callable[[], None]) -> None:
        self._browser, self._on_leaving, self._on_passed = browser, on_leaving, on_passed
        self._observers = Observers()
        self._left = False
        if browser is None:
            return
        self._value = self._selected()
        for event in (
            vtk.vtkCommand.ModifiedEvent,
            slicer.vtkMRMLSequenceBrowserNode.SequenceNodeModifiedEvent,
        ):
            self._observers.add(browser, event, self._before, _FIRST)
            self._observers.add(browser, event, self._after, _LAST)

    @property
    def voxels_are_the_same(self) -> bool:
        """Return whether the time point is still that of the beginning."""
        return self._browser is None or self._selected() == self._value

    def close(self) -> None:
        """Remove every observer."""
        self._observers.close()

    def _before(self, *_: object) -> None:
        """Another item is selected, and Slicer's logic has not copied it yet."""
        if not self._left and self._observers and self._selected() != self._value:
            self._left = True
            with _saving_nothing(self._browser):
                self._on_leaving()

    def _after(self, *_: object) -> None:
        if self._left and self._observers:
            self._on_passed()

    def _selected(self) -> str:
        number = self._browser.GetSelectedItemNumber()
        inside = 0 <= number < self._browser.GetNumberOfItems()
        return str(self._browser.GetMasterSequenceNode().GetNthIndexValue(number)) if inside else ""


@contextmanager
def _saving_nothing(browser: Any) -> Iterator[None]:
    """While a time point is left, the browser has selected the next one, and its proxy nodes are still of the last.

    Slicer would copy a proxy node that is changed meanwhile over the next item. What is written gets into the item that
    is left all the same, which shares its segments with the proxy node.
    """
    found = vtk.vtkCollection()
    browser.GetSynchronizedSequenceNodes(found, True)
    sequences = [found.GetItemAsObject(number) for number in range(found.GetNumberOfItems())]
    saved = [sequence for sequence in sequences if browser.GetSaveChanges(sequence)]
    _save_changes(browser, saved, False)
    try:
        yield
    finally:
        _save_changes(browser, saved, True)


def _save_changes(browser: Any, sequences: Collection[Any], save: bool) -> None:
    """Let the browser save changes of proxy nodes or not, without an event, which would update them all."""
    silent = browser.GetDisableModifiedEvent()
    browser.SetDisableModifiedEvent(True)
    for sequence in sequences:
        browser.SetSaveChanges(sequence, save)
    browser.SetDisableModifiedEvent(silent)


def _show_surfaces(segmentation: Any) -> None:
    """Let all segments have surfaces, once one has voxels; of a labelmap without any Slicer can make none."""
    without, missing = [], False
    for segment_id in segment_ids(segmentation):
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        image = labelmap_of(segmentation, segment_id)
        if segment.GetRepresentation(SURFACE) is not None:
            continue
        if image is None or is_empty(image):
            without.append(segment)
        else:
            missing = True
    if missing:
        for segment in without:
            segment.AddRepresentation(SURFACE, vtk.vtkPolyData())
        segmentation.CreateClosedSurfaceRepresentation()


def keep_for_each_time_point(segmentation: Any, volume: Any) -> None:
    """Let a segmentation be one of a sequence, as its volume is: it is that of the time point that is shown.

    The other time points begin without segments. Where it belongs to the volume's sequence already, changes of it are
    saved from now on. Nothing happens for a volume that belongs to no sequence.
    """
    scene = volume.GetScene()
    browser = browser_of(scene, volume)
    if browser is None:
        return
    master = browser.GetMasterSequenceNode()
    shown = master.GetNthIndexValue(browser.GetSelectedItemNumber())
    if browser_of(scene, segmentation) is not None:
        known = browser.GetSequenceNode(segmentation)
        if known is not None and not browser.GetSaveChanges(known):  # else Slicer would drop what is written
            known.UpdateDataNodeAtValue(segmentation, shown)
            browser.SetSaveChanges(known, True)
        return
    sequence = scene.AddNewNodeByClass(
        "vtkMRMLSequenceNode", scene.GenerateUniqueName(f"{segmentation.GetName()} sequence")
    )
    sequence.SetIndexName(master.GetIndexName())
    sequence.SetIndexUnit(master.GetIndexUnit())
    sequence.SetIndexType(master.GetIndexType())
    sequence.SetNumericIndexValueTolerance(master.GetNumericIndexValueTolerance())
    empty = slicer.vtkMRMLSegmentationNode()
    empty.SetName(segmentation.GetName())
    for number in range(master.GetNumberOfDataNodes()):
        value = master.GetNthIndexValue(number)
        sequence.SetDataNodeAtValue(segmentation if value == shown else empty, value)
    was_modifying = browser.StartModify()  # in one step: else Slicer makes a proxy node of its own meanwhile
    browser.AddProxyNode(segmentation, sequence, False)
    browser.SetSaveChanges(sequence, True)
    browser.SetOverwriteProxyName(sequence, False)
    browser.SetMissingItemMode(sequence, browser.MissingItemCreateFromDefault)
    browser.EndModify(was_modifying)


def _words(browser: Any, number: int) -> str:
    master = browser.GetMasterSequenceNode()
    name, unit = master.GetIndexName(), master.GetIndexUnit()
    value = browser.GetFormattedIndexValue(number) or master.GetNthIndexValue(number)
    return f"{name}={value}{unit}" if name else f"{value}{unit}"
