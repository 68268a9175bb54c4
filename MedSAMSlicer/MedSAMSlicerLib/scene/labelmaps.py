"""The labelmaps of a segmentation as arrays in the order of the volume's voxels, read and written in place.

A labelmap covers a box of voxels (its extent) and may run along other axes than the volume, or backwards: what
counts is that its voxels are the volume's voxels in space. Several segments may share one labelmap, each with a
label value of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from ..core.errors import GeometryError
from ..core.geometry import FloatArray, VolumeGeometry
from .data_tree import place_beside
from .nodes import matrix_array, transform_to_world, volume_geometry, vtk_matrix

LABELMAP = "Binary labelmap"  # vtkSegmentationConverter::GetSegmentationBinaryLabelmapRepresentationName
SURFACE = "Closed surface"

_TOLERANCE = 0.02  # voxels; headers of 32-bit numbers are off by less
_SLACK_IN_PLANE = 16  # voxels added around what is written, so that the next slices need no new memory
_SLACK_SHARE = 4  # and this part of the extent along each axis

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Lattice:
    """The place of the voxels of a labelmap among those of the volume.

    Attributes:
        axes: for each of the volume's i, j, k the labelmap's axis (0 to 2) that runs along it.
        signs: for each of the volume's i, j, k, 1 or -1: whether that axis runs the same way.
        shift: volume index = sign * labelmap index + shift, for i, j, k.
    """

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]
    shift: tuple[int, int, int]

    @classmethod
    def between(cls, image_to_volume: FloatArray, extent: Sequence[int]) -> Lattice | None:
        """The lattice of a (4, 4) matrix between voxel indices; None unless voxels lie on voxels."""
        return cls._found(image_to_volume.tobytes(), tuple(extent))

    @classmethod
    @lru_cache(maxsize=256)  # every look at a labelmap asks for it, and labelmaps seldom move
    def _found(cls, image_to_volume: bytes, extent: tuple[int, ...]) -> Lattice | None:
        matrix = np.frombuffer(image_to_volume).reshape(4, 4)
        rounded = np.rint(matrix[:3])
        turn = rounded[:, :3].astype(int)
        runs = np.abs(turn)
        if runs.sum(axis=0).tolist() != [1, 1, 1] or runs.sum(axis=1).tolist() != [1, 1, 1]:
            return None
        first, last = np.asarray(extent, dtype=np.float64).reshape(3, 2).T
        middle, half = (first + last) / 2, np.abs(last - first) / 2
        off = matrix[:3] - rounded
        drift = np.abs(off[:, :3] @ middle + off[:, 3]) + np.abs(off[:, :3]) @ half  # the most at any corner
        if not drift.max() <= _TOLERANCE:  # nor where it is not a number
            return None
        i, j, k = runs.argmax(axis=1).tolist()
        right, down, on = turn[[0, 1, 2], [i, j, k]].tolist()
        x, y, z = rounded[:, 3].astype(int).tolist()
        return cls((i, j, k), (right, down, on), (x, y, z))

    def ordered(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of a labelmap's array, (K, J, I) of its own, with the axes of the volume's (K, J, I)."""
        view = array.T.transpose(self.axes)
        return view[tuple(slice(None, None, sign) for sign in self.signs)].T

    def first(self, extent: tuple[int, ...]) -> tuple[int, int, int]:
        """The volume's (k, j, i) of the first element of `ordered`."""
        ijk = [
            shift + (extent[2 * axis] if sign > 0 else -extent[2 * axis + 1])
            for axis, sign, shift in zip(self.axes, self.signs, self.shift, strict=True)
        ]
        return ijk[2], ijk[1], ijk[0]

    def extent(self, low: npt.ArrayLike, high: npt.ArrayLike) -> list[int]:
        """The labelmap's extent of the volume's voxels (k, j, i) from `low` to `high`, inclusive."""
        found = [0] * 6
        lows, highs = np.asarray(low)[::-1].tolist(), np.asarray(high)[::-1].tolist()
        for axis, sign, shift, first, last in zip(
            self.axes, self.signs, self.shift, lows, highs, strict=True
        ):
            ends = sorted((sign * (first - shift), sign * (last - shift)))
            found[2 * axis], found[2 * axis + 1] = ends
        return found


class VolumeGrid:
    """The volume's voxels as the segmentation sees them: shape and matrix into the segmentation's own RAS."""

    def __init__(self, segmentation_node: Any, volume_node: Any) -> None:
        self.geometry: VolumeGeometry = volume_geometry(volume_node)
        to_segmentation = np.linalg.inv(transform_to_world(segmentation_node)) @ transform_to_world(
            volume_node
        )
        self.ijk_to_segmentation: FloatArray = to_segmentation @ self.geometry.ijk_to_ras
        self._inverse: FloatArray = np.asarray(np.linalg.inv(self.ijk_to_segmentation), dtype=np.float64)

    def lattice(self, image: Any) -> Lattice | None:
        """The place of a labelmap on the grid; None when its voxels are others."""
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        extent = image.GetExtent() if not is_empty(image) else (0, *(0,) * 5)
        return Lattice.between(self._inverse @ matrix_array(matrix), extent)


