"""Reads one DICOM series, of one file a slice or of many frames in one file, compressed or not.

Positions come from ImagePositionPatient of every slice, so that a tilted gantry (sheared volume) keeps its
place and a missing slice is noticed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..core.errors import VolumeError
from ..core.geometry import FloatArray, VolumeGeometry
from .conventions import affine_from_lps, ras_from_lps

_SERIES, _MODALITY, _DESCRIPTION = "0020|000e", "0008|0060", "0008|103e"
_POSITION, _ORIENTATION = "0020|0032", "0020|0037"
_THICKNESS, _BETWEEN, _FRAMES, _CLASS = "0018|0050", "0018|0088", "0028|0008", "0008|0016"
_ENHANCED = (
    tuple(  # classes whose frames carry positions of their own: enhanced and legacy converted CT, MR, PET
        f"1.2.840.10008.5.1.4.1.1.{last}"
        for last in ("2.1", "2.2", "4.1", "4.4", "6.2", "13.1.1", "13.1.3", "128.1", "130")
    )
)
_BARE_STARTS = (b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x08\x00\x00\x00")  # tags of group 0008
_NOT_IMAGES = ("SEG", "RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "REG")

_EXACT_MM = 0.01  # positions are decimal text; scanners round them to about this
_UNEVEN = 0.1  # of the slice distance: beyond it a slice is missing or the spacing changes
_RIVAL = 0.5  # a second series with this share of the largest makes the choice the user's


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
    spacing: tuple[float, float]  # mm between columns, between rows
    thickness: float | None
    place: Place | None


@dataclass(frozen=True)
class Series:
    """A series as a volume: array (K, J, I), its files in the order of K, and what was assumed."""

    array: npt.NDArray[Any]
    geometry: VolumeGeometry
    files: tuple[Path, ...]
    modality: str | None
    description: str
    warnings: tuple[str, ...]


def is_dicom(path: Path) -> bool:
    """Whether the file has the preamble of DICOM, or begins as DICOM without a preamble does."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:132] == b"DICM" or start[:4] in _BARE_STARTS


def read_series(path: Path, series_uid: str | None = None) -> Series:
    """The volume of a folder, or of the series that the file `path` belongs to; VolumeError naming `path`."""
    warnings: list[str] = []
    slices = _scan(path, warnings)
    if path.is_file():
        chosen = next((s for s in slices if s.path == path), None)
        if chosen is None:
            raise VolumeError(f"{path} is a DICOM file without an image that can be read.")
        if chosen.frames > 1:
            slices = [chosen]
        else:
            slices = [s for s in slices if s.series_uid == chosen.series_uid and s.frames == 1]
    slices = _chosen_series(path, slices, series_uid, warnings)
    if any(s.components != 1 for s in slices):
        raise VolumeError(f"{path} is a colour DICOM series, but one grey value per voxel is needed.")
    many = [s for s in slices if s.frames > 1]
    if many:
        if len(many) > 1:
            raise VolumeError(f"{path} holds {len(many)} multi-frame files of one series; name one of them.")
        return _from_frames(many[0], warnings)
    return _from_slices(path, slices, warnings)


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


def _scan(path: Path, warnings: list[str]) -> list[Slice]:
    """Every DICOM image of the folder (below it where it holds none itself), or beside the file `path`."""
    folder = path if path.is_dir() else path.parent
    files = sorted(file for file in folder.iterdir() if file.is_file() and is_dicom(file))
    if not files and path.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file() and is_dicom(file))
    if not files:
        raise VolumeError(f"{path} is a folder without DICOM files.")
    slices, unreadable = [], []
    for file in files:
        try:
            found = _read_header(file)
        except (RuntimeError, ValueError):
            if file.name.upper() != "DICOMDIR":
                unreadable.append(file.name)
            continue
        if found.modality not in _NOT_IMAGES:
            slices.append(found)
    if not slices:
        raise VolumeError(f"{path} holds DICOM files, but none with an image that can be read.")
    if unreadable:
        few = ", ".join(unreadable[:3]) + (", ..." if len(unreadable) > 3 else "")
        warnings.append(f"{len(unreadable)} of {len(files)} DICOM files hold no readable image: {few}.")
    return slices


def _read_header(path: Path) -> Slice:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()

    def text(tag: str) -> str:
        return str(reader.GetMetaData(tag)).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    def numbers(tag: str, count: int) -> FloatArray | None:
        values = [float(part) for part in text(tag).split("\\") if part.strip()]
        return np.array(values) if len(values) == count and np.isfinite(values).all() else None

    size, spacing = reader.GetSize(), reader.GetSpacing()
    position, orientation = numbers(_POSITION, 3), numbers(_ORIENTATION, 6)
    between, thickness = numbers(_BETWEEN, 1), numbers(_THICKNESS, 1)
    gap = between if between is not None else thickness
    frames = text(_FRAMES)
    place = None
    if position is not None and orientation is not None:
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
        spacing=(spacing[0], spacing[1]),
        thickness=abs(float(gap[0])) if gap is not None and gap[0] != 0 else None,
        place=place,
    )


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector))


def _chosen_series(
    path: Path, slices: list[Slice], series_uid: str | None, warnings: list[str]
) -> list[Slice]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for s in slices:
        groups[s.series_uid].append(s)
    ranked = sorted(groups.values(), key=_image_count, reverse=True)
    listing = "; ".join(f"{_said(group)}, UID {group[0].series_uid or 'missing'}" for group in ranked)
    if series_uid is not None:
        if series_uid not in groups:
            raise VolumeError(f"{path} holds no series {series_uid}; it holds: {listing}.")
        return groups[series_uid]
    if len(ranked) == 1:
        return ranked[0]
    if _image_count(ranked[1]) >= _RIVAL * _image_count(ranked[0]):
        raise VolumeError(f"{path} holds {len(ranked)} series, choose one by its UID: {listing}.")
    warnings.append(
        f"{path} holds {len(ranked)} series; the largest was taken, {_said(ranked[0])}, "
        f"not {' or '.join(_said(group) for group in ranked[1:])}."
    )
    return ranked[0]


