"""Whose voxel it is where the masks of several segments meet, and that everybody gets back what was taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import SessionError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry

from .conftest import MrmlScene
from .test_segment_masks import ANY, blob, masks_on, shared_pair, slices_of, whole
from .volumes import CASES, case

pytestmark = pytest.mark.slicer


def test_overlap_none_changes_no_voxel_of_a_neighbor_in_the_same_labelmap(mrml: MrmlScene) -> None:
    geometry = case("oblique")
    _, masks, (left_id, right_id), (_, right) = shared_pair(mrml, geometry)
    wide = np.zeros(geometry.shape, bool)
    wide[1:4, 2:6, 1:8] = True
    masks.write_slices(left_id, SliceAxis.J, slices_of(wide, SliceAxis.J))
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), wide)
    np.testing.assert_array_equal(whole(masks, right_id, geometry.shape), right)
    masks.close()


@pytest.mark.parametrize("axis", SliceAxis)
def test_voxels_that_a_mask_takes_come_back_when_it_leaves(mrml: MrmlScene, axis: SliceAxis) -> None:
    geometry = case("permuted left-handed")
    _, masks, (left_id, right_id), (left, right) = shared_pair(mrml, geometry)
    ours = masks.add("ours")
    wide = np.zeros(geometry.shape, bool)
    wide[1:4, 2:6, 1:8] = True
    masks.write_slices(ours, axis, slices_of(wide, axis), "all")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left & ~wide)
    np.testing.assert_array_equal(whole(masks, right_id, geometry.shape), right & ~wide)
    narrow = wide.copy()
    narrow[:, :, 3:6] = False
    masks.write_slices(ours, axis, slices_of(narrow, axis), "all")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left & ~narrow)
    masks.write_slices(ours, axis, slices_of(np.zeros_like(wide), axis), "all")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    np.testing.assert_array_equal(whole(masks, right_id, geometry.shape), right)
    assert masks.edits() == {}
    masks.close()


def test_locked_segments_lose_nothing_and_take_nothing(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    _, masks, (left_id, right_id), (left, _) = shared_pair(mrml, geometry)
    masks.set_locked(left_id, True)
    everything = slices_of(np.ones(geometry.shape, bool), SliceAxis.K)
    ours = masks.add("ours")
    masks.write_slices(ours, SliceAxis.K, everything, "all")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    assert not whole(masks, right_id, geometry.shape).any()
    with pytest.raises(SessionError, match='"left" is locked'):
        masks.write_slices(left_id, SliceAxis.K, everything)
    masks.write_slices(right_id, SliceAxis.K, everything, "all")  # in the labelmap of the locked one
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    masks.set_locked(left_id, False)
    assert not masks.locked(left_id)
    masks.close()


def test_hidden_segments_keep_their_voxels_when_only_visible_ones_are_overwritten(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    segmentation, masks, (left_id, right_id), (left, _) = shared_pair(mrml, geometry)
    segmentation.GetDisplayNode().SetSegmentVisibility(left_id, False)
    ours = masks.add("ours")
    masks.write_slices(ours, SliceAxis.K, slices_of(np.ones(geometry.shape, bool), SliceAxis.K), "visible")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    assert not whole(masks, right_id, geometry.shape).any()
    masks.close()


def test_a_mask_that_the_user_asks_for_takes_back_what_another_took(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    _, _, masks = masks_on(mrml, geometry)
    first, second = masks.add("first"), masks.add("second")
    everything = slices_of(np.ones(geometry.shape, bool), SliceAxis.K)
    masks.write_slices(first, SliceAxis.K, everything, "all")
    masks.write_slices(second, SliceAxis.K, {2: everything[2]}, "all")
    masks.write_slices(first, SliceAxis.K, everything, "all")
    assert not masks.read_slices(first, SliceAxis.K, [2])[2].any()
    masks.write_slices(first, SliceAxis.K, everything, "all", retake=True)
    assert masks.read_slices(first, SliceAxis.K, [2])[2].all()
    assert not masks.read_slices(second, SliceAxis.K)
    masks.write_slices(first, SliceAxis.K, {2: ~everything[2]}, "all")
    assert masks.read_slices(second, SliceAxis.K, [2])[2].all()
    assert masks.edits() == {}
    masks.close()


def test_what_the_owner_gave_up_meanwhile_does_not_come_back(mrml: MrmlScene) -> None:
    geometry = case("as scanned")
    _, masks, (left_id, _), (left, _) = shared_pair(mrml, geometry)
    ours = masks.add("ours")
    block = np.zeros(geometry.shape, bool)
    block[2:4, :, :3] = True
    masks.write_slices(ours, SliceAxis.K, slices_of(block, SliceAxis.K), "all")
    smaller = left.copy()
    smaller[:, :, 0] = False
    masks.write_slices(left_id, SliceAxis.K, slices_of(smaller & ~block, SliceAxis.K), "all")
    masks.write_slices(ours, SliceAxis.K, slices_of(np.zeros_like(block), SliceAxis.K), "all")
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), smaller & ~block)
    masks.close()


def test_deleting_a_segment_gives_back_what_it_took(mrml: MrmlScene) -> None:
    geometry = case("oblique mirrored")
    removed: list[str] = []
    _, masks, (left_id, _), (left, _) = shared_pair(
        mrml, geometry, on_removed=lambda segment_id, *_edits: removed.append(segment_id)
    )
    ours = masks.add("ours")
    masks.write_slices(ours, SliceAxis.I, slices_of(np.ones(geometry.shape, bool), SliceAxis.I), "all")
    masks.remove(ours)
    assert removed == [ours]
    np.testing.assert_array_equal(whole(masks, left_id, geometry.shape), left)
    masks.close()


@settings(ANY, max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_undoing_any_writes_in_reverse_order_restores_every_segment(mrml: MrmlScene, data) -> None:
    geometry = VolumeGeometry((3, 4, 5), CASES["oblique"])
    _, _, masks = masks_on(mrml, geometry)
    ids = [masks.add(name) for name in "abc"]
    said = {
        segment_id: blob(geometry.shape, n + 1, 0.6) for n, segment_id in enumerate(ids)
    }  # as a session does
    for segment_id, mask in said.items():
        masks.write_slices(segment_id, SliceAxis.J, slices_of(mask, SliceAxis.J), "all")
    steps, states, orders = [], [], []
    for _ in range(data.draw(st.integers(1, 5))):
        segment_id = data.draw(st.sampled_from(ids))
        steps.append((segment_id, said[segment_id]))
        states.append([whole(masks, each, geometry.shape) for each in ids])
        said[segment_id] = blob(geometry.shape, data.draw(st.integers(0, 50)), 0.5)
        retake = data.draw(st.booleans())
        indices = range(geometry.shape[0]) if retake else ()
        orders.append([*masks.orders(segment_id, SliceAxis.K, indices).values()])
        slices = slices_of(said[segment_id], SliceAxis.K)
        masks.write_slices(segment_id, SliceAxis.K, slices, "all", retake=retake)
        if retake:
            np.testing.assert_array_equal(whole(masks, segment_id, geometry.shape), said[segment_id])
        now = [whole(masks, each, geometry.shape) for each in ids]
        np.testing.assert_array_equal(np.sum(now, axis=0), np.any(list(said.values()), axis=0))
        assert not any((found & ~said[each]).any() for found, each in zip(now, ids, strict=True))
    for (segment_id, mask), state, order in [*zip(steps, states, orders, strict=True)][::-1]:
        masks.write_slices(segment_id, SliceAxis.K, slices_of(mask, SliceAxis.K), "all")
        masks.put_back(order)
        np.testing.assert_array_equal([whole(masks, each, geometry.shape) for each in ids], state)
    assert masks.edits() == {}
    masks.close()
    mrml.clear()
