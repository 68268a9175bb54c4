"""What the session calls pending is what the engine computes, whatever was done before."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import MedSAMError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import Point, PromptSet, SliceRef, point_from_voxel
from MedSAMSlicerLib.core.segment_object import kept_as_prompts
from MedSAMSlicerLib.core.session import Session
from MedSAMSlicerLib.engine.live import LiveSegmentation
from MedSAMSlicerLib.engine.slice_mask import SliceMask

from .bright import bright_segmentation

SLICES, SIDE = 14, 16
GEOMETRY = VolumeGeometry.from_spacing((SLICES, SIDE, SIDE), (1.0, 1.0, 2.0))
ARRAY = np.zeros((SLICES, SIDE, SIDE), np.uint8)
ARRAY[:, 4:12, 4:12] = 220

numbers = st.tuples(st.integers(0, SLICES - 1), st.integers(5, 10))
prompted = st.sampled_from(["point", "point", "move", "remove", "propagate", "propagate"])
anything = st.sampled_from(
    ["point", "point", "move", "remove", "edit", "accept", "release", "limit", "propagate", "propagate"]
)


def sequences(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, tuple[int, int]]]]:
    return st.lists(st.tuples(names, numbers), min_size=6, max_size=16)


def point(index: int, x: int) -> Point:
    return point_from_voxel(GEOMETRY, SliceRef(SliceAxis.K, index), x, 7)


def act(session: Session, object_id: int, name: str, index: int, x: int) -> None:
    obj = session.object(object_id)
    if name == "point":
        session.add_prompt(object_id, point(index, x))
    elif name == "move":
        session.replace_prompt(object_id, x % max(1, len(obj.prompts)), point(index, x))
    elif name == "remove":
        session.remove_prompt(object_id, x % max(1, len(obj.prompts)))
    elif name == "edit":
        drawn = np.zeros((SIDE, SIDE), np.bool_)
        drawn[4:8, 4:x] = True
        session.edit_masks(object_id, {index: drawn}, SliceAxis.K)
    elif name == "accept":
        session.accept(object_id, [index])
    elif name == "release":
        session.release(object_id, sorted(obj.kept_slices)[:1])
    elif name == "limit":
        reached = [index, *(prompt.slice.index for prompt in obj.prompts)]
        session.set_slice_range(object_id, (min(reached), max(reached)) if x % 2 else None)
    prompts = session.object(object_id).object_prompts
    if (
        prompts.slice_range is not None and prompts.prompts
    ):  # as the module does it: the range holds every prompt
        reached = [*prompts.slice_range, *(prompt.slice.index for prompt in prompts.prompts)]
        session.set_slice_range(object_id, (min(reached), max(reached)))


def propagated(session: Session, object_id: int, live: LiveSegmentation, limited: bool) -> set[int]:
    """Compute what the engine finds necessary, or of that what is pending; returns the slices, without the user's."""
    before, pending = session.object(object_id), session.pending_slices(object_id)
    prompts = kept_as_prompts(before)
    wanted = {prompts.name: pending} if limited else None
    run, computed = session.begin_propagation(object_id), set[int]()
    for event in live.update(PromptSet(GEOMETRY, SliceAxis.K, (prompts,)), wanted=wanted):
        if isinstance(event, SliceMask):
            computed.add(event.index)
            if event.index in pending:
                session.apply_predictions(run, object_id, {event.index: event.mask})
        else:
            computed |= set(event.skipped)
    session.end_propagation(run, object_id)
    return computed - before.kept_slices


def play(actions: list[tuple[str, tuple[int, int]]], limited: bool) -> None:
    session, live = Session(GEOMETRY), bright_segmentation(ARRAY, GEOMETRY)[0]
    object_id = session.add_object("liver", (1.0, 0.0, 0.0))
    for name, (index, x) in actions:
        if name != "propagate":
            try:
                act(session, object_id, name, index, x)
            except MedSAMError:
                continue
        elif kept_as_prompts(session.object(object_id)).prompts:
            pending = session.pending_slices(object_id)
            computed = propagated(session, object_id, live, limited)
            assert computed >= pending if limited else computed == pending
            assert session.pending_slices(object_id) == frozenset()


@settings(max_examples=100, deadline=None)
@given(sequences(prompted))
def test_what_is_pending_after_prompts_is_what_the_engine_computes(
    actions: list[tuple[str, tuple[int, int]]],
) -> None:
    play(actions, limited=False)


NARROWED_AND_WIDENED = [
    ("point", (0, 5)),
    ("propagate", (0, 5)),
    ("limit", (0, 5)),
    ("limit", (0, 6)),
    ("propagate", (0, 5)),
]


@settings(max_examples=100, deadline=None)
@given(sequences(anything))
@example(NARROWED_AND_WIDENED)
def test_all_that_is_pending_after_any_action_is_computed(actions: list[tuple[str, tuple[int, int]]]) -> None:
    play(actions, limited=True)
