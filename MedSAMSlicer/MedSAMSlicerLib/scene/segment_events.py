"""The events of the segments of a node, reported one segment at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from ..core.errors import MedSAMError
from .labelmaps import segment_ids
from .nodes import volume_geometry
from .observers import Observers

SegmentCallback = Callable[[str], None]


class SegmentEvents:
    """Observers of a segmentation node and of its volume's transform, until `close`.

    The segmentation follows when its volume is put under another transform, as it would not lie on the volume's
    voxels otherwise.
    """

    def __init__(
        self,
        segmentation_node: Any,
        volume_node: Any,
        *,
        on_voxels: Callable[[], None],
        on_modified: Callable[[], None],
        on_added: SegmentCallback,
        on_removed: SegmentCallback,
        on_renamed: SegmentCallback,
        on_recolored: SegmentCallback,
        on_looks: Callable[[], None],
    ) -> None:
        self._scene = segmentation_node.GetScene()
        self._segmentation_id: str = segmentation_node.GetID()
        self._volume_id: str = volume_node.GetID()
        self._on_voxels, self._on_modified = on_voxels, on_modified
        self._on_added, self._on_removed = on_added, on_removed
        self._on_renamed, self._on_recolored = on_renamed, on_recolored
        self._on_looks = on_looks
        self._looks = _looks(segmentation_node)
        self._volume_transform: str | None = volume_node.GetTransformNodeID()
        self._volume_geometry = volume_geometry(volume_node)
        segmentation = slicer.vtkSegmentation
        node_class = slicer.vtkMRMLSegmentationNode
        table_events = (
            segmentation.SegmentAdded,
            segmentation.SegmentRemoved,
            segmentation.SegmentModified,
            node_class.SegmentationChangedEvent,
        )
        self._observers = Observers()
        for event in table_events:
            self._observers.add(segmentation_node, event, self._table_changed)
        for event in (segmentation.SourceRepresentationModified, node_class.SegmentationChangedEvent):
            self._observers.add(segmentation_node, event, self._representation_changed)
        self._observers.add(
            segmentation_node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, lambda *_: on_looks()
        )
        # After a scene was loaded, Slicer reports an edit by this event alone; it also comes in the middle of changes.
        self._observers.add(segmentation_node, segmentation.SegmentModified, self._segment_modified)
        self._observers.add(
            volume_node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._transform_changed
        )

    def volume_moved(self, volume_node: Any) -> None:
        """The volume lies elsewhere for good; transforms that it gets from now on move the segmentation, too."""
        self._volume_geometry = volume_geometry(volume_node)

    def close(self) -> None:
        """Remove every observer."""
        self._observers.close()

    def _representation_changed(self, _caller: Any, _event: str) -> None:
        self._on_voxels()

    def _segment_modified(self, _caller: Any, _event: str) -> None:
        self._on_modified()

    def _table_changed(self, caller: Any, _event: str) -> None:
        """Compare with what was there: one event may stand for several changes, or for none."""
        before, after = self._looks, _looks(caller)
        self._looks = after
        self._on_looks()
        for segment_id in before.keys() - after.keys():
            self._on_removed(segment_id)
        for segment_id in after:
            if segment_id not in before:
                self._on_added(segment_id)
                continue
            (name, color), (name_before, color_before) = after[segment_id], before[segment_id]
            if name != name_before:
                self._on_renamed(segment_id)
            if color != color_before:
                self._on_recolored(segment_id)

    def _transform_changed(self, caller: Any, _event: str) -> None:
        before, self._volume_transform = self._volume_transform, caller.GetTransformNodeID()
        segmentation_node = self._scene.GetNodeByID(self._segmentation_id)
        if before == self._volume_transform or segmentation_node is None or self._scene.IsClosing():
            return
        parent = caller.GetParentTransformNode()
        if parent is not None and not parent.IsTransformToWorldLinear():
            self._volume_transform = before  # nothing can be done under that one: it has to go again
            return
        try:
            hardened = volume_geometry(caller) != self._volume_geometry
        except MedSAMError:
            return
        # Hardening moves the voxels first and takes the transform away then; both together move nothing.
        if not hardened and segmentation_node.GetTransformNodeID() == before:
            segmentation_node.SetAndObserveTransformNodeID(self._volume_transform)


def _looks(segmentation_node: Any) -> dict[str, tuple[str, tuple[float, ...]]]:
    """Name and color of each segment, in the order of the table."""
    segmentation = segmentation_node.GetSegmentation()
    if segmentation is None:
        return {}
    segments = (
        (segment_id, segmentation.GetSegment(segment_id)) for segment_id in segment_ids(segmentation_node)
    )
    return {
        segment_id: (segment.GetName(), tuple(np.round(segment.GetColor(), 6).tolist()))
        for segment_id, segment in segments
    }
