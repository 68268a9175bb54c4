"""What is known of a segment, slice by slice, so that a change by somebody else is noticed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..core.geometry import SliceAxis

Mask = npt.NDArray[np.bool_]
_Packed = tuple[int, int, int, int, bytes]  # first row and column, rows and columns of the box, its bits


class KnownSlices:
    """The masks of one segment as they were last written or settled, an eighth of a byte a voxel."""

    def __init__(self, axis: SliceAxis) -> None:
        self.axis = axis
        self._slices: dict[int, _Packed] = {}

    def put(self, index: int, mask: Mask) -> None:
        """Slice `index` is known to be `mask`, bool (rows, columns)."""
        packed = _packed(mask)
        if packed is None:
            self._slices.pop(index, None)
        else:
            self._slices[index] = packed

    def get(self, index: int, shape: tuple[int, int]) -> Mask:
        """The known mask of a slice, a new bool array."""
        mask = np.zeros(shape, dtype=np.bool_)
        if index in self._slices:
            row, column, rows, columns, bits = self._slices[index]
            flat = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=rows * columns)
            mask[row : row + rows, column : column + columns] = flat.reshape(rows, columns)
        return mask

    def set_voxels(self, kji: npt.NDArray[np.int64], value: bool, shape: tuple[int, int, int]) -> None:
        """Voxels, (N, 3) of (k, j, i), are known to be `value`."""
        axis = self.axis
        plane = (shape[axis.row_axis], shape[axis.column_axis])
        for index in np.unique(kji[:, axis]).tolist():
            here = kji[kji[:, axis] == index]
            mask = self.get(index, plane)
            mask[here[:, axis.row_axis], here[:, axis.column_axis]] = value
            self.put(index, mask)

    def differs(self, index: int, mask: Mask) -> bool:
        """Whether `mask` is another than what is known of slice `index`."""
        return _packed(mask) != self._slices.get(index)

    def indices(self) -> Iterable[int]:
        """The slices that are known not to be empty."""
        return self._slices.keys()


def _packed(mask: Mask) -> _Packed | None:
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    row, last_row = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[row:last_row].any(axis=0))
    column, last_column = int(columns[0]), int(columns[-1]) + 1
    bits = np.packbits(mask[row:last_row, column:last_column]).tobytes()
    return row, column, last_row - row, last_column - column, bits
