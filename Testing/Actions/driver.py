"""Seeded sequences of user actions: played, and shortened to the fewest that still fail.

An action is a name and four whole numbers. What the numbers mean is decided when the action is done, relative to what
there is at that moment, so that a sequence stays valid when actions are deleted from it.

    from Testing.Actions.driver import replay
    from Testing.Actions.core_user import CoreUser
    replay(CoreUser, [("add", 0, 1, 2, 3), ("point", 4, 5, 6, 7)])
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

NUMBERS, HIGHEST = 4, 999
SHRINK_TRIALS = 400
"""How many shorter sequences are tried at most; a failure is then shown as short as it is."""

Action = tuple[str, int, int, int, int]


class User(Protocol):
    """Does actions and raises as soon as something is wrong."""

    WEIGHTS: ClassVar[Mapping[str, int]]

    def do(self, action: Action) -> None:
        """Do one action and check what must hold afterwards."""
        ...

    def finish(self) -> None:
        """Check what must hold at the end of a sequence."""
        ...

    def close(self) -> None:
        """Free what the user holds."""
        ...


@dataclass(frozen=True)
class Failure:
    """Where a sequence failed: the position of the action (its length for the checks at the end) and the reason."""

    position: int
    kind: str
    text: str


def random_actions(weights: Mapping[str, int], seed: int, count: int) -> list[Action]:
    """`count` actions, each name drawn as often as its weight says; the same for the same seed."""
    rng = random.Random(seed)
    names = rng.choices([*weights], [*weights.values()], k=count)
    return [(name, *(rng.randint(0, HIGHEST) for _ in range(NUMBERS))) for name in names]  # type: ignore[misc]


def play(start: Callable[[], User], actions: Sequence[Action]) -> Failure | None:
    """Do all actions with a new user; None when nothing went wrong."""
    user = start()
    done = 0
    try:
        for action in actions:
            user.do(action)
            done += 1
        user.finish()
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is the finding
        return Failure(done, _kind(error), traceback.format_exc())
    finally:
        user.close()
    return None


def shortened(
    start: Callable[[], User], actions: Sequence[Action], failure: Failure, trials: int = SHRINK_TRIALS
) -> tuple[list[Action], Failure]:
    """The sequence without the actions that its failure does not need, and the failure of that one."""
    shortest, reason = [*actions[: failure.position + 1]], failure
    width = max(1, len(shortest) // 2)
    while trials > 0:
        at, deleted = 0, False
        while at < len(shortest) and trials > 0:
            candidate = shortest[:at] + shortest[at + width :]
            found, trials = play(start, candidate), trials - 1
            if found is not None and found.kind == reason.kind:
                shortest, reason, deleted = candidate[: found.position + 1], found, True
            else:
                at += width
        if width == 1 and not deleted:
            break
        width = max(1, width // 2)
    return shortest, reason


def failure_of(start: Callable[[], User], weights: Mapping[str, int], seed: int, count: int) -> str | None:
    """Play a seeded sequence; the shortest failing list of actions, ready to be replayed, or None."""
    actions = random_actions(weights, seed, count)
    failure = play(start, actions)
    if failure is None:
        return None
    shortest, reason = shortened(start, actions, failure)
    listed = "\n".join(f"    {action!r}," for action in shortest)
    return f"seed {seed} fails with these {len(shortest)} actions:\n[\n{listed}\n]\n{reason.text}"


def check(start: Callable[[], User], weights: Mapping[str, int], seed: int, count: int) -> None:
    """Play a seeded sequence; AssertionError with the shortest failing list of actions."""
    text = failure_of(start, weights, seed, count)
    if text is not None:
        raise AssertionError(text)


def replay(start: Callable[[], User], actions: Sequence[Action]) -> None:
    """Do a list of actions again and let its failure through."""
    user = start()
    try:
        for action in actions:
            user.do(action)
        user.finish()
    finally:
        user.close()


def _kind(error: Exception) -> str:
    """What stays the same when a sequence is shortened: the type of the error and the function that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {frames[-1].name}"
