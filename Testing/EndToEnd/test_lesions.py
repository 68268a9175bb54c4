"""The lesion round by mouse and keys: ten lesions in twenty actions, each seen, measured and accepted or not."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .user import Counted, Mask, User, actions_in_tutorial, dice

pytestmark = [pytest.mark.slicer, pytest.mark.slow]

SHAPE, SPACING = (14, 112, 112), (1.2, 1.2, 3.0)
CENTERS = [(7, 18 + 25 * (n % 4), 18 + 30 * (n // 4)) for n in range(10)]
"""(k, j, i) of ten lesions on one slice."""
HALF_MM = (7.2, 9.6, 10.5)
"""Half axes in mm along i, j and k."""


def lesion(number: int) -> Mask:
    """(K, J, I) of one lesion."""
    k, j, i = np.indices(SHAPE)
    at = CENTERS[number]
    parts = zip((i, j, k), (at[2], at[1], at[0]), SPACING, HALF_MM, strict=True)
    return np.asarray(sum(((x - c) * mm / half) ** 2 for x, c, mm, half in parts) <= 1.0)


def ten_lesions() -> tuple[Any, Any, dict[str, Mask]]:
    """Ten bright lesions of 14.4 mm x 19.2 mm in a darker organ: voxels (K, J, I), matrix, and each one's mask."""
    truth = {f"Lesion {n + 1}": lesion(n) for n in range(10)}
    everywhere = np.any([*truth.values()], axis=0)
    noise = np.random.default_rng(0).normal(0, 8, SHAPE)
    matrix = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    return np.asarray(np.rint(30 + 110 * everywhere + noise), np.int16), matrix, truth


@pytest.fixture(scope="module")
def organ() -> tuple[Any, Any, dict[str, Mask]]:
    return ten_lesions()


def box(does: Counted, number: int) -> None:
    """Drag a box around a lesion."""
    k, j, i = CENTERS[number]
    wide, high = HALF_MM[0] / SPACING[0] + 1, HALF_MM[1] / SPACING[1] + 1
    does.drag((i - wide, j - high, k), (i + wide, j + high, k))


def rows(user: User) -> list[list[str]]:
    """The list as the panel shows it, once it was measured."""
    table = user.ui.lesionsTable
    user.host.process_events(0.5)
    found = [table.topLevelItem(row) for row in range(table.topLevelItemCount)]
    return [[item.text(column) for column in range(4)] for item in found]


def in_the_middle(user: User, number: int) -> bool:
    """Return whether every slice view shows a lesion in its middle, within two voxels of its own slice."""
    k, j, i = CENTERS[number]
    place = np.array(user.world(i, j, k))
    for name in ("Red", "Green", "Yellow"):
        matrix = user.host.view(name).mrmlSliceNode().GetSliceToRAS()
        middle = np.array([matrix.GetElement(row, 3) for row in range(3)])
        if np.abs(middle - place).max() > 2 * max(SPACING):
            return False
    return True


def test_ten_lesions_are_drawn_computed_seen_and_saved_in_twenty_actions(
    open_user: Any, organ: tuple[Any, Any, dict[str, Mask]], tmp_path: Path
) -> None:
    array, matrix, truth = organ
    user = open_user(array=array, matrix=matrix, truth=truth, window=(250, 80), live="")  # ticked, by default
    assert user.controller.growing.on
    user.host.show_slice("Red", user.world(0, 0, CENTERS[0][0]))
    does = Counted(user)
    does.key("Shift+L")
    assert user.controller.editing.placing.name == "BOX"
    for number in range(10):
        box(does, number)
        assert user.controller.editing.placing.name == "BOX", f"after lesion {number + 1}: {user.message}"
    assert user.names() == [*(f"Lesion {n + 1}" for n in range(10)), "Lesion 11"]
    does.key("Shift+L")
    assert user.names() == [f"Lesion {n + 1}" for n in range(10)], "what was not drawn is no segment"
    user.until(lambda: not user.controller.runs.busy and not user.controller._work.poller.active)
    user.settled()
    assert [row[3] for row in rows(user)] == ["to review"] * 10
    assert in_the_middle(user, 0)
    masks = dict(zip(user.names(), user.controller.inputs.segment_ids, strict=True))
    assert min(dice(user.mask(masks[name]), truth[name]) for name in truth) > 0.7
    does.key("A")
    assert in_the_middle(user, 1)
    user.picture("lesions")
    for step, keys in enumerate(("A", "U", "A", "Del"), start=2):
        does.key(keys)
        user.settled()
        assert in_the_middle(user, step)
    does.key("Shift+A")
    user.settled()
    path = tmp_path / "lesions.csv"
    user.host.dialogs.answer(str(path))
    user.ui.lesionsSection.collapsed = False
    does.press("lesionCsvButton")
    does.actions += 1  # the name is confirmed
    assert does.actions == actions_in_tutorial("Ten lesions", live=True) <= 20
    assert does.actions == actions_in_tutorial("Ten lesions", live=False)
    left = [f"Lesion {n}" for n in (1, 2, 3, 4, 6, 7, 8, 9, 10)]
    with path.open(encoding="utf-8", newline="") as file:
        saved = list(csv.DictReader(file))
    assert [row["name"] for row in saved] == left
    assert [row["state"] for row in saved] == ["doubtful" if n == 2 else "accepted" for n in range(9)]
    volume = 4 / 3 * np.pi * np.prod(HALF_MM) / 1000
    for row in saved:
        assert float(row["volume_ml"]) == pytest.approx(volume, rel=0.35)
        assert float(row["longest_mm"]) == pytest.approx(2 * HALF_MM[1], abs=4)
        assert float(row["perpendicular_mm"]) == pytest.approx(2 * HALF_MM[0], abs=4)
    k, j, i = CENTERS[0]
    place = [float(saved[0][f"center_{axis}"]) for axis in "ras"]
    assert np.allclose(place, user.world(i, j, k), atol=6)
    assert user.host.errors == []


