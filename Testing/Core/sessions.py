"""A small volume and what a user may say about it."""

from __future__ import annotations

import numpy as np

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.prompts import Point, SliceRef, point_from_voxel

SLICES, ROWS, COLUMNS = 12, 6, 7
GEOMETRY = VolumeGeometry.from_spacing((SLICES, ROWS, COLUMNS), (0.8, 0.9, 5.0), (-20.0, 10.0, 100.0))
RED = (1.0, 0.0, 0.0)


def point(index: int, x: int = 3, y: int = 2) -> Point:
    return point_from_voxel(GEOMETRY, SliceRef(SliceAxis.K, index), x, y)


def filled(value: int) -> np.ndarray:
    """A mask that differs for each value from 0 to 41; 0 is empty."""
    return (np.arange(ROWS * COLUMNS) < value).reshape(ROWS, COLUMNS)
