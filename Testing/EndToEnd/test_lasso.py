"""The lasso by mouse and keys: around the object, and around a part of the background."""

from __future__ import annotations

import numpy as np
import pytest

from .user import User, dice, same

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


def ring(user: User, center: tuple[float, float], radius: tuple[float, float], index: int) -> list:
    """Places (RAS) on an ellipse in voxels (i, j) of a slice."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return [
        user.world(center[0] + radius[0] * np.cos(a), center[1] + radius[1] * np.sin(a), index)
        for a in angles
    ]


def draw(user: User, path: list) -> None:
    user.host.show_slice("Red", path[0])
    user.host.drag("Red", path, steps=1)
    user.settled()


def around(user: User) -> tuple[int, tuple[float, float], tuple[float, float]]:
    """The slice where the kidney is largest, its middle and the radii of an ellipse well around it."""
    truth = user.truth[KIDNEY]
    index = int(truth.sum(axis=(1, 2)).argmax())
    found = np.argwhere(truth[index])
    j, i = found.mean(axis=0)
    high, wide = np.ptp(found, axis=0) / 2 * 1.35
    return index, (float(i), float(j)), (float(wide), float(high))


def test_outline_around_the_organ_gives_its_mask_and_one_around_a_part_takes_that_away(user: User) -> None:
    index, center, radius = around(user)
    user.host.key("O", view="Red")
    user.host.process_events(0.05)
    assert user.ui.lassoButton.checked
    assert "Draw around the object" in user.message
    draw(user, ring(user, center, radius, index))
    assert [prompt.kind for prompt in user.prompts()] == ["lasso"]
    first, truth = user.mask(), user.truth[KIDNEY]
    assert dice(first[index], truth[index]) > 0.8
    assert not first[[at for at in range(len(first)) if at != index]].any()
    user.picture("lasso")
    user.host.key("T", view="Red")
    assert user.ui.scribbleNegative.checked
    corner = (center[0] + radius[0] * 0.55, center[1])
    draw(user, ring(user, corner, (4.0, 4.0), index))
    assert [(prompt.kind, prompt.positive) for prompt in user.prompts()] == [
        ("lasso", True),
        ("lasso", False),
    ]
    after = user.mask()
    j, i = np.mgrid[: after.shape[1], : after.shape[2]]
    inside = (i - corner[0]) ** 2 + (j - corner[1]) ** 2 < 3.0**2
    assert first[index][inside].any()
    assert not after[index][inside].any()
    user.picture("lasso-background")
    user.host.key("Esc", view="Red")
    user.host.process_events(0.05)
    assert not user.ui.lassoButton.checked
    user.press("undoButton")
    user.settled()
    assert same(user.mask(), first)


def test_click_without_an_outline_says_what_to_do_and_the_mouse_is_free_afterwards(user: User) -> None:
    user.press("lassoButton")
    user.host.click("Red", user.world(60, 60, 5))
    user.settled()
    assert "draw a larger outline, with the mouse button held down" in user.message
    assert user.prompts() == () if user.controller.inputs.segment_id else True
    user.press("boxButton")
    user.host.process_events(0.05)
    assert not user.ui.lassoButton.checked
    assert user.ui.boxButton.checked
    user.host.key("Esc", view="Red")
    user.host.process_events(0.05)
