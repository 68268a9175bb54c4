"""The orientation of a slice as a radiologist is used to see it, square in mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.geometry import FloatArray, SliceAxis, VolumeGeometry

_LETTERS = ("R", "A", "S"), ("L", "P", "I")
_RIGHTWARD = {
    0: (0, -1, 0),
    1: (-1, 0, 0),
    2: (-1, 0, 0),
}  # RAS to the right on screen, by the slice's normal
_DOWNWARD = {0: (0, 0, -1), 1: (0, 0, -1), 2: (0, -1, 0)}


@dataclass(frozen=True)
class SliceDisplay:
    """Array slices turned as 3D Slicer shows them: left of the patient on the right, front or head up.

    Attributes:
        transposed: rows and columns change places, before the flips.
        flipped_x, flipped_y: along the columns and rows of the result.
        shape: (rows, columns) as shown.
        spacing: mm per (row, column) as shown.
        letters: patient side at the (left, right, top, bottom) edge.
    """

    transposed: bool
    flipped_x: bool
    flipped_y: bool
    shape: tuple[int, int]
    spacing: tuple[float, float]
    letters: tuple[str, str, str, str]

    @classmethod
    def of(cls, geometry: VolumeGeometry, axis: SliceAxis) -> SliceDisplay:
        """The display of slices across `axis`."""
        columns = geometry.ijk_to_ras[:3, 2 - axis.column_axis] / geometry.spacing[2 - axis.column_axis]
        rows = geometry.ijk_to_ras[:3, 2 - axis.row_axis] / geometry.spacing[2 - axis.row_axis]
        normal = int(np.abs(np.cross(columns, rows)).argmax())
        rightward, downward = np.array(_RIGHTWARD[normal]), np.array(_DOWNWARD[normal])
        straight = abs(columns @ rightward) + abs(rows @ downward)
        transposed = bool(straight < abs(rows @ rightward) + abs(columns @ downward))
        x, y = (rows, columns) if transposed else (columns, rows)
        flipped_x, flipped_y = bool(x @ rightward < 0), bool(y @ downward < 0)
        right, bottom = (-x if flipped_x else x), (-y if flipped_y else y)
        shape, spacing = geometry.slice_shape(axis), geometry.in_plane_spacing(axis)
        return cls(
            transposed,
            flipped_x,
            flipped_y,
            shape[::-1] if transposed else shape,
            spacing[::-1] if transposed else spacing,
            (_letter(-right), _letter(right), _letter(-bottom), _letter(bottom)),
        )

    def image(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A slice, (rows, columns), as shown."""
        turned = array.T if self.transposed else array
        turned = turned[:, ::-1] if self.flipped_x else turned
        return turned[::-1] if self.flipped_y else turned

    def points(self, xy: FloatArray) -> FloatArray:
        """(N, 2) column, row indices of the slice (centers at integers) as x, y edge coordinates as shown.

        Pixel n reaches from n to n + 1.
        """
        shown = (xy[:, ::-1] if self.transposed else xy) + 0.5
        rows, columns = self.shape
        x = columns - shown[:, 0] if self.flipped_x else shown[:, 0]
        y = rows - shown[:, 1] if self.flipped_y else shown[:, 1]
        return np.stack([x, y], axis=1)


def _letter(direction: FloatArray) -> str:
    axis = int(np.abs(direction).argmax())
    return _LETTERS[int(direction[axis] < 0)][axis]
