from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import PromptError
from MedSAMSlicerLib.core.plan import Track, tracks, tracks_after_change

indices = st.integers(-5, 45)
key_sets = st.sets(indices, max_size=8)
ranges = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted)


def test_one_key_slice_reaches_both_ends() -> None:
    assert tracks([3], 0, 6) == (Track(3, -1, (2, 1, 0), None), Track(3, 1, (4, 5, 6), None))


def test_two_key_slices_meet_in_the_middle() -> None:
    inner = [track for track in tracks([2, 9], 0, 9) if track.other_key is not None]
    assert inner == [Track(2, 1, (3, 4, 5), 9), Track(9, -1, (8, 7, 6), 2)]


def test_slice_at_equal_distance_goes_with_the_lower_key_slice() -> None:
    assert tracks([0, 4], 0, 4) == (Track(0, 1, (1, 2), 4), Track(4, -1, (3,), 0))


def test_no_key_slice_and_only_key_slices_need_no_track() -> None:
    assert tracks([], 0, 9) == ()
    assert tracks([0, 1, 2], 0, 2) == ()
    assert tracks([0], 0, 0) == ()


def test_range_in_reverse_is_refused() -> None:
    with pytest.raises(PromptError, match="first slice of the range, 7, lies above the last, 3"):
        tracks([5], 7, 3)


@given(key_sets, ranges)
def test_every_slice_is_a_key_slice_or_in_the_track_of_its_nearest_one(
    keys: set[int], limits: list[int]
) -> None:
    first, last = limits
    inside = {key for key in keys if first <= key <= last}
    covered = [index for track in tracks(keys, first, last) for index in track.slices]
    assert sorted(covered) == (
        [index for index in range(first, last + 1) if index not in inside] if inside else []
    )
    for track in tracks(keys, first, last):
        for distance, index in enumerate(track.slices, start=1):
            assert index == track.key + track.step * distance
            assert distance == min(abs(index - key) for key in inside)


@given(st.permutations(list(range(0, 40, 3))))
def test_order_of_prompts_plays_no_part(keys: list[int]) -> None:
    assert tracks(keys, 0, 50) == tracks(sorted(keys), 0, 50)


@given(key_sets, key_sets, key_sets, key_sets, ranges)
def test_what_is_not_computed_again_is_what_a_fresh_run_would_give(
    before: set[int], after: set[int], edited: set[int], accepted: set[int], limits: list[int]
) -> None:
    changed = (before ^ after) | edited
    again = tracks_after_change(before, after, changed, *limits, accepted=accepted)
    wanted = tracks(after | accepted, *limits)
    existing = tracks(before | (accepted - changed), *limits)
    unchanged = [
        track
        for track in wanted
        if track in existing and track.key not in changed and track.other_key not in changed
    ]
    assert [track for track in wanted if track not in unchanged] == list(again)
    assert all(set(track.slices).isdisjoint(accepted) for track in again)


@given(key_sets, indices, ranges)
def test_new_key_slice_touches_only_the_tracks_between_its_neighbors(
    keys: set[int], new: int, limits: list[int]
) -> None:
    first, last = limits
    again = tracks_after_change(keys, keys | {new}, {new}, first, last)
    below = max((key for key in keys if first <= key < new), default=first - 1)
    above = min((key for key in keys if new < key <= last), default=last + 1)
    assert all(below < index < above for track in again for index in track.slices)


@given(key_sets, ranges)
def test_without_a_change_nothing_is_computed(keys: set[int], limits: list[int]) -> None:
    assert tracks_after_change(keys, keys, (), *limits) == ()
    assert tracks_after_change(keys, keys, (), *limits, accepted=keys) == ()


def test_newly_accepted_slice_renews_the_tracks_beside_it_only() -> None:
    again = tracks_after_change([0, 20], [0, 20], [10], 0, 30, accepted=[10])
    assert [(track.key, track.step) for track in again] == [(0, 1), (10, -1), (10, 1), (20, -1)]


def test_edited_key_slice_renews_the_tracks_that_run_toward_it() -> None:
    again = tracks_after_change([0, 10, 20], [0, 10, 20], [20], 0, 20)
    assert [(track.key, track.other_key) for track in again] == [(10, 20), (20, 10)]


def test_removed_key_slice_is_given_back_to_its_neighbors() -> None:
    again = tracks_after_change([0, 4, 20], [0, 20], [4], 0, 20)
    assert again == (Track(0, 1, tuple(range(1, 11)), 20), Track(20, -1, tuple(range(19, 10, -1)), 0))
