"""What the user has said and accepted about all objects on one volume, with one history for prompts and masks.

A session holds values only and knows neither network nor scene. It belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from ._session_masks import SessionMasks
from .cleanups import Cleanup
from .errors import PromptError, SessionError
from .geometry import SliceAxis
from .history import Command
from .intensity import Window
from .masks import StoredMask
from .prompts import MaskPrompt, ObjectPrompts, Prompt, PromptSet, SliceRef, validate
from .segment_object import SegmentObject


class Session(SessionMasks):
    """All objects on one volume, each with its own slice axis, which is that of its first prompt.

    Every method that changes something is one step of undo, unless it says otherwise.

    Raises:
        SessionError: from every change: an unknown object or slice, a locked object, a name in use.
        PromptError: from every change that brings a prompt which does not fit the volume.
    """

    # -- export

    @property
    def axes(self) -> tuple[SliceAxis, ...]:
        """The slice axes in use, that of the first object first."""
        return tuple(dict.fromkeys(entry.axis for entry in self.objects if entry.axis is not None))

    def prompt_set(
        self,
        window: Window | None = None,
        checkpoint_id: str | None = None,
        checkpoint_sha256: str | None = None,
        tier: str | None = None,
        axis: SliceAxis | None = None,
    ) -> PromptSet:
        """All that is needed to repeat the objects along one axis; accepted and edited masks become mask prompts.

        Objects without prompts go with the first axis in use. With `axis` None there must be one axis at most.
        """
        if axis is None and len(self.axes) > 1:
            raise SessionError(f"The objects lie along {len(self.axes)} slice axes: say which one.")
        first = self.axes[0] if self.axes else axis or SliceAxis.K
        wanted = first if axis is None else axis
        entries = [entry for entry in self.objects if (first if entry.axis is None else entry.axis) == wanted]
        objects = tuple(map(kept_as_prompts, entries))
        cleanups = {entry.cleanup.prompt_set_name for entry in entries}
        cleanup = cleanups.pop() if len(cleanups) == 1 and cleanups != {"none"} else None
        return PromptSet(
            self.geometry, wanted, objects, window, checkpoint_id, checkpoint_sha256, tier, cleanup
        )

    # -- objects

    def add_object(self, name: str, color: tuple[float, float, float]) -> int:
        """Add an object without prompts; returns its identifier."""
        self._check_name(name)
        return self._add(f"Add {name}", [ObjectPrompts(name, color)])[0]

    def adopt_object(self, name: str, color: tuple[float, float, float], locked: bool = False) -> int:
        """Take an object in as if it had always been there, such as a segment of the scene; no step of undo."""
        self._check_name(name)
        entry = SegmentObject(self._next_id, ObjectPrompts(name, color), locked=locked)
        self._make_way(name, entry.id)
        self._next_id += 1
        self._objects[entry.id] = entry
        return entry.id

    def restore_object(
        self,
        said: ObjectPrompts,
        axis: SliceAxis | None,
        masks: Mapping[int, StoredMask],
        *,
        locked: bool = False,
        cleanup: Cleanup | None = None,
        propagations: int = 0,
        pending: Iterable[int] | None = None,
        changed: Iterable[int] | None = None,
        object_id: int | None = None,
    ) -> int:
        """Take an object in as it was saved; no step of undo.

        Args:
            said: with prompts of this volume along `axis`.
            axis: of prompts and masks.
            masks: by slice index.
            locked, cleanup, propagations: as in :class:`SegmentObject`.
            pending: slices that have to be computed by the next propagation; None = all of them.
            changed: slices with other prompts or kept masks than the last propagation began with; None = those pending.
            object_id: its identifier; None = the next one.
        """
        self._check_name(said.name)
        if object_id in self._objects:
            raise SessionError(f"There is an object with the number {object_id} already.")
        if axis is None and not said.prompts:
            said = replace(said, slice_range=None)  # a range counts slices of an axis
        PromptSet(self.geometry, SliceAxis.K if axis is None else axis, (said,))
        rounds = max((prompt.round for prompt in said.prompts), default=0)
        entry = SegmentObject(
            self._next_id if object_id is None else object_id,
            said,
            MappingProxyType(dict(sorted(masks.items()))),
            locked,
            max(propagations, rounds),
            axis=axis,
            cleanup=cleanup or Cleanup(),
        )
        if pending is not None:
            waiting = frozenset(pending)
            others = waiting if changed is None else frozenset(changed)
            known = {index: what for index, what in entry.key_content().items() if index not in others}
            entry = replace(entry, propagated=MappingProxyType(known), unfinished=waiting)
        self._next_id = max(self._next_id, entry.id + 1)
        self._make_way(entry.name, entry.id)
        self._objects[entry.id] = entry
        return entry.id

    def add_objects(self, prompts: PromptSet) -> tuple[int, ...]:
        """Add all objects of a prompt set made on this volume; returns their identifiers."""
        if prompts.geometry != self.geometry:
            raise SessionError("The prompts belong to another volume.")
        for entry in prompts.objects:
            self._check_name(entry.name)
        cleanup = Cleanup.from_prompt_set(prompts.cleanup)
        return self._add("Add prompts", prompts.objects, prompts.axis, cleanup)

    def rename(self, object_id: int, name: str) -> None:
        """Give the object another name."""
        entry = self.object(object_id)
        if name != entry.name:
            self._check_name(name)
        self._change(f"Rename {entry.name}", replace(entry, said=replace(entry.said, name=name)))

    def describe(self, object_id: int, name: str, color: tuple[float, float, float]) -> None:
        """Follow a name and colour that were changed elsewhere, in the past as well; no step of undo."""
        if name != self.object(object_id).name:
            self._check_name(name)
        self._make_way(name, object_id)
        self._change_everywhere(
            object_id, lambda entry: replace(entry, said=replace(entry.said, name=name, color=color))
        )

    def set_locked(self, object_id: int, locked: bool) -> None:
        """Keep prompts and masks of the object from changing, or allow it again."""
        entry = self.object(object_id)
        self._change(f"{'Lock' if locked else 'Unlock'} {entry.name}", replace(entry, locked=locked))

    def set_cleanup(self, object_id: int, cleanup: Cleanup) -> None:
        """Clean the masks of the object, or no more, where they are shown; those kept here stay as they are."""
        entry = self._unlocked(object_id)
        self._change(f"Clean up {entry.name}", replace(entry, cleanup=cleanup))

    def delete_object(self, object_id: int, even_locked: bool = False) -> None:
        """Remove the object with all it has."""
        entry = self.object(object_id) if even_locked else self._unlocked(object_id)
        self._do(Command(f"Delete {entry.name}", {object_id: entry}, {object_id: None}))

    def set_slice_range(self, object_id: int, slice_range: tuple[int, int] | None) -> None:
        """Propagate over these slices only (first and last, inclusive); None for all."""
        entry = self._unlocked(object_id)
        said = replace(entry.said, slice_range=slice_range)
        PromptSet(self.geometry, self._axis(entry), (said,))  # refuses a range beyond the last slice
        self._change("Change the slice range", replace(entry, said=said).with_prompts(said.prompts))

    # -- prompts

    def add_prompt(
        self,
        object_id: int,
        prompt: Prompt,
        ranged: bool = False,
        slice_range: tuple[int, int] | None = None,
    ) -> None:
        """Add a prompt; its round becomes the number of propagations so far.

        With `ranged` the slice range becomes `slice_range` in the same step.
        """
        entry = self._unlocked(object_id)
        along = entry.turned(prompt.slice.axis, self.geometry.shape) if entry.is_free else entry
        fitting = self._fitting(along, prompt)
        after = self._ranged(along, slice_range, fitting) if ranged else along
        self._say(after, f"Add {_kind(prompt)}", (*entry.said.prompts, fitting))

    def replace_prompt(
        self,
        object_id: int,
        position: int,
        prompt: Prompt,
        ranged: bool = False,
        slice_range: tuple[int, int] | None = None,
        run: int | None = None,
    ) -> None:
        """Put another prompt in the place of the one at `position`, such as a point that was moved.

        With `ranged` the slice range becomes `slice_range` in the same step. Steps with the same `run` (from
        :meth:`new_run`) that follow each other are one step: a drag.
        """
        entry = self._unlocked(object_id)
        prompts = list(entry.said.prompts)
        along, rest = entry, entry.with_prompts(())
        if len(prompts) == 1 and rest.is_free and prompt.slice.axis != entry.axis:
            along = rest.turned(prompt.slice.axis, self.geometry.shape)
        fitting = self._fitting(along, prompt)
        prompts[self._position(entry, position)] = fitting
        after = self._ranged(along, slice_range, fitting) if ranged else along
        self._say(after, f"Change {_kind(prompt)}", tuple(prompts), run)

    def remove_prompt(self, object_id: int, position: int) -> None:
        """Remove the prompt at `position`."""
        entry = self._unlocked(object_id)
        prompts = list(entry.said.prompts)
        removed = prompts.pop(self._position(entry, position))
        self._say(entry, f"Remove {_kind(removed)}", tuple(prompts))

    def remove_prompts(self, object_id: int) -> None:
        """Remove all prompts and the slice range of the object."""
        entry = self._unlocked(object_id)
        free = replace(entry, said=replace(entry.said, slice_range=None))
        self._say(free, "Remove prompts", ())

    # -- undo

    @property
    def undo_label(self) -> str | None:
        """What `undo` would take back, None when there is nothing."""
        return self._history.undo_label

    @property
    def step_count(self) -> int:
        """How many steps can be undone."""
        return len(self._history.done)

    @property
    def redo_label(self) -> str | None:
        """What `redo` would do again, None when there is nothing."""
        return self._history.redo_label

    @property
    def last_run(self) -> int | None:
        """The run that `undo` would take back, None when the last step is none."""
        done = self._history.done
        return done[-1].run if done else None

    def has_run(self, run: int) -> bool:
        """Whether a run is among the steps that can be taken back."""
        return self._run_at(run) is not None

    def next_undo(self) -> frozenset[int]:
        """The objects that `undo` would change."""
        done = self._history.done
        return frozenset(done[-1].after) if done else frozenset()

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

    def _add(
        self,
        label: str,
        said: Iterable[ObjectPrompts],
        axis: SliceAxis | None = None,
        cleanup: Cleanup | None = None,
    ) -> tuple[int, ...]:
        added = {}
        for entry in said:
            rounds = max((prompt.round for prompt in entry.prompts), default=0)
            along = axis if entry.prompts or entry.slice_range else None
            added[self._next_id] = SegmentObject(
                self._next_id, entry, propagations=rounds, axis=along, cleanup=cleanup or Cleanup()
            )
            self._next_id += 1
        self._do(Command(label, dict.fromkeys(added), added))
        return tuple(added)

    def _say(
        self, entry: SegmentObject, label: str, prompts: tuple[Prompt, ...], run: int | None = None
    ) -> None:
        self._change(label, entry.with_prompts(prompts), run)

    def _ranged(
        self, entry: SegmentObject, slice_range: tuple[int, int] | None, prompt: Prompt
    ) -> SegmentObject:
        said = replace(entry.said, prompts=(), slice_range=slice_range)
        PromptSet(self.geometry, prompt.slice.axis, (said,))
        return replace(entry, said=replace(entry.said, slice_range=slice_range))

    def _axis(self, entry: SegmentObject) -> SliceAxis:
        self._count(entry)
        assert entry.axis is not None
        return entry.axis

    def _check_name(self, name: str) -> None:
        if any(entry.name == name for entry in self.objects):
            raise SessionError(f"There is an object named {name!r} already.")

    def _fitting(self, entry: SegmentObject, prompt: Prompt) -> Prompt:
        axis = entry.axis
        if axis is not None and prompt.slice.axis != axis:
            said, wanted = prompt.slice.axis.name.lower(), axis.name.lower()
            raise PromptError(f"The prompt is for slice axis {said}, {entry.name!r} is for {wanted}.")
        fitting = replace(prompt, round=entry.propagations)
        validate(fitting, self.geometry)
        return fitting

    def _position(self, entry: SegmentObject, position: int) -> int:
        if not 0 <= position < len(entry.said.prompts):
            raise SessionError(f"{entry.name!r} has {len(entry.said.prompts)} prompts, none at {position}.")
        return position


def kept_as_prompts(entry: SegmentObject) -> ObjectPrompts:
    """What is said about an object, the masks that the user accepted or edited within its range as mask prompts."""
    first, last = entry.said.slice_range or (0, max(entry.masks, default=0))
    kept = [
        MaskPrompt(SliceRef(entry.axis, index), stored.mask.to_array(), stored.round)
        for index, stored in entry.masks.items()
        if entry.axis is not None
        and stored.is_kept
        and not (stored.mask.is_empty and stored.round == 0)
        and first <= index <= last
    ]
    prompts = sorted((*entry.said.prompts, *kept), key=lambda prompt: prompt.round)
    return replace(entry.said, prompts=tuple(prompts))


def _kind(prompt: Prompt) -> str:
    return {"RecistLine": "line", "MaskPrompt": "mask"}.get(
        type(prompt).__name__, type(prompt).__name__.lower()
    )
