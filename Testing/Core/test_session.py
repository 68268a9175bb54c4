from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import PromptError, SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.masks import MaskState
from MedSAMSlicerLib.core.prompts import (
    MaskPrompt,
    Point,
    PromptSet,
    SliceRef,
    box_from_voxels,
    point_from_voxel,
)
from MedSAMSlicerLib.core.session import Session

from .sessions import GEOMETRY, RED, SLICES, filled, pending_key_slices, pending_tracks, point


def with_object(*prompted: int) -> tuple[Session, int]:
    session = Session(GEOMETRY)
    liver = session.add_object("liver", RED)
    for index in prompted:
        session.add_prompt(liver, point(index))
    return session, liver


def propagate(session: Session, object_id: int, value: int) -> set[int]:
    """Compute all that is pending as masks of one value; returns the slices that were computed."""
    tracks, keys = pending_tracks(session, object_id), pending_key_slices(session, object_id)
    run = session.begin_propagation(object_id)
    indices = {*keys, *(index for track in tracks for index in track.slices)}
    for index in sorted(indices):
        session.apply_predictions(run, object_id, {index: filled(value)}, {index: 0.5})
    session.end_propagation(run, object_id)
    return indices


def values(session: Session, object_id: int) -> dict[int, int]:
    return {index: int(session.mask(object_id, index).sum()) for index in session.object(object_id).masks}


# -- objects and prompts


def test_objects_keep_their_order_and_numbers_are_never_used_again() -> None:
    session = Session(GEOMETRY)
    liver, spleen = session.add_object("liver", RED), session.add_object("spleen", (0, 1, 0))
    session.delete_object(liver)
    kidney = session.add_object("kidney", (0, 0, 1))
    assert len({liver, spleen, kidney}) == 3
    session.undo()
    session.undo()
    assert [obj.name for obj in session.objects] == ["liver", "spleen"]


def test_name_in_use_is_refused() -> None:
    session, _liver = with_object()
    with pytest.raises(SessionError, match="named 'liver' already"):
        session.add_object("liver", RED)
    spleen = session.add_object("spleen", RED)
    with pytest.raises(SessionError, match="named 'liver' already"):
        session.describe(spleen, "liver", RED)
    assert session.undo_label == "Add spleen"


def test_unknown_object_slice_and_prompt_are_refused_with_their_value() -> None:
    session, liver = with_object(3)
    with pytest.raises(SessionError, match="number 99"):
        session.describe(99, "x", RED)
    with pytest.raises(SessionError, match="Slice 12 does not exist: there are slices 0 to 11"):
        session.edit_masks(liver, {12: filled(1)})
    with pytest.raises(SessionError, match=r"slice 3 has shape \(7, 6\), the slice \(6, 7\)"):
        session.edit_masks(liver, {3: filled(1).T})
    with pytest.raises(SessionError, match="no mask on slice 5"):
        session.accept(liver, [5])
    with pytest.raises(SessionError, match="has 1 prompts, none at -1"):
        session.remove_prompt(liver, -1)
    with pytest.raises(PromptError, match="outside the volume"):
        session.add_prompt(liver, Point(SliceRef(SliceAxis.K, 2), (900.0, 0.0, 110.0)))
    with pytest.raises(PromptError, match="slice axis j, 'liver' is for k"):
        session.add_prompt(liver, Point(SliceRef(SliceAxis.J, 2), (-19.0, 11.8, 110.0)))
    with pytest.raises(PromptError, match="exceeds the last slice, 11"):
        session.set_slice_range(liver, (0, 12))
    assert session.undo_label == "Add point"


def test_prompts_can_be_replaced_and_removed() -> None:
    session, liver = with_object(3, 5)
    session.replace_prompt(liver, 0, point(4))
    assert [prompt.slice.index for prompt in session.object(liver).prompts] == [4, 5]
    session.remove_prompt(liver, 1)
    assert [prompt.slice.index for prompt in session.object(liver).prompts] == [4]
    assert session.undo_label == "Remove point"


