"""The surface of a mask as triangles, by naive surface nets (Gibson 1998): one vertex in each cell that it crosses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from ..core.geometry import VolumeGeometry
from ..core.masks import bounding_box

_MOST_CELLS = 112  # along the longest side of the mask: larger ones are averaged in blocks first
_LEVEL = 0.5
_MARGIN = 2  # blocks around the mask: smoothing reaches one block, and a surface needs one more to close

Field = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles that face outward.

    Attributes:
        vertices: (N, 3) float32, RAS in mm.
        triangles: (M, 3) uint32, indices of vertices, counterclockwise as seen from outside.
    """

    vertices: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.uint32]

    def to_bytes(self) -> bytes:
        """Two uint32 counts, then vertices and triangles, little endian."""
        counts = np.array([len(self.vertices), len(self.triangles)], "<u4")
        return b"".join(
            (counts.tobytes(), self.vertices.astype("<f4").tobytes(), self.triangles.astype("<u4").tobytes())
        )


_NOTHING = Surface(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint32))


def surface_of(mask: npt.NDArray[np.bool_], geometry: VolumeGeometry) -> Surface:
    """The smoothed surface of a mask, bool (K, J, I); without vertices for an empty mask."""
    box = bounding_box(mask)
    if box is None:
        return _NOTHING
    first, inside = np.array([side.start for side in box]), mask[box]
    block = -(-max(inside.shape) // _MOST_CELLS)
    field = _averaged(inside, block)
    smooth = _smoothed(field)
    chosen = smooth if (smooth >= _LEVEL).any() else field  # a mask of single voxels would be smoothed away
    places, triangles = _nets(chosen)
    kji = first + (places - _MARGIN) * block + (block - 1) / 2
    if np.linalg.det(geometry.ijk_to_ras[:3, :3]) < 0:
        triangles = triangles[:, ::-1]
    vertices = geometry.to_ras(kji[:, ::-1]).astype(np.float32)
    return Surface(vertices, np.ascontiguousarray(triangles.astype(np.uint32)))


def _averaged(inside: npt.NDArray[np.bool_], block: int) -> Field:
    """The share of each block of voxels that a mask fills, with a margin of empty blocks."""
    sides = [-(-side // block) for side in inside.shape]
    whole = np.zeros([side * block for side in sides], np.float32)
    whole[tuple(slice(0, side) for side in inside.shape)] = inside
    shape = [size for side in sides for size in (side, block)]
    return np.pad(whole.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32), _MARGIN)


def _smoothed(field: Field) -> Field:
    for axis in range(3):
        field = np.asarray((np.roll(field, 1, axis) + 2 * field + np.roll(field, -1, axis)) / 4, np.float32)
    return field


def _nets(field: Field) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Vertices (N, 3), in places of the field, and triangles (M, 3) that face outward in a right-handed grid.

    A cell has eight places of the field as its corners; its vertex is the mean of where the level crosses its edges.
    """
    cells = tuple(side - 1 for side in field.shape)

    def corner(offset: tuple[int, ...]) -> Field:
        return field[tuple(slice(o, o + n) for o, n in zip(offset, cells, strict=True))]

    total, count = np.zeros((*cells, 3), np.float32), np.zeros(cells, np.uint8)
    for axis in range(3):
        for others in product((0, 1), repeat=2):
            low = (*others[:axis], 0, *others[axis:])
            high = (*others[:axis], 1, *others[axis:])
            one, two = corner(low), corner(high)
            at = np.nonzero((one >= _LEVEL) != (two >= _LEVEL))
            part = (_LEVEL - one[at]) / (two[at] - one[at])
            total[at] += np.asarray(low, np.float32)
            total[..., axis][at] += part
            count[at] += 1
    active = np.nonzero(count)
    number = np.full(cells, -1, np.int64)
    number[active] = np.arange(len(active[0]))
    vertices = np.stack(active, axis=1) + total[active] / count[active][:, None]
    return vertices, np.concatenate([_faces(field >= _LEVEL, number, axis) for axis in range(3)])


def _faces(inside: npt.NDArray[np.bool_], number: npt.NDArray[np.int64], axis: int) -> npt.NDArray[np.int64]:
    """Two triangles for each pair of neighbors along an axis of which one is inside: between the four cells around."""
    ahead = np.roll(inside, -1, axis)
    ahead[tuple(-1 if n == axis else slice(None) for n in range(3))] = (
        False  # the margin: nothing is inside there
    )
    places = np.stack(np.nonzero(inside != ahead), axis=1)
    leaves = inside[tuple(places.T)]  # the surface is left in the direction of the axis
    first, second = ((1, 2), (2, 0), (0, 1))[axis]
    corners = []
    for back_first, back_second in ((1, 1), (0, 1), (0, 0), (1, 0)):
        cell = places.copy()
        cell[:, first] -= back_first
        cell[:, second] -= back_second
        corners.append(number[tuple(cell.T)])
    a, b, c, d = corners
    quads = np.stack([a, b, c, d], axis=1)
    # (k, j, i) is (i, j, k) read backward, which turns every triangle over.
    quads[leaves] = quads[leaves][:, ::-1]
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
