"""One object of a segmentation: its key slices, which of its tracks are done, and what must be computed next.

`core.plan` says which key slices and tracks prompts lead to, each with an id that stands for all it depends on. What
has the same id is the same and is not computed again, and replaying the rounds from a file gives the same masks, bit
for bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..core import plan
from ..core.errors import ObjectError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.plan import KeptMask, KeyStep, Track
from ..core.prompts import ObjectPrompts
from .crop import CropPolicy
from .key_slice import KeySlice, Prior, make_key
from .propagate import Cancel, Event, ProgressCounter, Propagator, TrackJob, stop_if
from .refining import Refiner
from .result import ObjectResult, StoredSlice
from .slice_mask import SliceMask, TrackEnded
from .slice_prompts import slice_prompts
from .view import FrameView
from .volume.evidence import Barred

_KEPT_ROUNDS = 4  # rounds whose masks are kept, so that a correction or its undoing tracks nothing again


@dataclass(frozen=True, eq=False)
class _Known:
    """A key slice that was computed, and the id that stands for all it depends on."""

    id: str
    key: KeySlice


@dataclass(frozen=True, eq=False)
class _PromptRound:
    """One round of prompts: `id` stands for all that is shown after it; all prompts until then; the key slices."""

    id: str
    prompts: ObjectPrompts
    keys: Mapping[int, _Known]


@dataclass(frozen=True, eq=False)
class _Shown:
    """The slices after a round: as the network drew them, as they are shown, and the ids of what they are of."""

    tracked: Mapping[int, StoredSlice]
    slices: Mapping[int, StoredSlice]
    owner: Mapping[int, str]


class ObjectRun:
    """The results that are known of one object.

    Args:
        propagator: of the volume.
        geometry, axis: of the volume and its slices.
        whole: the view of whole slices.
        prompts: the object's name and color are taken from here.
        refiner: looks at all slices together once they are there; None = slices stay as they were tracked.

    Attributes:
        barred: voxels that surely are not of the object when slices are looked at together from now on.
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
        self._refiner = refiner
        self._tracked: dict[int, StoredSlice] = {}  # as the network drew them; `result` holds what is shown
        self._rounds: tuple[_PromptRound, ...] = ()
        self._shown: OrderedDict[str, _Shown] = OrderedDict()  # by round, the latest last
        self._refined_for: Hashable = None
        self.barred: Barred = {}
        self._propagator, self._geometry, self._axis, self._whole = propagator, geometry, axis, whole
        self.result = ObjectResult(prompts.name, prompts.color, geometry, axis)
        self._tapers = propagator.network.facts.shown_previous and propagator.options.tapers
        self._cache: dict[str, KeySlice] = {}
        self._drawn: dict[str, KeySlice] = {}  # the key slice that waits for the second network
        self._keys: Mapping[int, _Known] = {}
        self._range = self._replayed_range = (0, geometry.slice_count(axis) - 1)
        self._owner: dict[int, str] = {}  # by slice, the id of the key slice or track that its mask is of
        self._ended: dict[str, TrackEnded] = {}
        self._tracks: dict[int, Track] = {}

    # ------------------------------------------------------------------------------------------------ prompts

    def update(
        self, prompts: ObjectPrompts, cancel: Cancel | None = None, counter: ProgressCounter | None = None
    ) -> Iterator[SliceMask]:
        """Replay an object's prompts round by round, computing what is not known yet but no track in full.

        Args:
            prompts: all prompts so far.
            cancel: asked before each slice that is computed; the key slices computed until then stay cached.
            counter: counts what is computed.

        Yields:
            The masks of the key slices that are new.

        Raises:
            PromptError: A prompt outside the slice range, or prompts that contradict each other.
            Canceled: If `cancel()` became true.
        """
        rounds = self._replay(prompts, cancel, counter)
        self._rounds, keys = rounds, rounds[-1].keys
        changed = [known for index, known in sorted(keys.items()) if self._owner.get(index) != known.id]
        self._settle(keys)
        for known in changed:
            mask = known.key.as_mask(self.result.name)
            self._store(mask, known.id)
            yield mask

    def preview(
        self, prompts: ObjectPrompts, index: int, cancel: Cancel | None = None, read: bool = True
    ) -> SliceMask:
        """The mask that prompts draw on one of their slices, without changing what is settled.

        What is computed here is reused when the same prompts are given.

        Args:
            prompts: all prompts so far.
            index: the slice.
            cancel: asked before each slice that is computed.
            read: whether to wait for the second network; without it the mask comes sooner, but is not the last word.

        Raises:
            PromptError: As :meth:`update`, and if the slice has no prompt.
        """
        keys = self._replay(prompts, cancel, read=read)[-1].keys
        if index not in keys:
            raise ObjectError(f"There is no prompt for {{object}} on slice {index}.", prompts.name)
        kept = {known.id for known in (*keys.values(), *self._keys.values())}
        self._cache = {known_id: key for known_id, key in self._cache.items() if known_id in kept}
        return keys[index].key.as_mask(self.result.name)

    def is_unread(self, index: int) -> bool:
        """Return whether a slice was previewed last before a second network had drawn it, too."""
        return any(key.index == index for key in self._drawn.values())

    def _replay(
        self,
        prompts: ObjectPrompts,
        cancel: Cancel | None,
        counter: ProgressCounter | None = None,
        read: bool = True,
    ) -> tuple[_PromptRound, ...]:
        """The rounds of an object's prompts, each with the key slices that they lead to.

        Unless `read`, key slices of the last round may be as the network draws them alone.
        """
        counter = counter or ProgressCounter(0)
        self._replayed_range = prompts.slice_range or (0, self._geometry.slice_count(self._axis) - 1)
        self._check_range(prompts)
        rounds: tuple[_PromptRound, ...] = ()
        refined, ranged = self._refiner is not None, prompts.slice_range is not None
        parts = list(plan.replay(prompts.prompts, *self._replayed_range, self._tapers, refined, ranged))
        for part in parts:
            keys = rounds[-1].keys if rounds else {}
            wait = read or part is not parts[-1]
            new = {step.index: self._key(step, rounds, cancel, counter, wait) for step in part.new}
            until = replace(prompts, prompts=tuple(p for p in prompts.prompts if p.round <= part.number))
            rounds += (_PromptRound(part.id, until, {**keys, **new}),)
        return rounds

    def _key(
        self,
        step: KeyStep,
        before: tuple[_PromptRound, ...],
        cancel: Cancel | None,
        counter: ProgressCounter,
        read: bool,
    ) -> _Known:
        """A key slice from the cache, or computed now; unless `read`, before a second network has drawn it, too."""
        if step.id in self._cache:
            return _Known(step.id, self._cache[step.id])
        given = [prompt for prompt in step.prompts if not isinstance(prompt, KeptMask)]  # of pixels here
        together = slice_prompts(given, self._geometry, self.result.name)
        prior: Prior | None = None
        if step.corrects is not None:
            prior = self._prior(step, before, cancel, counter)
        key = self._drawn.pop(step.id, None)
        if key is None:
            stop_if(cancel)
            keys = before[-1].keys if before else {}
            key = make_key(
                self._propagator.network,
                step.index,
                self._whole,
                together,
                self._crop,
                prior,
                [keys[index].key for index in step.beside],
                step.step or 1,
            )
        if prior is None and self._refiner is not None and self._refiner.reads(together):
            if not read:
                self._drawn = {step.id: key}
                return _Known(step.id, key)
            stop_if(cancel)
            key = self._refiner.chosen(key, together)
        self._cache[step.id] = key
        counter.add(step.index)
        return _Known(step.id, key)

    # ------------------------------------------------------------------------------------------------- what is to do

    def jobs(self) -> list[TrackJob]:
        """The tracks that are not computed with the key slices as they are now."""
        return [self._job(track, self._keys) for track in self._current() if not self._is_done(track)]

    def slices_to_read(self) -> int:
        """The number of slices that a second network is going to read once the tracks are done."""
        if self._refiner is None or not self._rounds or not self.jobs():
            return 0
        return self._refiner.slices_to_read(self._rounds[-1].prompts, min(self._tracks), max(self._tracks))

    def take(self, event: Event) -> None:
        """Note what a job of :meth:`jobs` brought."""
        if isinstance(event, SliceMask):
            self._store(event, self._id_of(self._tracks[event.index], self._keys))
            return
        self._end(event, self._id_of(self._tracks[event.skipped[0]], self._keys))

    def refine(
        self, cancel: Cancel | None = None, counter: ProgressCounter | None = None
    ) -> Iterator[SliceMask]:
        """Look at all slices together, once the tracks are done.

        Key slices stay as they are, and so do slices of tracks that the latest round of prompts did not change: a
        correction changes the gap between its neighboring key slices and nothing else. Where tracks were left to the
        caller, earlier rounds that are not cached are not computed again.

        Args:
            cancel: asked between slices.
            counter: counts what must be tracked once more.

        Yields:
            The masks of slices that look otherwise than before.

        Raises:
            Canceled: If `cancel()` became true; slices then look as they were tracked or as before.
        """
        if self._refiner is None or not self._rounds:
            return
        latest = self._rounds[-1]
        state = latest.id, frozenset(self._owner.items()), frozenset(self.barred.items())
        if state == self._refined_for:
            return
        stop_if(cancel)
        self._refined_for, earlier = None, None
        if self._rounds[:-1] and (self._rounds[-2].id in self._shown or not self.jobs()):
            earlier = self._shown_after(self._rounds[:-1], cancel, counter or ProgressCounter(0))
        shown = self._refined(latest.prompts, self._tracked, self._owner, earlier, cancel, counter)
        for index in sorted({*shown.slices, *self.result.slices}):
            before, now = self.result.slices.get(index), shown.slices.get(index)
            if now is None or now is before:
                continue
            self.result.slices[index] = now
            if before is None or before.packed != now.packed:
                yield now.as_mask(self.result.name, index)
        self._note(latest.id, shown)
        self._refined_for = state

    def known(self, indices: Collection[int]) -> Iterator[Event]:
        """The known results of slices that need not be computed: masks as they are shown, and the object's absence."""
        for index in sorted(self.result.slices.keys() & set(indices)):
            yield self.result.slices[index].as_mask(self.result.name, index)
        yield from (event for event in self.settled().ended if not set(indices).isdisjoint(event.skipped))

    def settled(self) -> ObjectResult:
        """The result, with the tracks that ended early."""
        current = [self._id_of(track, self._keys) for track in self._current()]
        self.result.ended = [self._ended[track] for track in current if track in self._ended]
        return self.result

    # -------------------------------------------------------------------------------------------------------- inside

    def _check_range(self, prompts: ObjectPrompts) -> None:
        first, last = self._replayed_range
        for prompt in prompts.prompts:
            if not first <= prompt.slice.index <= last:
                raise ObjectError(
                    f"A prompt for {{object}} lies on slice {prompt.slice.index}, outside its slice range {first} to "
                    f"{last}.",
                    prompts.name,
                )

    @property
    def _crop(self) -> CropPolicy | None:
        return self._propagator.options.crop

    def _current(self, keys: Mapping[int, _Known] | None = None) -> tuple[Track, ...]:
        """The tracks of the settled key slices, or of others while prompts are replayed."""
        return (
            plan.tracks(self._keys, *self._range)
            if keys is None
            else plan.tracks(keys, *self._replayed_range)
        )

    def _id_of(self, track: Track, keys: Mapping[int, _Known]) -> str:
        ids = {index: keys[index].id for index in (track.key, track.other_key) if index is not None}
        return plan.track_id(track, ids, self._tapers)

    def _job(self, track: Track, keys: Mapping[int, _Known]) -> TrackJob:
        other = None if track.other_key is None else keys[track.other_key].key
        return TrackJob(self.result.name, track, keys[track.key].key, other)

    def _is_done(self, track: Track) -> bool:
        wanted = self._id_of(track, self._keys)
        return all(self._owner.get(index) == wanted for index in track.slices)

    def _prior(
        self,
        step: KeyStep,
        before: tuple[_PromptRound, ...],
        cancel: Cancel | None,
        counter: ProgressCounter,
    ) -> Prior | None:
        """Return what was shown on a slice when it was corrected; tracked again up to it if it is not cached."""
        index, keys = step.index, before[-1].keys
        if index in keys:
            return StoredSlice.of(keys[index].key.as_mask(self.result.name)).prior
        stored: StoredSlice | None
        if self._refiner is not None:
            stored = self._shown_after(before, cancel, counter).slices.get(index)
        elif self._owner.get(index) == step.corrects:
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

    def _shown_after(
        self, rounds: tuple[_PromptRound, ...], cancel: Cancel | None, counter: ProgressCounter
    ) -> _Shown:
        """The slices as they were shown after some rounds; what is not cached is tracked again."""
        known = next((n for n in range(len(rounds), 0, -1) if rounds[n - 1].id in self._shown), 0)
        earlier = self._shown[rounds[known - 1].id] if known else None
        for part in rounds[known:]:
            tracked, owner = self._tracked_with(part.keys, earlier, cancel, counter)
            earlier = self._refined(part.prompts, tracked, owner, earlier, cancel, counter)
            self._note(part.id, earlier)
        assert earlier is not None
        return earlier

    def _tracked_with(
        self,
        keys: Mapping[int, _Known],
        earlier: _Shown | None,
        cancel: Cancel | None,
        counter: ProgressCounter,
    ) -> tuple[dict[int, StoredSlice], dict[int, str]]:
        """The slices as the network draws them from some key slices, and what they are of."""
        tracked = {
            index: StoredSlice.of(known.key.as_mask(self.result.name)) for index, known in keys.items()
        }
        owner = {index: known.id for index, known in keys.items()}
        sources: list[tuple[Mapping[int, StoredSlice], Mapping[int, str]]] = [(self._tracked, self._owner)]
        sources += [] if earlier is None else [(earlier.tracked, earlier.owner)]
        jobs = []
        for track in self._current(keys):
            wanted = self._id_of(track, keys)
            owner.update(dict.fromkeys(track.slices, wanted))
            for slices, owned in sources:
                if all(owned.get(index) == wanted for index in track.slices):
                    tracked.update({index: slices[index] for index in track.slices if index in slices})
                    break
            else:
                jobs.append(self._job(track, keys))
        counter.total += sum(len(job.track.slices) for job in jobs)
        for event in self._propagator.run(jobs, cancel, counter):
            if isinstance(event, SliceMask):
                tracked[event.index] = StoredSlice.of(event)
            else:
                for index in event.skipped:
                    tracked.pop(index, None)
        return tracked, owner

    def _refined(
        self,
        prompts: ObjectPrompts,
        tracked: Mapping[int, StoredSlice],
        owner: Mapping[int, str],
        earlier: _Shown | None,
        cancel: Cancel | None,
        counter: ProgressCounter | None,
    ) -> _Shown:
        """Return what is shown of tracked slices: those of new tracks refined, the others as they were shown before."""
        assert self._refiner is not None
        stay = (
            set() if earlier is None else {n for n, whose in owner.items() if earlier.owner.get(n) == whose}
        )
        slices = {index: stored for index, stored in tracked.items() if index not in stay}
        if earlier is not None:
            slices.update({index: earlier.slices[index] for index in stay if index in earlier.slices})
        wanted = owner.keys() - stay
        for mask in self._refiner.refine(prompts, tracked, owner, wanted, cancel, counter, self.barred):
            if mask.index in slices or mask.mask.any():
                slices[mask.index] = StoredSlice.of(mask)
        return _Shown(dict(tracked), slices, dict(owner))

    def _note(self, round_id: str, shown: _Shown) -> None:
        """Keep what was shown after a round for the next ones."""
        self._shown[round_id] = shown
        self._shown.move_to_end(round_id)
        while len(self._shown) > _KEPT_ROUNDS:
            self._shown.popitem(last=False)

    def _settle(self, keys: Mapping[int, _Known]) -> None:
        """Make `keys` the key slices; forget slices out of the range and key slices no prompt leads to any more."""
        self._keys, self._range = keys, self._replayed_range
        self._tracks = {index: track for track in self._current() for index in track.slices}
        for index in [*self._owner]:
            if index not in keys and index not in self._tracks:
                self._drop(index)
        current = {known.id for known in keys.values()}
        self._cache = {known_id: key for known_id, key in self._cache.items() if known_id in current}
        owners = set(self._owner.values())
        self._ended = {track: event for track, event in self._ended.items() if track in owners}

    def _store(self, mask: SliceMask, owner: str) -> None:
        self._tracked[mask.index] = self.result.slices[mask.index] = StoredSlice.of(mask)
        self._owner[mask.index] = owner

    def _end(self, event: TrackEnded, owner: str) -> None:
        self._ended[owner] = event
        for index in event.skipped:
            self.result.slices.pop(index, None)
            self._tracked.pop(index, None)
            self._owner[index] = owner

    def _drop(self, index: int) -> None:
        self.result.slices.pop(index, None)
        self._tracked.pop(index, None)
        self._owner.pop(index, None)
