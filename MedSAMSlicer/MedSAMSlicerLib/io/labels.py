"""Reads label images and masks that belong to a given volume."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import GeometryError, VolumeError
from ..core.geometry import SAME_PLACE_VOXELS, SliceAxis, VolumeGeometry
from ..core.input_files import check_input
from .image_file import ImageFile
from .picture_files import is_picture, read_picture
from .segmentations import names_file
from .volumes import open_image, place_of, telling

logger = logging.getLogger(__name__)

_MOST_VOXELS, _MOST_TIMES = 1 << 28, 64  # of a segmentation that is larger than its volume


def read_label(path: str | Path, geometry: VolumeGeometry) -> npt.NDArray[np.integer[Any]]:
    """The labels of a file on the grid of a volume, (K, J, I).

    A file that stores the same grid with other axis order or direction, or, for a .seg.nrrd of 3D Slicer, only
    a part of it, is put in place voxel by voxel, never resampled. A tenth of a voxel off counts as in place.

    Args:
        path: NIfTI, NRRD or MetaImage with whole numbers; of a .seg.nrrd, one without overlapping segments.
        geometry: of the volume that the labels belong to.

    Raises:
        VolumeError: when the file cannot be read or holds other than whole numbers.
        GeometryError: when the file is on another grid, with the difference.
    """
    path = Path(path)
    with telling(path):
        result, outside = _labels(open_image(path), geometry)
    if outside:
        raise GeometryError(f"{path} does not fit the volume: some of its labels lie outside it.")
    return result


def read_mask(path: str | Path, geometry: VolumeGeometry, label: str | None = None) -> npt.NDArray[np.bool_]:
    """One segment of a label file on the grid of a volume, (K, J, I).

    Args:
        path, geometry: as for :func:`read_label`.
        label: its value, or its name where the file names its segments; None = the only one there is.

    Raises:
        VolumeError, GeometryError: as :func:`read_label`, and when it is unclear which of several labels is meant.
    """
    path = Path(path)
    with telling(path):
        image = open_image(path)
        result, outside = _labels(image, geometry)
        value = _value_of(image, result, label, None)
    if outside:
        raise GeometryError(f"{path} does not fit the volume: some of its labels lie outside it.")
    return np.asarray(result != 0 if value is None else result == value)


def read_slice_mask(
    path: str | Path,
    geometry: VolumeGeometry,
    axis: SliceAxis,
    index: int,
    label: str | None = None,
    name: str | None = None,
) -> npt.NDArray[np.bool_]:
    """The mask of one slice, (rows, columns), from a 2-D picture of that size or from a 3-D label image.

    Args:
        path: of the file.
        geometry, axis, index: of the volume, its slices and the slice.
        label: which label of a 3-D label image is meant: its value, or its name where the file names its segments.
        name: of the object; a segment of that name is meant where no label was given.

    Raises:
        VolumeError: when the file cannot be read, or it is unclear which of several labels is meant.
        GeometryError: when it has another size or grid, with the difference.
    """
    path = Path(path)
    shape = geometry.slice_shape(axis)
    with telling(path):
        check_input(path, VolumeError)
        with path.open("rb") as file:
            start = file.read(16)
        if is_picture(start):
            return np.asarray(read_picture(path, shape, f"a slice along {axis.name.lower()}") != 0)
        image = open_image(path)
        if len(image.size) == 2:
            if (image.size[1], image.size[0]) != shape:
                raise GeometryError(
                    f"{path} has {_size((image.size[1], image.size[0]))} pixels, but a slice along "
                    f"{axis.name.lower()} has {_size(shape)}."
                )
            array, _ = image.read()
            return np.asarray(array != 0 if array.ndim == 2 else array[..., :3].max(axis=-1) != 0)
        result, outside = _labels(image, geometry)
    if outside:
        logger.warning("%d labeled voxels of %s lie outside the volume; they were left out.", outside, path)
    plane = np.take(result, index, axis=axis)
    value = _value_of(image, result, label, name)
    return np.asarray(plane != 0 if value is None else plane == value)


def segment_names(image: ImageFile) -> dict[str, int]:
    """Names and label values of the segments of an NRRD of 3D Slicer, or of a label map with its names beside it.

    A file that names none, or whose names cannot be read, gives an empty dictionary.
    """
    found = {
        text: image.keys.get(f"{key.removesuffix('_Name')}_LabelValue", "1")
        for key, text in image.keys.items()
        if re.fullmatch(r"Segment\d+_Name", key)
    }
    if not found:
        beside = names_file(image.path)
        found = _names_beside(beside) if beside is not None and beside.is_file() else {}
    return {name: int(value) for name, value in found.items() if re.fullmatch(r"[0-9]{1,18}", value)}


def _names_beside(path: Path) -> dict[str, str]:
    """Names and label values of NAME.labels.json, which is written beside a label map."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    labels = content.get("labels", content) if isinstance(content, dict) else {}
    if not isinstance(labels, dict):
        return {}
    return {
        str(label.get("name") if isinstance(label, dict) else label): str(value)
        for value, label in labels.items()
    }


