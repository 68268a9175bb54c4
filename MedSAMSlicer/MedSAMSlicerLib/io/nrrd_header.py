"""Reads the header of NRRD files (.nrrd, .nhdr) and finds their voxels.

It is read here, since teem, the reader in SimpleITK, trusts whatever a header says, and takes time that grows with the
square of the number of keys. The place is the one ITK takes. Format: http://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from ..core.errors import VolumeError
from ..core.geometry import FloatArray
from .conventions import ras_from_lps
from .image_file import HEX, RAW, TEXT, ImageFile, damaged_header, voxel_bytes
from .metaimage import data_file
from .voxel_bytes import BZIP2, GZIP, Part, Stored

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": (
        "longlong",
        "long long",
        "long long int",
        "signed long long",
        "signed long long int",
        "int64",
        "int64_t",
    ),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names}
_ENCODINGS = {
    "raw": RAW,
    "gz": GZIP,
    "gzip": GZIP,
    "bz2": BZIP2,
    "bzip2": BZIP2,
    "txt": TEXT,
    "text": TEXT,
    "ascii": TEXT,
    "hex": HEX,
}
# Signs by which the three coordinates of a space become LPS; ITK takes those of any other space as they are.
_SPACES = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
_OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
_DOMAINS = ("domain", "space", "time", "none", "???")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?"
_MAGIC = re.compile(rb"NRRD000\d\r?$")
_MOST_AXES = 16
_LONGEST_HEADER = 1 << 23
_MOST_LINES = 50_000
_MOST_FILES = 100_000


@dataclass(frozen=True)
class _NrrdHeader:
    """The fields of a header by their names in lower case without spaces, the key/value pairs, and its length."""

    path: Path
    fields: Mapping[str, str]
    keys: Mapping[str, str]
    length: int
    names: Sequence[str]

    def refuse(self, reason: str) -> NoReturn:
        raise damaged_header(self.path, reason)

    def words(self, name: str, count: int, pattern: str, default: str | None = None) -> list[str]:
        text = self.fields.get(name, default)
        words = (text or "").split()
        if len(words) != count or not all(re.fullmatch(pattern, word) for word in words):
            self.refuse(f"{name} is {_shown(text)}, not {count} values,")
        return words

    def whole(self, name: str, lowest: int, highest: int, default: str | None = None) -> int:
        text = self.fields.get(name, default)
        if text is None or not re.fullmatch(r"-?\d{1,19}", text) or not lowest <= int(text) <= highest:
            self.refuse(f"{name} is {_shown(text)}")
        return int(text)


def is_nrrd(start: bytes) -> bool:
    """Return whether a file begins as NRRD files do."""
    return start[:4] == b"NRRD"


def open_nrrd(path: Path) -> ImageFile:
    """The header of an NRRD file; VolumeError naming what is wrong with it."""
    header = _read_header(path)
    axes = header.whole("dimension", 1, _MOST_AXES)
    sizes = tuple(int(n) for n in header.words("sizes", axes, r"\d{1,18}"))
    if min(sizes) < 1:
        raise VolumeError(f"{path} is empty: its size is {' x '.join(str(n) for n in sizes)} voxels.")
    dtype, encoding = _dtype(header), _encoding(header)
    spatial, ranges = _axes(header, axes, sizes)
    components = math.prod(sizes[n] for n in ranges)
    size = tuple(sizes[n] for n in spatial)
    while len(size) > 3 and size[-1] == 1:
        size, spatial = size[:-1], spatial[:-1]
    if components > 1 and ranges[0] > spatial[0]:
        header.refuse("the values of a voxel are no neighbors: such an order of axes")
    warnings: tuple[str, ...] = ()
    matrix = None
    if len(size) >= 3:
        matrix, warnings = _matrix(header, axes, spatial[:3])
    return ImageFile(
        path=path,
        size=size,
        components=components,
        dtype=dtype,
        stored=_stored(header, encoding, voxel_bytes(sizes, 1, dtype), sizes),
        ijk_to_ras=matrix,
        keys=header.keys,
        warnings=warnings,
    )


def _read_header(path: Path) -> _NrrdHeader:
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    with path.open("rb") as file:
        if not _MAGIC.match(file.readline(64).rstrip(b"\n")):
            raise VolumeError(f"{path} is not an image, or is of an unknown version of NRRD.")
        for _ in range(_MOST_LINES):
            line = file.readline(_LONGEST_HEADER)
            if file.tell() > _LONGEST_HEADER:
                raise VolumeError(f"{path} is damaged: its header has no end within {_LONGEST_HEADER} bytes.")
            if not line.endswith(b"\n") and "datafile" not in fields:
                raise VolumeError(f"{path} is not an image, or is cut off inside its header.")
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            if not text:
                break
            if not text.startswith("#"):
                _take(path, text, fields, keys)
            if fields.get("datafile", "").startswith("LIST"):
                return _NrrdHeader(path, fields, keys, file.tell(), _listed(file))
        else:
            raise VolumeError(f"{path} is damaged: its header has more than {_MOST_LINES} lines.")
        return _NrrdHeader(path, fields, keys, file.tell(), ())


def _take(path: Path, text: str, fields: dict[str, str], keys: dict[str, str]) -> None:
    """Take one line: `field: value`, or `key:=value`."""
    name, colon, value = text.partition(":")
    if colon and value.startswith("="):
        keys[name] = re.sub(r"\\([\\n])", lambda found: "\n" if found[1] == "n" else "\\", value[1:])
        return
    if not colon or not re.fullmatch(r"[A-Za-z ]{1,40}", name):
        raise VolumeError(f"{path} is damaged: its header has the line {_shown(text)}.")
    name = name.lower().replace(" ", "")
    if name in fields:
        raise VolumeError(f"{path} is damaged: its header has two lines {_shown(text.partition(':')[0])}.")
    fields[name] = value.strip()


def _listed(file: BinaryIO) -> list[str]:
    lines = file.read(_LONGEST_HEADER).decode("utf-8", "surrogateescape").split("\n")
    return [line.strip() for line in lines if line.strip()]


def _dtype(header: _NrrdHeader) -> np.dtype[Any]:
    name = " ".join(header.fields.get("type", "").lower().split())
    if name not in _DTYPES:
        header.refuse(f"type is {_shown(name)}, which is no type of voxels that can be read,")
    dtype: np.dtype[Any] = np.dtype(_DTYPES[name])
    endian = header.fields.get("endian", "").lower()
    if endian not in ("little", "big") and (endian or (dtype.itemsize > 1 and _encoding(header) != TEXT)):
        header.refuse(f"endian is {_shown(endian)}, neither little nor big,")
    order: np.dtype[Any] = dtype.newbyteorder(">" if endian == "big" else "<")
    return order


def _encoding(header: _NrrdHeader) -> str:
    name = header.fields.get("encoding", "").lower()
    if name not in _ENCODINGS:
        raise VolumeError(
            f"{header.path} has the encoding {_shown(name)}, which cannot be read; save it with another, such as gzip."
        )
    return _ENCODINGS[name]


def _axes(header: _NrrdHeader, axes: int, sizes: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """The axes of the voxels' places, and those of the values of a voxel."""
    kinds = ["???"] * axes
    if "kinds" in header.fields:
        kinds = [kind.lower() for kind in header.words("kinds", axes, r"\S{1,40}")]
    spatial = [n for n in range(axes) if kinds[n] in _DOMAINS]
    vectors = _directions(header, axes)
    if vectors is not None:
        # An axis of one voxel without a direction, such as a time, may come first.
        spatial = [n for n in spatial if vectors[n] is not None or sizes[n] > 1]
        placed = [n for n in spatial if vectors[n] is not None]
        if len(spatial) == 3 and placed != spatial:
            header.refuse("space directions are missing for an axis")
    return spatial, [n for n in range(axes) if n not in spatial]


