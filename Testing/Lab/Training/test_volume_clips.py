"""Clips of labeled volumes show the network what the engine would show it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.engine.crop import CropPolicy, bounds_of
from MedSAMSlicerLib.engine.view import FrameView
from MedSAMSlicerLib.lab.training.labeled import (
    LabeledVolume,
    TrainingTarget,
    find_cases,
    read_cases,
    united,
)
from MedSAMSlicerLib.lab.training.volume_clips import Augmentation, VolumeClips, usable_axes


@pytest.fixture(scope="module")
def volumes(balls: Path) -> list[LabeledVolume]:
    return read_cases(find_cases(balls))


def engine_views(volume: LabeledVolume, size: int, margin: float | None) -> dict[bytes, bytes]:
    """What the engine shows of every slice of the object, prompted there: frame -> mask."""
    target, shown = volume.targets[0], {}
    for axis in SliceAxis:
        whole = FrameView.whole(volume.geometry, axis, size)
        for index in target.extent(axis):
            mask = target.on_slice(volume.geometry, axis, index)
            bounds = bounds_of(mask)
            assert bounds is not None
            view = whole if margin is None else CropPolicy(margin).around(whole, bounds)
            gray = volume.window.apply(np.take(volume.array, index, axis=int(axis)))
            shown[view.frame(gray).tobytes()] = view.frame(mask.astype(np.uint8) * 255).tobytes()
    return shown


@pytest.mark.parametrize("margin", [1.7, None])
def test_without_augmentation_a_clip_begins_with_the_view_of_the_engine(
    volumes: list[LabeledVolume], margin: float | None
) -> None:
    clips = VolumeClips(volumes[:1], 48, margin, None)
    expected = engine_views(volumes[0], 48, margin)
    for seed in range(10):
        frames, masks, _ = clips.clip(seed, 3)
        assert expected[frames[0].tobytes()] == masks[0].tobytes()


def test_a_clip_follows_from_its_seed_alone(volumes: list[LabeledVolume]) -> None:
    first, second = (VolumeClips(volumes, 32, 1.7, Augmentation()) for _ in range(2))
    first.batch(1, 4, 3)
    a, b = first.batch(2, 4, 3), second.batch(2, 4, 3)
    assert np.array_equal(a.frames, b.frames)
    assert np.array_equal(a.masks, b.masks)
    halves = [second.batch(2, 2, 3, first=start).frames for start in (0, 2)]
    assert np.array_equal(np.concatenate(halves, 1), a.frames)


def test_augmented_masks_stay_on_their_objects(volumes: list[LabeledVolume]) -> None:
    clips = VolumeClips(volumes, 64, 1.7, Augmentation(affine=1.0))
    seen = set()
    for seed in range(12):
        frames, masks, _ = clips.clip(seed, 2)
        inside = masks[0] > 200
        assert frames[0][inside].mean() > frames[0][masks[0] < 50].mean() + 60
        seen.add(int(inside.sum()) // 50)
    assert len(seen) > 3


def test_the_end_of_the_object_is_reported(volumes: list[LabeledVolume]) -> None:
    clips = VolumeClips(volumes, 48, 1.7, None)
    for seed in range(10):
        _, masks, last = clips.clip(seed, 4)
        there = [place for place, mask in enumerate(masks) if (mask > 127).any()]
        assert min(last, 3) >= there[-1]
        assert 0 in there


@pytest.mark.parametrize(
    ("spacing", "axes"),
    [
        ((1.0, 1.0, 1.0), [SliceAxis.K, SliceAxis.J, SliceAxis.I]),
        ((1.0, 1.0, 5.0), [SliceAxis.K]),
        ((5.0, 1.0, 1.0), [SliceAxis.I]),
        ((1.0, 1.1, 2.0), [SliceAxis.K, SliceAxis.I, SliceAxis.J]),
    ],
)
def test_slices_are_cut_along_every_axis_whose_pixels_are_nearly_square(
    spacing: tuple[float, float, float], axes: list[SliceAxis]
) -> None:
    assert usable_axes(VolumeGeometry.from_spacing((10, 10, 10), spacing)) == axes


def test_clips_longer_than_every_volume_are_refused(volumes: list[LabeledVolume]) -> None:
    with pytest.raises(VolumeError, match="60 slices"):
        VolumeClips(volumes, 32, None, None, shortest=60)
    with pytest.raises(VolumeError, match="clips of 50 slices"):
        VolumeClips(volumes, 32, None, None).clip(0, 50)


def part(name: str, *sides: slice) -> TrainingTarget:
    """A block of voxels as an object."""
    whole = np.zeros((12, 40, 44), bool)
    whole[sides] = True
    corner = tuple(side.start for side in sides)
    return TrainingTarget(name, corner, whole[sides])  # type: ignore[arg-type]


def test_an_object_is_united_with_what_touches_it_or_lies_in_it_and_with_nothing_else() -> None:
    organ = part("organ", slice(2, 9), slice(10, 20), slice(10, 20))
    organ.mask[2:4, 3:5, 3:5] = False
    inside = part("lesion", slice(4, 6), slice(13, 15), slice(13, 15))
    beside = part("vessel", slice(2, 4), slice(20, 24), slice(12, 14))
    far = part("other", slice(2, 9), slice(22, 30), slice(25, 40))
    found = united(organ, [inside, beside, far])
    assert found.name == "organ+lesion+vessel"
    assert found.corner == (2, 10, 10)
    expected = np.zeros((12, 40, 44), bool)
    expected[2:9, 10:20, 10:20] = expected[2:4, 20:24, 12:14] = True
    assert np.array_equal(found.in_volume(VolumeGeometry.from_spacing(expected.shape, (1, 1, 1))), expected)
    assert united(far, [organ, inside]).name == "other"


def test_a_share_of_the_clips_shows_unions_and_none_changes_without(volumes: list[LabeledVolume]) -> None:
    [first, *_] = volumes
    target = first.targets[0]
    half = target.mask.copy()
    half[:, half.shape[1] // 2 :] = False
    rest = TrainingTarget("rest", target.corner, target.mask & ~half)
    two = replace(first, targets=(TrainingTarget("half", target.corner, half), rest))
    plain, again = (VolumeClips([two], 48, None, None, unions=0.0).clip(5, 3)[1] for _ in range(2))
    assert np.array_equal(plain, again)
    unions = VolumeClips([two], 48, None, None, unions=1.0)
    whole = {VolumeClips([first], 48, None, None).clip(seed, 3)[1].tobytes() for seed in range(60)}
    assert plain.tobytes() not in whole
    assert any(unions.clip(seed, 3)[1].tobytes() in whole for seed in range(9))