def test_prompts_know_after_how_many_propagations_they_were_given() -> None:
    session, liver = with_object(3)
    propagate(session, liver, 1)
    session.add_prompt(liver, point(8))
    propagate(session, liver, 2)
    session.replace_prompt(liver, 0, point(2))
    assert [prompt.round for prompt in session.object(liver).prompts] == [2, 1]


# -- locks


def test_locked_object_refuses_every_change_but_name_and_color() -> None:
    session, liver = with_object(3)
    propagate(session, liver, 1)
    session.set_locked(liver, True)
    for change in (
        lambda: session.add_prompt(liver, point(4)),
        lambda: session.replace_prompt(liver, 0, point(4)),
        lambda: session.remove_prompt(liver, 0),
        lambda: session.edit_masks(liver, {2: filled(2)}),
        lambda: session.accept(liver, [3]),
        lambda: session.release(liver, [3]),
        lambda: session.begin_propagation(liver),
        lambda: session.set_slice_range(liver, (0, 3)),
        lambda: session.delete_object(liver),
    ):
        with pytest.raises(SessionError, match="'liver' is locked"):
            change()
    session.describe(liver, "Liver", (0, 0, 1))
    session.set_locked(liver, False)
    session.add_prompt(liver, point(4))


def test_results_never_reach_an_object_that_was_locked_meanwhile() -> None:
    session, liver = with_object(3)
    run = session.begin_propagation(liver)
    assert session.apply_predictions(run, liver, {3: filled(5)}) == (3,)
    session.set_locked(liver, True)
    assert session.apply_predictions(run, liver, {4: filled(5)}) == ()
    assert session.end_propagation(run, liver) == ()
    assert values(session, liver) == {3: 5}


# -- propagation


def test_propagation_leaves_accepted_and_edited_slices_unchanged() -> None:
    session, liver = with_object(3)
    propagate(session, liver, 1)
    session.accept(liver, [6, 7])
    session.edit_masks(liver, {9: filled(30)})
    run = session.begin_propagation(liver)
    taken = session.apply_predictions(run, liver, {index: filled(2) for index in range(SLICES)})
    assert taken == (0, 1, 2, 3, 4, 5, 8, 10, 11)
    assert values(session, liver) == {**dict.fromkeys(range(SLICES), 2), 6: 1, 7: 1, 9: 30}


def test_correction_computes_only_what_lies_beside_it() -> None:
    session, liver = with_object(0, 10)
    assert propagate(session, liver, 1) == set(range(SLICES))
    session.add_prompt(liver, point(4))
    assert propagate(session, liver, 2) == set(range(1, 10)) - {10, 0}
    assert values(session, liver) == {0: 1, **dict.fromkeys(range(1, 10), 2), 10: 1, 11: 1}


def test_nothing_is_pending_after_a_propagation_and_again_after_its_undo() -> None:
    session, liver = with_object(3)
    before = pending_tracks(session, liver)
    propagate(session, liver, 1)
    assert pending_tracks(session, liver) == ()
    assert pending_key_slices(session, liver) == ()
    session.undo()
    assert pending_tracks(session, liver) == before
    assert pending_key_slices(session, liver) == (3,)


def test_canceled_propagation_is_continued_by_the_next_one() -> None:
    session, liver = with_object(0, 8)
    run = session.begin_propagation(liver)
    session.apply_predictions(run, liver, {index: filled(1) for index in (0, 1, 2, 3, 4, 8, 7)})
    assert {track.key for track in pending_tracks(session, liver)} == {8}
    assert propagate(session, liver, 2) == {5, 6, 7, 9, 10, 11}


