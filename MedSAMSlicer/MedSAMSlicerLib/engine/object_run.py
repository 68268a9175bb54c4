"""One object of a segmentation: its key slices, which of its tracks are done, and what must be computed next.

Prompts come in rounds: those of round 0 were given before anything was propagated, those of round n correct what
was seen after the n-th propagation. A key slice of round 0 depends on its own slice alone. A correction depends,
besides, on the mask it corrects and on the nearest key slices at both sides, as they were at its time. Every key
slice gets a number that stands for all it depends on, and every track is known by the numbers of the key slices
that bound it: what has the same numbers is the same and need not be computed again, and replaying the rounds from
a file gives the same masks, bit for bit.
"""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core import plan
from ..core.errors import PromptError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.plan import Track
from ..core.prompts import ObjectPrompts, Prompt
from .crop import CropPolicy
from .key_slice import KeySlice, Prior, make_key
from .propagate import Cancel, Event, Job, ProgressCounter, Propagator, stop_if
from .refining import Refiner
from .result import ObjectResult, StoredSlice
from .slice_mask import SliceMask, TrackEnded
from .slice_prompts import slice_prompts
from .view import FrameView


@dataclass(frozen=True)
class _Source:
    """Where a slice's mask comes from: a key slice (number, None, 0) or a track (numbers of its bounds, direction).

    `end` is the last slice of a track out of the range, for networks to which it matters (see `taper`).
    """

    key: int
    other: int | None = None
    step: int = 0
    end: int | None = None


@dataclass(frozen=True, eq=False)
class _Known:
    """A key slice and the number that stands for all it depends on."""

    number: int
    key: KeySlice