def _directions(header: _NrrdHeader, axes: int) -> list[list[float] | None] | None:
    """The direction of each axis, None for an axis without; None where the header has no such field."""
    text = header.fields.get("spacedirections")
    if text is None:
        return None
    tokens = re.findall(r"none|\([^()]*\)|[^\s()]+", text)
    if len(tokens) != axes:
        header.refuse(f"space directions are {_shown(text)}, not {axes},")
    return [None if token == "none" else _vector(header, token) for token in tokens]


def _vector(header: _NrrdHeader, text: str) -> list[float]:
    """The numbers of `(x,y,z)`, or of as many as the space has."""
    inside = re.fullmatch(r"\(([^()]*)\)", text.strip())
    words = [word.strip() for word in inside[1].split(",")] if inside else []
    values = [float(word) for word in words if re.fullmatch(_NUMBER, word)]
    if not words or len(values) < len(words) or not all(map(math.isfinite, values)):
        header.refuse(f"a place is {_shown(text)}, not numbers,")
    return values


def _matrix(header: _NrrdHeader, axes: int, spatial: Sequence[int]) -> tuple[FloatArray, tuple[str, ...]]:
    """(4, 4) IJK to RAS, as ITK takes it, and what the user should know about it."""
    matrix = np.eye(4)
    space = header.fields.get("space", "").lower()
    warnings: tuple[str, ...] = ()
    if not space and "spacedimension" not in header.fields:
        spacing, origin = _without_space(header, axes)
        matrix[:3, :3] *= [spacing[n] for n in spatial]
        matrix[:3, 3] = [origin[n] for n in spatial] if all(origin[n] is not None for n in spatial) else 0.0
        return ras_from_lps(matrix), ()
    if not space:
        header.whole("spacedimension", 3, _MOST_AXES)
    elif space not in _SPACES and space not in _OTHER_SPACES:
        header.refuse(f"space is {_shown(space)}, which has no three axes of a patient,")
    vectors = _directions(header, axes)
    places = [vectors[n] for n in spatial] if vectors is not None else []
    if "spaceorigin" in header.fields:
        places.append(_vector(header, header.fields["spaceorigin"]))
    for column, place in enumerate(places):
        if place is None or len(place) < 3:
            header.refuse("an axis or the origin has no place in three dimensions")
        matrix[:3, column] = place[:3]
    if len(places) < 3:
        header.refuse("there is a space, but no space directions")
    if space not in _SPACES:
        found = "no axes of a patient" if not space else f"the space {space}"
        warnings = (f"{header.path} has {found}; its axes were taken as left, posterior, superior.",)
    signs = np.diag([*_SPACES.get(space, (1.0, 1.0, 1.0)), 1.0])
    return ras_from_lps(signs @ matrix), warnings


