"""`make screenshots`: every picture of README and docs/tutorial.md again, taken while the module is used as people do.

python -m Testing.Host.screenshots [FOLDER]

Mouse and keyboard work on the generated abdomen that the module offers as sample data, with the bundled checkpoint.
Where to click follows from the true masks of that volume, so that the same walk fits a better checkpoint.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "Resources" / "Screenshots"
LARGEST = 220_000
"""Bytes that a picture may have before its colors are thinned out further."""

WINDOW = (1280, 800)
SHOWN_MM = {"Red": 240.0, "Green": 215.0, "Yellow": 215.0}
"""Height of what a slice view shows, in mm."""
SECTIONS = ("inputsSection", "promptsSection", "propagateSection", "correctSection", "segmentsSection")
STORY = "left_kidney"
"""The organ that is boxed, propagated and corrected in front of the reader."""
OTHERS = ("right_kidney", "aorta")

Mask = npt.NDArray[np.bool_]
Place = tuple[float, float, float]
logger = logging.getLogger("screenshots")


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

        self.folder, self.taken = folder, list[Path]()
        self.host = SlicerHost(size=WINDOW, dark=dark)
        self.host.set_setting("MedSAMSlicer/Live", "off")  # a picture of each step
        self.truth: dict[str, Mask] = ct_phantom()[2]
        widget = self.host.open_module()
        self.ui, self.controller = widget.ui, widget.controller
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

    def take(self, name: str, region: str = "window") -> None:
        """Write a picture of the window, of the panel and the "red" view, or of the panel and its "column" of views."""
        from PySide6 import QtWidgets

        area = self.host.window._panel
        QtWidgets.QScrollArea.verticalScrollBar(area).setValue(0)
        self.host.move("Red", self.corner())
        self.host.process_events(0.1)
        image = self.host.picture()
        if region != "window":
            image = image.copy(self._left_part("Green" if region == "column" else "Red"))
        self.write(name, image)

    def write(self, name: str, image: Any) -> None:
        """Compress a picture into the folder."""
        path = self.folder / f"{name}.png"
        path.write_bytes(compressed(image))
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
        kinds = (QtWidgets.QAbstractButton, QtWidgets.QLabel, QtWidgets.QLineEdit, QtWidgets.QComboBox)
        bottom = low.y()
        while True:
            cut = [
                place.y()
                for kind in kinds
                for each in QtWidgets.QWidget.findChildren(window._panel.widget(), kind)
                if each.isVisible() and type(each).__name__ != "ctkCollapsibleButton"
                for place in (map_to(each, window, QtCore.QPoint(0, 0)),)
                if place.y() < bottom < place.y() + QtWidgets.QWidget.height(each)
            ]
            if not cut:
                return QtCore.QRect(0, top, low.x(), bottom - top)
            bottom = min(cut) - 3

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


def first_box(camera: Photographer, name: str) -> int:
    """Draw the first box, take the picture `name` of it, and choose the range; returns the slice of the box."""
    camera.aim(camera.middle(STORY))
    key = camera.user.box_around(STORY)
    camera.name_it(STORY)
    camera.aim(camera.on(STORY, key), 150.0)
    camera.unfold("promptsSection", "propagateSection", "correctSection")
    camera.take(name, "red")
    camera.unfold(*SECTIONS)
    camera.choose_range(STORY)
    return key


def walk(camera: Photographer) -> None:
    """From the first box to three organs; the pictures in the order of the tutorial."""
    user, key = camera.user, first_box(camera, "preview")
    propagating(camera)
    doubtful(camera)
    correction(camera)
    for organ in OTHERS:
        user.press("addSegmentButton")
        user.settled()
        user.box_around(organ)
        camera.name_it(organ)
        camera.choose_range(organ)
        user.propagate()
        logger.info("%s: Dice %.3f", organ, user.dice(organ))
    everything(camera, key)
    neighbor(camera)
    models(camera)
    review(camera)
    more_volumes(camera)
    lesions(camera)
    sequence(camera)
    segment_editor(camera, key)


def in_the_dark(camera: Photographer) -> None:
    """One organ in Slicer's dark style: its box, its surface, and the dialog of models."""
    user, key = camera.user, first_box(camera, "preview-dark")
    user.propagate()
    everything(camera, key, dark=True)
    models(camera, "models-dark")


