"""The size of the selected segment, by volume and diameters, and the part of it that other segments have, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.diameters import Diameters, diameters
from ..core.errors import MedSAMError
from ..core.geometry import SliceAxis, VolumeGeometry
from ..core.masks import PackedMask
from .projector import Projector
from .workspace import Workspace


@dataclass(frozen=True)
class SegmentFact:
    """The counts of a segment.

    Attributes:
        segment_id: of which segment.
        milliliters: its volume.
        measured: its diameters on the slice where the longest one is; None for a segment that is no object.
        shared: milliliters that it has in common with another segment, by the name of that.
    """

    segment_id: str
    milliliters: float
    measured: Diameters | None
    shared: dict[str, float]


@dataclass(frozen=True)
class SharedVoxels:
    """Milliliters that two segments have in common, by their names in the order of the table."""

    first: str
    second: str
    milliliters: float


def all_shared(work: Workspace) -> tuple[SharedVoxels, ...]:
    """Count the voxels that segments have in common now, each pair once, the largest first.

    Raises:
        GeometryError: segmentation and volume no longer lie on the same voxels.
    """
    masks = work.masks
    if masks is None or work.geometry is None:
        return ()
    voxel = work.geometry.voxel_milliliters
    ids = masks.segment_ids()
    found = [
        SharedVoxels(masks.name(each), masks.name(other), voxel * count)
        for place, each in enumerate(ids)
        for other, count in masks.measure(each)[1].items()
        if other in ids[place + 1 :]
    ]
    return tuple(sorted(found, key=lambda shared: -shared.milliliters))


def measured_masks(
    masks: Mapping[int, PackedMask], geometry: VolumeGeometry, axis: SliceAxis
) -> Diameters | None:
    """Measure masks by slice index across an axis of a volume; None where all are empty."""
    return diameters(masks, geometry.in_plane_spacing(axis), geometry.in_plane_cosine(axis))


def measured(work: Workspace, projector: Projector) -> SegmentFact | None:
    """Measure the selected segment now; None when there is none that lies on the volume's voxels.

    The labelmaps of all segments are read: some ten milliseconds for a CT, so not after each change.
    """
    segment_id = work.segment_id
    if (
        work.masks is None
        or work.geometry is None
        or segment_id is None
        or segment_id not in work.segment_ids
    ):
        return None
    obj, found = work.selected_object, None
    try:
        count, shared = work.masks.measure(segment_id)
        names = {other: work.masks.name(other) for other in shared}
        if obj is not None and obj.axis is not None:
            found = measured_masks(projector.shown_masks(obj), work.geometry, obj.axis)
    except MedSAMError:  # of another grid, or gone: there is nothing to count
        return None
    voxel = work.geometry.voxel_milliliters
    parts = {names[other]: voxel * part for other, part in shared.items()}
    return SegmentFact(segment_id, voxel * count, found, parts)
