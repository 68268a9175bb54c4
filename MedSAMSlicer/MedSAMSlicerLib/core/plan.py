"""Which slices have to be computed, from which key slice and in which order.

A key slice has prompts or a mask that the user accepted. Every other slice belongs to its nearest key slice
and is reached from there slice by slice. A track depends on its bounding key slices alone, so the outcome
does not depend on the order in which prompts were given, and a change stays between the neighbouring ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from .errors import PromptError


@dataclass(frozen=True)
class Track:
    """A run of slices computed one after the other, outward from one key slice.

    Attributes:
        key: the key slice the run starts from; not part of the run.
        step: +1 towards higher slice indices, -1 towards lower ones.
        slices: slice indices in the order of computation; never empty.
        other_key: the key slice that bounds the run on its far side, None at an end of the range.
    """

    key: int
    step: int
    slices: tuple[int, ...]
    other_key: int | None


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
