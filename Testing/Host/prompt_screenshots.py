"""Pictures of single features for docs/tutorial.md, each on a segmentation of its own; see `screenshots.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .photographer import SECTIONS, Photographer

KIDNEY, OTHER = "left_kidney", "right_kidney"


@contextmanager
def other_segmentation(camera: Photographer) -> Iterator[None]:
    """Work on a new segmentation; afterward on the one of before, as if nothing had been."""
    user, ours = camera.user, camera.user.segmentation
    ours.GetDisplayNode().SetVisibility(False)
    user.ui.segmentationSelector.setCurrentNode(None)
    user.settled().ready()
    camera.unfold(*SECTIONS)
    try:
        yield
    finally:
        made = user.segmentation
        user.ui.segmentationSelector.setCurrentNode(ours)
        user.settled().ready()
        if made is not None:
            camera.host.scene.RemoveNode(made)
        ours.GetDisplayNode().SetVisibility(True)


def largest_slice(camera: Photographer, organ: str) -> int:
    """Index of the slice where an organ is largest."""
    return int(camera.truth[organ].sum(axis=(1, 2)).argmax())


def lasso(camera: Photographer) -> None:
    """An outline that is being drawn around a kidney; its mask, and a red box around a part of the background."""
    from Testing.EndToEnd.test_lasso import draw, ring

    user, index = camera.user, largest_slice(camera, KIDNEY)
    found = np.argwhere(camera.truth[KIDNEY][index])
    (j, i), (high, wide) = found.mean(axis=0), np.ptp(found, axis=0) / 2 * 1.3
    path = ring(user, (float(i), float(j)), (float(wide), float(high)), index)
    with other_segmentation(camera):
        camera.unfold("promptsSection")
        camera.aim(camera.on(KIDNEY, index), 150.0)
        camera.host.key("O", view="Red")
        with camera.held("Red", path[:20]):
            camera.take("lasso-drawn", "red", mouse_away=False)
        user.settled()
        if user.segmentation is None or not user.prompts():  # what was released halfway was no outline yet
            draw(user, path)
        camera.host.key("Esc", view="Red")
        camera.host.key("X", view="Red")
        camera.host.key("T", view="Red")
        place = float(i + 0.45 * wide), float(j - 0.5 * high)
        camera.host.drag("Red", [user.world(*place, index), user.world(place[0] + 14, place[1] + 12, index)])
        user.settled()
        camera.aim(camera.on(KIDNEY, index), 150.0)
        camera.take("lasso", "red")


def before_and_now(camera: Photographer) -> None:
    """A box and a point that corrects it; the mask of before while the key is held."""
    from Testing.EndToEnd.user import middle_of

    user, index = camera.user, largest_slice(camera, KIDNEY)
    with other_segmentation(camera):
        camera.aim(camera.on(KIDNEY, index), 150.0)
        rows, columns = camera.truth[KIDNEY][index].nonzero()
        low, high = (columns.min() - 6.5, rows.min() - 6.5), (columns.max() + 10.5, rows.max() + 10.5)
        user.box((*low, float(index)), (*high, float(index)))
        wrong = user.mask() ^ camera.truth[KIDNEY]
        wrong[[at for at in range(len(wrong)) if at != index]] = False
        user.point(*middle_of(wrong, camera.truth[KIDNEY]))
        camera.unfold("promptsSection", "correctSection")
        camera.aim(camera.on(KIDNEY, index), 150.0)
        camera.take("prompt-now", "red")
        camera.host.hold_key("C", view="Red")
        camera.take("prompt-before", "red")
        camera.host.release_key("C", view="Red")


def start(camera: Photographer) -> None:
    """A segment that was made elsewhere and lacks half of a slice; one click corrects it."""
    from Testing.EndToEnd.test_start_from_segment import made_elsewhere, missed

    user = camera.user
    with other_segmentation(camera):
        mask, index = made_elsewhere(user)
        user.ready()
        user.press("startButton")
        user.settled()
        camera.unfold("correctSection")
        camera.aim(camera.on(KIDNEY, index), 150.0)
        camera.take("start-before", "red")
        camera.unfold(*SECTIONS)
        user.point(missed(user, mask, index))
        camera.unfold("correctSection")
        camera.aim(camera.on(KIDNEY, index), 150.0)
        camera.take("start-after", "red")


def another_volume(camera: Photographer) -> None:
    """A click in a view that shows another volume: the sentence, and the button that turns to it."""
    import slicer

    user, index = camera.user, largest_slice(camera, KIDNEY)
    with other_segmentation(camera):
        user.box_around(KIDNEY)
        camera.unfold("promptsSection")
        array = slicer.util.arrayFromVolume(user.volume)
        other = camera.host.add_volume(array.max() - array, user.matrix, name="MR", show=False)
        composite = camera.host.view("Red").mrmlSliceCompositeNode()
        composite.SetBackgroundVolumeID(other.GetID())
        camera.aim(camera.on(KIDNEY, index), 150.0)
        user.point(camera.on(OTHER, index))
        camera.aim(camera.on(KIDNEY, index), 150.0)
        camera.take("another-volume", "red")
        composite.SetBackgroundVolumeID(user.volume.GetID())
        camera.host.scene.RemoveNode(other)
        user.settled()


def one_slice(camera: Photographer) -> None:
    """An image of one slice: nothing about propagation on the panel."""
    import slicer

    user, index = camera.user, largest_slice(camera, KIDNEY)
    whole, ours = user.volume, user.segmentation
    ours.GetDisplayNode().SetVisibility(False)
    array = np.ascontiguousarray(slicer.util.arrayFromVolume(whole)[index : index + 1])
    image = camera.host.add_volume(array, user.matrix, name="Radiograph")
    camera.host.set_window(image, 400, 40)
    user.turn_to(image)
    user.ui.segmentationSelector.setCurrentNode(None)
    user.settled().ready()
    camera.unfold(*SECTIONS)
    rows, columns = camera.truth[KIDNEY][index].nonzero()
    low, high = (columns.min() - 0.5, rows.min() - 0.5), (columns.max() + 0.5, rows.max() + 0.5)
    user.box((*low, 0.0), (*high, 0.0))
    camera.unfold("promptsSection", "correctSection")
    i, j, _k = camera.on(KIDNEY, index)
    camera.aim((i, j, 0.0), 190.0)
    camera.take("one-slice", "red")
    made = user.segmentation
    camera.host.show_volume(whole)
    user.turn_to(whole)
    user.ui.segmentationSelector.setCurrentNode(ours)
    user.settled().ready()
    for node in (image, made):
        camera.host.scene.RemoveNode(node)
    ours.GetDisplayNode().SetVisibility(True)


PARTS = {
    "lasso": lasso,
    "before-and-now": before_and_now,
    "start": start,
    "another-volume": another_volume,
    "one-slice": one_slice,
}
"""Pictures that can be taken by themselves, after the first box."""
