"""Which slices have to be computed, from which key slice and in which order.

A key slice has prompts or a mask that the user accepted. Every other slice belongs to its nearest key slice
and is reached from there slice by slice. A track depends on its bounding key slices alone, so the outcome
does not depend on the order in which prompts were given, and a change stays between the neighboring ones.

Prompts come in rounds: those of round 0 were given before anything was propagated, those of round n correct what
was seen after the n-th propagation. A key slice of round 0 depends on its own slice alone. A correction depends,
besides, on the mask that it corrects and on the nearest key slices at both sides, as they were at its time. `replay`
gives every key slice an id that stands for all it depends on: what has the same id is the same and need not be
computed again. The session finds with it what is pending, the engine what it knows already.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

from .errors import PromptError
from .masks import PackedMask
from .prompts import MaskPrompt, Prompt, SliceRef


@dataclass(frozen=True)
class Track:
    """A run of slices computed one after the other, outward from one key slice.

    Attributes:
        key: the key slice the run starts from; not part of the run.
        step: +1 toward higher slice indices, -1 toward lower ones.
        slices: slice indices in the order of computation; never empty.
        other_key: the key slice that bounds the run on its far side, None at an end of the range.
    """

    key: int
    step: int
    slices: tuple[int, ...]
    other_key: int | None


@dataclass(frozen=True)
class KeptMask:
    """A mask of the user as a prompt, without its pixels."""

    has_extent: ClassVar[bool] = True

    slice: SliceRef
    mask: PackedMask
    round: int


PlannedPrompt = Prompt | KeptMask
"""What makes a slice a key slice."""


@dataclass(frozen=True)
class KeyStep:
    """The mask of a key slice as something to compute.

    Attributes:
        id: stands for everything that the mask depends on.
        index: the slice.
        prompts: all prompts on it until its round.
        corrects: the id of the track or key slice whose mask the prompts correct; None for a slice of its own.
        step: the direction in which that mask was tracked; 0 when it was a key slice.
        beside: the nearest other key slices below and above, when it is a correction.
    """

    id: str
    index: int
    prompts: tuple[PlannedPrompt, ...]
    corrects: str | None = None
    step: int = 0
    beside: tuple[int, ...] = ()


@dataclass(frozen=True)
class Round:
    """One round of prompts.

    Attributes:
        number: 0 for the prompts before the first propagation.
        before: the key slices until then, by index.
        new: those that get prompts in this round.
        id: stands for all that is shown after this round, where that depends on what was shown before.
    """

    number: int
    before: Mapping[int, KeyStep]
    new: tuple[KeyStep, ...]
    id: str

    @property
    def keys(self) -> dict[int, KeyStep]:
        """The key slices after this round, by index."""
        return {**self.before, **{step.index: step for step in self.new}}


def replay(
    prompts: Sequence[PlannedPrompt],
    first: int,
    last: int,
    tapers: bool = False,
    refined: bool = False,
    ranged: bool = False,
) -> list[Round]:
    """Return what prompts lead to, round by round.

    Args:
        prompts: of one object, those of masks included.
        first, last: the inclusive range to compute.
        tapers: whether a track depends on the end of the range that it reaches.
        refined: whether a mask that is shown depends on all key slices of the round in which it was computed.
        ranged: whether the user gave the range, which then says where the object ends.
    """
    rounds: list[Round] = []
    keys: dict[int, KeyStep] = {}
    latest = _digest("round", f"{first} {last}", "ranged" if ranged else "")
    for number in sorted({prompt.round for prompt in prompts}):
        until = [prompt for prompt in prompts if prompt.round <= number]
        new = []
        for index in sorted({prompt.slice.index for prompt in until if prompt.round == number}):
            given = tuple(prompt for prompt in until if prompt.slice.index == index)
            among = latest if refined else ""
            new.append(_key_step(index, given, keys, (first, last), tapers, among))
        latest = _digest("round", latest, *(f"{step.index} {step.id}" for step in new))
        rounds.append(Round(number, keys, tuple(new), latest))
        keys = rounds[-1].keys
    return rounds


def track_id(track: Track, ids: Mapping[int, str], tapers: bool = False) -> str:
    """Return what stands for everything that the masks of a track depend on; `ids` are those of the key slices."""
    other = "" if track.other_key is None else ids[track.other_key]
    end = track.slices[-1] if tapers and track.other_key is None else ""
    return _digest("track", ids[track.key], other, str(track.step), str(end))


def starts_over(prompts: Sequence[PlannedPrompt]) -> bool:
    """Return whether a box, line or mask was given last on a slice: what was computed there before no longer counts."""
    latest = max(prompt.round for prompt in prompts)
    return any(prompt.has_extent and prompt.round == latest for prompt in prompts)


def tracks(key_slices: Iterable[int], first: int, last: int) -> tuple[Track, ...]:
    """Every slice of `first` to `last` (inclusive) that is not a key slice, in exactly one track.

    Between two key slices each reaches to the middle; a slice at equal distance goes with the lower one. Key
    slices outside the range play no part. The tracks come in ascending order of their lowest slice.

    Raises:
        PromptError: `first` is above `last`.
    """
    if first > last:
        raise PromptError(f"The first slice of the range, {first}, lies above the last, {last}.")
    keys = sorted({int(key) for key in key_slices if first <= key <= last})
    if not keys:
        return ()
    found = [_track(keys[0], -1, first, None)]
    for lower, upper in pairwise(keys):
        middle = (lower + upper) // 2
        found += [_track(lower, 1, middle, upper), _track(upper, -1, middle + 1, lower)]
    found.append(_track(keys[-1], 1, last, None))
    return tuple(track for track in found if track.slices)


def tracks_after_change(
    before_keys: Iterable[int],
    after_keys: Iterable[int],
    changed: Iterable[int],
    first: int,
    last: int,
    accepted: Iterable[int] = (),
) -> tuple[Track, ...]:
    """The tracks that a change makes necessary to compute again.

    Args:
        before_keys: key slices before the change.
        after_keys: key slices after it.
        changed: slices where prompts, mask or acceptance changed, whether or not they were key slices before.
        first, last: the inclusive range to compute.
        accepted: slices whose masks the user accepted; they are key slices and in no track. One that was
            accepted by this very change belongs into `changed` too.

    Returns:
        The tracks of the new state that did not exist before, or have a changed slice at one of their ends.
    """
    touched = {int(index) for index in changed}
    kept = {int(index) for index in accepted}
    existing = set(tracks(set(before_keys) | kept, first, last))
    return tuple(
        track
        for track in tracks(set(after_keys) | kept, first, last)
        if track not in existing or track.key in touched or track.other_key in touched
    )


def _track(key: int, step: int, end: int, other_key: int | None) -> Track:
    return Track(key, step, tuple(range(key + step, end + step, step)), other_key)


def _key_step(
    index: int,
    given: tuple[PlannedPrompt, ...],
    keys: Mapping[int, KeyStep],
    limits: tuple[int, int],
    tapers: bool,
    among: str,
) -> KeyStep:
    own = tuple(map(_prompt_id, given))
    if not keys or starts_over(given) or max(prompt.round for prompt in given) == 0:
        return KeyStep(_digest("key", *own), index, given)
    ids = {at: keys[at].id for at in sorted(keys)}
    others = [at for at in ids if at != index]
    place = bisect.bisect(others, index)
    beside = tuple(others[max(place - 1, 0) : place + 1])
    step = 0
    if index in keys:
        corrects = ids[index]
    else:
        track = next((track for track in tracks(keys, *limits) if index in track.slices), None)
        corrects = "" if track is None else track_id(track, ids, tapers)
        step = 0 if track is None else track.step
    content = (*own, "of", corrects, "beside", *(ids[at] for at in beside), "among", among)
    return KeyStep(_digest("correction", *content), index, given, corrects, step, beside)


@lru_cache(maxsize=4096)
def _prompt_id(prompt: PlannedPrompt) -> str:
    content = prompt.mask.tobytes() if isinstance(prompt, MaskPrompt) else b""
    return hashlib.blake2b(repr(prompt).encode() + content, digest_size=16).hexdigest()


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
