"""A user of the module on the real MRML scene, beside other modules that change the same segments."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from Testing.Mrml.conftest import MrmlScene
from Testing.Mrml.test_scene_saving import save_and_load

from MedSAMSlicerLib.app.controller import Controller
from MedSAMSlicerLib.app.ports import PromptEdit
from MedSAMSlicerLib.app.state import Level, NetworkState, Topic
from MedSAMSlicerLib.app.workspace import Settings
from MedSAMSlicerLib.core.cleanups import Cleanup
from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.masks import volume_of
from MedSAMSlicerLib.core.prompts import Prompt, SliceRef, box_from_voxels, line_from_voxels, point_from_voxel
from MedSAMSlicerLib.core.segment_object import SegmentObject
from MedSAMSlicerLib.core.strokes import scribble_from_mask
from MedSAMSlicerLib.scene.labelmaps import is_empty, labelmap_of, raw_array
from MedSAMSlicerLib.scene.slicer_scene import slicer_scene

from .driver import Action
from .stepwise import Clock, StepwiseWorker

SHAPE = (10, 10, 10)  # a cube: slices of every axis fit into each other's place
MATRIX = np.array([[-0.8, 0, 0, 20], [0, -0.8, 0, 18], [0, 0, 3.0, -40], [0, 0, 0, 1]], dtype=float)
TURNS = 4000

Voxels = npt.NDArray[np.bool_]

_ANYTHING = {"undo", "redo", "cancel", "revert", "settle", "turn", "reopen", "away_and_back", "overlap"}
_ABOUT_MANY = {"propagate_all", "outside_delete", "clean_up", "window"}


class SceneUser:
    """Does actions on a controller and compares scene and session with what must be.

    Must hold after each action: the segments show what the session says; what others painted is in the session as the
    user's own; masks that the user accepted or drew and locked segments change only when the action is about them;
    undo and redo are each other's opposite; a scene that is saved and opened again is the same; nothing fails but with
    a sentence.
    """

    WEIGHTS: ClassVar[dict[str, int]] = {
        "add": 3,
        "select": 4,
        "point": 8,
        "box": 4,
        "line": 1,
        "scribble": 2,
        "move_point": 3,
        "delete_point": 3,
        "remove_prompts": 1,
        "limit": 2,
        "unlimit": 1,
        "accept": 4,
        "accept_all": 1,
        "release": 2,
        "use_current_mask": 1,
        "lock": 3,
        "clean_up": 1,
        "overlap": 1,
        "propagate": 6,
        "propagate_all": 3,
        "turn": 8,
        "settle": 8,
        "cancel": 2,
        "revert": 1,
        "undo": 6,
        "redo": 5,
        "outside_paint": 5,
        "outside_erase": 2,
        "outside_silent": 3,
        "outside_add": 1,
        "outside_rename": 2,
        "outside_delete": 1,
        "window": 1,
        "view": 2,
        "reopen": 1,
        "away_and_back": 1,
    }

    mrml: ClassVar[MrmlScene]

    def __init__(self) -> None:
        self.mrml.clear()
        self.folder = Path(tempfile.mkdtemp())
        noise = np.random.default_rng(0).normal(0, 20, SHAPE)
        noise[3:7, 3:8, 2:6] += 200
        self.volume = self.mrml.volume_node(noise.astype(np.int16), MATRIX)
        self.volume.SetName("CT")
        self.clock = Clock()
        scene, settings = slicer_scene(self.mrml.scene), Settings(device="cpu", threads=1)
        self.controller = Controller(scene, None, settings, StepwiseWorker(), self.clock)
        self.work = self.controller._work
        self.controller.observe(self._note)
        self.controller.inputs.set_volume(self.volume)
        self.settle(0, 0, 0, 0)
        assert self.controller.network.state is NetworkState.READY

    def _note(self, topic: Topic) -> None:
        message = self.controller.message
        if topic is Topic.MESSAGE and message is not None and message.level is Level.ERROR:
            assert "should not have" not in message.text, message.text

    def do(self, action: Action) -> None:
        """Do one action and check what must hold afterwards."""
        name, *numbers = action
        before = self._objects()
        shown = self._shown()
        try:
            about = getattr(self, name)(*numbers)
        except MedSAMError:
            about = None
        self.controller.editing._drag = None
        self.controller._projector.take_edits()
        if name not in _ANYTHING:
            self._check_kept(name, before, shown, about)
        self._check_shown()
        if name in ("undo", "redo", "settle", "accept", "outside_paint", "delete_point"):
            self._check_undo_and_redo()

    def finish(self) -> None:
        """Undo everything, do it again, and open the saved scene."""
        self.settle(0, 0, 0, 0)
        end, shown = self._objects(), self._shown()
        steps = 0
        while self.controller.history.undo_label is not None:
            self.controller.history.undo()
            self._check_shown()
            steps += 1
        for _ in range(steps):
            self.controller.history.redo()
        self._drain()
        assert self._objects() == end, "undo and redo of everything changed the session"
        self._assert_same(self._shown(), shown, "undo and redo of everything changed a segment")
        self.reopen(0, 0, 0, 0)

    def close(self) -> None:
        """End the controller and empty the scene."""
        self.controller.close()
        self.mrml.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what must hold

    def _objects(self) -> tuple[SegmentObject, ...]:
        return self.work.session.objects if self.work.session else ()

    def _shown(self) -> dict[str, Voxels]:
        """What each segment holds, (K, J, I)."""
        masks, found = self.work.masks, {}
        for segment_id in self.work.segment_ids if masks is not None else ():
            voxels = np.zeros(SHAPE, np.bool_)
            for index, mask in masks.read_slices(segment_id, SliceAxis.K).items():
                voxels[index] = mask
            found[segment_id] = voxels
        return found

    def _volume(self, obj: SegmentObject, kept_only: bool = False) -> Voxels:
        """What the session says of an object, (K, J, I)."""
        masks = {
            index: stored.mask
            for index, stored in obj.masks.items()
            if not kept_only or index in obj.kept_slices
        }
        return volume_of(masks, obj.axis if obj.axis is not None else SliceAxis.K, SHAPE)

    def _check_shown(self) -> None:
        """Segments hold what the session says; with overlaps that take, what they lack another segment holds."""
        shown = self._shown()
        names = [obj.name for obj in self._objects()]
        assert len({*names}) == len(names)
        for obj in self._objects():
            segment_id = self.work.segment_of(obj.id)
            assert segment_id in shown, f"{obj.name} has no segment"
            assert self.work.masks.locked(segment_id) == obj.locked
            wanted = self._volume(obj)
            if obj.cleanup.is_on:
                continue
            extra = shown[segment_id] & ~wanted
            assert not extra.any(), f"{obj.name} shows {extra.sum()} voxels that the session does not have"
            others = [voxels for other, voxels in shown.items() if other != segment_id]
            lacking = wanted & ~shown[segment_id]
            if lacking.any():
                assert self.took, f"{obj.name} lacks {lacking.sum()} voxels"
                held = np.any(others, axis=0) if others else np.zeros(SHAPE, np.bool_)
                assert not (lacking & ~held).any(), f"{obj.name} lacks voxels that nobody has"

    @property
    def segmentation(self) -> Any:
        return self.controller.inputs.segmentation_node

    took = False  # whether masks took voxels from others since the scene was opened

    def _check_kept(
        self, name: str, before: tuple[SegmentObject, ...], shown: dict[str, Voxels], about: str | None
    ) -> None:
        now = {obj.id: obj for obj in self._objects()}
        after = self._shown()
        for obj in before:
            segment_id = self.work.segment_of(obj.id)
            same = now.get(obj.id)
            if segment_id is None or segment_id == about or same is None:
                continue
            kept = self._volume(obj, kept_only=True)
            assert not (kept & ~self._volume(same)).any(), f"{name} changed masks of {obj.name}"
            if not self.took and (obj.locked or name not in _ABOUT_MANY) and segment_id in shown:
                assert np.array_equal(after[segment_id], shown[segment_id]), f"{name} changed {obj.name}"

    def _check_undo_and_redo(self) -> None:
        if self.controller.runs.busy:
            return
        self._drain()
        objects, shown = self._objects(), self._shown()
        if self.controller.history.undo_label is not None:
            self.controller.history.undo()
            self._check_shown()
            self.controller.history.redo()
            self._drain()
            assert self._objects() == objects, "undo and redo changed the session"
            self._assert_same(self._shown(), shown, "undo and redo changed a segment")

    def _assert_same(self, one: dict[str, Voxels], other: dict[str, Voxels], what: str) -> None:
        assert one.keys() == other.keys(), f"{what}: {[*one]} are not {[*other]}"
        for segment_id, found in one.items():
            different = int((found ^ other[segment_id]).sum())
            assert not different, f"{what}: {different} voxels of {self.work.masks.name(segment_id)}"

    def _drain(self) -> None:
        """Take in everything the worker still brings, so that nothing comes in between."""
        for _ in range(TURNS):
            self.clock.tick()
            if not self.controller.poll(0.0):
                return
        raise AssertionError("the worker never ends")

    # -- segments

    def add(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Add a segment and select it."""
        if len(self.work.segment_ids) < 4:
            self.controller.inputs.add_segment()

    def select(self, number: int, _b: int, _c: int, _d: int) -> None:
        """Select a segment."""
        segment_id = self._pick(number)
        if segment_id is not None:
            self.controller.inputs.select_segment(segment_id)

    def lock(self, number: int, locked: int, _c: int, _d: int) -> None:
        """Lock a segment, or unlock it more often."""
        segment_id = self._pick(number)
        if segment_id is not None:
            self.controller.editing.set_locked(segment_id, locked % 3 == 0)

    def clean_up(self, number: int, smooth: int, _c: int, _d: int) -> None:
        """Choose a clean-up, or none more often."""
        segment_id = self._pick(number)
        if segment_id is not None:
            on = smooth % 3 == 0
            wanted = Cleanup(fill_holes=on, smooth=on and smooth % 2 == 0)
            self.controller.editing.set_cleanup(segment_id, wanted)

    def overlap(self, policy: int, _b: int, _c: int, _d: int) -> None:
        """Choose what happens where masks meet; most often nothing."""
        if policy % 5 == 0:
            self.took = True
            self.controller.network.set_overlap(("visible", "all")[policy % 2])
        else:
            self.controller.network.set_overlap(("none", "stop")[policy % 2])

    # -- prompts

    def point(self, index: int, x: int, y: int, axis: int) -> str | None:
        """Click a point."""
        return self._give(
            lambda place: point_from_voxel(self._geometry, place, x % 9, y % 9, y % 4 > 0), index, axis
        )

    def box(self, index: int, x: int, y: int, axis: int) -> str | None:
        """Draw a box."""
        x0, y0 = x % 6, y % 6
        return self._give(
            lambda place: box_from_voxels(self._geometry, place, x0, y0, x0 + 4, y0 + 4), index, axis
        )

    def line(self, index: int, x: int, y: int, axis: int) -> str | None:
        """Draw a diameter."""
        x0, y0 = x % 6, y % 6
        return self._give(
            lambda place: line_from_voxels(self._geometry, place, x0, y0, x0 + 3, y0 + 2), index, axis
        )

    def scribble(self, index: int, x: int, y: int, axis: int) -> str | None:
        """Paint a stroke on the slice that is shown."""
        mask = np.zeros((10, 10), np.bool_)
        mask[y % 9, x % 6 : x % 6 + 3] = True
        self.controller.editing.add_drawn(
            lambda geometry, place: scribble_from_mask(geometry, place, mask, index % 3 > 0)
        )
        return self.controller.inputs.segment_id

    def move_point(self, number: int, x: int, y: int, _d: int) -> str | None:
        """Drag a prompt elsewhere on its slice."""
        obj = self.work.selected_object
        if obj is None or not obj.prompts:
            return None
        position = number % len(obj.prompts)
        place = obj.prompts[position].slice
        prompt = point_from_voxel(self._geometry, place, x % 9, y % 9)
        self.work.prompt_edited.emit(PromptEdit("change", obj.id, position, prompt))
        return self.controller.inputs.segment_id

    def delete_point(self, number: int, _b: int, _c: int, _d: int) -> str | None:
        """Delete a prompt."""
        obj = self.work.selected_object
        if obj is None or not obj.prompts:
            return None
        position = number % len(obj.prompts)
        self.work.prompt_edited.emit(PromptEdit("remove", obj.id, position, None))
        return self.controller.inputs.segment_id

    def remove_prompts(self, _a: int, _b: int, _c: int, _d: int) -> str | None:
        """Take all prompts away."""
        self.controller.editing.remove_prompts()
        return self.controller.inputs.segment_id

    def limit(self, first: int, last: int, _c: int, _d: int) -> str | None:
        """Choose a range of slices."""
        low, high = sorted((first % 10, last % 10))
        self.controller.editing.set_range(low, high)
        return self.controller.inputs.segment_id

    def unlimit(self, _a: int, _b: int, _c: int, _d: int) -> str | None:
        """All slices again."""
        self.controller.editing.clear_range()
        return self.controller.inputs.segment_id

    # -- masks

    def accept(self, index: int, _b: int, _c: int, _d: int) -> str | None:
        """Accept a slice."""
        obj = self.work.selected_object
        masks = [*obj.masks] if obj is not None else []
        if masks:
            self.controller.editing.accept_slice(masks[index % len(masks)])
        return self.controller.inputs.segment_id

    def accept_all(self, _a: int, _b: int, _c: int, _d: int) -> str | None:
        """Accept all slices."""
        self.controller.editing.accept_all()
        return self.controller.inputs.segment_id

    def release(self, index: int, _b: int, _c: int, _d: int) -> str | None:
        """Release a slice."""
        obj = self.work.selected_object
        kept = sorted(obj.kept_slices) if obj is not None else []
        if kept:
            self.controller.editing.release_slice(kept[index % len(kept)])
        return self.controller.inputs.segment_id

    def use_current_mask(self, _a: int, _b: int, _c: int, _d: int) -> str | None:
        """Keep the mask of the shown slice."""
        self.controller.editing.use_current_mask()
        return self.controller.inputs.segment_id

    # -- runs

    def propagate(self, _a: int, _b: int, _c: int, _d: int) -> str | None:
        """Propagate the selected segment."""
        self.controller.runs.propagate()
        return self.controller.inputs.segment_id

    def propagate_all(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Propagate all segments."""
        self.controller.runs.propagate(all_segments=True)

    def turn(self, count: int, _b: int, _c: int, _d: int) -> None:
        """Some results come in."""
        for _ in range(1 + count % 6):
            self.clock.tick()
            self.controller.poll(0.0)

    def settle(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Everything comes in."""
        self._drain()

    def cancel(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Cancel the run."""
        self.controller.runs.cancel()

    def revert(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Take back what the last run of the segment changed."""
        if not self.controller.runs.busy:
            self.controller.changes.revert()

    def undo(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Take a step back."""
        self.controller.history.undo()

    def redo(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Do a step again."""
        self.controller.history.redo()

    def window(self, width: int, _b: int, _c: int, _d: int) -> None:
        """Choose another gray window."""
        self.controller.network.set_window(f"{-100},{100 + width}")

    # -- other modules

    def outside_paint(self, number: int, start: int, index: int, axis: int) -> str | None:
        """Segment Editor paints a block into a segment."""
        return self._paint(number, start, index, axis, True)

    def outside_erase(self, number: int, start: int, index: int, axis: int) -> str | None:
        """Segment Editor erases a block of a segment."""
        return self._paint(number, start, index, axis, False)

    def outside_silent(self, number: int, start: int, index: int, _d: int) -> str | None:
        """A notebook changes voxels in place and reports nothing."""
        segment_id = self._pick(number)
        if segment_id is None:
            return None
        image = labelmap_of(self.segmentation, segment_id)
        if image is None or is_empty(image):
            return None
        labels = raw_array(image)
        value = self.segmentation.GetSegmentation().GetSegment(segment_id).GetLabelValue()
        before = self._shown()[segment_id]
        part = labels[index % labels.shape[0], start % labels.shape[1]]
        part[part == 0] = value
        self._painted = (segment_id, before, self._shown()[segment_id])
        self._check_painted()
        return segment_id

    def outside_add(self, start: int, _b: int, _c: int, _d: int) -> None:
        """Segment Editor adds a segment with voxels."""
        node = self.segmentation
        if node is not None and len(self.work.segment_ids) < 4:
            segment_id = node.GetSegmentation().AddEmptySegment()
            self._set(segment_id, _block(start, start // 7, 0))

    def outside_rename(self, number: int, name: int, _c: int, _d: int) -> None:
        """A segment is renamed in the table of Slicer, sometimes to a name in use."""
        segment_id = self._pick(number)
        if segment_id is not None:
            segment = self.segmentation.GetSegmentation().GetSegment(segment_id)
            segment.SetName(("liver", "spleen", "kidney")[name % 3])

    def outside_delete(self, number: int, _b: int, _c: int, _d: int) -> None:
        """A segment is deleted in the table of Slicer."""
        segment_id = self._pick(number)
        if segment_id is not None:
            self.segmentation.GetSegmentation().RemoveSegment(segment_id)

    def view(self, axis: int, index: int, _c: int, _d: int) -> None:
        """Another view and slice are shown."""
        obj = self.work.selected_object
        if obj is not None and obj.axis is not None:
            self.controller.review.show_slice(index % 10)

    def reopen(self, _a: int, _b: int, _c: int, _d: int) -> None:
        """Save the scene, open it again, and go on: everything is as it was."""
        if not self.work.segment_ids:
            return
        self._drain()
        self.controller.inputs.save()
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        before, shown, pending = self._objects(), self._shown(), self._pending()
        save_and_load(self.mrml, folder, bundle=True)
        self.volume = self.work.volume_node
        self._check_restored(before, shown, pending)

    def away_and_back(self, start: int, number: int, paint: int, _d: int) -> None:
        """Another volume and back; in between, sometimes, somebody paints."""
        if not self.work.segment_ids:
            return
        self._drain()
        before, shown, pending = self._objects(), self._shown(), self._pending()
        segmentation = self.segmentation
        segment_id = self._pick(number)
        self.controller.inputs.set_volume(None)
        painted = None
        if paint % 2 and segment_id is not None:
            painted = shown[segment_id] ^ _block(start, start // 7, 0)
            self._set(segment_id, painted, segmentation)
        self.controller.inputs.set_volume(self.volume)
        if painted is None:
            self._check_restored(before, shown, pending)
            return
        assert np.array_equal(self._shown()[segment_id], painted)
        obj = self.work.object(self.work.object_ids.get(segment_id))
        if obj is not None and obj.axis is not None and not obj.cleanup.is_on and not self.took:
            changed = painted ^ shown[segment_id]
            along = np.moveaxis(changed, int(obj.axis), 0).any(axis=(1, 2))
            assert {*np.flatnonzero(along).tolist()} <= obj.kept_slices, "painting is not the user's own"

    # -- inside

    @property
    def _geometry(self) -> Any:
        geometry = self.controller.inputs.geometry
        assert geometry is not None
        return geometry

    def _check_restored(
        self, before: tuple[SegmentObject, ...], shown: dict[str, Voxels], pending: dict[int, frozenset[int]]
    ) -> None:
        now = {obj.id: obj for obj in self._objects()}
        self._assert_same(self._shown(), shown, "saving and opening changed a segment")
        for obj in before:
            if not (obj.prompts or obj.masks) and obj.id not in now:
                continue
            same = now[obj.id]
            for name in ("object_prompts", "axis", "locked", "cleanup", "propagations"):
                assert getattr(same, name) == getattr(obj, name), f"{name} of {obj.name} was not kept"
            if not self.took:
                assert same.masks == obj.masks, f"masks of {obj.name} were not kept"
            if obj.id in pending:
                assert self._pending()[obj.id] == pending[obj.id], f"what {obj.name} has to do was not kept"
        self._drain()

    def _pending(self) -> dict[int, frozenset[int]]:
        """What each object has to do; not of those that have to do everything again."""
        session, stale = self.work.session, self.work.stale
        return {obj.id: session.pending_slices(obj.id) for obj in self._objects() if obj.id not in stale}

    def _pick(self, number: int) -> str | None:
        """A segment, the selected one most often."""
        ids = self.work.segment_ids
        if not ids:
            return None
        return self.controller.inputs.segment_id if number % 2 else ids[number % len(ids)]

    def _give(self, make: Any, index: int, axis: int) -> str | None:
        segment_id = self.controller.inputs.segment_id
        if segment_id is None:
            segment_id = self.controller.inputs.add_segment()
        object_id = self.controller.editing.object_of(segment_id)
        obj = self.work.session.object(object_id)
        along = SliceAxis(axis % 3) if obj.axis is None or axis % 7 == 0 else obj.axis
        prompt: Prompt = make(SliceRef(along, index % 10))
        self.work.prompt_edited.emit(PromptEdit("add", object_id, None, prompt))
        return segment_id

    def _paint(self, number: int, start: int, index: int, axis: int, inside: bool) -> str | None:
        segment_id = self._pick(number)
        if segment_id is None:
            return None
        before = self._shown()[segment_id]
        block = _block(start, index, axis)
        after = before | block if inside else before & ~block
        self._painted = (segment_id, before, after)
        self._set(segment_id, after)
        self._check_painted()
        return segment_id

    def _check_painted(self) -> None:
        """What was painted is there, and the session has it as the user's own."""
        segment_id, before, after = self._painted
        self.controller._projector.take_edits()
        obj = self.work.object(self.work.object_ids.get(segment_id))
        painted = before ^ after if obj is not None and obj.cleanup.is_on else np.ones(SHAPE, np.bool_)
        assert not ((self._shown()[segment_id] ^ after) & painted).any(), "painting was changed"
        if obj is None or obj.axis is None:
            assert obj is None or not after.any(), "painting is not in the session"
            return
        along = [np.moveaxis(each, int(obj.axis), 0).any(axis=(1, 2)) for each in (before ^ after, after)]
        drawn = {*np.flatnonzero(along[0] & along[1]).tolist()}  # slices that were emptied are computed again
        assert drawn <= obj.kept_slices, "painting is not the user's own"

    def _set(self, segment_id: str, voxels: Voxels, node: Any | None = None) -> None:
        self.mrml.slicer.util.updateSegmentBinaryLabelmapFromArray(
            voxels.astype(np.uint8), node or self.segmentation, segment_id, self.volume
        )


def _block(start: int, index: int, axis: int) -> Voxels:
    """A small block of voxels, most often in one slice."""
    voxels = np.zeros(SHAPE, np.bool_)
    slices = np.moveaxis(voxels, axis % 3, 0)
    low = start % 7
    slices[
        index % 10 : index % 10 + 1 + start % 2, low : low + 3, (start // 10) % 7 : (start // 10) % 7 + 3
    ] = True
    return voxels
