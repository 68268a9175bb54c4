"""The strip of confidences between the controls and the image of each slice view that cuts the segment's axis.

Under the bars it says which slice is shown and which range is propagated over; the ends of the range can be dragged.

A `QLabel` with a painted `QPixmap` and an event filter: what PythonQt is known to run (`DICOM.py` and `SampleData.py`
of Slicer paint and filter events this way). `qMRMLSliceWidget.ui`: the widget's layout is a vertical box with the
controller first, so the strip goes to place 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from ..app.state import SliceMark, SliceState
from ..core.geometry import SliceAxis, VolumeGeometry
from ..scene.nodes import MODIFIED
from ..scene.observers import Observers
from ..scene.slice_views import ViewPositions, shown_slice, view_positions
from .strip_drawing import (
    BACKGROUND,
    HEIGHT,
    RANGE,
    SHOWN,
    TEXT_HEIGHT,
    WHOLE,
    End,
    blocks,
    brackets,
    end_at,
    index_at,
)

if TYPE_CHECKING:
    from ..app.controller import Controller

_STATES = {
    SliceMark.NONE: lambda: _("nothing here"),
    SliceMark.PENDING: lambda: _("not propagated yet"),
    SliceMark.PROMPTED: lambda: _("has prompts"),
    SliceMark.PREDICTED: lambda: _("by the network"),
    SliceMark.ACCEPTED: lambda: _("accepted"),
    SliceMark.STARTED: lambda: _("unchanged since the start"),
    SliceMark.EDITED: lambda: _("drawn by you"),
}

_END_TEXTS = {
    "first": lambda: _("Drag to set the first slice of the range"),
    "last": lambda: _("Drag to set the last slice of the range"),
}
_MARGIN = 5  # pixels beside a text


class _Mouse(qt.QObject):
    """Passes on clicks, drags and changes of size of one label."""

    def __init__(self, strip: ConfidenceStrip) -> None:
        qt.QObject.__init__(self)
        self._strip: ConfidenceStrip | None = strip

    def forget(self) -> None:
        """Do nothing from now on."""
        self._strip = None

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Qt asks this for each event of the label; True = handled."""
        strip = self._strip
        if strip is None:
            return False
        kind = event.type()
        if kind == qt.QEvent.Resize:
            strip.paint()
        elif kind == qt.QEvent.MouseButtonPress:
            strip.press(_x_of(event))
            return True
        elif kind == qt.QEvent.MouseMove:
            strip.move(_x_of(event), held=event.buttons() != qt.Qt.NoButton)
            return True
        elif kind == qt.QEvent.MouseButtonRelease:
            strip.release()
            return True
        return False


