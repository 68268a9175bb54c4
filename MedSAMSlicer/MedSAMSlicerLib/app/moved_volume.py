"""A volume whose transform was hardened: its voxels are the same, and prompts, masks and history move with it."""

from __future__ import annotations

from .persistence import moved_state
from .projector import Projector
from .workspace import Workspace


def follow_volume(work: Workspace, projector: Projector) -> bool:
    """Let the session go with its volume, and say whether it does: not when its masks lie beside the volume then.

    Raises:
        VolumeError, GeometryError: the volume cannot be used.
    """
    node, session = work.volume_node, work.session
    if node is None or session is None or not (work.masks is None or work.masks.moved_with_volume()):
        return False
    geometry = work.geometry = work.scene.volumes.geometry(node)
    session.move(geometry)
    work.parameter.change_sessions_of(node, lambda text: moved_state(text, geometry))
    projector.prompts()
    return True
