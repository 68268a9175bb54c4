"""RAS and LPS: the two directions of the patient's axes that medical files use."""

from __future__ import annotations

import numpy as np

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
