"""An earlier mask of a segment in place of what it shows now, in the slice views and for a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.digests import Mask
from ..core.geometry import SliceAxis
from .nodes import remove_with_display
from .segments import SegmentMasks, create_segmentation

EARLIER_NAME = "MedSAMSlicer earlier mask"


class EarlierMask:
    """Shows it in a segmentation that is neither listed nor saved; the segment's own voxels are never touched."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._node_id: str | None = None
        self._hidden: tuple[str, str, bool, bool] | None = (
            None  # segmentation, segment, its fill and its outline
        )

    def show(
        self,
        volume: Any,
        segmentation: Any,
        segment_id: str,
        axis: SliceAxis,
        masks: Mapping[int, Mask],
    ) -> None:
        """Show masks, by slice across `axis`, in place of a segment."""
        self.hide()
        display = segmentation.GetDisplayNode()
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        if display is None or segment is None:
            return
        node = create_segmentation(self._scene, volume, EARLIER_NAME, helper=True)
        self._node_id = node.GetID()
        earlier = SegmentMasks(node, volume)
        try:
            earlier.write_slices(earlier.add("earlier", segment.GetColor()), axis, masks)
        finally:
            earlier.close()
        fill = bool(display.GetSegmentVisibility2DFill(segment_id))
        outline = bool(display.GetSegmentVisibility2DOutline(segment_id))
        self._hidden = (segmentation.GetID(), segment_id, fill, outline)
        display.SetSegmentVisibility2DFill(segment_id, False)
        display.SetSegmentVisibility2DOutline(segment_id, False)

    def hide(self) -> None:
        """Show the segment itself again."""
        node = self._scene.GetNodeByID(self._node_id) if self._node_id else None
        hidden, self._hidden, self._node_id = self._hidden, None, None
        if self._scene.IsClosing():
            return
        if node is not None:
            remove_with_display(node)
        segmentation = None if hidden is None else self._scene.GetNodeByID(hidden[0])
        display = None if segmentation is None else segmentation.GetDisplayNode()
        if hidden is not None and display is not None:
            display.SetSegmentVisibility2DFill(hidden[1], hidden[2])
            display.SetSegmentVisibility2DOutline(hidden[1], hidden[3])
