"""Propagator: tracks -> trackers -> a stream of slice masks.

Tracks toward higher and toward lower indices sweep through the volume like two combs: of all tracks of a
direction the one that lies furthest back is computed next. Objects that share a view therefore meet on each slice,
and it is encoded once even if hardly any features can be kept. Both combs advance together, so that a mask grows
outward at both sides, nearest slices first. On CUDA what is due is computed as one batch; on the CPU a batch is no
faster than its parts, so that it is one slice after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..core.errors import Canceled
from ..core.plan import Track
from .key_slice import KeySlice
from .network import SliceNetwork
from .slice_mask import SliceMask, TrackEnded
from .tracker import Tracker, TrackingOptions, advance

Progress = Callable[[int, int, int], None]
"""Called as progress(slices done, slices in all, index of the slice just done).

How many slices there are in all is known for certain only when the last key slice is done.
"""

Cancel = Callable[[], bool]
"""Returns True once the user wants to stop, e.g. `threading.Event().is_set`."""

Event = SliceMask | TrackEnded


def stop_if(cancel: Cancel | None) -> None:
    """Raise Canceled once the user wants to stop."""
    if cancel is not None and cancel():
        raise Canceled("The run was canceled; the slices finished before are kept.")


@dataclass(frozen=True, eq=False)
class TrackJob:
    """One track of one object, with the key slices that bound it."""

    object: str
    track: Track
    key: KeySlice
    other: KeySlice | None

    @property
    def front(self) -> int:
        """The place where the track starts, counted in its own direction."""
        return self.track.step * self.track.slices[0]


class ProgressCounter:
    """Counts slices over several runs and reports to the caller."""

    def __init__(self, total: int, progress: Progress | None = None) -> None:
        self.done, self.total = 0, total
        self._progress = progress

    def expect(self, remaining: int) -> None:
        """It has turned out that `remaining` slices are still to be done."""
        self.total = self.done + remaining

    def add(self, index: int, count: int = 1) -> None:
        """`count` slices more are done, `index` last."""
        self.done += count
        if self._progress is not None:
            self._progress(self.done, self.total, index)


class Propagator:
    """Runs tracks over one volume.

    Args:
        network: of the volume.
        options: see :class:`~.tracker.TrackingOptions`.
        batched: compute what is due as one batch; None = on CUDA only.
    """

    def __init__(self, network: SliceNetwork, options: TrackingOptions, batched: bool | None = None) -> None:
        self.network, self.options = network, options
        self.batched = network.device.type == "cuda" if batched is None else batched

    def run(
        self, jobs: Sequence[TrackJob], cancel: Cancel | None = None, counter: ProgressCounter | None = None
    ) -> Iterator[Event]:
        """Compute all tracks.

        Yields:
            A SliceMask for each slice, in the order of computation, and a TrackEnded for each track given up.

        Raises:
            Canceled: If `cancel()` became true; what was yielded before stays valid.
        """
        counter = counter or ProgressCounter(sum(len(job.track.slices) for job in jobs))
        users = Counter(id(key) for job in jobs for key in (job.key, job.other) if key is not None)
        forward = [job for job in jobs if job.track.step > 0]
        backward = [job for job in jobs if job.track.step < 0]
        combs = [_Comb(self, direction, users) for direction in (forward, backward) if direction]
        for due in self._due(combs):
            stop_if(cancel)
            for tracker, mask in zip(due, advance(due, self.batched), strict=True):
                counter.add(mask.index)
                yield mask
                if tracker.ended is not None:
                    counter.add(mask.index, len(tracker.ended.skipped))
                    yield tracker.ended

    def _due(self, combs: Sequence[_Comb]) -> Iterator[list[Tracker]]:
        """The trackers that are computed next, until all are through: in batches of both combs, or in turns."""
        while due := [found for comb in combs if (found := comb.due())]:
            if self.batched:
                yield [tracker for found in due for tracker in found]
                continue
            for found in due:
                yield from ([tracker] for tracker in found)


class _Comb:
    """The tracks of one direction: those not begun, and the trackers of those under way."""

    def __init__(self, propagator: Propagator, jobs: Sequence[TrackJob], users: Counter[int]) -> None:
        self._propagator, self._users = propagator, users
        self._waiting = sorted(jobs, key=lambda job: job.front, reverse=True)  # the next one last
        self._active: list[Tracker] = []

    def due(self) -> list[Tracker]:
        """The trackers whose next slice lies furthest back; none when all are through."""
        self._active = [tracker for tracker in self._active if tracker.remaining and tracker.ended is None]
        fronts = [tracker.track.step * tracker.remaining[0] for tracker in self._active]
        if self._waiting:
            fronts.append(self._waiting[-1].front)
        if not fronts:
            return []
        front = min(fronts)
        while self._waiting and self._waiting[-1].front == front:
            self._active.append(self._begin(self._waiting.pop()))
        return [tracker for tracker in self._active if tracker.track.step * tracker.remaining[0] == front]

    def _begin(self, job: TrackJob) -> Tracker:
        tracker = Tracker(
            self._propagator.network, job.object, job.track, job.key, job.other, self._propagator.options
        )
        for key in (job.key, job.other):
            if key is not None:
                self._users[id(key)] -= 1
                if not self._users[id(key)]:
                    key.release()  # the trackers hold what they need
        return tracker
