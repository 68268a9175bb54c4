"""The preview of the Segment Editor effect: a segmentation of its own, taken over into the editor's segment."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import slicer

from ..core.translation import tr as _
from .labelmaps import create_segmentation
from .nodes import remove_with_display

PREVIEW_NAME = "MedSAM preview"


def create_preview(volume_node: Any) -> Any:
    """A segmentation on a volume's voxels that no selector lists and no scene file keeps."""
    return create_segmentation(slicer.mrmlScene, volume_node, PREVIEW_NAME, helper=True)


def remove_preview(preview_node: Any) -> None:
    """Remove it with its display; None when it is gone already."""
    if preview_node is not None:
        remove_with_display(preview_node)


def look_like(preview_node: Any, preview_id: str, segmentation_node: Any, segment_id: str) -> None:
    """Give the segment of the preview the color of the one that it is a preview of."""
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    preview_node.GetSegmentation().GetSegment(preview_id).SetColor(*segment.GetColor())


def digest(segmentation_node: Any, segment_id: str, volume_node: Any) -> int:
    """A checksum of the voxels of a segment, on the volume's voxels; 0 when it is empty."""
    array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment_id, volume_node)
    return zlib.crc32(np.ascontiguousarray(array).data) if array is not None and np.any(array) else 0


def copy_voxels(
    segmentation_node: Any, segment_id: str, preview_node: Any, preview_id: str, volume_node: Any
) -> bool:
    """Copy a segment into the preview, on the volume's voxels; False when the segment is empty."""
    array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment_id, volume_node)
    if array is None or not np.any(array):
        return False
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, preview_node, preview_id, volume_node)
    return True


def preview_labelmap(preview_node: Any, preview_id: str, modifier_labelmap: Any) -> Any:
    """The mask of the preview as a vtkOrientedImageData on the voxels of the editor's modifier labelmap.

    Raises:
        RuntimeError: Slicer cannot resample it.
    """
    mask, resampled = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    preview_node.GetBinaryLabelmapRepresentation(preview_id, mask)
    resample = slicer.vtkOrientedImageDataResample
    if not resample.ResampleOrientedImageToReferenceOrientedImage(mask, modifier_labelmap, resampled):
        raise RuntimeError(_("The preview cannot be resampled to the voxels of the segmentation."))
    return resampled


def is_hidden(segmentation_node: Any, segment_id: str) -> bool:
    """Return whether the segment is not shown."""
    display = segmentation_node.GetDisplayNode()
    return display is not None and not display.GetSegmentVisibility(segment_id)


def show_segment(segmentation_node: Any, segment_id: str, shown: bool) -> None:
    """Show a segment in the views, or hide it."""
    display = segmentation_node.GetDisplayNode()
    if display is not None:
        display.SetSegmentVisibility(segment_id, shown)
