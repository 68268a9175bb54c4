"""The session keeps which segment has a voxel where masks meet."""

from __future__ import annotations

import json

import numpy as np

from MedSAMSlicerLib.app.persistence import read_state, write_state
from MedSAMSlicerLib.app.workspace import Network
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.overlap import BEFORE_ALL
from MedSAMSlicerLib.core.session import Session
from MedSAMSlicerLib.web.memory_scene import MemorySegmentation, MemorySegments, MemoryVolume

GEOMETRY = VolumeGeometry((4, 6, 5), np.eye(4))


def saved() -> tuple[Session, MemorySegments, str]:
    """A session with a mask that takes voxels, but not those of segment "s7"; the segments; the saved text."""
    volume = MemoryVolume(np.zeros(GEOMETRY.shape, np.int16), GEOMETRY)
    segments, session = MemorySegments(MemorySegmentation("masks"), volume), Session(GEOMETRY)
    mask = np.zeros((6, 5), np.bool_)
    mask[2:4, 1:4] = True
    segment_id, object_id = segments.add("liver"), session.adopt_object("liver", (0.5, 0.5, 0.5))
    session.claims.new()
    session.adopt_masks(object_id, {1: mask}, SliceAxis.K, session.claims.new(True, frozenset({"s7"})))
    session.adopt_masks(object_id, {2: mask}, SliceAxis.K)
    segments.write_slices(segment_id, SliceAxis.K, {1: mask, 2: mask})
    return session, segments, write_state(session, segments, {segment_id: object_id}, Network(), None, set())


def test_masks_take_from_the_same_segments_after_the_session_is_opened_again() -> None:
    session, segments, text = saved()
    opened = Session(GEOMETRY)
    read_state(text, opened, segments)
    [before], [after] = session.objects, opened.objects
    assert after.masks == before.masks
    assert after.masks[1].claim.takes
    assert after.masks[1].claim.spared == {"s7"}
    assert opened.claims.new().turn > after.masks[1].claim.turn, "what is asked for now comes later"


def test_masks_of_a_session_that_says_nothing_of_overlaps_were_there_before_all_others() -> None:
    _session, segments, text = saved()
    content = json.loads(text)
    for obj in content["objects"]:
        del obj["claims"]  # as in sessions of earlier versions
    opened = Session(GEOMETRY)
    read_state(json.dumps(content), opened, segments)
    assert {stored.claim for stored in opened.objects[0].masks.values()} == {BEFORE_ALL}
