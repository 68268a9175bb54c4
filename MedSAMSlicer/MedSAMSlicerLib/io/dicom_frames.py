"""Volumes of many frames in one DICOM file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import VolumeError
from ..core.geometry import FloatArray, VolumeGeometry
from .conventions import affine_from_lps, ras_from_lps
from .dicom_slices import Series, Slice, itk_reader, read_header, read_pixels, slice_step


def read_frames(s: Slice, warnings: list[str]) -> Series:
    """The frames of one file as a volume, in the order of their positions where they have any."""
    array = read_pixels(s.path)
    header = itk_reader(s.path)
    positions = _positions(s)
    if positions is None:
        matrix = affine_from_lps(header.GetOrigin(), header.GetSpacing(), header.GetDirection())
        if s.place is None:
            warnings.append(
                f"{s.path} has no positions for its {s.frames} frames (a film, perhaps); "
                f"they were stacked {header.GetSpacing()[2]:g} mm apart, as 3D Slicer does."
            )
    else:
        if len(positions) != len(array):
            raise VolumeError(f"{s.path} has {len(array)} frames, but {len(positions)} positions.")
        row, column, normal = _axes(header.GetDirection())
        order = np.argsort(positions @ normal, kind="stable")
        array, positions = array[order], positions[order]
        lps = np.eye(4)
        lps[:3, 0], lps[:3, 1] = row * s.spacing[0], column * s.spacing[1]
        lps[:3, 2] = slice_step(s.path, positions, normal, s.thickness, warnings)
        lps[:3, 3] = positions[0]
        matrix = ras_from_lps(lps)
    geometry = VolumeGeometry((len(array), s.size[1], s.size[0]), matrix)
    return Series(array, geometry, (s.path,), s.modality, s.description, tuple(warnings))


def frame_order(path: Path) -> npt.NDArray[np.intp]:
    """Which frame of a multi-frame file lies at each K of its volume."""
    s = read_header(path)
    positions = _positions(s)
    if positions is None:
        return np.arange(s.frames)
    normal = _axes(itk_reader(path).GetDirection())[2]
    return np.argsort(positions @ normal, kind="stable")


def _positions(s: Slice) -> FloatArray | None:
    return frame_positions(s.path) if s.place is None and s.enhanced else None


def _axes(direction: tuple[float, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Directions in which the column index, the row index and the slices grow, from ITK's row-by-row matrix."""
    row, column = np.array(direction[0::3]), np.array(direction[1::3])
    return row, column, np.cross(row, column)


def frame_positions(path: Path) -> FloatArray | None:
    """(frames, 3) LPS positions in mm of an enhanced multi-frame file, in file order; None when it has none.

    Raises:
        VolumeError: without pydicom, or when the frames differ in orientation or rescaling.
    """
    try:
        import pydicom
    except ImportError as error:
        raise VolumeError(
            f"{path} is an enhanced multi-frame file; to read it, run: pip install 'medsamslicer[dicom]'"
        ) from error
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    positions, constant = [], set()
    for frame in dataset.get("PerFrameFunctionalGroupsSequence") or []:

        def value(group: str, name: str, frame: Any = frame) -> tuple[float, ...] | None:
            found = (frame.get(group) or shared.get(group) or [pydicom.Dataset()])[0].get(name)
            return None if found is None else tuple(float(x) for x in np.atleast_1d(found))

        positions.append(value("PlanePositionSequence", "ImagePositionPatient"))
        constant.add(
            (
                value("PlaneOrientationSequence", "ImageOrientationPatient"),
                value("PixelMeasuresSequence", "PixelSpacing"),
                value("PixelValueTransformationSequence", "RescaleSlope"),
                value("PixelValueTransformationSequence", "RescaleIntercept"),
            )
        )
    if len(constant) > 1:
        raise VolumeError(f"{path} has frames that differ in orientation, pixel size or scaling.")
    if not positions or any(position is None for position in positions):
        return None
    return np.array(positions, dtype=np.float64)
