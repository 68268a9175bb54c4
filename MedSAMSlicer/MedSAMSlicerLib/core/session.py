"""The prompts and masks of all objects on one volume, with one history for both.

A session holds values only and knows neither network nor scene. It belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from . import fitting
from .cleanups import RAW, Cleanup
from .errors import SessionError
from .fitting import SliceRange
from .geometry import SliceAxis, VolumeGeometry
from .history import Command
from .intensity import Window
from .masks import MaskState, PackedMask, StoredMask, edited_masks, predicted_mask
from .moving import Mover, moved_object, mover
from .overlap import BEFORE_ALL, Claim, Claims
from .prompts import ObjectPrompts, Prompt, PromptSet
from .segment_object import KeyContent, SegmentObject, all_prompts_of
from .start import Start
from .timeline import Timeline

SliceArrays = Mapping[int, npt.NDArray[np.bool_]]
"""Masks, bool (rows, columns), by slice index."""


class Session:
    """All objects on one volume, each with its own slice axis, which is that of its first prompt.

    Every method that changes something is one step of undo, unless it says otherwise.

    Raises:
        SessionError: from every change: an unknown object or slice, a locked object, a name in use.
        PromptError: from every change that brings a prompt which does not fit the volume.
    """

    def __init__(self, geometry: VolumeGeometry, history_limit: int = 500) -> None:
        self.geometry = geometry
        self._timeline = Timeline(history_limit)
        self._next_id = 1
        self.claims = Claims()

    def move(self, geometry: VolumeGeometry) -> Mover:
        """The volume lies elsewhere now, its voxels are the same: prompts move with it, those of the history, too.

        Returns what moved them; no step of undo.

        Raises:
            SessionError: the volume has another shape.
        """
        if geometry.shape != self.geometry.shape:
            shapes = f"{self.geometry.shape}, not {geometry.shape}"
            raise SessionError(f"The volume has other voxels than the session, which has {shapes}.")
        move = mover(self.geometry, geometry)
        self._timeline.change_all(lambda obj: moved_object(obj, move))
        self.geometry = geometry
        return move

    # -- what there is

    @property
    def objects(self) -> tuple[SegmentObject, ...]:
        """All objects in the order in which they were added."""
        return self._timeline.objects

    def object(self, object_id: int) -> SegmentObject:
        """The object with this identifier."""
        return self._timeline.object(object_id)

    def mask(self, object_id: int, index: int) -> npt.NDArray[np.bool_] | None:
        """The mask of slice `index`, a new bool array (rows, columns), or None."""
        masks = self.object(object_id).masks
        return masks[index].mask.to_array() if index in masks else None

    def pending_slices(self, object_id: int) -> frozenset[int]:
        """All slices that a propagation of the object has to compute now."""
        obj = self.object(object_id)
        return (
            obj.pending_slices(fitting.count_of(obj, self.geometry)) if obj.axis is not None else frozenset()
        )

    def change(
        self,
        object_id: int,
        label: str,
        change: Callable[[SegmentObject], SegmentObject],
        run: int | None = None,
    ) -> None:
        """Make one change to an object that is not locked as a step; steps of one `run` in a row are one."""
        self._timeline.change(label, change(self._unlocked(object_id)), run)

    # -- masks of the user

    def edit_masks(
        self,
        object_id: int,
        masks: SliceArrays,
        axis: SliceAxis | None = None,
        label: str | None = None,
        lost: Collection[int] = (),
        prompts: Sequence[Prompt] = (),
        outside: bool = False,
    ) -> None:
        """Keep masks, bool (rows, columns) by slice, which the user drew.

        Where they were drawn outside of the session and are what undo or redo of the last such step would bring, that
        step is undone or done again instead.

        Args:
            object_id: of the object.
            masks: by slice index.
            axis: along which the slices are counted; needed only for an object without prompts and masks.
            label: what the user did, for the undo button.
            lost: slices whose masks are gone and that the user has not drawn: they are computed again.
            prompts: those that led to the masks, which the object gets in the same step; those along another slice
                axis are left out.
            outside: whether the masks were drawn outside of the session, such as by another module.
        """
        if outside and not prompts and self._retrace(object_id, masks, lost):
            return
        obj = fitting.along(self._unlocked(object_id), self.geometry, axis, turning=True).without_masks(lost)
        fitted = [
            fitting.fitting_prompt(obj, self.geometry, each)
            for each in prompts
            if each.slice.axis == obj.axis
        ]
        packed = {
            index: fitting.packed_mask(obj, self.geometry, index, mask) for index, mask in masks.items()
        }
        edited = edited_masks(obj.masks, packed, obj.propagations, self.claims)
        changed = [*masks, *lost]
        default_label = f"Edit slice {changed[0]}" if len(changed) == 1 else f"Edit {len(changed)} slices"
        after = obj.with_prompts((*obj.prompts, *fitted)) if fitted else obj
        self._timeline.change(label or default_label, after.with_masks(edited), outside=outside)

    def _retrace(self, object_id: int, masks: SliceArrays, lost: Collection[int]) -> bool:
        """Undo or redo the last step, if it was done outside and leaves the object with these masks; says whether."""
        obj = self._unlocked(object_id)
        given = {index: PackedMask.from_array(mask) for index, mask in masks.items()}

        def is_same(other: SegmentObject) -> bool:
            if other.axis != obj.axis and other.masks:
                return False
            for index in obj.masks.keys() | other.masks.keys() | given.keys() | {*lost}:
                known = obj.masks[index].mask if index in obj.masks and index not in lost else None
                now, then = given.get(index, known), other.masks.get(index)
                if (now is None or now.is_empty) and (then is None or then.mask.is_empty):
                    continue
                if now is None or then is None or now != then.mask:
                    return False
            return True

        return self._timeline.retrace(object_id, is_same)

    def adopt_masks(
        self, object_id: int, masks: SliceArrays, axis: SliceAxis, claim: Claim = BEFORE_ALL
    ) -> None:
        """Take masks in that the user made before or elsewhere, as if they had always been there; no step of undo.

        Without `claim` they were there before all others.
        """
        obj = fitting.along(self.object(object_id), self.geometry, axis)
        packed = {
            index: fitting.packed_mask(obj, self.geometry, index, mask) for index, mask in masks.items()
        }

        def adopted(value: SegmentObject) -> SegmentObject:
            turn = value.propagations
            edited = {
                index: StoredMask(mask, MaskState.EDITED, None, turn, claim) for index, mask in packed.items()
            }
            if value.axis not in (None, axis):
                return value.with_voxels(packed, axis, self.geometry.shape, claim)
            return replace(value, axis=axis).with_masks(edited)

        self._timeline.change_everywhere(object_id, adopted)

    def accept(self, object_id: int, indices: Iterable[int]) -> None:
        """Keep the masks of these slices as they are; where they are as computed, nothing becomes pending by that."""
        obj = self._unlocked(object_id)
        self._timeline.change("Accept slices", obj.accepted({n: fitting.mask_of(obj, n) for n in indices}))

    def release(self, object_id: int, indices: Iterable[int]) -> None:
        """Let propagations replace the masks of these slices again."""
        obj = self._unlocked(object_id)
        self._timeline.change("Release slices", obj.released({n: fitting.mask_of(obj, n) for n in indices}))

    def restore_masks(self, object_id: int, before: SegmentObject, label: str) -> None:
        """Bring back the masks that the object had as `before`, but for slices that the user keeps; one step."""
        obj = self._unlocked(object_id)
        nothing = StoredMask(fitting.empty_mask(obj, self.geometry))
        indices = (obj.masks.keys() | before.masks.keys()) - obj.kept_slices
        changed = {index: before.masks.get(index, nothing) for index in sorted(indices)}
        self._timeline.change(label, obj.with_masks(changed))

    # -- previews

    def outdate_previews(self) -> None:
        """Let all previews be computed again, also those that undo brings back; no step of undo."""
        self._timeline.change_all(lambda obj: obj.with_outdated_previews())

    def apply_preview(
        self,
        object_id: int,
        index: int,
        prompts: tuple[Prompt, ...],
        mask: npt.NDArray[np.bool_],
        confidence: float | None = None,
        claim: Claim = BEFORE_ALL,
        others: npt.NDArray[np.bool_] | None = None,
    ) -> bool:
        """Show the mask, bool (rows, columns), that `prompts` draw on a slice, until it is propagated; not in `others`.

        The preview belongs to the step that gave the prompts, whatever was done since: one undo takes both back. It
        comes too late, and False is returned, when the prompts of the slice are others by now, the mask is the user's
        own, or the object is locked or gone.
        """
        obj = self._timeline.get(object_id)
        if obj is None or obj.prompts_on(index) != prompts or not prompts:
            return False
        stored = predicted_mask(
            fitting.packed_mask(obj, self.geometry, index, mask), confidence, claim, others
        )
        seen = obj.masks.get(index)

        def previewed(value: SegmentObject) -> SegmentObject:
            return value.with_preview(index, prompts, seen, stored)

        if previewed(obj) is obj:
            return False
        self._timeline.amend_prompts(object_id, index, prompts, previewed)
        return True

    # -- propagation

    def begin_propagation(self, *object_ids: int, recompute: bool = False, run: int | None = None) -> int:
        """Begin to compute what is pending; returns the run that its results are to be stored with.

        With `recompute` everything is computed again but the masks of the user. Objects that are propagated together
        share one `run`, and so one step of undo.
        """
        chosen = [self._unlocked(object_id) for object_id in object_ids]
        run = self._timeline.new_run() if run is None else run
        label = "Propagate " + ", ".join(obj.name for obj in chosen)
        after = {obj.id: obj.begun(run, fitting.count_of(obj, self.geometry), recompute) for obj in chosen}
        self._timeline.do(Command(label, {obj.id: obj for obj in chosen}, after, run))
        return run

    def apply_predictions(
        self,
        run: int,
        object_id: int,
        masks: SliceArrays,
        confidences: Mapping[int, float] | None = None,
        claim: Claim = BEFORE_ALL,
        others: SliceArrays = MappingProxyType({}),
    ) -> tuple[int, ...]:
        """Store what a run found, bool (rows, columns) by slice index, but for `others`; say which slices took it.

        Slices the user accepted or edited keep their masks. An object that was locked, deleted or propagated again
        meanwhile takes nothing, nor does one whose propagation was undone. All results of a run are one step of
        undo together with its begin, unless the user did something else to the object in between.
        """
        obj = self._awaiting(run, object_id)
        if obj is None:
            return ()
        packed = {
            index: fitting.packed_mask(obj, self.geometry, index, mask) for index, mask in masks.items()
        }
        known = confidences or {}
        taken = {
            index: predicted_mask(mask, known.get(index), claim, others.get(index))
            for index, mask in sorted(packed.items())
            if index not in obj.kept_slices
        }
        self._timeline.add_to_run(run, obj, obj.with_masks(taken))
        return tuple(taken)

    def end_propagation(self, run: int, object_id: int) -> tuple[int, ...]:
        """Note that a run has brought all it will bring for an object: it is not on the slices that got no mask.

        Returns those slices. Not for a run that was canceled: what that has not brought stays pending.
        """
        obj = self._awaiting(run, object_id)
        if obj is None:
            return ()
        gone = tuple(sorted(obj.unfinished - obj.kept_slices))
        emptied = obj.with_masks(dict.fromkeys(gone, StoredMask(fitting.empty_mask(obj, self.geometry))))
        self._timeline.add_to_run(run, obj, replace(emptied, unfinished=frozenset()))
        return gone

    def cancel_propagation(self, run: int) -> tuple[int, ...]:
        """Take a run back with all it has brought; `redo` brings that again. Returns the objects that changed.

        What the user did meanwhile to other objects stays. What was done to these objects goes with the run, each as
        a step of its own to redo.
        """
        return self._timeline.cancel(run)

    def new_run(self) -> int:
        """A number that makes steps which follow each other one step, such as those of one drag."""
        return self._timeline.new_run()

    # -- export

    @property
    def axes(self) -> tuple[SliceAxis, ...]:
        """The slice axes in use, that of the first object first."""
        return tuple(dict.fromkeys(obj.axis for obj in self.objects if obj.axis is not None))

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
        chosen = [obj for obj in self.objects if (first if obj.axis is None else obj.axis) == wanted]
        return all_prompts_of(chosen, self.geometry, wanted, window, checkpoint_id, checkpoint_sha256, tier)

    # -- objects

    def add_object(self, name: str, color: tuple[float, float, float]) -> int:
        """Add an object without prompts; returns its identifier."""
        self._check_name(name)
        return self._add(f"Add {name}", [ObjectPrompts(name, color)])[0]

    def adopt_object(
        self, name: str, color: tuple[float, float, float], locked: bool = False, cleanup: Cleanup = RAW
    ) -> int:
        """Take an object in as if it had always been there, such as a segment of the scene; no step of undo."""
        self._check_name(name)
        object_id, self._next_id = self._next_id, self._next_id + 1
        self._timeline.put(
            SegmentObject(object_id, ObjectPrompts(name, color), locked=locked, cleanup=cleanup)
        )
        return object_id

    def restore_object(
        self,
        given: ObjectPrompts,
        axis: SliceAxis | None,
        masks: Mapping[int, StoredMask],
        *,
        locked: bool = False,
        cleanup: Cleanup | None = None,
        propagations: int = 0,
        pending: Collection[int] | None = None,
        changed: Iterable[int] | None = None,
        before: Mapping[int, KeyContent] = MappingProxyType({}),
        start: Start | None = None,
        object_id: int | None = None,
    ) -> int:
        """Take an object in as it was saved; no step of undo.

        Args:
            given: with prompts of this volume along `axis`.
            axis: of prompts and masks.
            masks: by slice index.
            locked, cleanup, propagations, before, start: as in :class:`SegmentObject`, `before` as its
                `content_before`.
            pending: slices that have to be computed by the next propagation; None = all of them.
            changed: slices with other prompts or kept masks than the last propagation began with; None = those pending.
            object_id: its identifier; None = the next one.
        """
        self._check_name(given.name)
        if object_id is not None and self._timeline.get(object_id) is not None:
            raise SessionError(f"There is an object with the number {object_id} already.")
        if axis is None and not given.prompts:
            given = replace(given, slice_range=None)  # a range counts slices of an axis
        PromptSet(self.geometry, SliceAxis.K if axis is None else axis, (given,))
        obj = SegmentObject(
            self._next_id if object_id is None else object_id,
            given,
            MappingProxyType(dict(sorted(masks.items()))),
            locked,
            max((propagations, *(prompt.round for prompt in given.prompts))),
            axis=axis,
            cleanup=cleanup or Cleanup(),
            start=start if axis is not None else None,
        )
        if pending is not None:
            obj = obj.with_pending(pending, pending if changed is None else changed, before)
        self._next_id = max(self._next_id, obj.id + 1)
        self.claims.go_on_after(stored.claim for stored in masks.values())
        self._timeline.put(obj)
        return obj.id

    def add_objects(self, prompts: PromptSet) -> tuple[int, ...]:
        """Add all objects of a prompt set made on this volume; returns their identifiers."""
        if prompts.geometry != self.geometry:
            raise SessionError("The prompts belong to another volume.")
        for obj in prompts.objects:
            self._check_name(obj.name)
        cleanup = Cleanup.from_prompt_set(prompts.cleanup)
        return self._add("Add prompts", prompts.objects, prompts.axis, cleanup)

    def describe(self, object_id: int, name: str, color: tuple[float, float, float]) -> None:
        """Follow a name and color that were changed elsewhere, in the past as well; no step of undo."""
        if name != self.object(object_id).name:
            self._check_name(name)
        self._timeline.make_way(name, object_id)
        self._timeline.change_everywhere(object_id, lambda obj: obj.with_fields(name=name, color=color))

    def set_locked(self, object_id: int, locked: bool) -> None:
        """Keep prompts and masks of the object from changing, or allow it again."""
        obj = self.object(object_id)
        self._timeline.change(f"{'Lock' if locked else 'Unlock'} {obj.name}", replace(obj, locked=locked))

    def set_cleanup(self, object_id: int, cleanup: Cleanup) -> None:
        """Clean the masks of the object, or no more, where they are shown; those kept here stay as they are."""
        obj = self._unlocked(object_id)
        self._timeline.change(f"Clean up {obj.name}", replace(obj, cleanup=cleanup))

    def forget_object(self, object_id: int) -> bool:
        """Let an object that no step was about be as if it had never been there, and say whether that was so."""
        return self._timeline.forget(object_id)

    def delete_object(self, object_id: int, even_locked: bool = False) -> None:
        """Remove the object with all it has."""
        obj = self.object(object_id) if even_locked else self._unlocked(object_id)
        self._timeline.do(Command(f"Delete {obj.name}", {object_id: obj}, {object_id: None}))

    def set_slice_range(self, object_id: int, slice_range: SliceRange, run: int | None = None) -> None:
        """Propagate over these slices only, ends included; None for all. Masks of the network beyond them go.

        Changes of one `run` in a row are one step, in which a wider range brings back what a narrower one took.
        """
        obj = self._unlocked(object_id)
        before = self._timeline.before_run(run, object_id)
        ranged = fitting.ranged(before, self.geometry, slice_range, fitting.axis_of(obj))
        given = replace(obj.object_prompts, slice_range=slice_range)
        after = replace(ranged, object_prompts=given).with_prompts(given.prompts)
        self._timeline.change("Change the slice range", after.trimmed(), run)

    # -- prompts

    def add_prompt(
        self, object_id: int, prompt: Prompt, ranged: bool = False, slice_range: SliceRange = None
    ) -> None:
        """Add a prompt; its round becomes the number of propagations so far.

        With `ranged` the slice range becomes `slice_range` in the same step.
        """
        obj = self._unlocked(object_id)
        along = obj.turned(prompt.slice.axis, self.geometry.shape) if obj.is_free else obj
        fitted = fitting.fitting_prompt(along, self.geometry, prompt)
        after = fitting.ranged(along, self.geometry, slice_range, fitted.slice.axis) if ranged else along
        self._timeline.change(f"Add {prompt.kind}", after.with_prompts((*obj.prompts, fitted)))

    def replace_prompt(
        self,
        object_id: int,
        position: int,
        prompt: Prompt,
        ranged: bool = False,
        slice_range: SliceRange = None,
        run: int | None = None,
    ) -> None:
        """Put another prompt in the place of the one at `position`, such as a point that was moved.

        With `ranged` the slice range becomes `slice_range` in the same step. Steps with the same `run` (from
        :meth:`new_run`) that follow each other are one step: a drag.
        """
        obj = self._unlocked(object_id)
        prompts = list(obj.prompts)
        along, rest = obj, obj.with_prompts(())
        if len(prompts) == 1 and rest.is_free and prompt.slice.axis != obj.axis:
            along = rest.turned(prompt.slice.axis, self.geometry.shape)
        fitted = fitting.fitting_prompt(along, self.geometry, prompt)
        prompts[fitting.prompt_position(obj, position)] = fitted
        after = fitting.ranged(along, self.geometry, slice_range, fitted.slice.axis) if ranged else along
        self._timeline.change(f"Change {prompt.kind}", after.with_prompts(tuple(prompts)), run)

    def remove_prompt(self, object_id: int, position: int) -> None:
        """Remove the prompt at `position`."""
        obj = self._unlocked(object_id)
        prompts = list(obj.prompts)
        removed = prompts.pop(fitting.prompt_position(obj, position))
        self._timeline.change(f"Remove {removed.kind}", obj.with_prompts(tuple(prompts)))

    def remove_prompts(self, object_id: int) -> None:
        """Remove all prompts and the slice range of the object."""
        obj = self._unlocked(object_id)
        self._timeline.change("Remove prompts", obj.with_fields(slice_range=None).with_prompts(()))

    # -- undo

    @property
    def undo_label(self) -> str | None:
        """Return what `undo` would take back, None when there is nothing."""
        return self._timeline.undo_label

    @property
    def step_count(self) -> int:
        """The number of steps that can be undone."""
        return self._timeline.step_count

    @property
    def redo_label(self) -> str | None:
        """Return what `redo` would do again, None when there is nothing."""
        return self._timeline.redo_label

    @property
    def last_run(self) -> int | None:
        """The run that `undo` would take back, None when the last step is none."""
        return self._timeline.last_run

    def has_run(self, run: int) -> bool:
        """Return whether a run is among the steps that can be taken back."""
        return self._timeline.has_run(run)

    def next_undo(self) -> frozenset[int]:
        """The objects that `undo` would change."""
        return self._timeline.next_undo()

    def before_last_prompt(self, object_id: int) -> SegmentObject | None:
        """The object before its prompts changed last; None when no such step can be taken back."""
        return self._timeline.before_last_prompt(object_id)

    def undo(self) -> Command[SegmentObject] | None:
        """Take back the last step and return it; None when there is nothing to take back."""
        return self._timeline.undo()

    def redo(self) -> Command[SegmentObject] | None:
        """Do the step again that was taken back last and return it; None when there is none."""
        return self._timeline.redo()

    # -- inside

    def _add(
        self,
        label: str,
        objects: Iterable[ObjectPrompts],
        axis: SliceAxis | None = None,
        cleanup: Cleanup | None = None,
    ) -> tuple[int, ...]:
        added = {}
        for obj in objects:
            rounds = max((prompt.round for prompt in obj.prompts), default=0)
            along = axis if obj.prompts or obj.slice_range else None
            added[self._next_id] = SegmentObject(
                self._next_id, obj, propagations=rounds, axis=along, cleanup=cleanup or Cleanup()
            )
            self._next_id += 1
        self._timeline.do(Command(label, dict.fromkeys(added), added))
        return tuple(added)

    def _check_name(self, name: str) -> None:
        if any(obj.name == name for obj in self.objects):
            raise SessionError(f"There is an object named {name!r} already.")

    def _awaiting(self, run: int, object_id: int) -> SegmentObject | None:
        obj = self._timeline.get(object_id)
        return obj if obj is not None and obj.run == run and not obj.locked else None

    def _unlocked(self, object_id: int) -> SegmentObject:
        obj = self.object(object_id)
        if obj.locked:
            raise SessionError(f"{obj.name!r} is locked.")
        return obj
