"""MetaImage (.mha): writes labelmaps, and finds a truncated file from its header."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..core.errors import VolumeError
from ..core.geometry import VolumeGeometry
from .conventions import lps_from_ras

_TYPES = {"u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT", "u4": "MET_UINT"}
_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_LONGEST_HEADER = 65536


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
        "TransformMatrix": _numbers((matrix[:3, :3] / spacing).T.ravel()),  # of i, then j, k
        "Offset": _numbers(matrix[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _numbers(spacing),
        "DimSize": " ".join(str(size) for size in reversed(data.shape)),
        "ElementType": _TYPES[data.dtype.str[1:]],
        "ElementDataFile": "LOCAL",
    }
    text = "".join(f"{key} = {value}\n" for key, value in header.items())
    file.write(text.encode("ascii"))
    file.write(voxels)


def check_complete(path: Path) -> None:
    """Raises VolumeError when a MetaImage file, or the raw file it names, is shorter than its header says.

    The reader of SimpleITK notices too, but only after it has written to the terminal.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    position = 0
    while "ElementDataFile" not in fields:
        end = start.find(b"\n", position)
        if end < 0:
            raise VolumeError(f"{path} is not an image, or is cut off inside its header.")
        key, _, value = start[position:end].decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        position = end + 1
    if not {"NDims", "DimSize", "ElementType"} <= fields.keys():
        raise VolumeError(f"{path} is not an image: its header lacks the size or type of the voxels.")
    expected = _voxel_bytes(fields)
    data_file = fields["ElementDataFile"]
    if expected is None or data_file.startswith("LIST") or "%" in data_file:
        return  # several files, or a header that only the reader itself can judge
    local = data_file in ("LOCAL", "Local", "local")
    source = path if local else path.parent / data_file
    if not source.is_file():
        raise VolumeError(f"{path} keeps its voxels in {data_file}, which is not there.")
    present = source.stat().st_size - (position if local else 0)
    if present < expected:
        raise VolumeError(f"{source} is truncated: {present} of {expected} bytes of voxels are there.")


def _voxel_bytes(fields: dict[str, str]) -> int | None:
    """Bytes of voxels that the header promises; None when it does not say."""
    try:
        if fields.get("CompressedData", "False").lower() == "true":
            return int(fields["CompressedDataSize"]) if "CompressedDataSize" in fields else None
        width = _BYTES[fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY").removeprefix("U")]
        count = int(np.prod([int(size) for size in fields["DimSize"].split()], dtype=np.int64))
        return width * count * int(fields.get("ElementNumberOfChannels", "1"))
    except (KeyError, ValueError):
        return None


def _numbers(values: npt.NDArray[np.float64]) -> str:
    return " ".join(repr(float(value) + 0.0) for value in values)
