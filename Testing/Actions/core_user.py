"""A user of the session alone: every change that the program makes to it, with masks of no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from MedSAMSlicerLib.core.cleanups import Cleanup
from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.masks import MaskState, PackedMask, volume_of
from MedSAMSlicerLib.core.prompts import (
    MaskPrompt,
    ObjectPrompts,
    Prompt,
    PromptSet,
    Scribble,
    SliceRef,
    box_from_voxels,
    line_from_voxels,
    point_from_voxel,
)
from MedSAMSlicerLib.core.segment_object import SegmentObject
from MedSAMSlicerLib.core.session import Session
from MedSAMSlicerLib.core.start import gap, started, with_reach

from .driver import Action

GEOMETRY = VolumeGeometry.from_spacing((9, 6, 7), (0.8, 0.9, 5.0), (-20.0, 10.0, 100.0))
NAMES = ("liver", "spleen", "kidney", "tumor")
BATCH = 3

# Actions that may change masks of the user, of a locked object, or of several objects.
_OWN_MASKS = {"edit", "edit_outside", "accept", "release", "delete", "start"}
_OWN = (MaskState.ACCEPTED, MaskState.EDITED)
_EVEN_LOCKED = {"lock", "describe", "edit_outside", "delete_outside"}
_ANYTHING = {"undo", "redo", "undo_some", "redo_some", "cancel", "reopen", "move", "import_prompts"}


@lru_cache(maxsize=8)
def _read(text: str, geometry: VolumeGeometry) -> PromptSet:
    """The prompts of a text, read once: undo, redo and many actions leave them as they were."""
    return PromptSet.from_json(text, geometry)


class CoreUser:
    """Does actions on a session and compares what came of them with what must be.

    Must hold after each action: objects that the action is not about are unchanged; masks that the user accepted or
    drew are unchanged unless the action is about them; a refused action changes nothing; undo brings back what was
    before, redo what was after; a session that is saved and read again is the same.
    """

    WEIGHTS: ClassVar[dict[str, int]] = {
        "add": 3,
        "adopt": 2,
        "describe": 1,
        "lock": 3,
        "clean_up": 1,
        "delete": 1,
        "delete_outside": 1,
        "prompt": 10,
        "move_prompt": 4,
        "remove_prompt": 4,
        "remove_prompts": 1,
        "limit": 3,
        "unlimit": 1,
        "preview": 6,
        "late_preview": 2,
        "edit": 4,
        "edit_outside": 3,
        "accept": 5,
        "release": 2,
        "start": 2,
        "reach": 1,
        "revert": 2,
        "propagate": 5,
        "propagate_all": 4,
        "results": 12,
        "complete": 4,
        "late_results": 1,
        "cancel": 2,
        "undo": 5,
        "redo": 4,
        "undo_some": 2,
        "redo_some": 2,
        "move": 1,
        "import_prompts": 1,
        "reopen": 2,
    }

    def __init__(self) -> None:
        self.session = Session(GEOMETRY)
        self.run: int | None = None
        self.wanted: list[tuple[int, int]] = []  # object and slice, that the run has not brought yet
        self.ended: list[tuple[int, int]] = []  # runs that are over, with an object of theirs
        self.previews: list[tuple[int, int, tuple[Prompt, ...]]] = []  # that were asked for
        self.older: dict[int, SegmentObject] = {}  # objects before a run

    def do(self, action: Action) -> None:
        """Do one action and check what must hold afterwards."""
        name, *numbers = action
        before = self.session.objects
        steps, label = self.session.step_count, self.session.undo_label
        touched: set[int] | None
        try:
            touched = getattr(self, name)(*numbers)
        except MedSAMError:
            assert self.session.objects == before, f"{name} was refused and yet changed something"
            assert (self.session.step_count, self.session.undo_label) == (steps, label)
            return
        if name not in _ANYTHING:
            self._check_frame(name, before, touched or set())
            if self.session.step_count == steps + 1:
                self._check_undo(before)
        self._check_objects()
        self._check_undo_and_redo()

    def finish(self) -> None:
        """Undo everything and do it again: the same states in between, the same end."""
        self._check_reopened()
        end, states = self.session.objects, [self.session.objects]
        while self.session.undo() is not None:
            self._check_objects()
            states.append(self.session.objects)
        for number in range(len(states) - 2, -1, -1):
            self.session.redo()
            assert self.session.objects == states[number], "redo did not bring back what undo took"
        assert self.session.objects == end

    def close(self) -> None:
        """Free nothing."""

    # -- what must hold

    def _check_frame(self, name: str, before: tuple[SegmentObject, ...], touched: set[int]) -> None:
        now = {obj.id: obj for obj in self.session.objects}
        for obj in before:
            after = now.get(obj.id)
            if obj.id not in touched:
                assert after == obj, f"{name} changed {obj.name}, which it is not about"
            if after is None:
                assert name in ("delete", "delete_outside")
                continue
            if obj.locked and name not in _EVEN_LOCKED:
                assert after == obj, f"{name} changed {obj.name}, which is locked"
            if name in _OWN_MASKS:
                continue
            if after.axis != obj.axis and obj.start is not None and obj.prompts:
                continue  # its gaps are as at the start again
            if after.axis != obj.axis:
                assert np.array_equal(self._volume(after), self._volume(obj)), f"{name} changed masks"
                continue
            for index, stored in obj.masks.items():
                if stored.state is MaskState.STARTED and index not in gap(after):
                    assert after.masks[index].mask == stored.mask, f"{name} changed slice {index}"
            for index in (index for index, stored in obj.masks.items() if stored.state in _OWN):
                assert after.masks.get(index) == obj.masks[index], f"{name} changed slice {index}"

    def _check_undo(self, before: tuple[SegmentObject, ...]) -> None:
        after, changed = self.session.objects, self.session.next_undo()
        self.session.undo()
        now = [obj for obj in self.session.objects if obj.id in changed]
        then = [obj for obj in before if obj.id in changed]
        assert now == then, "undo did not bring back what was before"
        self.session.redo()
        assert self.session.objects == after, "redo did not bring back what was after"

    def _volume(self, obj: SegmentObject) -> npt.NDArray[np.bool_]:
        """The voxels that the user accepted or drew."""
        slices = obj.masks if obj.start is not None else obj.kept_slices
        kept = {index: obj.masks[index].mask for index in slices}
        return volume_of(kept, obj.axis or SliceAxis.K, self.session.geometry.shape)

    def _check_undo_and_redo(self) -> None:
        now = self.session.objects
        if self.session.undo() is not None:
            self.session.redo()
            assert self.session.objects == now, "undo and redo changed something"
        if self.session.redo() is not None:
            self._check_objects()
            self.session.undo()
            assert self.session.objects == now, "redo and undo changed something"

    def _check_objects(self) -> None:
        session = self.session
        names = [obj.name for obj in session.objects]
        assert len({*names}) == len(names), f"names twice: {names}"
        for obj in session.objects:
            if obj.axis is None:
                assert not obj.masks
                assert not obj.prompts
                assert obj.slice_range is None
                continue
            assert all(prompt.slice.axis == obj.axis for prompt in obj.prompts)
            count, shape = session.geometry.slice_count(obj.axis), session.geometry.slice_shape(obj.axis)
            assert all(0 <= index < count for index in (*obj.masks, *obj.unfinished))
            assert all(stored.mask.shape == shape for stored in obj.masks.values())
            assert list(obj.masks) == sorted(obj.masks)
            pending = session.pending_slices(obj.id)
            assert not pending & obj.kept_slices, "a slice of the user is pending"
            for index in obj.masks.keys() - gap(obj) if obj.start else ():
                stored = obj.masks[index]
                assert stored.state is not MaskState.STARTED or stored.mask == obj.start.masks.get(
                    index, stored.mask
                )
            assert all(0 <= index < count for index in pending)
            assert not {*obj.pending_previews()} & obj.kept_slices
        for axis in session.axes:
            prompt_set = session.prompt_set(axis=axis)
            assert _read(prompt_set.to_json(), session.geometry) == prompt_set

    def _check_reopened(self) -> Session:
        """The session as it is saved, an object at a time, and read again."""
        again = Session(self.session.geometry)
        for obj in self.session.objects:
            axis = SliceAxis.K if obj.axis is None else obj.axis
            text = PromptSet(self.session.geometry, axis, (obj.object_prompts,)).to_json()
            again.restore_object(
                PromptSet.from_json(text, again.geometry).objects[0],
                obj.axis,
                obj.masks,
                locked=obj.locked,
                cleanup=obj.cleanup,
                propagations=obj.propagations,
                pending=self.session.pending_slices(obj.id),
                changed=obj.changed_slices(),
                before=obj.content_before(),
                start=obj.start,
                object_id=obj.id,
            )
            same = again.object(obj.id)
            for name in (
                "object_prompts",
                "axis",
                "masks",
                "locked",
                "cleanup",
                "propagations",
                "kept_slices",
            ):
                assert getattr(same, name) == getattr(obj, name), f"{name} of {obj.name} was not kept"
            assert again.pending_slices(obj.id) == self.session.pending_slices(obj.id)
        return again

    # -- objects

    def add(self, name: int, color: int, _c: int, _d: int) -> set[int]:
        """Add an object."""
        return {self.session.add_object(NAMES[name % len(NAMES)], (color / 999, 0.0, 0.0))}

    def adopt(self, name: int, index: int, size: int, masked: int) -> set[int]:
        """A segment of the scene becomes an object, sometimes with masks that it had before."""
        session = self.session
        added = session.adopt_object(NAMES[name % len(NAMES)], (0.0, 1.0, 0.0))
        if masked % 2:
            axis = SliceAxis(index % 3)
            session.adopt_masks(
                added, {index % session.geometry.slice_count(axis): self._mask(axis, size)}, axis
            )
        return {added}

    def describe(self, number: int, name: int, color: int, _d: int) -> set[int]:
        """Rename by the scene, which is no step."""
        object_id = self._pick(number)
        self.session.describe(object_id, NAMES[name % len(NAMES)], (0.0, color / 999, 0.0))
        return {object_id}

    def lock(self, number: int, locked: int, _c: int, _d: int) -> set[int]:
        """Lock, or unlock more often."""
        object_id = self._pick(number)
        self.session.set_locked(object_id, locked % 3 == 0)
        return {object_id}

    def clean_up(self, number: int, fill: int, smooth: int, _d: int) -> set[int]:
        """Choose what is done to the shown masks."""
        object_id = self._pick(number)
        self.session.set_cleanup(object_id, Cleanup(fill_holes=fill % 2 == 0, smooth=smooth % 2 == 0))
        return {object_id}

    def delete(self, number: int, _b: int, _c: int, _d: int) -> set[int]:
        """Delete by the session."""
        object_id = self._pick(number)
        self.session.delete_object(object_id)
        return {object_id}

    def delete_outside(self, number: int, _b: int, _c: int, _d: int) -> set[int]:
        """Delete the segment in the scene, locked or not."""
        object_id = self._pick(number)
        self.session.delete_object(object_id, even_locked=True)
        return {object_id}

    def import_prompts(self, name: int, kind: int, index: int, axis: int) -> None:
        """Read a prompts file with one object."""
        geometry, along = self.session.geometry, SliceAxis(axis % 3)
        prompts = (self._prompt(along, index, kind),) if kind % 3 else ()
        limits = (0, geometry.slice_count(along) - 1) if index % 2 else None
        prompt_set = ObjectPrompts(NAMES[name % len(NAMES)], (1.0, 1.0, 0.0), prompts, limits)
        self.session.add_objects(PromptSet(geometry, along, (prompt_set,)))

    # -- prompts

    def prompt(self, number: int, kind: int, index: int, axis: int) -> set[int]:
        """Give a prompt, most often along the axis of the object."""
        object_id = self._pick(number)
        along = self._axis(object_id, axis)
        self.session.add_prompt(object_id, self._prompt(along, index, kind))
        return {object_id}

    def move_prompt(self, number: int, position: int, index: int, axis: int) -> set[int]:
        """Put another prompt in the place of one."""
        object_id = self._pick(number)
        count = len(self.session.object(object_id).prompts)
        prompt = self._prompt(self._axis(object_id, axis), index, position)
        ranged = axis % 4 == 0
        self.session.replace_prompt(object_id, position % max(count, 1), prompt, ranged)
        return {object_id}

    def remove_prompt(self, number: int, position: int, _c: int, _d: int) -> set[int]:
        """Take one prompt away."""
        object_id = self._pick(number)
        count = len(self.session.object(object_id).prompts)
        self.session.remove_prompt(object_id, position % max(count, 1))
        return {object_id}

    def remove_prompts(self, number: int, _b: int, _c: int, _d: int) -> set[int]:
        """Take all prompts away."""
        object_id = self._pick(number)
        self.session.remove_prompts(object_id)
        return {object_id}

    def limit(self, number: int, first: int, last: int, _d: int) -> set[int]:
        """Choose a range of slices."""
        object_id = self._pick(number)
        axis = self.session.object(object_id).axis
        count = self.session.geometry.slice_count(SliceAxis.K if axis is None else axis)
        low, high = sorted((first % count, last % count))
        self.session.set_slice_range(object_id, (low, high))
        return {object_id}

    def unlimit(self, number: int, _b: int, _c: int, _d: int) -> set[int]:
        """All slices again."""
        object_id = self._pick(number)
        self.session.set_slice_range(object_id, None)
        return {object_id}

    # -- masks

    def preview(self, number: int, size: int, later: int, _d: int) -> set[int]:
        """Ask for a preview; it comes at once or later."""
        object_id = self._pick(number)
        obj = self.session.object(object_id)
        for index in obj.pending_previews()[:1]:
            self.previews.append((object_id, index, obj.prompts_on(index)))
        return self.late_preview(-1, size, 0, 0) if later % 3 and self.previews else set()

    def late_preview(self, which: int, size: int, _c: int, _d: int) -> set[int]:
        """A preview comes that was asked for some time ago."""
        if not self.previews:
            return set()
        object_id, index, prompts = self.previews.pop(which % len(self.previews))
        axis = prompts[0].slice.axis
        self.session.apply_preview(object_id, index, prompts, self._mask(axis, size), 0.5)
        return {object_id}

    def edit(self, number: int, index: int, size: int, axis: int) -> set[int]:
        """Draw a slice as a step."""
        object_id = self._pick(number)
        along = self._axis(object_id, axis)
        place = index % self.session.geometry.slice_count(along)
        self.session.edit_masks(object_id, {place: self._mask(along, size)}, along)
        return {object_id}

    def edit_outside(self, number: int, index: int, size: int, axis: int) -> set[int]:
        """A segment is changed elsewhere, locked or not, which is no step."""
        object_id = self._pick(number)
        along = self._axis(object_id, axis)
        place = index % self.session.geometry.slice_count(along)
        self.session.adopt_masks(object_id, {place: self._mask(along, size)}, along)
        return {object_id}

    def accept(self, number: int, first: int, step: int, _d: int) -> set[int]:
        """Accept some slices."""
        object_id = self._pick(number)
        masks = [*self.session.object(object_id).masks]
        self.session.accept(object_id, masks[first % 3 :: 1 + step % 4])
        return {object_id}

    def release(self, number: int, first: int, _c: int, _d: int) -> set[int]:
        """Release a slice."""
        object_id = self._pick(number)
        kept = sorted(self.session.object(object_id).kept_slices)
        self.session.release(object_id, kept[first % max(len(kept), 1) :][:1])
        return {object_id}

    def start(self, number: int, first: int, size: int, axis: int) -> set[int]:
        """Take masks made elsewhere as a start."""
        object_id = self._pick(number)
        along = SliceAxis(axis % 3)
        places = range(first % 3, self.session.geometry.slice_count(along) - size % 3)
        masks = {at: PackedMask.from_array(self._mask(along, size + at)) for at in places}
        shape = self.session.geometry.shape
        self.session.change(object_id, "Start", lambda obj: started(obj, masks, along, shape, 1 + first % 3))
        return {object_id}

    def reach(self, number: int, reach: int, _c: int, _d: int) -> set[int]:
        """Let corrections reach farther, or less far."""
        object_id = self._pick(number)
        self.session.change(object_id, "Reach", lambda obj: with_reach(obj, reach % 5))
        return {object_id}

    def revert(self, number: int, _b: int, _c: int, _d: int) -> set[int]:
        """Bring back the masks from before a run."""
        object_id = self._pick(number)
        before = self.older.get(object_id)
        if before is not None and before.axis == self.session.object(object_id).axis:
            self.session.restore_masks(object_id, before, "Revert")
        return {object_id}

    # -- propagation

    def propagate(self, number: int, _b: int, _c: int, again: int) -> set[int]:
        """Propagate one object."""
        return self._begin([self._pick(number)], again % 8 == 0)

    def propagate_all(self, _a: int, _b: int, _c: int, _d: int) -> set[int]:
        """Propagate all that can be."""
        due = (obj for obj in self.session.objects if obj.key_slices and not obj.locked)
        return self._begin([obj.id for obj in due], False)

    def results(self, size: int, _b: int, _c: int, _d: int) -> set[int]:
        """The run brings a few slices, of one object after the other."""
        batch, self.wanted = self.wanted[:BATCH], self.wanted[BATCH:]
        return self._bring(batch, size)

    def complete(self, size: int, _b: int, _c: int, _d: int) -> set[int]:
        """The run brings all that is left and ends."""
        if self.run is None:
            return set()
        run, before = self.run, {obj.id for obj in self.session.objects if obj.run == self.run}
        touched = self._bring(self.wanted, size)
        for object_id in before:
            self.session.end_propagation(run, object_id)
        self._run_is_over()
        return touched | before

    def late_results(self, which: int, size: int, index: int, _d: int) -> set[int]:
        """Slices come of a run that is over."""
        if not self.ended:
            return set()
        run, object_id = self.ended[which % len(self.ended)]
        obj = next((obj for obj in self.session.objects if obj.id == object_id), None)
        axis = SliceAxis.K if obj is None or obj.axis is None else obj.axis
        place = index % self.session.geometry.slice_count(axis)
        self.session.apply_predictions(run, object_id, {place: self._mask(axis, size)})
        return {object_id}

    def cancel(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Take the run back."""
        if self.run is None:
            return
        spared = [obj for obj in self.session.objects if obj.run != self.run]
        changed = self.session.cancel_propagation(self.run)
        for obj in spared:
            if obj.id not in changed:
                assert self.session.object(obj.id) == obj
        self._run_is_over()

    # -- history

    def undo(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Take a step back."""
        self.session.undo()

    def redo(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Do a step again."""
        self.session.redo()

    def undo_some(self, count: int, _b: int, _c: int, _d: int) -> None:
        """Take several steps back."""
        for _ in range(2 + count % 6):
            self.session.undo()

    def redo_some(self, count: int, _b: int, _c: int, _d: int) -> None:
        """Do several steps again."""
        for _ in range(2 + count % 6):
            self.session.redo()

    def move(self, dx: int, dy: int, _c: int, _d: int) -> None:
        """The volume is moved; undo and redo go on with it."""
        matrix = self.session.geometry.ijk_to_ras.copy()
        matrix[0, 3], matrix[1, 3] = float(dx % 50), float(dy % 50)
        moved = self.session.move(replace(self.session.geometry, ijk_to_ras=matrix))
        self.previews = [
            (object_id, index, tuple(map(moved, prompts))) for object_id, index, prompts in self.previews
        ]

    def reopen(self, go_on: int, _b: int, _c: int, _d: int) -> None:
        """Save, read again, and sometimes go on with what was read."""
        again = self._check_reopened()
        if go_on % 3 == 0:
            self.session = again
            self._run_is_over()
            self.ended.clear()
            self.previews.clear()
            self.older.clear()

    # -- inside

    def _begin(self, object_ids: list[int], again: bool) -> set[int]:
        """Begin a run, one at a time as in the program."""
        if self.run is not None or not object_ids:
            return set()
        before = {object_id: self.session.object(object_id) for object_id in object_ids}
        run = self.session.begin_propagation(*object_ids, recompute=again)
        self.run, self.older = run, {**self.older, **before}
        columns = [sorted(self.session.object(object_id).unfinished) for object_id in object_ids]
        self.wanted = [
            (object_id, column[place])
            for place in range(max(map(len, columns), default=0))
            for object_id, column in zip(object_ids, columns, strict=True)
            if place < len(column)
        ]
        return {*object_ids}

    def _bring(self, batch: Iterable[tuple[int, int]], size: int) -> set[int]:
        touched = set()
        for object_id, index in batch:
            obj = next((obj for obj in self.session.objects if obj.id == object_id), None)
            if obj is None or obj.axis is None or self.run is None or obj.run != self.run:
                continue
            mask = self._mask(obj.axis, size + index + object_id)
            taken = self.session.apply_predictions(self.run, object_id, {index: mask}, {index: 0.5})
            assert taken == ((index,) if index not in obj.kept_slices and not obj.locked else ())
            touched.add(object_id)
        return touched

    def _run_is_over(self) -> None:
        if self.run is not None:
            self.ended += [(self.run, obj.id) for obj in self.session.objects]
        self.run, self.wanted = None, []

    def _pick(self, number: int) -> int:
        """One of the objects; a number that none has when there is none."""
        objects = self.session.objects
        return objects[number % len(objects)].id if objects else -1

    def _axis(self, object_id: int, axis: int) -> SliceAxis:
        """The axis of an object, or any when it has none, and now and then."""
        along = next((obj.axis for obj in self.session.objects if obj.id == object_id), None)
        return SliceAxis(axis % 3) if along is None or axis % 7 == 0 else along

    def _prompt(self, axis: SliceAxis, index: int, kind: int) -> Prompt:
        geometry = self.session.geometry
        rows, columns = geometry.slice_shape(axis)
        place = SliceRef(axis, index % geometry.slice_count(axis))
        x, y = index % (columns - 2), kind % (rows - 2)
        makers: tuple[Callable[[], Prompt], ...] = (
            lambda: point_from_voxel(geometry, place, x, y, kind % 2 == 0),
            lambda: box_from_voxels(geometry, place, x, y, x + 2, y + 2),
            lambda: line_from_voxels(geometry, place, x, y, x + 1, y + 1),
            lambda: MaskPrompt(place, self._mask(axis, index | 1)),
            lambda: Scribble(place, (tuple(geometry.slice_to_ras([(x, y)], place.index, axis)[0].tolist()),)),
        )
        return makers[kind % len(makers)]()

    def _mask(self, axis: SliceAxis, size: int) -> npt.NDArray[np.bool_]:
        rows, columns = self.session.geometry.slice_shape(axis)
        return (np.arange(rows * columns) < size % (rows * columns)).reshape(rows, columns)