class Labelmap:
    """One labelmap on the grid of the volume."""

    def __init__(self, image: Any, grid: VolumeGrid) -> None:
        self.image = image
        self._grid = grid

    def view(self) -> tuple[npt.NDArray[Any], tuple[int, int, int]]:
        """The labels in the volume's axis order, a writeable view, and the volume's (k, j, i) of its first.

        Raises:
            GeometryError: voxels of another grid.
        """
        if is_empty(self.image):
            return np.zeros((0, 0, 0), dtype=np.uint8), (0, 0, 0)
        lattice = self._grid.lattice(self.image)
        if lattice is None:
            if not raw_array(self.image).any():
                return np.zeros((0, 0, 0), dtype=np.uint8), (0, 0, 0)
            text = _("A segment has another voxel grid or another transform than the volume.")
            raise GeometryError(text)
        return lattice.ordered(raw_array(self.image)), lattice.first(self.image.GetExtent())

    def cut(self) -> tuple[npt.NDArray[Any], tuple[int, int, int]]:
        """`view` without what lies outside the volume."""
        array, first = self.view()
        if not array.size:
            return array, first
        box = [
            slice(max(0, -start), max(0, min(size, count - start)))
            for start, size, count in zip(first, array.shape, self._grid.geometry.shape, strict=True)
        ]
        low = [max(0, start) for start in first]
        return array[tuple(box)], (low[0], low[1], low[2])

    def reserve(self, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> None:
        """Make the labelmap hold the volume's voxels (k, j, i) from `low` to `high`, inclusive.

        New memory is taken with some slack, so that writing slice after slice seldom needs it.
        """
        empty = is_empty(self.image)
        lattice = None if empty else self._grid.lattice(self.image)
        if lattice is None:
            self._start(low, high)
            return
        present = list(self.image.GetExtent())
        wanted = lattice.extent(low, high)
        if all(present[n] <= wanted[n] and wanted[n + 1] <= present[n + 1] for n in (0, 2, 4)):
            return
        shape = np.array(self._grid.geometry.shape)
        limits = lattice.extent((0, 0, 0), shape - 1)
        grown = list(present)
        for n in (0, 2, 4):
            slack = max(_SLACK_IN_PLANE, (present[n + 1] - present[n]) // _SLACK_SHARE)
            if wanted[n] < present[n]:
                grown[n] = min(wanted[n], max(limits[n], wanted[n] - slack))
            if wanted[n + 1] > present[n + 1]:
                grown[n + 1] = max(wanted[n + 1], min(limits[n + 1], wanted[n + 1] + slack))
        self._reallocate(present, grown)

    def _start(self, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> None:
        last = np.array(self._grid.geometry.shape) - 1
        first = np.maximum(low - _SLACK_IN_PLANE, 0)[::-1].tolist()
        end = np.minimum(high + _SLACK_IN_PLANE, last)[::-1].tolist()
        scalar_type = (
            self.image.GetScalarType() if self.image.GetPointData().GetScalars() else vtk.VTK_UNSIGNED_CHAR
        )
        self.image.SetImageToWorldMatrix(vtk_matrix(self._grid.ijk_to_segmentation))
        self.image.SetExtent(*(bound for pair in zip(first, end, strict=True) for bound in pair))
        self._refill(scalar_type)

    def _reallocate(self, present: list[int], grown: list[int]) -> None:
        before = raw_array(self.image)
        self.image.SetExtent(*grown)
        after = self._refill(self.image.GetScalarType())
        inside = [slice(present[n] - grown[n], present[n + 1] - grown[n] + 1) for n in (4, 2, 0)]
        after[tuple(inside)] = before

    def _refill(self, scalar_type: int) -> npt.NDArray[Any]:
        # Not AllocateScalars: it may reuse the memory that is still to be read.
        scalars = vtk.vtkDataArray.CreateDataArray(scalar_type)
        scalars.UnRegister(None)  # CreateDataArray hands over a reference
        scalars.SetName("ImageScalars")
        scalars.SetNumberOfTuples(int(np.prod(self.image.GetDimensions())))
        self.image.GetPointData().SetScalars(scalars)
        labels = raw_array(self.image)
        labels[...] = 0
        return labels


def is_empty(image: Any) -> bool:
    """Return whether a labelmap holds no voxel at all."""
    extent = image.GetExtent()
    scalars = image.GetPointData().GetScalars()
    return scalars is None or extent[0] > extent[1] or extent[2] > extent[3] or extent[4] > extent[5]


def raw_array(image: Any) -> npt.NDArray[Any]:
    """The labels of a labelmap in its own order, a writeable view (K, J, I)."""
    columns, rows, slices = image.GetDimensions()
    return np.asarray(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(slices, rows, columns))


def labelmap_of(segmentation_node: Any, segment_id: str) -> Any:
    """The vtkOrientedImageData of a segment; None when it has none."""
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    return None if segment is None else segment.GetRepresentation(LABELMAP)


def segment_ids(segmentation_node: Any) -> tuple[str, ...]:
    """All segments in the order of the table."""
    segmentation = segmentation_node.GetSegmentation()
    return tuple(segmentation.GetNthSegmentID(number) for number in range(segmentation.GetNumberOfSegments()))


def create_segmentation(
    scene: Any, volume_node: Any, name: str | None = None, *, helper: bool = False
) -> Any:
    """A new segmentation for a volume: on its voxels, under its transform, with display nodes.

    Args:
        scene: the vtkMRMLScene.
        volume_node: a volume of the scene.
        name: of the node; None = one after the volume that the scene does not have yet.
        helper: it is no result of the user: no selector and no tree lists it, and no scene file keeps it.
    """
    node = scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    node.UnRegister(None)  # CreateNodeByClass hands over a reference
    node.SetName(name or scene.GenerateUniqueName(f"{volume_node.GetName()} segmentation"))
    if helper:  # before it is added: the tree of the Data module looks only then
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
    node = scene.AddNode(node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    if helper:
        for number in range(node.GetNumberOfDisplayNodes()):
            node.GetNthDisplayNode(number).SetSaveWithScene(False)
    # After the transform, which Slicer takes into account here.
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    if not helper:
        place_beside(node, volume_node)
    return node


def ensure_display(segmentation_node: Any) -> None:
    """Give a segmentation a display node if it has none: one that a selector or a script made is not shown without."""
    if segmentation_node.GetDisplayNode() is None:
        segmentation_node.CreateDefaultDisplayNodes()


def check_segmentation(segmentation_node: Any, volume_node: Any) -> None:
    """Raise, in one sentence for the user, unless masks of the volume can be written into a segmentation.

    Slicer itself would resample every labelmap of another geometry to the nearest voxel and so change segments
    that nobody touched; therefore such a segmentation is refused.

    Raises:
        GeometryError: surfaces instead of labelmaps, another grid of voxels, or a non-linear transform.
    """
    names = {"segmentation": segmentation_node.GetName(), "volume": volume_node.GetName()}
    grid = VolumeGrid(segmentation_node, volume_node)
    segmentation = segmentation_node.GetSegmentation()
    ids = segment_ids(segmentation_node)
    if ids and segmentation.GetSourceRepresentationName() != LABELMAP:
        raise GeometryError(
            _(
                'The segmentation "{segmentation}" holds surfaces: in the Segmentations module make binary labelmap '
                "its source representation, or choose another segmentation."
            ).format(**names)
        )
    for segment_id in ids:
        image = labelmap_of(segmentation_node, segment_id)
        if (
            image is not None
            and not is_empty(image)
            and grid.lattice(image) is None
            and raw_array(image).any()
        ):
            raise GeometryError(
                _(
                    'The segmentation "{segmentation}" has another voxel grid than the volume '
                    '"{volume}": choose another segmentation or make a new one.'
                ).format(**names)
            )


def give_reference(segmentation_node: Any, volume_node: Any) -> None:
    """Make the volume's voxels those of a segmentation that holds none yet."""
    images = [labelmap_of(segmentation_node, segment_id) for segment_id in segment_ids(segmentation_node)]
    if all(image is None or is_empty(image) for image in images):
        segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)


def place_empty_labelmaps(segmentation_node: Any, grid: VolumeGrid) -> None:
    """Let labelmaps without voxels lie on those of the volume.

    Slicer loads them with a grid of their own, and when it saves the scene it may resample all others to that.
    """
    for segment_id in segment_ids(segmentation_node):
        image = labelmap_of(segmentation_node, segment_id)
        if image is not None and is_empty(image):
            image.SetImageToWorldMatrix(vtk_matrix(grid.ijk_to_segmentation))


def own_labelmap(segment: Any, grid: VolumeGrid) -> None:
    """Give a segment without voxels a labelmap that it shares with no other segment.

    It lies on the voxels of the volume: when a scene is saved, Slicer may take the grid of this labelmap for all.
    """
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(vtk_matrix(grid.ijk_to_segmentation))
    image.SetExtent(0, -1, 0, -1, 0, -1)
    segment.SetLabelValue(1)
    segment.AddRepresentation(LABELMAP, image)
