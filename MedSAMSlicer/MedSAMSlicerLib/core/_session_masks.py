"""The masks of a session: previews, the user's own, and what propagations bring; with the one history of all steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .errors import SessionError
from .geometry import SliceAxis, VolumeGeometry
from .history import Command, History
from .masks import MaskState, PackedMask, StoredMask
from .moving import Mover, moved_object, mover
from .plan import Track
from .prompts import Prompt
from .segment_object import SegmentObject


class SessionMasks:
    """Objects by their number, their masks, and the history; :class:`~.session.Session` adds what is said of them."""

    def __init__(self, geometry: VolumeGeometry, history_limit: int = 500) -> None:
        self.geometry = geometry
        self._objects: dict[int, SegmentObject] = {}
        self._history: History[SegmentObject] = History(history_limit)
        self._next_id = 1
        self._next_run = 1

    def move(self, geometry: VolumeGeometry) -> Mover:
        """The volume lies elsewhere now, its voxels are the same: prompts go along, also those of the history.

        Returns what moved them; no step of undo.

        Raises:
            SessionError: the volume has another shape.
        """
        if geometry.shape != self.geometry.shape:
            shapes = f"{self.geometry.shape}, not {geometry.shape}"
            raise SessionError(f"The volume has other voxels than the session, which has {shapes}.")
        move = mover(self.geometry, geometry)
        commands = (*self._history.done, *self._history.undone)
        for object_id in {*self._objects, *(key for command in commands for key in command.after)}:
            self._history.amend(-1, object_id, lambda entry: moved_object(entry, move))
        self._objects = {entry.id: moved_object(entry, move) for entry in self.objects}
        self.geometry = geometry
        return move

    # -- what there is

    @property
    def objects(self) -> tuple[SegmentObject, ...]:
        """All objects in the order in which they were added."""
        return tuple(self._objects.values())

    def object(self, object_id: int) -> SegmentObject:
        """The object with this identifier."""
        try:
            return self._objects[object_id]
        except KeyError:
            raise SessionError(f"There is no object with the number {object_id!r}.") from None

    def mask(self, object_id: int, index: int) -> npt.NDArray[np.bool_] | None:
        """The mask of slice `index`, a new bool array (rows, columns), or None."""
        stored = self.object(object_id).masks.get(index)
        return None if stored is None else stored.mask.to_array()

    def pending_tracks(self, object_id: int) -> tuple[Track, ...]:
        """The tracks that a propagation of the object has to compute now."""
        entry = self.object(object_id)
        return entry.pending_tracks(self._count(entry)) if entry.axis is not None else ()

    def pending_key_slices(self, object_id: int) -> tuple[int, ...]:
        """The prompted slices whose own masks a propagation of the object has to compute now."""
        entry = self.object(object_id)
        return entry.pending_key_slices(self._count(entry)) if entry.axis is not None else ()

    def pending_slices(self, object_id: int) -> frozenset[int]:
        """All slices that a propagation of the object has to compute now."""
        entry = self.object(object_id)
        return entry.pending_slices(self._count(entry)) if entry.axis is not None else frozenset()

    # -- masks of the user

    def edit_masks(
        self,
        object_id: int,
        masks: Mapping[int, npt.NDArray[np.bool_]],
        axis: SliceAxis | None = None,
        label: str | None = None,
    ) -> None:
        """Keep masks, bool (rows, columns) by slice, which the user drew.

        Args:
            object_id: of the object.
            masks: by slice index.
            axis: along which the slices are counted; needed only for an object without prompts and masks.
            label: what the user did, for the undo button.
        """
        entry = self._along(self._unlocked(object_id), axis, turning=True)
        edited = {
            index: StoredMask(self._packed(entry, index, mask), MaskState.EDITED, None, entry.propagations)
            for index, mask in masks.items()
        }
        said = f"Edit slice {next(iter(masks))}" if len(masks) == 1 else f"Edit {len(masks)} slices"
        self._change(label or said, entry.with_masks(edited))

    def adopt_masks(
        self, object_id: int, masks: Mapping[int, npt.NDArray[np.bool_]], axis: SliceAxis
    ) -> None:
        """Take masks in that the user made before or elsewhere, as if they had always been there; no step of undo."""
        entry = self._along(self.object(object_id), axis)
        packed = {index: self._packed(entry, index, mask) for index, mask in masks.items()}

        def adopted(value: SegmentObject) -> SegmentObject:
            edited = {
                index: StoredMask(mask, MaskState.EDITED, None, value.propagations)
                for index, mask in packed.items()
            }
            if value.axis not in (None, axis):
                return value.with_voxels(packed, axis, self.geometry.shape)
            return replace(value, axis=axis).with_masks(edited)

        self._change_everywhere(object_id, adopted)

    def accept(self, object_id: int, indices: Iterable[int]) -> None:
        """Keep the masks of these slices as they are; where they are as computed, nothing becomes pending by that."""
        entry = self._unlocked(object_id)
        masks = {index: self._stored(entry, index) for index in indices}
        kept = {
            index: stored
            if stored.state is MaskState.ACCEPTED
            else replace(stored, state=MaskState.ACCEPTED, round=entry.propagations)
            for index, stored in masks.items()
        }
        self._change("Accept slices", entry.accepted(kept))

    def release(self, object_id: int, indices: Iterable[int]) -> None:
        """Let propagations replace the masks of these slices again."""
        entry = self._unlocked(object_id)
        masks = {index: self._stored(entry, index) for index in indices}
        freed = {index: replace(mask, state=MaskState.PREDICTED, round=0) for index, mask in masks.items()}
        self._change("Release slices", entry.with_masks(freed))

    def restore_masks(self, object_id: int, before: SegmentObject, label: str) -> None:
        """Bring back the masks that the object had as `before`, but for slices that the user keeps; one step."""
        entry = self._unlocked(object_id)
        nothing = StoredMask(self._empty(entry))
        indices = (entry.masks.keys() | before.masks.keys()) - entry.kept_slices
        changed = {index: before.masks.get(index, nothing) for index in sorted(indices)}
        self._change(label, entry.with_masks(changed))

    # -- previews

    def pending_previews(self, object_id: int) -> tuple[int, ...]:
        """Slices of the object whose prompts were neither propagated nor previewed as they are now."""
        return self.object(object_id).pending_previews()

    def apply_preview(
        self,
        object_id: int,
        index: int,
        prompts: tuple[Prompt, ...],
        mask: npt.NDArray[np.bool_],
        confidence: float | None = None,
    ) -> bool:
        """Show the mask, bool (rows, columns), that `prompts` draw on a slice, until it is propagated.

        The preview belongs to the step that gave the prompts, whatever was done since: one undo takes both back. It
        comes too late, and False is returned, when the prompts of the slice are others by now, the mask is the user's
        own, or the object is locked or gone.
        """
        entry = self._objects.get(object_id)
        if entry is None or entry.prompts_on(index) != prompts or not prompts:
            return False
        stored = StoredMask(self._packed(entry, index, mask), MaskState.PREDICTED, confidence)
        seen = entry.masks.get(index)

        def previewed(value: SegmentObject) -> SegmentObject:
            return value.with_preview(index, prompts, seen, stored)

        if previewed(entry) is entry:
            return False
        self._objects[object_id] = previewed(entry)
        self._history.amend(self._said_at(object_id, index, prompts), object_id, previewed)
        return True

    # -- propagation

    def begin_propagation(self, *object_ids: int, anew: bool = False) -> int:
        """Say that what is pending of these objects is now computed; returns the run its results belong to.

        With `anew` every slice counts as pending but the user's own, as after a change of the network.
        """
        entries = [self._unlocked(object_id) for object_id in object_ids]
        run = self.new_run()
        label = "Propagate " + ", ".join(entry.name for entry in entries)
        after = {entry.id: entry.begun(run, self._count(entry), anew) for entry in entries}
        self._do(Command(label, {entry.id: entry for entry in entries}, after, run))
        return run

    def apply_predictions(
        self,
        run: int,
        object_id: int,
        masks: Mapping[int, npt.NDArray[np.bool_]],
        confidences: Mapping[int, float] | None = None,
    ) -> tuple[int, ...]:
        """Store what a run found, bool (rows, columns) by slice index, and say which slices took it.

        Slices the user accepted or edited keep their masks. An object that was locked, deleted or propagated anew
        meanwhile takes nothing, nor does one whose propagation was undone. All results of a run are one step of
        undo together with its begin, unless the user did something else to the object in between.
        """
        entry = self._awaiting(run, object_id)
        if entry is None:
            return ()
        packed = {index: self._packed(entry, index, mask) for index, mask in masks.items()}
        said = confidences or {}
        taken = {
            index: StoredMask(mask, MaskState.PREDICTED, said.get(index))
            for index, mask in sorted(packed.items())
            if index not in entry.kept_slices
        }
        self._add_to_run(run, entry, entry.with_masks(taken))
        return tuple(taken)

    def end_propagation(self, run: int, object_id: int) -> tuple[int, ...]:
        """Say that a run is complete: where it brought no mask the object is gone. Returns those slices.

        Not to be called for a run that was cancelled: what it has not brought then stays pending.
        """
        entry = self._awaiting(run, object_id)
        if entry is None:
            return ()
        gone = tuple(sorted(entry.unfinished - entry.kept_slices))
        emptied = entry.with_masks(dict.fromkeys(gone, StoredMask(self._empty(entry))))
        self._add_to_run(run, entry, replace(emptied, unfinished=frozenset()))
        return gone

    def cancel_propagation(self, run: int) -> tuple[int, ...]:
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

    def new_run(self) -> int:
        """A number that makes steps which follow each other one step, such as those of one drag."""
        run, self._next_run = self._next_run, self._next_run + 1
        return run

    # -- inside

    def _make_way(self, name: str, object_id: int) -> None:
        """Give another name to all objects but one that have `name`, now or in the history.

        For a name that comes without a step of undo, such as from the scene: no undo may bring a name twice.
        """
        self._rename_everywhere(name, {key for key, _ in self._known_names()} - {object_id})

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

        def renamed(entry: SegmentObject) -> SegmentObject:
            return replace(entry, said=replace(entry.said, name=free)) if entry.name == name else entry

        for key in {key for key, other in known if other == name} & {*object_ids}:
            self._history.amend(-1, key, renamed)
            if key in self._objects:
                self._objects[key] = renamed(self._objects[key])

    def _do(self, command: Command[SegmentObject]) -> None:
        if command.before != command.after:
            self._objects = command.apply(self._objects)
            self._history.push(command)

    def _change(self, label: str, after: SegmentObject, run: int | None = None) -> None:
        self._do(Command(label, {after.id: self.object(after.id)}, {after.id: after}, run))

    def _change_everywhere(self, object_id: int, change: Callable[[SegmentObject], SegmentObject]) -> None:
        """Change the object as if it had always been so; no step of undo."""
        self._objects[object_id] = change(self.object(object_id))
        self._history.amend(-1, object_id, change)

    def _add_to_run(self, run: int, before: SegmentObject, after: SegmentObject) -> None:
        """Make a change part of the run's step if nothing was done to the object since, else a step of its own."""
        if before == after:
            return
        position = self._run_at(run, after.id)
        done = self._history.done
        if position is None or any(later.touches((after.id,)) for later in done[position + 1 :]):
            self._change(f"Propagate {after.name}", after, run)
            return
        if any(command.touches((after.id,)) for command in self._history.undone):
            self._history.forget_undone()
        self._objects[after.id] = after
        self._history.amend(position, after.id, lambda _: after)

    def _run_at(self, run: int, object_id: int | None = None) -> int | None:
        """The place of the run's last step among those done; with `object_id` of its last step with that object."""
        done = self._history.done
        for place in reversed(range(len(done))):
            if done[place].run == run and (object_id is None or object_id in done[place].after):
                return place
        return None

    def _said_at(self, object_id: int, index: int, prompts: tuple[Prompt, ...]) -> int:
        """The place of the step that gave a slice these prompts; -1 when it is forgotten."""
        for place in reversed(range(len(self._history.done))):
            command = self._history.done[place]
            if object_id not in command.after:
                continue
            before = command.before.get(object_id)
            if before is None or before.prompts_on(index) != prompts:
                return place
        return -1

    def _awaiting(self, run: int, object_id: int) -> SegmentObject | None:
        entry = self._objects.get(object_id)
        return entry if entry is not None and entry.run == run and not entry.locked else None

    def _unlocked(self, object_id: int) -> SegmentObject:
        entry = self.object(object_id)
        if entry.locked:
            raise SessionError(f"{entry.name!r} is locked.")
        return entry

    def _along(self, entry: SegmentObject, axis: SliceAxis | None, turning: bool = False) -> SegmentObject:
        """The object with its slice axis, or with `axis` where it has none; `turning` one that is free for another."""
        if entry.axis is None and axis is None:
            raise SessionError(f"{entry.name!r} has no slice axis yet: give it a prompt first.")
        if axis is not None and turning and entry.is_free:
            entry = entry.turned(axis, self.geometry.shape)
        if axis is not None and entry.axis not in (None, axis):
            raise SessionError(f"{entry.name!r} has slice axis {_letter(entry.axis)}, not {_letter(axis)}.")
        return replace(entry, axis=entry.axis if axis is None else axis)

    def _count(self, entry: SegmentObject) -> int:
        if entry.axis is None:
            raise SessionError(f"Nothing was said about {entry.name!r} yet.")
        return self.geometry.slice_count(entry.axis)

    def _stored(self, entry: SegmentObject, index: int) -> StoredMask:
        if index not in entry.masks:
            raise SessionError(f"{entry.name!r} has no mask on slice {index}.")
        return entry.masks[index]

    def _empty(self, entry: SegmentObject) -> PackedMask:
        self._count(entry)
        assert entry.axis is not None
        return PackedMask.from_array(np.zeros(self.geometry.slice_shape(entry.axis), dtype=np.bool_))

    def _packed(self, entry: SegmentObject, index: int, mask: npt.NDArray[np.bool_]) -> PackedMask:
        last = self._count(entry) - 1
        if not 0 <= index <= last:
            raise SessionError(f"Slice {index} does not exist: there are slices 0 to {last}.")
        packed = PackedMask.from_array(np.asarray(mask))
        assert entry.axis is not None
        wanted = self.geometry.slice_shape(entry.axis)
        if packed.shape != wanted:
            raise SessionError(f"The mask of slice {index} has shape {packed.shape}, the slice {wanted}.")
        return packed


def _letter(axis: SliceAxis | None) -> str:
    return "none" if axis is None else axis.name.lower()
