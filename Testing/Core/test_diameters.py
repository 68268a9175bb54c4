"""Diameters of masks: those of shapes that are known, on pixels that are not square."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAMSlicerLib.core.diameters import diameters
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.masks import PackedMask


def ellipse(half: tuple[float, float], degrees: float, spacing: tuple[float, float]) -> np.ndarray:
    """(rows, columns) with half axes in mm, the first turned by so many degrees from the columns' direction."""
    rows, columns = np.indices((120, 130))
    y, x = (rows - 60) * spacing[0], (columns - 66) * spacing[1]
    angle = np.radians(degrees)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.asarray((u / half[0]) ** 2 + (v / half[1]) ** 2 <= 1)


@pytest.mark.parametrize("degrees", [0, 30, 75, 90])
@pytest.mark.parametrize("spacing", [(0.7, 0.7), (0.5, 0.9)])
def test_ellipse_is_as_long_and_as_wide_as_it_was_drawn(degrees: float, spacing: tuple[float, float]) -> None:
    masks = {
        3: PackedMask.from_array(ellipse((10, 6), degrees, spacing)),
        4: PackedMask.from_array(ellipse((20, 9), degrees, spacing)),
        5: PackedMask.empty((120, 130)),
    }
    found = diameters(masks, spacing)
    assert found is not None
    assert found.index == 4
    assert found.longest_mm == pytest.approx(40, abs=max(spacing))
    assert found.perpendicular_mm == pytest.approx(18, abs=1.5 * max(spacing))
    (x0, y0), (x1, y1) = found.ends
    along = np.degrees(np.arctan2((y1 - y0) * spacing[0], (x1 - x0) * spacing[1])) % 180
    assert min(abs(along - degrees), 180 - abs(along - degrees)) < 6


def test_perpendicular_stays_within_the_mask() -> None:
    mask = np.zeros((60, 60), np.bool_)
    mask[10:50, 10:14] = mask[10:14, 10:40] = True  # an L: the line across its corner lies outside of it
    found = diameters({0: PackedMask.from_array(mask)}, (1.0, 1.0))
    assert found is not None
    assert found.longest_mm == pytest.approx(np.hypot(39, 29), abs=1.5)
    assert found.perpendicular_mm < 27


def test_single_pixel_has_the_size_of_one() -> None:
    mask = np.zeros((5, 5), np.bool_)
    mask[2, 3] = True
    found = diameters({1: PackedMask.from_array(mask)}, (2.0, 2.0))
    assert found is not None
    assert found.longest_mm == pytest.approx(2.0)
    assert found.perpendicular_mm == pytest.approx(2.0)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 0.5), (2.0, 0.6)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_strip_is_as_wide_as_its_pixels(spacing: tuple[float, float], turned: bool) -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[7, 5:35] = True
    mm = spacing[1] if turned else spacing[0]
    found = diameters({0: PackedMask.from_array(mask.T if turned else mask)}, spacing)
    assert found is not None
    assert found.perpendicular_mm == pytest.approx(mm)


def inside_of(mask: np.ndarray, start: np.ndarray, across: np.ndarray, scale: np.ndarray) -> float:
    """The longest way within a mask along a line in mm: its way through each pixel, ways that touch put together."""
    ways = []
    for row, column in np.argwhere(mask):
        sides = (np.array([[column - 0.5, row - 0.5], [column + 0.5, row + 0.5]]) * scale - start) / across
        enters, leaves = np.sort(sides, axis=0)
        if leaves.min() > enters.max():
            ways.append((enters.max(), leaves.min()))
    longest, begun, until = 0.0, -np.inf, -np.inf
    for enters, leaves in sorted(ways):
        begun = begun if enters <= until + 1e-9 else enters
        until = max(until, leaves)
        longest = max(longest, until - begun)
    return longest


@pytest.mark.parametrize("seed", range(6))
def test_perpendicular_is_the_longest_of_many_lines(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.uniform(0.4, 3, 2).tolist())
    rows, columns = np.indices((16, 18))
    mask = (rows - 8.3) ** 2 / 14 + (columns - rows * rng.uniform(-0.4, 0.4) - 8) ** 2 / 26 <= 1
    mask &= rng.random(mask.shape) < 0.9
    found = diameters({0: PackedMask.from_array(mask)}, spacing)
    assert found is not None
    scale = np.array([spacing[1], spacing[0]])
    start, end = np.array(found.ends) * scale
    along = (end - start) / np.linalg.norm(end - start)
    across = np.array([-along[1], along[0]])
    step = 0.25 * min(spacing)
    lines = [
        inside_of(mask, start + at * along, across, scale)
        for at in np.arange(step / 2, found.longest_mm, step)
    ]
    assert found.perpendicular_mm == pytest.approx(max(lines), abs=1e-6)


def test_nothing_is_measured_without_a_mask() -> None:
    assert diameters({}, (1.0, 1.0)) is None
    assert diameters({0: PackedMask.empty((4, 4))}, (1.0, 1.0)) is None


@pytest.mark.parametrize("axis", SliceAxis)
def test_a_ball_in_a_tilted_volume_is_as_long_as_wide_on_every_slice(axis: SliceAxis) -> None:
    matrix = np.diag([0.8, 0.8, 2.0, 1.0])
    matrix[1, 2] = 2.0 * np.tan(np.radians(20))  # as of a CT with a tilted gantry
    geometry = VolumeGeometry((60, 160, 100), matrix)
    middle = (50, 80, 30)
    ijk = np.stack(np.indices(geometry.shape)[::-1], axis=-1).reshape(-1, 3)
    far = np.linalg.norm(geometry.to_ras(ijk) - geometry.to_ras([middle]), axis=1).reshape(geometry.shape)
    plane = np.take(far <= 20, middle[2 - axis], axis=int(axis))
    masks = {middle[2 - axis]: PackedMask.from_array(np.ascontiguousarray(plane))}
    found = diameters(masks, geometry.in_plane_spacing(axis), geometry.in_plane_cosine(axis))
    assert found is not None
    assert found.longest_mm == pytest.approx(40, abs=2.2)
    assert found.perpendicular_mm == pytest.approx(40, abs=2.2)
    ends = geometry.slice_to_ras(found.ends, found.index, axis)
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(found.longest_mm)
