"""Reads one 3-D scalar volume from NIfTI, NRRD, MetaImage or DICOM."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..core.errors import GeometryError, VolumeError
from ..core.geometry import VolumeGeometry
from . import dicom, metaimage, nifti
from .conventions import affine_from_lps, itk_name

_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
_FORMATS = "NIfTI, NRRD, MetaImage or DICOM"
_SAME_FORM_MM = 0.01


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar volume as its file holds it.

    Attributes:
        array: (K, J, I) voxels in their own type, read-only. Only what the evaluation reads of pictures and videos may
            be (K, J, I, 3) uint8, in colour; :func:`read_volume` refuses that.
        geometry: where they are, RAS in mm.
        name: of the file without its ending, or of the DICOM series.
        path: what was read.
        modality: "CT", "MR", "PT" ... where the file tells, else None.
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


def read_volume(path: str | Path, series_uid: str | None = None) -> Volume:
    """Reads a volume that can be segmented.

    Args:
        path: an image file, or a folder with a DICOM series. One slice of a series stands for all of it.
        series_uid: which SeriesInstanceUID to take where a folder holds several.

    Raises:
        VolumeError: one sentence that names the file, when it is missing, damaged, not a 3-D scalar image, or
            holds nothing to segment (no voxels, no finite value, one value only).
    """
    path = Path(path)
    if path.is_dir() or dicom.is_dicom(path):
        with _telling(path):
            volume = _from_dicom(path, series_uid)
    else:
        array, geometry, warnings = read_image(path)
        volume = Volume(array, geometry, stem(path), path, warnings=warnings)
    _check_content(volume.array, path)
    volume.array.setflags(write=False)
    return volume


def read_image(path: Path) -> tuple[npt.NDArray[Any], VolumeGeometry, tuple[str, ...]]:
    """Voxels (K, J, I), geometry and warnings of an image file that is not DICOM, whatever it holds."""
    with _telling(path):
        if path.stat().st_size == 0:
            raise VolumeError(f"{path} is empty.")
        return _from_nifti(path) if nifti.is_nifti(path) else _from_itk(path)


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
def quiet_itk() -> Iterator[None]:
    """Keeps ITK's warnings off the terminal for a while; what matters of them is said in Volume.warnings."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turns what can go wrong with a file into the user's sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise VolumeError(f"{path} does not exist.") from error
    except PermissionError as error:
        raise VolumeError(f"{path} may not be read by this user.") from error
    except OSError as error:
        raise VolumeError(f"{path} cannot be read: {error.strerror or error}.") from error
    except GeometryError as error:
        raise VolumeError(f"{path} has no usable geometry: {error}") from error


def _from_dicom(path: Path, series_uid: str | None) -> Volume:
    with quiet_itk():
        series = dicom.read_series(path, series_uid)
    return Volume(
        array=series.array,
        geometry=series.geometry,
        name=series.description or stem(path.resolve()),
        path=path,
        modality=series.modality,
        dicom_files=series.files,
        warnings=series.warnings,
    )


def _from_nifti(path: Path) -> tuple[npt.NDArray[Any], VolumeGeometry, tuple[str, ...]]:
    header = nifti.read_header(path)
    _check_shape(path, header.shape)
    geometry, warnings = _nifti_geometry(path, header)
    return nifti.read_voxels(path, header), geometry, warnings


def _nifti_geometry(path: Path, header: nifti.NiftiHeader) -> tuple[VolumeGeometry, tuple[str, ...]]:
    """The place that ITK, and so 3D Slicer, takes; the sform itself where ITK refuses the file (a shear)."""
    shape = (header.shape[2], header.shape[1], header.shape[0])
    stated = VolumeGeometry(shape, header.affine)
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
    taken = VolumeGeometry(shape, matrix)
    apart = taken.distance_to(stated)
    if apart <= _SAME_FORM_MM:
        return taken, ()
    contradiction = (
        f"What the header of {path} says of the voxels' place (sform, qform, voxel size) differs by up to "
        f"{apart:.2f} mm; they were put where 3D Slicer shows them."
    )
    return taken, (contradiction,)


def _perpendicular(geometry: VolumeGeometry) -> bool:
    axes = geometry.ijk_to_ras[:3, :3] / geometry.spacing
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < 1e-4)


def _from_itk(path: Path) -> tuple[npt.NDArray[Any], VolumeGeometry, tuple[str, ...]]:
    if path.suffix.lower() in (".mha", ".mhd"):
        metaimage.check_complete(path)
    with quiet_itk():
        try:
            reader = itk_header(path)
        except RuntimeError as error:
            raise VolumeError(f"{path} is not an image ({_FORMATS}), or its header is damaged.") from error
        components = reader.GetNumberOfComponents()
        if components != 1 or "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
            if path.name.lower().endswith((".seg.nrrd", ".seg.nhdr")):
                raise VolumeError(
                    f"{path} holds segments that overlap ({components} layers), but one label per voxel is needed."
                )
            raise VolumeError(f"{path} holds {components} values per voxel (colour?), but one is needed.")
        size = list(reader.GetSize())
        while len(size) > 3 and size[-1] == 1:
            size.pop()
        _check_shape(path, tuple(size))
        matrix = affine_from_lps(reader.GetOrigin(), reader.GetSpacing(), reader.GetDirection())
        geometry = VolumeGeometry((size[2], size[1], size[0]), matrix)
        try:
            array = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise VolumeError(f"{path} is truncated or damaged: its voxels cannot be read.") from error
    return array.reshape(geometry.shape), geometry, ()


def _check_shape(path: Path, size: tuple[int, ...]) -> None:
    """Raises VolumeError unless `size`, voxels along i, j, k ..., is that of a volume."""
    said = " x ".join(str(number) for number in size)
    if min(size) < 1:
        raise VolumeError(f"{path} is empty: its size is {said} voxels.")
    if len(size) < 3:
        raise VolumeError(f"{path} is {len(size)}-D ({said} pixels), but a 3-D volume is needed.")
    if len(size) > 3:
        raise VolumeError(
            f"{path} is {len(size)}-D ({said} voxels), but a 3-D volume is needed: save one time point of it."
        )


def _check_content(array: npt.NDArray[Any], path: Path) -> None:
    if array.size == 0:
        raise VolumeError(f"{path} is empty: it holds no voxels.")
    lowest, highest = array.min(), array.max()
    if not np.isfinite([lowest, highest]).all():
        finite = array[np.isfinite(array)]
        if finite.size == 0:
            raise VolumeError(f"{path} holds no number: every voxel is NaN or infinite.")
        lowest, highest = finite.min(), finite.max()
    if lowest == highest:
        raise VolumeError(f"{path} holds nothing to segment: every voxel is {lowest}.")
