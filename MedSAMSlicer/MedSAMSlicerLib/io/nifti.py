"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz, and pairs of .hdr and .img): header, voxels, and writing of labelmaps.

The voxels are decoded here because SimpleITK fills a truncated file with zeros without a word, verifies no checksum,
and refuses a sheared sform altogether. Format: https://nifti.nimh.nih.gov/nifti-1 and nifti-2.
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..core.errors import GeometryError, VolumeError
from ..core.geometry import FloatArray, VolumeGeometry
from .atomic import replacing
from .conventions import ras_from_lps
from .image_file import ImageFile, voxel_bytes, without_trailing_ones
from .voxel_bytes import GZIP, RAW, Part, Stored, first_bytes, is_gzip

_VERSION_1 = "i35xb8h3f4h8f3fh2B2f16x80x24x2h6f12f16x4s"  # fields from sizeof_hdr to magic
_VERSION_2 = "i8s2h8q3d8dq2d4d2q80x24x2i6d12d3i32x"
_SIZES = {348: 1, 540: 2}
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
_DTYPES |= {1024: "i8", 1280: "u8"}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_COLOR = {128: "RGB", 2304: "RGBA", 32: "complex", 1792: "complex", 2048: "complex", 1: "1-bit"}
_MILLIMETERS = {1: 1000.0, 3: 0.001}
_NO_EXTENSIONS = b"\0\0\0\0"
_MAGIC_1, _MAGIC_2 = b"n+1\0", b"n+2\0\r\n\032\n"
_MAGIC_PAIR_1, _MAGIC_PAIR_2 = b"ni1\0", b"ni2\0\r\n\032\n"
_HEADER_BYTES = 540


