"""Random users of the module beside other modules on one scene: whatever they do, nothing of theirs is lost."""

from __future__ import annotations

import pytest
from Testing.Actions.driver import check, replay

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


def test_a_second_prompt_on_a_propagated_slice_computes_the_same_after_reopening(mrml: MrmlScene) -> None:
    SceneUser.mrml = mrml
    replay(
        SceneUser,
        [
            ("point", 998, 309, 275, 65),
            ("propagate_all", 102, 441, 492, 188),
            ("point", 507, 202, 644, 886),
            ("settle", 73, 34, 459, 666),
            ("box", 428, 908, 978, 66),
        ],
    )


def test_painting_into_one_of_several_new_segments_is_seen(mrml: MrmlScene) -> None:
    SceneUser.mrml = mrml
    replay(
        SceneUser,
        [
            ("point", 388, 276, 947, 655),
            ("add", 67, 216, 935, 965),
            ("add", 597, 408, 370, 224),
            ("point", 738, 117, 698, 906),
            ("outside_paint", 549, 768, 273, 787),
        ],
    )


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_two_hundred_random_sequences_on_a_scene_lose_nothing(mrml: MrmlScene, part: int) -> None:
    check_seeds(mrml, 10 * part, 10)
