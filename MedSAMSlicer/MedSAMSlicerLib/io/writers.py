"""One way to write a result: the name of the file says its format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.errors import OutputError
from .dicom_seg import write_dicom_seg
from .segmentations import LABELMAP_SUFFIXES, Color, Mask, write_labelmap, write_seg_nrrd
from .volumes import Volume

SUFFIXES = (".seg.nrrd", *LABELMAP_SUFFIXES, ".dcm")


def check_suffix(path: str | Path) -> str:
    """The ending of `path` that decides its format; OutputError when there is none."""
    name = Path(path).name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix):
            return suffix
    raise OutputError(f"Cannot write {path}: its name must end in {', '.join(SUFFIXES)}.")


def write_segmentation(
    path: str | Path,
    masks: Mapping[str, Mask],
    volume: Volume,
    colors: Mapping[str, Color] | None = None,
) -> None:
    """Writes masks, name -> (K, J, I) boolean, of a volume: segmentation, labelmap or DICOM SEG by the ending.

    Raises:
        OutputError: naming `path`.
    """
    suffix = check_suffix(path)
    if suffix == ".seg.nrrd":
        write_seg_nrrd(path, masks, volume.geometry, colors, volume.name)
    elif suffix == ".dcm":
        write_dicom_seg(path, masks, volume.geometry, volume.dicom_files, colors)
    else:
        write_labelmap(path, masks, volume.geometry, colors)