def propagating(camera: Photographer) -> None:
    """Panel and two views while the mask grows."""
    user = camera.user
    camera.aim(camera.middle(STORY), 170.0)
    user.press("propagateButton")
    user.until(
        lambda: (
            not user.controller.runs.busy
            or (user.controller.runs.progress is not None and user.controller.runs.progress.done >= 14)
        )
    )
    assert user.controller.runs.busy, "the propagation was over before the picture could be taken"
    camera.take("propagating", "column")
    user.until(lambda: not user.controller.runs.busy)
    user.settled()


def doubtful(camera: Photographer) -> None:
    """The slice that the network is least sure of, and the strip of all."""
    camera.user.press("doubtfulButton")
    camera.user.settled()
    index = camera.controller.review.shown_index
    assert index is not None
    camera.aim(camera.on(STORY, index), 150.0)
    camera.unfold("promptsSection", "propagateSection", "correctSection")
    camera.take("doubtful", "red")


def correction(camera: Photographer) -> None:
    """Points where the mask is wrong most until its slice is right, and what the propagation then changes."""
    from Testing.EndToEnd.user import middle_of

    user, truth = camera.user, camera.truth[STORY]
    index = int(camera.wrong(STORY).sum(axis=(1, 2)).argmax())
    camera.aim(camera.on(STORY, index), 150.0)
    camera.take("correction-before", "red")
    log_dice(camera, STORY, index)
    for _ in range(3):
        wrong = np.zeros_like(truth)
        wrong[index] = user.mask()[index] ^ truth[index]
        user.point(*middle_of(wrong, truth))
        log_dice(camera, STORY, index)
        if camera.dice_on(STORY, index) > 0.93:
            break
    if camera.dice_on(STORY, index) < 0.85:  # a weak checkpoint: as a user would, say it with a box
        rows, columns = truth[index].nonzero()
        low, high = (columns.min() - 0.5, rows.min() - 0.5), (columns.max() + 0.5, rows.max() + 0.5)
        user.box((*low, float(index)), (*high, float(index)))
        log_dice(camera, STORY, index)
    camera.unfold("promptsSection", "propagateSection", "correctSection")
    camera.aim(camera.on(STORY, index), 150.0)
    camera.take("correction-after", "red")
    before = user.mask()
    user.propagate()
    log_dice(camera, STORY, index)
    most = int((user.mask() ^ before).sum(axis=(1, 2)).argmax())
    user.press("changesButton")
    user.settled()
    camera.aim(camera.on(STORY, most), 150.0)
    camera.take("changes", "red")
    user.press("keepButton")
    user.settled()
    camera.unfold(*SECTIONS)


def everything(camera: Photographer, key: int, dark: bool = False) -> None:
    """All organs in slices and in 3-D; in the dark style no more than that."""
    user = camera.user
    camera.unfold(*SECTIONS)
    user.press("surfaceButton")
    user.settled()
    k, j, i = ((count - 1) / 2 for count in camera.truth[STORY].shape)
    place = (camera.middle(STORY)[0], camera.middle(STORY)[1], float(key))
    camera.aim(place, middle=(i, j, k))
    camera.aim_3d()
    camera.take("four-up-dark" if dark else "four-up")
    if dark:
        return
    camera.write("panel", camera.host.picture(camera.host.window._panel.widget()))
    camera.unfold("segmentsSection")
    camera.aim(place, {"Red": 170.0}, middle=(i, place[1] - 10, k))
    camera.take("segments", "red")


def log_dice(camera: Photographer, organ: str, index: int) -> None:
    """Log how good the mask is."""
    whole, here = camera.user.dice(organ), camera.dice_on(organ, index)
    logger.info("%s: Dice %.3f, on slice %d %.3f", organ, whole, index, here)


