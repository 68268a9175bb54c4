"""The places of the voxels of a volume: IJK <-> RAS in millimeters, and slices along any array axis.

Arrays are ordered (K, J, I), as read from files; indices are ordered (i, j, k), as in the IJK-to-RAS matrix.
Integer indices are voxel centers. RAS is right-anterior-superior, in mm. The matrix may be any invertible
affine: oblique, left-handed, permuted, mirrored, anisotropic or sheared (gantry tilt).

In a slice, x is the column (the in-plane axis that varies faster in memory) and y the row.
"""

from __future__ import annotations

import enum
import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import GeometryError

FloatArray = npt.NDArray[np.float64]

SAME_PLACE_VOXELS = 0.1
"""Two grids whose voxels lie no further apart than this are the same: headers of 32-bit numbers round."""

_SMALLEST_SINE = 1e-6  # of the parallelepiped of the unit axes: below it the axes lie in one plane
_LONGEST_MM = 1e12
_EDGE_TOLERANCE = 1e-6  # voxels; forgives the rounding of one matrix product at the outer faces
_DIGEST_STEP = 1e-6  # mm
_DIGEST_OFFSET = 1.0 / 16.0  # steps; see VolumeGeometry.digest


class SliceAxis(enum.IntEnum):
    """The array axis along which a volume is cut into slices; the value indexes a (K, J, I) array."""

    K = 0
    J = 1
    I = 2  # noqa: E741 - the field's own name for the fastest index

    @classmethod
    def parse(cls, text: str) -> SliceAxis:
        """The axis named "k", "j" or "i", in either case; GeometryError for anything else."""
        try:
            return cls[text.strip().upper()]
        except KeyError:
            raise GeometryError(f"The slice axis must be k, j or i, not {text!r}.") from None

    @property
    def row_axis(self) -> int:
        """Array axis of the rows of a slice (y)."""
        return 1 if self is SliceAxis.K else 0

    @property
    def column_axis(self) -> int:
        """Array axis of the columns of a slice (x), the faster-varying one in memory."""
        return 1 if self is SliceAxis.I else 2


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """Shape and place of a volume, apart from its voxels; compared and hashed by value.

    Args:
        shape: number of voxels along (K, J, I).
        ijk_to_ras: (4, 4) matrix from (i, j, k, 1) voxel indices to RAS in mm; kept read-only as float64.

    Raises:
        GeometryError: a shape that is not three positive integers, or a matrix that cannot be inverted.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _checked_shape(self.shape))
        object.__setattr__(self, "ijk_to_ras", _checked_matrix(self.ijk_to_ras))

    @classmethod
    def from_spacing(
        cls,
        shape: Sequence[int],
        spacing: Sequence[float],
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        direction: npt.ArrayLike | None = None,
    ) -> VolumeGeometry:
        """A geometry from what an image header says.

        Args:
            shape: number of voxels along (K, J, I).
            spacing: mm along (i, j, k).
            origin: RAS of the center of voxel (0, 0, 0), in mm.
            direction: (3, 3); its columns are the RAS directions of i, j and k. Identity when absent.
        """
        cosines = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64)
        if cosines.shape != (3, 3) or len(spacing) != 3 or len(origin) != 3:
            raise GeometryError(
                "A geometry needs 3 spacings, 3 origin coordinates and a 3x3 direction, got "
                f"{tuple(spacing)}, {tuple(origin)} and a direction of shape {cosines.shape}."
            )
        matrix = np.eye(4)
        matrix[:3, :3] = cosines * np.asarray(spacing, dtype=np.float64)
        matrix[:3, 3] = origin
        return cls(tuple(shape), matrix)  # type: ignore[arg-type]  # its length is checked there

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VolumeGeometry):
            return NotImplemented
        return self.shape == other.shape and bool(np.array_equal(self.ijk_to_ras, other.ijk_to_ras))

    def __hash__(self) -> int:
        return hash((self.shape, self.ijk_to_ras.tobytes()))

    @cached_property
    def ras_to_ijk(self) -> FloatArray:
        """(4, 4) matrix from RAS in mm to (i, j, k, 1) voxel indices; read-only."""
        inverse = np.eye(4)
        inverse[:3, :3] = self._inverse_axes
        inverse[:3, 3] = -self._inverse_axes @ self.ijk_to_ras[:3, 3]
        return _frozen(inverse)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between the centers of neighboring voxels along (i, j, k)."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_milliliters(self) -> float:
        """The volume of one voxel, in mL."""
        return abs(float(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the shape and of the matrix rounded once to 1e-6 mm.

        The rounding is a floor of steps shifted by 1/16, since spacings such as 500/512 = 0.9765625 mm lie
        halfway between two millionths and an error of one bit would change a plain rounding.
        """
        steps = np.floor(self.ijk_to_ras[:3] / _DIGEST_STEP + _DIGEST_OFFSET)
        content = struct.pack("<3q", *self.shape) + (steps + 0.0).astype("<f8").tobytes()
        return hashlib.sha256(content).hexdigest()

    def distance_to(self, other: VolumeGeometry) -> float:
        """Largest distance in mm between a corner voxel here and in `other`; inf when the shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        corners = np.array(list(product(*((0, n - 1) for n in reversed(self.shape)))), dtype=np.float64)
        return float(np.linalg.norm(self.to_ras(corners) - other.to_ras(corners), axis=1).max())

    def to_ras(self, points_ijk: npt.ArrayLike) -> FloatArray:
        """RAS in mm, (N, 3), of continuous (i, j, k) indices, (N, 3)."""
        points = _points(points_ijk, 3)
        return np.asarray(points @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3])

    def to_ijk(self, points_ras: npt.ArrayLike) -> FloatArray:
        """Continuous (i, j, k) indices, (N, 3), of RAS points in mm, (N, 3)."""
        points = _points(points_ras, 3)
        # The origin is taken off first: adding two large products would lose the digits of a far origin.
        return np.asarray((points - self.ijk_to_ras[:3, 3]) @ self._inverse_axes.T)

    def slice_count(self, axis: SliceAxis) -> int:
        """Number of slices along `axis`."""
        return self.shape[axis]

    def slice_shape(self, axis: SliceAxis) -> tuple[int, int]:
        """(rows, columns) of a slice across `axis`."""
        return self.shape[axis.row_axis], self.shape[axis.column_axis]

    def in_plane_spacing(self, axis: SliceAxis) -> tuple[float, float]:
        """(mm per row, mm per column) of a slice across `axis`."""
        return self.spacing[2 - axis.row_axis], self.spacing[2 - axis.column_axis]

    def in_plane_cosine(self, axis: SliceAxis) -> float:
        """Cosine of the angle between rows and columns of a slice across `axis`: 0 unless the volume is sheared."""
        across, down = self.ijk_to_ras[:3, 2 - axis.column_axis], self.ijk_to_ras[:3, 2 - axis.row_axis]
        return float(across @ down / np.linalg.norm(across) / np.linalg.norm(down))

    def slice_position(self, points_ras: npt.ArrayLike, axis: SliceAxis) -> FloatArray:
        """Continuous slice index along `axis`, (N,), of RAS points in mm, (N, 3)."""
        return self.to_ijk(points_ras)[:, 2 - axis]

    def slice_index(self, point_ras: Sequence[float], axis: SliceAxis) -> int:
        """The slice across `axis` that holds a RAS point in mm; GeometryError when none does."""
        position = float(self.slice_position([tuple(point_ras)], axis)[0])
        last = self.shape[axis] - 1
        if not -0.5 - _EDGE_TOLERANCE <= position <= last + 0.5 + _EDGE_TOLERANCE:
            raise GeometryError(
                f"The point {_mm(point_ras)} lies outside the volume: at slice {short(position)}, "
                f"but the slices along {axis.name.lower()} are 0 to {last}."
            )
        return min(max(int(np.floor(position + 0.5)), 0), last)

    def slice_to_ras(self, xy: npt.ArrayLike, index: float, axis: SliceAxis) -> FloatArray:
        """RAS in mm, (N, 3), of continuous (column, row) indices, (N, 2), on slice `index` across `axis`."""
        points = _points(xy, 2)
        ijk = np.empty((len(points), 3))
        ijk[:, 2 - axis] = index
        ijk[:, 2 - axis.column_axis] = points[:, 0]
        ijk[:, 2 - axis.row_axis] = points[:, 1]
        return self.to_ras(ijk)

    def ras_to_slice(self, points_ras: npt.ArrayLike, axis: SliceAxis) -> tuple[FloatArray, FloatArray]:
        """Continuous (column, row) indices, (N, 2), and slice indices, (N,), of RAS points in mm, (N, 3)."""
        ijk = self.to_ijk(points_ras)
        return ijk[:, [2 - axis.column_axis, 2 - axis.row_axis]], ijk[:, 2 - axis]

    @cached_property
    def _inverse_axes(self) -> FloatArray:
        return np.asarray(np.linalg.inv(self.ijk_to_ras[:3, :3]))


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    values: tuple[Any, ...] = tuple(shape)
    integers = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in values)
    if len(values) != 3 or not integers or min(values) < 1:
        raise GeometryError(f"A volume needs three positive whole numbers of voxels, got {values}.")
    return int(values[0]), int(values[1]), int(values[2])


def _checked_matrix(ijk_to_ras: npt.ArrayLike) -> FloatArray:
    try:
        matrix = np.array(ijk_to_ras, dtype=np.float64)
    except (TypeError, ValueError):
        raise GeometryError(f"The IJK-to-RAS matrix must hold numbers, got {ijk_to_ras!r}.") from None
    if matrix.shape != (4, 4):
        raise GeometryError(f"The IJK-to-RAS matrix must have shape (4, 4), got {matrix.shape}.")
    rows = matrix.tolist()
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > _LONGEST_MM:
        raise GeometryError(f"The IJK-to-RAS matrix holds a value that is not a length in mm: {rows}.")
    if matrix[3].tolist() != [0.0, 0.0, 0.0, 1.0]:
        raise GeometryError(f"The last row of the IJK-to-RAS matrix must be 0 0 0 1, got {rows[3]}.")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if lengths.min() < 1.0 / _LONGEST_MM:
        raise GeometryError(f"The IJK-to-RAS matrix has an axis without length: {rows}.")
    if abs(np.linalg.det(matrix[:3, :3] / lengths)) < _SMALLEST_SINE:
        raise GeometryError(f"The IJK-to-RAS matrix cannot be inverted, its axes lie in one plane: {rows}.")
    return _frozen(matrix + 0.0)  # + 0.0 turns -0.0 into 0.0, so that equal matrices have equal bytes


def _frozen(matrix: FloatArray) -> FloatArray:
    # An array over bytes cannot be made writeable again, unlike one with its flag cleared.
    return np.frombuffer(matrix.tobytes(), dtype=np.float64).reshape(matrix.shape)


def _points(points: npt.ArrayLike, width: int) -> FloatArray:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != width:
        raise GeometryError(f"Points must have shape (N, {width}), got {array.shape}.")
    return array


def short(value: float) -> str:
    """A length or an index for a sentence: two decimals, or the power of ten of a number that is far too large."""
    return f"{value:.2f}" if abs(value) < _LONGEST_MM else f"{value:.3g}"


def slice_normals(directions: FloatArray) -> FloatArray:
    """Unit normals, (3, 3), of slices across K, J and I, in this order.

    Args:
        directions: (3, 3), the steps along I, J and K as columns; in a sheared volume slices do not lie square to them.
    """
    i, j, k = directions.T
    normals = np.cross([i, i, j], [j, k, k])
    return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))


def patient_axes(normals: FloatArray) -> tuple[int, ...]:
    """The axis of the patient (0 R, 1 A, 2 S) to which each of three unit vectors, (3, 3), is nearest; none twice."""
    closeness = np.abs(normals)
    return max(permutations(range(3)), key=lambda order: float(closeness[range(3), order].sum()))


def volume_text(milliliters: float) -> str:
    """A volume for people, in mL without the unit: three digits, all of them from 1,000 on; never a power of ten."""
    if milliliters == 0:
        return "0"
    order = math.floor(math.log10(float(f"{milliliters:.2e}")))  # of the rounded value: 9.996 is 10.0
    return f"{milliliters:,.{max(0, 2 - order)}f}"


def _mm(point: Sequence[float]) -> str:
    return "(" + ", ".join(map(short, point)) + ") mm"
