"""One slice of a DICOM series, and what its neighbours tell of the step from slice to slice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..core.errors import VolumeError
from ..core.geometry import FloatArray, VolumeGeometry
from .conventions import itk_name

_SERIES, _MODALITY, _DESCRIPTION = "0020|000e", "0008|0060", "0008|103e"
_POSITION, _ORIENTATION = "0020|0032", "0020|0037"
_PIXEL_SPACING, _NOMINAL, _IMAGER, _MAGNIFICATION = "0028|0030", "0018|2010", "0018|1164", "0018|1114"
_PHOTOMETRIC, _BITS, _SIGNED, _SLOPE, _INTERCEPT = (
    "0028|0004",
    "0028|0101",
    "0028|0103",
    "0028|1053",
    "0028|1052",
)
_THICKNESS, _BETWEEN, _FRAMES, _CLASS = "0018|0050", "0018|0088", "0028|0008", "0008|0016"
_ENHANCED = (
    tuple(  # classes whose frames carry positions of their own: enhanced and legacy converted CT, MR, PET
        f"1.2.840.10008.5.1.4.1.1.{last}"
        for last in ("2.1", "2.2", "4.1", "4.4", "6.2", "13.1.1", "13.1.3", "128.1", "130")
    )
)

_SMALL, _LEAST_BITS = 1 << 22, 0.02  # pixels that are never too many; bits a pixel takes at least
_EXACT_MM = 0.01  # positions are decimal text; scanners round them to about this
_UNEVEN = 0.1  # of the slice distance: beyond it a slice is missing or the spacing changes


@dataclass(frozen=True)
class Place:
    """Where a slice lies, LPS: the centre of its first pixel in mm, and the directions of its two indices.

    `row` is the direction in which the column index grows, `column` that of the row index; all are (3,).
    """

    position: FloatArray
    row: FloatArray
    column: FloatArray


@dataclass(frozen=True)
class Slice:
    """One file of a series: where it is and what it says of itself."""

    path: Path
    series_uid: str
    modality: str | None
    description: str
    size: tuple[int, int]  # columns, rows
    frames: int
    components: int
    enhanced: bool
    spacing: (
        tuple[float, float] | None
    )  # mm between columns, between rows; None where the header does not tell
    at_detector: bool  # the spacing is that of the detector, not that in the patient
    thickness: float | None
    place: Place | None

    @property
    def multi_frame(self) -> bool:
        """Whether the file is a volume of its own, with positions, if any, for each frame."""
        return self.frames > 1 or (self.enhanced and self.place is None)


@dataclass(frozen=True)
class Series:
    """A series as a volume: array (K, J, I), its files in the order of K, and what was assumed."""

    array: npt.NDArray[Any]
    geometry: VolumeGeometry
    files: tuple[Path, ...]
    modality: str | None
    description: str
    warnings: tuple[str, ...]


def itk_reader(path: Path) -> sitk.ImageFileReader:
    """A SimpleITK reader that has read the DICOM header of `path`; RuntimeError when it cannot."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(itk_name(path))
    reader.ReadImageInformation()
    return reader


def read_header(path: Path) -> Slice:
    """What the header of a DICOM image says; RuntimeError or ValueError when it cannot be read."""
    reader = itk_reader(path)

    def text(tag: str) -> str:
        return str(reader.GetMetaData(tag)).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    def numbers(tag: str, count: int) -> FloatArray | None:
        return _numbers(text(tag), count)

    size = reader.GetSize()
    spacing, at_detector = _pixel_spacing(numbers)
    position, orientation = numbers(_POSITION, 3), numbers(_ORIENTATION, 6)
    between, thickness = numbers(_BETWEEN, 1), numbers(_THICKNESS, 1)
    gap = between if between is not None else thickness
    frames = text(_FRAMES)
    place = None
    if position is not None and orientation is not None and _perpendicular(orientation):
        place = Place(position, _unit(orientation[:3]), _unit(orientation[3:]))
    return Slice(
        path=path,
        series_uid=text(_SERIES),
        modality=text(_MODALITY) or None,
        description=text(_DESCRIPTION),
        size=(size[0], size[1]),
        frames=int(frames) if frames.isdigit() else 1,
        components=reader.GetNumberOfComponents(),
        enhanced=text(_CLASS) in _ENHANCED,
        spacing=spacing,
        at_detector=at_detector,
        thickness=abs(float(gap[0])) if gap is not None and gap[0] != 0 else None,
        place=place,
    )


def _numbers(text: str, count: int) -> FloatArray | None:
    """Decimal numbers between backslashes, with a comma for the point where a careless program wrote one."""
    parts = [part.strip() for part in text.split("\\") if part.strip()]
    try:
        values = [float(part.replace(",", ".")) for part in parts]
    except ValueError:
        return None
    return np.array(values) if len(values) == count and np.isfinite(values).all() else None


