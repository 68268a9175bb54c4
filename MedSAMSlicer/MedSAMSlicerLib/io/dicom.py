"""Reads one DICOM series, of one file a slice or of many frames in one file, compressed or not.

Positions come from ImagePositionPatient of every slice, so that a tilted gantry (sheared volume) keeps its
place and a missing slice is noticed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import SeveralSeriesError, VolumeError
from ..core.geometry import VolumeGeometry
from .conventions import ras_from_lps
from .dicom_frames import known_spacing, read_frames
from .dicom_slices import Series, Slice, read_header, read_pixels, slice_step, warn_of_inversion

_BARE_GROUP = b"\x08\x00"  # files without a preamble begin with a tag of group 0008
_LONGEST_VALUE = 1 << 10  # bytes of such a first value
_SAME_PLACE = (
    0.25  # of a pixel: by so little may the edge of a slice be off that still is parallel to the others
)
_PIXEL_DATA = b"\xe0\x7f\x10\x00"  # the tag of the pixels, little endian
_NOT_IMAGES = ("SEG", "RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "REG")
_NEARLY_AS_LARGE = 0.5  # a second series with this share of the largest makes the choice the user's


def is_dicom(path: Path) -> bool:
    """Return whether the file has the preamble of DICOM, or begins as DICOM without a preamble does."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:132] == b"DICM" or _begins_with_a_tag(start)


def _begins_with_a_tag(start: bytes) -> bool:
    """Return whether bytes begin with a short element of group 0008, with its value representation or without."""
    if len(start) < 12 or start[:2] != _BARE_GROUP:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    length = int.from_bytes(start[6:8] if explicit else start[4:8], "little")
    return length <= _LONGEST_VALUE


def read_series(
    path: Path,
    series_uid: str | None = None,
    spacing: Sequence[float] | None = None,
    check_size: Callable[[tuple[int, ...]], None] | None = None,
) -> Series:
    """The volume of a folder, or of the series that the file `path` belongs to.

    Args:
        path: A file or folder.
        series_uid: Which series, where there are several.
        spacing: Mm between columns, between rows and maybe between slices, where the files do not give it.
        check_size: Called with (columns, rows, images) before any pixel is read; what it raises is handed on.

    Raises:
        SpacingUnknownError: The files do not give the size of their pixels, and neither does `spacing`.
        VolumeError: Naming `path`, for all else.
    """
    warnings: list[str] = []
    slices, unreadable = _scan(path)
    if path.is_file():
        chosen = next((s for s in slices if s.path == path), None)
        if chosen is None:
            raise VolumeError(f"{path} is a DICOM file without an image that can be read.")
        if chosen.multi_frame:
            slices = [chosen]
        else:
            slices = [s for s in slices if s.series_uid == chosen.series_uid and not s.multi_frame]
    slices = _chosen_series(path, slices, series_uid, warnings)
    _check_unreadable(unreadable, slices[0].series_uid, warnings)
    if any(s.components != 1 for s in slices):
        raise VolumeError(f"{path} is a color DICOM series, but one gray value per voxel is needed.")
    if check_size is not None:
        check_size((*slices[0].size, _image_count(slices)))
    many = [s for s in slices if s.multi_frame]
    if many:
        if len(many) > 1:
            raise VolumeError(f"{path} holds {len(many)} multi-frame files of one series; name one of them.")
        return read_frames(many[0], warnings, spacing)
    return _from_slices(path, slices, warnings, spacing)


