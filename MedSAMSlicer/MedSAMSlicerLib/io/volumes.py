"""Reads one 3-D scalar volume from NIfTI, NRRD, MetaImage or DICOM."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..core.errors import GeometryError, VolumeError
from ..core.geometry import SAME_PLACE_VOXELS, VolumeGeometry
from ..core.input_files import check_input
from . import dicom, metaimage, nifti
from .conventions import affine_from_lps, itk_name
from .image_file import ImageFile
from .native_output import quiet_itk
from .nrrd_header import is_nrrd, open_nrrd
from .picture_files import is_picture, picture_size
from .voxel_bytes import first_bytes

_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
_FORMATS = "NIfTI, NRRD, MetaImage or DICOM"
_START = 352  # bytes by which a format is recognized


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar volume as its file holds it.

    Attributes:
        array: (K, J, I) voxels in their own type, read-only. Only what the evaluation reads of pictures and videos may
            be (K, J, I, 3) uint8, in color; :func:`read_volume` refuses that.
        geometry: where they are, RAS in mm.
        name: of the file without its ending, or of the DICOM series.
        path: what was read.
        modality: "CT", "MR", "PT" ... where the file gives it, else None.
        dicom_files: the file of each slice in the order of K (one file when it has many frames), else None.
        warnings: one sentence each, for the user: what was assumed or left out.
    """

    array: npt.NDArray[Any]
    geometry: VolumeGeometry
    name: str
    path: Path
    modality: str | None = None
    dicom_files: tuple[Path, ...] | None = None
    warnings: tuple[str, ...] = ()


def read_volume(
    path: str | Path,
    series_uid: str | None = None,
    spacing: Sequence[float] | None = None,
    check_size: Callable[[tuple[int, ...]], None] | None = None,
) -> Volume:
    """Reads a volume that can be segmented.

    Args:
        path: an image file, or a folder with a DICOM series. One slice of a series stands for all of it.
        series_uid: which SeriesInstanceUID to take where a folder holds several.
        spacing: mm between columns, between rows and maybe between slices of a DICOM series that does not give it.
        check_size: called with (columns, rows, slices) before any voxel is read; what it raises is handed on.

    Raises:
        SpacingUnknownError: a DICOM series does not give the size of its pixels, and neither does `spacing`.
        VolumeError: one sentence that names the file, when it is missing, damaged, not a 3-D scalar image, or
            holds nothing to segment (no voxels, no finite value, one value only).
    """
    path = Path(path)
    with telling(path):
        check_input(path, VolumeError, folder=True)
        if path.is_dir() or dicom.is_dicom(path):
            volume = _from_dicom(path, series_uid, spacing, check_size)
        elif spacing is not None:
            raise VolumeError(
                f"{path} is not DICOM: its header gives the size of its voxels, so it cannot be chosen."
            )
        else:
            image = open_image(path)
            geometry, warnings = place_of(image)
            if check_size is not None:
                check_size(tuple(image.size))
            array, more = image.read(check_ratio=True)
            volume = Volume(array, geometry, stem(path), path, warnings=warnings + more)
        _check_content(volume.array, path)
    volume.array.setflags(write=False)
    return volume


def open_image(path: Path) -> ImageFile:
    """The header of a NIfTI, NRRD or MetaImage file; nothing of the size of its voxels is allocated.

    Raises:
        VolumeError: one sentence that names the file, for any other file.
        OSError: when it cannot be read; see :func:`telling`.
    """
    check_input(path, VolumeError)
    itk_name(path)
    if path.stat().st_size == 0:
        raise VolumeError(f"{path} is empty.")
    start = first_bytes(path, _START)
    if nifti.is_nifti(path, start):
        return nifti.open_nifti(path)
    if is_nrrd(start):
        return open_nrrd(path)
    if metaimage.is_metaimage(path, start):
        return metaimage.open_metaimage(path)
    if is_picture(start):
        size = picture_size(path)
        found = " x ".join(str(number) for number in size)
        raise VolumeError(
            f"{path} is {len(size)}-D ({found} pixels), but a 3-D volume is needed ({_FORMATS})."
        )
    raise VolumeError(f"{path} is not an image ({_FORMATS}), or its header is damaged.")


