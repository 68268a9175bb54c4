"""Pictures of segments for docs/tutorial.md: clean-up, clicks, a video, names and overlaps; see `screenshots.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .photographer import SECTIONS, Photographer
from .prompt_screenshots import KIDNEY, largest_slice, other_segmentation

VERTEBRAE = "vertebrae"
CLICKED = (0, 1, 4, 5, 8)
"""The lesions that are clicked, of ten."""


@contextmanager
def another_image(camera: Photographer, volume: Any, *others: Any) -> Iterator[None]:
    """Work on another volume; afterward on the one of before, and this one and `others` are removed."""
    user, ours, abdomen = camera.user, camera.user.segmentation, camera.user.volume
    ours.GetDisplayNode().SetVisibility(False)
    camera.host.show_volume(volume)
    user.turn_to(volume)
    try:
        yield
    finally:
        made = user.segmentation
        camera.host.show_volume(abdomen)
        user.turn_to(abdomen)
        user.ui.segmentationSelector.setCurrentNode(ours)
        user.settled().ready()
        for node in (*others, volume, made):
            if node is not None:
                camera.host.scene.RemoveNode(node)
        ours.GetDisplayNode().SetVisibility(True)


def cleanup(camera: Photographer) -> None:
    """A vertebra from one box: the network drew its neighbor, too, which the clean-up leaves out."""
    user, index = camera.user, largest_slice(camera, VERTEBRAE)
    with other_segmentation(camera):
        user.box_around(VERTEBRAE)
        user.propagate()
        cleaned = user.mask()
        user.press("cleanupBox")
        user.settled()
        removed = (user.mask() & ~cleaned).sum(axis=(1, 2))
        assert removed.any(), "nothing was cleaned up"
        there = np.flatnonzero(removed > 0.9 * removed.max())
        shown = int(there[np.abs(there - index).argmin()])
        camera.unfold("segmentsSection")
        camera.aim(camera.on(VERTEBRAE, shown), 150.0)
        with camera.scrolled_to("segmentsSection"):
            camera.take("cleanup-off", "red")
        user.press("cleanupBox")
        user.settled()
        camera.aim(camera.on(VERTEBRAE, shown), 150.0)
        with camera.scrolled_to("segmentsSection"):
            camera.take("cleanup-on", "red")


def segment_per_click(camera: Photographer) -> None:
    """Lesions that were clicked one after the other, each a segment of its own."""
    from Testing.EndToEnd.test_lesions import CENTERS, ten_lesions

    array, matrix, _truth = ten_lesions()
    volume = camera.host.add_volume(array, matrix, name="Ten lesions")
    camera.host.set_window(volume, 250, 80)
    user = camera.user
    with another_image(camera, volume):
        camera.unfold("promptsSection")
        camera.ui.lesionsSection.collapsed = False
        camera.host.process_events(0.1)
        user.press("newSegmentBox")
        camera.aim((55.0, 55.0, 7.0), 150.0)
        camera.host.key("P", view="Red")
        for number in CLICKED:
            k, j, i = CENTERS[number]
            camera.host.click("Red", user.world(float(i), float(j), float(k)))
            user.settled()
        camera.host.key("Esc", view="Red")
        camera.host.process_events(0.5)
        with camera.scrolled_to("lesionsSection"):
            camera.take("segment-per-click", "red")
        user.press("newSegmentBox")
        camera.ui.lesionsSection.collapsed = True


def video(camera: Photographer) -> None:
    """A color video: a tool from the first frame on, and a needle that begins on a later one."""
    from Testing.EndToEnd import test_colors as colors
    from Testing.EndToEnd.user import largest

    user = camera.user
    browser, volume = colors.video(camera.host)
    with another_image(camera, volume, browser):
        middle = (71.5, 53.5, 0.0)
        camera.aim(middle, 108.0)
        camera.unfold(*SECTIONS)
        for frame, name, shape in ((0, "Tool", colors.tool), (colors.ENTERS, "Needle", colors.needle)):
            colors.go(user, browser, frame)
            if frame:
                user.press("addSegmentButton")
                user.settled()
            _index, low, high = largest(shape(frame))
            user.box(low, high)
            camera.name_it(name)
            user.press("carryAllButton")
            user.until(lambda: not camera.controller.carrying.busy)
            user.ready()
        colors.go(user, browser, colors.FRAMES - 1)
        camera.aim(middle, 108.0)
        camera.unfold("propagateSection", "segmentsSection")
        with camera.scrolled_to("propagateSection"):
            camera.take("video", "red")


def names(camera: Photographer) -> None:
    """The name of the next segment, completed while it is typed."""
    user, index = camera.user, largest_slice(camera, KIDNEY)
    with other_segmentation(camera):
        user.box_around(KIDNEY)
        camera.unfold("segmentsSection")
        camera.aim(camera.on(KIDNEY, index), 150.0)
        edit = camera.ui.segmentNameEdit
        with camera.scrolled_to("segmentsSection"):
            camera.host.press(edit)
            for letter in "kid":
                camera.host.key(letter)
            popup = edit.completer().popup()
            assert popup.isVisible(), "nothing is completed"
            camera.take("names", "red", mouse_away=False, above=camera.overlay(popup))
            popup.hide()
        edit.text = ""
        edit.clearFocus()


def overlap_question(camera: Photographer) -> None:
    """Two segments that share voxels, and what is asked before they are exported as a label map."""
    from PySide6 import QtWidgets

    user, index = camera.user, largest_slice(camera, KIDNEY)
    selector = camera.ui.overlapSelector

    def see(dialog: Any) -> Any:
        QtWidgets.QWidget.show(dialog)
        overlay = camera.overlay(dialog)  # now: it is deleted as soon as events are processed
        QtWidgets.QWidget.hide(dialog)
        camera.take("overlap-question", "red", mouse_away=False, above=overlay)
        return QtWidgets.QMessageBox.StandardButton.Cancel

    with other_segmentation(camera):
        selector.setCurrentIndex(selector.findData("none"))
        user.settled()
        rows, columns = camera.truth[KIDNEY][index].nonzero()
        low, high = (columns.min() - 0.5, rows.min() - 0.5), (columns.max() + 0.5, rows.max() + 0.5)
        user.box((*low, float(index)), (*high, float(index)))
        camera.name_it(KIDNEY)
        user.press("addSegmentButton")
        user.settled()
        middle = (low[1] + high[1]) / 2
        user.box((low[0], middle, float(index)), (*high, float(index)))
        camera.name_it("lower_pole")
        camera.unfold("segmentsSection")
        camera.aim(camera.on(KIDNEY, index), 150.0)
        camera.host.process_events(0.5)
        camera.host.dialogs.answer(see)
        user.choose("exportButton", "NIfTI")
        user.settled()
        selector.setCurrentIndex(selector.findData("stop"))
        user.settled()


PARTS = {
    "cleanup": cleanup,
    "segment-per-click": segment_per_click,
    "video": video,
    "names": names,
    "overlap-question": overlap_question,
}
"""Pictures that can be taken by themselves, after the first box."""
