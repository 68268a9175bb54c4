"""PNG files written with the standard library: 8-bit gray values or colors, without losses."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

_GRAY, _RGB = 0, 2


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file.

    Args:
        pixels: (rows, columns) gray values, or (rows, columns, 3) red, green and blue; uint8.
    """
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + pixels[0].size), np.uint8)  # each row begins with its filter, 0
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _GRAY if pixels.ndim == 2 else _RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