class ConfidenceStrip:
    """The strip of one slice view.

    Args:
        slice_widget: the qMRMLSliceWidget.
        view_name: such as "Red".
        go_to: called with the index of the slice that was clicked, or to which an end of the range is dragged.
        set_range: called with the first and the last slice when an end of the range was dragged.
    """

    def __init__(
        self,
        slice_widget: Any,
        view_name: str,
        go_to: Callable[[int], object],
        set_range: Callable[[int, int], object],
    ) -> None:
        self._go_to, self._set_range = go_to, set_range
        self._slices: tuple[SliceState, ...] = ()
        self._shown: int | None = None
        self._flipped = False
        self._range: tuple[int, int] | None = None
        self._positions: ViewPositions | None = None
        self._dragged: tuple[End, tuple[int, int]] | None = None  # an end, and the range as it is with it
        self._layout = slice_widget.layout()
        self.label = qt.QLabel()
        self.label.objectName = f"MedSAMSlicerStrip{view_name}"
        self.label.setFixedHeight(HEIGHT + TEXT_HEIGHT)
        self.label.setMinimumWidth(20)
        self.label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        self.label.setMouseTracking(True)
        self._mouse = _Mouse(self)
        self.label.installEventFilter(self._mouse)
        self.label.toolTip = _nothing_yet()
        self._layout.insertWidget(1, self.label)

    def show(
        self,
        slices: tuple[SliceState, ...],
        shown: int | None,
        flipped: bool,
        slice_range: tuple[int, int] | None,
        positions: ViewPositions | None,
    ) -> None:
        """Show these slices; without any the strip is empty, but keeps its place: no view may jump."""
        new = (slices, shown, flipped, slice_range, positions)
        if new == (self._slices, self._shown, self._flipped, self._range, self._positions):
            return
        self._slices, self._shown, self._flipped, self._range, self._positions = new
        if not slices:
            self._dragged = None
            self.label.toolTip = _nothing_yet()
        self.paint()

    def paint(self) -> None:
        """Draw the strip at its present width."""
        width = int(self.label.width)
        if width < 1:
            return
        ratio = float(self.label.devicePixelRatioF())  # of pixels of the screen to those that Qt counts
        height = HEIGHT + TEXT_HEIGHT
        pixmap = qt.QPixmap(round(width * ratio), round(height * ratio))
        pixmap.setDevicePixelRatio(ratio)
        painter = qt.QPainter(pixmap)
        painter.fillRect(0, 0, width, height, qt.QColor(*BACKGROUND))
        slice_range, flipped = self._present_range(), self._flipped
        drawn = blocks(self._slices, self._shown, width, flipped, slice_range)
        for block in drawn + brackets(slice_range, len(self._slices), width, flipped):
            painter.fillRect(block.x, block.y, block.width, block.height, qt.QColor(*block.color))
        if self._slices:
            self._write(painter, width)
        painter.end()
        self.label.setPixmap(pixmap)

    def _write(self, painter: Any, width: int) -> None:
        """Write the slice that is shown below the bars, and the range that is chosen on the right."""
        font = qt.QFont(self.label.font)
        font.setPixelSize(TEXT_HEIGHT - 3)
        painter.setFont(font)
        metrics = qt.QFontMetrics(font)
        slice_range, base = self._present_range(), HEIGHT + TEXT_HEIGHT - 4
        shown = "" if self._shown is None else slice_words(self._shown, self._positions)
        taken = metrics.boundingRect(shown).width() + 3 * _MARGIN if shown else _MARGIN
        for words in range_words(slice_range, self._positions):
            room = metrics.boundingRect(words).width() + _MARGIN
            if taken + room <= width:
                painter.setPen(qt.QColor(*(WHOLE if slice_range is None else RANGE)))
                painter.drawText(width - room, base, words)
                break
        painter.setPen(qt.QColor(*SHOWN))
        painter.drawText(_MARGIN, base, shown)

    # -- the mouse

    def press(self, x: float) -> None:
        """The mouse is pressed at pixel `x`: take hold of an end of the range there, or show that slice."""
        if not self._slices:
            return
        end = self._end_at(x)
        if end is None:
            self._go_to(self._index_at(x))
            return
        chosen = self._range or (0, len(self._slices) - 1)
        self._dragged = end, chosen
        self._go_to(chosen[0] if end == "first" else chosen[1])

    def move(self, x: float, held: bool) -> None:
        """The mouse is at pixel `x`: show its tooltip; with a button held, show the slice or drag the end."""
        if not self._slices:
            return
        index = self._index_at(x)
        if self._dragged is not None and held:
            end, (first, last) = self._dragged
            chosen = (min(index, last), last) if end == "first" else (first, max(index, first))
            if chosen != (first, last):
                self._dragged = end, chosen
                self.paint()
                self._go_to(chosen[0] if end == "first" else chosen[1])
            return
        self._dragged = None
        if held:
            self._go_to(index)
        under = self._end_at(x)
        if under is None:
            self.label.unsetCursor()
            self.label.toolTip = slice_text(self._slices[index], self._positions)
        else:
            self.label.setCursor(qt.QCursor(qt.Qt.SizeHorCursor))
            self.label.toolTip = _END_TEXTS[under]()

    def release(self) -> None:
        """The mouse is released: an end that was dragged stays where it is."""
        dragged, self._dragged = self._dragged, None
        if dragged is not None and dragged[1] != (self._range or (0, len(self._slices) - 1)):
            self._set_range(*dragged[1])
        self.paint()

    def _index_at(self, x: float) -> int:
        return index_at(x, len(self._slices), int(self.label.width), self._flipped)

    def _end_at(self, x: float) -> End | None:
        return end_at(x, self._range, len(self._slices), int(self.label.width), self._flipped)

    def _present_range(self) -> tuple[int, int] | None:
        return self._range if self._dragged is None else self._dragged[1]

    def close(self) -> None:
        """Take the strip out of its view."""
        self._mouse.forget()
        try:
            self.label.removeEventFilter(self._mouse)
            self._layout.removeWidget(self.label)
            self.label.setParent(None)
            self.label.deleteLater()
        except (RuntimeError, ValueError):  # the view went first, as when the application ends
            return


