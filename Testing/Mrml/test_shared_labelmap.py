"""Many segments in one labelmap, as TotalSegmentator makes them and as Slicer loads them: each slice is read once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAMSlicerLib.core.geometry import SliceAxis
from MedSAMSlicerLib.scene.segments import SegmentMasks

from .conftest import MrmlScene
from .shared_labelmap import shared_segmentation, stroke

pytestmark = pytest.mark.slicer

SHAPE = (20, 32, 40)
ORGANS = [f"organ_{number}" for number in range(1, 6)]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Which slices of which segments are read; None for all."""
    from MedSAMSlicerLib.scene.segment_voxels import SegmentVoxels

    found: list[tuple[str, Any]] = []
    before = SegmentVoxels.read

    def noted(self: Any, segment_id: str, axis: SliceAxis, indices: Any = None) -> Any:
        found.append((segment_id, None if indices is None else [*indices]))
        return before(self, segment_id, axis, indices)

    monkeypatch.setattr(SegmentVoxels, "read", noted)
    before_segment = SegmentVoxels.read_segment

    def noted_segment(self: Any, segment: Any, axis: SliceAxis, indices: Any = None) -> Any:
        found.append((str(segment.GetName()), None if indices is None else [*indices]))
        return before_segment(self, segment, axis, indices)

    monkeypatch.setattr(SegmentVoxels, "read_segment", noted_segment)
    return found


@pytest.fixture
def organs(mrml: MrmlScene) -> Iterator[tuple[Any, Any]]:
    """A volume, and a segmentation of five organs in one labelmap."""
    volume = mrml.volume_node(np.zeros(SHAPE, np.int16), np.diag([0.7, 0.7, 1.0, 1.0]))
    yield volume, shared_segmentation(mrml, volume, len(ORGANS), SHAPE)
    mrml.clear()


def test_choosing_a_segmentation_reads_no_slice(organs: Any, read: list[Any]) -> None:
    volume, segmentation = organs
    masks = SegmentMasks(segmentation, volume, on_modified=lambda: None)
    assert read == []
    assert masks.edits() == {}
    masks.close()


def test_a_stroke_is_read_on_its_slice_alone(mrml: MrmlScene, organs: Any, read: list[Any]) -> None:
    volume, segmentation = organs
    masks = SegmentMasks(segmentation, volume, on_modified=lambda: None)
    masks.set_axis("organ_3", SliceAxis.K)  # as that of an object
    assert {slices for _name, slices in read} == {None}
    read.clear()
    stroke(mrml, segmentation, "organ_3", 8, SHAPE)
    edits = masks.edits({"organ_3"})
    assert {name: [*slices] for name, slices in edits.items()} == {"organ_3": [8]}
    masks.settle("organ_3")
    assert {tuple(slices or ()) for _name, slices in read} == {(8,)}, read
    assert masks.edits({"organ_3"}) == {}
    fresh = SegmentMasks(segmentation, volume, on_modified=lambda: None)
    assert masks.digests("organ_3") == fresh.digests("organ_3")
    for each in (masks, fresh):
        each.close()


def test_a_segment_becomes_known_with_its_first_write(mrml: MrmlScene, organs: Any) -> None:
    volume, segmentation = organs
    masks = SegmentMasks(segmentation, volume, on_modified=lambda: None)
    mask = np.zeros(SHAPE[1:], bool)
    mask[2:5, 17:20] = True  # beside all organs
    masks.write_slices("organ_3", SliceAxis.K, {8: mask})
    assert masks.edits() == {}
    stroke(mrml, segmentation, "organ_3", 9, SHAPE)
    assert {name: [*slices] for name, slices in masks.edits({"organ_3"}).items()} == {"organ_3": [9]}
    masks.write_slices("organ_3", SliceAxis.J, {0: np.zeros((SHAPE[0], SHAPE[2]), bool)})
    assert masks.edits({"organ_3"}) == {}
    fresh = SegmentMasks(segmentation, volume, on_modified=lambda: None)
    assert masks.digests("organ_3") == fresh.digests("organ_3")
    for each in (masks, fresh):
        each.close()


def test_overlaps_are_not_looked_for_within_one_labelmap(
    mrml: MrmlScene, organs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MedSAMSlicerLib.scene.labelmaps import Labelmap

    volume, segmentation = organs
    masks = SegmentMasks(segmentation, volume)
    looked: list[int] = []
    before = Labelmap.cut
    monkeypatch.setattr(Labelmap, "cut", lambda self: (looked.append(1), before(self))[1])
    count, shared = masks.measure("organ_3")
    assert (count, shared) == (16 * 16 * 8, {})
    assert len(looked) == 1  # to count the voxels
    ours = masks.add("ours")
    masks.write_slices(ours, SliceAxis.K, {8: np.ones(SHAPE[1:], bool)})
    assert masks.measure("organ_3")[1] == {ours: 16 * 8}
    assert masks.measure(ours) == (32 * 40, dict.fromkeys(ORGANS, 16 * 8))
    masks.close()


def test_export_holds_one_segment_at_a_time(organs: Any, tmp_path: Path) -> None:
    import weakref

    from MedSAMSlicerLib.io.volumes import read_volume
    from MedSAMSlicerLib.scene.export_files import SegmentMasksByName, export_nifti
    from MedSAMSlicerLib.scene.segment_voxels import SegmentVoxels

    volume, segmentation = organs
    living: list[int] = []
    held: list[Any] = []
    before = SegmentVoxels.volume

    def noted(self: Any, segment_id: str) -> Any:
        mask = before(self, segment_id)
        held.append(weakref.ref(mask))
        living.append(sum(each() is not None for each in held))
        return mask

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentVoxels, "volume", noted)
        assert export_nifti(segmentation, volume, tmp_path / "organs.nii.gz") == 0
    assert living == [1] * len(ORGANS)
    written = read_volume(tmp_path / "organs.nii.gz").array
    for value, mask in enumerate(SegmentMasksByName(segmentation, volume).values(), start=1):
        np.testing.assert_array_equal(written == value, mask)
