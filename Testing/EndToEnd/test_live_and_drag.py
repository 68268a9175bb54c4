"""A box in one drag, and a mask that grows by itself."""

from __future__ import annotations

import numpy as np
import pytest

from .user import User, dice, largest

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


def test_box_by_press_drag_and_release_is_the_box_of_two_clicks(user: User) -> None:
    index, low, high = largest(user.truth[KIDNEY])
    user.press("boxButton")
    user.host.show_slice("Red", user.world(*low))
    user.host.drag("Red", [user.world(*low), user.world(*high)])
    user.settled()
    [dragged] = user.prompts()
    assert user.controller.editing.placing is None
    assert dice(user.mask()[index], user.truth[KIDNEY][index]) > 0.8
    user.press("undoButton")
    user.settled()
    assert user.prompts() == ()
    user.box(low, high)
    [clicked] = user.prompts()
    assert np.allclose(dragged.corner, clicked.corner, atol=1.5)
    assert np.allclose(dragged.opposite_corner, clicked.opposite_corner, atol=1.5)


def test_mask_grows_by_itself_while_live_is_ticked(user: User) -> None:
    seen: list[int] = []

    def note(_topic: object) -> None:
        filled = [s.index for s in user.controller.review.slices if s.confidence is not None]
        seen.extend(index for index in filled if index not in seen)

    user.press("liveBox")
    remove = user.controller.observe(note)
    try:
        index = user.box_around(KIDNEY)
        user.until(lambda: user.controller.history.undo_label.startswith("Propagate"))
        user.until(lambda: not user.controller.runs.busy)
        user.settled()
    finally:
        remove()
        user.press("liveBox")
    assert seen[0] == index
    assert abs(seen[1] - index) == 1, f"slices came in the order {seen}"
    assert user.mask().any(axis=(1, 2)).sum() > 5
    user.press("undoButton")
    user.settled()
    assert np.flatnonzero(user.mask().any(axis=(1, 2))).tolist() == [index]
    assert not user.controller.runs.busy, "undo starts nothing"
