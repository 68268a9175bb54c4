"""One user at work in SlicerHost who takes pictures: of the window, or of the panel beside some of its views."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

LARGEST = 220_000
"""Bytes that a picture may have before its colors are thinned out further."""

WINDOW = (1280, 800)
SHOWN_MM = {"Red": 240.0, "Green": 215.0, "Yellow": 215.0}
"""Height of what a slice view shows, in mm."""
SECTIONS = ("inputsSection", "promptsSection", "propagateSection", "correctSection", "segmentsSection")

Mask = npt.NDArray[np.bool_]
Place = tuple[float, float, float]
logger = logging.getLogger("screenshots")


@dataclass(frozen=True)
class Overlay:
    """What a window of its own shows before the main window.

    Attributes:
        pixmap: what it looks like, a QPixmap.
        place: of its upper left corner in the main window, a QPoint; None = in the middle, a little above.
    """

    pixmap: Any
    place: Any | None

    def draw_on(self, image: Any, part: Any) -> None:
        """Draw it, with a frame, onto a picture of the main window, of which a part (QRect) will be kept."""
        from PySide6 import QtCore, QtGui

        place = QtCore.QRect(QtCore.QPoint(0, 0), self.pixmap.size())
        if self.place is None:
            place.moveCenter(part.center())
            place.moveTop(part.top() + part.height() // 5)
        else:
            place.moveTopLeft(self.place)
        painter = QtGui.QPainter(image)
        painter.drawPixmap(place.topLeft(), self.pixmap)
        painter.setPen(QtGui.QColor("#7a7f87"))
        painter.drawRect(place.adjusted(-1, -1, 0, 0))
        painter.end()


class Photographer:
    """One user at work who takes a picture after some steps.

    Args:
        folder: where the pictures go.
        dark: Slicer's dark style.
        empty: name of a picture of the empty scene; None = none is taken.
    """

    def __init__(self, folder: Path, dark: bool = False, empty: str | None = None) -> None:
        from Testing.EndToEnd.user import User

        from MedSAMSlicerLib.phantom.ct import ct_phantom

        from .host import SlicerHost
        from .terminology import load_anatomy

        self.folder, self.taken = folder, list[Path]()
        self._scrolled = 0  # pixels above the visible part of the panel
        self.host = SlicerHost(size=WINDOW, dark=dark)
        self.truth: dict[str, Mask] = ct_phantom()[2]
        load_anatomy()
        widget = self.host.open_module()
        self.ui, self.controller = widget.ui, widget.controller
        self.controller.growing.suspended = True  # Live is ticked, and yet there is a picture of each step
        if empty is not None:
            self.take(empty, "red")
        self.host.press(self.ui.sampleButton)
        assert self.host.wait_until(lambda: self.controller.inputs.volume_node is not None, 120)
        volume = self.host.show_volume(self.controller.inputs.volume_node)
        self.user = User(self.host, volume, self.truth, widget)
        self.user.ready()

    # ------------------------------------------------------------------------------------------------ the camera

    def aim(
        self, place: Place, millimeters: float | dict[str, float] = SHOWN_MM, middle: Place | None = None
    ) -> None:
        """Show the slices through a voxel (i, j, k), views `millimeters` high around it, or around `middle`."""
        heights = millimeters if isinstance(millimeters, dict) else dict.fromkeys(SHOWN_MM, millimeters)
        for name, height in heights.items():
            node = self.host.view(name).mrmlSliceNode()
            width, depth = (
                node.GetDimensions()[0] / node.GetDimensions()[1] * height,
                node.GetFieldOfView()[2],
            )
            node.SetFieldOfView(width, height, depth)
            node.JumpSliceByCentering(*self.user.world(*(middle or place)))
            node.JumpSliceByOffsetting(*self.user.world(*place))
            self.host.view(name).sliceLogic().SnapSliceOffsetToIJK()
        self.host.process_events()

    def unfold(self, *sections: str) -> None:
        """Open these sections of the panel and close the others."""
        for name in SECTIONS:
            getattr(self.ui, name).collapsed = name not in sections
        self.host.process_events(0.05)

    def aim_3d(self) -> None:
        """Look at the surfaces from the front, a little from above and from the patient's left; no box, no letters."""
        view = self.host.view("3D").threeDView()
        node = view.mrmlViewNode()
        node.SetBoxVisible(False)
        node.SetAxisLabelsVisible(False)
        self.host.process_events(0.1)
        bounds = [0.0] * 6
        self.user.segmentation.GetRASBounds(bounds)
        middle = [(bounds[n] + bounds[n + 1]) / 2 for n in (0, 2, 4)]
        extent = max(bounds[n + 1] - bounds[n] for n in (0, 2, 4))
        camera = view.cameraNode().GetCamera()
        camera.SetFocalPoint(middle)
        camera.SetPosition(middle[0] + 0.9 * extent, middle[1] + 2.4 * extent, middle[2] + 0.7 * extent)
        camera.SetViewUp(0, 0, 1)
        view._renderer.ResetCamera(bounds)
        camera.Zoom(1.45)
        view.scheduleRender()
        self.host.process_events(0.1)

    @contextmanager
    def held(self, view: str, path: list[Any]) -> Iterator[None]:
        """The left button pressed at the first place (RAS, mm), the mouse at the last; it is released at the end."""
        from PySide6 import QtCore

        mouse, canvas = self.host._mouse, self.host._canvas(view)
        places = [self.host.position(view, ras) for ras in path]
        button, plain = QtCore.Qt.MouseButton, QtCore.Qt.KeyboardModifier.NoModifier
        mouse.move(canvas, places[0])
        mouse._event("MouseButtonPress", canvas, places[0], button.LeftButton, button.LeftButton, plain)
        for place in places[1:]:
            mouse.move(canvas, place, button.LeftButton)
        yield
        mouse._event("MouseButtonRelease", canvas, places[-1], button.LeftButton, button.NoButton, plain)

    def take(
        self, name: str, region: str = "window", mouse_away: bool = True, above: Overlay | None = None
    ) -> None:
        """Write a picture of a part of the window.

        Args:
            name: of the file, without its ending.
            region: "window"; "red", the panel and the red view; or "column", the panel and its column of views.
            mouse_away: whether the mouse is moved to a corner before.
            above: what is open before the window.
        """
        from PySide6 import QtWidgets

        QtWidgets.QScrollArea.verticalScrollBar(self.host.window._panel).setValue(self._scrolled)
        if mouse_away:
            self.host.move("Red", self.corner())
        self.host.process_events(0.1)
        image = self.host.picture()
        part = image.rect()
        if region != "window":
            part = self._left_part("Green" if region == "column" else "Red")
        if above is not None:
            above.draw_on(image, part)
        self.write(name, image.copy(part))

    @contextmanager
    def scrolled_to(self, section: str) -> Iterator[None]:
        """The panel scrolled until a section is at its upper edge."""
        from PySide6 import QtWidgets

        area = self.host.window._panel
        layout, bar = QtWidgets.QWidget.layout(area.widget()), QtWidgets.QScrollArea.verticalScrollBar(area)
        margins = QtWidgets.QLayout.contentsMargins(layout)
        left, top, right, bottom = margins.left(), margins.top(), margins.right(), margins.bottom()
        QtWidgets.QLayout.setContentsMargins(layout, left, top, right, WINDOW[1])  # enough below
        self.host.process_events(0.1)
        self._scrolled = QtWidgets.QWidget.y(getattr(self.ui, section)) - 4
        bar.setValue(self._scrolled)
        self.host.process_events(0.1)
        yield
        self._scrolled = 0
        QtWidgets.QLayout.setContentsMargins(layout, left, top, right, bottom)
        bar.setValue(0)

    def overlay(self, widget: Any) -> Overlay:
        """A dialog or an open list as it looks now, to lay above a picture of the window."""
        from PySide6 import QtCore, QtWidgets

        pixmap, place = QtWidgets.QWidget.grab(widget), None
        if not isinstance(widget, QtWidgets.QDialog):
            on_screen = QtWidgets.QWidget.mapToGlobal(widget, QtCore.QPoint(0, 0))
            place = QtWidgets.QWidget.mapFromGlobal(self.host.window, on_screen)
        return Overlay(pixmap, place)

    def write(self, name: str, image: Any) -> None:
        """Compress a picture into the folder."""
        path, data = self.folder / f"{name}.png", compressed(image)
        same = [other.name for other in self.taken if other != path and other.read_bytes() == data]
        assert not same, f"{path.name} shows the same as {', '.join(same)}: a step before it had no effect"
        path.write_bytes(data)
        self.taken.append(path)
        logger.info(
            "%s: %d x %d, %d kB", path.name, image.width(), image.height(), path.stat().st_size // 1000
        )

    def corner(self) -> Place:
        """A place (RAS, mm) in the upper left corner of the Red view, where the mouse is in nobody's way."""
        view = self.host.view("Red").sliceView()
        x, y, z = view.convertXYZToRAS((6, view.height - 6, 0))
        return x, y, z

    def _left_part(self, lowest: str) -> Any:
        """The panel with the views to the right of it, down to the lower edge of one of them, and no row cut in two."""
        from PySide6 import QtCore, QtWidgets

        window, map_to = self.host.window, QtWidgets.QWidget.mapTo
        top = map_to(self.host.view("Red"), window, QtCore.QPoint(0, 0)).y()
        corner = QtWidgets.QWidget.rect(self.host.view(lowest)).bottomRight() + QtCore.QPoint(1, 1)
        low = map_to(self.host.view(lowest), window, corner)
        bottom = low.y()
        while cut := self._rows_cut_at(bottom):
            bottom = min(top for top, _bottom in cut) - 3
        return QtCore.QRect(0, top, low.x(), bottom - top)

    def _rows_cut_at(self, height: int) -> list[tuple[int, int]]:
        """Upper and lower edges, in the window, of what a picture of the panel down to a height cuts in two."""
        from PySide6 import QtCore, QtWidgets

        window, found = self.host.window, list[tuple[int, int]]()
        for kind in (QtWidgets.QAbstractButton, QtWidgets.QLabel, QtWidgets.QLineEdit, QtWidgets.QComboBox):
            for each in QtWidgets.QWidget.findChildren(window._panel.widget(), kind):
                top = QtWidgets.QWidget.mapTo(each, window, QtCore.QPoint(0, 0)).y()
                bottom = top + QtWidgets.QWidget.height(each)
                if (
                    each.isVisible()
                    and type(each).__name__ != "ctkCollapsibleButton"
                    and top < height < bottom
                ):
                    found.append((top, bottom))
        return found

    # -------------------------------------------------------------------------------------------- steps of the work

    def name_it(self, organ: str) -> None:
        """Give the selected segment a name, as a double click in the table does."""
        segmentation = self.user.segmentation.GetSegmentation()
        segmentation.GetSegment(self.controller.inputs.segment_id).SetName(
            organ.replace("_", " ").capitalize()
        )
        self.user.settled()

    def choose_range(self, organ: str) -> None:
        """The slices that the organ is on."""
        seen = np.flatnonzero(self.truth[organ].any(axis=(1, 2)))
        self.user.choose_range(int(seen[0]), int(seen[-1]))

    def middle(self, *organs: str) -> Place:
        """The middle voxel (i, j, k) of organs."""
        k, j, i = np.argwhere(np.any([self.truth[organ] for organ in organs], axis=0)).mean(axis=0)
        return float(i), float(j), float(k)

    def on(self, organ: str, index: int) -> Place:
        """The middle of an organ on a slice, where it has one; else the middle of the whole."""
        found = np.argwhere(self.truth[organ][index])
        j, i = found.mean(axis=0) if len(found) else self.middle(organ)[1::-1]
        return float(i), float(j), float(index)

    def dice_on(self, organ: str, index: int) -> float:
        """How well the selected segment fits an organ on a slice."""
        from Testing.EndToEnd.user import dice

        return dice(self.user.mask()[index], self.truth[organ][index])

    def wrong(self, organ: str) -> Mask:
        """Where the selected segment is wrong on slices that only the network has seen."""
        wrong = self.user.mask() ^ self.truth[organ]
        for state in self.controller.review.slices:
            if state.state.name != "PREDICTED":
                wrong[state.index] = False
        return wrong

    def close(self) -> None:
        """End the host; what failed unseen is raised."""
        self.host.close()


def as_pillow(image: Any) -> Image.Image:
    """A QImage in red, green and blue."""
    from PIL import Image
    from PySide6 import QtCore

    buffer = QtCore.QBuffer()
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    return Image.open(io.BytesIO(bytes(buffer.data().data()))).convert("RGB")


def compressed(image: Any) -> bytes:
    """A PNG of a QImage, with as many colors as fit into LARGEST bytes."""
    from PIL import Image

    picture = as_pillow(image)
    best = b""
    for colors in (256, 160, 96):
        palette = picture.quantize(colors, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
        written = io.BytesIO()
        reduced = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        reduced.save(written, "PNG", optimize=True)
        best = written.getvalue()
        if len(best) <= LARGEST:
            break
    return best
