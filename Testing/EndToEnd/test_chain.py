"""From the first click to a scene that is opened again: the whole work of a user, with mouse and keyboard."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from .user import Pulse, User, dice, grown, middle_of, network_threads, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
logger = logging.getLogger(__name__)

FIRST, SECOND = "left_kidney", "spleen"


@pytest.mark.parametrize("keep_lock", [False, True], ids=["as PySide6", "as PythonQt"])
def test_user_goes_from_a_box_to_two_saved_segments_and_on_after_reopening(
    open_user: Callable[..., User],
    keep_lock: bool,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    user = open_user(keep_lock)
    checksum = user.checksum()
    key = preview(user)
    canceled(user)
    report_longest_wait(user, record_property)
    corrected(user, key)
    undone_and_redone(user)
    touched(user)
    assert user.checksum() == checksum
    reopened(user, tmp_path / "work.mrb")
    assert user.checksum() == checksum
    user.host.leave_module()
    user.widget.cleanup()
    assert network_threads() == []


def preview(user: User) -> int:
    """A box shows the mask of its slice and of no other."""
    key = user.box_around(FIRST)
    mask, truth = user.mask(), user.truth[FIRST]
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [key]
    assert dice(mask[key], truth[key]) > 0.8
    seen = np.flatnonzero(truth.any(axis=(1, 2)))
    user.choose_range(int(seen[0]), int(seen[-1]))
    user.picture("1-preview")
    return key


def canceled(user: User) -> None:
    """Cancel leaves the segment as it was; a second click on Propagate starts no second run."""
    before = user.mask()
    assert user.ui.propagateButton.enabled
    user.host.press(user.ui.propagateButton)
    assert user.controller.runs.busy
    user.until(lambda: not user.controller.runs.busy or user.controller.runs.progress.done >= 2)
    assert user.controller.runs.busy, "the run was over before it could be canceled"
    user.picture("2-running")
    user.press("cancelButton")
    user.until(lambda: not user.controller.runs.busy)
    user.settled()
    assert same(user.mask(), before)


def report_longest_wait(user: User, record_property: Callable[[str, object], None]) -> None:
    """Propagate, and report how long the user interface was kept waiting at most."""
    with Pulse() as pulse:
        user.propagate()
    record_property("longest_block_ms", round(pulse.longest_ms))
    record_property("longest_block_cpu_ms", round(pulse.longest_cpu_ms))
    logger.warning(
        "The main thread was blocked for %.0f ms at most, in which it worked for %.0f ms.",
        pulse.longest_ms,
        pulse.longest_cpu_ms,
    )
    assert user.dice(FIRST) >= 0.80
    user.picture("3-propagated")


def corrected(user: User, key: int) -> None:
    """Clicks on the slice that is the worst make the whole better."""
    before = user.dice(FIRST)
    for _ in range(4):
        correct_once(user, key)
    user.picture("4-corrected")
    assert user.dice(FIRST) > before, f"{user.dice(FIRST):.3f} after corrections, {before:.3f} before"


def correct_once(user: User, key: int) -> None:
    """A point in the middle of the largest mistake, then Propagate."""
    mask, truth = user.mask(), user.truth[FIRST]
    first, last = user.controller.editing.slice_range
    wrong = mask ^ truth
    wrong[:first] = wrong[last + 1 :] = wrong[key] = False
    place, positive = middle_of(wrong, truth)
    user.point(place, positive)
    user.propagate()


def undone_and_redone(user: User) -> None:
    """Ctrl+Z brings back what was there before, prompts too; Ctrl+Shift+Z what came."""
    after, points = user.mask(), len(user.markups())
    user.host.key("Ctrl+Z", view="Red")
    user.settled()
    previewed = user.mask()
    user.host.key("Ctrl+Z", view="Red")
    user.settled()
    assert not same(user.mask(), previewed)
    user.host.key("Ctrl+Shift+Z", view="Red")
    user.settled()
    assert same(user.mask(), previewed)
    user.host.key("Ctrl+Shift+Z", view="Red")
    user.settled()
    assert same(user.mask(), after)
    assert len(user.markups()) == points


def touched(user: User) -> None:
    """A second segment that touches the first changes none of its voxels."""
    first_id, first = user.controller.inputs.segment_id, user.mask()
    user.press("addSegmentButton")
    user.settled()
    assert user.controller.inputs.segment_id != first_id
    seen = np.flatnonzero(user.truth[SECOND].any(axis=(1, 2)))
    user.box_around(SECOND)
    user.choose_range(int(seen[0]), int(seen[-1]))
    user.propagate()
    second = user.mask()
    assert second.any()
    assert same(user.mask(first_id), first)
    assert (grown(first) & second).any(), "they do not touch"
    user.picture("5-second segment")


def reopened(user: User, path: Path) -> None:
    """The scene brings back volume, masks, prompts and the session, and the work goes on."""
    ids = user.controller.inputs.segment_ids
    masks = {each: user.mask(each) for each in ids}
    slices = user.controller.review.slices
    prompts = sorted((node.GetName(), node.GetNumberOfControlPoints()) for node in user.markups())
    user.host.save_scene(path)
    user.host.load_scene(path)
    user.host.process_events(0.1)
    user.volume = user.host.node("vtkMRMLScalarVolumeNode")
    user.until(lambda: user.controller.inputs.volume_node is not None)
    user.ready()
    assert user.controller.inputs.volume_node is user.volume
    assert user.controller.inputs.segment_ids == ids
    for each in ids:
        assert same(user.mask(each), masks[each]), each
    assert sorted((node.GetName(), node.GetNumberOfControlPoints()) for node in user.markups()) == prompts
    assert user.controller.review.slices == slices
    user.picture("6-reopened")
    other = next(each for each in ids if each != user.controller.inputs.segment_id)
    seen = np.flatnonzero(masks[user.controller.inputs.segment_id].any(axis=(1, 2)))
    middle = masks[user.controller.inputs.segment_id][int(seen[len(seen) // 4])]
    j, i = np.argwhere(middle)[len(np.argwhere(middle)) // 2]
    user.point((float(i), float(j), float(seen[len(seen) // 4])))
    user.propagate()
    assert user.mask().any()
    assert same(user.mask(other), masks[other])
    user.picture("7-went on")
