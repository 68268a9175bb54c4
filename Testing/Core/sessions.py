"""A small volume and what a user may say about it."""

from __future__ import annotations

import numpy as np

from MedSAMSlicerLib.core.geometry import SliceAxis, VolumeGeometry
from MedSAMSlicerLib.core.plan import Track
from MedSAMSlicerLib.core.prompts import Point, SliceRef, point_from_voxel
from MedSAMSlicerLib.core.session import Session

SLICES, ROWS, COLUMNS = 12, 6, 7
GEOMETRY = VolumeGeometry.from_spacing((SLICES, ROWS, COLUMNS), (0.8, 0.9, 5.0), (-20.0, 10.0, 100.0))
RED = (1.0, 0.0, 0.0)


def point(index: int, x: int = 3, y: int = 2) -> Point:
    return point_from_voxel(GEOMETRY, SliceRef(SliceAxis.K, index), x, y)


def pending_tracks(session: Session, object_id: int) -> tuple[Track, ...]:
    """The tracks that a propagation of the object has to compute now."""
    obj = session.object(object_id)
    return obj.pending_tracks(SLICES) if obj.axis is not None else ()


def pending_key_slices(session: Session, object_id: int) -> tuple[int, ...]:
    """The prompted slices whose own masks a propagation of the object has to compute now."""
    obj = session.object(object_id)
    return obj.pending_key_slices(SLICES) if obj.axis is not None else ()


def filled(value: int) -> np.ndarray:
    """A mask that differs for each value from 0 to 41; 0 is empty."""
    return (np.arange(ROWS * COLUMNS) < value).reshape(ROWS, COLUMNS)
