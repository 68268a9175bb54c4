"""FrameView: squares of slices and the way between voxels, network pixels and mask logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from MedSAMSlicerLib.core.errors import GeometryError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.engine.crop import CropPolicy, bounds_of
from MedSAMSlicerLib.engine.view import OUTSIDE_LOGIT, FrameView

K = SliceAxis.K


@st.composite
def views(draw: st.DrawFn) -> FrameView:
    rows, columns = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    row_mm, column_mm = draw(st.floats(0.2, 6.0)), draw(st.floats(0.2, 6.0))
    geometry = VolumeGeometry.from_spacing((3, rows, columns), (column_mm, row_mm, 2.0))
    size = draw(st.sampled_from([32, 64, 96]))
    if draw(st.booleans()):
        return FrameView.whole(geometry, K, size)
    center = draw(st.floats(0, columns)), draw(st.floats(0, rows))
    return FrameView.around(geometry, K, center, draw(st.floats(2.0, 300.0)), size)


def voxels_of(view: FrameView, pixels: npt.ArrayLike) -> np.ndarray:
    """(N, 2) network pixels -> (N, 2) column, row indices, from the middle and the side of the square in mm."""
    rows_mm, columns_mm = view.spacing
    mm = (np.asarray(pixels, np.float64) + 0.5) * view.side_mm / view.size - view.side_mm / 2
    return mm / (columns_mm, rows_mm) + view.center


@given(views(), st.lists(st.tuples(st.floats(-50, 150), st.floats(-50, 150)), min_size=1, max_size=5))
def test_points_come_back_from_the_network(view: FrameView, points: list[tuple[float, float]]) -> None:
    back = voxels_of(view, view.to_network(points))
    assert back == pytest.approx(np.array(points), abs=1e-2)


@pytest.mark.parametrize("axis", list(SliceAxis))
def test_a_click_at_a_voxel_center_lands_at_the_pixel_center(axis: SliceAxis) -> None:
    geometry = VolumeGeometry.from_spacing((16, 16, 16), (1.0, 1.0, 1.0))
    view = FrameView.whole(geometry, axis, 16)
    assert view.to_network([(5, 9)]).tolist() == [[5.0, 9.0]]
    assert FrameView.whole(geometry, axis, 64).to_network([(5, 9)]).tolist() == [[21.5, 37.5]]


def test_a_box_reaches_from_its_first_to_its_last_network_pixel() -> None:
    geometry = VolumeGeometry.from_spacing((2, 32, 32), (1.0, 1.0, 1.0))
    corners = FrameView.whole(geometry, K, 128).box_to_network((9.5, 3.5), (19.5, 7.5))  # voxels 10..19, 4..7
    assert corners.tolist() == [[40.0, 16.0], [79.0, 31.0]]


@given(st.floats(0.3, 5.0), st.floats(0.3, 5.0), st.sampled_from(list(SliceAxis)))
def test_a_physical_circle_stays_a_circle_in_the_frame(
    row_mm: float, column_mm: float, axis: SliceAxis
) -> None:
    rows, columns = round(60 / row_mm), round(60 / column_mm)
    shape, spacing = [2, 2, 2], [1.0, 1.0, 1.0]
    shape[axis.row_axis], shape[axis.column_axis] = rows, columns
    spacing[2 - axis.row_axis], spacing[2 - axis.column_axis] = row_mm, column_mm
    geometry = VolumeGeometry.from_spacing(shape, spacing)
    y, x = np.mgrid[:rows, :columns]
    distance = np.hypot((x - (columns - 1) / 2) * column_mm, (y - (rows - 1) / 2) * row_mm)
    view = FrameView.whole(geometry, axis, 128)
    frame = view.frame(np.where(distance < 20, 255, 0).astype(np.uint8)) > 127
    height, width = np.flatnonzero(frame.any(1)).size, np.flatnonzero(frame.any(0)).size
    pixel_mm = view.side_mm / 128
    assert height * pixel_mm == pytest.approx(40, abs=2 * (row_mm + pixel_mm))
    assert width * pixel_mm == pytest.approx(40, abs=2 * (column_mm + pixel_mm))


def test_a_frame_of_the_networks_own_size_is_the_slice_itself() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    geometry = VolumeGeometry.from_spacing((1, 64, 64), (0.7, 0.7, 3.0))
    assert np.array_equal(FrameView.whole(geometry, K, 64).frame(image), image)


@pytest.mark.parametrize("size", [32, 48, 160])
def test_frames_are_resampled_as_torch_does_with_antialiasing(size: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 80)).astype(np.uint8)
    geometry = VolumeGeometry.from_spacing((1, 80, 80), (1.0, 1.0, 1.0))
    theirs = functional.interpolate(
        torch.from_numpy(image)[None, None].float(), (size, size), mode="bilinear", antialias=True
    )[0, 0]
    ours = FrameView.whole(geometry, K, size).frame(image)
    assert np.abs(ours - theirs.numpy()).max() <= 0.51


@pytest.mark.parametrize("rows", [40, 128, 300])
def test_masks_are_enlarged_as_the_official_predictor_does(rows: int) -> None:
    low = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    geometry = VolumeGeometry.from_spacing((1, rows, rows), (1.0, 1.0, 1.0))
    theirs = functional.interpolate(low[None, None], (rows, rows), mode="bilinear", align_corners=False)[0, 0]
    ours = FrameView.whole(geometry, K, 256).mask_from_logits(low.numpy())
    assert np.abs(ours - theirs.numpy()).max() < 1e-4  # torch places pixels in float32


def test_nothing_is_drawn_where_a_view_does_not_look() -> None:
    geometry = VolumeGeometry.from_spacing((1, 50, 50), (1.0, 1.0, 1.0))
    view = FrameView.around(geometry, K, (20.5, 30.5), 10.0, 32)
    logits = view.mask_from_logits(np.ones((8, 8), np.float32))
    assert (logits > 0).sum() == 10 * 10
    assert bounds_of(logits > 0) == (15.5, 25.5, 25.5, 35.5)
    assert set(np.unique(logits).tolist()) == {OUTSIDE_LOGIT, 1.0}


@given(views())
def test_what_lies_beyond_the_slice_is_black(view: FrameView) -> None:
    frame = view.frame(np.full(view.shape, 200, np.uint8))
    centers = voxels_of(view, [(n, n) for n in range(view.size)])
    columns = (centers[:, 0] >= -0.5) & (centers[:, 0] <= view.shape[1] - 0.5)
    rows = (centers[:, 1] >= -0.5) & (centers[:, 1] <= view.shape[0] - 0.5)
    assert (frame[np.ix_(rows, columns)] == 200).all()
    assert not frame[~rows].any()
    assert not frame[:, ~columns].any()


def test_an_earlier_mask_is_shown_again_at_the_same_place_in_another_view() -> None:
    geometry = VolumeGeometry.from_spacing((1, 100, 120), (0.8, 1.1, 1.0))
    y, x = np.mgrid[:100, :120]
    logits = np.where((abs(x - 60) < 12) & (abs(y - 40) < 9), 8, -8).astype(np.float32)
    view = FrameView.around(geometry, K, (57, 45), 60.0, 128)
    again = view.mask_from_logits(view.logits_from_mask(logits, 64)) > 0
    assert (again != (logits > 0)).sum() <= 0.1 * (logits > 0).sum()


def test_a_mask_prompt_of_the_networks_size_is_taken_as_it_is() -> None:
    mask = np.random.default_rng(0).random((32, 32)) > 0.5
    geometry = VolumeGeometry.from_spacing((1, 32, 32), (1.0, 1.0, 1.0))
    assert np.array_equal(FrameView.whole(geometry, K, 32).mask_frame(mask), mask.astype(np.float32))


def test_a_slice_of_another_shape_is_refused() -> None:
    geometry = VolumeGeometry.from_spacing((1, 32, 40), (1.0, 1.0, 1.0))
    with pytest.raises(GeometryError, match=r"\(32, 40\), got \(40, 32\)"):
        FrameView.whole(geometry, K, 32).frame(np.zeros((40, 32), np.uint8))
    with pytest.raises(GeometryError, match="positive"):
        FrameView.around(geometry, K, (3, 3), 0.0, 32)


class TestTheSquareFollowsItsObject:
    geometry = VolumeGeometry.from_spacing((1, 200, 200), (1.0, 1.0, 1.0))
    whole = FrameView.whole(geometry, K, 64)
    policy = CropPolicy(margin=2.0)

    def test_it_is_as_much_wider_than_the_box_as_the_checkpoint_was_trained_for(self) -> None:
        view = self.policy.around(self.whole, (79.5, 89.5, 119.5, 109.5))
        assert view.side_mm == 80.0
        assert view.center == (99.5, 99.5)

    def test_it_stays_where_it_is_while_it_serves(self) -> None:
        view = self.policy.around(self.whole, (80, 80, 120, 120))
        assert self.policy.follow(view, self.whole, view.side_mm, (82, 78, 125, 119)) is view
        assert self.policy.follow(view, self.whole, view.side_mm, None) is view

    @pytest.mark.parametrize("bounds", [(65, 65, 135, 135), (95, 95, 105, 105), (101, 80, 138, 120)])
    def test_it_moves_when_the_object_grows_shrinks_or_leaves(self, bounds: tuple[float, ...]) -> None:
        view = self.policy.around(self.whole, (80, 80, 120, 120))
        moved = self.policy.follow(view, self.whole, view.side_mm, bounds)  # type: ignore[arg-type]
        assert moved != view
        assert moved.center == ((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2)

    def test_it_never_shrinks_to_a_small_part_of_its_first_side_or_grows_beyond_the_slice(self) -> None:
        view = self.policy.around(self.whole, (80, 80, 120, 120))
        assert self.policy.follow(view, self.whole, view.side_mm, (99, 99, 101, 101)).side_mm == 32.0
        assert self.policy.follow(view, self.whole, view.side_mm, (5, 5, 190, 190)).side_mm == 200.0

    def test_it_is_not_moved_for_an_object_that_ends_at_the_slices_own_edge(self) -> None:
        view = self.policy.around(self.whole, (-0.5, 80, 39.5, 120))
        assert self.policy.fits(view, (-0.5, 80, 39.5, 120))
