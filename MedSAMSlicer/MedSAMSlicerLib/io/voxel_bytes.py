"""The bytes of the voxels, as files hold them: as they are, or compressed by gzip, zlib or bzip2.

What a header promises is compared with the bytes that are there before anything is allocated, and the checksum of a
compressed stream is always verified: the stream is read to its end even when all voxels are there before.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..core.errors import VolumeError

RAW, GZIP, BZIP2 = "raw", "gzip", "bzip2"
_CHUNK = 1 << 18
_HIGHEST_RATIO = {RAW: 1, GZIP: 1032, BZIP2: 1 << 20}  # that the formats can reach
_ANY_HEADER, _GZIP_HEADER = 47, 31  # window bits of zlib: gzip or zlib, gzip only
_SURPLUS = 64 << 20  # bytes that may follow the voxels within a compressed stream
_LARGE, _PLAUSIBLE_RATIO = 1 << 30, 250


@dataclass(frozen=True)
class Part:
    """A file, or a piece of one, that holds voxels.

    Attributes:
        path: the file.
        offset: bytes before the voxels; None when the voxels are the last bytes of the file.
        length: bytes of the compressed stream where the header says it, None for all that follows.
    """

    path: Path
    offset: int | None = 0
    length: int | None = None


@dataclass(frozen=True)
class Stored:
    """The location of the voxels of an image.

    Attributes:
        parts: files, each of which holds an equal share.
        encoding: RAW, GZIP (zlib streams as well) or BZIP2.
        count: bytes of all voxels, uncompressed.
        skip: uncompressed bytes before the voxels of each part.
    """

    parts: Sequence[Part]
    encoding: str
    count: int
    skip: int = 0


def read_stored(stored: Stored, check_ratio: bool = False) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """All bytes of the voxels, in order, and a sentence for each part that holds more than its share.

    Args:
        stored: where they are.
        check_ratio: refuse more than 1 GiB that is compressed more than 250 times, as no scan is.

    Raises:
        VolumeError: naming the file, when bytes lack, a checksum does not fit, or memory does not do.
        OSError: when a file cannot be read.
    """
    share, remainder = divmod(stored.count, len(stored.parts))
    if remainder:
        raise VolumeError(
            f"{stored.parts[0].path}: {stored.count} bytes of voxels cannot be divided equally among "
            f"{len(stored.parts)} files."
        )
    compressed = sum(_check_size(part, stored, share) for part in stored.parts)
    if check_ratio and stored.count > _LARGE and stored.count > _PLAUSIBLE_RATIO * compressed:
        raise VolumeError(
            f"{stored.parts[0].path} is not a plausible image: its {compressed} bytes would become "
            f"{stored.count} bytes of voxels."
        )
    try:
        target = np.empty(stored.count, dtype=np.uint8)
        surplus = [
            _fill(target[number * share : (number + 1) * share], part, stored)
            for number, part in enumerate(stored.parts)
        ]
    except MemoryError as error:
        raise VolumeError(
            f"{stored.parts[0].path} needs {stored.count / 1e9:.1f} GB of memory, which is not free."
        ) from error
    warnings = [
        f"{part.path} holds {extra} bytes more than the voxels of its header; they were left out."
        for part, extra in zip(stored.parts, surplus, strict=True)
        if extra
    ]
    return target, tuple(warnings)


def first_bytes(path: Path, count: int) -> bytes:
    """Up to `count` bytes from the beginning of a file, uncompressed when it is a gzip file.

    Raises VolumeError for a damaged gzip stream, and OSError.
    """
    with path.open("rb") as file:
        start = file.read(max(count, 2))
        if start[:2] != b"\x1f\x8b":
            return start[:count]
        file.seek(0)
        try:
            found = b""
            for piece in _inflated(file, None):
                found += piece[: count - len(found)]
                if len(found) == count:
                    break
        except EOFError:
            return found
        except zlib.error as error:
            raise _damaged(path, error) from error
        return found


def is_gzip(path: Path) -> bool:
    """Return whether a file begins as gzip does, whatever its name; OSError when it cannot be read."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _check_size(part: Part, stored: Stored, share: int) -> int:
    """Bytes of the stream of a part; VolumeError when they cannot hold its share of the voxels."""
    size = part.path.stat().st_size
    present = size - (part.offset or 0)
    if part.length is not None:
        if present < part.length:
            raise VolumeError(
                f"{part.path} is truncated: {max(present, 0)} of {part.length} compressed bytes of voxels are there."
            )
        present = part.length
    if present * _HIGHEST_RATIO[stored.encoding] >= share + stored.skip:
        return present
    if stored.encoding == RAW:
        there = max(present - stored.skip, 0)
        raise VolumeError(f"{part.path} is truncated: {there} of {share} bytes of voxels are there.")
    raise VolumeError(
        f"{part.path} is truncated: {max(present, 0)} compressed bytes cannot hold {share} bytes of voxels."
    )


