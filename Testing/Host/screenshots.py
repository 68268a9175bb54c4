"""`make screenshots`: every picture of README and docs/tutorial.md again, taken while the module is used as people do.

python -m Testing.Host.screenshots [FOLDER] [--only PART ...] [--dark]

Mouse and keyboard work on the generated abdomen that the module offers as sample data, with the bundled checkpoint.
Where to click follows from the true masks of that volume, so that the same walk fits a better checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from . import prompt_screenshots, segment_screenshots
from .photographer import SECTIONS, Photographer

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "Resources" / "Screenshots"
STORY = "left_kidney"
"""The organ that is boxed, propagated and corrected in front of the reader."""
OTHERS = ("right_kidney", "aorta")
logger = logging.getLogger("screenshots")


def first_box(camera: Photographer, name: str | None = None) -> int:
    """Draw the first box and take the picture `name` of it; returns the slice of the box."""
    camera.aim(camera.middle(STORY))
    key = camera.user.box_around(STORY)
    camera.name_it(STORY)
    camera.aim(camera.on(STORY, key), 150.0)
    camera.unfold("promptsSection", "propagateSection", "correctSection")
    if name is not None:
        camera.take(name, "red")
    camera.unfold(*SECTIONS)
    return key


def walk(camera: Photographer) -> None:
    """From the first box to three organs; the pictures in the order of the tutorial."""
    user, key = camera.user, first_box(camera, "preview")
    propagating(camera)
    trimmed(camera, "range")
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
    suggestions(camera)
    sequence(camera)
    for part in (*prompt_screenshots.PARTS.values(), *segment_screenshots.PARTS.values()):
        part(camera)
    segment_editor(camera, key)


def in_the_dark(camera: Photographer) -> None:
    """One organ in Slicer's dark style: its box, its surface, and the dialog of models."""
    key = first_box(camera, "preview-dark")
    camera.user.propagate()
    trimmed(camera)
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


def trimmed(camera: Photographer, name: str | None = None) -> None:
    """Both ends of the mask dragged to those of the organ on the strip; the picture `name` of a slice near one."""
    from Testing.EndToEnd.strip import Strip

    seen = [int(index) for index in np.flatnonzero(camera.truth[STORY].any(axis=(1, 2)))]
    strip = Strip(camera.user)
    for end, organ in (("first", seen[0]), ("last", seen[-1])):
        first, last = camera.controller.editing.slice_range or (0, strip.count - 1)
        strip.drag(end, first if end == "first" else last, organ)
    assert camera.controller.editing.slice_range == (seen[0], seen[-1])
    camera.user.propagate()
    if name is not None:
        good = [index for index in seen if camera.dice_on(STORY, index) > 0.8] or seen
        near = min(good, key=lambda index: min(index - seen[0], seen[-1] - index))
        camera.aim(camera.on(STORY, near), 150.0)
        camera.unfold("propagateSection")
        camera.take(name, "red")
        camera.unfold(*SECTIONS)


def grown_and_trimmed(camera: Photographer) -> None:
    """The mask of the first box through the volume, without a picture, and its ends."""
    camera.user.propagate()
    trimmed(camera, "range")


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
    does.press("drawLesionsButton")
    for number in range(10):
        box(does, number)
    does.press("drawLesionsButton")
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


def suggestions(camera: Photographer) -> None:
    """What is found by itself on a slice."""
    user, host, ours = camera.user, camera.host, camera.user.segmentation
    ours.GetDisplayNode().SetVisibility(False)
    user.ui.segmentationSelector.setCurrentNode(None)
    user.settled().ready()
    camera.unfold()
    camera.ui.suggestionsSection.collapsed = False
    camera.aim(camera.middle(STORY))
    user.press("suggestButton")
    user.until(lambda: not camera.controller.proposing.busy)
    user.settled()
    found = camera.controller.proposing.candidates
    logger.info("%d suggestions: %s", len(found), ", ".join(f"{each.certainty:.2f}" for each in found))
    if found:
        table = camera.ui.suggestionsTable
        host._mouse.click(table.viewport(), table.visualItemRect(table.topLevelItem(0)).center(), "left", "")
        user.settled()
    camera.take("suggestions", "column")
    camera.ui.suggestionsSection.collapsed = True
    node = user.segmentation
    user.ui.segmentationSelector.setCurrentNode(ours)
    user.settled().ready()
    host.scene.RemoveNode(node)
    ours.GetDisplayNode().SetVisibility(True)


def sequence(camera: Photographer) -> None:
    """A ventricle carried through a cine; the time point at which it is smallest."""
    from Testing.EndToEnd.test_sequences import VENTRICLE, beating, ventricle

    user, host = camera.user, camera.host
    abdomen, truth, display = user.volume, user.truth, user.segmentation.GetDisplayNode()
    display.SetVisibility(False)
    browser, volume = beating(host)
    user.truth = {VENTRICLE: ventricle(0)}
    user.turn_to(volume)
    camera.unfold("promptsSection", "propagateSection")
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
    camera.unfold("propagateSection")  # so that the buttons that carry masks are in sight
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
    camera.host.window.activateWindow()  # as a desktop does, so that keys come here again


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


PARTS = {
    "range": grown_and_trimmed,
    "models": models,
    "review": review,
    "more-volumes": more_volumes,
    "lesions": lesions,
    "suggestions": suggestions,
    "sequence": sequence,
    **prompt_screenshots.PARTS,
    **segment_screenshots.PARTS,
}
"""Pictures that can be taken by themselves, after the first box."""


def some(names: list[str], camera: Photographer) -> None:
    """The pictures of these parts and no others."""
    first_box(camera)
    for name in names:
        PARTS[name](camera)


def main(arguments: list[str] | None = None) -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(
        prog="make screenshots", description="The pictures of the documentation."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), help="these pictures alone")
    parser.add_argument(
        "--dark", action="store_true", help="all of them in Slicer's dark style, none in light"
    )
    options = parser.parse_args(arguments)
    if options.dark and options.folder == FOLDER:
        parser.error("--dark needs a FOLDER: its pictures have the names of the light ones")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.path.insert(0, str(REPOSITORY / "MedSAMSlicer"))
    options.folder.mkdir(parents=True, exist_ok=True)
    walks: list[tuple[bool, Callable[[Photographer], None]]] = [(False, walk), (True, in_the_dark)]
    if options.only or options.dark:
        walks = [(options.dark, partial(some, options.only) if options.only else walk)]
    with tempfile.TemporaryDirectory() as models_folder:  # only what every user has
        os.environ["MEDSAMSLICER_MODELS"] = models_folder
        taken: list[Path] = []
        for dark, steps in walks:
            camera = Photographer(options.folder, dark, "empty" if steps is walk else None)
            with closing(camera):
                steps(camera)
            taken += camera.taken
    logger.info("%d pictures, %d kB", len(taken), sum(path.stat().st_size for path in taken) // 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