def _without_space(header: _NrrdHeader, axes: int) -> tuple[list[float], list[float | None]]:
    """Spacing and origin of each axis of a header that knows of no patient; an origin is None where there is none."""
    number = rf"{_NUMBER}|[nN][aA][nN]"

    def values(name: str) -> list[float]:
        return [float(word) for word in header.words(name, axes, number, " ".join(["nan"] * axes))]

    steps, lowest, highest = values("spacings"), values("axismins"), values("axismaxs")
    centers = (
        header.fields.get("centers", header.fields.get("centerings", " ".join(["cell"] * axes)))
        .lower()
        .split()
    )
    if len(centers) != axes:
        header.refuse(f"centers are not {axes} words")
    sizes = [int(n) for n in header.fields["sizes"].split()]
    spacing: list[float] = []
    origin: list[float | None] = []
    for n in range(axes):
        step = steps[n]
        if not math.isnan(step) and not step > 0:
            header.refuse(f"a spacing is {step:g}")
        spacing.append(1.0 if math.isnan(step) else step)
        node = centers[n] == "node"
        if math.isnan(step):
            step = (highest[n] - lowest[n]) / max(sizes[n] - node, 1)
        place = lowest[n] + (0.0 if node else step / 2)
        origin.append(place if math.isfinite(place) else None)
    return spacing, origin


def _stored(header: _NrrdHeader, encoding: str, count: int, sizes: tuple[int, ...]) -> Stored:
    """The location of the voxels: after the header, or in the files that it names."""
    lines = header.whole("lineskip", 0, 10_000, "0")
    skip = header.whole("byteskip", -1, 1 << 62, "0")
    if skip == -1 and encoding != RAW:
        header.refuse("byte skip is -1, but its voxels are no raw bytes")
    files = _data_files(header, sizes)
    if files is None:
        begin = _after_lines(header.path, header.length, lines)
        # Bytes are skipped after unpacking, but from the end of the file when there are -1 of them.
        return Stored([Part(header.path, None if skip == -1 else begin)], encoding, count, max(skip, 0))
    if len(files) > 1 and encoding in (TEXT, HEX):
        header.refuse("it has voxels as text in several files")
    parts = [Part(file, None if skip == -1 else _after_lines(file, 0, lines)) for file in files]
    return Stored(parts, encoding, count, max(skip, 0))


def _after_lines(path: Path, begin: int, lines: int) -> int:
    if not lines:
        return begin
    with path.open("rb") as file:
        file.seek(begin)
        for _ in range(lines):
            if not file.readline(_LONGEST_HEADER).endswith(b"\n"):
                raise VolumeError(f"{path} is truncated: it has fewer lines than its header says to skip.")
        return file.tell()


def _data_files(header: _NrrdHeader, sizes: tuple[int, ...]) -> list[Path] | None:
    """The files that hold the voxels; None when the file of the header does."""
    text = header.fields.get("datafile")
    if text is None:
        return None
    pattern = re.fullmatch(
        r"([^%]*)%(0?\d{0,2})[diu]([^%]*?)\s+(\d{1,9})\s+(\d{1,9})\s+(-?\d{1,9})(?:\s+(\d{1,2}))?", text
    )
    if listed := re.fullmatch(r"LIST(?:\s+(\d{1,2}))?", text):
        names, subdimension = list(header.names), listed[1]
    elif pattern:
        before, width, after, first, last, step, subdimension = pattern.groups()
        way = 1 if int(step) > 0 else -1
        numbers = range(int(first), int(last) + way, int(step) or 1)
        if len(numbers) > _MOST_FILES:
            header.refuse(f"data file names {len(numbers)} files")
        names = [f"{before}{number:{width}d}{after}" for number in numbers]
    elif "%" in text:
        header.refuse(f"data file is {_shown(text)}, no pattern of file names,")
    else:
        return [data_file(header.path, text)]
    axes = len(sizes)
    dimension = int(subdimension or axes - 1)
    if (
        dimension == axes
    ):  # files of as many axes as the image hold slabs of it, of fewer axes one slice or image each
        fits = bool(names) and sizes[-1] % len(names) == 0
    else:
        fits = 1 <= dimension < axes and len(names) == math.prod(sizes[dimension:])
    if not fits:
        header.refuse(f"data file names {len(names)} files for sizes {header.fields['sizes']!r},")
    return [data_file(header.path, name) for name in names]


def _shown(text: str | None) -> str:
    return repr(text if text is None or len(text) <= 60 else text[:57] + "...")
