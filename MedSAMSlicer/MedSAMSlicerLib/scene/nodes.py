"""Volume nodes as geometry and array: in their own RAS, whatever their parent transform.

Slicer keeps a left-handed NIfTI file with its slices reversed; so places, never indices, say what a voxel is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from ..core.errors import GeometryError, NonLinearTransformError, VolumeError
from ..core.geometry import FloatArray, VolumeGeometry
from .sequence_browsers import browser_of

MODIFIED = vtk.vtkCommand.ModifiedEvent


def volume_geometry(volume_node: Any) -> VolumeGeometry:
    """Shape and IJK-to-RAS matrix (mm) of a volume node, without its parent transform.

    Raises:
        VolumeError: the node holds no image.
        GeometryError: its matrix cannot be used.
    """
    image = _image(volume_node)
    columns, rows, slices = image.GetDimensions()
    matrix, elements = vtk.vtkMatrix4x4(), [0.0] * 16
    volume_node.GetIJKToRASMatrix(matrix)
    matrix.DeepCopy(elements, matrix)
    return _geometry((slices, rows, columns), image.GetExtent()[::2], tuple(elements))


@lru_cache(maxsize=64)
def _geometry(
    shape: tuple[int, int, int], first: tuple[int, ...], elements: tuple[float, ...]
) -> VolumeGeometry:
    """The same geometry for the same numbers: it is asked for at every event, and checking one takes time."""
    ijk_to_ras = np.array(elements).reshape(4, 4)
    # Slicer counts voxels from the first of the extent, an array from 0.
    ijk_to_ras[:3, 3] += ijk_to_ras[:3, :3] @ first
    return VolumeGeometry(shape, ijk_to_ras)


def volume_array(volume_node: Any, color: bool = False) -> npt.NDArray[Any]:
    """The voxels of a volume node, (K, J, I): a read-only view, never a copy.

    It stays valid when the node is deleted, and shows changes that are made to the voxels in place. With `color` those
    of red, green and blue may come as well, (K, J, I, 3) uint8.

    Raises:
        VolumeError: the node holds no image, or colors instead of gray values.
    """
    image = _image(volume_node)
    columns, rows, slices = image.GetDimensions()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).view()
    if array.ndim != 1 and not (color and _is_color(image)):
        raise VolumeError(_not_gray(volume_node, array.shape[1]))
    array = array.reshape(slices, rows, columns, *array.shape[1:])
    array.flags.writeable = False
    return array


def check_usable(volume_node: Any) -> None:
    """Raise, in one sentence for the user, unless the volume can be segmented.

    Raises:
        VolumeError: no image, or colors or vectors instead of gray values; the frames of a video, which a sequence
            holds, may be in color.
        NonLinearTransformError: a parent transform that bends the volume; see `hardened_copy`.
        GeometryError: a matrix that cannot be used.
    """
    image = _image(volume_node)
    components = image.GetNumberOfScalarComponents()
    is_frame = _is_color(image) and browser_of(volume_node.GetScene(), volume_node) is not None
    if components != 1 and not is_frame:
        raise VolumeError(_not_gray(volume_node, components))
    parent = volume_node.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        error = NonLinearTransformError(
            _(
                'The volume "{volume}" is under the non-linear transform "{transform}", such as the DICOM import '
                "creates for unevenly spaced slices: work on a copy with the transform hardened."
            ).format(volume=volume_node.GetName(), transform=parent.GetName())
        )
        error.offer = _("Harden a copy")
        raise error
    volume_geometry(volume_node)


def hardened_copy(volume_node: Any) -> Any:
    """A copy of a volume, resampled as its parent transform bends it, and shown where the volume was shown."""
    scene = volume_node.GetScene()
    name = _("{volume} hardened").format(volume=volume_node.GetName())
    copy = slicer.vtkSlicerVolumesLogic.CloneVolume(scene, volume_node, name)
    copy.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    copy.HardenTransform()
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(number, "vtkMRMLSliceCompositeNode")
        if composite.GetBackgroundVolumeID() == volume_node.GetID():
            composite.SetBackgroundVolumeID(copy.GetID())
    return copy


def to_world(volume_node: Any, ras: npt.ArrayLike) -> FloatArray:
    """World coordinates, (N, 3) in mm, of places in the volume's own RAS, (N, 3) in mm.

    Raises:
        GeometryError: the parent transform is not linear.
    """
    return applied(transform_to_world(volume_node), ras)


def from_world(volume_node: Any, world: npt.ArrayLike) -> FloatArray:
    """Places in the volume's own RAS, (N, 3) in mm, of world coordinates, (N, 3) in mm.

    Raises:
        GeometryError: the parent transform is not linear.
    """
    return applied(np.linalg.inv(transform_to_world(volume_node)), world)


def transform_to_world(node: Any) -> FloatArray:
    """(4, 4) matrix from a node's own RAS to world coordinates, in mm.

    Raises:
        GeometryError: the parent transform is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise GeometryError(
            _('"{node}" is under the non-linear transform "{transform}".').format(
                node=node.GetName(), transform=parent.GetName()
            )
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return matrix_array(matrix)


def remove_with_display(node: Any) -> None:
    """Take a node out of its scene, with its display nodes; nothing happens when it is gone already.

    Slicer's Data module removes display nodes by itself, but only where it is loaded.
    """
    scene = node.GetScene()
    if scene is None or not scene.IsNodePresent(node):
        return
    display_ids = [node.GetNthDisplayNodeID(number) for number in range(_display_count(node))]
    scene.RemoveNode(node)
    for display_id in display_ids:
        display = scene.GetNodeByID(display_id) if display_id else None
        if display is not None:
            scene.RemoveNode(display)


def _display_count(node: Any) -> int:
    return int(node.GetNumberOfDisplayNodes()) if node.IsA("vtkMRMLDisplayableNode") else 0


def matrix_array(matrix: Any) -> FloatArray:
    """A vtkMatrix4x4 as a new (4, 4) array."""
    elements = [0.0] * 16
    matrix.DeepCopy(elements, matrix)
    return np.array(elements).reshape(4, 4)


def vtk_matrix(array: npt.ArrayLike) -> Any:
    """A (4, 4) array as a new vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=np.float64).ravel().tolist())
    return matrix


def applied(matrix: npt.NDArray[np.floating[Any]], points: npt.ArrayLike) -> FloatArray:
    """Points, (N, 3), moved by a (4, 4) matrix."""
    return np.asarray(np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3])


def _is_color(image: Any) -> bool:
    """Return whether a vtkImageData holds red, green and blue, 0 to 255."""
    return bool(image.GetNumberOfScalarComponents() == 3 and image.GetScalarType() == vtk.VTK_UNSIGNED_CHAR)


def _image(volume_node: Any) -> Any:
    image = None if volume_node is None else volume_node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or min(image.GetDimensions()) < 1:
        name = "" if volume_node is None else volume_node.GetName()
        raise VolumeError(_('The volume "{volume}" has no image data.').format(volume=name))
    return image


def _not_gray(volume_node: Any, components: int) -> str:
    return _(
        'The volume "{volume}" has {components} values per voxel, such as colors or vectors; '
        "choose a volume with one gray value per voxel, or a sequence of frames in color (8 bit red, green and blue)."
    ).format(volume=volume_node.GetName(), components=components)
