"""An image file whose header was read and checked, and whose voxels were not touched yet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import GeometryError, VolumeError
from ..core.geometry import FloatArray, VolumeGeometry
from .voxel_bytes import RAW, Stored, as_array, read_stored

TEXT, HEX = "text", "hex"
_LONGEST_NUMBER = 64  # characters of a voxel that is written as text


@dataclass(frozen=True)
class ImageFile:
    """The content of the header of an image.

    Attributes:
        path: the file that was named.
        size: number of voxels along i, j, k and whatever follows, trailing ones beyond k left out.
        components: values of each voxel.
        dtype: of a stored value, with its byte order.
        stored: where the voxels are; its encoding may also be TEXT or HEX.
        ijk_to_ras: (4, 4) in mm; None when there are fewer than three axes.
        scale: (slope, intercept) of the stored values.
        keys: what else the header says, as text.
        warnings: one sentence each, for the user.
        places: (4, 4) IJK to RAS in mm that the header says of one and the same place, of which ITK chooses one; only
            in NIfTI.
    """

    path: Path
    size: tuple[int, ...]
    components: int
    dtype: np.dtype[Any]
    stored: Stored
    ijk_to_ras: FloatArray | None
    scale: tuple[float, float] = (1.0, 0.0)
    keys: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    places: tuple[FloatArray, ...] = ()

    @property
    def geometry(self) -> VolumeGeometry:
        """Of an image of three axes; VolumeError when what the header says of it cannot be used."""
        if self.ijk_to_ras is None or len(self.size) != 3:
            raise VolumeError(f"{self.path} is not a 3-D image.")
        try:
            return VolumeGeometry((self.size[2], self.size[1], self.size[0]), self.ijk_to_ras)
        except GeometryError as error:
            raise VolumeError(f"{self.path} has no usable geometry: {error}") from error

    def read(self, check_ratio: bool = False) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
        """Voxels in the order (..., K, J, I), or (..., J, I, components), and warnings.

        They have the stored type in the byte order of this computer, or a floating one where the header scales them.

        Raises:
            VolumeError: naming the file, when it is truncated or damaged.
            OSError: when it cannot be read.
        """
        data, warnings = (
            (self._from_text(), ()) if self.stored.encoding in (TEXT, HEX) else self._from_bytes(check_ratio)
        )
        shape = tuple(reversed(self.size))
        array = data.reshape(shape if self.components == 1 else (*shape, self.components))
        if self.scale != (1.0, 0.0):
            wide = np.float64 if array.dtype.itemsize > 4 else np.float32
            with np.errstate(over="ignore", invalid="ignore"):  # what is beyond the type becomes infinite
                slope, intercept = self.scale
                array = np.asarray(array.astype(np.float64) * slope + intercept, dtype=wide)
        return array, (*self.warnings, *warnings)

    def _from_bytes(self, check_ratio: bool) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
        data, warnings = read_stored(self.stored, check_ratio)
        return as_array(data, self.dtype), warnings

    def _from_text(self) -> npt.NDArray[Any]:
        part = self.stored.parts[0]
        count = self.stored.count // self.dtype.itemsize
        offset = part.offset or 0
        present = part.path.stat().st_size - offset
        truncated = VolumeError(f"{part.path} is truncated: it holds fewer than {count} voxels.")
        if present < count:  # one digit each is the least
            raise truncated
        with part.path.open("rb") as file:
            file.seek(offset)
            text = file.read(count * _LONGEST_NUMBER + 1)
        try:
            if self.stored.encoding == HEX:
                data = bytes.fromhex(b"".join(text.split())[: 2 * self.stored.count].decode("ascii"))
                if len(data) < self.stored.count:
                    raise truncated
                return as_array(np.frombuffer(bytearray(data), np.uint8), self.dtype)
            numbers = np.array(text.replace(b",", b" ").split()[:count]).astype(np.float64)
        except ValueError as error:
            raise VolumeError(f"{part.path} is damaged: its voxels are not numbers.") from error
        if len(numbers) < count:
            raise truncated
        dtype = self.dtype.newbyteorder("=")
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            if not ((numbers >= limits.min) & (numbers <= limits.max)).all():
                raise VolumeError(f"{part.path} is damaged: it has voxels beyond the range of {dtype}.")
        return numbers.astype(dtype)


def damaged_header(path: Path, reason: str) -> VolumeError:
    """The error of a header that contradicts itself; `reason` is a clause such as "its sizes differ"."""
    return VolumeError(f"{path} is damaged: {reason} in its header.")


def voxel_bytes(size: tuple[int, ...], components: int, dtype: np.dtype[Any]) -> int:
    """Bytes of all voxels, as a whole number of any length."""
    return math.prod(size) * components * dtype.itemsize


def without_trailing_ones(size: tuple[int, ...]) -> tuple[int, ...]:
    """The size without axes of one voxel beyond the third."""
    while len(size) > 3 and size[-1] == 1:
        size = size[:-1]
    return size


__all__ = ["HEX", "RAW", "TEXT", "ImageFile", "voxel_bytes", "without_trailing_ones"]