def neighbor(camera: Photographer) -> None:
    """A box around an organ that reaches over its neighbor: its mask stops there."""
    user, index = camera.user, 32
    rows, columns = camera.truth["spleen"][index].nonzero()
    camera.unfold("promptsSection", "segmentsSection")
    user.press("addSegmentButton")
    user.settled()
    camera.aim(camera.on(STORY, index), 130.0)
    low, high = (columns.min() - 0.5, rows.min() - 0.5), (columns.max() + 0.5, rows.max() + 0.5)
    user.box((*low, float(index)), (*high, float(index)))
    camera.name_it("spleen")
    camera.take("neighbor", "red")
    user.press("deleteSegmentButton")
    user.settled()


def review(camera: Photographer) -> None:
    """A segment that was made elsewhere, with three spoiled slices; reviewed, at the slice that is doubted most."""
    import slicer

    from MedSAMSlicerLib.lab.evaluation.faults import spoiled

    user, host, ours = camera.user, camera.host, camera.user.segmentation
    filled = np.flatnonzero(camera.truth[STORY].any(axis=(1, 2)))
    chosen = [int(filled[round(part * (len(filled) - 1))]) for part in (0.3, 0.5, 0.7)]
    node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "From a colleague")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(user.volume)
    node.GetSegmentation().AddEmptySegment("kidney_left", "kidney_left")
    mask = spoiled(camera.truth[STORY], (chosen[0], chosen[1], chosen[2])).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "kidney_left", user.volume)
    ours.GetDisplayNode().SetVisibility(False)
    user.ui.segmentationSelector.setCurrentNode(node)
    user.settled().ready()
    camera.unfold("correctSection")
    user.press("reviewButton")
    user.settled()
    user.press("doubtfulButton")
    user.settled()
    index = camera.controller.review.shown_index
    assert index in chosen, f"slice {index} is doubted most, not one of {chosen}"
    camera.aim(camera.on(STORY, index), 150.0)
    camera.take("review", "red")
    user.ui.segmentationSelector.setCurrentNode(ours)
    user.settled().ready()
    host.scene.RemoveNode(node)
    ours.GetDisplayNode().SetVisibility(True)


