"""The views go on to show one time point of a sequence while others are selected in the background."""

from __future__ import annotations

from typing import Any

from .labelmaps import create_segmentation, segment_ids
from .nodes import remove_with_display
from .slice_views import composite_nodes

HELD_NAME = "MedSAMSlicer time point in view"


class HeldView:
    """Shows stand-ins for a volume and its segmentation, which are neither listed nor saved, in the slice views."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._volume_id, self._stand_in_id = "", ""
        self._segmentation: tuple[str, str, bool] | None = (
            None  # its ID, that of its stand-in, and was it shown
        )

    def hold(self, volume: Any, item: Any, segmentation: Any | None) -> None:
        """Show a time point until `release`.

        Args:
            volume: that shows it now.
            item: the volume of the sequence that it is a copy of; its voxels stay as they are.
            segmentation: that goes with it; None = there is none.
        """
        self.release()
        stand_in = self._volume_like(volume, item)
        self._volume_id, self._stand_in_id = volume.GetID(), stand_in.GetID()
        self._put(self._volume_id, self._stand_in_id)
        display = None if segmentation is None else segmentation.GetDisplayNode()
        if segmentation is None or display is None:
            return
        copy = create_segmentation(self._scene, volume, HELD_NAME, helper=True)
        for segment_id in segment_ids(segmentation):
            copy.GetSegmentation().CopySegmentFromSegmentation(segmentation.GetSegmentation(), segment_id)
        copy.GetDisplayNode().CopyContent(display)
        self._segmentation = segmentation.GetID(), copy.GetID(), bool(display.GetVisibility())
        display.SetVisibility(False)

    def release(self) -> None:
        """Show volume and segmentation themselves again; what the user has chosen for a view meanwhile stays."""
        volume_id, stand_in_id, segmentation = self._volume_id, self._stand_in_id, self._segmentation
        self._volume_id, self._stand_in_id, self._segmentation = "", "", None
        if self._scene.IsClosing():
            return
        if stand_in_id:
            self._put(stand_in_id, volume_id)
            self._remove(stand_in_id)
        if segmentation is not None:
            itself = self._scene.GetNodeByID(segmentation[0])
            if itself is not None and itself.GetDisplayNode() is not None:
                itself.GetDisplayNode().SetVisibility(segmentation[2])
            self._remove(segmentation[1])

    def _volume_like(self, volume: Any, item: Any) -> Any:
        node = self._scene.CreateNodeByClass(volume.GetClassName())
        node.UnRegister(None)  # CreateNodeByClass hands over a reference
        node.SetName(HELD_NAME)
        node.SetHideFromEditors(True)  # before it is added: the tree of the Data module looks only then
        node.SetSaveWithScene(False)
        node = self._scene.AddNode(node)
        node.CopyOrientation(volume)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        node.SetAndObserveImageData(item.GetImageData())
        node.CreateDefaultDisplayNodes()
        if node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetSaveWithScene(False)
            if volume.GetDisplayNode() is not None:
                node.GetDisplayNode().CopyContent(volume.GetDisplayNode())
        return node

    def _put(self, shown_id: str, instead_id: str) -> None:
        """Let each view that shows one volume show another."""
        there = self._scene.GetNodeByID(instead_id) is not None
        new_id = instead_id if there else None
        for composite in composite_nodes(self._scene):
            if composite.GetBackgroundVolumeID() == shown_id:
                composite.SetBackgroundVolumeID(new_id)
            if composite.GetForegroundVolumeID() == shown_id:
                composite.SetForegroundVolumeID(new_id)

    def _remove(self, node_id: str) -> None:
        node = self._scene.GetNodeByID(node_id)
        if node is not None:
            remove_with_display(node)
