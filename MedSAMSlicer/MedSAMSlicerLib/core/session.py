"""What the user has said and accepted about all objects on one volume, with one history for prompts and masks.

A session holds values only and knows neither network nor scene. It belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .errors import PromptError, SessionError
from .geometry import SliceAxis, VolumeGeometry
from .history import Command, History
from .intensity import Window
from .masks import MaskState, PackedMask, StoredMask
from .plan import Track
from .prompts import MaskPrompt, ObjectPrompts, Prompt, PromptSet, SliceRef, validate
from .segment_object import SegmentObject


class Session:
    """All objects on one volume. Every method that changes something is one step of undo.

    Raises:
        SessionError: from every change: an unknown object or slice, a locked object, a name in use.
        PromptError: from every change that brings a prompt which does not fit the volume.
    """

    def __init__(
        self, geometry: VolumeGeometry, axis: SliceAxis = SliceAxis.K, history_limit: int = 500
    ) -> None:
        self.geometry = geometry
        self.axis = SliceAxis(axis)
        self._objects: dict[int, SegmentObject] = {}
        self._history: History[SegmentObject] = History(history_limit)
        self._next_id = 1
        self._next_run = 1

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
        return self.object(object_id).pending_tracks(self.geometry.slice_count(self.axis))

    def pending_key_slices(self, object_id: int) -> tuple[int, ...]:
        """The prompted slices whose own masks a propagation of the object has to compute now."""
        return self.object(object_id).pending_key_slices()

    def prompt_set(
        self,
        window: Window | None = None,
        checkpoint_id: str | None = None,
        checkpoint_sha256: str | None = None,
        tier: str | None = None,
    ) -> PromptSet:
        """All that is needed to repeat the session; accepted and edited masks become mask prompts."""
        objects = tuple(self._with_kept_masks(entry) for entry in self.objects)
        return PromptSet(self.geometry, self.axis, objects, window, checkpoint_id, checkpoint_sha256, tier)

    # -- objects

    def add_object(self, name: str, color: tuple[float, float, float]) -> int:
        """Add an object without prompts; returns its identifier."""
        self._check_name(name)
        return self._add(f"Add {name}", [ObjectPrompts(name, color)])[0]

    def add_objects(self, prompts: PromptSet) -> tuple[int, ...]:
        """Add all objects of a prompt set made on this volume and axis; returns their identifiers."""
        if prompts.geometry != self.geometry or prompts.axis != self.axis:
            raise SessionError("The prompts belong to another volume or slice axis.")
        for entry in prompts.objects:
            self._check_name(entry.name)
        return self._add("Add prompts", prompts.objects)

    def rename(self, object_id: int, name: str) -> None:
        """Give the object another name."""
        entry = self.object(object_id)
        if name != entry.name:
            self._check_name(name)
        self._change(f"Rename {entry.name}", replace(entry, said=replace(entry.said, name=name)))

    def recolor(self, object_id: int, color: tuple[float, float, float]) -> None:
        """Give the object another colour, red, green and blue in 0..1."""
        entry = self.object(object_id)
        self._change(f"Recolour {entry.name}", replace(entry, said=replace(entry.said, color=color)))

    def set_locked(self, object_id: int, locked: bool) -> None:
        """Keep prompts and masks of the object from changing, or allow it again."""
        entry = self.object(object_id)
        self._change(f"{'Lock' if locked else 'Unlock'} {entry.name}", replace(entry, locked=locked))

    def delete_object(self, object_id: int) -> None:
        """Remove the object with all it has."""
        entry = self._unlocked(object_id)
        self._do(Command(f"Delete {entry.name}", {object_id: entry}, {object_id: None}))

    def set_slice_range(self, object_id: int, slice_range: tuple[int, int] | None) -> None:
        """Propagate over these slices only (first and last, inclusive); None for all."""
        entry = self._unlocked(object_id)
        said = replace(entry.said, slice_range=slice_range)
        PromptSet(self.geometry, self.axis, (said,))  # refuses a range beyond the last slice
        self._change("Change the slice range", replace(entry, said=said))

    # -- prompts

    def add_prompt(self, object_id: int, prompt: Prompt) -> None:
        """Add a prompt; its round becomes the number of propagations so far."""
        entry = self._unlocked(object_id)
        fitting = self._fitting(entry, prompt)
        self._say(entry, f"Add {_kind(prompt)}", (*entry.said.prompts, fitting))

    def replace_prompt(self, object_id: int, position: int, prompt: Prompt) -> None:
        """Put another prompt in the place of the one at `position`, such as a point that was moved."""
        entry = self._unlocked(object_id)
        fitting = self._fitting(entry, prompt)
        prompts = list(entry.said.prompts)
        prompts[self._position(entry, position)] = fitting
        self._say(entry, f"Change {_kind(prompt)}", tuple(prompts))

    def remove_prompt(self, object_id: int, position: int) -> None:
        """Remove the prompt at `position`."""
        entry = self._unlocked(object_id)
        prompts = list(entry.said.prompts)
        removed = prompts.pop(self._position(entry, position))
        self._say(entry, f"Remove {_kind(removed)}", tuple(prompts))

    # -- masks

    def edit_mask(self, object_id: int, index: int, mask: npt.NDArray[np.bool_]) -> None:
        """Keep `mask`, bool (rows, columns), which the user drew on slice `index`."""
        entry = self._unlocked(object_id)
        edited = StoredMask(self._packed(index, mask), MaskState.EDITED, None, entry.propagations)
        self._change(f"Edit slice {index}", entry.with_masks({index: edited}))

    def accept(self, object_id: int, indices: Iterable[int]) -> None:
        """Keep the masks of these slices as they are."""
        entry = self._unlocked(object_id)
        masks = {index: self._stored(entry, index) for index in indices}
        kept = {
            index: stored
            if stored.state is MaskState.ACCEPTED
            else replace(stored, state=MaskState.ACCEPTED, round=entry.propagations)
            for index, stored in masks.items()
        }
        self._change("Accept slices", entry.with_masks(kept))

    def release(self, object_id: int, indices: Iterable[int]) -> None:
        """Let propagations replace the masks of these slices again."""
        entry = self._unlocked(object_id)
        masks = {index: self._stored(entry, index) for index in indices}
        freed = {index: replace(mask, state=MaskState.PREDICTED, round=0) for index, mask in masks.items()}
        self._change("Release slices", entry.with_masks(freed))

    def begin_propagation(self, *object_ids: int) -> int:
        """Say that what is pending of these objects is now computed; returns the run its results belong to."""
        entries = [self._unlocked(object_id) for object_id in object_ids]
        run, self._next_run = self._next_run, self._next_run + 1
        count = self.geometry.slice_count(self.axis)
        label = "Propagate " + ", ".join(entry.name for entry in entries)
        after = {entry.id: entry.begun(run, count) for entry in entries}
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
        undo together with its begin, unless the user did something else in between.
        """
        packed = {index: self._packed(index, mask) for index, mask in masks.items()}
        entry = self._awaiting(run, object_id)
        if entry is None:
            return ()
        said = confidences or {}
        taken = {
            index: StoredMask(mask, MaskState.PREDICTED, said.get(index))
            for index, mask in sorted(packed.items())
            if index not in entry.kept_slices
        }
        self._change(f"Propagate {entry.name}", entry.with_masks(taken), run)
        return tuple(taken)

    def end_propagation(self, run: int, object_id: int) -> tuple[int, ...]:
        """Say that a run is complete: where it brought no mask the object is gone. Returns those slices.

        Not to be called for a run that was cancelled: what it has not brought then stays pending.
        """
        entry = self._awaiting(run, object_id)
        if entry is None:
            return ()
        nothing = PackedMask.from_array(np.zeros(self.geometry.slice_shape(self.axis), dtype=np.bool_))
        gone = tuple(sorted(entry.unfinished - entry.kept_slices))
        emptied = entry.with_masks(dict.fromkeys(gone, StoredMask(nothing)))
        self._change(f"Propagate {entry.name}", replace(emptied, unfinished=frozenset()), run)
        return gone

    # -- undo

    @property
    def undo_label(self) -> str | None:
        """What `undo` would take back, None when there is nothing."""
        return self._history.undo_label

    @property
    def redo_label(self) -> str | None:
        """What `redo` would do again, None when there is nothing."""
        return self._history.redo_label

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

    # -- inside

    def _do(self, command: Command[SegmentObject]) -> None:
        if command.before != command.after:
            self._objects = command.apply(self._objects)
            self._history.push(command)

    def _change(self, label: str, after: SegmentObject, run: int | None = None) -> None:
        self._do(Command(label, {after.id: self.object(after.id)}, {after.id: after}, run))

    def _add(self, label: str, said: Iterable[ObjectPrompts]) -> tuple[int, ...]:
        added = {}
        for entry in said:
            rounds = max((prompt.round for prompt in entry.prompts), default=0)
            added[self._next_id] = SegmentObject(self._next_id, entry, propagations=rounds)
            self._next_id += 1
        self._do(Command(label, dict.fromkeys(added), added))
        return tuple(added)

    def _say(self, entry: SegmentObject, label: str, prompts: tuple[Prompt, ...]) -> None:
        self._change(label, replace(entry, said=replace(entry.said, prompts=prompts)))

    def _awaiting(self, run: int, object_id: int) -> SegmentObject | None:
        entry = self._objects.get(object_id)
        return entry if entry is not None and entry.run == run and not entry.locked else None

    def _unlocked(self, object_id: int) -> SegmentObject:
        entry = self.object(object_id)
        if entry.locked:
            raise SessionError(f"{entry.name!r} is locked.")
        return entry

    def _check_name(self, name: str) -> None:
        if any(entry.name == name for entry in self.objects):
            raise SessionError(f"There is an object named {name!r} already.")

    def _fitting(self, entry: SegmentObject, prompt: Prompt) -> Prompt:
        if prompt.slice.axis != self.axis:
            said, wanted = prompt.slice.axis.name.lower(), self.axis.name.lower()
            raise PromptError(f"The prompt is for slice axis {said}, the session for {wanted}.")
        fitting = replace(prompt, round=entry.propagations)
        validate(fitting, self.geometry)
        return fitting

    def _position(self, entry: SegmentObject, position: int) -> int:
        if not 0 <= position < len(entry.said.prompts):
            raise SessionError(f"{entry.name!r} has {len(entry.said.prompts)} prompts, none at {position}.")
        return position

    def _stored(self, entry: SegmentObject, index: int) -> StoredMask:
        if index not in entry.masks:
            raise SessionError(f"{entry.name!r} has no mask on slice {index}.")
        return entry.masks[index]

    def _packed(self, index: int, mask: npt.NDArray[np.bool_]) -> PackedMask:
        last = self.geometry.slice_count(self.axis) - 1
        if not 0 <= index <= last:
            raise SessionError(f"Slice {index} does not exist: there are slices 0 to {last}.")
        packed = PackedMask.from_array(np.asarray(mask))
        wanted = self.geometry.slice_shape(self.axis)
        if packed.shape != wanted:
            raise SessionError(f"The mask of slice {index} has shape {packed.shape}, the slice {wanted}.")
        return packed

    def _with_kept_masks(self, entry: SegmentObject) -> ObjectPrompts:
        kept = [
            MaskPrompt(SliceRef(self.axis, index), stored.mask.to_array(), stored.round)
            for index, stored in entry.masks.items()
            if stored.is_kept and not (stored.mask.is_empty and stored.round == 0)
        ]
        prompts = sorted((*entry.said.prompts, *kept), key=lambda prompt: prompt.round)
        return replace(entry.said, prompts=tuple(prompts))


def _kind(prompt: Prompt) -> str:
    return {"RecistLine": "line", "MaskPrompt": "mask"}.get(
        type(prompt).__name__, type(prompt).__name__.lower()
    )
