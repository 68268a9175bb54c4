"""Segments of the scene into files: Slicer's own writer for .seg.nrrd, this project's for NIfTI and DICOM SEG."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..core.errors import OutputError, VolumeError
from ..core.geometry import VolumeGeometry
from ..io.atomic import check_replaceable, output_error
from ..io.dicom_seg import write_dicom_seg
from ..io.segmentations import Color, Mask, write_labelmap
from ..io.terminology import Terminology, terminology_from
from ..io.volumes import read_volume
from .labelmaps import is_empty, labelmap_of, segment_ids
from .nodes import volume_geometry
from .segment_voxels import SegmentVoxels
from .segments import check_segmentation, terminology_of

_SAME_MM = 0.02
_SEG_NRRD = ".seg.nrrd"


def has_voxels(segmentation_node: Any) -> bool:
    """Return whether any segment holds a voxel; VTK keeps the range of a labelmap until that is changed."""
    images = (labelmap_of(segmentation_node, each) for each in segment_ids(segmentation_node))
    return any(
        image is not None and not is_empty(image) and image.GetScalarRange()[1] > 0 for image in images
    )


def export_segmentation(segmentation_node: Any, path: Path) -> None:
    """Write a segmentation as .seg.nrrd with everything Slicer keeps: names, colors, terminology, overlaps.

    Raises:
        OutputError: Slicer could not write the file, or there is something else of that name.
    """
    check_replaceable(path)
    try:
        with tempfile.TemporaryDirectory(prefix=".MedSAMSlicer-", dir=path.parent) as folder:
            part = (
                Path(folder) / f"part{_SEG_NRRD}"
            )  # a good file of that name stays until there is a new one
            storage = slicer.vtkMRMLSegmentationStorageNode()
            storage.SetFileName(str(part))
            if not storage.WriteData(segmentation_node):
                text = _("Slicer cannot write {path}: is the disk full, or the folder read-only?")
                raise OutputError(text.format(path=path))
            os.replace(part, path)
    except OSError as error:
        raise output_error(path, error) from error


def export_nifti(segmentation_node: Any, volume_node: Any, path: Path) -> int:
    """Write all segments as one label map on the volume's voxels; returns how many voxels were in several segments.

    Raises:
        OutputError: naming the file.
    """
    masks = SegmentMasksByName(segmentation_node, volume_node)
    return write_labelmap(path, masks, volume_geometry(volume_node), masks.colors)


def export_dicom(segmentation_node: Any, volume_node: Any, path: Path) -> bool:
    """Write all segments as a DICOM segmentation of the series that the volume was loaded from.

    Slicer's DICOM database gets a copy, which then stands beside the series there; returns whether it took it.
    Where the series does not allow that, the segments are written beside `path` as .seg.nrrd, under a free name.

    Raises:
        OutputError: The volume did not come from Slicer's DICOM database, is not on the series' voxels any more, or
            the series does not allow a DICOM segmentation. The message names the .seg.nrrd that was written instead.
    """
    check_replaceable(path)
    try:
        instance = _write_dicom(segmentation_node, volume_node, path)
    except (OutputError, VolumeError) as error:
        beside = _unused_path(path)
        export_segmentation(segmentation_node, beside)
        text = _("{error} The segments were written to {path} instead.")
        raise OutputError(text.format(error=error, path=beside)) from error
    return _insert_into_database(path, instance)


def _insert_into_database(path: Path, instance: str) -> bool:
    """Let Slicer's DICOM database know a file, as its own DICOM SEG plugin does; False where that cannot be."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return False
    database.insert(str(path))
    return bool(database.fileForInstance(instance))


