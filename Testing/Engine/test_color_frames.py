"""Frames in color go through the engine as the published package takes them; gray frames stay as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MedSAMSlicerLib.core.errors import VolumeError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.intensity import Window, luma
from MedSAMSlicerLib.core.prompts import ObjectPrompts, PromptSet, SliceRef, box_from_voxels
from MedSAMSlicerLib.engine.segmenter import VolumeSegmenter
from MedSAMSlicerLib.engine.view import FrameView
from MedSAMSlicerLib.sam2 import NANO, SAM2, TINY

from .oracles import official_predictor, phantom, relative_error, seeded_at

SIZE = 128
GEOMETRY = VolumeGeometry.from_spacing((3, 96, 80), (1.0, 1.0, 1.0))
COLORS = np.random.default_rng(0).integers(0, 256, (3, 96, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tiny() -> SAM2:
    return seeded_at(TINY, SIZE)


def color_phantom(size: int) -> np.ndarray:
    """(size, size, 3): what is seen differs from channel to channel."""
    return np.moveaxis(np.concatenate([phantom(1, size, seed) for seed in range(3)]), 0, -1)


@pytest.mark.parity
@torch.inference_mode()
def test_a_frame_in_color_gives_the_features_of_the_published_image_encoder(
    tiny: SAM2, tmp_path: Path
) -> None:
    from sam2.utils.misc import load_video_frames

    picture = color_phantom(SIZE)
    theirs = official_predictor(tiny)
    sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(tmp_path / "0.png"))
    (tmp_path / "0.png").rename(tmp_path / "0.jpg")  # the package looks at names only; so nothing is lost
    expected, _, _ = load_video_frames(str(tmp_path), SIZE, False, compute_device=torch.device("cpu"))
    geometry = VolumeGeometry.from_spacing((1, SIZE, SIZE), (1.0, 1.0, 1.0))
    segmenter = VolumeSegmenter(picture[None], geometry, tiny, tier="exact")
    torch.testing.assert_close(tiny.normalize(torch.from_numpy(segmenter.frame(0))[None]), expected)
    fine, mid, top = theirs.forward_image(expected)["backbone_fpn"]
    ours = segmenter.network().features([(0, segmenter.whole())])
    for mine, other in zip((ours.top, ours.mid, ours.fine), (top, mid, fine), strict=True):
        assert relative_error(mine, other) <= 1e-4


def test_the_channels_are_kept_apart(tiny: SAM2) -> None:
    swapped = tiny.normalize(torch.from_numpy(COLORS[:1, :80, :, ::-1].copy()))
    assert not torch.allclose(swapped, tiny.normalize(torch.from_numpy(COLORS[:1, :80])))


def test_color_of_three_equal_channels_is_gray_bit_for_bit(tiny: SAM2) -> None:
    gray = phantom(3, 96)[:, :, :80]
    in_color = VolumeSegmenter(np.stack([gray] * 3, axis=-1), GEOMETRY, tiny, tier="exact")
    plain = VolumeSegmenter(gray, GEOMETRY, tiny, Window(0, 255), tier="exact")
    ours, theirs = (s.network().features([(1, s.whole())]) for s in (in_color, plain))
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("axis", SliceAxis)
def test_frames_in_color_are_shown_as_they_are_along_each_axis(tiny: SAM2, axis: SliceAxis) -> None:
    segmenter = VolumeSegmenter(COLORS, GEOMETRY, tiny, Window(100, 110), tier="exact")
    frame = segmenter.frame(2, axis)
    assert np.array_equal(frame, np.take(COLORS, 2, axis=int(axis)))
    view = segmenter.whole(axis)
    resampled = view.frame(frame)
    assert resampled.shape == (SIZE, SIZE, 3)
    for channel in range(3):
        assert np.array_equal(resampled[..., channel], view.frame(frame[..., channel]))


def test_the_bundled_kind_of_network_sees_color_too() -> None:
    network = seeded_at(NANO, 64)
    ours, swapped = (VolumeSegmenter(c, GEOMETRY, network, tier="exact") for c in (COLORS, COLORS[..., ::-1]))
    seen, otherwise = (s.network().features([(1, s.whole())]).top for s in (ours, swapped))
    assert seen.isfinite().all()
    assert not torch.allclose(seen, otherwise)


def test_luma_is_that_of_television() -> None:
    colors = np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [7, 7, 7]], np.uint8)
    assert luma(colors).tolist() == [255, 76, 150, 29, 7]
    with pytest.raises(VolumeError, match=r"last axis, got the shape \(4,\)"):
        luma(np.zeros(4, np.uint8))


def test_an_object_in_color_is_segmented_on_every_slice_asked_for(tiny: SAM2) -> None:
    box = box_from_voxels(GEOMETRY, SliceRef(SliceAxis.K, 1), 20, 30, 50, 60)
    prompts = PromptSet(GEOMETRY, SliceAxis.K, (ObjectPrompts("polyp", (1.0, 0.0, 0.0), (box,), (0, 2)),))
    result = VolumeSegmenter(COLORS, GEOMETRY, tiny, tier="exact").segment(prompts)
    assert result.masks["polyp"].shape == GEOMETRY.shape
    assert set(result.objects[0].iou) == {0, 1, 2}


def test_a_fourth_axis_that_is_no_color_is_refused(tiny: SAM2) -> None:
    with pytest.raises(VolumeError, match=r"\(3, 96, 80, 4\), but its geometry is for \(3, 96, 80\)"):
        VolumeSegmenter(np.zeros((3, 96, 80, 4), np.uint8), GEOMETRY, tiny)
    with pytest.raises(VolumeError, match=r"uint8.*not float64"):
        VolumeSegmenter(np.zeros((3, 96, 80, 3)), GEOMETRY, tiny)


def test_black_lies_beyond_a_slice_in_color() -> None:
    view = FrameView.whole(GEOMETRY, SliceAxis.K, 96)
    frame = view.frame(np.full((96, 80, 3), 200, np.uint8))
    assert not frame[:, :8].any()
    assert (frame[:, 8:88] == 200).all()
