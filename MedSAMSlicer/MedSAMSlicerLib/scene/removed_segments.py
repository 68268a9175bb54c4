"""The properties of deleted segments, so that they can be restored as they were, but for their voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer

from .labelmaps import VolumeGrid, own_labelmap, segment_ids

_DISPLAY = (
    "Visibility",
    "Visibility2DFill",
    "Visibility2DOutline",
    "Visibility3D",
    "Opacity2DFill",
    "Opacity2DOutline",
    "Opacity3D",
    "OverrideColor",
    "Pickable",
)


@dataclass(frozen=True)
class _Removed:
    """Name, color and tags (terminology, status, what other modules wrote), display, and the segments behind it."""

    metadata: Any
    display: dict[str, Any]
    behind: tuple[str, ...]


class RemovedSegments:
    """Remembers the segments of a node while they exist.

    When Slicer reports that a segment was removed, its display is forgotten already.
    """

    def __init__(self, segmentation_node: Any) -> None:
        self._segments: dict[str, Any] = {}
        self._displays: dict[str, dict[str, Any]] = {}
        self._removed: dict[str, _Removed] = {}
        self.look(segmentation_node)

    def look(self, segmentation_node: Any) -> None:
        """Something has changed: remember which segments exist, and which no longer do."""
        segmentation, ids = segmentation_node.GetSegmentation(), segment_ids(segmentation_node)
        order = tuple(self._segments)
        for segment_id in order:
            if segment_id not in ids:
                metadata = slicer.vtkSegment()
                metadata.DeepCopyMetadata(self._segments[segment_id])
                behind = order[order.index(segment_id) + 1 :]
                self._removed[segment_id] = _Removed(metadata, self._displays[segment_id], behind)
        self._segments = {segment_id: segmentation.GetSegment(segment_id) for segment_id in ids}
        display = segmentation_node.GetDisplayNode()
        self._displays = {
            segment_id: {} if display is None else _displayed(display, segment_id) for segment_id in ids
        }

    def bring_back(self, segmentation_node: Any, segment_id: str, grid: VolumeGrid) -> bool:
        """Add the segment again, without voxels; False when there was none of this identifier, or there is one."""
        removed, segmentation = self._removed.get(segment_id), segmentation_node.GetSegmentation()
        there = segment_ids(segmentation_node)
        if removed is None or segment_id in there:
            return False
        segment = slicer.vtkSegment()
        segment.DeepCopyMetadata(removed.metadata)
        own_labelmap(segment, grid)
        following = next((other for other in removed.behind if other in there), "")
        if not segmentation.AddSegment(segment, segment_id, following):
            return False
        display = segmentation_node.GetDisplayNode()
        if display is not None:
            for name, value in removed.display.items():
                setter = getattr(display, f"SetSegment{name}")
                setter(segment_id, *value) if isinstance(value, tuple) else setter(segment_id, value)
        return True


def _displayed(display_node: Any, segment_id: str) -> dict[str, Any]:
    return {name: getattr(display_node, f"GetSegment{name}")(segment_id) for name in _DISPLAY}
