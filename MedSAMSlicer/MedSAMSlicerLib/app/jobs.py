"""The jobs of the worker: the only file of this folder that reaches the engine, and never before it runs on the thread.

Objects are known to the engine by a name that never changes, so that a renamed segment is not computed again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..core.cleanups import Cleanup
from ..core.errors import Canceled
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.input_files import read_prompts
from ..core.intensity import Window, choose_window, with_contrast
from ..core.masks import PackedMask
from ..core.prompts import ObjectPrompts, PromptSet
from .engine_state import FEW_FEATURES_BYTES, ChannelVoxels, Engine, NetworkChoice, Prepared
from .state import RunEstimate
from .worker import IsCanceled, Job

if TYPE_CHECKING:
    from ..engine.segmenter import VolumeSegmenter
    from ..engine.slice_scores import SliceScore

BoolArray = npt.NDArray[np.bool_]

_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class ObjectToRun:
    """One object for the engine: its prompts along its axis, and the slices that are wanted (none = all).

    The masks of the other slices are known, such as from a saved scene, and are neither computed nor handed out; with
    `strictly` not even where they look otherwise among all slices of the object. `barred` are voxels by slice that
    surely are not of the object: those of other segments.
    """

    id: int
    axis: SliceAxis
    object_prompts: ObjectPrompts
    wanted: frozenset[int] = frozenset()
    strictly: bool = False
    barred: Mapping[int, PackedMask] = field(default_factory=dict)

    def prompt_set(self, geometry: VolumeGeometry, window: Window | None) -> PromptSet:
        """For the engine."""
        return PromptSet(geometry, self.axis, (engine_prompts(self.id, self.object_prompts),), window)


def engine_name(object_id: int) -> str:
    """The name of an object within the engine."""
    return f"object-{object_id}"


def engine_prompts(object_id: int, prompts: ObjectPrompts) -> ObjectPrompts:
    """Return the prompts of an object under its name within the engine."""
    return replace(prompts, name=engine_name(object_id))


@dataclass(frozen=True, eq=False)
class SliceFound:
    """The mask of one slice, bool (rows, columns), and how certain it is, 0..1."""

    object_id: int
    index: int
    mask: BoolArray
    confidence: float | None


@dataclass(frozen=True)
class SlicesGone:
    """Slices that the object is not on."""

    object_id: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class SlicesDone:
    """The number of slices done, and of slices in all."""

    done: int
    total: int


@dataclass(frozen=True)
class ObjectFinished:
    """An object is finished."""

    object_id: int


# ----------------------------------------------------------------------------------------------------------- the jobs


class WindowJob(Job):
    """Find the window of a volume, or check a given one; needs no network.

    Attributes:
        notes: sentences for the user, once it ran.
    """

    def __init__(self, array: npt.NDArray[np.generic], wanted: str | Window, modality: str | None) -> None:
        self._array, self._wanted, self._modality = array, wanted, modality
        self.notes: list[str] = []

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[Window]:
        """Yields the window."""
        if isinstance(self._wanted, Window):
            yield with_contrast(self._wanted, self._array, self.notes.append)
        else:
            yield choose_window(self._array, self._wanted, self._modality, self.notes.append)

    def replaces(self, waiting: Job) -> bool:
        """An earlier choice is of no interest."""
        return isinstance(waiting, WindowJob)


class PrepareJob(Job):
    """Load the network and show it the volume."""

    def __init__(
        self,
        array: npt.NDArray[np.generic],
        geometry: VolumeGeometry,
        window: Window,
        choice: NetworkChoice,
        further: Sequence[ChannelVoxels] = (),
    ) -> None:
        self._volume, self._choice, self._further = (array, geometry, window), choice, further

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[Prepared]:
        """Yields what was prepared."""
        yield tools.prepare(*self._volume, self._choice, self._further)

    def replaces(self, waiting: Job) -> bool:
        """An earlier choice is of no interest."""
        return isinstance(waiting, PrepareJob)


class ForgetJob(Job):
    """Let go of the volume, or of single objects."""

    def __init__(self, object_ids: tuple[int, ...] | None = None) -> None:
        self._object_ids = object_ids

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[object]:
        """Yields nothing."""
        if self._object_ids is None:
            tools.forget_volume()
        else:
            tools.forget_objects([engine_name(object_id) for object_id in self._object_ids])
        yield from ()


class FillJob(Job):
    """Prepare slices in the background, outward from the one that is shown.

    Args:
        axis, index: the slice that is shown.
        reach: how many slices beside it, on either side; None = all.
    """

    def __init__(self, axis: SliceAxis, index: int, reach: int | None = None) -> None:
        self._axis, self._index, self._reach = axis, index, reach

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[object]:
        """Yields nothing; the work goes on in the background."""
        if tools.segmenter is not None:
            segmenter = tools.segmenter
            store, view = segmenter.network(self._axis).store, segmenter.whole(self._axis)
            count = segmenter.geometry.slice_count(self._axis)
            reach = count if self._reach is None else self._reach
            near = range(max(0, self._index - reach), min(count, self._index + reach + 1))
            store.fill(self._index, view, near)
            reader = segmenter.second_reader(self._axis)
            if reader is not None:
                reader.prepare(self._index)
        yield from ()

    def replaces(self, waiting: Job) -> bool:
        """Only the last slice that was shown counts."""
        return isinstance(waiting, FillJob)


class PreviewJob(Job):
    """The mask of one slice, while the user clicks."""

    urgent = True

    def __init__(self, obj: ObjectToRun, index: int) -> None:
        self.obj, self.index = obj, index

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[SliceFound]:
        """Yields the mask; where a second network may draw a better one, :class:`SecondLookJob` asks for that."""
        live = tools.live(engine_name(self.obj.id), self.obj.axis)
        mask = live.preview(engine_prompts(self.obj.id, self.obj.object_prompts), self.index, read=False)
        yield SliceFound(self.obj.id, self.index, mask.mask, mask.confidence)

    def replaces(self, waiting: Job) -> bool:
        """The latest wins."""
        return (
            isinstance(waiting, PreviewJob | SecondLookJob)
            and waiting.obj.id == self.obj.id
            and waiting.index == self.index
        )


class SecondLookJob(Job):
    """The mask of a slice that was previewed, once a second network has drawn it, too.

    That takes a second: urgent jobs go between, and the slice is encoded in the background, which rests meanwhile.
    """

    def __init__(self, obj: ObjectToRun, index: int) -> None:
        self.obj, self.index = obj, index

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[SliceFound | None]:
        """Yields the mask; None while there is none yet."""
        name = engine_name(self.obj.id)
        live = tools.live(name, self.obj.axis)
        if not live.is_unread(name, self.index):
            return
        reader = tools.ready().second_reader(self.obj.axis)
        if reader is not None:
            reader.prepare(self.index)
            while reader.store.filling and not reader.is_prepared(self.index):
                yield None
                time.sleep(_LOOK_SECONDS)
        mask = live.preview(engine_prompts(self.obj.id, self.obj.object_prompts), self.index)
        yield SliceFound(self.obj.id, self.index, mask.mask, mask.confidence)


class PropagateJob(Job):
    """Bring objects up to date, one after the other.

    Args:
        to_run: the objects.
        small: keep only few features, where memory is short; slower.
    """

    def __init__(self, to_run: tuple[ObjectToRun, ...], small: bool = False) -> None:
        self._to_run, self._small = to_run, small

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[object]:
        """Yields SliceFound, SlicesGone, SlicesDone and ObjectFinished."""
        from ..engine.estimate import check_memory

        tools.stop_filling()
        if self._small:
            tools.limit_features()
        yield SlicesDone(0, sum(len(obj.wanted) for obj in self._to_run))
        expected = estimate_of(tools, self._to_run)
        check_memory(expected.peak_bytes, expected.free_bytes, expected.spared_bytes)
        finished = 0
        for place, obj in enumerate(self._to_run):
            rest = sum(len(later.wanted) for later in self._to_run[place + 1 :])
            counted = (0, 0)
            for found in _updated(tools, obj, canceled):
                if isinstance(found, SlicesDone):
                    counted = (found.done, found.total)
                    yield SlicesDone(finished + found.done, finished + max(found.total, found.done) + rest)
                else:
                    yield found
            finished += counted[0]
            yield ObjectFinished(obj.id)


@dataclass(frozen=True, eq=False)
class SliceInTime:
    """A slice of an object whose mask, bool (rows, columns), is to be carried to other time points."""

    object_id: int
    axis: SliceAxis
    index: int
    mask: BoolArray


@dataclass(frozen=True, eq=False)
class SliceCarried:
    """The mask, bool (rows, columns), that such a slice has at another time point, counted among those given."""

    object_id: int
    index: int
    frame: int
    mask: BoolArray
    confidence: float


class CarryJob(Job):
    """Carry masks to the same slices of other time points.

    Args:
        volumes: the voxels, (K, J, I) or in color (K, J, I, 3), of each time point.
        start: the one that the masks are of.
        slices: with their masks.
    """

    def __init__(
        self, volumes: tuple[npt.NDArray[np.generic], ...], start: int, slices: tuple[SliceInTime, ...]
    ) -> None:
        self._volumes, self._start, self._slices = volumes, start, slices

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[SliceCarried | SlicesDone]:
        """Yields SliceCarried and SlicesDone."""
        from ..engine.through_time import carried_masks, slice_in_time

        tools.stop_filling()
        done, total = 0, len(self._slices) * (len(self._volumes) - 1)
        for each in self._slices:
            frames = slice_in_time(self._volumes, each.axis, each.index)
            found = carried_masks(tools.ready(), frames, each.axis, self._start, each.mask, canceled)
            for there in found:
                done += 1
                yield SliceCarried(each.object_id, each.index, there.frame, there.mask, there.confidence)
                yield SlicesDone(done, total)


class EstimateJob(Job):
    """The time and memory that the next propagation would take; measures a few slices the first time."""

    def __init__(self, to_run: tuple[ObjectToRun, ...]) -> None:
        self._to_run = to_run

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[RunEstimate]:
        """Yields the estimate."""
        yield estimate_of(tools, self._to_run)

    def replaces(self, waiting: Job) -> bool:
        """Only the last question counts."""
        return isinstance(waiting, EstimateJob)


@dataclass(frozen=True)
class Search:
    """The settings of a search on a slice: see `engine.proposals.ProposalSettings`; `most` candidates are kept."""

    points_per_side: int = 32
    least_iou: float | None = None
    least_stability: float = 0.95
    most: int = 12


@dataclass(frozen=True, eq=False)
class CandidateFound:
    """A mask that was found without a prompt, bool (rows, columns), and its IoU as the network estimates it."""

    mask: BoolArray
    certainty: float


class ProposeJob(Job):
    """Find everything on a slice that no known mask covers.

    Args:
        axis, index: the slice.
        search: how it is searched.
        known: masks on it that are segments already.

    Attributes:
        progress: clicks or boxes so far and in all.
    """

    def __init__(self, axis: SliceAxis, index: int, search: Search, known: tuple[BoolArray, ...]) -> None:
        self._axis, self._index, self._search, self._known = axis, index, search, known
        self.progress = (0, 0)

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[CandidateFound]:
        """Yields the candidates, the most certain first."""
        from ..engine.proposals import ProposalSettings, new_objects

        tools.stop_filling()
        search = self._search
        settings = ProposalSettings(
            points_per_side=search.points_per_side,
            least_iou=search.least_iou,
            least_stability=search.least_stability,
        )
        found = tools.ready().propose(self._index, self._axis, settings, canceled, self._advance)
        taken: BoolArray | None = np.any(self._known, axis=0) if self._known else None
        left = search.most
        for each in new_objects([each for each in found if each.area], self._known):
            free = each.mask if taken is None else each.mask & ~taken
            if left and 2 * free.sum() > each.area:  # no voxel is suggested twice
                taken, left = each.mask if taken is None else taken | each.mask, left - 1
                yield CandidateFound(free, each.iou)

    def _advance(self, done: int, total: int) -> None:
        self.progress = done, total


class SpeedJob(Job):
    """The speed of the computer; no volume is needed.

    Args:
        device, threads: as in `NetworkChoice`.
    """

    def __init__(self, device: str, threads: int | None) -> None:
        self._device, self._threads = device, threads

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[float]:
        """Yields multiplications and additions a second."""
        from ..engine.machine_speed import measured_speed

        tools.stop_filling()
        yield measured_speed(self._device, self._threads)


class CleanJob(Job):
    """Clean the masks of one object; yields those slices that look otherwise afterwards, packed.

    Args:
        axis, shape: slice axis and (K, J, I) of the volume.
        spacing: mm along (i, j, k).
        masks: the raw ones by slice index.
        keys: key slices; kept: slices of the user, which stay as they are.
        cleanup: what to do.
    """

    def __init__(
        self,
        geometry: VolumeGeometry,
        axis: SliceAxis,
        masks: Mapping[int, PackedMask],
        keys: frozenset[int],
        kept: frozenset[int],
        cleanup: Cleanup,
    ) -> None:
        self._geometry, self._axis, self._masks = geometry, axis, dict(masks)
        self._keys, self._kept, self._cleanup = keys, kept, cleanup

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[dict[int, PackedMask]]:
        """Yields changed slices by index."""
        from ..engine import cleanup

        volume = np.zeros(self._geometry.shape, np.bool_)
        slices = np.moveaxis(volume, int(self._axis), 0)
        for index, mask in self._masks.items():
            slices[index] = mask.to_array()
        name = self._cleanup.prompt_set_name
        cleaned = cleanup.clean(volume, self._axis, sorted(self._keys), name)
        if self._cleanup.smooth:
            cleaned = cleanup.smooth_between_slices(cleaned, self._axis, self._geometry.spacing)
        after = np.moveaxis(cleaned, int(self._axis), 0)
        changed: dict[int, PackedMask] = {}
        for index, mask in self._masks.items():
            if index not in self._kept:
                packed = PackedMask.from_array(np.ascontiguousarray(after[index]))
                if packed != mask:
                    changed[index] = packed
        yield changed


@dataclass(frozen=True)
class SliceScored:
    """The network's score of the mask of a slice; see :class:`..engine.slice_scores.SliceScore`."""

    index: int
    doubted: float
    confidence: float


