"""One slice of a DICOM series, and what its neighbors show of the step from slice to slice."""

from __future__ import annotations

import math
import re
import tempfile
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
_PHOTOMETRIC, _ALLOCATED, _STORED = "0028|0004", "0028|0100", "0028|0101"
_SIGNED, _SLOPE = "0028|0103", "0028|1053"
_THICKNESS, _BETWEEN, _FRAMES, _CLASS = "0018|0050", "0018|0088", "0028|0008", "0008|0016"
_ENHANCED = (
    tuple(  # classes whose frames carry positions of their own: enhanced and legacy converted CT, MR, PET
        f"1.2.840.10008.5.1.4.1.1.{last}"
        for last in ("2.1", "2.2", "4.1", "4.4", "6.2", "13.1.1", "13.1.3", "128.1", "130")
    )
)

# The element Pixel Data with its length: little endian with or without value representation, and big endian.
_PIXEL_ELEMENT = re.compile(
    rb"\xe0\x7f\x10\x00(?:(?:O[BW]|UN)\0\0)?(.{4})|\x7f\xe0\x00\x10(?:O[BW]|UN)\0\0(.{4})", re.DOTALL
)
_UNDEFINED_LENGTH = 0xFFFFFFFF  # of compressed pixels
_MONOCHROME1 = re.compile(rb"((?:\x28\x00\x04\x00|\x00\x28\x00\x04).{4})MONOCHROME1", re.DOTALL)
_SMALL, _LEAST_BITS = 1 << 22, 0.02  # pixels that are never too many; bits a pixel takes at least
_EXACT_MM = 0.01  # positions are decimal text; scanners round them to about this
_UNEVEN = 0.1  # of the slice distance: beyond it a slice is missing or the spacing changes


@dataclass(frozen=True)
class Place:
    """The place of a slice, LPS: the center of its first pixel in mm, and the directions of its two indices.

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
    )  # mm between columns, between rows; None where the header does not give it
    at_detector: bool  # the spacing is that of the detector, not that in the patient
    inverted: (
        bool  # high values are shown dark and no rescaling says what they are: `read_pixels` inverts them
    )
    thickness: float | None
    place: Place | None

    @property
    def multi_frame(self) -> bool:
        """Return whether the file is a volume of its own, with positions, if any, for each frame."""
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
    """Return what the header of a DICOM image says; RuntimeError or ValueError when it cannot be read."""
    reader = itk_reader(path)

    def text(tag: str) -> str:
        return _tag(reader, tag)

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
        inverted=_is_inverted(reader),
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
    """Return whether the six numbers are two directions of length 1, about at right angles."""
    axes = orientation.reshape(2, 3)
    return bool(np.abs(axes @ axes.T - np.eye(2)).max() < 0.01)


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector))


def read_pixels(path: Path) -> npt.NDArray[Any]:
    """(frames, rows, columns) with the rescaling of the file applied; VolumeError naming the file."""
    try:
        reader = itk_reader(path)
        check_size(path, reader)
        if _tag(reader, _PHOTOMETRIC) != "MONOCHROME1":
            return np.asarray(sitk.GetArrayFromImage(reader.Execute()))
        return _monochrome1(path, reader)
    except RuntimeError as error:
        raise VolumeError(f"{path} is truncated or damaged: its pixels cannot be read.") from error


def check_size(path: Path, reader: sitk.ImageFileReader) -> None:
    """Refuse a file that holds fewer pixels than its header promises, before memory is allocated for them.

    GDCM fills what is missing with uninitialized memory. Of compressed pixels only the plausibility is checked: they
    take more than `_LEAST_BITS` each.

    Raises:
        VolumeError: naming the file and both sizes.
    """
    size = " x ".join(str(number) for number in reader.GetSize())
    pixels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    content = path.read_bytes()
    present = _uncompressed_bytes(content)
    bits = _tag(reader, _ALLOCATED)
    if present is not None and bits.isdigit():
        needed = -(-pixels * int(bits) // 8)
        if present < needed:
            raise VolumeError(
                f"{path} is truncated or damaged: {present} of {needed} bytes are there for {size} pixels."
            )
    elif pixels > _SMALL and pixels * _LEAST_BITS > 8 * len(content):
        raise VolumeError(
            f"{path} is truncated or damaged: its header announces {size} pixels, but {len(content)} bytes are there."
        )


def _uncompressed_bytes(content: bytes) -> int | None:
    """Length of the element Pixel Data of a file; None where it is compressed or not found.

    The tag is searched for, since any bytes may come before it, an icon with pixels of its own too: the longest counts.
    """
    lengths = []
    for found in _PIXEL_ELEMENT.finditer(content):
        little, big = found.group(1), found.group(2)
        length = int.from_bytes(little, "little") if little is not None else int.from_bytes(big, "big")
        if length == _UNDEFINED_LENGTH:
            return None
        if found.end() + length <= len(content):
            lengths.append(length)
    return max(lengths, default=None)


def _monochrome1(path: Path, reader: sitk.ImageFileReader) -> npt.NDArray[Any]:
    """The pixels of a file in which high values are shown dark.

    That is a matter of display: where the file has a rescaling, its values are those that RescaleSlope gives, such as
    HU. GDCM inverts them, and refuses some signed ones, so a copy of the file is read that claims MONOCHROME2. Without
    a rescaling the values are inverted, as 3D Slicer shows them.
    """
    content, count = _MONOCHROME1.subn(rb"\g<1>MONOCHROME2", path.read_bytes(), count=1)
    if not count:  # the header is compressed
        return np.asarray(sitk.GetArrayFromImage(reader.Execute()))
    with tempfile.TemporaryDirectory(prefix="medsamslicer-") as folder:
        copy = Path(folder) / "copy.dcm"
        copy.write_bytes(content)
        array = np.asarray(sitk.GetArrayFromImage(itk_reader(copy).Execute()))
    if not _is_inverted(reader):
        return array
    signed, bits = _tag(reader, _SIGNED) == "1", _tag(reader, _STORED)
    top = -1 if signed else (1 << int(bits)) - 1 if bits.isdigit() else int(np.iinfo(array.dtype).max)
    return np.asarray(top - array.astype(np.int32)).astype(array.dtype)


def _is_inverted(reader: sitk.ImageFileReader) -> bool:
    return _tag(reader, _PHOTOMETRIC) == "MONOCHROME1" and not _tag(reader, _SLOPE)


def warn_of_inversion(path: Path, warnings: list[str]) -> None:
    """Warn that the values of a series are not those of its files."""
    warnings.append(
        f"{path} is MONOCHROME1 without a rescaling: its values were inverted, as in 3D Slicer, and have no unit."
    )


def _tag(reader: sitk.ImageFileReader, name: str) -> str:
    return str(reader.GetMetaData(name)).strip(" \0") if reader.HasMetaDataKey(name) else ""


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
        raise VolumeError(f"The slices of {path} do not lie on one line: one is {apart:.2f} mm off it.")
    if apart > _EXACT_MM:
        warnings.append(
            f"The slices of {path} are not quite evenly spaced: one is {apart:.2f} mm off its position."
        )
    return np.asarray(step)
