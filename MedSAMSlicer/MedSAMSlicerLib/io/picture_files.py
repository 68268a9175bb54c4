"""Pictures of one slice or frame (PNG, JPEG, BMP, TIFF): checked before a native library reads them."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..core.errors import GeometryError, VolumeError
from .conventions import itk_name
from .native_output import quiet_itk

_PNG = b"\x89PNG\r\n\x1a\n"
_KINDS = {
    _PNG: "PNGImageIO",
    b"\xff\xd8\xff": "JPEGImageIO",
    b"BM": "BMPImageIO",
    b"II*\0": "TIFFImageIO",
    b"MM\0*": "TIFFImageIO",
}
_JPEG_END = b"\xff\xd9"
_CHUNK = 1 << 20
_TAIL = 1 << 16
_BMP_HEADER = 38


def is_picture(start: bytes) -> bool:
    """Return whether a file begins as one of these pictures does."""
    return _kind(start) is not None


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key of the names of frames: 2 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


def picture_size(path: Path) -> tuple[int, ...]:
    """Columns, rows, and pages where there are several; VolumeError naming a file that cannot be read."""
    with quiet_itk():
        return tuple(_reader(path).GetSize())


def read_picture(path: Path, shape: tuple[int, int], what: str) -> npt.NDArray[Any]:
    """Gray values, (rows, columns), of a picture that must have the shape of `what`; of colors the brightest channel.

    Raises:
        GeometryError: when it has another shape, before anything of its size is allocated.
        VolumeError: when it is damaged.
    """
    array = _pixels(path, shape, what)
    return np.asarray(array if array.ndim == 2 else array[..., :3].max(axis=-1))


def read_color_picture(path: Path, shape: tuple[int, int], what: str) -> npt.NDArray[np.uint8]:
    """Red, green and blue, (rows, columns, 3) uint8, of a picture that must have the shape of `what`.

    Gray is shown as a color, 16 bits become 8, and transparency does not count.

    Raises:
        GeometryError, VolumeError: as :func:`read_picture`, and of pixels that are neither 8 nor 16 bits.
    """
    array = _pixels(path, shape, what)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise VolumeError(f"{path} has pixels of type {array.dtype}, but 8 or 16 bits a color are needed.")
    if array.ndim == 2 or array.shape[-1] < 3:  # gray, or gray with transparency
        gray = array if array.ndim == 2 else array[..., 0]
        return np.repeat(gray[..., np.newaxis], 3, axis=-1)
    return np.ascontiguousarray(array[..., :3])


def _pixels(path: Path, shape: tuple[int, int], what: str) -> npt.NDArray[Any]:
    """(rows, columns) or (rows, columns, channels) as they are stored."""
    _check_whole(path)
    with quiet_itk():
        reader = _reader(path)
        size = tuple(reader.GetSize())
        if len(size) != 2 or (size[1], size[0]) != shape:
            found = " x ".join(str(n) for n in reversed(size))
            raise GeometryError(f"{path} has {found} pixels, but {what} has {shape[0]} x {shape[1]}.")
        try:
            return np.asarray(sitk.GetArrayFromImage(reader.Execute()))
        except RuntimeError as error:
            raise VolumeError(f"{path} is truncated or damaged: its pixels cannot be read.") from error


def _kind(start: bytes) -> str | None:
    return next((kind for magic, kind in _KINDS.items() if start.startswith(magic)), None)


def _reader(path: Path) -> sitk.ImageFileReader:
    with path.open("rb") as file:
        kind = _kind(file.read(16))
    if kind is None:
        raise VolumeError(f"{path} is not a picture that can be read (PNG, JPEG, BMP or TIFF).")
    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind)
    reader.SetFileName(itk_name(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise VolumeError(f"{path} is damaged: it begins like a picture, but cannot be read.") from error
    return reader


def _check_whole(path: Path) -> None:
    """Verify what the format offers: checksums of a PNG, end of a JPEG, size of a BMP; else VolumeError."""
    with path.open("rb") as file:
        start = file.read(len(_PNG))
        if start == _PNG:
            _check_chunks(path, file)
        elif start.startswith(b"\xff\xd8\xff"):
            file.seek(max(0, path.stat().st_size - _TAIL))
            if _JPEG_END not in file.read():
                raise VolumeError(f"{path} is truncated: it has no end mark.")
        elif start.startswith(b"BM"):
            head = start + file.read(_BMP_HEADER - len(start))
            if len(head) < _BMP_HEADER or path.stat().st_size < _bmp_size(head):
                raise VolumeError(f"{path} is truncated: it holds fewer pixels than its header says.")


def _bmp_size(head: bytes) -> int:
    """Bytes that a BMP file must have, by its first bytes."""
    offset, _, width, height, _, bits, compression, size = struct.unpack("<IIiiHHII", head[10:38])
    if compression:  # the header says how long its compressed pixels are
        return int(offset + size)
    return int(offset + (width * bits + 31) // 32 * 4 * abs(height))


def _check_chunks(path: Path, file: BinaryIO) -> None:
    kind = b""
    while kind != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            raise VolumeError(f"{path} is truncated: it has no end mark.")
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        found = _checksum(file, length, zlib.crc32(kind))
        if found is None:
            raise VolumeError(f"{path} is truncated: a part of it is missing.")
        if found != int.from_bytes(file.read(4), "big"):
            raise VolumeError(f"{path} is damaged: a checksum in it does not fit.")


def _checksum(file: BinaryIO, length: int, checksum: int) -> int | None:
    """The CRC of `length` bytes on top of another; None when they are not there."""
    while length:
        data = file.read(min(length, _CHUNK))
        if not data:
            return None
        checksum = zlib.crc32(data, checksum)
        length -= len(data)
    return checksum
