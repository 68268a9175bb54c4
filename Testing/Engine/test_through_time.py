"""A slice is followed through time: the mask of one time point on the same slice at all others."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.errors import Canceled
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.through_time import carried_masks, without_specks
from MedSAMSlicerLib.models.registry import BUNDLED_ID, Registry
from MedSAMSlicerLib.sam2.checkpoint import load_named

TIMES = 4


def disc(time: int) -> np.ndarray:  # type: ignore[type-arg]
    """(rows, columns): a disc that moves by two columns a time point and shrinks."""
    rows, columns = np.indices((64, 80))
    return np.asarray((rows - 32) ** 2 + (columns - 30 - 2 * time) ** 2 <= (14 - time) ** 2)


@pytest.fixture(scope="module")
def followed() -> tuple[VolumeSegmenter, np.ndarray]:  # type: ignore[type-arg]
    """A segmenter of a volume whose slices lie across J, and the frames of one of them."""
    rng = np.random.default_rng(0)
    frames = np.stack([20 + 150 * disc(time) + rng.normal(0, 8, (64, 80)) for time in range(TIMES)])
    file = Registry.from_environment().open(BUNDLED_ID)
    geometry = VolumeGeometry.from_spacing((64, 3, 80), (1.0, 4.0, 1.5))
    volume = np.repeat(frames[1][:, None], 3, axis=1)
    model = load_named(file.path, file.checkpoint.config)
    return VolumeSegmenter(volume, geometry, model, Window(0, 200), threads=1, volume_stage="off"), frames


def test_a_mask_is_followed_in_both_directions(followed: tuple[VolumeSegmenter, np.ndarray]) -> None:  # type: ignore[type-arg]
    segmenter, frames = followed
    found = {each.frame: each for each in carried_masks(segmenter, frames, SliceAxis.J, 1, disc(1))}
    assert sorted(found) == [0, 2, 3]
    for time, each in found.items():
        overlap = 2 * (each.mask & disc(time)).sum() / (each.mask.sum() + disc(time).sum())
        still = 2 * (disc(1) & disc(time)).sum() / (disc(1).sum() + disc(time).sum())
        assert overlap > still, f"at {time} it stayed where it was"
        assert overlap > 0.85
        assert 0 <= each.confidence <= 1


def test_following_ends_when_the_user_cancels(followed: tuple[VolumeSegmenter, np.ndarray]) -> None:  # type: ignore[type-arg]
    segmenter, frames = followed
    with pytest.raises(Canceled):
        list(carried_masks(segmenter, frames, SliceAxis.J, 1, disc(1), lambda: True))


def test_specks_go_and_parts_stay() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[2:10, 2:10] = mask[12:16, 12:16] = mask[18, 2] = True
    kept = without_specks(mask, 0.1)
    assert kept[13, 13]
    assert not kept[18, 2]
    assert np.array_equal(kept[:16], mask[:16])
    assert np.array_equal(without_specks(mask[:16], 0.5)[2:10, 2:10], mask[2:10, 2:10])