def _write_dicom(segmentation_node: Any, volume_node: Any, path: Path) -> str:
    """Write the file; returns the UID of its SOP instance."""
    files = series_files(volume_node)
    if not files:
        raise OutputError(
            _(
                "{name} was not loaded from Slicer's DICOM database, which DICOM SEG needs; save as .seg.nrrd instead."
            ).format(name=volume_node.GetName())
        )
    series = read_volume(files[0])
    geometry = volume_geometry(volume_node)
    found = SegmentMasksByName(segmentation_node, volume_node)
    masks = dict(found)
    terms = _terms_of(segmentation_node, tuple(masks))
    if series.geometry.distance_to(geometry) > _SAME_MM:
        if series.geometry.distance_to(_reversed(geometry)) > _SAME_MM:
            raise OutputError(
                _("{name} no longer has the voxels of its DICOM series (resampled or cropped?).").format(
                    name=volume_node.GetName()
                )
            )
        masks = {name: mask[::-1] for name, mask in masks.items()}
    return write_dicom_seg(path, masks, series.geometry, series.dicom_files, found.colors, terms=terms)


class SegmentMasksByName(Mapping[str, Mask]):
    """All segments by a name of their own, each read when it is asked for: bool (K, J, I) on the volume's voxels.

    Attributes:
        colors: red, green and blue from 0 to 1, by the same names.

    Raises:
        GeometryError: the grids do not fit, see `check_segmentation`.
    """

    def __init__(self, segmentation_node: Any, volume_node: Any) -> None:
        check_segmentation(segmentation_node, volume_node)
        self._voxels = SegmentVoxels(segmentation_node, volume_node)
        self._ids: dict[str, str] = {}
        self.colors: dict[str, Color] = {}
        segmentation = segmentation_node.GetSegmentation()
        for segment_id in segment_ids(segmentation_node):
            segment = segmentation.GetSegment(segment_id)
            name = _unused(segment.GetName() or segment_id, tuple(self._ids))
            red, green, blue = segment.GetColor()
            self._ids[name], self.colors[name] = segment_id, (float(red), float(green), float(blue))

    def __getitem__(self, name: str) -> Mask:
        return self._voxels.volume(self._ids[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def _terms_of(segmentation_node: Any, names: Sequence[str]) -> dict[str, Terminology]:
    """Return what the segments are, by the names of `SegmentMasksByName`; those that do not say so are left out."""
    segmentation = segmentation_node.GetSegmentation()
    found = {
        name: terminology_from(terminology_of(segmentation.GetSegment(segment_id)))
        for name, segment_id in zip(names, segment_ids(segmentation_node), strict=True)
    }
    return {name: terms for name, terms in found.items() if terms is not None}


def is_from_dicom(volume_node: Any) -> bool:
    """Return whether a volume was loaded from Slicer's DICOM database, by looking for its first file only."""
    return bool(_files(volume_node, only_first=True))


def series_files(volume_node: Any) -> list[Path]:
    """The DICOM files that a volume was loaded from; empty when it was not, or they are gone."""
    return _files(volume_node)


def _files(volume_node: Any, only_first: bool = False) -> list[Path]:
    uids = (volume_node.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if database is None:
        return []
    files = [str(database.fileForInstance(uid)) for uid in (uids[:1] if only_first else uids)]
    return [Path(file) for file in files if file and Path(file).is_file()]


def _unused_path(path: Path) -> Path:
    """The name of `path` with the ending .seg.nrrd, and a number where a file of that name exists."""
    number, beside = 2, path.with_name(path.stem + _SEG_NRRD)
    while os.path.lexists(beside):
        number, beside = number + 1, path.with_name(f"{path.stem}-{number}{_SEG_NRRD}")
    return beside


def _unused(name: str, taken: Sequence[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name} {number}" in taken:
        number += 1
    return f"{name} {number}"


def _reversed(geometry: VolumeGeometry) -> VolumeGeometry:
    """The same voxels with the slices in the other order."""
    matrix = np.array(geometry.ijk_to_ras)
    matrix[:3, 3] += matrix[:3, 2] * (geometry.shape[0] - 1)
    matrix[:3, 2] *= -1.0
    return VolumeGeometry(geometry.shape, matrix)
