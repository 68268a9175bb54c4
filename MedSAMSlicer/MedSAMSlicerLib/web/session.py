"""One user's volume, objects and masks: the controller of `app/` behind a lock, with a thread that brings results in.

Every public method may be called from any thread. Slices are counted in the order of the file's own array, places on
a slice in voxels: x along the axis that varies faster in memory, y along the other, voxel n from n - 0.5 to n + 0.5.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from ..app.controller import Controller
from ..app.engine_state import Engine
from ..app.ports import ObjectMarkups, ShownSlice
from ..app.state import Action, NetworkState, Topic
from ..app.worker import Worker
from ..app.workspace import Settings
from ..core.cleanups import Cleanup
from ..core.errors import MedSAMError, SessionError, SeveralSeriesError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.outlines import lasso_from_outline
from ..core.prompts import (
    MaskPrompt,
    Prompt,
    PromptSet,
    SliceRef,
    box_from_voxels,
    line_from_voxels,
    point_from_voxel,
)
from ..core.translation import tr as _
from ..io.labels import read_slice_mask
from ..io.segmentations import Color
from ..io.volumes import Volume
from .limits import Limits, SessionEndedError
from .memory_scene import MemoryScene, MemorySegments, MemoryVolume, as_port
from .models import SharedModels
from .run_queue import RunQueue
from .uploads import read_upload, remove_folder

Kind = Literal["box", "point", "lasso", "line"]
T = TypeVar("T")

_POLL_SECONDS = 0.01
_EXPORT = "export-"
_MASK_TOPICS = (Topic.MASKS, Topic.SEGMENTS, Topic.INPUTS)


class WebSession:
    """One volume and what its user makes of it.

    Args:
        folder: private, made by the owner; removed by `close`.
        settings: device, threads, memory for features.
        limits: of the server.
        queue: which sessions may propagate.
        models: the networks of the server.
        checkpoint: id or file of the network; None = the bundled one.
        clock: seconds.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        limits: Limits,
        queue: RunQueue,
        models: SharedModels,
        checkpoint: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = secrets.token_urlsafe(24)
        self.folder, self.limits = folder, limits
        self._queue, self._clock = queue, clock
        self._lock = threading.RLock()
        self._wanted: bool | None = None  # a propagation that waits for its turn: of all objects, or of one
        self._volume: Volume | None = None
        self.series: tuple[tuple[str, str], ...] = ()  # UID and description, where one must be chosen
        self.value_range = (0.0, 1.0)  # lowest and highest finite value of the volume
        self._files = 0
        self.revision = self.masks_revision = self.messages = 0
        self.note = ""  # why a propagation that had to wait did not begin
        self._counts: dict[str, tuple[int, int]] = {}  # by object: masks revision, voxels
        self.last_used = clock()
        self._scene = MemoryScene()
        self._scene.choices.window_spec = "auto"
        self._scene.choices.checkpoint = checkpoint
        settings = replace(settings, cleanup=Cleanup.usual())
        worker = Worker(partial(Engine, models.load))
        self._controller = Controller(as_port(self._scene), None, settings, worker)
        self._controller.observe(self._changed)
        self._closed = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._bring_in, name="MedSAMSlicer session", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------------------------------ the volume

    def open(self, path: Path, series_uid: str | None = None) -> None:
        """Read an uploaded volume, which takes the place of the one before.

        Where it is an archive of several DICOM series and none is named, `series` lists them, and nothing is opened.

        Raises:
            LimitError: it is too large.
            VolumeError: it cannot be read.
        """
        self._use()
        left = {*self.folder.iterdir()} - {path.parent}
        unpacked = self.new_path(path.stem)  # sentences about an archive name it by this folder
        try:
            volume = read_upload(path, unpacked, self.limits, series_uid or None)
        except SeveralSeriesError as error:
            with self._working():
                self.series = tuple(zip(error.uids, error.listing, strict=True))
                self._count()
            remove_folder(unpacked.parent)
            return
        except MedSAMError:
            for folder in (path.parent, unpacked.parent):
                remove_folder(folder)
            raise
        self.show(volume)
        for folder in left:  # of the volume before
            remove_folder(folder)

    def show(self, volume: Volume) -> None:
        """Work on a volume from now on; objects and masks of the one before are gone."""
        shown = MemoryVolume(volume.array, volume.geometry, volume.name, volume.modality)
        with self._working():
            self._leave_queue()
            self.series = ()
            self._controller.inputs.set_volume(None)
            self._controller.inputs.set_segmentation(None)
            self._scene.choices.segmentation = None
            self._volume, self.value_range = volume, value_range(volume.array)
            self._controller.inputs.set_volume(shown)
            for axis in SliceAxis:
                self._scene.views.indices[axis] = volume.geometry.slice_count(axis) // 2

    @property
    def volume(self) -> Volume:
        """The volume; SessionError when none was opened."""
        if self._volume is None:
            raise SessionError(_("Open a volume first."))
        return self._volume

    @property
    def geometry(self) -> VolumeGeometry:
        """The grid of the volume."""
        return self.volume.geometry

    def set_window(self, spec: str) -> None:
        """Choose the gray values that the network sees: auto, a CT preset, percentile, pet, full or LOWER,UPPER."""
        with self._working():
            self._controller.network.set_window(spec)

    # ----------------------------------------------------------------------------------------------- the objects

    def add_object(self, name: str = "", color: Color | None = None) -> str:
        """Add an object without prompts and select it; returns its identifier."""
        with self._working():
            self.volume  # noqa: B018 - raises when there is none
            self.limits.check_objects(len(self._controller.inputs.segment_ids))
            self.limits.check_name(name)
            added = self._controller.inputs.add_segment(name.strip() or None)
            if color is not None:
                self._segments.recolor(added, color)
            return added

    def object_id(self, wanted: str) -> str:
        """The identifier of an object, given by that, by its name, or by nothing for the selected one."""
        inputs = self._controller.inputs
        if not wanted and inputs.segment_id is not None:
            return inputs.segment_id
        if wanted in inputs.segment_ids:
            return wanted
        named = [each for each in inputs.segment_ids if self._segments.name(each) == wanted]
        if not named:
            raise SessionError(
                _("There is no object {name!r} in this session.").format(name=wanted)
                if wanted
                else _("Add an object first.")
            )
        return named[0]

    def select_object(self, wanted: str) -> str:
        """Let prompts go to this object; returns its identifier."""
        with self._working():
            found = self.object_id(wanted)
            self._controller.inputs.select_segment(found)
            return found

    def change_object(self, wanted: str, name: str | None = None, color: Color | None = None) -> None:
        """Give an object another name or color."""
        with self._working():
            found = self.object_id(wanted)
            self.limits.check_name(name or "")
            if name is not None and name.strip() and name.strip() != self._segments.name(found):
                self._segments.rename(found, name.strip())
            if color is not None:
                self._segments.recolor(found, color)

    def remove_object(self, wanted: str) -> None:
        """Delete an object; undo brings it back if it had prompts or masks."""
        with self._working():
            self._segments.delete(self.object_id(wanted))

    # ----------------------------------------------------------------------------------------------- the prompts

    def prompt(
        self,
        wanted: str,
        kind: Kind,
        axis: SliceAxis,
        index: int,
        places: Sequence[Sequence[float]],
        positive: bool = True,
    ) -> None:
        """Give an object a prompt; where the session has no object yet, one is added.

        Args:
            wanted: the object, see `object_id`.
            kind: "box", "point", "lasso" or "line" (the longest diameter).
            axis, index: the slice.
            places: (x, y): one place, an outline, the two ends of a line; two opposite corners of a box, which are
                voxel edges: a box around columns 3 to 5 reaches from 3 to 6.
            positive: whether a point or lasso marks the object, or what does not belong to it.
        """
        with self._working():
            if not wanted and not self._controller.inputs.segment_ids:
                self.add_object()
            self.select_object(wanted)
            self.check_slice(axis, index)
            if self.volume.array.ndim == 4 and axis is not SliceAxis.K:
                raise SessionError(_("A video has frames along axis k only."))
            self._scene.views.looked_at, self._scene.views.indices[axis] = axis, index
            editing = self._controller.editing
            if kind == "lasso":
                shown = ShownSlice(axis, index, 0.0, axis.name)
                outline = self.geometry.slice_to_ras(_pairs(places, None, kind), index, axis)
                editing.add_drawn(
                    lambda geometry, place: lasso_from_outline(geometry, place, outline.tolist(), positive),
                    shown,
                )
            else:
                editing.add_prompt(
                    _prompt(self.geometry, kind, SliceRef(axis, index), places, bool(positive))
                )

    def prompt_mask(self, wanted: str, axis: SliceAxis, index: int, path: Path, label: str = "") -> None:
        """Give an object the mask of a slice, from a picture of that slice or a label volume."""
        with self._working():
            self.check_slice(axis, index)
            self.limits.check_upload(path.name, path.stat().st_size)
            if not wanted and not self._controller.inputs.segment_ids:
                self.add_object()
            found = self.select_object(wanted)
            name = self._segments.name(found)
            mask = read_slice_mask(path, self.geometry, axis, index, label or None, name)
            self._controller.editing.add_prompt(MaskPrompt(SliceRef(axis, index), mask))

    def remove_prompt(self, wanted: str, position: int) -> None:
        """Remove one prompt of an object, counted from 0."""
        with self._working():
            self.select_object(wanted)
            self._controller.editing.remove_prompt(position)

    def set_range(self, wanted: str, first: int | None, last: int | None) -> None:
        """Propagate an object from slice `first` to `last` only, both included; None = to the end of the volume."""
        with self._working():
            self.select_object(wanted)
            editing = self._controller.editing
            if first is None and last is None:
                editing.clear_range()
                return
            reason = self._controller.reason(Action.SET_RANGE)
            if reason is not None or editing.axis is None:
                raise SessionError(reason or "")
            final = self.geometry.slice_count(editing.axis) - 1
            low, high = 0 if first is None else first, final if last is None else last
            for index in (low, high):
                self.check_slice(editing.axis, index)
            editing.set_range(min(low, high), max(low, high))

    def accept(self, wanted: str, index: int, accepted: bool = True) -> None:
        """Keep the mask of a slice from being computed again, or let it be."""
        with self._working():
            self.select_object(wanted)
            if accepted:
                self._controller.editing.accept_slice(index)
            else:
                self._controller.editing.release_slice(index)

    def look_at(self, axis: SliceAxis, index: int) -> None:
        """The page shows a slice: where the user draws, it is prepared, so that a click is answered at once."""
        with self._lock:
            self._check_open()
            self.check_slice(axis, index)
            if axis == self._scene.views.looked_at and self._scene.views.indices[axis] != index:
                self._scene.views.indices[axis] = index
                self._controller.network.prepare_slice(axis, index)
                self._wake.set()

    def next_doubtful(self, wanted: str) -> int:
        """The slice whose mask is the least certain, then the next with each call."""
        with self._working():
            self.select_object(wanted)
            return self._controller.review.next_doubtful()

    def import_prompts(self, prompts: PromptSet) -> tuple[str, ...]:
        """Add the objects of a prompts file; returns their identifiers."""
        with self._working():
            self.limits.check_objects(len(self._controller.inputs.segment_ids) + len(prompts.objects) - 1)
            return self._controller.files.add_prompts(prompts)

    # ------------------------------------------------------------------------------------------------- computing

    def propagate(self, wanted: str = "", every: bool = False) -> None:
        """Compute what is pending of an object, or of all; returns at once. It may have to wait for its turn."""
        with self._working():
            if not every:
                self.select_object(wanted)
            reason = self._controller.reason(Action.PROPAGATE_ALL if every else Action.PROPAGATE)
            if reason is not None:
                raise SessionError(reason)
            self.note = ""
            self._queue.ask(self.id)
            self._wanted = every
            self._begin_if_its_turn()
            self._count()

    def cancel(self) -> None:
        """End the propagation within one slice, or wait for its turn no longer."""
        with self._working():
            if self._wanted is not None:
                self._leave_queue()
                self._count()
            else:
                self._controller.runs.cancel()

    def undo(self) -> None:
        """Undo the last step, prompts and masks together."""
        with self._working():
            self._controller.history.undo()

    def redo(self) -> None:
        """Redo the last undone step last."""
        with self._working():
            self._controller.history.redo()

    def take_offer(self) -> None:
        """Do what the last message offered, such as to run with less memory; refused while others propagate."""
        with self._working():
            self._queue.ask(self.id)
            if not self._queue.take(self.id):
                self._queue.leave(self.id)
                raise SessionError(_("Others are propagating now: try again in a moment."))
            self._controller.take_offer()

    @property
    def is_running(self) -> bool:
        """Return whether a propagation computes or waits for its turn."""
        return self._wanted is not None or self._controller.runs.busy

    def wait(self, seconds: float, previews_only: bool = False) -> bool:
        """Wait until the network is ready and nothing is computed any more; False when that takes longer.

        With `previews_only` until each prompt has its preview, whether or not a propagation goes on.
        """
        until = time.monotonic() + seconds
        while True:
            with self._lock:
                self._check_open()
                state = self._controller.network.state
                is_coming = self._volume is not None and state in (
                    NetworkState.WAITING,
                    NetworkState.PREPARING,
                )
                due = is_coming or (state is NetworkState.READY and self._controller.editing.awaits_previews)
                if not due and (previews_only or not (self.is_running or self._controller.poll())):
                    return True
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_SECONDS)

    # --------------------------------------------------------------------------------------------------- looking

    @contextmanager
    def looking(self) -> Iterator[Controller]:
        """The controller, while nothing of it changes; for reading only."""
        with self._lock:
            self._check_open()
            yield self._controller

    @property
    def shown_prompts(self) -> tuple[ObjectMarkups, ...]:
        """The prompts of all objects; to be read within `looking`."""
        return self._scene.markups.shown

    def voxel_count(self, segment_id: str) -> int:
        """The voxels of an object, counted once for each change of the masks; to be called within `looking`."""
        known = self._counts.get(segment_id)
        if known is None or known[0] != self.masks_revision:
            voxels = self._segments.segmentation_node.segments[segment_id].voxels
            known = self._counts[segment_id] = (self.masks_revision, int(np.count_nonzero(voxels)))
        return known[1]

    @property
    def queue_position(self) -> int | None:
        """The number of sessions that propagate or wait before this one; None when it does not wait."""
        return None if self._wanted is None else self._queue.position(self.id)

    @property
    def exports(self) -> list[Path]:
        """The folders of the files that were exported."""
        return [*self.folder.glob(f"{_EXPORT}*")]

    def new_path(self, name: str, exported: bool = False) -> Path:
        """A path in the private folder, alone in a folder of its own, whose parent exists.

        Args:
            name: of the file or folder.
            exported: whether it is only there to be downloaded.
        """
        with self._lock:
            self._check_open()
            self._files += 1
            place = self.folder / f"{_EXPORT * exported}{self._files}"
        place.mkdir(mode=0o700)
        return place / name

    def check_slice(self, axis: SliceAxis, index: object) -> None:
        """Raise SessionError for a slice that does not exist, or is no number."""
        last = self.geometry.slice_count(axis) - 1
        if not isinstance(index, int) or not 0 <= index <= last:
            text = _("Slice {index} does not exist: axis {axis} has slices 0 to {last}.")
            raise SessionError(text.format(index=index, axis=axis.name.lower(), last=last))

    def touch(self) -> None:
        """The user is there."""
        self.last_used = self._clock()

    # ---------------------------------------------------------------------------------------------------- ending

    @property
    def is_closed(self) -> bool:
        """Return whether the session has ended."""
        return self._closed

    def close(self) -> None:
        """End the session: its run, its threads, its files. Safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._leave_queue()
            self._controller.close()
            self._volume = None
        self._wake.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        remove_folder(self.folder)

    # ---------------------------------------------------------------------------------------------------- inside

    @property
    def _segments(self) -> MemorySegments:
        segments = self._controller.inputs.masks
        if not isinstance(segments, MemorySegments):
            raise SessionError(_("Add an object first."))
        return segments

    @contextmanager
    def _working(self) -> Iterator[None]:
        """One action of the user; what it hands to the worker is brought in by the thread."""
        with self._lock:
            self._check_open()
            self._use()
            try:
                yield
            finally:
                self._wake.set()

    def _use(self) -> None:
        self._check_open()
        self.touch()

    def _check_open(self) -> None:
        if self._closed:
            raise SessionEndedError(_("This session has ended: open the volume again."))

    def _changed(self, topic: Topic) -> None:
        self.revision += 1
        if topic is Topic.NETWORK and self._controller.network.state is NetworkState.READY:
            axis = self._scene.views.looked_at
            self._controller.network.prepare_slice(axis, self._scene.views.indices[axis])
        if topic in _MASK_TOPICS:
            self.masks_revision += 1
        if topic is Topic.MESSAGE:
            self.messages += 1

    def _count(self) -> None:
        self.revision += 1

    def _begin_if_its_turn(self) -> None:
        if self._wanted is None or not self._queue.take(self.id):
            return
        every, self._wanted = self._wanted, None
        try:
            self._controller.runs.propagate(every)
        except MedSAMError:
            self._queue.leave(self.id)
            raise

    def _leave_queue(self) -> None:
        self._wanted = None
        if not self._controller.runs.busy or self._closed:
            self._queue.leave(self.id)

    def _bring_in(self) -> None:
        """Take results in while there are any; the life of the thread."""
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            active = True
            while active:
                with self._lock:
                    active = self._bring_in_once()
                time.sleep(_POLL_SECONDS)

    def _bring_in_once(self) -> bool:
        if self._closed:
            return False
        active = self._controller.poll()
        if self._wanted is not None:
            try:
                self._begin_if_its_turn()
            except MedSAMError as error:  # such as when its last prompt was removed meanwhile
                self.note = str(error)
                self._leave_queue()
                self._count()
        elif not self._controller.runs.busy:
            self._queue.leave(self.id)
        return active or self.is_running


def value_range(array: npt.NDArray[Any]) -> tuple[float, float]:
    """The lowest and the highest finite value of a volume that has any."""
    lowest, highest = float(array.min()), float(array.max())
    if not np.isfinite([lowest, highest]).all():
        finite = array[np.isfinite(array)]
        lowest, highest = float(finite.min()), float(finite.max())
    return lowest, highest


def _pairs(places: Sequence[Sequence[float]], count: int | None, kind: str) -> npt.NDArray[np.float64]:
    """Places as (N, 2); SessionError when they are others than the kind of prompt needs."""
    try:
        xy = np.asarray(places, np.float64)
    except (TypeError, ValueError):
        xy = np.empty(0)
    if xy.ndim != 2 or xy.shape[1] != 2 or (count is not None and len(xy) != count):
        needed = {1: "one place [x, y]", 2: "two places [x, y]"}.get(count or 0, "places [x, y]")
        raise SessionError(f"A {kind} needs {needed} in voxels, got {places!r}.")
    return xy


def _prompt(
    geometry: VolumeGeometry, kind: str, place: SliceRef, places: Sequence[Sequence[float]], positive: bool
) -> Prompt:
    if kind == "point":
        [[x, y]] = _pairs(places, 1, kind).tolist()
        return point_from_voxel(geometry, place, x, y, positive)
    if kind not in ("box", "line"):
        raise SessionError(f"A prompt is a box, point, lasso or line, not {kind!r}.")
    xy = _pairs(places, 2, kind)
    if kind == "line":
        return line_from_voxels(geometry, place, *xy.ravel().tolist())
    rows, columns = geometry.slice_shape(place.axis)
    inside = np.clip(xy, 0, [columns, rows])
    return box_from_voxels(geometry, place, *inside.min(axis=0).tolist(), *inside.max(axis=0).tolist())
