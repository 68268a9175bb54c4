"""The objects of a session as they are now, with the steps that led there and those that were taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .errors import SessionError
from .history import Command, History
from .prompts import Prompt
from .segment_object import SegmentObject

Change = Callable[[SegmentObject], SegmentObject]


class Timeline:
    """All objects by their number, and one history of all of them.

    Args:
        limit: how many steps are kept.
    """

    def __init__(self, limit: int = 500) -> None:
        self._objects: dict[int, SegmentObject] = {}
        self._history: History[SegmentObject] = History(limit)
        self._next_run = 1

    # -- what there is

    @property
    def objects(self) -> tuple[SegmentObject, ...]:
        """All objects in the order in which they were added."""
        return tuple(self._objects.values())

    def get(self, object_id: int) -> SegmentObject | None:
        """The object with this identifier; None when there is none."""
        return self._objects.get(object_id)

    def object(self, object_id: int) -> SegmentObject:
        """The object with this identifier.

        Raises:
            SessionError: there is none.
        """
        try:
            return self._objects[object_id]
        except KeyError:
            raise SessionError(f"There is no object with the number {object_id!r}.") from None

    # -- steps

    def do(self, command: Command[SegmentObject]) -> None:
        """Do a step, unless it changes nothing."""
        if command.before != command.after:
            self._objects = command.apply(self._objects)
            self._history.push(command)

    def change(self, label: str, after: SegmentObject, run: int | None = None, outside: bool = False) -> None:
        """Change one object as a step; steps of one `run` that follow each other are one."""
        self.do(Command(label, {after.id: self.object(after.id)}, {after.id: after}, run, outside))

    def new_run(self) -> int:
        """A number that makes steps which follow each other one step, such as those of one drag."""
        run, self._next_run = self._next_run, self._next_run + 1
        return run

    def add_to_run(self, run: int, before: SegmentObject, after: SegmentObject) -> None:
        """Make a change part of the run's step if nothing was done to the object since, else a step of its own."""
        if before == after:
            return
        position = self._run_at(run, after.id)
        done = self._history.done
        if position is None or any(later.touches((after.id,)) for later in done[position + 1 :]):
            self.change(f"Propagate {after.name}", after, run)
            return
        if any(command.touches((after.id,)) for command in self._history.undone):
            self._history.forget_undone()
        self._objects[after.id] = after
        self._history.amend(position, after.id, lambda _: after)

    def cancel(self, run: int) -> tuple[int, ...]:
        """Take a run back with all it has brought; `redo` brings that again. Returns the objects that changed.

        What the user did meanwhile to other objects stays. What was done to these objects goes with the run, each as
        a step of its own to redo.
        """
        done = self._history.done
        keys: set[int] = set()
        withdrawn: list[int] = []
        for position, command in enumerate(done):
            if command.run == run or command.touches(keys):
                withdrawn.append(position)
                keys.update(command.after)
        for position in reversed(withdrawn):
            self._objects = self._history.withdraw(position).revert(self._objects)
        if withdrawn:
            self._free_names(frozenset(keys), withdrawn[0])
        return tuple(sorted(keys))

    # -- what is no step

    def put(self, obj: SegmentObject) -> None:
        """Take an object in as if it had always been there."""
        self.make_way(obj.name, obj.id)
        self._objects[obj.id] = obj

    def forget(self, object_id: int) -> bool:
        """Let an object be as if it had never been there, unless a step of the history is about it; says whether."""
        if any(command.touches((object_id,)) for command in (*self._history.done, *self._history.undone)):
            return False
        return self._objects.pop(object_id, None) is not None

    def change_everywhere(self, object_id: int, change: Change) -> None:
        """Change the object as if it had always been so; no step of undo."""
        self._objects[object_id] = change(self.object(object_id))
        self._history.amend(-1, object_id, change)

    def change_all(self, change: Change) -> None:
        """Change all objects as if they had always been so, also those that only the history has."""
        commands = (*self._history.done, *self._history.undone)
        for object_id in {*self._objects, *(key for command in commands for key in command.after)}:
            self._history.amend(-1, object_id, change)
        self._objects = {obj.id: change(obj) for obj in self.objects}

    def amend_prompts(self, object_id: int, index: int, prompts: tuple[Prompt, ...], change: Change) -> None:
        """Let the step that gave a slice these prompts have done `change` as well, whatever was done since."""
        self._objects[object_id] = change(self.object(object_id))
        self._history.amend(self._prompted_at(object_id, index, prompts), object_id, change)

    def make_way(self, name: str, object_id: int) -> None:
        """Give another name to all objects but one that have `name`, now or in the history.

        For a name that comes without a step of undo, such as from the scene: no undo may bring a name twice.
        """
        self._rename_everywhere(name, {key for key, _ in self._known_names()} - {object_id})

    # -- undo

    @property
    def undo_label(self) -> str | None:
        """Return what `undo` would take back, None when there is nothing."""
        return self._history.undo_label

    @property
    def step_count(self) -> int:
        """The number of steps that can be undone."""
        return len(self._history.done)

    @property
    def redo_label(self) -> str | None:
        """Return what `redo` would do again, None when there is nothing."""
        return self._history.redo_label

    @property
    def last_run(self) -> int | None:
        """The run that `undo` would take back, None when the last step is none."""
        done = self._history.done
        return done[-1].run if done else None

    def before_run(self, run: int | None, object_id: int) -> SegmentObject:
        """The object before the last step, where that is one of `run`; else as it is now."""
        done = self._history.done
        before = done[-1].before.get(object_id) if run is not None and self.last_run == run else None
        return self.object(object_id) if before is None else before

    def has_run(self, run: int) -> bool:
        """Return whether a run is among the steps that can be taken back."""
        return self._run_at(run) is not None

    def next_undo(self) -> frozenset[int]:
        """The objects that `undo` would change."""
        done = self._history.done
        return frozenset(done[-1].after) if done else frozenset()

    def before_last_prompt(self, object_id: int) -> SegmentObject | None:
        """The object before the last step that changed its prompts; None when there is none that can be taken back."""
        for command in reversed(self._history.done):
            before, after = command.before.get(object_id), command.after.get(object_id)
            if before is not None and after is not None and before.prompts != after.prompts:
                return before
        return None

    def undo(self) -> Command[SegmentObject] | None:
        """Take back the last step and return it; None when there is nothing to take back."""
        command = self._history.undo()
        if command is not None:
            self._objects = command.revert(self._objects)
        return command

    def redo(self) -> Command[SegmentObject] | None:
        """Do the step again that was taken back last and return it; None when there is none."""
        command = self._history.redo()
        if command is not None:
            self._objects = command.apply(self._objects)
        return command

    def retrace(self, object_id: int, is_same: Callable[[SegmentObject], bool]) -> bool:
        """Undo the last step or redo the next, if it was done outside and brings what `is_same` is true of.

        Returns whether that was done; `is_same` gets the object as the step would leave it.
        """
        done, undone = self._history.done[-1:], self._history.undone[-1:]
        steps = [(each, each.before, self.undo) for each in done] + [
            (each, each.after, self.redo) for each in undone
        ]
        for command, values, step in steps:
            value = values.get(object_id)
            if command.outside and len(values) == 1 and value is not None and is_same(value):
                step()
                return True
        return False

    # -- inside

    def _free_names(self, keys: frozenset[int], position: int) -> None:
        """Give other names to the objects `keys`, whose steps were withdrawn, where others took theirs since.

        Args:
            keys: identifiers of the objects.
            position: of the first step in `done` that follows what was withdrawn.
        """
        taken = {
            value.name
            for command in self._history.done[position:]
            for key, value in command.after.items()
            if value is not None and key not in keys
        }
        for name in sorted(taken & {name for key, name in self._known_names() if key in keys}):
            self._rename_everywhere(name, keys)

    def _known_names(self) -> set[tuple[int, str]]:
        """Identifier and name of all objects, as they are now and at each step of the history."""
        commands = (*self._history.done, *self._history.undone)
        values = [*self.objects]
        for command in commands:
            values += [
                value for value in (*command.before.values(), *command.after.values()) if value is not None
            ]
        return {(value.id, value.name) for value in values}

    def _rename_everywhere(self, name: str, object_ids: Iterable[int]) -> None:
        """Give a new name to those of the objects that are called `name`, now or at some step; no step of undo."""
        known = self._known_names()
        taken = {name, *(other for _, other in known)}
        numbered = (f"{name} ({number})" for number in range(2, len(taken) + 3))
        free = next(each for each in numbered if each not in taken)

        def renamed(obj: SegmentObject) -> SegmentObject:
            return obj.with_fields(name=free) if obj.name == name else obj

        for key in {key for key, other in known if other == name} & {*object_ids}:
            self._history.amend(-1, key, renamed)
            if key in self._objects:
                self._objects[key] = renamed(self._objects[key])

    def _run_at(self, run: int, object_id: int | None = None) -> int | None:
        """The place of the run's last step among those done; with `object_id` of its last step with that object."""
        done = self._history.done
        for place in reversed(range(len(done))):
            if done[place].run == run and (object_id is None or object_id in done[place].after):
                return place
        return None

    def _prompted_at(self, object_id: int, index: int, prompts: tuple[Prompt, ...]) -> int:
        """The place of the step that gave a slice these prompts; -1 when it is forgotten."""
        for place in reversed(range(len(self._history.done))):
            command = self._history.done[place]
            if object_id not in command.after:
                continue
            before = command.before.get(object_id)
            if before is None or before.prompts_on(index) != prompts:
                return place
        return -1