def _image_count(group: list[Slice]) -> int:
    return sum(s.frames for s in group)


def _said(group: list[Slice]) -> str:
    count = _image_count(group)
    return f"{group[0].description or group[0].modality or 'unnamed'} ({count} image{'s' * (count != 1)})"


def _from_slices(path: Path, slices: list[Slice], warnings: list[str]) -> Series:
    slices = _same_plane(path, slices, warnings)
    first = slices[0]
    places = [s.place for s in slices if s.place is not None]
    if places:
        row, column = places[0].row, places[0].column
        normal = np.cross(row, column)
        positions = np.array([place.position for place in places])
        order = np.argsort(positions @ normal, kind="stable")
        slices = [slices[n] for n in order]
        position = positions[order[0]]
        step = _step(path, positions[order], normal, first.thickness, warnings)
    else:
        if len(slices) > 1:
            raise VolumeError(f"{path} has {len(slices)} images without positions, so in no known order.")
        warnings.append(f"{path} has no position; it was put at the origin, as an axial slice.")
        position, (row, column, normal) = np.zeros(3), np.eye(3)
        step = normal * (first.thickness or 1.0)
    matrix = np.eye(4)
    matrix[:3, 0] = row * first.spacing[0]
    matrix[:3, 1] = column * first.spacing[1]
    matrix[:3, 2] = step
    matrix[:3, 3] = position
    geometry = VolumeGeometry((len(slices), first.size[1], first.size[0]), ras_from_lps(matrix))
    return Series(
        array=_stacked([_pixels(s.path)[0] for s in slices]),
        geometry=geometry,
        files=tuple(s.path for s in slices),
        modality=first.modality,
        description=first.description,
        warnings=tuple(warnings),
    )


def _same_plane(path: Path, slices: list[Slice], warnings: list[str]) -> list[Slice]:
    """The largest group of slices that are parallel and of one size; localisers beside it are left out."""
    groups: list[list[Slice]] = []
    for s in slices:
        for group in groups:
            if _parallel(group[0], s):
                group.append(s)
                break
        else:
            groups.append([s])
    groups.sort(key=len, reverse=True)
    if len(groups) > 1 and len(groups[1]) >= _RIVAL * len(groups[0]):
        counts = " and ".join(str(len(group)) for group in groups[:2])
        raise VolumeError(f"{path} mixes images of several orientations or sizes ({counts}).")
    left_out = len(slices) - len(groups[0])
    if left_out:
        warnings.append(f"{left_out} of {len(slices)} images, of another orientation or size, were left out.")
    return groups[0]


def _parallel(a: Slice, b: Slice) -> bool:
    if a.size != b.size or not np.allclose(a.spacing, b.spacing, rtol=1e-4):
        return False
    if a.place is None or b.place is None:
        return a.place is b.place
    return bool(
        np.allclose(a.place.row, b.place.row, atol=1e-4)
        and np.allclose(a.place.column, b.place.column, atol=1e-4)
    )


def _step(
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


def _from_frames(s: Slice, warnings: list[str]) -> Series:
    array = _pixels(s.path)
    positions = frame_positions(s.path) if s.place is None and s.enhanced else None
    with_geometry = sitk.ImageFileReader()
    with_geometry.SetImageIO("GDCMImageIO")
    with_geometry.SetFileName(str(s.path))
    with_geometry.ReadImageInformation()
    direction = np.array(with_geometry.GetDirection()).reshape(3, 3)
    if positions is None:
        matrix = affine_from_lps(
            with_geometry.GetOrigin(), with_geometry.GetSpacing(), with_geometry.GetDirection()
        )
        if s.place is None:
            warnings.append(
                f"{s.path} has no positions for its {s.frames} frames (a film, perhaps); "
                f"they were stacked {with_geometry.GetSpacing()[2]:g} mm apart, as 3D Slicer does."
            )
    else:
        if len(positions) != len(array):
            raise VolumeError(f"{s.path} has {len(array)} frames, but {len(positions)} positions.")
        normal = np.cross(direction[:, 0], direction[:, 1])
        order = np.argsort(positions @ normal, kind="stable")
        array, positions = array[order], positions[order]
        lps = np.eye(4)
        lps[:3, :2] = direction[:, :2] * np.array(s.spacing)
        lps[:3, 2] = _step(s.path, positions, normal, s.thickness, warnings)
        lps[:3, 3] = positions[0]
        matrix = ras_from_lps(lps)
    geometry = VolumeGeometry((len(array), s.size[1], s.size[0]), matrix)
    return Series(array, geometry, (s.path,), s.modality, s.description, tuple(warnings))


def _pixels(path: Path) -> npt.NDArray[Any]:
    """(frames, rows, columns) with the rescaling of the file applied; VolumeError naming the file."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise VolumeError(f"{path} is truncated or damaged: its pixels cannot be read.") from error
    return np.asarray(array)


def _stacked(planes: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """(K, J, I) in a type that holds every plane: PET slices may each have a scale of their own."""
    dtype = np.result_type(*(plane.dtype for plane in planes))
    array = np.empty((len(planes), *planes[0].shape), dtype=dtype)
    for index, plane in enumerate(planes):
        array[index] = plane
    return array
