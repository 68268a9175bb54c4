"""Writes masks as segmentations of 3D Slicer (.seg.nrrd) and as labelmaps (.nrrd, .nii, .nii.gz, .mha)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import OutputError
from ..core.geometry import SAME_PLACE_VOXELS, VolumeGeometry
from ..core.masks import bounding_box
from .atomic import replacing
from .metaimage import encode_mha
from .nifti import encode_nifti, is_readable_by_slicer, rounding_mm
from .nrrd import write_nrrd

logger = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]
Color = tuple[float, float, float]

LABELMAP_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

# Distinct on gray images; the first seven also for the common kinds of color blindness (Okabe and Ito 2008).
PALETTE: tuple[Color, ...] = (
    (0.90, 0.62, 0.00),
    (0.34, 0.71, 0.91),
    (0.00, 0.62, 0.45),
    (0.94, 0.89, 0.26),
    (0.84, 0.37, 0.00),
    (0.80, 0.47, 0.65),
    (0.00, 0.45, 0.70),
    (0.60, 0.85, 0.35),
    (0.70, 0.55, 1.00),
    (1.00, 0.65, 0.60),
    (0.25, 0.88, 0.82),
    (0.75, 0.15, 0.35),
)

_TERMINOLOGY = (
    "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~Anatomic codes - DICOM master list~^^~^^|"
)
_NO_EXTENT = (0, -1, 0, -1, 0, -1)


@dataclass(frozen=True)
class Layers:
    """Masks as few label images as their overlaps allow.

    Attributes:
        array: (K, J, I, layers) label values.
        places: (layer, label value) of each mask, in their order.
    """

    array: npt.NDArray[Any]
    places: tuple[tuple[int, int], ...]


def color_of(index: int) -> Color:
    """The color, (r, g, b) from 0 to 1, of the object number `index` when the user chose none."""
    return PALETTE[index % len(PALETTE)]


def in_layers(masks: Sequence[Mask], shape: tuple[int, int, int]) -> Layers:
    """Puts each mask into the first layer where it overlaps no other; labels count from 1 within a layer."""
    dtype = np.uint8 if len(masks) <= 255 else np.uint16
    layers: list[npt.NDArray[Any]] = []
    places = []
    counts: list[int] = []
    for mask in masks:
        free = (n for n, layer in enumerate(layers) if not layer[mask].any())
        number = next(free, len(layers))
        if number == len(layers):
            layers.append(np.zeros(shape, dtype=dtype))
            counts.append(0)
        counts[number] += 1
        layers[number][mask] = counts[number]
        places.append((number, counts[number]))
    if len(layers) > 1:
        return Layers(np.stack(layers, axis=-1), tuple(places))
    return Layers((layers[0] if layers else np.zeros(shape, dtype=dtype))[..., np.newaxis], tuple(places))


def write_seg_nrrd(
    path: str | Path,
    masks: Mapping[str, Mask],
    geometry: VolumeGeometry,
    colors: Mapping[str, Color] | None = None,
    reference_name: str = "",
) -> None:
    """Writes a segmentation that 3D Slicer loads with names, colors and place.

    The image has the full extent of the volume; each segment says which part of it it fills, so that Slicer
    keeps only that part in memory. Segments that overlap go to layers of their own.

    Args:
        path: of the .seg.nrrd file, replaced atomically.
        masks: segment name -> (K, J, I) boolean; an empty mask stays as an empty segment.
        geometry: of all masks.
        colors: segment name -> (r, g, b) from 0 to 1; those not given are chosen.
        reference_name: of the segmented volume, kept in the header.

    Raises:
        OutputError: naming `path`; also for a mask of another shape.
    """
    checked = {name: _checked(path, name, mask, geometry) for name, mask in masks.items()}
    layers = in_layers(list(checked.values()), geometry.shape)
    keys = _segment_keys(list(checked), layers, colors or {}) | {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ConversionParameters": _reference_geometry(geometry),
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    if reference_name:
        keys["MedSAMSlicer_ReferenceVolume"] = reference_name
    array = layers.array[..., 0] if layers.array.shape[-1] == 1 else layers.array
    write_nrrd(path, array, geometry, keys)


def names_file(path: Path) -> Path | None:
    """NAME.labels.json, which `write_labelmap` writes beside a file that cannot hold the names; else None."""
    name = path.name.lower()
    suffix = next((ending for ending in LABELMAP_SUFFIXES if name.endswith(ending)), None)
    return None if suffix in (None, ".nrrd") else path.with_name(path.name[: -len(suffix)] + ".labels.json")


def write_labelmap(
    path: str | Path,
    masks: Mapping[str, Mask],
    geometry: VolumeGeometry,
    colors: Mapping[str, Color] | None = None,
) -> int:
    """Writes one image of whole numbers, 0 for background and 1, 2, ... for the masks in their order.

    Names and colors go into the header of an NRRD file, as 3D Slicer reads them, and into NAME.labels.json beside
    the others. Where masks overlap the later one shows; a segmentation (.seg.nrrd) keeps both.

    Args:
        path: ends in one of LABELMAP_SUFFIXES, which decides the format.
        masks, geometry, colors: as in write_seg_nrrd; each mask is asked for once, and let go before the next.

    Returns:
        How many voxels belong to more than one mask.

    Raises:
        OutputError: naming `path`.
    """
    path = Path(path)
    suffix = next((ending for ending in LABELMAP_SUFFIXES if path.name.lower().endswith(ending)), None)
    if suffix is None:
        raise OutputError(f"Cannot write {path}: its name must end in {', '.join(LABELMAP_SUFFIXES)}.")
    names = list(masks)
    labels = np.zeros(geometry.shape, dtype=np.uint8 if len(names) <= 255 else np.uint16)
    overlap = np.zeros(geometry.shape, dtype=bool)
    counts: list[int] = []
    for label, name in enumerate(names, start=1):
        mask = _checked(path, name, masks[name], geometry)
        covered = mask & (labels > 0)
        overlap |= covered
        for below, count in zip(*np.unique(labels[covered], return_counts=True), strict=True):
            counts[int(below) - 1] -= int(count)
        labels[mask] = label
        counts.append(int(np.count_nonzero(mask)))
        del mask  # so that the next one finds room
    shared = int(np.count_nonzero(overlap))
    if shared:
        logger.warning("%d voxels of %s belong to several objects; the later one was written.", shared, path)
    if suffix == ".nrrd":
        places = tuple((0, label) for label in range(1, len(names) + 1))
        layers = Layers(labels[..., np.newaxis], places)
        write_nrrd(path, labels, geometry, _segment_keys(names, layers, colors or {}))
        return shared
    if suffix != ".mha" and not is_readable_by_slicer(geometry):
        logger.warning(
            "%s has a shear (gantry tilt), which 3D Slicer does not read from NIfTI; .seg.nrrd keeps it.",
            path,
        )
    if suffix != ".mha" and (apart := rounding_mm(geometry)) > SAME_PLACE_VOXELS * min(geometry.spacing):
        logger.warning(
            "%s shifts the voxels by %.2g mm (%.2g voxels), because NIfTI has 32-bit numbers; .nrrd does not.",
            path,
            apart,
            apart / min(geometry.spacing),
        )
    beside = names_file(path)
    assert beside is not None  # only an NRRD file holds them itself
    with replacing(path, {beside: _names_json(names, counts, colors or {})}) as file:
        if suffix == ".mha":
            encode_mha(file, labels, geometry)
        else:
            encode_nifti(file, labels, geometry, compress=suffix == ".nii.gz")
    return shared


def _segment_keys(names: Sequence[str], layers: Layers, colors: Mapping[str, Color]) -> dict[str, str]:
    """The header fields by which 3D Slicer knows the segments."""
    extents = _layer_extents(layers.array)
    keys: dict[str, str] = {}
    for number, (name, (layer, label)) in enumerate(zip(names, layers.places, strict=True)):
        segment = {
            "Color": " ".join(f"{value:.6g}" for value in colors.get(name, color_of(number))),
            "ColorAutoGenerated": "0",
            # One extent for all segments of a layer: Slicer gives the first one's to the image they share.
            "Extent": " ".join(str(edge) for edge in extents[layer]),
            "ID": f"Segment_{number + 1}",
            "LabelValue": str(label),
            "Layer": str(layer),
            "Name": name,
            "NameAutoGenerated": "0",
            "Tags": _TERMINOLOGY,
        }
        keys |= {f"Segment{number}_{key}": value for key, value in segment.items()}
    return keys


def _names_json(names: Sequence[str], counts: Sequence[int], colors: Mapping[str, Color]) -> bytes:
    labels = {
        str(number + 1): {
            "name": name,
            "color": [round(float(value), 6) for value in colors.get(name, color_of(number))],
            "voxels": count,
        }
        for number, (name, count) in enumerate(zip(names, counts, strict=True))
    }
    return (json.dumps({"labels": labels}, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def _checked(path: str | Path, name: str, mask: Mask, geometry: VolumeGeometry) -> Mask:
    if mask.shape != geometry.shape:
        raise OutputError(
            f"Cannot write {path}: the mask {name!r} has shape {mask.shape}, the volume {geometry.shape}."
        )
    return np.asarray(mask, dtype=bool)


def _layer_extents(array: npt.NDArray[Any]) -> list[tuple[int, ...]]:
    """(first i, last i, first j, last j, first k, last k) of what each layer of (K, J, I, layers) holds."""
    boxes = [bounding_box(layer != 0) for layer in np.moveaxis(array, -1, 0)]
    return [
        _NO_EXTENT if box is None else tuple(n for side in box[::-1] for n in (side.start, side.stop - 1))
        for box in boxes
    ]


def _reference_geometry(geometry: VolumeGeometry) -> str:
    """The volume's grid, as Slicer keeps it among a segmentation's conversion parameters."""
    numbers = [repr(float(value)) for value in geometry.ijk_to_ras.ravel()]
    numbers += [str(edge) for size in reversed(geometry.shape) for edge in (0, size - 1)]
    return f"Reference image geometry|{';'.join(numbers)};|Geometry of the segmented volume.&"
