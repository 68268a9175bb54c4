"""The module's parameter node for scripts, by Slicer's own parameterNodeWrapper."""

from __future__ import annotations

import functools
from typing import Any

from ..core.overlap import GIVE_WAY


def wrapped(node: Any) -> Any:
    """The parameter node with a typed attribute for each choice that it keeps.

    The attributes have the names that `parameter_node.ParameterNode` uses in the node, and hold what it writes there,
    so that a scene of any version is read, and a scene that a script has written to is opened by the module.

    Args:
        node: the module's vtkMRMLScriptedModuleNode.
    """
    return _wrapper()(node)


@functools.cache
def _wrapper() -> Any:
    from slicer.parameterNodeWrapper import parameterNodeWrapper  # Slicer itself has it only

    return parameterNodeWrapper(MedSAMSlicerParameterNode)


class MedSAMSlicerParameterNode:
    """The choices of a study; the session itself is in `MedSAMSlicerLogic.controller`.

    Nodes are properties and no parameters: Slicer's wrapper would clear each reference that it has not written itself.

    Attributes:
        parameterNode: the node, set by the wrapper.
        SegmentID: of the segment that prompts go to; "" = the first one.
        Window: as `core.intensity.choose_window` takes it, such as "auto", "lung" or "-100,300"; or "display".
        Checkpoint: identifier or file of the network's weights; "" = the bundled one.
        Tier: the arithmetic, "exact", "balanced" or "fast"; "" = the device decides.
        Overlap: what happens where masks meet, one of `core.overlap.GIVE_WAY`.
    """

    SegmentID: str = ""
    Window: str = "display"
    Checkpoint: str = ""
    Tier: str = ""
    Overlap: str = GIVE_WAY[0]

    @property
    def Volume(self) -> Any | None:
        """The volume that is segmented."""
        return self.parameterNode.GetNodeReference("Volume")  # type: ignore[attr-defined]

    @Volume.setter
    def Volume(self, node: Any | None) -> None:
        _refer(self, "Volume", node)

    @property
    def Segmentation(self) -> Any | None:
        """The segmentation that takes the masks."""
        return self.parameterNode.GetNodeReference("Segmentation")  # type: ignore[attr-defined]

    @Segmentation.setter
    def Segmentation(self, node: Any | None) -> None:
        _refer(self, "Segmentation", node)


def _refer(choices: Any, role: str, node: Any | None) -> None:
    choices.parameterNode.SetNodeReferenceID(role, None if node is None else node.GetID())
