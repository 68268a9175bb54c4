"""The places of the volumes beside the first one in its space, and their voxels for the worker."""

from __future__ import annotations

import numpy as np

from ..core.geometry import VolumeGeometry
from ..core.intensity import Window
from .engine_state import ChannelVoxels
from .ports import Handle
from .workspace import Workspace


def channel_voxels(work: Workspace) -> tuple[ChannelVoxels, ...]:
    """The voxels and grid of each volume beside the first one, for the worker.

    Raises:
        MedSAMError: one of them cannot be used any more.
    """
    volumes, found = work.scene.volumes, []
    for each in work.channels:
        wanted: Window | str = each.window or each.spec
        if wanted == "display":
            wanted = volumes.display_window(each.node) or "auto"
        place, name = geometry_beside(work, each.node), volumes.name(each.node)
        modality = volumes.modality(each.node)
        found.append(ChannelVoxels(volumes.array(each.node), place, name, wanted, modality))
    return tuple(found)


def geometry_beside(work: Workspace, node: Handle) -> VolumeGeometry:
    """The grid of a volume in the RAS of the first one, through the linear transforms of both."""
    volumes = work.scene.volumes
    own = volumes.geometry(node)
    first, further = volumes.to_world(work.volume_node), volumes.to_world(node)
    if np.array_equal(first, further):
        return own
    return VolumeGeometry(own.shape, np.linalg.inv(first) @ further @ own.ijk_to_ras)


def share_a_place(first: VolumeGeometry, other: VolumeGeometry) -> bool:
    """Return whether voxels of a grid lie within another one; looked at on 32 places along each axis at most."""
    axes = [np.unique(np.linspace(0, count - 1, min(count, 32)).round()) for count in first.shape]
    k, j, i = np.meshgrid(*axes, indexing="ij")
    places = np.stack([i.ravel(), j.ravel(), k.ravel(), np.ones(k.size)])
    within = (other.ras_to_ijk @ first.ijk_to_ras @ places)[:3]
    last = np.array(other.shape[::-1], float)[:, None] - 1
    return bool(((within >= -0.5) & (within <= last + 0.5)).all(axis=0).any())