class SliceStrips:
    """The strips of all slice views of the layout, while the module is open.

    Args:
        controller: says what to show, and shows the slice that was clicked.
        on_view: called when a view shows another slice or another layout has come; may be called often.
        go_to: called with the index of the slice that was clicked.
        set_range: called with the first and the last slice when an end of the range was dragged.
        on_layout: called when another layout has come.
    """

    def __init__(
        self,
        controller: Controller,
        on_view: Callable[[], None],
        go_to: Callable[[int], object],
        set_range: Callable[[int, int], object],
        on_layout: Callable[[], None] = lambda: None,
    ) -> None:
        self._controller = controller
        self._on_layout = on_layout
        self._on_view = on_view
        self._go_to, self._set_range = go_to, set_range
        self._strips: list[tuple[ConfidenceStrip, Any]] = []
        self._observers = Observers()
        self._open = False

    def enter(self) -> None:
        """Put strips into all slice views there are, and into those of later layouts."""
        manager = slicer.app.layoutManager()
        if manager is None or self._open:
            return
        self._open = True
        manager.connect("layoutChanged(int)", self._new_layout)
        self._rebuild()

    def exit(self) -> None:
        """Take all strips out again."""
        manager = slicer.app.layoutManager()
        if self._open and manager is not None:
            manager.disconnect("layoutChanged(int)", self._new_layout)
        self._open = False
        self._clear()

    def refresh(self) -> None:
        """Update from the controller."""
        controller = self._controller
        volume, axis = controller.inputs.volume_node, controller.editing.axis
        for strip, node in self._strips:
            cuts = volume is not None and axis is not None and shown_slice(node, volume).axis == axis
            if not cuts or axis is None or controller.inputs.geometry is None:
                strip.show((), None, False, None, None)
                continue
            flipped = is_flipped(node, controller.inputs.geometry, axis)
            strip.show(
                controller.review.slices,
                controller.review.shown_index,
                flipped,
                controller.editing.slice_range,
                view_positions(node, volume, axis),
            )

    def _new_layout(self, _layout: int = 0) -> None:
        self._rebuild()
        self._on_layout()

    def _rebuild(self) -> None:
        self._clear()
        manager = slicer.app.layoutManager()
        for name in manager.sliceViewNames():
            widget = manager.sliceWidget(name)
            node = widget.mrmlSliceNode() if widget is not None else None
            if node is None:
                continue
            self._strips.append((ConfidenceStrip(widget, name, self._go_to, self._set_range), node))
            for changing in (node, widget.mrmlSliceCompositeNode()):  # which slice, and of which volume
                self._observers.add(changing, MODIFIED, self._node_changed)
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if crosshair is not None:  # it follows the mouse over all views
            event = slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent
            self._observers.add(crosshair, event, self._mouse_moved)
        self._on_view()

    def _mouse_moved(self, _caller: Any = None, _event: Any = None) -> None:
        self._controller.note_activity()

    def _node_changed(self, _caller: Any = None, _event: Any = None) -> None:
        self._on_view()

    def _clear(self) -> None:
        self._observers.close()
        for strip, _node in self._strips:
            strip.close()
        self._strips.clear()


def is_flipped(slice_node: Any, geometry: VolumeGeometry, axis: SliceAxis) -> bool:
    """Return whether the indices of the slices fall as the offset of the view rises, like its slider."""
    to_ras = slice_node.GetSliceToRAS()
    normal = np.array([to_ras.GetElement(row, 2) for row in range(3)])
    column = 2 - int(axis)  # array axes are K, J, I; columns of the matrix are I, J, K
    return bool(normal @ geometry.ijk_to_ras[:3, column] < 0)


def _nothing_yet() -> str:
    return _("How certain the network is of the mask on each slice")


def slice_words(index: int, positions: ViewPositions | None) -> str:
    """A slice by its number and by where it lies, as the slider of the view reads."""
    if positions is None:
        return _("Slice {index}").format(index=index)
    text = _("Slice {index} · {letter} {place} mm")
    return text.format(index=index, letter=positions.letter, place=positions.millimeters(index))


def range_words(slice_range: tuple[int, int] | None, positions: ViewPositions | None) -> tuple[str, ...]:
    """The range that is propagated over, the longest text first: the first that has room is shown."""
    if slice_range is None:
        return (_("All slices"),)
    first, last = slice_range
    short = _("{first} to {last}").format(first=first, last=last)
    if positions is None:
        return (short,)
    middle = _("{slices} · {letter} {low} to {high} mm").format(
        slices=short,
        letter=positions.letter,
        low=positions.millimeters(first),
        high=positions.millimeters(last),
    )
    return _("Range {slices}").format(slices=middle), middle, short


def slice_text(state: SliceState, positions: ViewPositions | None = None) -> str:
    """One slice in words, for the tooltip."""
    place = slice_words(state.index, positions)
    if state.confidence is None and state.state is SliceMark.PREDICTED:
        return _("{slice}: the object is not on this slice").format(slice=place)
    if state.confidence is None:
        return _("{slice}: {state}").format(slice=place, state=_STATES[state.state]())
    return _("{slice}: {state}, {percent} % certain").format(
        slice=place, state=_STATES[state.state](), percent=round(100 * state.confidence)
    )


def _x_of(event: Any) -> float:
    """The place of the mouse in pixels; Qt 6 says `position`, Qt 5 `pos`."""
    position = getattr(event, "position", None)
    return float(position().x() if position is not None else event.pos().x())