@dataclass(frozen=True)
class NiftiHeader:
    """The content of the header of a NIfTI file.

    Attributes:
        shape: number of voxels along i, j, k and whatever follows, trailing ones beyond k left out.
        dtype: of the stored voxels, with their byte order.
        offset: bytes before the first voxel.
        slope, intercept: of the stored values; (1, 0) when they are to be taken as they are.
        spacing: mm along i, j, k.
        sform, qform: (4, 4) IJK to RAS in mm, None where the header has no such form.
        pair: whether the voxels are in a file of their own.
        same_space: whether sform and qform lead to the same space by their codes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    spacing: tuple[float, float, float]
    sform: FloatArray | None
    qform: FloatArray | None
    pair: bool
    same_space: bool

    @property
    def places(self) -> tuple[FloatArray, ...]:
        """Return what the header says of the one place that :attr:`affine` is, in all its ways."""
        if self.qform is None or not self.same_space or not _is_usable(self.qform):
            return (self.affine,)
        return self.affine, self.qform

    @property
    def affine(self) -> FloatArray:
        """IJK to RAS by the sform, else the qform, else as ITK takes a file without: axes along LPS.

        A sform that cannot be inverted, such as one of zeros, gives way to a qform.
        """
        if self.sform is not None and (self.qform is None or _is_usable(self.sform)):
            return self.sform
        if self.qform is not None:
            return self.qform
        return ras_from_lps(np.diag([*self.spacing, 1.0]))


def is_nifti(path: Path, start: bytes) -> bool:
    """Return whether a file is NIfTI, or the .img beside its header.

    Args:
        path: of the file.
        start: its first 348 bytes or more, uncompressed.
    """
    version, _ = _version(start)
    if version == 2 and start[4:12] in (_MAGIC_2, _MAGIC_PAIR_2):
        return True
    if version == 1 and start[344:348] in (_MAGIC_1, _MAGIC_PAIR_1):
        return True
    return _ending(path) in (".img", ".img.gz") and header_of_pair(path) is not None


def header_of_pair(path: Path) -> Path | None:
    """The header (.hdr, .hdr.gz) beside the voxels (.img, .img.gz) of a NIfTI pair; None when there is none."""
    for ending in (".hdr", ".hdr.gz"):
        header = _beside(path, ending)
        if header.is_file():
            start = first_bytes(header, 348)
            if start[344:348] == _MAGIC_PAIR_1 or start[4:12] == _MAGIC_PAIR_2:
                return header
    return None


def open_nifti(path: Path) -> ImageFile:
    """The header of a NIfTI file; VolumeError naming what is wrong with it."""
    source = path
    if _ending(path) in (".img", ".img.gz"):
        source = header_of_pair(path) or path
    start = first_bytes(source, _HEADER_BYTES)
    header = read_header(source, start)
    data, offset = source, header.offset
    if header.pair:
        names = [_beside(source, ending) for ending in (".img", ".img.gz")]
        data = next((name for name in names if name.is_file()), names[0])
        if not data.is_file():
            raise VolumeError(f"{source} keeps its voxels in {data.name}, which is missing.")
    count = voxel_bytes(header.shape, 1, header.dtype)
    compressed = is_gzip(data)
    stored = Stored(
        [Part(data, 0 if compressed else offset)],
        GZIP if compressed else RAW,
        count,
        offset if compressed else 0,
    )
    return ImageFile(
        path=path,
        size=header.shape,
        components=1,
        dtype=header.dtype,
        stored=stored,
        ijk_to_ras=header.affine if len(header.shape) >= 3 else None,
        scale=(header.slope, header.intercept),
        places=header.places,
    )


def read_header(path: Path, start: bytes) -> NiftiHeader:
    """The header in the first bytes of a NIfTI file; VolumeError naming the file when it cannot be used."""
    version, order = _version(start)
    if version is None or len(start) < (348 if version == 1 else _HEADER_BYTES):
        raise VolumeError(f"{path} is not a NIfTI file, or is cut off inside its header.")
    return _parsed_1(path, start, order) if version == 1 else _parsed_2(path, start, order)


def write_nifti(path: str | Path, array: npt.NDArray[Any], geometry: VolumeGeometry) -> None:
    """Writes (K, J, I) voxels as NIfTI-1, compressed when the name ends in .gz, atomically.

    Raises OutputError naming `path`.
    """
    with replacing(path) as file:
        encode_nifti(file, array, geometry, compress=str(path).lower().endswith(".gz"))


def is_readable_by_slicer(geometry: VolumeGeometry) -> bool:
    """Return whether 3D Slicer, through ITK, opens a NIfTI file of this geometry: it refuses one with a shear."""
    return _quaternion(geometry.ijk_to_ras[:3, :3])[2]


def rounding_mm(geometry: VolumeGeometry) -> float:
    """The distance in mm by which the 32-bit numbers of a NIfTI-1 file put a voxel from its place."""
    rounded = geometry.ijk_to_ras.astype(np.float32).astype(np.float64)
    return VolumeGeometry(geometry.shape, rounded).distance_to(geometry)


def encode_nifti(
    file: BinaryIO, array: npt.NDArray[Any], geometry: VolumeGeometry, compress: bool = False
) -> None:
    """Writes (K, J, I) voxels as NIfTI-1 into an open file.

    The sform holds the matrix as it is, shear and all, in the 32-bit numbers of the format. The qform, which
    cannot hold a shear, is marked as present only when it says the same.
    """
    dtype = array.dtype.newbyteorder("<")
    data = np.ascontiguousarray(array, dtype=dtype)
    matrix = geometry.ijk_to_ras
    quaternion, qfac, orthonormal = _quaternion(matrix[:3, :3])
    header = struct.pack(
        "<" + _VERSION_1,
        *(348, 0, 3, *reversed(data.shape), 1, 1, 1, 1, 0.0, 0.0, 0.0, 0),
        *(_CODES[data.dtype.str[1:]], 8 * dtype.itemsize, 0, qfac, *geometry.spacing, 0.0, 0.0, 0.0, 0.0),
        *(352.0, 1.0, 0.0, 0, 0, 2, 0.0, 0.0, 1 if orthonormal else 0, 1),
        *(*quaternion, *matrix[:3, 3], *matrix[:3].ravel(), _MAGIC_1),
    )
    voxels = data.reshape(-1).view(np.uint8).data
    if not compress:
        file.write(header + _NO_EXTENSIONS)
        file.write(voxels)
        return
    with gzip.GzipFile("", "wb", 5, file, mtime=0) as stream:
        stream.write(header + _NO_EXTENSIONS)
        stream.write(voxels)


def _ending(path: Path) -> str:
    name = path.name.lower()
    return name[name.rfind(".", 0, -3) :] if name.endswith(".gz") else path.suffix.lower()


def _beside(path: Path, ending: str) -> Path:
    """The file of a pair with another ending, in upper case where the given one is."""
    name = path.name[: -len(_ending(path))]
    return path.with_name(name + (ending.upper() if path.suffix.isupper() else ending))


def _version(start: bytes) -> tuple[int | None, str]:
    for order in "<>":
        if len(start) >= 4:
            version = _SIZES.get(struct.unpack(order + "i", start[:4])[0])
            if version:
                return version, order
    return None, "<"


def _parsed_1(path: Path, start: bytes, order: str) -> NiftiHeader:
    values = struct.unpack(order + _VERSION_1, start[:348])
    dim, dtype, pixdim = values[2:10], values[14], values[17:25]
    offset, slope, intercept, units = values[25], values[26], values[27], values[30]
    forms, pair = values[33:35], values[53] == _MAGIC_PAIR_1
    return _header(
        path, order, dim, dtype, pixdim, offset, slope, intercept, units, forms, values[35:53], pair
    )


def _parsed_2(path: Path, start: bytes, order: str) -> NiftiHeader:
    values = struct.unpack(order + _VERSION_2, start[:540])
    dtype, dim, pixdim = values[2], values[4:12], values[15:23]
    offset, slope, intercept = values[23:26]
    forms, numbers, units, pair = values[32:34], values[34:52], values[53], values[1] == _MAGIC_PAIR_2
    return _header(path, order, dim, dtype, pixdim, offset, slope, intercept, units, forms, numbers, pair)


def _header(
    path: Path,
    order: str,
    dim: tuple[int, ...],
    code: int,
    pixdim: tuple[float, ...],
    offset: float,
    slope: float,
    intercept: float,
    units: int,
    forms: tuple[int, ...],
    numbers: tuple[float, ...],
    pair: bool,
) -> NiftiHeader:
    """Gathers what both versions have; `numbers` are the quaternion, the offset and the sform's rows."""
    if not 1 <= dim[0] <= 7:
        raise VolumeError(f"{path} is not an image: its header gives {dim[0]} dimensions.")
    # A fourth or later axis of 0 voxels is taken as one of 1, as niftilib (and so 3D Slicer) and FSL do.
    shape = without_trailing_ones(
        (*dim[1 : min(dim[0], 3) + 1], *(size or 1 for size in dim[4 : dim[0] + 1]))
    )
    if min(shape) < 1:
        raise VolumeError(f"{path} is empty: its size is {' x '.join(str(size) for size in shape)} voxels.")
    if code not in _DTYPES:
        kind = _COLOR.get(code, f"unknown (type {code})")
        raise VolumeError(f"{path} holds {kind} voxels, but one gray value per voxel is needed.")
    if not abs(offset) < 2**63:  # also when it is NaN
        raise VolumeError(f"{path} is damaged: its header puts the voxels at byte {offset:g}.")
    scale = _MILLIMETERS.get(units & 7, 1.0)
    spacing = tuple(abs(float(size)) * scale or 1.0 for size in pixdim[1:4])
    raw = slope == 0.0 or not np.isfinite([slope, intercept]).all()
    return NiftiHeader(
        shape=shape,
        dtype=np.dtype(order + _DTYPES[code]),
        offset=max(int(offset), 0 if pair else 348),
        slope=1.0 if raw else float(slope),
        intercept=0.0 if raw else float(intercept),
        spacing=(spacing[0], spacing[1], spacing[2]),
        sform=_sform(numbers[6:18], scale) if forms[1] > 0 else None,
        qform=_qform(numbers[:6], -1.0 if pixdim[0] < 0 else 1.0, spacing, scale) if forms[0] > 0 else None,
        pair=pair,
        same_space=forms[0] == forms[1],
    )


