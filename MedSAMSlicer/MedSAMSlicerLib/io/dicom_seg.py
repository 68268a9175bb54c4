"""Writes masks of a DICOM series as a DICOM Segmentation object, through highdicom (the extra `dicom`)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import __version__
from ..core.errors import OutputError, VolumeError
from ..core.foreign_errors import on_one_line
from ..core.geometry import VolumeGeometry
from .atomic import write_bytes
from .conventions import lps_from_ras
from .dicom_frames import frame_order
from .segmentations import Color, Mask, color_of
from .terminology import TISSUE, Code, Terminology

logger = logging.getLogger(__name__)

_LONGEST_LABEL = 64  # letters of a long string (LO)
_SMALLEST_FRAME = 8  # pixels: highdicom and pydicom misplace those of smaller frames
_PLAIN = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")
_COPIED = (
    *_PLAIN, "StudyDate", "StudyTime", "PatientAge", "PatientSize", "PatientWeight", "PatientBirthTime",
    "ReferringPhysicianName", "StudyDescription", "EthnicGroup", "PatientComments", "AdditionalPatientHistory",
    "SeriesDate", "SeriesTime", "SeriesNumber", "ContentDate", "ContentTime", "AcquisitionDate", "Occupation",
)  # fmt: skip
_ROOT = "2.25."  # UIDs derived from a number need no registered root


class _Labeling(NamedTuple):
    """The values that are written about the segments, by their names, and the series."""

    colors: Mapping[str, Color]
    terms: Mapping[str, Terminology]
    series_description: str


def write_dicom_seg(
    path: str | Path,
    masks: Mapping[str, Mask],
    geometry: VolumeGeometry,
    dicom_files: Sequence[Path] | None,
    colors: Mapping[str, Color] | None = None,
    series_description: str = "MedSAMSlicer segmentation",
    terms: Mapping[str, Terminology] | None = None,
) -> str:
    """Writes a binary DICOM SEG that refers to the series it was drawn on, image by image.

    Args:
        path: of the .dcm file, replaced atomically.
        masks: segment name -> (K, J, I) boolean; at least one voxel in all. Allow overlap.
        geometry: of the volume.
        dicom_files: Volume.dicom_files of the volume.
        colors: segment name -> (r, g, b) from 0 to 1; those not given are chosen.
        series_description: of the new series.
        terms: segment name -> what it is; those not given are "Tissue", as in Slicer.

    Returns:
        The UID of the SOP instance.

    Raises:
        OutputError: naming `path`, when highdicom is missing, the volume did not come from DICOM, the masks are
            empty, or the series lacks what the standard asks for.
    """
    planes = len(dicom_files or ()) if len(dicom_files or ()) > 1 else geometry.shape[0]
    for name, mask in masks.items():
        if mask.shape != geometry.shape or planes != geometry.shape[0]:
            raise OutputError(
                f"Cannot write {path}: the mask {name!r} does not have the shape of the series."
            )
    if not any(mask.any() for mask in masks.values()):
        raise OutputError(f"Cannot write {path}: DICOM SEG cannot hold an empty segmentation.")
    pixels = np.stack([np.asarray(mask, dtype=np.uint8) for mask in masks.values()], axis=-1)
    labeling = _Labeling(colors or {}, terms or {}, series_description)
    content, instance = _encoded(path, list(masks), pixels, geometry, dicom_files, labeling)
    write_bytes(path, content)
    return instance


def check_dicom_seg(
    path: str | Path,
    names: Sequence[str],
    geometry: VolumeGeometry,
    dicom_files: Sequence[Path] | None,
) -> None:
    """Find out before anything is computed whether a series allows a DICOM SEG: one is made of a few voxels.

    Args:
        path, geometry, dicom_files: as for :func:`write_dicom_seg`; nothing is written.
        names: of the segments.

    Raises:
        OutputError: as :func:`write_dicom_seg`.
    """
    pixels = np.zeros((*geometry.shape, len(names)), dtype=np.uint8)
    pixels[geometry.shape[0] // 2, :2, :2] = 1
    with _quiet():
        _encoded(path, names, pixels, geometry, dicom_files, _Labeling({}, {}, "check"))


def _encoded(
    path: str | Path,
    names: Sequence[str],
    pixels: npt.NDArray[np.uint8],
    geometry: VolumeGeometry,
    dicom_files: Sequence[Path] | None,
    labeling: _Labeling,
) -> tuple[bytes, str]:
    """The file of segments (K, J, I, names), and the UID of its SOP instance."""
    hd, pydicom = _libraries(path)
    if not dicom_files:
        raise OutputError(
            f"Cannot write {path}: DICOM SEG needs a DICOM series as its source; write a .seg.nrrd instead."
        )
    if geometry.shape[1] * geometry.shape[2] < _SMALLEST_FRAME:
        raise OutputError(
            f"Cannot write {path}: DICOM SEG needs at least eight pixels per slice, and these have only "
            f"{geometry.shape[1]} x {geometry.shape[2]}; write a .seg.nrrd instead."
        )
    try:
        sources = _sources(dicom_files, pydicom, geometry)
        if len(sources) == 1 and "NumberOfFrames" in sources[0]:
            pixels = pixels[np.argsort(frame_order(Path(dicom_files[0])))]
    except (OSError, EOFError, RuntimeError, VolumeError) as error:
        raise OutputError(f"Cannot write {path}: the series can no longer be read ({error}).") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of highdicom and pydicom, about values that the source series holds
            segmentation = hd.seg.Segmentation(
                source_images=sources,
                pixel_array=pixels,
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=_descriptions(names, labeling, hd, pydicom),
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
                series_description=labeling.series_description[:64],
                omit_empty_frames=True,
            )
            buffer = io.BytesIO()
            segmentation.save_as(buffer)
    except (AttributeError, ValueError, KeyError, TypeError, OverflowError) as error:
        reason = on_one_line(error)
        raise OutputError(
            f"Cannot write {path}: the series does not allow a DICOM SEG ({reason}); write a .seg.nrrd instead."
        ) from error
    return buffer.getvalue(), str(segmentation.SOPInstanceUID)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of this file is logged inside: what is mended is reported when the file is written."""
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


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