@dataclass(eq=False)
class ScoreRun:
    """The review of one segment, over several jobs.

    Attributes:
        axis: the slice axis of its masks.
        masks: by slice index.
        wanted: the slices to score.
        finished: whether all have been.
        steps, segmenter: how far the worker is, and with what; on the worker only.
    """

    axis: SliceAxis
    masks: Mapping[int, PackedMask]
    wanted: tuple[int, ...]
    finished: bool = False
    steps: Iterator[SliceScore] | None = None
    segmenter: VolumeSegmenter | None = None


class ScoreJob(Job):
    """Score some slices of a segment; the next job goes on from there.

    Args:
        run: the review.
        seconds: how long, about.
    """

    def __init__(self, run: ScoreRun, seconds: float = 0.3) -> None:
        self._run, self._seconds = run, seconds

    def run(self, tools: Engine, canceled: IsCanceled) -> Iterator[SliceScored]:
        """Yields what was scored.

        Raises:
            Canceled: another network or volume was prepared since the review began.
        """
        from ..engine.slice_scores import score_slices

        run, segmenter = self._run, tools.ready()
        tools.stop_filling()
        if run.steps is None:
            run.segmenter = segmenter
            run.steps = score_slices(segmenter, run.axis, run.masks, run.wanted)
        if run.segmenter is not segmenter:
            run.steps = run.segmenter = None
            raise Canceled("Another network was prepared.")
        until = time.perf_counter() + self._seconds
        for score in run.steps:
            yield SliceScored(score.index, score.doubted, score.confidence)
            if time.perf_counter() > until or canceled():
                return
        run.finished, run.steps, run.segmenter = True, None, None


