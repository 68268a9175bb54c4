"""Reads label images and masks that belong to a given volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..core.errors import GeometryError, VolumeError
from ..core.geometry import SliceAxis, VolumeGeometry
from .volumes import itk_header, quiet_itk, read_image

_SAME_PLACE_VOXELS = 0.01


def read_label(path: str | Path, geometry: VolumeGeometry) -> npt.NDArray[np.integer[Any]]:
    """The labels of a file on the grid of a volume, (K, J, I).

    A file that stores the same grid with other axis order or direction, or, for a .seg.nrrd of 3D Slicer, only
    a part of it, is put in place voxel by voxel, never resampled.

    Args:
        path: NIfTI, NRRD or MetaImage with whole numbers; of a .seg.nrrd, one without overlapping segments.
        geometry: of the volume that the labels belong to.

    Raises:
        VolumeError: when the file cannot be read or holds other than whole numbers.
        GeometryError: when the file is on another grid, with the difference.
    """
    path = Path(path)
    array, own, _ = read_image(path)
    labels = _whole_numbers(path, array)
    if own.distance_to(geometry) <= _SAME_PLACE_VOXELS * min(geometry.spacing):
        return labels
    return _placed(path, labels, own, geometry)


def read_slice_mask(
    path: str | Path, geometry: VolumeGeometry, axis: SliceAxis, index: int
) -> npt.NDArray[np.bool_]:
    """The mask of one slice, (rows, columns), from a 2-D picture of that size or from a 3-D label image.

    Raises:
        VolumeError: when the file cannot be read.
        GeometryError: when it has another size or grid, with the difference.
    """
    path = Path(path)
    picture = _read_2d(path)
    if picture is None:
        return np.asarray(np.take(read_label(path, geometry), index, axis=axis) != 0)
    if picture.shape != geometry.slice_shape(axis):
        raise GeometryError(
            f"{path} has {_size(picture.shape)} pixels, but a slice along {axis.name.lower()} has "
            f"{_size(geometry.slice_shape(axis))}."
        )
    return np.asarray(picture != 0)


def _read_2d(path: Path) -> npt.NDArray[Any] | None:
    """(rows, columns) grey values of a 2-D image, None for a file that is not one."""
    if not path.is_file():
        raise VolumeError(f"{path} does not exist.")
    with quiet_itk():
        try:
            reader = itk_header(path)
            if reader.GetDimension() != 2:
                return None
            array = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError:
            return None
    return np.asarray(array if array.ndim == 2 else array[..., :3].max(axis=-1))


def _whole_numbers(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[np.integer[Any]]:
    if np.issubdtype(array.dtype, np.integer):
        return array
    if not np.isfinite(array).all() or (array != np.round(array)).any() or np.abs(array).max() > 2**31:
        raise VolumeError(f"{path} is not a label image: its voxels are not whole numbers.")
    return array.astype(np.int32)


def _placed(
    path: Path, labels: npt.NDArray[np.integer[Any]], own: VolumeGeometry, geometry: VolumeGeometry
) -> npt.NDArray[np.integer[Any]]:
    """The labels of a grid that shares its voxel centres with that of `geometry`."""
    steps = np.round(geometry.ras_to_ijk @ own.ijk_to_ras)  # own (i, j, k, 1) to (i, j, k, 1) of the volume
    axes = steps[:3, :3]
    misfit = GeometryError(f"{path} does not fit the volume: {_difference(own, geometry)}.")
    if [np.abs(axes).sum(axis=n).tolist() for n in (0, 1)] != [[1.0, 1.0, 1.0]] * 2:
        raise misfit
    on_grid = VolumeGeometry(own.shape, geometry.ijk_to_ras @ steps)
    if own.distance_to(on_grid) > _SAME_PLACE_VOXELS * min(geometry.spacing):
        raise misfit
    for n in range(3):  # turn the array so that its axes run as those of the volume
        if axes[:, n].sum() < 0:
            labels = np.flip(labels, 2 - n)
    labels = labels.transpose([2 - int(np.abs(axes[2 - axis]).argmax()) for axis in range(3)])
    corners = np.array([[0, 0, 0], [size - 1 for size in reversed(own.shape)]]) @ axes.T + steps[:3, 3]
    first = corners.min(axis=0).astype(int)[::-1]  # (k, j, i) in the volume of the first voxel of `labels`
    if not path.name.lower().endswith((".seg.nrrd", ".seg.nhdr")) and (
        labels.shape != geometry.shape or first.any()
    ):
        raise misfit
    filled = np.argwhere(labels)
    result = np.zeros(geometry.shape, dtype=labels.dtype)
    if len(filled):
        place = filled + first
        if (place < 0).any() or (place >= geometry.shape).any():
            raise GeometryError(f"{path} does not fit the volume: some of its labels lie outside it.")
        result[tuple(place.T)] = labels[tuple(filled.T)]
    return result


def _difference(own: VolumeGeometry, geometry: VolumeGeometry) -> str:
    if own.shape != geometry.shape:
        return f"it has {_size(own.shape)} voxels (k, j, i), the volume {_size(geometry.shape)}"
    if not np.allclose(own.spacing, geometry.spacing, rtol=1e-3):
        return f"its voxels measure {_mm(own.spacing)}, those of the volume {_mm(geometry.spacing)}"
    turn = own.ijk_to_ras[:3, :3] / own.spacing - geometry.ijk_to_ras[:3, :3] / geometry.spacing
    if np.abs(turn).max() > 1e-3:
        return "its axes point in other directions than those of the volume"
    return f"it lies {own.distance_to(geometry):.2f} mm away from the volume"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(number) for number in shape)


def _mm(lengths: tuple[float, ...]) -> str:
    return " x ".join(f"{length:.4g}" for length in lengths) + " mm"
