"""Where labeled voxels lie in the nodes of a scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.float64]


def node_matrix(node: Any) -> npt.NDArray[np.float64]:
    """(4, 4) IJK to RAS of a volume node."""
    import slicer.util
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array(slicer.util.arrayFromVTKMatrix(matrix))


def volume_places(array: npt.NDArray[Any], ijk_to_ras: npt.NDArray[np.float64]) -> Places:
    """(N, 3) RAS of the centers of the voxels of (K, J, I) that are not zero."""
    ijk = np.argwhere(array)[:, ::-1]
    return np.asarray(ijk @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3])


def segment_places(node: Any, segment_id: str) -> Places:
    """(N, 3) RAS of the centers of the voxels of a segment, from the labelmap that the node keeps itself."""
    import slicer.util
    import vtk
    from vtkmodules.util.numpy_support import vtk_to_numpy

    segment = node.GetSegmentation().GetSegment(segment_id)
    image = node.GetBinaryLabelmapInternalRepresentation(segment_id)
    extent = image.GetExtent()
    if extent[0] > extent[1]:
        return np.empty((0, 3))
    shape = image.GetDimensions()[::-1]
    labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
    ijk = np.argwhere(labels == segment.GetLabelValue())[:, ::-1] + [extent[0], extent[2], extent[4]]
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk_to_ras = np.array(slicer.util.arrayFromVTKMatrix(matrix))
    return np.asarray(ijk @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3])


def farthest(found: Places, expected: Places, ras_to_ijk: npt.NDArray[np.float64]) -> float:
    """Largest distance in mm between places of the same voxel; infinite when the sets of voxels differ."""
    if len(found) != len(expected):
        return float("inf")
    if not len(found):
        return 0.0
    orders = []
    for places in (found, expected):
        indices = np.round(places @ ras_to_ijk[:3, :3].T + ras_to_ijk[:3, 3]).astype(int)
        orders.append(np.lexsort(indices.T))
        if places is found:
            found_indices = indices[orders[0]]
    if not np.array_equal(found_indices, indices[orders[1]]):
        return float("inf")
    return float(np.linalg.norm(found[orders[0]] - expected[orders[1]], axis=1).max())
