"""Volumes of many frames in one DICOM file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import SpacingUnknownError, VolumeError
from ..core.geometry import FloatArray, VolumeGeometry
from .conventions import affine_from_lps, ras_from_lps
from .dicom_slices import (
    Series,
    Slice,
    itk_reader,
    read_header,
    read_pixels,
    slice_step,
    warn_of_inversion,
)

_CENTIMETERS = 3  # code of the unit in an ultrasound region


def read_frames(s: Slice, warnings: list[str], given: Sequence[float] | None = None) -> Series:
    """The frames of one file as a volume, in the order of their positions where they have any.

    Args:
        s: The file.
        warnings: Sentences for the user are added here.
        given: Mm between columns and rows, maybe frames, where the file does not give it.
    """
    groups = _groups(s)
    if groups.spacing is not None:
        s = replace(s, spacing=groups.spacing)
    if groups.thickness is not None:
        s = replace(s, thickness=groups.thickness)
    spacing = known_spacing(s.path, s, warnings, given)
    if s.inverted:
        warn_of_inversion(s.path, warnings)
    array = read_pixels(s.path)
    header = itk_reader(s.path)
    positions = groups.positions
    if positions is None:
        apart = given[2] if given is not None and len(given) > 2 else header.GetSpacing()[2]
        matrix = affine_from_lps(header.GetOrigin(), (*spacing, apart), header.GetDirection())
        if s.place is None:
            warnings.append(
                f"{s.path} has no positions for its {s.frames} frames (perhaps a cine); "
                f"they were stacked {apart:g} mm apart, as 3D Slicer does."
            )
    else:
        if len(positions) != len(array):
            raise VolumeError(f"{s.path} has {len(array)} frames, but {len(positions)} positions.")
        row, column, normal = _axes(groups.direction or header.GetDirection())
        order = np.argsort(positions @ normal, kind="stable")
        array, positions = array[order], positions[order]
        lps = np.eye(4)
        lps[:3, 0], lps[:3, 1] = row * spacing[0], column * spacing[1]
        lps[:3, 2] = slice_step(s.path, positions, normal, s.thickness, warnings)
        lps[:3, 3] = positions[0]
        matrix = ras_from_lps(lps)
    geometry = VolumeGeometry((len(array), s.size[1], s.size[0]), matrix)
    return Series(array, geometry, (s.path,), s.modality, s.description, tuple(warnings))


def frame_order(path: Path) -> npt.NDArray[np.intp]:
    """The frame of a multi-frame file that lies at each K of its volume."""
    s = read_header(path)
    groups = _groups(s)
    if groups.positions is None:
        return np.arange(s.frames)
    normal = _axes(groups.direction or itk_reader(path).GetDirection())[2]
    return np.argsort(groups.positions @ normal, kind="stable")


@dataclass(frozen=True, eq=False)
class FrameGroups:
    """The values of the functional groups of a multi-frame file; None = not given.

    Args:
        positions: (frames, 3) LPS in mm, in file order.
        direction: ITK's matrix of directions, row by row.
        spacing: mm between columns, between rows.
        thickness: mm.
    """

    positions: FloatArray | None = None
    direction: tuple[float, ...] | None = None
    spacing: tuple[float, float] | None = None
    thickness: float | None = None


def known_spacing(
    path: Path, s: Slice, warnings: list[str], given: Sequence[float] | None
) -> tuple[float, float]:
    """Mm between columns and between rows, of the file or as the user says.

    Raises:
        SpacingUnknownError: Neither gives it.
        VolumeError: Both give it.
    """
    if s.spacing is not None and given is not None:
        raise VolumeError(
            f"{path} itself gives the size of its pixels, {s.spacing[0]:g} x {s.spacing[1]:g} mm; do not give another."
        )
    if given is not None:
        return float(given[0]), float(given[1])
    if s.spacing is None:
        raise SpacingUnknownError(f"{path} does not give the size of its pixels in mm (no PixelSpacing).")
    if s.at_detector:
        warnings.append(
            f"{path} gives the size of its pixels only at the detector ({s.spacing[0]:g} x {s.spacing[1]:g} mm, "
            "ImagerPixelSpacing); lengths in the patient may be smaller."
        )
    return s.spacing


def _groups(s: Slice) -> FrameGroups:
    if s.place is None and s.enhanced:
        return frame_groups(s.path)
    return FrameGroups() if s.spacing is not None else _ultrasound(s.path)


def _ultrasound(path: Path) -> FrameGroups:
    """The pixel size of an ultrasound image, which stands in its regions in cm."""
    try:
        import pydicom
    except ImportError:
        return FrameGroups()
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    for region in dataset.get("SequenceOfUltrasoundRegions") or []:
        units = region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")
        steps = abs(float(region.get("PhysicalDeltaX") or 0)), abs(float(region.get("PhysicalDeltaY") or 0))
        if units == (_CENTIMETERS, _CENTIMETERS) and min(steps) > 0:
            return FrameGroups(spacing=(10 * steps[0], 10 * steps[1]))
    return FrameGroups()


def _axes(direction: tuple[float, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Directions in which the column index, the row index and the slices grow, from ITK's row-by-row matrix."""
    row, column = np.array(direction[0::3]), np.array(direction[1::3])
    return row, column, np.cross(row, column)


def frame_groups(path: Path) -> FrameGroups:
    """Return what the functional groups of an enhanced multi-frame file say of its frames.

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
    positions, constant, found = [], [], set()
    for frame in dataset.get("PerFrameFunctionalGroupsSequence") or []:

        def value(group: str, name: str, frame: Any = frame) -> tuple[float, ...] | None:
            element = (frame.get(group) or shared.get(group) or [pydicom.Dataset()])[0].get(name)
            return None if element is None else tuple(float(x) for x in np.atleast_1d(element))

        positions.append(value("PlanePositionSequence", "ImagePositionPatient"))
        orientation = value("PlaneOrientationSequence", "ImageOrientationPatient")
        pixels = value("PixelMeasuresSequence", "PixelSpacing")
        constant.append((orientation, pixels, value("PixelMeasuresSequence", "SliceThickness")))
        found.add(
            (
                orientation,
                pixels,
                value("PixelValueTransformationSequence", "RescaleSlope"),
                value("PixelValueTransformationSequence", "RescaleIntercept"),
            )
        )
    if len(found) > 1:
        raise VolumeError(f"{path} has frames that differ in orientation, pixel size or scaling.")
    if not positions:
        return FrameGroups()
    orientation, pixels, thickness = constant[0]
    placed = orientation is not None and not any(position is None for position in positions)
    return FrameGroups(
        np.array(positions, dtype=np.float64) if placed else None,
        None if orientation is None else _direction(orientation),
        None if pixels is None or min(pixels) <= 0 else (pixels[1], pixels[0]),
        thickness[0] if thickness and thickness[0] > 0 else None,
    )


def _direction(orientation: tuple[float, ...]) -> tuple[float, ...]:
    """ITK's matrix of directions, row by row, from the six numbers of DICOM."""
    row, column = (np.array(axis) / np.linalg.norm(axis) for axis in (orientation[:3], orientation[3:]))
    axes = np.stack([row, column, np.cross(row, column)], axis=1)
    return tuple(float(value) for value in axes.ravel())
