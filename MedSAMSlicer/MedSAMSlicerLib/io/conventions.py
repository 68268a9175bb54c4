"""The conventions of ITK and medical files: RAS or LPS as directions of the patient's axes, file names in UTF-8."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..core.errors import VolumeError
from ..core.geometry import FloatArray

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_from_lps(matrix: FloatArray) -> FloatArray:
    """A (4, 4) index-to-world matrix whose world was LPS (ITK, DICOM, NRRD, MHA), with RAS as its world."""
    return np.asarray(_FLIP @ matrix + 0.0)  # + 0.0 turns -0.0 into 0.0


def lps_from_ras(matrix: FloatArray) -> FloatArray:
    """A (4, 4) index-to-world matrix whose world was RAS, with LPS as its world."""
    return ras_from_lps(matrix)


def affine_from_lps(
    origin: tuple[float, ...], spacing: tuple[float, ...], direction: tuple[float, ...]
) -> FloatArray:
    """(4, 4) IJK-to-RAS matrix from what ITK says of an image of three or more axes.

    Args:
        origin: LPS of voxel 0, in mm; only the first three count.
        spacing: mm along each axis.
        direction: row by row, a square matrix of as many rows as there are axes.
    """
    axes = len(origin)
    matrix = np.eye(4)
    cosines = np.asarray(direction, dtype=np.float64).reshape(axes, axes)[:3, :3]
    matrix[:3, :3] = cosines * np.asarray(spacing[:3], dtype=np.float64)
    matrix[:3, 3] = origin[:3]
    return ras_from_lps(matrix)


def itk_name(path: Path) -> str:
    """The file's name as SimpleITK takes it: one that is not UTF-8 would end the whole process.

    Raises VolumeError naming the file.
    """
    name = str(path)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise VolumeError(f"{path} has a name that is not valid UTF-8; rename it.") from error
    return name
