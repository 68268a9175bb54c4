"""The commonest tasks by mouse and keys take as many actions as the tutorial says; ten lesions: test_lesions.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from .test_live import limited
from .user import Counted, User, actions_in_tutorial, dice, largest

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


@pytest.fixture
def live(user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """A user with Live ticked, as it is by default, on a computer on which every run is quick enough."""
    limited(monkeypatch, 1e6)
    user.press("liveBox")
    yield user
    user.press("liveBox")


def computed(user: User) -> None:
    user.until(lambda: (user.controller.history.undo_label or "").startswith("Propagate"))
    user.until(lambda: not user.controller.runs.busy)
    user.settled()


def show(user: User, index: int) -> None:
    """Scroll to a slice, which no task counts."""
    user.host.show_slice("Red", user.world(0, 0, index))


def boxed(user: User) -> tuple[Counted, int]:
    """A box around one organ; returns what was done, and the slice of the box."""
    does = Counted(user)
    index, low, high = largest(user.truth[KIDNEY])
    show(user, index)
    does.key("X")
    does.drag(low, high)
    return does, index


def compare(does: Counted, task: str) -> None:
    """As many actions as the tutorial says, and one more, the key for Propagate, without Live."""
    assert does.actions == actions_in_tutorial(task, live=True)
    assert does.actions + 1 == actions_in_tutorial(task, live=False)


def test_one_organ_and_the_correction_of_a_wrong_region(live: User) -> None:
    user = live
    does, index = boxed(user)
    computed(user)
    compare(does, "One organ")
    assert user.dice(KIDNEY) > 0.7
    before, does = user.mask(), Counted(user)
    wrong = index + 2
    show(user, wrong)
    found = np.argwhere(before[wrong])
    j, i = (float(at) for at in found[len(found) // 3])
    does.key("N")
    does.click((i, j, wrong))
    computed(user)
    compare(does, "One wrong region")
    assert not np.array_equal(user.mask()[wrong], before[wrong])


def test_one_organ_without_live(user: User) -> None:
    does, _index = boxed(user)
    user.settled()
    does.key("Ctrl+Return")
    assert user.controller.runs.busy
    computed(user)
    assert does.actions == actions_in_tutorial("One organ", live=False)
    assert user.dice(KIDNEY) > 0.7


def test_a_touching_neighbor_shares_no_voxel(live: User) -> None:
    user = live
    index = boxed(user)[1]
    computed(user)
    first = user.controller.inputs.segment_id
    found = np.argwhere(user.mask()[index])
    (top, left), (bottom, right) = found.min(axis=0).tolist(), found.max(axis=0).tolist()
    wide = right - left
    show(user, index)
    does = Counted(user)
    does.key("E")
    does.key("X")
    does.drag((right - 0.3 * wide, top - 2.0, index), (right + 1.2 * wide, bottom + 2.0, index))
    computed(user)
    compare(does, "A touching neighbor")
    second = user.controller.inputs.segment_id
    assert second != first
    assert not (user.mask(first) & user.mask(second)).any()
    assert user.controller.review.shared_voxels() == ()


def test_export_as_a_label_map(user: User, tmp_path: Path) -> None:
    boxed(user)
    user.settled()
    does, path = Counted(user), tmp_path / "kidney.nii.gz"
    user.host.dialogs.answer(str(path))
    does.choose("exportButton", "NIfTI")
    does.actions += 1  # the name is confirmed
    user.settled()
    assert path.exists()
    assert (
        does.actions == actions_in_tutorial("Export", live=True) == actions_in_tutorial("Export", live=False)
    )
    from MedSAMSlicerLib.io.labels import read_label
    from MedSAMSlicerLib.scene.nodes import volume_geometry

    assert dice(read_label(path, volume_geometry(user.volume)) > 0, user.mask()) == 1.0
    user.host.dialogs.shown.clear()
