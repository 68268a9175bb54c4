"""Random users of the session: whatever they do, nothing of theirs is lost."""

from __future__ import annotations

import pytest

from MedSAMSlicerLib.core.timeline import Timeline

from .core_user import CoreUser
from .driver import check, play, random_actions, shortened

ACTIONS = 60
TENTHS = 10


def check_seeds(first: int, count: int) -> None:
    for seed in range(first, first + count):
        check(CoreUser, CoreUser.WEIGHTS, seed, ACTIONS)


@pytest.mark.parametrize("tenth", range(2))
def test_sixty_random_actions_on_a_session_lose_nothing(tenth: int) -> None:
    check_seeds(50 * tenth, 50)


@pytest.mark.soak
@pytest.mark.parametrize("tenth", range(TENTHS))
def test_a_thousand_random_sequences_on_a_session_lose_nothing(tenth: int) -> None:
    check_seeds(100 * tenth, 1000 // TENTHS)


class _OneObjectARun(Timeline):
    """A history with a fault: late results of a run are noted at its last step, whichever object that has."""

    def _run_at(self, run: int, object_id: int | None = None) -> int | None:
        return super()._run_at(run)


class _FaultyUser(CoreUser):
    def __init__(self) -> None:
        super().__init__()
        self.session._timeline = _OneObjectARun()


def test_a_fault_of_the_history_is_found_and_shortened() -> None:
    often = {**CoreUser.WEIGHTS, "start": 0, "reach": 0}  # after which a run has less to bring
    for seed in range(60):
        actions = random_actions(often, seed, ACTIONS)
        failure = play(_FaultyUser, actions)
        if failure is not None:
            break
    assert failure is not None
    shortest, reason = shortened(_FaultyUser, actions, failure)
    assert reason.kind == failure.kind
    assert len(shortest) <= 12
    assert play(CoreUser, shortest) is None