def _sources(dicom_files: Sequence[Path], pydicom: Any, geometry: VolumeGeometry) -> list[Any]:
    """The headers of the series; what anonymization emptied or a program wrote wrongly is mended, alike in every file.

    The SOP instance stands in the file's own header too, so that references stay right; the UIDs of study and
    series can only be new ones. What had to be changed is logged as a warning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of pydicom, about values that break the standard: they are mended here
        datasets = [pydicom.dcmread(file, stop_before_pixels=True, force=True) for file in dicom_files]
        dropped: set[str] = set()
        for index, dataset in enumerate(datasets):
            _mend_values(dataset, pydicom, dropped)
            if not dataset.get("NumberOfFrames"):
                _mend_place(dataset, geometry, index, dropped)
    missing = _fill_identity(datasets)
    if dropped:
        logger.warning(
            "The series has unusable values of %s; the DICOM SEG leaves them out or replaces them.",
            ", ".join(sorted(dropped)),
        )
    if missing:
        names = ", ".join(sorted(missing))
        logger.warning(
            "The series has no %s; the DICOM SEG refers to its images by their own UIDs only.", names
        )
    return datasets


def _fill_identity(datasets: Sequence[Any]) -> set[str]:
    """Fill in UIDs and names that a segmentation must have; returns which UIDs were made."""
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
        for name in _PLAIN:
            if name not in dataset:
                setattr(dataset, name, "")
        for name in ("StudyDate", "StudyTime"):
            if name not in dataset:
                setattr(dataset, name, None)
    return missing


def _mend_values(dataset: Any, pydicom: Any, dropped: set[str]) -> None:
    """Decode text as Unicode and empty the values of patient and study that do not follow the standard."""
    try:
        dataset.decode()
    except (LookupError, ValueError, TypeError, AttributeError):
        dropped.add("SpecificCharacterSet")
    dataset.SpecificCharacterSet = "ISO_IR 192"  # Unicode holds every name
    for name in _COPIED:
        if name not in dataset:
            continue
        try:
            element = dataset[name]
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                pydicom.dataelem.DataElement(
                    element.tag, element.VR, element.value, validation_mode=pydicom.config.RAISE
                )
            if element.VR == "DA" and element.value:
                pydicom.valuerep.DA(str(element.value))
        except (ValueError, TypeError, UserWarning, OverflowError, AttributeError):
            del dataset[name]
            if name in _PLAIN or name in ("StudyDate", "StudyTime"):
                setattr(dataset, name, "" if name in _PLAIN else None)
            dropped.add(name)


def _mend_place(dataset: Any, geometry: VolumeGeometry, index: int, dropped: set[str]) -> None:
    """Replace what a slice lacks of its place, or has in no valid numbers, by what the volume was read with."""
    spacing = geometry.spacing
    lps = lps_from_ras(geometry.ijk_to_ras)
    axes = lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)
    values = {
        "SliceThickness": (spacing[2],),
        "PixelSpacing": (spacing[1], spacing[0]),
        "ImagePositionPatient": tuple(lps[:3, 3] + index * lps[:3, 2]),
        "ImageOrientationPatient": (*axes[:, 0], *axes[:, 1]),
    }
    for name, numbers in values.items():
        try:
            found = np.atleast_1d(np.asarray(dataset.get(name), dtype=np.float64))
        except (ValueError, TypeError, OverflowError):
            found = np.full(len(numbers), np.nan)
        lengths = name in ("SliceThickness", "PixelSpacing")
        if (
            found.shape == (len(numbers),)
            and np.isfinite(found).all()
            and not (lengths and (found <= 0).any())
        ):
            continue
        if name in dataset:
            del dataset[name]
        text = [f"{value + 0.0:.9g}" for value in numbers]
        setattr(dataset, name, text if len(text) > 1 else text[0])
        dropped.add(name)
    if "SpacingBetweenSlices" in dataset:
        try:
            float(dataset.SpacingBetweenSlices)
        except (ValueError, TypeError):
            del dataset.SpacingBetweenSlices
            dropped.add("SpacingBetweenSlices")


def _series_number(dataset: Any) -> int:
    number = dataset.get("SeriesNumber")
    return int(number) + 1000 if number is not None and int(number) > 0 else 1000


def _descriptions(names: Sequence[str], labeling: _Labeling, hd: Any, pydicom: Any) -> list[Any]:
    descriptions = []
    labels = unique_labels(names)
    for number, name in enumerate(names):
        is_what, color = labeling.terms.get(name, TISSUE), labeling.colors.get(name, color_of(number))
        description = hd.seg.SegmentDescription(
            segment_number=number + 1,
            segment_label=labels[number],
            segmented_property_category=_concept(is_what.category, hd),
            segmented_property_type=_concept(is_what.kind, hd),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name="MedSAMSlicer",
                version=__version__,
                family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
            ),
            anatomic_regions=None if is_what.region is None else [_concept(is_what.region, hd)],
            display_color=hd.color.CIELabColor.from_rgb(*(round(255 * value) for value in color)),
        )
        # highdicom knows no modifiers.
        for place, modifier, sequence in (
            (
                "SegmentedPropertyTypeCodeSequence",
                is_what.modifier,
                "SegmentedPropertyTypeModifierCodeSequence",
            ),
            ("AnatomicRegionSequence", is_what.region_modifier, "AnatomicRegionModifierSequence"),
        ):
            if modifier is not None and place in description:
                item = getattr(description, place)[0]
                setattr(item, sequence, pydicom.Sequence([_concept(modifier, hd)]))
        descriptions.append(description)
    return descriptions


def _concept(code: Code, hd: Any) -> Any:
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def unique_labels(names: Sequence[str]) -> list[str]:
    """Segment labels as DICOM takes them: at most 64 letters, without backslashes, each once.

    Of equal labels the later ones end in a number.
    """
    labels: list[str] = []
    for name in names:
        plain = name.replace("\\", "/")
        label, number = plain[:_LONGEST_LABEL].rstrip(), 2
        while label in labels:
            ending = f" ({number})"
            label, number = plain[: _LONGEST_LABEL - len(ending)].rstrip() + ending, number + 1
        if label != name:
            logger.warning("In the DICOM SEG the segment %r is called %r.", name, label)
        labels.append(label)
    return labels