def test_another_range_computes_all_of_it_again_but_slices_of_the_user() -> None:
    """The range says where the object ends: no slice looks the same with another one."""
    session, liver = with_object(5)
    session.set_slice_range(liver, (3, 7))
    assert propagate(session, liver, 1) == set(range(3, 8))
    session.set_slice_range(liver, (3, 9))
    assert propagate(session, liver, 2) == set(range(3, 10))
    session.accept(liver, [8])
    session.set_slice_range(liver, (4, 8))
    assert session.pending_slices(liver) == {4, 5, 6, 7}
    session.set_slice_range(liver, (4, 8))
    session.undo()
    assert session.pending_slices(liver) == frozenset()


def test_slices_without_a_result_are_empty_once_the_propagation_is_complete() -> None:
    session, liver = with_object(5)
    propagate(session, liver, 7)
    session.replace_prompt(liver, 0, point(5, x=1))
    run = session.begin_propagation(liver)
    session.apply_predictions(run, liver, {index: filled(8) for index in (4, 5, 6)})
    assert session.end_propagation(run, liver) == (0, 1, 2, 3, 7, 8, 9, 10, 11)
    assert values(session, liver) == {**dict.fromkeys(range(SLICES), 0), 4: 8, 5: 8, 6: 8}
    assert pending_tracks(session, liver) == ()


def test_a_propagation_is_one_step_of_undo_however_many_results_it_brings() -> None:
    session, liver = with_object(5)
    spleen = session.add_object("spleen", RED)
    session.add_prompt(spleen, point(2))
    start = session.objects
    run = session.begin_propagation(liver, spleen)
    for index in range(SLICES):
        session.apply_predictions(run, liver, {index: filled(1)})
        session.apply_predictions(run, spleen, {index: filled(2)})
    session.end_propagation(run, liver)
    session.end_propagation(run, spleen)
    end = session.objects
    assert session.undo_label == "Propagate liver, spleen"
    session.undo()
    assert session.objects == start
    session.redo()
    assert session.objects == end


def test_late_results_of_an_undone_or_older_propagation_are_dropped() -> None:
    session, liver = with_object(5)
    run = session.begin_propagation(liver)
    session.undo()
    assert session.apply_predictions(run, liver, {5: filled(1)}) == ()
    assert session.redo_label == "Propagate liver"
    newer = session.begin_propagation(liver)
    assert session.apply_predictions(run, liver, {5: filled(1)}) == ()
    assert session.apply_predictions(newer, liver, {5: filled(1)}) == (5,)
    session.delete_object(liver)
    assert session.apply_predictions(newer, liver, {5: filled(1)}) == ()


def test_step_in_the_middle_of_a_propagation_can_be_undone_by_itself() -> None:
    session, liver = with_object(5)
    run = session.begin_propagation(liver)
    session.apply_predictions(run, liver, {5: filled(1)})
    session.accept(liver, [5])
    session.apply_predictions(run, liver, {6: filled(1)})
    assert [session.undo().label for _ in range(3)] == ["Propagate liver", "Accept slices", "Propagate liver"]
    assert session.object(liver).masks == {}


def test_released_slice_is_computed_again() -> None:
    session, liver = with_object(5)
    propagate(session, liver, 1)
    session.accept(liver, [8])
    propagate(session, liver, 2)
    session.release(liver, [8])
    assert propagate(session, liver, 3) == {6, 7, 8, 9, 10, 11}


def test_slices_accepted_as_they_were_computed_change_nothing_beside_them() -> None:
    session, liver = with_object(5)
    propagate(session, liver, 1)
    session.accept(liver, [5, 8])
    assert session.pending_slices(liver) == frozenset()
    session.release(liver, [8])
    assert session.pending_slices(liver) == frozenset()
    session.undo()
    session.add_prompt(liver, point(10))
    assert session.pending_slices(liver) == {9, 10, 11}, "the accepted slice 8 bounds what is computed again"
    session.undo()
    session.edit_masks(liver, {8: filled(3)})
    assert session.pending_slices(liver) == {6, 7, 9, 10, 11}


