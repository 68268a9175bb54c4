"""Masks that grow by themselves, as the module does unless the user does not want it: prompts, and no Propagate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .strip import Strip
from .user import User, largest, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


@pytest.fixture
def live(
    open_user: Callable[..., User],
    abdomen: tuple[Any, Any, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> User:
    """A user who has never ticked or unticked Live, nine slices, and a computer on which everything is quick enough."""
    array, matrix, truth = abdomen
    middle = largest(truth[KIDNEY])[0]
    kept = slice(middle - 4, middle + 5)
    moved = np.array(matrix)
    moved[:3, 3] += kept.start * moved[:3, 2]
    cropped = {name: mask[kept] for name, mask in truth.items()}
    user = open_user(array=np.ascontiguousarray(array[kept]), matrix=moved, truth=cropped, live="")
    limited(monkeypatch, 1e6)
    return user


def limited(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let a run that grows by itself take at most so long."""
    from MedSAMSlicerLib.app import growing  # not above: it needs what the host has made
    from MedSAMSlicerLib.panel import propagate

    for module in (growing, propagate):
        monkeypatch.setattr(module, "LIVE_SECONDS", seconds)


def filled(user: User) -> list[int]:
    return [int(index) for index in np.flatnonzero(user.mask().any(axis=(1, 2)))]


def growing(user: User) -> int:
    """A box, and the mask that grows from it at the moment; returns the slice of the box."""
    index, low, high = largest(user.truth[KIDNEY])
    user.box(low, high, settle=False)
    user.until(lambda: user.controller.runs.busy and user.controller.runs.progress.done >= 1)
    return index


def grown(user: User) -> int:
    """A box, and the mask that grew from it; returns the slice of the box."""
    index = user.box_around(KIDNEY)
    until_grown(user)
    return index


def until_grown(user: User) -> None:
    """Wait for what grows by itself."""
    user.until(lambda: (user.controller.history.undo_label or "").startswith("Propagate"))
    user.until(lambda: not user.controller.runs.busy)
    user.settled()


def test_box_is_all_it_takes_and_its_ends_are_trimmed_on_the_strip(live: User) -> None:
    assert live.ui.liveBox.checked
    assert "Live" in str(live.ui.estimateLabel.text)
    index = grown(live)
    assert len(filled(live)) > 5
    assert live.dice(KIDNEY) > 0.6
    assert "Live: about" in str(live.ui.estimateLabel.text)
    assert live.message.startswith("If the mask goes too far, drag the ends")
    live.picture("live-grown")
    everything, last = live.mask(), filled(live)[-1]
    strip = Strip(live)
    strip.drag("first", 0, index - 2)
    assert live.controller.editing.slice_range == (index - 2, last), "the other end is where the mask ends"
    strip.drag("last", last, index + 2)
    within = range(index - 2, index + 3)
    assert set(filled(live)) <= {*within}
    until_grown(live)
    assert filled(live) == [n for n in within if live.truth[KIDNEY][n].any()]
    assert live.message.startswith("Review the doubtful slices:")
    live.picture("live-trimmed")
    steps = live.controller.history.steps[0]
    while live.controller.editing.slice_range is not None:
        live.press("undoButton")
        live.settled()
    assert same(live.mask(), everything)
    assert not live.controller.runs.busy, "what was taken back does not grow again"
    while live.controller.history.steps[0] < steps:
        live.host.key("Ctrl+Shift+Z", view="Red")
        live.settled()
    assert filled(live)[0] == index - 2


def test_mask_grows_to_both_sides_at_once_nearest_slices_first(live: User) -> None:
    reached: list[tuple[int, int]] = []

    def note(_topic: object) -> None:
        drawn = [each.index for each in live.controller.review.slices if each.confidence is not None]
        if drawn:
            reached.append((drawn[0], drawn[-1]))

    remove = live.controller.observe(note)
    try:
        index = grown(live)
    finally:
        remove()
    apart = [(index - first, last - index) for first, last in reached]
    assert apart[-1] == (4, 4)
    assert len(set(apart)) > 2, "the mask came all at once"
    assert max(abs(below - above) for below, above in apart) <= 1, apart


def test_bracket_keys_trim_at_the_slice_in_view(live: User) -> None:
    index = grown(live)
    live.controller.review.show_slice(index + 1)
    live.settled()
    live.host.key("]", view="Red")
    live.settled()
    assert filled(live)[-1] == index + 1
    assert live.controller.editing.slice_range == (0, index + 1)


def test_cancel_ends_it_for_good(live: User) -> None:
    index = growing(live)
    live.press("cancelButton")
    live.until(lambda: not live.controller.runs.busy)
    live.settled()
    assert filled(live) == [index]
    assert live.controller.history.undo_label == "Add box"
    live.host.process_events(0.3)
    assert not live.controller.runs.busy
    live.press("propagateButton")
    live.until(lambda: not live.controller.runs.busy)
    live.settled()
    assert len(filled(live)) > 5


def test_undo_while_it_grows_takes_the_growth_back_and_then_the_box(live: User) -> None:
    index = growing(live)
    live.host.key("Ctrl+Z", view="Red")
    live.until(lambda: not live.controller.runs.busy)
    live.settled()
    assert filled(live) == [index]
    live.host.key("Ctrl+Z", view="Red")
    live.settled()
    assert filled(live) == []
    assert live.prompts() == ()
    assert not live.controller.runs.busy


def test_correction_grows_into_the_gap_beside_it_only(live: User) -> None:
    index = grown(live)
    before = live.mask()
    wrong = index + 3
    found = np.argwhere(before[wrong])
    j, i = (float(at) for at in found[len(found) // 2])
    steps = live.controller.history.steps
    live.point((i, j, wrong), positive=False)
    live.until(lambda: live.controller.history.steps != steps and not live.controller.runs.busy)
    live.until(lambda: (live.controller.history.undo_label or "").startswith("Propagate"))
    live.settled()
    after = live.mask()
    assert not same(after[wrong], before[wrong])
    assert same(after[index], before[index])


def test_too_long_a_run_waits_for_propagate_and_the_panel_says_why(
    live: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 0.0)
    index = live.box_around(KIDNEY)
    live.until(lambda: "too long for Live, press Propagate" in str(live.ui.estimateLabel.text))
    live.host.process_events(0.3)
    assert not live.controller.runs.busy
    assert filled(live) == [index]
    live.picture("live-held-back")
    live.propagate()
    assert len(filled(live)) > 5
    assert "Not live" in str(live.ui.estimateLabel.text)


def test_script_that_asks_for_what_grows_already_is_no_error(live: User) -> None:
    growing(live)
    run: Any = live.controller.runs._run
    live.controller.runs.propagate()
    assert live.controller.runs._run is run
    live.until(lambda: not live.controller.runs.busy)
    live.settled()


def test_choice_of_the_user_is_remembered(live: User) -> None:
    from MedSAMSlicerLib.panel.settings import MachineSettings

    live.press("liveBox")
    assert not live.controller.growing.on
    assert not MachineSettings().live
    index = live.box_around(KIDNEY)
    live.host.process_events(0.3)
    assert filled(live) == [index]
    live.press("liveBox")  # what waits grows now
    live.until(lambda: (live.controller.history.undo_label or "").startswith("Propagate"))
    live.until(lambda: not live.controller.runs.busy)
    live.settled()
    assert MachineSettings().live
