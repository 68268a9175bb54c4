"""A segment that was made elsewhere as a start: prompts change the slices beside them, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.masks import MaskState, PackedMask, volume_of
from MedSAMSlicerLib.core.prompts import MaskPrompt, PromptSet, SliceRef, box_from_voxels, point_from_voxel
from MedSAMSlicerLib.core.segment_object import kept_as_prompts
from MedSAMSlicerLib.core.session import Session
from MedSAMSlicerLib.core.start import started, usual_reach, with_reach

from .sessions import GEOMETRY, RED, SLICES, filled, point

FILLED = {index: filled(20 + index) for index in range(2, 10)}
"""Slices 0, 1, 10 and 11 are empty."""


def start(reach: int = 1, axis: SliceAxis = SliceAxis.K, masks=None) -> tuple[Session, int]:
    session = Session(GEOMETRY)
    liver = session.add_object("liver", RED)
    from_masks(session, liver, FILLED if masks is None else masks, reach, axis)
    return session, liver


def from_masks(session: Session, object_id: int, masks, reach: int = 1, axis=SliceAxis.K) -> None:
    packed = {index: PackedMask.from_array(mask) for index, mask in masks.items()}
    session.change(object_id, "Start", lambda obj: started(obj, packed, axis, GEOMETRY.shape, reach))


def propagate(session: Session, object_id: int, value: int) -> set[int]:
    """Compute what is pending as masks of one value; returns which slices that is."""
    wanted = session.pending_slices(object_id)
    run = session.begin_propagation(object_id)
    session.apply_predictions(run, object_id, dict.fromkeys(wanted, filled(value)))
    session.end_propagation(run, object_id)
    return set(wanted)


def values(session: Session, object_id: int) -> list[int]:
    return [int(session.mask(object_id, index).sum()) for index in range(SLICES)]


AS_BEGUN = [0, 0, *range(22, 30), 0, 0]


def test_start_keeps_all_masks_and_leaves_nothing_to_compute() -> None:
    session, liver = start()
    assert values(session, liver) == AS_BEGUN
    assert session.pending_slices(liver) == frozenset()
    assert {stored.state for stored in session.object(liver).masks.values()} == {MaskState.STARTED}


def test_start_takes_prompts_and_range_away_and_is_one_step_of_undo() -> None:
    session = Session(GEOMETRY)
    liver = session.add_object("liver", RED)
    session.add_prompt(liver, point(5))
    session.set_slice_range(liver, (3, 8))
    before = session.object(liver)
    from_masks(session, liver, FILLED)
    assert session.object(liver).prompts == ()
    assert session.object(liver).slice_range is None
    session.undo()
    assert session.object(liver) == before
    session.redo()
    assert values(session, liver) == AS_BEGUN


@pytest.mark.parametrize(
    ("index", "reach", "gap"),
    [
        (5, 0, {5}),
        (5, 1, {4, 5, 6}),
        (5, 2, {3, 4, 5, 6, 7}),
        (0, 2, {0, 1, 2}),
        (11, 1, {10, 11}),
        (5, 99, {*range(12)}),
    ],
)
def test_prompt_opens_the_slices_within_reach_and_no_other(index: int, reach: int, gap: set[int]) -> None:
    session, liver = start(reach)
    session.add_prompt(liver, point(index))
    assert session.pending_slices(liver) == gap
    assert values(session, liver) == AS_BEGUN
    assert propagate(session, liver, 7) == gap
    assert values(session, liver) == [7 if at in gap else AS_BEGUN[at] for at in range(SLICES)]
    assert session.pending_slices(liver) == frozenset()


def test_second_correction_leaves_the_first_one_alone() -> None:
    session, liver = start()
    session.add_prompt(liver, point(3))
    propagate(session, liver, 7)
    session.add_prompt(liver, point(8))
    assert session.pending_slices(liver) == {7, 8, 9}
    propagate(session, liver, 11)
    assert values(session, liver)[2:10] == [7, 7, 7, 25, 26, 11, 11, 11]


def test_second_click_on_a_slice_opens_its_gap_again() -> None:
    session, liver = start()
    session.add_prompt(liver, point(5))
    propagate(session, liver, 7)
    session.add_prompt(liver, point(5, x=1))
    assert session.pending_slices(liver) == {4, 5, 6}


def test_prompt_that_is_taken_away_gives_its_slices_back_bit_for_bit() -> None:
    session, liver = start(reach=2)
    as_begun = session.object(liver).masks
    session.add_prompt(liver, point(5))
    propagate(session, liver, 7)
    assert values(session, liver) != AS_BEGUN
    session.remove_prompt(liver, 0)
    assert session.object(liver).masks == as_begun
    assert session.pending_slices(liver) == frozenset()


def test_gap_of_a_prompt_that_stays_is_not_given_back() -> None:
    session, liver = start()
    session.add_prompt(liver, point(4))
    session.add_prompt(liver, point(6))
    propagate(session, liver, 7)
    session.remove_prompt(liver, 1)
    assert values(session, liver)[3:8] == [7, 7, 7, 26, 27]


def test_undo_and_redo_of_a_correction_are_exact() -> None:
    session, liver = start()
    begun = session.object(liver)
    session.add_prompt(liver, point(5))
    propagate(session, liver, 7)
    corrected = session.object(liver)
    session.undo()
    session.undo()
    assert session.object(liver) == begun
    session.redo()
    session.redo()
    assert session.object(liver) == corrected


def test_run_gets_the_mask_that_a_prompt_corrects_and_those_at_both_ends_of_the_gap() -> None:
    session, liver = start(reach=2)
    session.add_prompt(liver, point(5))
    given = kept_as_prompts(session.object(liver))
    masks = {prompt.slice.index: prompt for prompt in given.prompts if isinstance(prompt, MaskPrompt)}
    assert sorted(masks) == [2, 5, 8]
    assert all(np.array_equal(prompt.mask, FILLED[index]) for index, prompt in masks.items())
    turns = {prompt.round for prompt in given.prompts if prompt.slice.index == 5}
    assert turns == {1}  # mask and point together: the answer depends on no other slice
    assert given.slice_range == (2, 8)


def test_run_beyond_the_end_of_the_segment_does_not_leave_the_gap() -> None:
    session, liver = start()
    session.add_prompt(liver, point(10))
    given = kept_as_prompts(session.object(liver))
    assert [prompt.slice.index for prompt in given.prompts] == [8, 10]
    assert given.slice_range == (8, 11)


def test_box_redraws_where_a_point_corrects() -> None:
    session, liver = start()
    session.add_prompt(liver, box_from_voxels(GEOMETRY, SliceRef(SliceAxis.K, 5), 1, 1, 5, 4))
    given = kept_as_prompts(session.object(liver))
    assert sorted(p.slice.index for p in given.prompts if isinstance(p, MaskPrompt)) == [3, 7]


def test_prompts_file_has_every_mask_of_the_start() -> None:
    apart = {2: filled(9), 3: filled(9), 7: filled(9)}
    session, liver = start(masks=apart)
    session.add_prompt(liver, point(7))
    again = PromptSet.from_json(session.prompt_set().to_json(), GEOMETRY).objects[0]
    masks = {p.slice.index: int(p.mask.sum()) for p in again.prompts if isinstance(p, MaskPrompt)}
    assert masks == {2: 9, 3: 9, 4: 0, 5: 0, 7: 9}
    assert again.slice_range == (2, 8)


def test_prompt_along_another_axis_turns_the_start() -> None:
    session, liver = start()
    volume = volume_of(
        {index: stored.mask for index, stored in session.object(liver).masks.items()},
        SliceAxis.K,
        GEOMETRY.shape,
    )
    session.add_prompt(liver, point_from_voxel(GEOMETRY, SliceRef(SliceAxis.J, 2), 3, 5))
    obj = session.object(liver)
    assert obj.axis is SliceAxis.J
    masks = {index: stored.mask for index, stored in obj.masks.items()}
    assert np.array_equal(volume_of(masks, SliceAxis.J, GEOMETRY.shape), volume)
    assert session.pending_slices(liver) == {1, 2, 3}


def test_accepted_slice_of_the_start_stays_and_is_part_of_the_start_again_when_released() -> None:
    session, liver = start(reach=2)
    session.accept(liver, [4])
    session.add_prompt(liver, point(5))
    assert session.pending_slices(liver) == {3, 5, 6, 7}
    session.undo()
    session.release(liver, [4])
    assert session.object(liver).masks[4].state is MaskState.STARTED
    assert session.pending_slices(liver) == frozenset()


def test_reach_can_be_changed_until_it_suits() -> None:
    session, liver = start()
    session.add_prompt(liver, point(5))
    propagate(session, liver, 7)
    session.change(liver, "Reach", lambda obj: with_reach(obj, 2))
    assert session.pending_slices(liver) == {3, 4, 6, 7}
    propagate(session, liver, 8)
    assert values(session, liver)[3:8] == [8, 8, 7, 8, 8]
    session.change(liver, "Reach", lambda obj: with_reach(obj, 1))
    assert values(session, liver)[3:8] == [23, 8, 7, 8, 27]


def test_start_that_cannot_be_is_refused_with_what_is_wrong() -> None:
    session, liver = start()
    with pytest.raises(SessionError, match="'liver' is empty"):
        from_masks(session, liver, {3: filled(0)})
    with pytest.raises(SessionError, match="0 slices or more on either side, not -1"):
        from_masks(session, liver, FILLED, reach=-1)
    with pytest.raises(SessionError, match="Slice 12 does not exist: there are slices 0 to 11"):
        from_masks(session, liver, {12: filled(3)})
    other = session.add_object("spleen", (0, 1, 0))
    with pytest.raises(SessionError, match="'spleen' did not start from a segment"):
        session.change(other, "Reach", lambda obj: with_reach(obj, 2))
    session.set_locked(liver, True)
    with pytest.raises(SessionError, match="locked"):
        from_masks(session, liver, FILLED)


@pytest.mark.parametrize(("spacing", "slices"), [(0.3, 10), (1.5, 8), (3.0, 4), (5.0, 2), (10.0, 2)])
def test_usual_reach_is_a_centimeter_in_any_volume(spacing: float, slices: int) -> None:
    assert usual_reach(spacing) == slices