def place_of(image: ImageFile) -> tuple[VolumeGeometry, tuple[str, ...]]:
    """The grid of an image of three axes and one value a voxel, and warnings; VolumeError for any other."""
    path, size = image.path, image.size
    if image.components != 1:
        if path.name.lower().endswith((".seg.nrrd", ".seg.nhdr")):
            raise VolumeError(
                f"{path} contains overlapping segments ({image.components} layers), but one label per voxel is needed."
            )
        raise VolumeError(f"{path} holds {image.components} values per voxel (color?), but one is needed.")
    found = " x ".join(str(number) for number in size)
    if len(size) < 3:
        raise VolumeError(f"{path} is {len(size)}-D ({found} pixels), but a 3-D volume is needed.")
    if len(size) > 3:
        raise VolumeError(
            f"{path} is {len(size)}-D ({found} voxels), but a 3-D volume is needed: save one time point of it."
        )
    if image.places:
        return _nifti_place(image)
    return image.geometry, ()


def stem(path: Path) -> str:
    """The file's name without folder and image ending."""
    for suffix in _SUFFIXES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def itk_header(path: Path) -> sitk.ImageFileReader:
    """A SimpleITK reader that has read the header of `path` only; RuntimeError when it cannot."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name(path))
    reader.ReadImageInformation()
    return reader


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turns what can go wrong with a file into the user's sentence, a VolumeError."""
    try:
        yield
    except FileNotFoundError as error:
        raise VolumeError(f"{path} does not exist.") from error
    except PermissionError as error:
        raise VolumeError(f"{path} cannot be read: this user has no permission.") from error
    except OSError as error:
        raise VolumeError(f"{path} cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise VolumeError(f"{path} needs more memory than is free.") from error


def _from_dicom(
    path: Path,
    series_uid: str | None,
    spacing: Sequence[float] | None,
    check_size: Callable[[tuple[int, ...]], None] | None,
) -> Volume:
    try:
        with quiet_itk():
            series = dicom.read_series(path, series_uid, spacing, check_size)
    except GeometryError as error:
        raise VolumeError(f"{path} has no usable geometry: {error}") from error
    return Volume(
        array=series.array,
        geometry=series.geometry,
        name=series.description or stem(path.resolve()),
        path=path,
        modality=series.modality,
        dicom_files=series.files,
        warnings=series.warnings,
    )


def _nifti_place(image: ImageFile) -> tuple[VolumeGeometry, tuple[str, ...]]:
    """The place that ITK, and so 3D Slicer, takes; the sform itself where ITK refuses the file (a shear)."""
    path, stated = image.path, image.geometry
    try:
        with quiet_itk():
            reader = itk_header(path)
    except RuntimeError:
        tilted = (
            f"The axes of {path} are not perpendicular (a tilted gantry?), which 3D Slicer does not load from NIfTI; "
            "they were taken as the header has them."
        )
        return stated, () if _perpendicular(stated) else (tilted,)
    matrix = affine_from_lps(reader.GetOrigin(), reader.GetSpacing(), reader.GetDirection())
    taken = replace(image, ijk_to_ras=matrix).geometry
    apart = max(taken.distance_to(replace(image, ijk_to_ras=place).geometry) for place in image.places)
    if apart <= SAME_PLACE_VOXELS * min(taken.spacing):
        return taken, ()
    contradiction = (
        f"What the header of {path} says of the voxels' place (sform, qform, voxel size) differs by up to "
        f"{apart:.2g} mm ({apart / min(taken.spacing):.2g} voxels); they were put where 3D Slicer shows them."
    )
    return taken, (contradiction,)


def _perpendicular(geometry: VolumeGeometry) -> bool:
    axes = geometry.ijk_to_ras[:3, :3] / geometry.spacing
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < 1e-4)


def _check_content(array: npt.NDArray[Any], path: Path) -> None:
    if array.size == 0:
        raise VolumeError(f"{path} is empty: it holds no voxels.")
    lowest, highest = array.min(), array.max()
    if not np.isfinite([lowest, highest]).all():
        finite = array[np.isfinite(array)]
        if finite.size == 0:
            raise VolumeError(f"{path} contains no numbers: every voxel is NaN or infinite.")
        lowest, highest = finite.min(), finite.max()
    if lowest == highest:
        raise VolumeError(f"{path} holds nothing to segment: every voxel is {lowest}.")