def _is_usable(matrix: FloatArray) -> bool:
    try:
        VolumeGeometry((1, 1, 1), matrix)
    except GeometryError:
        return False
    return True


@np.errstate(over="ignore", invalid="ignore")
def _sform(rows: tuple[float, ...], scale: float) -> FloatArray:
    matrix = np.eye(4)
    matrix[:3] = np.asarray(rows, dtype=np.float64).reshape(3, 4) * scale
    return matrix


@np.errstate(over="ignore", invalid="ignore")  # what is no number afterwards cannot be used, and is refused
def _qform(numbers: tuple[float, ...], qfac: float, spacing: tuple[float, ...], scale: float) -> FloatArray:
    """(4, 4) IJK to RAS from the quaternion (b, c, d) and offset of the header."""
    vector = np.asarray(numbers[:3], dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if length > 1.0:  # by rounding
        vector = vector / length
    b, c, d = vector
    a = np.sqrt(max(0.0, 1.0 - min(length, 1.0) ** 2))
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    matrix[:3, :3] *= np.array([spacing[0], spacing[1], spacing[2] * qfac])
    matrix[:3, 3] = np.asarray(numbers[3:6]) * scale
    return matrix


def _quaternion(axes: FloatArray) -> tuple[tuple[float, float, float], float, bool]:
    """The header's (b, c, d), qfac, and whether they hold the directions of `axes` (3, 3) exactly enough."""
    cosines = axes / np.linalg.norm(axes, axis=0)
    qfac = -1.0 if np.linalg.det(cosines) < 0 else 1.0
    rotation = cosines * np.array([1.0, 1.0, qfac])
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-5:
        return (0.0, 0.0, 0.0), qfac, False
    # The eigenvector of the largest eigenvalue is the quaternion (Bar-Itzhack 2000), stable at half turns.
    r = rotation
    symmetric = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [0.0, r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2]],
            [0.0, 0.0, r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2]],
            [0.0, 0.0, 0.0, r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    a, b, c, d = np.linalg.eigh(symmetric, UPLO="U")[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return (float(sign * b), float(sign * c), float(sign * d)), qfac, True
