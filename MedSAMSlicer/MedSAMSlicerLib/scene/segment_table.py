"""The table of segments: names, colors, locks and what each segment is, as Slicer keeps them."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from ..core.errors import SessionError
from .labelmaps import segment_ids

LOCKED_TAG = "MedSAMSlicer.Locked"  # Slicer has no locks of its own on segments


class SegmentTable:
    """The segments of one segmentation node; the node may be deleted at any time."""

    def __init__(self, segmentation_node: Any, volume_node: Any) -> None:
        self._scene = segmentation_node.GetScene()
        self._segmentation_id: str = segmentation_node.GetID()
        self._volume_id: str = volume_node.GetID()

    @property
    def segmentation_node(self) -> Any:
        """The node; SessionError when it is gone."""
        return self._node(self._segmentation_id)

    @property
    def volume_node(self) -> Any:
        """The volume's node; SessionError when it is gone."""
        return self._node(self._volume_id)

    def segment_ids(self) -> tuple[str, ...]:
        """All segments in the order of the table."""
        return segment_ids(self.segmentation_node)

    def name(self, segment_id: str) -> str:
        """Return what the user calls it."""
        return str(self._segment(segment_id).GetName())

    def color(self, segment_id: str) -> tuple[float, float, float]:
        """Red, green and blue in 0..1."""
        red, green, blue = self._segment(segment_id).GetColor()
        return red, green, blue

    def rename(self, segment_id: str, name: str) -> None:
        """Give a segment another name."""
        self._segment(segment_id).SetName(name)

    def remove(self, segment_id: str) -> None:
        """Delete a segment; what it had taken from others goes back to them."""
        self._segment(segment_id)
        self.segmentation_node.GetSegmentation().RemoveSegment(segment_id)

    def locked(self, segment_id: str) -> bool:
        """Return whether no mask may change the segment. Slicer has no such lock, so a tag of ours keeps it."""
        return _tag(self._segment(segment_id), LOCKED_TAG) == "1"

    def set_locked(self, segment_id: str, locked: bool) -> None:
        """Keep the voxels of a segment from being written or taken, or allow it again."""
        segment = self._segment(segment_id)
        if locked:
            segment.SetTag(LOCKED_TAG, "1")
        elif self.locked(segment_id):
            segment.RemoveTag(LOCKED_TAG)

    def terminology(self, segment_id: str) -> str | None:
        """Slicer's serialized terminology entry, such as "Segmentation category ...~SCT^..."; None without."""
        return _tag(self._segment(segment_id), slicer.vtkSegment.GetTerminologyEntryTagName())

    def set_terminology(self, segment_id: str, text: str | None) -> None:
        """Say what a segment is in Slicer's serialized form; None for nothing."""
        segment, tag = self._segment(segment_id), slicer.vtkSegment.GetTerminologyEntryTagName()
        if text:
            segment.SetTag(tag, text)
        else:
            segment.RemoveTag(tag)

    # -- inside

    def _node(self, node_id: str) -> Any:
        node = self._scene.GetNodeByID(node_id)
        if node is None:
            raise SessionError(_("The volume or the segmentation was deleted."))
        return node

    def _segment(self, segment_id: str) -> Any:
        segment = self.segmentation_node.GetSegmentation().GetSegment(segment_id)
        if segment is None:
            raise SessionError(_("There is no segment {segment!r}.").format(segment=segment_id))
        return segment


def _tag(segment: Any, tag: str) -> str | None:
    value = vtk.reference("")
    return str(value) if segment.GetTag(tag, value) else None