# ------------------------------------------------------------------------------------------------------------- inside


def estimate_of(tools: Engine, to_run: tuple[ObjectToRun, ...]) -> RunEstimate:
    """Time and memory for the slices that are wanted, of whole runs if nothing is wanted."""
    from ..engine.estimate import estimate

    segmenter = tools.ready()
    seconds, peak, count, spared = 0.0, 0, 0, 0
    for axis in dict.fromkeys(obj.axis for obj in to_run):
        together = [obj for obj in to_run if obj.axis == axis]
        objects = tuple(engine_prompts(obj.id, obj.object_prompts) for obj in together)
        prompts = PromptSet(segmenter.geometry, axis, objects, segmenter.window)
        whole = estimate(segmenter, prompts, probe=tools.probe(axis))
        last = segmenter.geometry.slice_count(axis) - 1
        ranges = [obj.object_prompts.slice_range or (0, last) for obj in together]
        everything = sum(final - first + 1 for first, final in ranges)
        wanted = sum(len(obj.wanted) for obj in together) or everything
        seconds += whole.seconds * wanted / max(everything, 1)
        peak = max(peak, whole.further_bytes)
        spared = max(spared, whole.parts["features"] - FEW_FEATURES_BYTES)
        count += wanted
    return RunEstimate(seconds, peak, tools.free_bytes(), count, spared)