def test_diameters_make_lesions_too_and_a_lesion_can_be_chosen_and_corrected_in_the_list(
    open_user: Any, organ: tuple[Any, Any, dict[str, Mask]]
) -> None:
    array, matrix, truth = organ
    user = open_user(array=array, matrix=matrix, truth=truth, window=(250, 80))
    user.host.show_slice("Red", user.world(0, 0, CENTERS[0][0]))
    user.host.key("Shift+L", view="Red")
    user.host.key("L", view="Red")
    user.host.process_events(0.05)
    assert user.controller.editing.placing.name == "LINE"
    for number in (0, 5):
        k, j, i = CENTERS[number]
        high = HALF_MM[1] / SPACING[1]
        user.host.drag("Red", [user.world(i, j - high, k), user.world(i, j + high, k)])
        user.host.process_events(0.05)
    assert user.controller.editing.placing.name == "LINE"
    user.host.key("Esc", view="Red")
    user.settled()
    user.until(lambda: not user.controller.runs.busy)
    user.settled()
    assert user.names() == ["Lesion 1", "Lesion 2"]
    assert [row[0] for row in rows(user)] == ["Lesion 1", "Lesion 2"]
    table = user.ui.lesionsTable
    table.setCurrentItem(table.topLevelItem(1))
    user.settled()
    assert in_the_middle(user, 5)
    assert user.controller.inputs.segment_id == user.controller.inputs.segment_ids[1]
    user.point((CENTERS[5][2] + 4.0, float(CENTERS[5][1]), CENTERS[5][0]), positive=False)
    user.until(lambda: not user.controller.runs.busy)
    user.settled()
    assert [prompt.kind for prompt in user.prompts()] == ["line", "point"]
    assert user.controller.history.undo_label.startswith("Propagate"), "it was computed again by itself"
    user.host.key("Shift+L", view="Red")
    user.host.process_events(0.05)
    assert user.controller.lesions.step.value == "off"


def test_lesions_are_a_list_again_in_a_scene_that_was_saved_and_opened(
    open_user: Any, organ: tuple[Any, Any, dict[str, Mask]], tmp_path: Path
) -> None:
    array, matrix, truth = organ
    user = open_user(array=array, matrix=matrix, truth=truth, window=(250, 80))
    user.host.show_slice("Red", user.world(0, 0, CENTERS[0][0]))
    does = Counted(user)
    does.key("Shift+L")
    for number in (0, 1):
        box(does, number)
    does.key("Shift+L")
    user.until(lambda: not user.controller.runs.busy and not user.controller._work.poller.active)
    does.key("U")
    user.settled()
    before = rows(user)
    assert [row[3] for row in before] == ["doubtful", "to review"]
    path = tmp_path / "lesions.mrb"
    user.host.save_scene(path)
    user.host.close_scene()
    assert rows(user) == []
    user.host.load_scene(path)
    user.settled()
    user.until(lambda: user.controller.network.state.name == "READY")
    user.settled()
    assert rows(user) == before