def _scan(path: Path) -> tuple[list[Slice], list[Path]]:
    """Every DICOM image of the folder (below it where it holds none itself), or beside the file `path`.

    Second come the files that hold no image, or one that cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    files = sorted(file for file in folder.iterdir() if file.is_file() and is_dicom(file))
    if not files and path.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file() and is_dicom(file))
    if not files:
        raise VolumeError(f"{path} is a folder without DICOM files.")
    slices, unreadable = [], []
    for file in files:
        try:
            found = read_header(file)
        except (RuntimeError, ValueError):
            unreadable.append(file)
            continue
        if found.modality not in _NOT_IMAGES:
            slices.append(found)
    if not slices:
        raise VolumeError(f"{path} holds DICOM files, but none with an image that can be read.")
    return slices, unreadable


def _check_unreadable(files: list[Path], series_uid: str, warnings: list[str]) -> None:
    """Raises VolumeError for a damaged slice of the series; says which other files hold no image."""
    others = []
    for file in files:
        content = file.read_bytes()
        if _PIXEL_DATA in content and series_uid.encode("ascii", "replace") in content:
            raise VolumeError(f"{file} is truncated or damaged: its image cannot be read.")
        if file.name.upper() != "DICOMDIR":
            others.append(file.name)
    if others:
        few = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        warnings.append(f"{len(others)} DICOM file{'s' * (len(others) > 1)} without a readable image: {few}.")


def _chosen_series(
    path: Path, slices: list[Slice], series_uid: str | None, warnings: list[str]
) -> list[Slice]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for s in slices:
        groups[s.series_uid].append(s)
    ranked = sorted(groups.values(), key=_image_count, reverse=True)
    listing = [f"{_described(group)}, UID {group[0].series_uid or 'missing'}" for group in ranked]
    if series_uid is not None:
        if series_uid not in groups:
            raise VolumeError(f"{path} holds no series {series_uid}; it holds: {'; '.join(listing)}.")
        return groups[series_uid]
    if len(ranked) == 1:
        return ranked[0]
    if _image_count(ranked[1]) >= _NEARLY_AS_LARGE * _image_count(ranked[0]):
        raise SeveralSeriesError(path, listing, [group[0].series_uid for group in ranked])
    warnings.append(
        f"{path} holds {len(ranked)} series; the largest was taken, {_described(ranked[0])}, "
        f"not {' or '.join(_described(group) for group in ranked[1:])}."
    )
    return ranked[0]


def _image_count(group: list[Slice]) -> int:
    return sum(s.frames for s in group)


def _described(group: list[Slice]) -> str:
    count = _image_count(group)
    return f"{group[0].description or group[0].modality or 'unnamed'} ({count} image{'s' * (count != 1)})"


def _from_slices(
    path: Path, slices: list[Slice], warnings: list[str], given: Sequence[float] | None
) -> Series:
    slices = _same_plane(path, slices, warnings)
    first = slices[0]
    spacing = known_spacing(path, first, warnings, given)
    thickness = first.thickness if first.thickness is not None or given is None else (*given, None)[2]
    places = [s.place for s in slices if s.place is not None]
    if places:
        row, column = places[0].row, places[0].column
        normal = np.cross(row, column)
        positions = np.array([place.position for place in places])
        order = np.argsort(positions @ normal, kind="stable")
        slices = [slices[n] for n in order]
        position = positions[order[0]]
        step = slice_step(path, positions[order], normal, thickness, warnings)
    else:
        if len(slices) > 1:
            raise VolumeError(
                f"{path} has {len(slices)} images without usable positions, so their order is unknown."
            )
        warnings.append(f"{path} has no position; it was placed at the origin as an axial slice.")
        position, (row, column, normal) = np.zeros(3), np.eye(3)
        step = normal * (thickness or 1.0)
    matrix = np.eye(4)
    matrix[:3, 0] = row * spacing[0]
    matrix[:3, 1] = column * spacing[1]
    matrix[:3, 2] = step
    matrix[:3, 3] = position
    geometry = VolumeGeometry((len(slices), first.size[1], first.size[0]), ras_from_lps(matrix))
    if any(s.inverted for s in slices):
        warn_of_inversion(path, warnings)
    return Series(
        array=_stacked([read_pixels(s.path)[0] for s in slices]),
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
    if len(groups) > 1 and len(groups[1]) >= _NEARLY_AS_LARGE * len(groups[0]):
        counts = " and ".join(str(len(group)) for group in groups[:2])
        raise VolumeError(f"{path} mixes images of several orientations or sizes ({counts}).")
    left_out = len(slices) - len(groups[0])
    if left_out:
        warnings.append(
            f"{left_out} of {len(slices)} images were left out, because their orientation or size differs."
        )
    return groups[0]


def _parallel(a: Slice, b: Slice) -> bool:
    if a.size != b.size or (a.spacing is None) != (b.spacing is None):
        return False
    if a.spacing is not None and not np.allclose(a.spacing, b.spacing or (), rtol=1e-4):
        return False
    if a.place is None or b.place is None:
        return a.place is b.place
    # in pixels: how far the last pixels of both slices are apart when their first ones coincide
    apart = a.size[0] * np.abs(a.place.row - b.place.row) + a.size[1] * np.abs(
        a.place.column - b.place.column
    )
    return bool(apart.max() <= _SAME_PLACE)


def _stacked(planes: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """(K, J, I) in a type that holds every plane: PET slices may each have a scale of their own."""
    dtype = np.result_type(*(plane.dtype for plane in planes))
    array = np.empty((len(planes), *planes[0].shape), dtype=dtype)
    for index, plane in enumerate(planes):
        array[index] = plane
    return array
