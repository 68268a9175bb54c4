"""Small image files of every kind, made byte by byte where a library would tidy them up."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from MedSAMSlicerLib.core.geometry import VolumeGeometry
from MedSAMSlicerLib.io.volumes import open_image, place_of

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}
SHEARED = np.array([[1, 0, 0, 10], [0, 1.25, 0.5, -20], [0, 0, 2.5, 30], [0, 0, 0, 1.0]])


def read_image(path: Path) -> tuple[npt.NDArray[Any], VolumeGeometry, tuple[str, ...]]:
    """Voxels (K, J, I), geometry and warnings of an image file that is not DICOM, whatever it holds."""
    image = open_image(path)
    geometry, warnings = place_of(image)
    array, more = image.read()
    return array, geometry, warnings + more


def ramp(shape: tuple[int, ...] = (4, 5, 6), dtype: str = "i2") -> npt.NDArray[Any]:
    """Voxels that are all different."""
    return np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape).astype(dtype)


def write_raw_nifti(
    path: Path,
    array: npt.NDArray[Any],
    sform: npt.NDArray[np.float64] | None = None,
    qform_offset: tuple[float, float, float] | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    scale: tuple[float, float] = (0.0, 0.0),
    order: str = "<",
    units: int = 2,
    compress: bool | None = None,
    dim: tuple[int, ...] | None = None,
) -> None:
    """A NIfTI-1 file with exactly these fields; the qform, when there is one, has no rotation."""
    header = bytearray(352)
    sizes = dim or (array.ndim, *array.shape[::-1])
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, *sizes, *[1] * (8 - len(sizes)))
    struct.pack_into(order + "2h", header, 70, CODES[array.dtype.str[1:]], 8 * array.dtype.itemsize)
    struct.pack_into(order + "4f", header, 76, 1.0, *spacing)
    struct.pack_into(order + "3f", header, 108, 352.0, *scale)
    header[123] = units
    struct.pack_into(order + "2h", header, 252, int(qform_offset is not None), int(sform is not None))
    struct.pack_into(order + "3f", header, 268, *(qform_offset or (0.0, 0.0, 0.0)))
    if sform is not None:
        struct.pack_into(order + "12f", header, 280, *np.asarray(sform)[:3].ravel())
    header[344:348] = b"n+1\0"
    content = bytes(header) + array.astype(array.dtype.newbyteorder(order)).tobytes()
    if compress is None:
        compress = path.name.endswith(".gz")
    path.write_bytes(gzip.compress(content, mtime=0) if compress else content)


def write_nifti_2(path: Path, array: npt.NDArray[Any], sform: npt.NDArray[np.float64]) -> None:
    header = bytearray(544)
    struct.pack_into("<i8s2h", header, 0, 540, b"n+2\0\r\n\032\n", CODES[array.dtype.str[1:]], 16)
    struct.pack_into("<8q", header, 16, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<4d", header, 104, 1.0, *np.linalg.norm(sform[:3, :3], axis=0))
    struct.pack_into("<q", header, 168, 544)
    struct.pack_into("<2i", header, 344, 0, 1)
    struct.pack_into("<12d", header, 400, *sform[:3].ravel())
    struct.pack_into("<i", header, 500, 2)
    path.write_bytes(bytes(header) + array.tobytes())


def write_with_itk(
    path: Path,
    array: npt.NDArray[Any],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
    compress: bool = False,
    vector: bool = False,
) -> None:
    """An image as SimpleITK writes it; origin and direction are LPS."""
    image = sitk.GetImageFromArray(array, isVector=vector)
    if image.GetDimension() == 3:
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path), compress)
