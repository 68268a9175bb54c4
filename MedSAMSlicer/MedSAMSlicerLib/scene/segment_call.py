"""Segmenting a volume node in one blocking call, for notebooks and batches; same engine and same rules as the panel.

from MedSAMSlicerLib.core.prompts import SliceRef, box_from_voxels
from MedSAMSlicerLib.scene.nodes import volume_geometry

volume = slicer.util.getNode("CT")
box = box_from_voxels(volume_geometry(volume), SliceRef(SliceAxis.K, 40), 100, 120, 180, 210)
done = logic.segment(volume, [box])                       # or a PromptSet, or the path of a prompts file
array = slicer.util.arrayFromSegmentBinaryLabelmap(done.segmentation_node, done.segment_ids["Segment"], volume)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from ..app.prompt_files import UnusedNames
from ..app.segment_call import PromptsLike, SegmentedArray, segment_array
from ..core.digests import Mask
from ..core.errors import SessionError
from ..core.geometry import SliceAxis
from ..core.overlap import GIVE_WAY
from ..core.prompts import PromptSet
from .nodes import check_usable, volume_array, volume_geometry
from .segments import SegmentMasks, create_segmentation


@dataclass(frozen=True)
class SegmentCallResult:
    """The result of `segment`.

    Attributes:
        segmentation_node: that holds the masks.
        segment_ids: by the name of the object in the prompts.
        confidences: by that name, then by slice index, 0..1.
        prompts: what was segmented, with window, checkpoint and tier: all that is needed to repeat it.
    """

    segmentation_node: Any
    segment_ids: dict[str, str]
    confidences: dict[str, dict[int, float]]
    prompts: PromptSet


def segment(
    volume_node: Any,
    prompts: PromptsLike,
    segmentation_node: Any | None = None,
    *,
    overlap: str = "none",
    **options: Any,
) -> SegmentCallResult:
    """Segment everything that the prompts name; returns when it is done.

    Args:
        volume_node: a scalar volume; never changed.
        prompts: a PromptSet, the path of a prompts file, or prompts of one object, which is then named "Segment".
        segmentation_node: takes the masks as new segments; None = a new segmentation.
        overlap: "stop" = masks stop at segments that were visible before; "none" = they may overlap them; "visible" or
            "all" = these lose the voxels, unless they are locked.
        options: as for :func:`..app.segment_call.segment_array`: window, checkpoint, device, tier, cleanup, progress,
            cancel.

    Raises:
        MedSAMError: In one sentence what is wrong with volume, prompts, network or memory; the scene is as before.
    """
    check_usable(volume_node)
    if overlap not in GIVE_WAY:
        text = _("The overlap must be one of {known}, got {overlap!r}.")
        raise SessionError(text.format(known=", ".join(GIVE_WAY), overlap=overlap))
    modality: str | None = volume_node.GetAttribute("DICOM.Modality")
    array, geometry = volume_array(volume_node), volume_geometry(volume_node)
    found = segment_array(array, geometry, prompts, modality=modality, **options)
    return _written(volume_node, segmentation_node, found, overlap)


def _written(
    volume_node: Any, segmentation_node: Any | None, found: SegmentedArray, overlap: str
) -> SegmentCallResult:
    node = segmentation_node or create_segmentation(volume_node.GetScene(), volume_node)
    segments = SegmentMasks(node, volume_node)
    try:
        names = UnusedNames(tuple(segments.name(each) for each in segments.segment_ids()))
        ids: dict[str, str] = {}
        around = tuple(
            each for each in segments.segment_ids() if overlap == "stop" and segments.visible(each)
        )
        with segments.streaming():
            for obj in found.prompts.objects:
                ids[obj.name] = segments.add(names.next(obj.name), obj.color)
                slices = found.masks[obj.name]
                arrays = {index: mask.to_array() for index, mask in slices.items() if not mask.is_empty}
                others = segments.union(around, found.prompts.axis, arrays)
                arrays = {n: mask & ~others[n] if n in others else mask for n, mask in arrays.items()}
                if overlap in ("visible", "all"):
                    _make_way(segments, ids[obj.name], found.prompts.axis, arrays, overlap)
                segments.write_slices(ids[obj.name], found.prompts.axis, arrays)
    finally:
        segments.close()
    return SegmentCallResult(node, ids, found.confidences, found.prompts)


def _make_way(
    segments: SegmentMasks, segment_id: str, axis: SliceAxis, masks: Mapping[int, Mask], overlap: str
) -> None:
    """Let other segments lose the voxels of masks, by slice across `axis`, as `overlap` allows."""
    for other in segments.segment_ids():
        hidden = overlap == "visible" and not segments.visible(other)
        if other != segment_id and not segments.locked(other) and not hidden:
            held = segments.read_slices(other, axis, masks)
            segments.write_slices(other, axis, {index: held[index] & ~mask for index, mask in masks.items()})
