"""Undo and redo: one line of frozen commands over frozen objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Command(Generic[T]):
    """One step of the user: the values it touched, before and after.

    Values are immutable and share what did not change, so that a step costs little more than the change.

    Attributes:
        label: what the user did, for the undo button.
        before, after: by identifier; None where the value did not exist.
        run: a number shared by steps that belong together, such as the results of one propagation; None for a
            step of its own.
        outside: whether it was done outside of the session, such as by another module.
    """

    label: str
    before: Mapping[int, T | None]
    after: Mapping[int, T | None]
    run: int | None = None
    outside: bool = False

    def apply(self, values: Mapping[int, T]) -> dict[int, T]:
        """`values` with the step done."""
        return _with(values, self.after)

    def revert(self, values: Mapping[int, T]) -> dict[int, T]:
        """`values` with the step undone."""
        return _with(values, self.before)

    def followed_by(self, later: Command[T]) -> Command[T]:
        """One command that does what this one and then `later` does."""
        before, after = {**later.before, **self.before}, {**self.after, **later.after}
        return replace(self, before=before, after=after)

    def touches(self, keys: Collection[int]) -> bool:
        """Return whether the step changed one of these values."""
        return any(key in self.after for key in keys)

    def changed(
        self, key: int, change: Callable[[T], T], before: bool = True, after: bool = True
    ) -> Command[T]:
        """The step as it would have been had the value at `key` been `change(value)` before it, after it, or both."""
        return replace(
            self,
            before=self._changed(self.before, key, change) if before else self.before,
            after=self._changed(self.after, key, change) if after else self.after,
        )

    def _changed(
        self, values: Mapping[int, T | None], key: int, change: Callable[[T], T]
    ) -> Mapping[int, T | None]:
        value = values.get(key)
        return values if value is None else {**values, key: change(value)}


class History(Generic[T]):
    """The steps that were done and those that were undone; the oldest are forgotten beyond `limit`."""

    def __init__(self, limit: int = 500) -> None:
        self._done: list[Command[T]] = []
        self._undone: list[Command[T]] = []
        self._limit = limit

    def push(self, command: Command[T]) -> None:
        """Remember a step that was just done; steps of one run that follow each other become one."""
        self._undone.clear()
        if self._done and command.run is not None and self._done[-1].run == command.run:
            self._done[-1] = self._done[-1].followed_by(command)
        else:
            self._done.append(command)
        del self._done[: -self._limit]

    def undo(self) -> Command[T] | None:
        """The step to revert now, None when there is none."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        return self._undone[-1]

    def redo(self) -> Command[T] | None:
        """The step to apply again now, None when there is none."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        return self._done[-1]

    @property
    def done(self) -> tuple[Command[T], ...]:
        """The steps that can be taken back, oldest first."""
        return tuple(self._done)

    @property
    def undone(self) -> tuple[Command[T], ...]:
        """The steps that can be done again, the next one last."""
        return tuple(self._undone)

    def amend(self, position: int, key: int, change: Callable[[T], T]) -> None:
        """Let the step at `position` of `done` have done `change` as well, and carry that through all later steps.

        With a position of -1 the change was there before the oldest step. No step is added, none is forgotten.
        """
        for place in range(max(position, 0), len(self._done)):
            self._done[place] = self._done[place].changed(key, change, before=place > position)
        self._undone = [command.changed(key, change) for command in self._undone]

    def withdraw(self, position: int) -> Command[T]:
        """Take the step at `position` of `done` back on its own: it becomes the one to redo next.

        Only for a step whose values no later step touched.
        """
        command = self._done.pop(position)
        self._undone.append(command)
        return command

    def forget_undone(self) -> None:
        """Let nothing be done again."""
        self._undone.clear()

    @property
    def undo_label(self) -> str | None:
        """Return what `undo` would take back."""
        return self._done[-1].label if self._done else None

    @property
    def redo_label(self) -> str | None:
        """Return what `redo` would do again."""
        return self._undone[-1].label if self._undone else None


def _with(values: Mapping[int, T], changes: Mapping[int, T | None]) -> dict[int, T]:
    merged = {**values, **changes}
    # Sorted, so that an object that comes back takes its old place.
    return {key: value for key, value in sorted(merged.items()) if value is not None}
