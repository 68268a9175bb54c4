"""An image of one slice, such as a radiograph: prompts and a mask, and nothing to propagate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .user import User, dice, largest

pytestmark = [pytest.mark.slicer, pytest.mark.slow]
KIDNEY = "left_kidney"


def test_one_slice_hides_what_is_about_propagation(
    open_user: Callable[..., User], abdomen: tuple[Any, Any, dict[str, Any]]
) -> None:
    array, matrix, truth = abdomen
    index = largest(truth[KIDNEY])[0]
    moved = np.array(matrix)
    moved[:3, 3] += index * moved[:3, 2]
    alone = {name: mask[[index]] for name, mask in truth.items()}
    user = open_user(array=np.ascontiguousarray(array[[index]]), matrix=moved, truth=alone, live="")
    assert not user.ui.propagateSection.visible
    assert user.ui.boxButton.visible
    user.box_around(KIDNEY)
    user.host.process_events(0.3)
    user.settled()
    assert dice(user.mask(), alone[KIDNEY]) > 0.8
    assert user.controller.history.undo_label == "Add box"
    assert "Propagate" not in user.message
    user.picture("one-slice")
    user.truth = truth
    user.turn_to(user.host.add_volume(array, matrix, name="whole"))
    assert user.ui.propagateSection.visible
    assert user.ui.rangeBox.visible
    assert user.ui.propagateButton.visible
