"""LiveSegmentation: the objects of one volume while the user works on them.

The caller hands in all prompts so far (a `PromptSet`) again and again; only what follows from the difference is
computed. After a correction these are the tracks beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import torch

from ..core.errors import ObjectError, PromptError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.prompts import ObjectPrompts, PromptSet
from .object_run import ObjectRun
from .propagate import Cancel, Event, Progress, ProgressCounter, Propagator, stop_if
from .refining import Refiner
from .result import ObjectResult, SegmentationResult, finished_masks
from .slice_mask import SliceMask
from .view import FrameView
from .volume.evidence import Barred

Step = TypeVar("Step")
Settings = Callable[[], AbstractContextManager[None]]
"""Makes the context in which the network computes; it is left whenever a result is handed out."""


class LiveSegmentation:
    """All objects on one volume across one axis.

    Args:
        propagator: of the volume.
        geometry, axis: of the volume and its slices.
        whole: the view of whole slices.
        settings: see :data:`Settings`.
        refiner: looks at all slices of an object together; None = slices stay as they were tracked.
    """

    def __init__(
        self,
        propagator: Propagator,
        geometry: VolumeGeometry,
        axis: SliceAxis,
        whole: FrameView,
        settings: Settings,
        refiner: Refiner | None = None,
    ) -> None:
        self._refiner = refiner
        self.geometry, self.axis = geometry, axis
        self._propagator, self._whole, self._settings = propagator, whole, settings
        self._runs: dict[str, ObjectRun] = {}
        self._previewed: dict[str, ObjectRun] = {}  # of objects that are not part of the segmentation yet
        self._seconds = 0.0
        self._slices = 0

    def update(
        self,
        prompts: PromptSet,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        wanted: Mapping[str, Collection[int]] | None = None,
        barred: Mapping[str, Barred] | None = None,
    ) -> Iterator[Event]:
        """Bring all objects up to date with all prompts so far.

        Objects that are no longer named are forgotten. Closing the iterator early stops the run; what was yielded
        stays.

        Args:
            prompts: all prompts so far.
            progress, cancel: see :mod:`.propagate`.
            wanted: slices by object; tracks without any of them are not computed, since the caller has their masks,
                and :meth:`result` lacks them then. None = all.
            barred: by object, voxels that surely are not of it, such as those of other segments; see :data:`Barred`.

        Yields:
            A SliceMask for every slice that was computed, key slices first, and a TrackEnded where an object is gone;
            then, with a refiner, a SliceMask once more for every slice that looks otherwise among all of its object;
            last the `wanted` slices that were computed before and are still right, such as those of a range that was
            narrowed and is widened again.

        Raises:
            PromptError: If the prompts belong to another volume or axis, or an object has none.
            Canceled: If `cancel()` became true; at most one slice is computed after that.
        """
        self._check(prompts)
        return stepwise(self._update(prompts, progress, cancel, wanted, barred or {}), self._settings)

    def preview(self, prompts: ObjectPrompts, index: int, read: bool = True) -> SliceMask:
        """The mask that an object's prompts draw on one of their slices; nothing else is computed or changed.

        Args:
            prompts: all prompts of the object.
            index: the slice.
            read: whether to wait for the second network, which draws boxes, too; without it the mask comes sooner.
        """
        with ExitStack() as stack:
            stack.enter_context(self._settings())
            stack.enter_context(torch.inference_mode())
            return self._run(prompts).preview(prompts, index, read=read)

    def is_unread(self, name: str, index: int) -> bool:
        """Return whether a slice was previewed last before a second network had drawn it, too."""
        run = self._runs.get(name) or self._previewed.get(name)
        return run is not None and run.is_unread(index)

    def result(self, cleanup: str = "none", overlap: str = "keep") -> SegmentationResult:
        """All objects as volumes; see :func:`~.result.finished_masks` for the options."""
        objects = tuple(run.settled() for run in self._runs.values())
        masks = finished_masks(objects, cleanup, overlap)
        timings = {
            "total": self._seconds,
            "slices": float(self._slices),
            "per_slice": self._seconds / max(self._slices, 1),
        }
        return SegmentationResult(self.geometry, self.axis, objects, masks, timings)

    def object_result(self, name: str) -> ObjectResult | None:
        """Return what is known of one object after the last update; None if it is not part of the segmentation."""
        run = self._runs.get(name)
        return None if run is None else run.settled()

    # -------------------------------------------------------------------------------------------------------- inside

    def _check(self, prompts: PromptSet) -> None:
        if prompts.geometry.shape != self.geometry.shape or prompts.geometry.digest != self.geometry.digest:
            raise PromptError("The prompts belong to another volume.")
        if prompts.axis != self.axis:
            given, wanted = prompts.axis.name.lower(), self.axis.name.lower()
            raise PromptError(
                f"The prompts are for slice axis {given}, but this segmentation runs along {wanted}."
            )
        for obj in prompts.objects:
            if not obj.prompts:
                raise ObjectError(
                    "There are no prompts for {object}: add a point, box, line or mask.", obj.name
                )

    def _run(self, prompts: ObjectPrompts) -> ObjectRun:
        run = self._runs.get(prompts.name) or self._previewed.get(prompts.name)
        if run is None:
            run = ObjectRun(self._propagator, self.geometry, self.axis, self._whole, prompts, self._refiner)
            self._previewed[prompts.name] = run
        return run

    def _most(self, prompts: ObjectPrompts) -> int:
        """The number of slices to compute if nothing of an object is known yet: each once, corrected ones again."""
        first, last = prompts.slice_range or (0, self.geometry.slice_count(self.axis) - 1)
        prompted = {(prompt.round, prompt.slice.index) for prompt in prompts.prompts}
        return last - first + 1 + len(prompted) - len({index for _, index in prompted})

    def _update(
        self,
        prompts: PromptSet,
        progress: Progress | None,
        cancel: Cancel | None,
        wanted: Mapping[str, Collection[int]] | None,
        barred: Mapping[str, Barred],
    ) -> Generator[Event, None, None]:
        self._runs = {obj.name: self._run(obj) for obj in prompts.objects}
        self._previewed.clear()
        for name, run in self._runs.items():
            run.barred = barred.get(name, {})
        began, spent = time.perf_counter(), 0.0
        try:
            for event in self._due(prompts, progress, cancel, wanted):
                handed = time.perf_counter()
                yield event
                spent += time.perf_counter() - handed
        finally:
            self._seconds += time.perf_counter() - began - spent

    def _due(
        self,
        prompts: PromptSet,
        progress: Progress | None,
        cancel: Cancel | None,
        wanted: Mapping[str, Collection[int]] | None,
    ) -> Iterator[Event]:
        """Yield the slices as they are computed, and then those that are wanted beside them and known already."""
        given: set[tuple[str, int]] = set()
        counter = ProgressCounter(sum(self._most(obj) for obj in prompts.objects), progress)
        for event in self._computed(prompts, counter, cancel, wanted):
            slices = (event.index,) if isinstance(event, SliceMask) else event.skipped
            given.update((event.object, index) for index in slices)
            yield event
        for name, run in self._runs.items():
            yield from run.known({at for at in (wanted or {}).get(name, ()) if (name, at) not in given})
        counter.expect(0)

    def _computed(
        self,
        prompts: PromptSet,
        counter: ProgressCounter,
        cancel: Cancel | None,
        wanted: Mapping[str, Collection[int]] | None,
    ) -> Iterator[Event]:
        for obj in prompts.objects:
            stop_if(cancel)
            self._runs[obj.name].result.color = obj.color
            for mask in self._runs[obj.name].update(obj, cancel, counter):
                self._slices += 1
                yield mask
        jobs = [job for run in self._runs.values() for job in run.jobs()]
        if wanted is not None:
            jobs = [job for job in jobs if not set(job.track.slices).isdisjoint(wanted[job.object])]
        to_read = sum(run.slices_to_read() for run in self._runs.values())
        counter.expect(sum(len(job.track.slices) for job in jobs) + to_read)
        for event in self._propagator.run(jobs, cancel, counter):
            self._runs[event.object].take(event)
            self._slices += isinstance(event, SliceMask)
            yield event
        for run in self._runs.values():
            yield from run.refine(cancel, counter)


def stepwise(events: Generator[Step, None, None], settings: Settings) -> Iterator[Step]:
    """Run a generator inside `settings` and without gradients, but hand out its results outside of both.

    Torch's settings hold for the whole process, so they must not outlast the step that needs them.
    """
    try:
        while True:
            with settings(), torch.inference_mode():
                try:
                    event = next(events)
                except StopIteration:
                    return
            yield event
    finally:
        events.close()
