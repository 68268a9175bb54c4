from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAMSlicerLib.core.errors import GeometryError
from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry, volume_text

from .strategies import axes, geometries

# Points reach 2 m from the origin plus 1.2 m of volume: float64 leaves twelve digits behind the meter.
ROUND_TRIP_MM = 1e-8


@given(geometries(), st.data())
def test_ras_of_an_index_leads_back_to_the_index(geometry: VolumeGeometry, data: st.DataObject) -> None:
    ijk = np.array(data.draw(st.lists(st.tuples(*[st.floats(-10, 70)] * 3), min_size=1, max_size=8)))
    again = geometry.to_ijk(geometry.to_ras(ijk))
    distance = np.linalg.norm((again - ijk) @ geometry.ijk_to_ras[:3, :3].T, axis=1)
    assert distance.max() < ROUND_TRIP_MM


@given(geometries(), st.tuples(*[st.floats(-3000, 3000)] * 3))
def test_index_of_a_ras_point_leads_back_to_the_point(geometry: VolumeGeometry, ras: tuple) -> None:
    # A sheared volume of 0.05 mm voxels far away has indices near 1e5, hence the wider tolerance in mm.
    assert np.linalg.norm(geometry.to_ras(geometry.to_ijk([ras]))[0] - ras) < 1e-7


@given(geometries(), axes, st.data())
def test_slice_coordinates_are_array_indices(
    geometry: VolumeGeometry, axis: SliceAxis, data: st.DataObject
) -> None:
    rows, columns = geometry.slice_shape(axis)
    index = data.draw(st.integers(0, geometry.slice_count(axis) - 1))
    x, y = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    ras = geometry.slice_to_ras([(x, y)], index, axis)
    i, j, k = np.rint(geometry.to_ijk(ras)[0]).astype(int)
    # What a slice of the array shows at row y and column x is the voxel (k, j, i).
    numbers = np.arange(np.prod(geometry.shape)).reshape(geometry.shape)
    assert np.take(numbers, index, axis=axis)[y, x] == numbers[k, j, i]
    xy, position = geometry.ras_to_slice(ras, axis)
    assert np.allclose(xy, [(x, y)], atol=1e-6, rtol=0)
    assert np.allclose(position, index, atol=1e-6, rtol=0)
    assert geometry.slice_index(ras[0], axis) == index


@given(geometries(), axes)
def test_in_plane_spacing_is_the_distance_between_neighboring_voxels(
    geometry: VolumeGeometry, axis: SliceAxis
) -> None:
    corner, right, below = geometry.slice_to_ras([(0, 0), (1, 0), (0, 1)], 0, axis)
    row_mm, column_mm = geometry.in_plane_spacing(axis)
    assert np.linalg.norm(right - corner) == pytest.approx(column_mm, abs=1e-8)
    assert np.linalg.norm(below - corner) == pytest.approx(row_mm, abs=1e-8)


@given(geometries())
def test_inverse_matrix_agrees_with_numpy(geometry: VolumeGeometry) -> None:
    # Indices at 2 m from the origin of 0.05 mm voxels are 4e4, times the shear.
    assert np.allclose(geometry.ras_to_ijk @ geometry.ijk_to_ras, np.eye(4), atol=1e-8)


@given(geometries())
def test_equal_geometries_have_equal_hash_and_digest(geometry: VolumeGeometry) -> None:
    twin = VolumeGeometry(geometry.shape, geometry.ijk_to_ras.copy())
    assert twin == geometry
    assert hash(twin) == hash(geometry)
    assert twin.digest == geometry.digest
    assert twin.distance_to(geometry) == 0.0


@pytest.mark.parametrize("spacing", [500 / 512, 380 / 512, 300 / 512, 0.7, 1 / 3, 0.9766, 1.0, 0.1 + 0.2])
@pytest.mark.parametrize("error", [1e-15, -1e-15, 1e-9, -1e-9])
def test_digest_survives_the_last_bits_of_common_spacings(spacing: float, error: float) -> None:
    geometry = VolumeGeometry.from_spacing((3, 4, 5), (spacing, spacing, 5.0), (-250.0, -249.51171875, 12.5))
    read = VolumeGeometry.from_spacing(
        (3, 4, 5), (spacing + error, spacing, 5.0), (-250.0, -249.51171875, 12.5)
    )
    assert geometry.digest == read.digest


def test_digest_distinguishes_volumes() -> None:
    base = VolumeGeometry.from_spacing((3, 4, 5), (1, 1, 5))
    digests = {
        base.digest,
        VolumeGeometry.from_spacing((3, 5, 4), (1, 1, 5)).digest,
        VolumeGeometry.from_spacing((3, 4, 5), (1, 1.00001, 5)).digest,
        VolumeGeometry.from_spacing((3, 4, 5), (1, 1, 5), (0, 0, 0.00001)).digest,
        VolumeGeometry.from_spacing((3, 4, 5), (1, 1, 5), direction=np.diag([-1, 1, 1])).digest,
    }
    assert len(digests) == 5
    assert all(len(digest) == 64 for digest in digests)


def test_digest_of_a_known_volume_stays_what_it_was() -> None:
    # Prompts files of today must be readable tomorrow.
    geometry = VolumeGeometry.from_spacing((20, 512, 512), (0.9765625, 0.9765625, 2.0), (-250, -250, -100.5))
    assert geometry.digest == "38fb9a43a710729e576add27c8a6c429af154275523fcb1d174eed6e77c47450"