def _fill(target: npt.NDArray[np.uint8], part: Part, stored: Stored) -> int:
    """Fill `target` from the file; returns how many bytes of voxels there are beyond it (or at least that many)."""
    with part.path.open("rb") as file:
        if stored.encoding == RAW:
            size = part.path.stat().st_size
            begin = size - len(target) if part.offset is None else part.offset + stored.skip
            file.seek(begin)
            _read_into(file, target, part.path)
            return size - begin - len(target)
        file.seek(part.offset or 0)
        pieces = _inflated if stored.encoding == GZIP else _unpacked
        try:
            return _fill_from(target, pieces(file, part.length), part.path, stored.skip)
        except (zlib.error, EOFError) as error:
            raise _damaged(part.path, error) from error


def _read_into(file: BinaryIO, target: npt.NDArray[np.uint8], path: Path) -> None:
    done, view = 0, target.data
    while done < len(view):
        read = file.readinto(view[done : done + (1 << 26)])  # type: ignore[attr-defined]
        if not read:
            raise VolumeError(f"{path} is truncated: {done} of {len(view)} bytes of voxels are there.")
        done += read


def _fill_from(target: npt.NDArray[np.uint8], pieces: Iterator[bytes], path: Path, skip: int) -> int:
    done, surplus = -skip, 0
    for piece in pieces:
        first = max(0, -done)  # of the piece that is no longer skipped
        used = min(len(piece), len(target) - done) if done < len(target) else 0
        if used > first:
            target[done + first : done + used] = np.frombuffer(piece, np.uint8)[first:used]
        done += used
        surplus += len(piece) - used
        if surplus > len(target) + _SURPLUS:
            raise VolumeError(
                f"{path} is damaged: it continues for more than {surplus} bytes after the last voxel."
            )
    if done < len(target):
        raise VolumeError(f"{path} is truncated: {max(done, 0)} of {len(target)} bytes of voxels are there.")
    return surplus


def _inflated(file: BinaryIO, length: int | None) -> Iterator[bytes]:
    """Pieces of a gzip file (of one or more members) or a zlib stream; zlib.error, EOFError when it is damaged."""
    source = _BoundedFile(file, length)
    engine = zlib.decompressobj(_ANY_HEADER)
    data, compressed = source.read(), b""
    gzipped = data[:2] == b"\x1f\x8b"
    while True:
        compressed, data = data, b""
        piece = engine.decompress(compressed, _CHUNK)
        if piece:
            yield piece
        if engine.eof:
            # Zeros may follow, and in gzip another member. Anything else after the end is not part of the stream.
            rest = engine.unused_data.lstrip(b"\0")
            while not rest and (more := source.read()):
                rest = more.lstrip(b"\0")
            if len(rest) < 2:
                rest += source.read()
            if not gzipped or rest[:2] != b"\x1f\x8b":
                return
            engine, data = zlib.decompressobj(_GZIP_HEADER), rest
            continue
        data = engine.unconsumed_tail or source.read()
        if not data and not piece:
            raise EOFError("its compressed stream ends too early")


def _unpacked(file: BinaryIO, length: int | None) -> Iterator[bytes]:
    """Pieces of a bzip2 stream; EOFError when it is damaged."""
    try:
        import bz2
    except ImportError as error:  # Python can be built without it
        raise VolumeError(
            "This Python cannot read bzip2; save the file with another encoding, such as gzip."
        ) from error
    source = _BoundedFile(file, length)
    engine = bz2.BZ2Decompressor()
    while not engine.eof:
        data = source.read() if engine.needs_input else b""
        if engine.needs_input and not data:
            raise EOFError("its compressed stream ends too early")
        try:
            piece = engine.decompress(data, _CHUNK)
        except (
            OSError
        ) as error:  # so says bz2 of bytes that are no bzip2 stream, or do not fit their checksum
            raise EOFError("its bzip2 stream cannot be unpacked") from error
        if piece:
            yield piece


class _BoundedFile:
    """Bytes of a file from where it stands, at most `length` of them."""

    def __init__(self, file: BinaryIO, length: int | None) -> None:
        self._file, self._left = file, length

    def read(self) -> bytes:
        count = _CHUNK if self._left is None else min(_CHUNK, self._left)
        data = self._file.read(count) if count else b""
        if self._left is not None:
            self._left -= len(data)
        return data


def _damaged(path: Path, error: Exception) -> VolumeError:
    if isinstance(error, EOFError):
        return VolumeError(f"{path} is truncated or damaged: {error}.")
    return VolumeError(
        f"{path} is damaged: its compressed voxels cannot be unpacked or do not fit their checksum ({error})."
    )


def as_array(data: npt.NDArray[np.uint8], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Bytes as numbers of `dtype`, in the byte order of this computer."""
    array = data.view(dtype)
    if array.dtype.isnative:
        return np.asarray(array)
    return np.asarray(array.byteswap(inplace=True).view(dtype.newbyteorder("=")))