def _value_of(
    image: ImageFile, labels: npt.NDArray[np.integer[Any]], label: str | None, name: str | None
) -> int | None:
    """The label that is meant; None for every voxel that is not 0, where the volume holds one label only.

    Raises VolumeError when there is no such label, or several and none is named.
    """
    names = segment_names(image)
    if label is not None:
        if label in names:
            return names[label]
        if re.fullmatch(r"[0-9]{1,18}", label):
            return int(label)
        raise VolumeError(f"{image.path} has no label {label!r}{_listed(names)}.")
    if name is not None and name in names:
        return names[name]
    values = [int(value) for value in np.unique(labels) if value != 0]
    if len(values) > 1:
        first = ", ".join(str(value) for value in values[:8]) + (", ..." if len(values) > 8 else "")
        raise VolumeError(
            f"{image.path} has several labels ({first}), and none has the name of the object: choose one with "
            f"FILE,LABEL{_listed(names)}."
        )
    return None


def _listed(names: Mapping[str, int]) -> str:
    if not names:
        return ""
    return "; its segments are " + ", ".join(f"{name} ({value})" for name, value in list(names.items())[:8])


def _whole_numbers(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[np.integer[Any]]:
    if np.issubdtype(array.dtype, np.integer):
        return array
    if not np.isfinite(array).all() or (array != np.round(array)).any() or np.abs(array).max() > 2**31:
        raise VolumeError(f"{path} is not a label image: its voxels are not whole numbers.")
    return array.astype(np.int32)


@dataclass(frozen=True)
class _Placement:
    """The place of an array on one grid within the grid of a volume.

    Attributes:
        flips: array axes to turn round first.
        order: array axes in the order of (K, J, I) of the volume.
        first: (k, j, i) in the volume of the first voxel of the turned array.
    """

    flips: tuple[int, ...]
    order: tuple[int, ...]
    first: tuple[int, int, int]

    def turned(self, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(np.flip(labels, self.flips).transpose(self.order))


def _labels(image: ImageFile, geometry: VolumeGeometry) -> tuple[npt.NDArray[np.integer[Any]], int]:
    """The labels on the grid of the volume, and how many labeled voxels lie outside it.

    What does not fit is refused before any voxel is read.
    """
    own, _ = place_of(image)
    path = image.path
    placement = _placement(path, own, geometry)
    if math.prod(own.shape) > max(_MOST_VOXELS, _MOST_TIMES * math.prod(geometry.shape)):
        raise GeometryError(f"{path} does not fit the volume: {_difference(own, geometry)}.")
    array, warnings = image.read()
    for sentence in warnings:
        logger.warning("%s", sentence)
    labels = placement.turned(_whole_numbers(path, array))
    if labels.shape == geometry.shape and not any(placement.first):
        return np.ascontiguousarray(labels), 0
    there = [
        slice(max(n, 0), max(n + size, 0)) for n, size in zip(placement.first, labels.shape, strict=True)
    ]
    here = [
        slice(max(-n, 0), max(limit - n, 0)) for n, limit in zip(placement.first, geometry.shape, strict=True)
    ]
    inside = labels[tuple(here)]
    result = np.zeros(geometry.shape, dtype=labels.dtype)
    result[tuple(there)] = inside
    return result, int(np.count_nonzero(labels) - np.count_nonzero(inside))


def _placement(path: Path, own: VolumeGeometry, geometry: VolumeGeometry) -> _Placement:
    """Of a grid that shares its voxel centers with that of `geometry`; GeometryError for any other."""
    misfit = GeometryError(f"{path} does not fit the volume: {_difference(own, geometry)}.")
    tolerance = SAME_PLACE_VOXELS * min(geometry.spacing)
    if own.distance_to(geometry) <= tolerance:
        return _Placement((), (0, 1, 2), (0, 0, 0))
    steps = np.round(geometry.ras_to_ijk @ own.ijk_to_ras)  # own (i, j, k, 1) to (i, j, k, 1) of the volume
    axes = steps[:3, :3]
    if [np.abs(axes).sum(axis=n).tolist() for n in (0, 1)] != [[1.0, 1.0, 1.0]] * 2:
        raise misfit
    if own.distance_to(VolumeGeometry(own.shape, geometry.ijk_to_ras @ steps)) > tolerance:
        raise misfit
    corners = np.array([[0, 0, 0], [size - 1 for size in reversed(own.shape)]]) @ axes.T + steps[:3, 3]
    first = [int(n) for n in corners.min(axis=0)[::-1]]
    order = tuple(2 - int(np.abs(axes[2 - axis]).argmax()) for axis in range(3))
    shape = tuple(own.shape[n] for n in order)
    if not path.name.lower().endswith((".seg.nrrd", ".seg.nhdr")) and (shape != geometry.shape or any(first)):
        raise misfit
    flips = tuple(
        2 - n for n in range(3) if axes[:, n].sum() < 0
    )  # so that the axes run as those of the volume
    return _Placement(flips, order, (first[0], first[1], first[2]))


def _difference(own: VolumeGeometry, geometry: VolumeGeometry) -> str:
    if own.shape != geometry.shape:
        return f"it has {_size(own.shape)} voxels (k, j, i), the volume {_size(geometry.shape)}"
    if not np.allclose(own.spacing, geometry.spacing, rtol=1e-3):
        return f"its voxels measure {_mm(own.spacing)}, those of the volume {_mm(geometry.spacing)}"
    turn = own.ijk_to_ras[:3, :3] / own.spacing - geometry.ijk_to_ras[:3, :3] / geometry.spacing
    if np.abs(turn).max() > 1e-3:
        return "its axes point in other directions than those of the volume"
    apart = own.distance_to(geometry)
    return f"it lies {apart:.3g} mm ({apart / min(geometry.spacing):.2g} voxels) away from the volume"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(number) for number in shape)


def _mm(lengths: tuple[float, ...]) -> str:
    return " x ".join(f"{length:.4g}" for length in lengths) + " mm"
