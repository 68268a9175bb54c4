"""LiteMedSAM, which remembers no slice, carries one box through a whole CT; clicks cannot begin a mask with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .user import Counted, User, largest

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"
MINUTES = 8  # two seconds a slice, and much more on a computer that is busy


def test_one_box_segments_the_whole_ct_with_litemedsam(
    open_user: Callable[..., User], abdomen: tuple[Any, Any, dict[str, Any]]
) -> None:
    array, matrix, truth = abdomen
    matrix = matrix @ np.diag([1.0, 1.0, 2.0, 1.0])  # every second slice
    user = open_user(
        array=np.ascontiguousarray(array[::2]),
        matrix=matrix,
        truth={name: mask[::2] for name, mask in truth.items()},
    )
    user.controller.network.set_checkpoint("litemedsam")
    user.ready()
    assert not user.ui.positiveButton.enabled
    assert "This network accepts only boxes" in user.ui.positiveButton.toolTip
    index, low, high = largest(user.truth[KIDNEY])
    user.host.show_slice("Red", user.world(0, 0, index))
    does = Counted(user)
    does.key("X")
    does.drag(low, high)
    user.settled()
    does.key("Ctrl+Return")
    assert user.controller.runs.busy
    user.until(lambda: not user.controller.runs.busy, 60 * MINUTES)
    user.settled()
    user.picture("litemedsam")
    assert user.dice(KIDNEY) > 0.7
    held = user.truth[KIDNEY].any(axis=(1, 2))
    found = user.mask().any(axis=(1, 2))
    assert found[held].mean() > 0.85
    assert np.count_nonzero(found[~held]) <= 3, "it ends where the kidney ends"
