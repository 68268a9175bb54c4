"""Random users of the module beside other modules on one scene: whatever they do, nothing of theirs is lost."""

from __future__ import annotations

import pytest
from Testing.Actions.driver import check

from .conftest import MrmlScene

pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
from Testing.Actions.scene_user import SceneUser

pytestmark = pytest.mark.slicer
ACTIONS = 45


def check_seeds(mrml: MrmlScene, first: int, count: int) -> None:
    SceneUser.mrml = mrml
    for seed in range(first, first + count):
        check(SceneUser, SceneUser.WEIGHTS, seed, ACTIONS)


@pytest.mark.parametrize("part", range(4))
def test_forty_five_random_actions_on_a_scene_lose_nothing(mrml: MrmlScene, part: int) -> None:
    check_seeds(mrml, 5 * part, 5)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_two_hundred_random_sequences_on_a_scene_lose_nothing(mrml: MrmlScene, part: int) -> None:
    check_seeds(mrml, 10 * part, 10)
