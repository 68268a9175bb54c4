"""Random users of the module beside other modules on one scene: whatever they do, nothing of theirs is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
from Testing.Actions.driver import Action, check, replay

from .conftest import MrmlScene

pytest.importorskip("slicer", reason="the slicer-core wheel is not installed")
from Testing.Actions.scene_user import SceneUser

pytestmark = pytest.mark.slicer
ACTIONS = 45


class TakingUser(SceneUser):
    """A user whose masks take voxels from other segments most of the time."""

    WEIGHTS: ClassVar[dict[str, int]] = {**SceneUser.WEIGHTS, "overlap": 6, "add": 5, "select": 8}

    def overlap(self, policy: int, _b: int, _c: int, _d: int) -> None:
        self.took = True
        self.controller.network.set_overlap(("visible", "all", "all", "none")[policy % 4])


def check_seeds(mrml: MrmlScene, first: int, count: int, user: type[SceneUser] = SceneUser) -> None:
    SceneUser.mrml = mrml
    for seed in range(first, first + count):
        check(user, user.WEIGHTS, seed, ACTIONS)


def replay_on(mrml: MrmlScene, actions: Sequence[Action], user: type[SceneUser] = SceneUser) -> None:
    SceneUser.mrml = mrml
    replay(user, actions)


@pytest.mark.parametrize("part", range(4))
def test_forty_five_random_actions_on_a_scene_lose_nothing(mrml: MrmlScene, part: int) -> None:
    check_seeds(mrml, 5 * part, 5)


def test_a_second_prompt_on_a_propagated_slice_computes_the_same_after_reopening(mrml: MrmlScene) -> None:
    replay_on(
        mrml,
        [
            ("point", 998, 309, 275, 65),
            ("propagate_all", 102, 441, 492, 188),
            ("point", 507, 202, 644, 886),
            ("settle", 73, 34, 459, 666),
            ("box", 428, 908, 978, 66),
        ],
    )


def test_painting_into_one_of_several_new_segments_is_seen(mrml: MrmlScene) -> None:
    replay_on(
        mrml,
        [
            ("point", 388, 276, 947, 655),
            ("add", 67, 216, 935, 965),
            ("add", 597, 408, 370, 224),
            ("point", 738, 117, 698, 906),
            ("outside_paint", 549, 768, 273, 787),
        ],
    )


def test_masks_take_nothing_from_a_segment_that_was_added_after_them_not_even_by_redo(
    mrml: MrmlScene,
) -> None:
    replay_on(
        mrml,
        [
            ("overlap", 722, 604, 891, 335),
            ("line", 25, 614, 153, 685),
            ("accept", 67, 711, 612, 891),
            ("outside_add", 649, 618, 396, 786),
        ],
        TakingUser,
    )


def test_slices_that_another_module_emptied_are_computed_again(mrml: MrmlScene) -> None:
    replay_on(
        mrml,
        [
            ("box", 889, 503, 71, 424),
            ("outside_paint", 334, 156, 126, 258),
            ("propagate", 526, 764, 492, 791),
            ("reopen", 388, 693, 463, 933),
            ("outside_erase", 133, 433, 624, 355),
        ],
    )


def test_masks_that_take_voxels_give_them_back_whatever_is_done(mrml: MrmlScene) -> None:
    check_seeds(mrml, 1010, 2, TakingUser)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
def test_a_hundred_random_sequences_of_masks_that_take_voxels_give_them_back(
    mrml: MrmlScene, part: int
) -> None:
    check_seeds(mrml, 2000 + 10 * part, 10, TakingUser)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_two_hundred_random_sequences_on_a_scene_lose_nothing(mrml: MrmlScene, part: int) -> None:
    check_seeds(mrml, 10 * part, 10)
