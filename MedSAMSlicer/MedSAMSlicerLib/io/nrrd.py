"""Writes NRRD files: a text header in LPS, then gzip-compressed voxels.

Written here rather than by an image library so that every digit of the geometry, the order of the axes and
the keys that 3D Slicer reads are exactly as meant. Format: http://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.geometry import VolumeGeometry
from .atomic import replacing
from .conventions import lps_from_ras

_TYPES = {"u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32"}
_COMPRESSION = 5  # masks shrink to a few per cent; higher levels cost seconds on large volumes for little


def write_nrrd(
    path: str | Path,
    array: npt.NDArray[Any],
    geometry: VolumeGeometry,
    keys: Mapping[str, str],
) -> None:
    """Writes voxels with their geometry and key/value pairs.

    Args:
        path: the file, replaced atomically.
        array: (K, J, I), or (K, J, I, layers) for a list of values at each voxel.
        geometry: of the first three axes.
        keys: stored as `key:=value`, in this order.

    Raises:
        OutputError: naming `path`.
    """
    data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    header = _header(data, geometry, keys).encode("utf-8")
    with replacing(path) as file:
        file.write(header)
        # No time stamp and no name: the same segmentation gives the same bytes.
        with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as stream:
            stream.write(data.reshape(-1).view(np.uint8).data)


def _header(data: npt.NDArray[Any], geometry: VolumeGeometry, keys: Mapping[str, str]) -> str:
    matrix = lps_from_ras(geometry.ijk_to_ras)
    directions = [_vector(matrix[:3, axis]) for axis in range(3)]
    kinds = ["domain"] * 3
    if data.ndim == 4:  # the axis that varies fastest comes first in the header
        directions.insert(0, "none")
        kinds.insert(0, "list")
    lines = [
        "NRRD0004",
        f"type: {_TYPES[data.dtype.str[1:]]}",
        f"dimension: {data.ndim}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(size) for size in reversed(data.shape)),
        "space directions: " + " ".join(directions),
        "kinds: " + " ".join(kinds),
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(matrix[:3, 3])}",
        *(f"{key}:={_escaped(value)}" for key, value in keys.items()),
    ]
    return "\n".join(lines) + "\n\n"


def _vector(values: npt.NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\r", "").replace("\n", "\\n")