def _updated(tools: Engine, obj: ObjectToRun, canceled: IsCanceled) -> Iterator[object]:
    """Return what the engine finds for one object, and what is wanted of what it knew before."""
    from ..engine.propagate import Event
    from ..engine.slice_mask import SliceMask

    segmenter = tools.ready()
    name = engine_name(obj.id)
    live = tools.live(name, obj.axis)
    counts: list[SlicesDone] = []
    events: Iterator[Event] = live.update(
        obj.prompt_set(segmenter.geometry, segmenter.window),
        lambda done, total, _: counts.append(SlicesDone(done, total)),
        canceled,
        {name: obj.wanted} if obj.wanted else None,
        {name: obj.barred},
    )
    reported: set[int] = set()
    try:
        for event in events:
            if isinstance(event, SliceMask):
                if (event.refined and not obj.strictly) or event.index in obj.wanted or not obj.wanted:
                    reported.add(event.index)
                    yield SliceFound(obj.id, event.index, event.mask, event.confidence)
            else:
                gone = tuple(index for index in event.skipped if index in obj.wanted or not obj.wanted)
                reported.update(gone)
                yield SlicesGone(obj.id, gone)
            if counts:
                yield counts[-1]
                counts.clear()
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()
    known = live.object_result(name)
    for index in sorted(obj.wanted - reported):  # computed before, taken back by an undo, and wanted again
        stored = None if known is None else known.slices.get(index)
        if stored is not None:
            yield SliceFound(obj.id, index, stored.mask, stored.confidence)


def load_prompts(path: Path, geometry: VolumeGeometry) -> PromptSet:
    """The prompts of a file, made on this volume. Raises MedSAMError with the file's name."""
    return read_prompts(path, geometry)
