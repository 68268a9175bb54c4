"""Undo and redo as properties: whatever a user does, the history leads back to the start and to the end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from MedSAMSlicerLib.core.errors import SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.core.prompts import PromptSet
from MedSAMSlicerLib.core.session import Session

from .sessions import COLUMNS, GEOMETRY, RED, SLICES, filled, pending_key_slices, pending_tracks, point

objects = st.integers(0, 2)
slices = st.integers(0, SLICES - 1)


class Histories(RuleBasedStateMachine):
    """Any user doing anything, compared with a list of snapshots."""

    @initialize()
    def start(self) -> None:
        self.session = Session(GEOMETRY)
        self.past: list = [self.session.objects]
        self.future: list = []
        self.runs: list[int] = [0]

    def pick(self, number: int) -> int | None:
        objects = self.session.objects
        return objects[number % len(objects)].id if objects else None

    def follow(self, snapshots: list, before: tuple, key: int | None) -> bool:
        """Carry a change of one object through snapshots, the latest first, as far as they had it as it was."""
        was = {obj.id: obj for obj in before}.get(key)
        now = {obj.id: obj for obj in self.session.objects}.get(key)
        for place in reversed(range(len(snapshots))):
            if not any(obj is was for obj in snapshots[place]):
                return False
            snapshots[place] = tuple(now if obj is was else obj for obj in snapshots[place])
        return True

    def act(self, change: object) -> None:
        """Do a change that may be refused, and write down the state when there is a new one."""
        before = self.session.objects
        label = self.session.undo_label
        steps = self.session.step_count
        try:
            change()
        except SessionError:
            assert self.session.objects == before
            assert self.session.undo_label == label
            return
        if self.session.objects != before:
            if self.session.step_count == steps:  # part of a step that was done before
                [key] = [obj.id for obj in self.session.objects if all(obj is not old for old in before)]
                if not self.follow(self.future, before, key):
                    self.future.clear()
                self.follow(self.past, before, key)
            else:
                self.future.clear()
                self.past.append(self.session.objects)

    @rule(name=st.sampled_from(["liver", "spleen", "kidney"]))
    def add(self, name: str) -> None:
        self.act(lambda: self.session.add_object(name, RED))

    @rule(number=objects)
    def delete(self, number: int) -> None:
        self.act(lambda: self.session.delete_object(self.pick(number)))

    @rule(number=objects, locked=st.booleans())
    def lock(self, number: int, locked: bool) -> None:
        self.act(lambda: self.session.set_locked(self.pick(number), locked))

    @rule(number=objects, index=slices, x=st.integers(0, COLUMNS - 1))
    def prompt(self, number: int, index: int, x: int) -> None:
        self.act(lambda: self.session.add_prompt(self.pick(number), point(index, x)))

    @rule(number=objects, position=objects, index=slices)
    def move_prompt(self, number: int, position: int, index: int) -> None:
        self.act(lambda: self.session.replace_prompt(self.pick(number), position, point(index)))

    @rule(number=objects, position=objects)
    def remove_prompt(self, number: int, position: int) -> None:
        self.act(lambda: self.session.remove_prompt(self.pick(number), position))

    @rule(number=objects, limits=st.tuples(slices, slices).map(sorted))
    def narrow(self, number: int, limits: list[int]) -> None:
        self.act(lambda: self.session.set_slice_range(self.pick(number), tuple(limits)))

    @rule(number=objects, index=slices, value=st.integers(0, 40))
    def edit(self, number: int, index: int, value: int) -> None:
        self.act(lambda: self.session.edit_masks(self.pick(number), {index: filled(value)}))

    @rule(number=objects, indices=st.sets(slices, max_size=4))
    def accept(self, number: int, indices: set[int]) -> None:
        self.act(lambda: self.session.accept(self.pick(number), indices))

    @rule(number=objects, indices=st.sets(slices, max_size=2))
    def release(self, number: int, indices: set[int]) -> None:
        self.act(lambda: self.session.release(self.pick(number), indices))

    @rule(number=objects)
    def begin(self, number: int) -> None:
        self.act(lambda: self.runs.append(self.session.begin_propagation(self.pick(number))))

    @rule(number=objects, run=st.integers(-3, -1), indices=st.sets(slices), value=st.integers(0, 40))
    def results(self, number: int, run: int, indices: set[int], value: int) -> None:
        run = self.runs[max(run, -len(self.runs))]
        before = {obj.id: obj for obj in self.session.objects}
        masks = {index: filled(value) for index in indices}
        self.act(lambda: self.session.apply_predictions(run, self.pick(number), masks))
        for obj in self.session.objects:
            kept = before[obj.id].masks.keys() if obj.locked else obj.kept_slices
            assert all(obj.masks[index] == before[obj.id].masks[index] for index in kept)

    @rule(number=objects)
    def complete(self, number: int) -> None:
        self.act(lambda: self.session.end_propagation(self.runs[-1], self.pick(number)))

    @precondition(lambda self: len(self.past) > 1)
    @rule()
    def undo(self) -> None:
        self.session.undo()
        self.future.append(self.past.pop())

    @precondition(lambda self: self.future)
    @rule()
    def redo(self) -> None:
        self.session.redo()
        self.past.append(self.future.pop())

    @invariant()
    def state_is_the_one_written_down(self) -> None:
        if hasattr(self, "session"):
            assert self.session.objects == self.past[-1]

    @invariant()
    def no_accepted_slice_is_ever_pending(self) -> None:
        for obj in self.session.objects if hasattr(self, "session") else ():
            pending = {index for track in pending_tracks(self.session, obj.id) for index in track.slices}
            assert not obj.kept_slices & pending
            assert not obj.kept_slices & set(pending_key_slices(self.session, obj.id))

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        while self.future:
            self.redo()
        end = self.session.objects
        steps = 0
        while self.session.undo():
            steps += 1
        assert self.session.objects == ()
        assert steps == len(self.past) - 1
        for _ in range(steps):
            self.session.redo()
        assert self.session.objects == end
        assert self.session.redo() is None
        exported = self.session.prompt_set()
        assert PromptSet.from_json(exported.to_json(), GEOMETRY) == exported


class TestHistories(Histories.TestCase):
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_oldest_steps_are_forgotten_beyond_the_limit() -> None:
    session = Session(GEOMETRY, history_limit=2)
    for name in ("a", "b", "c"):
        session.add_object(name, RED)
    assert session.undo()
    assert session.undo()
    assert session.undo() is None
    assert [obj.name for obj in session.objects] == ["a"]


def test_an_object_that_a_cancel_brings_back_shares_no_name_with_one_that_was_called_so_meanwhile() -> None:
    session = Session(GEOMETRY)
    liver = session.add_object("liver", RED)
    session.add_prompt(liver, point(3))
    run = session.begin_propagation(liver)
    session.delete_object(liver)
    session.add_object("liver", RED)
    session.cancel_propagation(run)
    assert [obj.name for obj in session.objects] == ["liver (2)", "liver"]
    session.undo()
    assert [obj.id for obj in session.objects] == [liver]


def test_edit_from_outside_with_its_prompts_is_one_step_and_its_reverse_takes_that_step_back() -> None:
    session = Session(GEOMETRY)
    liver = session.add_object("liver", RED)
    session.edit_masks(liver, {4: filled(3)}, SliceAxis.K)
    before = session.object(liver)
    session.edit_masks(liver, {4: filled(5), 6: filled(2)}, prompts=[point(4)], label="Accept", outside=True)
    after = session.object(liver)
    assert [prompt.slice.index for prompt in after.prompts] == [4]
    session.edit_masks(liver, {4: filled(3), 6: filled(0)}, outside=True)
    assert session.object(liver) is before
    assert session.redo_label == "Accept"
    session.edit_masks(liver, {4: filled(5), 6: filled(2)}, outside=True)
    assert session.object(liver) is after
    assert session.undo_label == "Accept"


def test_edit_from_outside_is_no_undo_of_what_was_done_in_the_session() -> None:
    session = Session(GEOMETRY)
    liver = session.add_object("liver", RED)
    session.edit_masks(liver, {4: filled(3)}, SliceAxis.K)
    session.edit_masks(liver, {4: filled(5)})
    steps = session.step_count
    session.edit_masks(liver, {4: filled(3)}, outside=True)
    assert session.step_count == steps + 1