def _pixel_spacing(
    numbers: Callable[[str, int], FloatArray | None],
) -> tuple[tuple[float, float] | None, bool]:
    """Mm between columns and between rows, and whether that is at the detector; in the order of the standard."""
    for tag in (_PIXEL_SPACING, _NOMINAL, _IMAGER):
        found = numbers(tag, 2)
        if found is None or (found <= 0).any():
            continue
        magnification = numbers(_MAGNIFICATION, 1) if tag == _IMAGER else None
        if magnification is not None and magnification[0] > 0:
            found = found / magnification[0]
        return (float(found[1]), float(found[0])), tag == _IMAGER and magnification is None
    return None, False


def _perpendicular(orientation: FloatArray) -> bool:
    """Whether the six numbers are two directions of length 1, about at right angles."""
    axes = orientation.reshape(2, 3)
    return bool(np.abs(axes @ axes.T - np.eye(2)).max() < 0.01)


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector))


def read_pixels(path: Path) -> npt.NDArray[Any]:
    """(frames, rows, columns) with the rescaling of the file applied; VolumeError naming the file."""
    try:
        reader = itk_reader(path)
        check_size(path, reader)
        array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise VolumeError(f"{path} is truncated or damaged: its pixels cannot be read.") from error
    return _as_rescaled(np.asarray(array), reader)


def check_size(path: Path, reader: sitk.ImageFileReader) -> None:
    """Refuse a file whose pixels could not be as many as its header says, before they are given memory.

    No compression of DICOM packs a pixel into less than a few bits in practice; `_LEAST_BITS` is far below that.

    Raises:
        VolumeError: naming the file and both sizes.
    """
    pixels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    size = path.stat().st_size
    if pixels > _SMALL and pixels * _LEAST_BITS > 8 * size:
        said = " x ".join(str(number) for number in reader.GetSize())
        raise VolumeError(f"{path} is truncated or damaged: it says {said} pixels, but holds {size} bytes.")


def _as_rescaled(array: npt.NDArray[Any], reader: sitk.ImageFileReader) -> npt.NDArray[Any]:
    """The values that RescaleSlope gives, which GDCM turns round where black is said to be high (MONOCHROME1).

    That is a matter of display; a CT number stays what it is. Files without rescaling stay as 3D Slicer shows them.
    """

    def tag(name: str) -> str:
        return str(reader.GetMetaData(name)).strip(" \0") if reader.HasMetaDataKey(name) else ""

    slope, intercept = _numbers(tag(_SLOPE), 1), _numbers(tag(_INTERCEPT), 1)
    if tag(_PHOTOMETRIC) != "MONOCHROME1" or slope is None or intercept is None:
        return array
    top = (1 << int(tag(_BITS))) - 1
    turned = 2 * float(intercept[0]) + float(slope[0]) * top - array.astype(np.float64)
    whole = np.issubdtype(array.dtype, np.integer)
    return np.rint(turned).astype(np.int32) if whole else turned.astype(array.dtype)


def slice_step(
    path: Path, positions: FloatArray, normal: FloatArray, thickness: float | None, warnings: list[str]
) -> FloatArray:
    """The vector from one slice to the next, in mm; positions are (slices, 3), in the order of the slices.

    Raises:
        VolumeError: when two slices share a position, one is missing, or their distance changes.
    """
    if len(positions) == 1:
        if thickness is None:
            warnings.append(f"{path} has one slice without a thickness; 1 mm was assumed.")
        return np.asarray(normal * (thickness or 1.0))
    along = positions @ normal
    gaps = np.diff(along)
    if gaps.min() < _EXACT_MM:
        count = int((gaps < _EXACT_MM).sum())
        raise VolumeError(
            f"{path} holds several images at the same position ({count} of {len(positions)}): time points, "
            "echoes or copies; give a folder with one of them."
        )
    usual = float(np.median(gaps))
    worst = int(np.abs(gaps - usual).argmax())
    if abs(gaps[worst] - usual) > _UNEVEN * usual:
        raise VolumeError(
            f"{path} is not evenly spaced: slices {worst} and {worst + 1} are {gaps[worst]:.2f} mm apart, "
            f"the others {usual:.2f} mm; a slice is missing or the spacing changes."
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    ideal = positions[0] + np.arange(len(positions))[:, None] * step
    apart = float(np.linalg.norm(positions - ideal, axis=1).max())
    if apart > _UNEVEN * usual:
        raise VolumeError(f"The slices of {path} do not lie on a line: one is {apart:.2f} mm beside it.")
    if apart > _EXACT_MM:
        warnings.append(f"The slices of {path} are not quite even: one lies {apart:.2f} mm beside its place.")
    return np.asarray(step)
