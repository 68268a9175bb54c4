"""MetaImage (.mha, .mhd): header and voxels in, labelmaps out.

Both are read here, since MetaIO, the reader in SimpleITK, trusts whatever a header says and goes on after a damaged
stream. The place is the one ITK takes. Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from ..core.errors import VolumeError
from ..core.geometry import FloatArray, VolumeGeometry
from .conventions import lps_from_ras, ras_from_lps
from .image_file import RAW, TEXT, ImageFile, damaged_header, voxel_bytes, without_trailing_ones
from .voxel_bytes import GZIP, Part, Stored

_TYPES = {"u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT", "u4": "MET_UINT"}
_DTYPES = {
    "CHAR": "i1",
    "UCHAR": "u1",
    "SHORT": "i2",
    "USHORT": "u2",
    "INT": "i4",
    "UINT": "u4",
    "LONG": "i4",
    "ULONG": "u4",
    "LONG_LONG": "i8",
    "ULONG_LONG": "u8",
    "FLOAT": "f4",
    "DOUBLE": "f8",
}
_NAMES = {
    "byte order": ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
    "origin": ("Origin", "Position", "Offset"),
    "directions": ("TransformMatrix", "Rotation", "Orientation"),
    "voxel size": ("ElementSpacing",),
    "voxel extent": ("ElementSize",),
}
_KNOWN = {
    *("ObjectType", "NDims", "DimSize", "ElementType", "ElementNumberOfChannels", "HeaderSize", "BinaryData"),
    *("CompressedData", "CompressedDataSize", "ElementDataFile"),
    *(name for names in _NAMES.values() for name in names),
}
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,4})?"
_LONGEST_HEADER = 65536
_LONGEST_LIST = 1 << 24
_MOST_AXES = 10
_MOST_FILES = 100_000


def encode_mha(file: BinaryIO, array: npt.NDArray[Any], geometry: VolumeGeometry) -> None:
    """Writes (K, J, I) voxels, compressed, as a whole .mha file into an open one."""
    matrix = lps_from_ras(geometry.ijk_to_ras)
    spacing = np.array(geometry.spacing)
    data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    voxels = zlib.compress(data.tobytes(), 5)
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(voxels)),
        "TransformMatrix": _text((matrix[:3, :3] / spacing).T.ravel()),  # of i, then j, k
        "Offset": _text(matrix[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _text(spacing),
        "DimSize": " ".join(str(size) for size in reversed(data.shape)),
        "ElementType": _TYPES[data.dtype.str[1:]],
        "ElementDataFile": "LOCAL",
    }
    text = "".join(f"{key} = {value}\n" for key, value in header.items())
    file.write(text.encode("ascii"))
    file.write(voxels)


def is_metaimage(path: Path, start: bytes) -> bool:
    """Return whether a file is called, or begins, as MetaImage files do."""
    return (
        path.suffix.lower() in (".mha", ".mhd") or re.match(rb"\s*(ObjectType|NDims)\s*=", start) is not None
    )


def open_metaimage(path: Path) -> ImageFile:
    """The header of a MetaImage file; VolumeError naming what is wrong with it."""
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    fields, position = _fields(path, start)
    header = _MetaHeader(path, fields)
    if fields.get("ObjectType", "Image") != "Image":
        header.refuse(f"ObjectType is {fields['ObjectType']!r}, not Image")
    axes = header.whole("NDims", 1, _MOST_AXES)
    size = tuple(int(n) for n in header.numbers("DimSize", axes, r"\d{1,18}"))
    if min(size) < 1:
        raise VolumeError(f"{path} is empty: its size is {' x '.join(str(n) for n in size)} voxels.")
    channels = header.whole("ElementNumberOfChannels", 1, 1 << 16, "1")
    dtype = _dtype(header, channels)
    skip = header.whole("HeaderSize", -1, 1 << 62, "0")
    count = voxel_bytes(size, channels, dtype)
    encoding = GZIP if header.flag("CompressedData") else RAW
    if not header.flag("BinaryData", "True"):
        if encoding == GZIP:
            header.refuse("it has voxels that are both text and compressed")
        encoding = TEXT
    files = _data_files(header, position, size)
    local = files is None
    parts = [
        Part(
            source,
            None if skip == -1 else skip or (position if local else 0),
            _compressed_length(header, encoding),
        )
        for source in files or [path]
    ]
    if len(parts) > 1 and encoding != RAW:
        header.refuse("it has voxels in several files that are not raw bytes")
    if skip == -1 and encoding != RAW:
        header.refuse("HeaderSize is -1, but its voxels are no raw bytes")
    return ImageFile(
        path=path,
        size=without_trailing_ones(size),
        components=channels,
        dtype=dtype,
        stored=Stored(parts, encoding, count),
        ijk_to_ras=_matrix(header, axes) if axes >= 3 else None,
        keys=fields,
    )


def _fields(path: Path, start: bytes) -> tuple[dict[str, str], int]:
    """The fields of a header up to ElementDataFile, which comes last, and where the header ends."""
    fields: dict[str, str] = {}
    position = 0
    while "ElementDataFile" not in fields:
        end = start.find(b"\n", position)
        if end < 0:
            raise VolumeError(f"{path} is not an image, or is cut off inside its header.")
        line = start[position:end].decode("utf-8", "surrogateescape").strip()
        position = end + 1
        if not line:
            continue
        key, equals, value = (text.strip() for text in line.partition("="))
        if not equals or not key:
            raise VolumeError(f"{path} is not an image: its header has the line {line[:60]!r}.")
        if key in fields and key in _KNOWN and fields[key] != value:
            raise VolumeError(f"{path} is damaged: its header has two values of {key}.")
        fields[key] = value
    if not {"NDims", "DimSize", "ElementType"} <= fields.keys():
        raise VolumeError(f"{path} is not an image: its header lacks the size or type of the voxels.")
    return fields, position


class _MetaHeader:
    """Checked access to the fields."""

    def __init__(self, path: Path, fields: Mapping[str, str]) -> None:
        self.path, self.fields = path, fields

    def refuse(self, reason: str) -> NoReturn:
        raise damaged_header(self.path, reason)

    def numbers(self, name: str, count: int, pattern: str) -> list[str]:
        words = self.fields[name].split()
        if len(words) != count or not all(re.fullmatch(pattern, word) for word in words):
            self.refuse(f"{name} is {self.fields[name][:60]!r}, not {count} numbers,")
        return words

    def whole(self, name: str, lowest: int, highest: int, default: str | None = None) -> int:
        text = self.fields.get(name, default)
        if text is None or not re.fullmatch(r"-?\d{1,19}", text) or not lowest <= int(text) <= highest:
            self.refuse(f"{name} is {str(text)[:60]!r}")
        return int(text)

    def flag(self, name: str, default: str = "False") -> bool:
        text = self.fields.get(name, default)
        if text.lower() not in ("true", "false", "t", "f", "1", "0"):
            self.refuse(f"{name} is {text[:60]!r}, neither True nor False,")
        return text.lower() in ("true", "t", "1")

    def lengths(self, what: str, count: int) -> npt.NDArray[np.float64] | None:
        """The numbers of a field that has several names; None where none of them is there."""
        given = [name for name in _NAMES[what] if name in self.fields]
        values = [np.array([float(n) for n in self.numbers(name, count, _NUMBER)]) for name in given]
        for name, found in zip(given, values, strict=True):
            if not np.isfinite(found).all():
                self.refuse(f"{name} is {self.fields[name][:60]!r}")
            if not np.array_equal(found, values[0]):
                self.refuse(f"{given[0]} and {name} differ")
        return values[0] if values else None


def _dtype(header: _MetaHeader, channels: int) -> np.dtype[Any]:
    name = header.fields["ElementType"]
    short = name.removeprefix("MET_")
    if channels == 1:
        short = short.removesuffix("_ARRAY")
    if not name.startswith("MET_") or short not in _DTYPES:
        header.refuse(f"ElementType is {name[:60]!r}, which is no type of voxels that can be read,")
    orders = {name: header.flag(name) for name in _NAMES["byte order"] if name in header.fields}
    if len(set(orders.values())) > 1:
        header.refuse("BinaryDataByteOrderMSB and ElementByteOrderMSB differ")
    return np.dtype((">" if any(orders.values()) else "<") + _DTYPES[short])


def _compressed_length(header: _MetaHeader, encoding: str) -> int | None:
    if encoding != GZIP or "CompressedDataSize" not in header.fields:
        return None
    text = header.fields["CompressedDataSize"]
    if not re.fullmatch(r"\d{1,18}(\.0*)?", text):
        header.refuse(f"CompressedDataSize is {text[:60]!r}")
    return int(text.partition(".")[0]) or None


def _matrix(header: _MetaHeader, axes: int) -> FloatArray:
    """(4, 4) IJK to RAS, as ITK takes it; ElementSize stands in for ElementSpacing."""
    spacing = header.lengths("voxel size", axes)
    if spacing is None:
        spacing = header.lengths("voxel extent", axes)
    origin, directions = header.lengths("origin", axes), header.lengths("directions", axes * axes)
    if spacing is not None and not (spacing > 0).all():
        header.refuse(f"the voxel size is {' x '.join(f'{length:g}' for length in spacing)}")
    matrix = np.eye(4)
    if directions is not None:  # of i, then j, k
        matrix[:3, :3] = directions.reshape(axes, axes)[:3, :3].T
    matrix[:3, :3] *= np.ones(3) if spacing is None else spacing[:3]
    if origin is not None:
        matrix[:3, 3] = origin[:3]
    return ras_from_lps(matrix)


def _data_files(header: _MetaHeader, position: int, size: tuple[int, ...]) -> list[Path] | None:
    """The files with the voxels, None when they follow the header."""
    text = header.fields["ElementDataFile"]
    if text.lower() == "local":
        return None
    words = text.split()
    if words and words[0] == "LIST":
        axes = re.fullmatch(r"LIST(\s+(\d)D?)?", text)
        if axes is None:
            header.refuse(f"ElementDataFile is {text[:60]!r}")
        with header.path.open("rb") as file:
            file.seek(position)
            lines = file.read(_LONGEST_LIST).decode("utf-8", "surrogateescape").split("\n")
        names = [line.strip() for line in lines if line.strip()]
        wanted = _file_count(header, size, int(axes[2] or len(size) - 1))
    elif "%" in text:
        pattern = re.fullmatch(
            r"([^%]*)%(0?\d{0,2})[dui]([^%]*?)\s+(\d{1,9})\s+(\d{1,9})(?:\s+(\d{1,9}))?", text
        )
        if pattern is None:
            header.refuse(f"ElementDataFile is {text[:60]!r}, no pattern of file names,")
        before, width, after, first, last, step = pattern.groups()
        numbers = range(int(first), int(last) + 1, int(step or 1) or 1)
        if len(numbers) > _MOST_FILES:
            header.refuse(f"ElementDataFile names {len(numbers)} files")
        names = [f"{before}{number:{width}d}{after}" for number in numbers]
        wanted = _file_count(header, size, len(size) - 1)
    else:
        names, wanted = [text], 1
    if len(names) != wanted:
        header.refuse(f"ElementDataFile names {len(names)} files, but {wanted} are needed,")
    return [data_file(header.path, name) for name in names]


def _file_count(header: _MetaHeader, size: tuple[int, ...], axes: int) -> int:
    if not 1 <= axes <= len(size):
        header.refuse(f"ElementDataFile has {axes}-D files")
    count = 1
    for n in size[axes:]:
        count *= n
    return count


def data_file(header: Path, name: str) -> Path:
    """The file beside a header that is named in it; VolumeError for one elsewhere or one that is not there."""
    bare = name.removeprefix("./")
    if bare in ("", ".", "..") or re.search(r"[/\\\0]|^[A-Za-z]:", bare):
        raise VolumeError(f"{header} keeps its voxels in {name[:200]!r}, which is not in its own folder.")
    source = header.parent / bare
    if not source.is_file():
        raise VolumeError(f"{header} keeps its voxels in {bare[:200]}, which is missing.")
    return source


def _text(values: npt.NDArray[np.float64]) -> str:
    return " ".join(repr(float(value) + 0.0) for value in values)
