"""The closed surface of a segment in the 3-D views, which takes a second to make and so waits for the end."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .labelmaps import SURFACE, is_empty, labelmap_of


class Surfaces:
    """The segments whose surfaces no longer fit their voxels."""

    def __init__(self) -> None:
        self._stale: set[str] = set()

    @property
    def lack(self) -> bool:
        """Return whether there are any."""
        return bool(self._stale)

    def drop(self, segmentation_node: Any, segment_ids: set[str]) -> None:
        """Show no surface of these segments until `update`; those of the others stay.

        The representation itself stays, empty, since all segments of a node must have the same ones.
        """
        segmentation = segmentation_node.GetSegmentation()
        for segment_id in segment_ids - self._stale:
            segment = segmentation.GetSegment(segment_id)
            if segment is not None and segment.GetRepresentation(SURFACE) is not None:
                segment.AddRepresentation(SURFACE, vtk.vtkPolyData())
                self._stale.add(segment_id)

    def update(self, segmentation_node: Any) -> None:
        """Make the surfaces that were dropped, from the voxels as they are now.

        Slicer makes the other representations of one segment again when its labelmap is set, so nothing is added
        to it here; all other ways would make those of every segment.
        """
        stale, self._stale = self._stale, set()
        for segment_id in sorted(stale):
            image = labelmap_of(segmentation_node, segment_id)
            if image is None or is_empty(image):
                continue
            nothing = slicer.vtkOrientedImageData()
            matrix = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(matrix)
            nothing.SetImageToWorldMatrix(matrix)
            extent = image.GetExtent()
            nothing.SetExtent(extent[0], extent[0], extent[2], extent[2], extent[4], extent[4])
            nothing.AllocateScalars(image.GetScalarType(), 1)
            nothing.GetPointData().GetScalars().Fill(0)
            logic = slicer.vtkSlicerSegmentationsModuleLogic
            logic.SetBinaryLabelmapToSegment(nothing, segmentation_node, segment_id, logic.MODE_MERGE_MAX)

    def forget(self, segment_id: str) -> None:
        """The segment is gone."""
        self._stale.discard(segment_id)
