"""Fingerprints that show which slices of a labelmap have changed, read once for all segments that share it."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.geometry import SliceAxis
from .labelmaps import Lattice, VolumeGrid, is_empty, labelmap_of, raw_array, segment_ids

Plane = tuple[
    int, int, int, int, int
]  # first and last row and column with labels, and a checksum of these labels


class ImagePrint(NamedTuple):
    """The content of a labelmap.

    Attributes:
        lattice: where its voxels lie; None without labels, and for voxels of another grid.
        planes: of each own slice that is not empty, by its index along the labelmap's third axis.
    """

    lattice: Lattice | None
    planes: dict[int, Plane]


class Print(NamedTuple):
    """The content of a segment: the labels of this value in this labelmap."""

    value: int
    image: ImagePrint


def image_print(image: Any, grid: VolumeGrid) -> ImagePrint:
    """The print of a vtkOrientedImageData as it is now; None is as one without voxels.

    It does not depend on how far the labelmap reaches beyond its labels, which Slicer changes as it paints.
    """
    if image is None or is_empty(image):
        return ImagePrint(None, {})
    extent = image.GetExtent()
    planes = {}
    for number, labels in enumerate(raw_array(image)):
        plane = _plane(labels if labels.dtype.kind in "iu" else labels != 0, labels, extent[2], extent[0])
        if plane is not None:
            planes[extent[4] + number] = plane
    return ImagePrint(grid.lattice(image) if planes else None, planes)


def labelmap_times(node: Any) -> dict[str, tuple[int, int]]:
    """The time when the labelmap of each segment was modified last, as VTK counts, and the value of its labels.

    Nothing is read; a change of a name, color or tag changes none of it.
    """
    segmentation = node.GetSegmentation()
    images = ((segment_id, labelmap_of(node, segment_id)) for segment_id in segment_ids(node))
    return {
        segment_id: (
            0 if image is None else int(image.GetMTime()),
            int(segmentation.GetSegment(segment_id).GetLabelValue()),
        )
        for segment_id, image in images
    }


def changed_slices(before: Print | None, present: Print, axis: SliceAxis) -> list[int] | None:
    """The volume's slices across `axis` on which a labelmap is another than before; None = any may be.

    The labelmap's own slices are compared, which lie across `axis` in most volumes.
    """
    if before is None or before.value != present.value:
        return None
    old, new = before.image, present.image
    lattice = new.lattice if new.planes else old.lattice
    if not old.planes and not new.planes:
        return []
    component = 2 - int(axis)  # lattices count i, j, k
    if lattice is None or lattice.axes[component] != 2:
        return None
    if old.planes and new.planes and old.lattice != new.lattice:
        return None
    sign, shift = lattice.signs[component], lattice.shift[component]
    numbers = old.planes.keys() | new.planes.keys()
    changed = (number for number in numbers if old.planes.get(number) != new.planes.get(number))
    return sorted(sign * number + shift for number in changed)


def _plane(filled: npt.NDArray[Any], labels: npt.NDArray[Any], row: int, column: int) -> Plane | None:
    """The print of one slice, whose first row and column are `row` and `column`; `filled` is 0 where no label is."""
    rows = np.flatnonzero(np.bitwise_or.reduce(filled, axis=1))
    if not rows.size:
        return None
    top, bottom = int(rows[0]), int(rows[-1])
    columns = np.flatnonzero(np.bitwise_or.reduce(filled[top : bottom + 1], axis=0))
    left, right = int(columns[0]), int(columns[-1])
    part = np.ascontiguousarray(labels[top : bottom + 1, left : right + 1])
    return row + top, row + bottom, column + left, column + right, zlib.crc32(part.data)