def test_slice_accepted_before_it_was_computed_is_new_to_its_neighbors() -> None:
    session, liver = with_object(5)
    session.apply_preview(liver, 5, session.object(liver).prompts, filled(4))
    session.accept(liver, [5])
    assert session.pending_slices(liver) == {*range(12)} - {5}
    session.undo()
    propagate(session, liver, 1)
    session.add_prompt(liver, point(9))
    session.apply_preview(liver, 9, session.object(liver).prompts_on(9), filled(4))
    session.accept(liver, [9])
    assert 8 in session.pending_slices(liver)


def test_confidence_of_each_slice_is_kept() -> None:
    session, liver = with_object(5)
    propagate(session, liver, 1)
    assert {stored.confidence for stored in session.object(liver).masks.values()} == {0.5}
    session.edit_masks(liver, {5: filled(3)})
    assert session.object(liver).masks[5].confidence is None


# -- export


def test_exported_prompts_are_those_of_the_session() -> None:
    session, liver = with_object(3)
    session.add_prompt(liver, box_from_voxels(GEOMETRY, SliceRef(SliceAxis.K, 4), 1, 1, 5, 5))
    session.set_slice_range(liver, (2, 8))
    exported = session.prompt_set(checkpoint_id="nano", tier="exact")
    assert exported.objects == (session.object(liver).object_prompts,)
    again = Session(GEOMETRY)
    again.add_objects(PromptSet.from_json(exported.to_json(), GEOMETRY))
    assert again.prompt_set(checkpoint_id="nano", tier="exact") == exported
    assert again.undo().label == "Add prompts"
    assert again.objects == ()


def test_accepted_and_edited_masks_are_exported_with_their_round() -> None:
    session, liver = with_object(3)
    propagate(session, liver, 1)
    session.accept(liver, [4])
    session.edit_masks(liver, {9: filled(0)})
    session.add_prompt(liver, point(6))
    propagate(session, liver, 2)
    session.edit_masks(liver, {7: filled(20)})
    exported = session.prompt_set().objects[0].prompts
    assert [(type(prompt), prompt.slice.index, prompt.round) for prompt in exported] == [
        (Point, 3, 0),
        (Point, 6, 1),
        (MaskPrompt, 4, 1),
        (MaskPrompt, 9, 1),
        (MaskPrompt, 7, 2),
    ]
    assert not exported[3].mask.any()  # the user said that the object is not there
    assert PromptSet.from_json(session.prompt_set().to_json()) == session.prompt_set()


def test_prompts_of_another_volume_are_refused() -> None:
    session, _ = with_object(3)
    other = VolumeGeometry.from_spacing((SLICES, 6, 7), (0.8, 0.9, 5.5))
    with pytest.raises(SessionError, match="another volume"):
        Session(other).add_objects(session.prompt_set())


# -- memory


def test_undo_of_many_propagations_over_a_large_volume_stays_small() -> None:
    session = Session(VolumeGeometry((300, 512, 512), np.eye(4)))
    liver = session.add_object("liver", RED)
    rows, columns = np.mgrid[:512, :512]
    organs = [(rows - 250) ** 2 + (columns - 200 - shift) ** 2 < 90**2 for shift in range(20)]
    for turn in range(3):
        session.add_prompt(
            liver, point_from_voxel(session.geometry, SliceRef(SliceAxis.K, 150), 200, 250 + turn)
        )
        run = session.begin_propagation(liver)
        session.apply_predictions(run, liver, {index: organs[(index + turn) % 20] for index in range(300)})
    size = sum(len(stored.mask.bits) for stored in session.object(liver).masks.values())
    assert size < 2**18  # bytes a propagation leaves in the history


def test_states_have_names_to_save_in_a_scene() -> None:
    assert [state.value for state in MaskState] == ["predicted", "accepted", "edited", "started"]
