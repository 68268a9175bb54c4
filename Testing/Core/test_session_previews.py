"""Previews, axes and canceled runs: what belongs to which step of undo."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.cleanups import Cleanup
from MedSAMSlicerLib.core.errors import PromptError, SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.masks import MaskState
from MedSAMSlicerLib.core.prompts import ObjectPrompts, SliceRef, point_from_voxel
from MedSAMSlicerLib.core.session import Session

from .sessions import COLUMNS, GEOMETRY, RED, ROWS, SLICES, filled, pending_key_slices, point


def with_object(*prompted: int) -> tuple[Session, int]:
    session = Session(GEOMETRY)
    liver = session.adopt_object("liver", RED)
    for index in prompted:
        session.add_prompt(liver, point(index))
    return session, liver


def preview(session: Session, object_id: int, index: int, value: int) -> bool:
    prompts = session.object(object_id).prompts_on(index)
    return session.apply_preview(object_id, index, prompts, filled(value), 0.5)


def values(session: Session, object_id: int) -> dict[int, int]:
    return {index: int(session.mask(object_id, index).sum()) for index in session.object(object_id).masks}


def propagate(session: Session, object_id: int, value: int) -> int:
    run = session.begin_propagation(object_id)
    session.apply_predictions(run, object_id, {index: filled(value) for index in range(SLICES)})
    session.end_propagation(run, object_id)
    return run


# -- previews


def test_preview_is_taken_back_and_done_again_with_its_prompt() -> None:
    session, liver = with_object(3)
    assert session.object(liver).pending_previews() == (3,)
    assert preview(session, liver, 3, 5)
    assert session.object(liver).pending_previews() == ()
    assert session.undo_label == "Add point"
    session.undo()
    assert values(session, liver) == {}
    assert session.undo() is None
    session.redo()
    assert values(session, liver) == {3: 5}


def test_preview_that_comes_after_other_steps_still_belongs_to_its_prompt() -> None:
    session, liver = with_object(3)
    session.add_prompt(liver, point(8))
    spleen = session.add_object("spleen", RED)
    assert preview(session, liver, 3, 5)
    assert preview(session, liver, 8, 6)
    session.undo()
    session.undo()
    assert values(session, liver) == {3: 5}
    session.redo()
    assert values(session, liver) == {3: 5, 8: 6}
    session.redo()
    assert session.object(spleen).name == "spleen"


def test_preview_reaches_what_can_be_done_again() -> None:
    session, liver = with_object(3)
    session.add_prompt(liver, point(8))
    session.undo()
    assert preview(session, liver, 3, 5)
    session.redo()
    assert values(session, liver) == {3: 5}


def test_preview_for_prompts_that_are_others_by_now_is_dropped() -> None:
    session, liver = with_object(3)
    early = session.object(liver).prompts_on(3)
    session.add_prompt(liver, point(3, x=1))
    assert not session.apply_preview(liver, 3, early, filled(4))
    assert preview(session, liver, 3, 5)
    session.undo()
    assert values(session, liver) == {}
    assert session.object(liver).pending_previews() == (3,)


def test_removed_correction_gives_the_slice_its_propagated_mask_back() -> None:
    session, liver = with_object(3)
    preview(session, liver, 3, 5)
    propagate(session, liver, 7)
    session.add_prompt(liver, point(6))
    preview(session, liver, 6, 9)
    assert values(session, liver)[6] == 9
    session.remove_prompt(liver, 1)
    assert values(session, liver) == dict.fromkeys(range(SLICES), 7)
    assert session.pending_slices(liver) == frozenset()


def test_preview_never_replaces_a_mask_of_the_user() -> None:
    session, liver = with_object(3)
    session.edit_masks(liver, {3: filled(11)})
    assert not preview(session, liver, 3, 5)
    session.set_locked(liver, True)
    assert session.object(liver).pending_previews() == ()
    assert values(session, liver) == {3: 11}


def test_previewed_slice_is_still_to_be_propagated() -> None:
    session, liver = with_object(3)
    preview(session, liver, 3, 5)
    assert pending_key_slices(session, liver) == (3,)
    assert session.pending_slices(liver) == frozenset(range(SLICES))


# -- axes


def test_first_prompt_fixes_the_slice_axis_of_its_object_only() -> None:
    session, liver = with_object(3)
    spleen = session.adopt_object("spleen", RED)
    across = point_from_voxel(GEOMETRY, SliceRef(SliceAxis.J, 2), 3, 4)
    with pytest.raises(PromptError, match="slice axis j, 'liver' is for k"):
        session.add_prompt(liver, across)
    session.add_prompt(spleen, across)
    assert session.axes == (SliceAxis.K, SliceAxis.J)
    session.edit_masks(spleen, {5: np.ones((SLICES, COLUMNS), bool)})
    assert [session.prompt_set(axis=axis).objects[0].name for axis in session.axes] == ["liver", "spleen"]
    with pytest.raises(SessionError, match="2 slice axes"):
        session.prompt_set()


def test_object_without_prompts_and_masks_is_free_for_another_axis() -> None:
    session, liver = with_object(3)
    preview(session, liver, 3, 5)
    session.remove_prompts(liver)
    assert session.object(liver).axis is None
    assert values(session, liver) == {}
    session.add_prompt(liver, point_from_voxel(GEOMETRY, SliceRef(SliceAxis.I, 2), 3, 4))
    assert session.object(liver).axis is SliceAxis.I


def test_only_prompt_can_move_to_another_axis() -> None:
    session, liver = with_object(3)
    session.replace_prompt(liver, 0, point_from_voxel(GEOMETRY, SliceRef(SliceAxis.J, 2), 3, 4))
    assert session.object(liver).axis is SliceAxis.J


def test_range_keeps_the_axis_of_an_object_whose_only_prompt_is_removed() -> None:
    session, liver = with_object()
    session.add_prompt(liver, point_from_voxel(GEOMETRY, SliceRef(SliceAxis.J, 2), 3, 4))
    session.set_slice_range(liver, (1, ROWS - 1))
    session.remove_prompt(liver, 0)
    obj = session.object(liver)
    assert (obj.axis, obj.slice_range) == (SliceAxis.J, (1, ROWS - 1))
    assert session.prompt_set().objects[0].slice_range == (1, ROWS - 1)
    session.set_slice_range(liver, None)
    assert session.object(liver).axis is None


def test_range_goes_when_its_object_gets_a_prompt_along_another_axis() -> None:
    session, liver = with_object(9)
    session.set_slice_range(liver, (8, 11))
    across = point_from_voxel(GEOMETRY, SliceRef(SliceAxis.J, 2), 3, 4)
    session.replace_prompt(liver, 0, across)
    assert session.object(liver).slice_range is None
    assert session.prompt_set().objects[0].slice_range is None
    session.undo()
    session.remove_prompt(liver, 0)
    session.add_prompt(liver, across)
    assert session.object(liver).slice_range is None
    assert session.object(liver).axis is SliceAxis.J


def test_results_of_a_run_whose_object_lost_its_axis_go_nowhere() -> None:
    session, liver = with_object(3)
    run = session.begin_propagation(liver)
    session.remove_prompts(liver)
    assert session.apply_predictions(run, liver, {4: filled(6)}) == ()
    assert session.end_propagation(run, liver) == ()


def test_masks_of_the_user_cover_the_same_voxels_along_the_axis_of_the_first_prompt() -> None:
    session, liver = with_object()
    session.edit_masks(liver, {3: filled(4), 5: filled(9)}, SliceAxis.K)
    session.add_prompt(liver, point_from_voxel(GEOMETRY, SliceRef(SliceAxis.I, 6), 3, 4))
    obj = session.object(liver)
    volume = np.zeros(GEOMETRY.shape, bool)
    for index in obj.masks:
        volume[:, :, index] = session.mask(liver, index)
    assert obj.axis is SliceAxis.I
    assert obj.kept_slices == {*range(COLUMNS)}
    np.testing.assert_array_equal(volume[3], filled(4))
    np.testing.assert_array_equal(volume[5], filled(9))
    assert volume.sum() == 13
    session.undo()
    assert values(session, liver) == {3: 4, 5: 9}


def test_masks_adopted_along_another_axis_than_before_an_undo_are_there_after_it() -> None:
    session, liver = with_object()
    session.add_prompt(liver, point_from_voxel(GEOMETRY, SliceRef(SliceAxis.J, 5), 3, 4))
    session.undo()
    session.adopt_masks(liver, {5: filled(9)}, SliceAxis.K)
    session.redo()
    obj = session.object(liver)
    assert obj.axis is SliceAxis.J
    assert {index: int(session.mask(liver, index)[5].sum()) for index in obj.masks} == {0: 7, 1: 2}


def test_edit_of_an_object_without_axis_needs_one() -> None:
    session, liver = with_object()
    with pytest.raises(SessionError, match="no slice axis yet"):
        session.edit_masks(liver, {3: filled(4)})
    session.edit_masks(liver, {3: filled(4), 4: filled(5)}, SliceAxis.K)
    assert session.undo_label == "Edit 2 slices"
    assert session.object(liver).axis is SliceAxis.K


# -- runs


def test_canceled_run_is_undone_and_can_be_done_again() -> None:
    session, liver = with_object(3)
    preview(session, liver, 3, 5)
    before = session.objects
    run = session.begin_propagation(liver)
    session.apply_predictions(run, liver, {4: filled(6), 5: filled(6)})
    assert session.cancel_propagation(run) == (liver,)
    assert session.objects == before
    assert session.apply_predictions(run, liver, {6: filled(6)}) == ()
    assert session.redo_label == "Propagate liver"
    session.redo()
    assert values(session, liver) == {3: 5, 4: 6, 5: 6}


def test_canceled_run_leaves_what_was_done_to_other_objects() -> None:
    session, liver = with_object(3)
    spleen = session.adopt_object("spleen", RED)
    run = session.begin_propagation(liver)
    session.apply_predictions(run, liver, {4: filled(6)})
    session.add_prompt(spleen, point(7))
    session.apply_predictions(run, liver, {5: filled(6)})
    assert session.undo_label == "Add point"
    session.cancel_propagation(run)
    assert values(session, liver) == {}
    assert session.object(spleen).prompts
    session.redo()
    assert values(session, liver) == {4: 6, 5: 6}


def test_canceled_run_takes_along_what_was_done_to_its_objects() -> None:
    session, liver = with_object(3)
    run = session.begin_propagation(liver)
    session.apply_predictions(run, liver, {4: filled(6)})
    session.accept(liver, [4])
    session.apply_predictions(run, liver, {5: filled(6)})
    session.cancel_propagation(run)
    assert values(session, liver) == {}
    assert [session.redo().label for _ in range(3)] == ["Propagate liver", "Accept slices", "Propagate liver"]
    assert values(session, liver) == {4: 6, 5: 6}


def test_canceled_run_spares_what_was_done_to_others_between_its_steps() -> None:
    session, liver = with_object(3)
    spleen = session.adopt_object("spleen", RED)
    run = session.begin_propagation(liver)
    session.apply_predictions(run, liver, {4: filled(6)})
    session.accept(liver, [4])
    session.add_prompt(spleen, point(7))
    session.cancel_propagation(run)
    assert session.object(spleen).prompts
    assert session.undo_label == "Add point"


def test_results_after_a_slice_of_another_object_was_accepted_belong_to_their_run() -> None:
    session, liver = with_object(3)
    spleen = session.adopt_object("spleen", RED)
    session.add_prompt(spleen, point(7))
    run = session.begin_propagation(liver, spleen)
    session.apply_predictions(run, liver, {4: filled(6)})
    session.accept(liver, [4])
    session.apply_predictions(run, liver, {5: filled(6)})
    session.apply_predictions(run, spleen, {8: filled(9)})
    end = session.objects
    steps = 0
    while session.undo() is not None:
        steps += 1
    for _ in range(steps):
        session.redo()
    assert values(session, spleen) == {8: 9}
    assert session.objects == end


def test_object_that_comes_back_by_cancel_takes_no_name_in_use() -> None:
    session, liver = with_object(3)
    run = session.begin_propagation(liver)
    session.delete_object(liver)
    other = session.add_object("liver", RED)
    session.cancel_propagation(run)
    assert {obj.id: obj.name for obj in session.objects} == {liver: "liver (2)", other: "liver"}


def test_run_made_again_computes_everything_but_the_users_own() -> None:
    session, liver = with_object(3)
    propagate(session, liver, 7)
    session.accept(liver, [5])
    propagate(session, liver, 7)
    run = session.begin_propagation(liver, recompute=True)
    assert session.object(liver).unfinished == frozenset(range(SLICES)) - {5}
    session.end_propagation(run, liver)
    assert values(session, liver) == {**dict.fromkeys(range(SLICES), 0), 5: 7}


def test_reverted_run_is_a_step_that_spares_the_users_masks() -> None:
    session, liver = with_object(3)
    preview(session, liver, 3, 5)
    before = session.object(liver)
    propagate(session, liver, 7)
    session.edit_masks(liver, {8: filled(20)})
    session.restore_masks(liver, before, "Revert liver")
    assert values(session, liver) == {**dict.fromkeys(range(SLICES), 0), 3: 5, 8: 20}
    session.undo()
    assert values(session, liver)[4] == 7


# -- what is no step


def test_drag_of_a_prompt_is_one_step() -> None:
    session, liver = with_object(3)
    run = session.new_run()
    for x in range(4):
        session.replace_prompt(liver, 0, point(3, x=x), run=run)
    assert session.undo_label == "Change point"
    session.undo()
    assert session.object(liver).prompts == (point(3),)


def test_name_and_color_of_the_scene_are_followed_without_a_step() -> None:
    session, liver = with_object(3)
    session.describe(liver, "Leber", (0.0, 1.0, 0.0))
    assert session.undo_label == "Add point"
    session.undo()
    assert session.object(liver).name == "Leber"
    session.redo()
    assert session.object(liver).color == (0.0, 1.0, 0.0)


def test_name_of_the_scene_is_never_brought_twice_by_undo() -> None:
    session, liver = with_object(3)
    session.delete_object(liver)
    assert session.adopt_object("liver", RED) == 2
    session.undo()
    assert [obj.name for obj in session.objects] == ["liver (2)", "liver"]
    session.describe(2, "spleen", RED)
    session.delete_object(2)
    session.describe(liver, "spleen", RED)
    session.undo()
    assert [obj.name for obj in session.objects] == ["spleen", "spleen (2)"]


def test_adopted_masks_were_always_there() -> None:
    session, liver = with_object()
    session.adopt_masks(liver, {5: filled(9)}, SliceAxis.K)
    session.add_prompt(liver, point(3))
    session.undo()
    assert values(session, liver) == {5: 9}
    assert session.object(liver).masks[5].state is MaskState.EDITED
    assert session.undo() is None


def test_object_restored_in_the_middle_of_a_run_has_the_same_to_do() -> None:
    session, liver = with_object()
    session.edit_masks(liver, {5: filled(9)}, SliceAxis.K)
    session.add_prompt(liver, point(3))
    run = session.begin_propagation(liver)
    session.apply_predictions(run, liver, {index: filled(2) for index in range(3)})
    obj, again = session.object(liver), Session(GEOMETRY)
    pending = session.pending_slices(liver)
    again.restore_object(
        obj.object_prompts,
        obj.axis,
        obj.masks,
        pending=pending,
        changed=obj.changed_slices(),
        object_id=liver,
    )
    assert again.pending_slices(liver) == pending == frozenset(range(3, SLICES)) - {5}


def test_object_restored_after_a_second_prompt_on_a_propagated_slice_has_the_same_to_do() -> None:
    """Beside a correction in a later round it counts what the propagated slice said before."""
    session, liver = with_object(8)
    propagate(session, liver, 7)
    session.add_prompt(liver, point(7))
    propagate(session, liver, 6)
    session.add_prompt(liver, point(8, 4, 3))
    obj, again = session.object(liver), Session(GEOMETRY)
    pending = session.pending_slices(liver)
    again.restore_object(
        obj.object_prompts,
        obj.axis,
        obj.masks,
        propagations=obj.propagations,
        pending=pending,
        changed=obj.changed_slices(),
        before=obj.content_before(),
        object_id=liver,
    )
    assert pending < frozenset(range(SLICES))
    assert again.pending_slices(liver) == pending


def test_restored_object_goes_on_where_it_was() -> None:
    session, liver = with_object(3)
    propagate(session, liver, 7)
    session.accept(liver, [5])
    session.set_cleanup(liver, Cleanup(smooth=True))
    obj = session.object(liver)
    again = Session(GEOMETRY)
    same = again.restore_object(
        obj.object_prompts,
        obj.axis,
        obj.masks,
        cleanup=obj.cleanup,
        propagations=obj.propagations,
        pending=session.pending_slices(liver),
        object_id=7,
    )
    assert same == 7
    assert again.undo() is None
    assert again.pending_slices(7) == session.pending_slices(liver)
    assert again.object(7).masks == obj.masks
    assert again.adopt_object("spleen", RED) == 8
    with pytest.raises(SessionError, match="named 'liver' already"):
        again.restore_object(ObjectPrompts("liver", RED), None, {})
