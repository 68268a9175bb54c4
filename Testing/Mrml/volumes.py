"""Volumes of every kind of geometry, and the transforms they may be under."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from MedSAMSlicerLib.core.geometry import VolumeGeometry

from .conftest import MrmlScene
from .test_segmentations_in_slicer import geometries

__all__ = ["CASES", "case", "geometries", "node_of", "put_under", "transforms"]

_TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])


def _matrix(
    axes: npt.ArrayLike, origin: tuple[float, float, float] = (12.5, -30.25, 700.0)
) -> npt.NDArray[Any]:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, origin
    return matrix


CASES = {
    "as scanned": _matrix(np.diag([-0.7, -0.9, 2.5])),
    "right-handed": _matrix(np.diag([0.7, 0.9, 2.5])),
    "left-handed": _matrix(np.diag([-0.7, 0.9, 2.5])),
    "permuted": _matrix(np.array([[0, 0, 3.0], [-0.8, 0, 0], [0, 1.1, 0]])),
    "permuted left-handed": _matrix(np.array([[0, 0, -3.0], [-0.8, 0, 0], [0, 1.1, 0]])),
    "oblique": _matrix(_TURN * [0.7, 0.9, 2.5]),
    "oblique mirrored": _matrix(-_TURN * [0.7, 0.9, 2.5]),
    "sheared": _matrix(np.array([[0.7, 0, 0], [0, 0.9, 0.8], [0, 0, 2.5]])),
}
_POSES = (None, _matrix(_TURN, (3.0, 4.0, -5.0)), _matrix(-np.eye(3), (0.0, 1.0, 2.0)))


def case(name: str) -> VolumeGeometry:
    """A geometry of CASES, of distinct sides."""
    return VolumeGeometry((6, 7, 9), CASES[name])


def transforms() -> st.SearchStrategy[Any]:
    """No transform, a rotation, or a mirror."""
    return st.sampled_from(_POSES)


def node_of(mrml: MrmlScene, geometry: VolumeGeometry, transform: Any = None, seed: int = 0) -> Any:
    """A volume node whose voxels all differ, under a transform when one is given."""
    array = np.random.default_rng(seed).permutation(int(np.prod(geometry.shape))).astype(np.int32)
    node = mrml.volume_node(array.reshape(geometry.shape), geometry.ijk_to_ras)
    node.SetName("volume")
    if transform is not None:
        put_under(mrml, node, transform)
    return node


def put_under(mrml: MrmlScene, node: Any, matrix: npt.NDArray[Any]) -> Any:
    """Put a node under a new linear transform; returns the transform node."""
    transform = mrml.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    mrml.slicer.util.updateTransformMatrixFromArray(transform, matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform
