"""Writes masks of a DICOM series as a DICOM Segmentation object, through highdicom (the extra `dicom`)."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..core.errors import OutputError
from ..core.geometry import VolumeGeometry
from .atomic import write_bytes
from .dicom_frames import frame_order
from .segmentations import Color, Mask, color_of

logger = logging.getLogger(__name__)

_ROOT = "2.25."  # UIDs derived from a number need no registered root


def write_dicom_seg(
    path: str | Path,
    masks: Mapping[str, Mask],
    geometry: VolumeGeometry,
    dicom_files: Sequence[Path] | None,
    colors: Mapping[str, Color] | None = None,
    series_description: str = "MedSAMSlicer segmentation",
) -> None:
    """Writes a binary DICOM SEG that refers to the series it was drawn on, image by image.

    Args:
        path: of the .dcm file, replaced atomically.
        masks: segment name -> (K, J, I) boolean; at least one voxel in all. Segments may overlap.
        geometry: of the volume.
        dicom_files: Volume.dicom_files of the volume.
        colors: segment name -> (r, g, b) from 0 to 1; those not given are chosen.
        series_description: of the new series.

    Raises:
        OutputError: naming `path`, when highdicom is missing, the volume did not come from DICOM, the masks are
            empty, or the series lacks what the standard asks for.
    """
    hd, pydicom = _libraries(path)
    if not dicom_files:
        raise OutputError(
            f"Cannot write {path}: DICOM SEG needs a DICOM series as its source; write a .seg.nrrd instead."
        )
    names = list(masks)
    planes = len(dicom_files) if len(dicom_files) > 1 else geometry.shape[0]
    for name, mask in masks.items():
        if mask.shape != geometry.shape or planes != geometry.shape[0]:
            raise OutputError(
                f"Cannot write {path}: the mask {name!r} does not have the shape of the series."
            )
    if not any(mask.any() for mask in masks.values()):
        raise OutputError(f"Cannot write {path}: DICOM SEG cannot hold an empty segmentation.")
    sources = _sources(dicom_files, pydicom)
    pixels = np.stack([np.asarray(masks[name], dtype=np.uint8) for name in names], axis=-1)
    if len(sources) == 1 and "NumberOfFrames" in sources[0]:
        pixels = pixels[np.argsort(frame_order(Path(dicom_files[0])))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of highdicom and pydicom, about values that the source series holds
            segmentation = hd.seg.Segmentation(
                source_images=sources,
                pixel_array=pixels,
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=_descriptions(names, colors or {}, hd),
                series_instance_uid=hd.UID(),
                series_number=_series_number(sources[0]),
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="MedSAMSlicer",
                manufacturer_model_name="MedSAMSlicer",
                software_versions=__version__,
                device_serial_number="0",
                content_description=None,
                content_label="SEGMENTATION",
                series_description=series_description[:64],
                omit_empty_frames=True,
            )
            buffer = io.BytesIO()
            segmentation.save_as(buffer)
    except (AttributeError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"Cannot write {path}: the series does not allow a DICOM SEG ({error}).") from error
    write_bytes(path, buffer.getvalue())


def _libraries(path: str | Path) -> tuple[Any, Any]:
    try:
        import highdicom
        import highdicom.seg
        import pydicom
    except ImportError as error:
        raise OutputError(
            f"Cannot write {path}: DICOM SEG needs highdicom; run: pip install 'medsamslicer[dicom]'"
        ) from error
    return highdicom, pydicom


def _sources(dicom_files: Sequence[Path], pydicom: Any) -> list[Any]:
    """The headers of the series; what a careless anonymisation emptied is filled in, the same in every file.

    The SOP instance stands in the file's own header too, so that references stay right; the UIDs of study and
    series can only be new ones.
    """
    datasets = [pydicom.dcmread(file, stop_before_pixels=True) for file in dicom_files]
    meta = {"SOPClassUID": "MediaStorageSOPClassUID", "SOPInstanceUID": "MediaStorageSOPInstanceUID"}
    fresh = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    seed = "".join(str(dataset.file_meta.get("MediaStorageSOPInstanceUID", "")) for dataset in datasets)
    missing = set()
    for dataset in datasets:
        for name, source in meta.items():
            if not dataset.get(name) and dataset.file_meta.get(source):
                setattr(dataset, name, dataset.file_meta.get(source))
        for name in fresh:
            if not dataset.get(name):
                digest = hashlib.sha256(f"{name} {seed}".encode()).digest()
                setattr(dataset, name, _ROOT + str(int.from_bytes(digest[:16], "big")))
                missing.add(name)
        for name in (
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "PatientSex",
            "AccessionNumber",
            "StudyID",
        ):
            if name not in dataset:
                setattr(dataset, name, "")
        for name in ("StudyDate", "StudyTime"):
            if name not in dataset:
                setattr(dataset, name, None)
    if missing:
        said = ", ".join(sorted(missing))
        logger.warning(
            "The series has no %s; the DICOM SEG refers to its images by their own UIDs only.", said
        )
    return datasets


def _series_number(dataset: Any) -> int:
    number = dataset.get("SeriesNumber")
    return int(number) + 1000 if number is not None and int(number) > 0 else 1000


def _descriptions(names: Sequence[str], colors: Mapping[str, Color], hd: Any) -> list[Any]:
    tissue = hd.sr.CodedConcept("85756007", "SCT", "Tissue")
    descriptions = []
    for number, name in enumerate(names):
        color = colors.get(name, color_of(number))
        description = hd.seg.SegmentDescription(
            segment_number=number + 1,
            segment_label=name[:64],
            segmented_property_category=tissue,
            segmented_property_type=tissue,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name="MedSAMSlicer",
                version=__version__,
                family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
            ),
            display_color=hd.color.CIELabColor.from_rgb(*(round(255 * value) for value in color)),
        )
        descriptions.append(description)
    return descriptions