def test_minus_zero_is_zero() -> None:
    one = VolumeGeometry.from_spacing((2, 2, 2), (1, 1, 1), (-0.0, 0.0, -0.0))
    other = VolumeGeometry.from_spacing((2, 2, 2), (1, 1, 1))
    assert (one, hash(one), one.digest) == (other, hash(other), other.digest)


def test_matrix_cannot_be_changed() -> None:
    matrix = np.eye(4)
    geometry = VolumeGeometry((2, 3, 4), matrix)
    matrix[0, 0] = 7.0
    assert geometry.spacing == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="read-only"):
        geometry.ijk_to_ras[0, 0] = 7.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        geometry.ijk_to_ras.setflags(write=True)


def test_direction_columns_are_the_ways_of_i_j_and_k() -> None:
    geometry = VolumeGeometry.from_spacing(
        (10, 20, 30), (0.5, 1.0, 3.0), (10, 20, 30), direction=[[0, 0, -1], [1, 0, 0], [0, 1, 0]]
    )
    assert geometry.to_ras([(1, 0, 0), (0, 1, 0), (0, 0, 1)]).tolist() == [
        [10, 20.5, 30],
        [10, 20, 31],
        [7, 20, 30],
    ]
    assert geometry.spacing == (0.5, 1.0, 3.0)


@pytest.mark.parametrize(
    ("axis", "shape", "spacing"),
    [
        (SliceAxis.K, (20, 30), (1.0, 0.5)),
        (SliceAxis.J, (10, 30), (3.0, 0.5)),
        (SliceAxis.I, (10, 20), (3.0, 1.0)),
    ],
)
def test_slice_shape_and_spacing_follow_the_array(axis: SliceAxis, shape: tuple, spacing: tuple) -> None:
    geometry = VolumeGeometry.from_spacing((10, 20, 30), (0.5, 1.0, 3.0))
    assert geometry.slice_shape(axis) == shape == np.take(np.zeros((10, 20, 30)), 0, axis=axis).shape
    assert geometry.in_plane_spacing(axis) == spacing
    assert geometry.slice_count(axis) == (10, 20, 30)[axis]


def test_slices_reach_half_a_voxel_beyond_their_centers() -> None:
    geometry = VolumeGeometry.from_spacing((4, 2, 2), (1, 1, 2))
    assert geometry.slice_index((0, 0, -1.0), SliceAxis.K) == 0
    assert geometry.slice_index((0, 0, 0.99), SliceAxis.K) == 0
    assert geometry.slice_index((0, 0, 1.01), SliceAxis.K) == 1
    assert geometry.slice_index((0, 0, 7.0), SliceAxis.K) == 3
    with pytest.raises(GeometryError, match=r"\(0\.00, 0\.00, 7\.10\) mm .* slice 3\.55.* 0 to 3"):
        geometry.slice_index((0, 0, 7.1), SliceAxis.K)
    with pytest.raises(GeometryError, match="outside the volume"):
        geometry.slice_index((0, 0, float("nan")), SliceAxis.K)


def test_axis_names_are_read_in_either_case() -> None:
    assert [SliceAxis.parse(text) for text in ("k", "J", " i ")] == list(SliceAxis)
    with pytest.raises(GeometryError, match="'axial'"):
        SliceAxis.parse("axial")


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (np.full((4, 4), np.nan), "not a length"),
        (np.diag([np.inf, 1, 1, 1]), "not a length"),
        (np.diag([1e300, 1, 1, 1]), "not a length"),
        (np.diag([0.0, 1, 1, 1]), "without length"),
        ([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], r"cannot be inverted.*\[1\.0, 1\.0"),
        ([[1, 1, 0, 0], [1, 1 + 1e-9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "cannot be inverted"),
        (np.diag([1.0, 1, 1, 2]), r"0 0 0 1, got \[0\.0, 0\.0, 0\.0, 2\.0\]"),
        (np.eye(3), r"\(4, 4\), got \(3, 3\)"),
        ([["a"] * 4] * 4, "must hold numbers"),
    ],
)
def test_matrix_that_is_no_invertible_affine_is_refused_with_its_value(matrix: object, reason: str) -> None:
    with pytest.raises(GeometryError, match=reason):
        VolumeGeometry((2, 2, 2), matrix)


@pytest.mark.parametrize("shape", [(1, 2), (0, 1, 1), (1, -2, 3), (1.5, 2, 3), (True, 2, 3), (1, 2, 3, 4)])
def test_shape_must_be_three_positive_whole_numbers(shape: tuple) -> None:
    with pytest.raises(GeometryError, match="three positive whole numbers"):
        VolumeGeometry(shape, np.eye(4))


def test_points_of_another_shape_are_refused() -> None:
    geometry = VolumeGeometry((2, 2, 2), np.eye(4))
    with pytest.raises(GeometryError, match=r"\(N, 3\), got \(3,\)"):
        geometry.to_ras((1, 2, 3))
    with pytest.raises(GeometryError, match=r"\(N, 2\), got \(1, 3\)"):
        geometry.slice_to_ras([(1, 2, 3)], 0, SliceAxis.K)
    assert geometry.to_ras(np.empty((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("volume", "text"),
    [
        (0.0, "0"), (0.00001234, "0.0000123"), (0.0382, "0.0382"), (0.1244, "0.124"), (0.9996, "1.00"), (3.0, "3.00"),
        (9.996, "10.0"), (14.26, "14.3"), (250.4, "250"), (999.4, "999"), (1499.7, "1,500"), (123456.0, "123,456"),
    ],
)  # fmt: skip
def test_a_volume_keeps_three_digits_whether_small_or_large(volume: float, text: str) -> None:
    assert volume_text(volume) == text
