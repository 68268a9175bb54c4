"""The segment that shows a voxel where masks meet; the others get it back when that mask goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from MedSAMSlicerLib.app.projector import Projector
from MedSAMSlicerLib.app.workspace import Settings, Workspace
from MedSAMSlicerLib.core.errors import SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.masks import PackedMask, StoredMask
from MedSAMSlicerLib.core.session import Session
from MedSAMSlicerLib.scene.nodes import volume_geometry
from MedSAMSlicerLib.scene.segments import SegmentMasks
from MedSAMSlicerLib.scene.slicer_scene import slicer_scene

from .conftest import MrmlScene
from .test_segment_masks import ANY, blob, masks_on, shared_pair, slices_of, whole
from .volumes import CASES, case

pytestmark = pytest.mark.slicer

Mask = npt.NDArray[np.bool_]


class Document:
    """A session whose masks are given by hand, projected on the segments of the real scene."""

    def __init__(self, mrml: MrmlScene, masks: SegmentMasks) -> None:
        self.work = Workspace(slicer_scene(mrml.scene), None, Settings())
        self.masks = self.work.masks = masks
        self.work.volume_node = masks.volume_node
        self.work.geometry = volume_geometry(masks.volume_node)
        self.session = self.work.session = Session(self.work.geometry)
        self.projector = Projector(self.work)

    def write(
        self,
        segment_id: str,
        axis: SliceAxis,
        slices: Mapping[int, Mask],
        overlap: str = "none",
        asked: bool = True,
    ) -> None:
        """One step: a segment has these masks; those that the user has not `asked` for keep the claims they had."""
        self.work.overlap = overlap
        self.projector.take_edits()
        object_id = self.work.object_ids.get(segment_id)
        if object_id is None:
            name, locked = f"{self.masks.name(segment_id)} {segment_id}", self.masks.locked(segment_id)
            object_id = self.session.adopt_object(name, self.masks.color(segment_id), locked)
            self.work.object_ids[segment_id] = object_id
            base, claim = self.projector.adopted_slices(segment_id, axis)
            if base:
                self.session.adopt_masks(object_id, base, axis, claim)
                self.projector.is_shown(self.session.object(object_id))
        obj, claim = self.session.object(object_id), self.projector.claim(segment_id)
        known = {index: stored.claim for index, stored in obj.masks.items()}
        stored = {
            index: StoredMask(PackedMask.from_array(mask), claim=claim if asked else known.get(index, claim))
            for index, mask in slices.items()
        }
        after = replace(obj, axis=axis).with_masks(stored)
        self.session._timeline.change("Write", after)
        self.projector.after_change([object_id])

    def close(self) -> None:
        self.work.close()

    def undo(self) -> None:
        command = self.session.undo()
        assert command is not None
        self.projector.after_change(command.after)


def document_on(mrml: MrmlScene, geometry: VolumeGeometry) -> tuple[Document, SegmentMasks]:
    masks = masks_on(mrml, geometry)[2]
    return Document(mrml, masks), masks


def pair(
    mrml: MrmlScene, geometry: VolumeGeometry, **callbacks: Any
) -> tuple[Any, Document, SegmentMasks, Any, Any]:
    """Two segments of Slicer's own making that share a labelmap, and a document that knows neither."""
    segmentation, masks, ids, arrays = shared_pair(mrml, geometry, **callbacks)
    return segmentation, Document(mrml, masks), masks, ids, arrays


def test_overlap_none_changes_no_voxel_of_a_neighbor_in_the_same_labelmap(mrml: MrmlScene) -> None:
    geometry = case("oblique")
    _, document, masks, (left_id, right_id), (_, right) = pair(mrml, geometry)
    wide = np.zeros(geometry.shape, bool)
    wide[1:4, 2:6, 1:8] = True
    document.write(left_id, SliceAxis.J, slices_of(wide, SliceAxis.J))
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), wide)
    np.testing.assert_array_equal(whole(masks, right_id, geometry.shape), right)
    document.close()


@pytest.mark.parametrize("axis", SliceAxis)
def test_voxels_that_a_mask_takes_come_back_when_it_leaves(mrml: MrmlScene, axis: SliceAxis) -> None:
    geometry = case("permuted left-handed")
    _, document, masks, (left_id, right_id), (left, right) = pair(mrml, geometry)
    ours = masks.add("ours")
    wide = np.zeros(geometry.shape, bool)
    wide[1:4, 2:6, 1:8] = True
    document.write(ours, axis, slices_of(wide, axis), "all")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left & ~wide)
    np.testing.assert_array_equal(whole(masks, right_id, geometry.shape), right & ~wide)
    narrow = wide.copy()
    narrow[:, :, 3:6] = False
    document.write(ours, axis, slices_of(narrow, axis), "all")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left & ~narrow)
    document.write(ours, axis, slices_of(np.zeros_like(wide), axis), "all")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    np.testing.assert_array_equal(whole(masks, right_id, geometry.shape), right)
    assert masks.edits() == {}
    document.close()