def more_volumes(camera: Photographer) -> None:
    """A lesion in the liver that only a PET and an MR show, on the voxels of the CT."""
    from Testing.EndToEnd.test_more_volumes import LESION, choose, further_volumes
    from Testing.EndToEnd.user import largest

    user, host, ours = camera.user, camera.host, camera.user.segmentation
    pet, mr = further_volumes(user)
    ours.GetDisplayNode().SetVisibility(False)
    user.ui.segmentationSelector.setCurrentNode(None)
    user.settled().ready()
    camera.unfold("inputsSection", "promptsSection", "propagateSection")
    camera.ui.moreVolumes.collapsed = False
    choose(user, "second", pet)
    choose(user, "third", mr)
    index, low, high = largest(user.truth[LESION])
    user.box(low, high)
    user.propagate()
    camera.aim(((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, float(index)), 190.0)
    camera.unfold("inputsSection", "promptsSection")
    camera.take("more-volumes", "red")
    camera.ui.moreVolumes.collapsed = True
    node = user.segmentation
    for volume in (pet, mr):
        host.scene.RemoveNode(volume)
    user.ui.segmentationSelector.setCurrentNode(ours)
    user.settled().ready()
    host.scene.RemoveNode(node)
    ours.GetDisplayNode().SetVisibility(True)


def lesions(camera: Photographer) -> None:
    """Ten lesions drawn in one round, and the second of them, which is looked at."""
    from Testing.EndToEnd.test_lesions import box, ten_lesions
    from Testing.EndToEnd.user import Counted

    user, host = camera.user, camera.host
    array, matrix, _truth = ten_lesions()
    abdomen, display = user.volume, user.segmentation.GetDisplayNode()
    display.SetVisibility(False)
    volume = host.add_volume(array, matrix, name="Ten lesions")
    host.set_window(volume, 250, 80)
    host.show_volume(volume)
    user.turn_to(volume)
    does = Counted(user)
    camera.aim((55.0, 55.0, 7.0), 150.0)
    camera.unfold("promptsSection")
    camera.ui.lesionsSection.collapsed = False
    host.process_events(0.1)
    does.press("lesionRoundButton")
    for number in range(10):
        box(does, number)
    does.press("lesionRoundButton")
    user.until(lambda: not user.controller.runs.busy and not user.controller._work.poller.active)
    user.settled()
    does.press("lesionAcceptButton")
    host.process_events(0.5)
    camera.take("lesions")
    camera.ui.lesionsSection.collapsed = True
    host.show_volume(abdomen)
    user.turn_to(abdomen)
    host.scene.RemoveNode(volume)
    display.SetVisibility(True)


def sequence(camera: Photographer) -> None:
    """A ventricle carried through a cine; the time point at which it is smallest."""
    from Testing.EndToEnd.test_sequences import VENTRICLE, beating, ventricle

    user, host = camera.user, camera.host
    abdomen, truth, display = user.volume, user.truth, user.segmentation.GetDisplayNode()
    display.SetVisibility(False)
    browser, volume = beating(host)
    user.truth = {VENTRICLE: ventricle(0)}
    user.turn_to(volume)
    camera.unfold("propagateSection")
    camera.aim((48.0, 48.0, 3.0), 150.0)
    user.box_around(VENTRICLE)
    camera.name_it(VENTRICLE)
    user.propagate()
    user.press("carryAllButton")
    user.until(lambda: not user.controller.carrying.busy)
    user.settled()
    browser.SetSelectedItemNumber(1)
    user.ready()
    camera.aim((48.0, 48.0, 3.0), 150.0)
    camera.take("sequence", "red")
    made = user.segmentation
    host.show_volume(abdomen)
    user.truth = truth
    user.turn_to(abdomen)
    for node in (browser, volume, made):
        host.scene.RemoveNode(node)
    display.SetVisibility(True)


def models(camera: Photographer, name: str = "models") -> None:
    """The dialog of models."""
    camera.unfold(*SECTIONS)
    camera.user.press("modelsButton")
    camera.host.process_events(0.2)
    dialog = camera.user.widget.panel._models
    camera.user.until(lambda: dialog.table.topLevelItem(0).text(4) != "")
    camera.write(name, camera.host.picture(dialog.dialog))
    dialog.dialog.hide()


def segment_editor(camera: Photographer, key: int) -> None:
    """The effect in Segment Editor, with the preview of one slice."""
    import slicer

    user, host = camera.user, camera.host
    node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(user.volume)
    node.GetSegmentation().AddEmptySegment("Kidney", "Kidney")
    user.segmentation.GetDisplayNode().SetVisibility(False)
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(user.volume)
    editor.setCurrentSegmentID("Kidney")
    slicer.util.selectModule("SegmentEditor")
    editor.setActiveEffectByName("MedSAM")
    panel = editor.activeEffect().self().panel
    user.ready()
    camera.aim(camera.on(STORY, key), 150.0)
    host.press(panel.ui.boxButton)
    rows, columns = camera.truth[STORY][key].nonzero()
    for j, i in ((rows.min() - 0.5, columns.min() - 0.5), (rows.max() + 0.5, columns.max() + 0.5)):
        host.click("Red", user.world(float(i), float(j), float(key)), jump=False)
    host.process_events(0.1)
    user.settled()
    camera.take("effect", "red")


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


def main(arguments: list[str] | None = None) -> int:
    """Take all pictures."""
    parser = argparse.ArgumentParser(
        prog="make screenshots", description="The pictures of the documentation."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.path.insert(0, str(REPOSITORY / "MedSAMSlicer"))
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as models_folder:  # only what every user has
        os.environ["MEDSAMSLICER_MODELS"] = models_folder
        taken: list[Path] = []
        for dark, steps in ((False, walk), (True, in_the_dark)):
            camera = Photographer(options.folder, dark, None if dark else "empty")
            with closing(camera):
                steps(camera)
            taken += camera.taken
    logger.info("%d pictures, %d kB", len(taken), sum(path.stat().st_size for path in taken) // 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