class ObjectRun:
    """What is known of one object.

    Args:
        propagator: of the volume.
        geometry, axis: of the volume and its slices.
        whole: the view of whole slices.
        prompts: the object's name and colour are taken from here.
        refiner: looks at all slices together once they are there; None = slices stay as they were tracked.
    """

    def __init__(
        self,
        propagator: Propagator,
        geometry: VolumeGeometry,
        axis: SliceAxis,
        whole: FrameView,
        prompts: ObjectPrompts,
        refiner: Refiner | None = None,
    ) -> None:
        self._refiner, self._prompts = refiner, prompts
        self._tracked: dict[int, StoredSlice] = {}  # as the network drew them; `result` holds what is shown
        self._refined_for: Hashable = None
        self._earlier: tuple[Hashable, dict[int, StoredSlice]] | None = None
        self._propagator, self._geometry, self._axis, self._whole = propagator, geometry, axis, whole
        self.result = ObjectResult(prompts.name, prompts.color, geometry, axis)
        self._numbers: dict[Hashable, int] = {}
        self._cache: dict[int, KeySlice] = {}
        self._keys: dict[int, _Known] = {}
        self._range = self._replayed_range = (0, geometry.slice_count(axis) - 1)
        self._owner: dict[int, _Source] = {}
        self._ended: dict[_Source, TrackEnded] = {}
        self._tracks: dict[int, Track] = {}

    # ------------------------------------------------------------------------------------------------ what was said

    def hear(
        self, prompts: ObjectPrompts, cancel: Cancel | None = None, counter: ProgressCounter | None = None
    ) -> Iterator[SliceMask]:
        """Replay an object's prompts round by round, computing what is not known yet but no track in full.

        Args:
            prompts: all that was said so far.
            cancel: asked before each slice that is computed; the key slices computed until then stay at hand.
            counter: counts what is computed.

        Yields:
            The masks of the key slices that are new.

        Raises:
            PromptError: A prompt outside the slice range, or prompts that contradict each other.
            Cancelled: If `cancel()` became true.
        """
        keys = self._replay(prompts, cancel, counter)
        self._prompts = prompts
        changed = [
            known for index, known in sorted(keys.items()) if self._owner.get(index) != _Source(known.number)
        ]
        self._settle(keys)
        for known in changed:
            mask = known.key.as_mask(self.result.name)
            self._store(mask, _Source(known.number))
            yield mask

    def preview(self, prompts: ObjectPrompts, index: int, cancel: Cancel | None = None) -> SliceMask:
        """The mask that prompts draw on one of their slices, without changing what is settled.

        What is computed here is at hand when the same prompts are heard.

        Raises:
            PromptError: As :meth:`hear`, and if nothing was said on the slice.
        """
        keys = self._replay(prompts, cancel)
        if index not in keys:
            raise PromptError(f"Nothing is said about {prompts.name!r} on slice {index}.")
        kept = {known.number for known in (*keys.values(), *self._keys.values())}
        self._cache = {number: key for number, key in self._cache.items() if number in kept}
        return keys[index].key.as_mask(self.result.name)

    def _replay(
        self, prompts: ObjectPrompts, cancel: Cancel | None, counter: ProgressCounter | None = None
    ) -> dict[int, _Known]:
        """The key slices that an object's prompts lead to, round by round."""
        counter = counter or ProgressCounter(0)
        self._replayed_range = prompts.slice_range or (0, self._geometry.slice_count(self._axis) - 1)
        self._check_range(prompts)
        keys: dict[int, _Known] = {}
        for number in sorted({prompt.round for prompt in prompts.prompts}):
            heard = dict(keys)
            before = replace(prompts, prompts=tuple(p for p in prompts.prompts if p.round < number))
            for index in sorted({prompt.slice.index for prompt in prompts.prompts if prompt.round == number}):
                said = tuple(p for p in prompts.prompts if p.slice.index == index and p.round <= number)
                heard[index] = self._hear_slice(index, said, before, keys, cancel, counter)
            keys = heard
        return keys

    def _hear_slice(
        self,
        index: int,
        said: tuple[Prompt, ...],
        before: ObjectPrompts,
        keys: Mapping[int, _Known],
        cancel: Cancel | None,
        counter: ProgressCounter,
    ) -> _Known:
        together = slice_prompts(said, self._geometry, self.result.name)
        corrects = bool(keys) and not together.anew and max(prompt.round for prompt in said) > 0
        if not corrects:
            number = self._number((said,))
            if known := self._cached(number):
                return known
            stop_if(cancel)
            alone = make_key(self._propagator.network, index, self._whole, together, self._crop)
            return self._keep(number, alone, counter)
        neighbours = _beside(index, keys)
        source = self._source_of(index, keys)
        shown = None if self._refiner is None else self._state(keys)
        number = self._number((said, source, tuple(known.number for known in neighbours), shown))
        if known := self._cached(number):
            return known
        prior = self._prior(index, before, keys, source, cancel, counter)
        stop_if(cancel)
        key = make_key(
            self._propagator.network,
            index,
            self._whole,
            together,
            self._crop,
            prior,
            [known.key for known in neighbours],
            source.step or 1,
        )
        return self._keep(number, key, counter)

    # ------------------------------------------------------------------------------------------------- what is to do

    def jobs(self) -> list[Job]:
        """The tracks that are not computed with the key slices as they are now."""
        return [self._job(track, self._keys) for track in self._current() if not self._is_done(track)]

    def take(self, event: Event) -> None:
        """Note what a job of :meth:`jobs` brought."""
        if isinstance(event, SliceMask):
            self._store(event, self._source(self._tracks[event.index], self._keys))
            return
        source = self._source(self._tracks[event.skipped[0]], self._keys)
        self._end(event, source)

    def refine(self, cancel: Cancel | None = None) -> Iterator[SliceMask]:
        """Look at all slices together, once the tracks are done; key slices stay as they are.

        Yields:
            The masks of slices that look otherwise than before.

        Raises:
            Cancelled: If `cancel()` became true; slices then look as they were tracked or as before.
        """
        state = (self._state(self._keys), frozenset(self._owner))
        if self._refiner is None or state == self._refined_for:
            return
        stop_if(cancel)
        self._refined_for = None
        for mask in self._refiner.refine(self._prompts, self._tracked, self._owner):
            stop_if(cancel)
            stored = StoredSlice.of(mask)
            before = self.result.slices.get(mask.index)
            if before is None and not mask.mask.any():
                continue
            self.result.slices[mask.index] = stored
            if before is None or not np.array_equal(before.bits, stored.bits):
                yield mask
        self._refined_for = state

    def settled(self) -> ObjectResult:
        """The result, with the tracks that ended early."""
        current = {self._source(track, self._keys): track for track in self._current()}
        self.result.ended = [self._ended[source] for source in current if source in self._ended]
        return self.result

    # -------------------------------------------------------------------------------------------------------- inside

    def _check_range(self, prompts: ObjectPrompts) -> None:
        first, last = self._replayed_range
        for prompt in prompts.prompts:
            if not first <= prompt.slice.index <= last:
                raise PromptError(
                    f"A prompt of {prompts.name!r} lies on slice {prompt.slice.index}, outside its slice range "
                    f"{first} to {last}."
                )

    @property
    def _crop(self) -> CropPolicy | None:
        return self._propagator.options.crop

    def _number(self, content: Hashable) -> int:
        return self._numbers.setdefault(content, len(self._numbers))

    def _cached(self, number: int) -> _Known | None:
        key = self._cache.get(number)
        return None if key is None else _Known(number, key)

    def _keep(self, number: int, key: KeySlice, counter: ProgressCounter) -> _Known:
        self._cache[number] = key
        counter.add(key.index)
        return _Known(number, key)

    def _current(self, keys: Mapping[int, _Known] | None = None) -> tuple[Track, ...]:
        """The tracks of the settled key slices, or of others while prompts are replayed."""
        return (
            plan.tracks(self._keys, *self._range)
            if keys is None
            else plan.tracks(keys, *self._replayed_range)
        )

    def _source(self, track: Track, keys: Mapping[int, _Known]) -> _Source:
        other = None if track.other_key is None else keys[track.other_key].number
        tapers = other is None and self._propagator.network.facts.shown_previous
        return _Source(keys[track.key].number, other, track.step, track.slices[-1] if tapers else None)

    def _source_of(self, index: int, keys: Mapping[int, _Known]) -> _Source:
        if index in keys:
            return _Source(keys[index].number)
        track = next(track for track in self._current(keys) if index in track.slices)
        return self._source(track, keys)

    def _job(self, track: Track, keys: Mapping[int, _Known]) -> Job:
        other = None if track.other_key is None else keys[track.other_key].key
        return Job(self.result.name, track, keys[track.key].key, other)

    def _is_done(self, track: Track) -> bool:
        source = self._source(track, self._keys)
        return all(self._owner.get(index) == source for index in track.slices)

    def _prior(
        self,
        index: int,
        before: ObjectPrompts,
        keys: Mapping[int, _Known],
        source: _Source,
        cancel: Cancel | None,
        counter: ProgressCounter,
    ) -> Prior | None:
        """What was shown on a slice when it was corrected; tracked again up to it if it is not at hand."""
        if index in keys:
            return StoredSlice.of(keys[index].key.as_mask(self.result.name)).prior
        stored: StoredSlice | None
        if self._refiner is not None:
            stored = self._shown_with(before, keys, cancel, counter).get(index)
        elif self._owner.get(index) == source:
            stored = self.result.slices.get(index)
        else:
            stored = self._tracked_again(index, keys, cancel, counter)
        return None if stored is None else stored.prior

    def _tracked_again(
        self, index: int, keys: Mapping[int, _Known], cancel: Cancel | None, counter: ProgressCounter
    ) -> StoredSlice | None:
        """A slice as it was tracked with other key slices than now; nothing of it becomes part of the result."""
        track = next(track for track in self._current(keys) if index in track.slices)
        counter.total += track.slices.index(index) + 1
        for event in self._propagator.run([self._job(track, keys)], cancel, counter):
            if isinstance(event, SliceMask) and event.index == index:
                return StoredSlice.of(event)
        return None

    def _state(self, keys: Mapping[int, _Known]) -> Hashable:
        """What stands for all that the refined slices depend on."""
        span = self._range if keys is self._keys else self._replayed_range
        return span, tuple((index, keys[index].number) for index in sorted(keys))

    def _shown_with(
        self,
        prompts: ObjectPrompts,
        keys: Mapping[int, _Known],
        cancel: Cancel | None,
        counter: ProgressCounter,
    ) -> Mapping[int, StoredSlice]:
        """The slices as they were shown with key slices of an earlier round; what is not at hand is tracked again."""
        assert self._refiner is not None
        state = self._state(keys)
        if self._refined_for is not None and self._refined_for == (state, frozenset(self._owner)):
            return self.result.slices
        if self._earlier is None or self._earlier[0] != state:
            tracked = {
                index: StoredSlice.of(known.key.as_mask(self.result.name)) for index, known in keys.items()
            }
            jobs = []
            searched = {*keys}
            for track in self._current(keys):
                source = self._source(track, keys)
                searched.update(track.slices)
                if all(self._owner.get(index) == source for index in track.slices):
                    tracked.update({n: self._tracked[n] for n in track.slices if n in self._tracked})
                else:
                    jobs.append(self._job(track, keys))
            counter.total += sum(len(job.track.slices) for job in jobs)
            for event in self._propagator.run(jobs, cancel, counter):
                if isinstance(event, SliceMask):
                    tracked[event.index] = StoredSlice.of(event)
                else:
                    for index in event.skipped:
                        tracked.pop(index, None)
            for mask in self._refiner.refine(prompts, dict(tracked), searched):
                stop_if(cancel)
                tracked[mask.index] = StoredSlice.of(mask)
            self._earlier = (state, tracked)
        return self._earlier[1]

    def _settle(self, keys: dict[int, _Known]) -> None:
        """Make `keys` the key slices; forget slices out of the range and key slices no prompt leads to any more."""
        self._keys, self._range = keys, self._replayed_range
        self._tracks = {index: track for track in self._current() for index in track.slices}
        for index in [*self._owner]:
            if index not in keys and index not in self._tracks:
                self._drop(index)
        current = {known.number for known in keys.values()}
        self._cache = {number: key for number, key in self._cache.items() if number in current}
        sources = set(self._owner.values())
        self._ended = {source: event for source, event in self._ended.items() if source in sources}

    def _store(self, mask: SliceMask, source: _Source) -> None:
        self._tracked[mask.index] = self.result.slices[mask.index] = StoredSlice.of(mask)
        self._owner[mask.index] = source

    def _end(self, event: TrackEnded, source: _Source) -> None:
        self._ended[source] = event
        for index in event.skipped:
            self.result.slices.pop(index, None)
            self._tracked.pop(index, None)
            self._owner[index] = source

    def _drop(self, index: int) -> None:
        self.result.slices.pop(index, None)
        self._tracked.pop(index, None)
        self._owner.pop(index, None)


def _beside(index: int, keys: Mapping[int, _Known]) -> Sequence[_Known]:
    """The nearest other key slices below and above a slice."""
    others = sorted(at for at in keys if at != index)
    place = bisect.bisect(others, index)
    return [keys[at] for at in others[max(place - 1, 0) : place + 1]]