def test_locked_segments_lose_nothing_and_take_nothing(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    _, document, masks, (left_id, right_id), (left, _) = pair(mrml, geometry)
    masks.set_locked(left_id, True)
    everything = slices_of(np.ones(geometry.shape, bool), SliceAxis.K)
    ours = masks.add("ours")
    document.write(ours, SliceAxis.K, everything, "all")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    assert not whole(masks, right_id, geometry.shape).any()
    with pytest.raises(SessionError, match='"left" is locked'):
        masks.write_slices(left_id, SliceAxis.K, everything)
    document.write(right_id, SliceAxis.K, everything, "all")  # in the labelmap of the locked one
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    masks.set_locked(left_id, False)
    assert not masks.locked(left_id)
    document.close()


def test_hidden_segments_keep_their_voxels_when_only_visible_ones_are_overwritten(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    segmentation, document, masks, (left_id, right_id), (left, _) = pair(mrml, geometry)
    segmentation.GetDisplayNode().SetSegmentVisibility(left_id, False)
    ours = masks.add("ours")
    document.write(ours, SliceAxis.K, slices_of(np.ones(geometry.shape, bool), SliceAxis.K), "visible")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    assert not whole(masks, right_id, geometry.shape).any()
    document.close()


def test_a_mask_that_the_user_asks_for_takes_back_what_another_took(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    document, masks = document_on(mrml, geometry)
    first, second = masks.add("first"), masks.add("second")
    everything = slices_of(np.ones(geometry.shape, bool), SliceAxis.K)
    document.write(first, SliceAxis.K, everything, "all")
    document.write(second, SliceAxis.K, {2: everything[2]}, "all")
    document.write(first, SliceAxis.K, everything, "all", asked=False)
    assert not masks.read_slices(first, SliceAxis.K, [2])[2].any()
    document.write(first, SliceAxis.K, everything, "all")
    assert masks.read_slices(first, SliceAxis.K, [2])[2].all()
    assert not masks.read_slices(second, SliceAxis.K)
    document.write(first, SliceAxis.K, {2: ~everything[2]}, "all", asked=False)
    assert masks.read_slices(second, SliceAxis.K, [2])[2].all()
    assert masks.edits() == {}
    document.close()


def test_what_the_owner_gave_up_meanwhile_does_not_come_back(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    _, document, masks, (left_id, _), (left, _) = pair(mrml, geometry)
    ours = masks.add("ours")
    block = np.zeros(geometry.shape, bool)
    block[2:4, :, :3] = True
    document.write(ours, SliceAxis.K, slices_of(block, SliceAxis.K), "all")
    smaller = left.copy()
    smaller[:, :, 0] = False
    document.write(left_id, SliceAxis.K, slices_of(smaller & ~block, SliceAxis.K), "all")
    document.write(ours, SliceAxis.K, slices_of(np.zeros_like(block), SliceAxis.K), "all")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), smaller & ~block)
    document.close()


def test_what_somebody_else_erased_meanwhile_does_not_come_back(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    _, document, masks, (left_id, _), (left, _) = pair(mrml, geometry)
    ours = masks.add("ours")
    block = np.zeros(geometry.shape, bool)
    block[2:4, :, :3] = True
    document.write(ours, SliceAxis.K, slices_of(block, SliceAxis.K), "all")
    editor = SegmentMasks(masks.segmentation_node, masks.volume_node)
    editor.write_slices(left_id, SliceAxis.K, {2: np.zeros_like(left[2])})
    editor.close()
    document.write(ours, SliceAxis.K, slices_of(np.zeros_like(block), SliceAxis.K), "all")
    left[2] = False
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    document.close()


def test_deleting_a_segment_gives_back_what_it_took(mrml: MrmlScene) -> None:
    geometry = case("oblique mirrored")
    removed: list[str] = []
    _, document, masks, (left_id, _), (left, _) = pair(
        mrml, geometry, on_removed=lambda segment_id, *_edits: removed.append(segment_id)
    )
    ours = masks.add("ours")
    document.write(ours, SliceAxis.I, slices_of(np.ones(geometry.shape, bool), SliceAxis.I), "all")
    assert not whole(masks, left_id, geometry.shape).any()
    object_id = document.work.object_ids[ours]
    document.session.delete_object(object_id)
    document.projector.after_change([object_id])
    assert removed == [ours]
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    document.close()


@settings(ANY, max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_undoing_any_writes_restores_every_segment(mrml: MrmlScene, data) -> None:
    geometry = VolumeGeometry((3, 4, 5), CASES["oblique"])
    document, masks = document_on(mrml, geometry)
    axes = {masks.add(axis.name): axis for axis in SliceAxis}  # each object lies along its own
    given_masks = {segment_id: blob(geometry.shape, n + 1, 0.6) for n, segment_id in enumerate(axes)}
    for segment_id, mask in given_masks.items():
        document.write(segment_id, axes[segment_id], slices_of(mask, axes[segment_id]), "all")
    states = []
    for _ in range(data.draw(st.integers(1, 5))):
        segment_id = data.draw(st.sampled_from([*axes]))
        states.append([whole(masks, each, geometry.shape) for each in axes])
        mask = given_masks[segment_id] = blob(geometry.shape, data.draw(st.integers(0, 50)), 0.5)
        asked = data.draw(st.booleans())
        steps = document.session.step_count
        document.write(segment_id, axes[segment_id], slices_of(mask, axes[segment_id]), "all", asked)
        if document.session.step_count == steps:  # the same mask again is no step
            states.pop()
        if asked:
            np.testing.assert_array_equal(whole(masks, segment_id, geometry.shape), mask)
        now = [whole(masks, each, geometry.shape) for each in axes]
        np.testing.assert_array_equal(np.sum(now, axis=0), np.any(list(given_masks.values()), axis=0))
        assert not any((found & ~given_masks[each]).any() for found, each in zip(now, axes, strict=True))
    for state in reversed(states):
        document.undo()
        np.testing.assert_array_equal([whole(masks, each, geometry.shape) for each in axes], state)
    assert masks.edits() == {}
    document.close()
    mrml.clear()
