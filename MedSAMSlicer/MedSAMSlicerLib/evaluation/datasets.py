"""Labelled volumes to measure on: from a manifest, or from a folder of image and label pairs.

A manifest is a JSON list; of each entry these fields are read: "name", "image" and "label" (paths beside the manifest;
an image may be a folder with a DICOM series; no label = not a case), "modality", "labels" {value: {"name": ...}} and
"target". Where "target" says `NAME = labels A-B`, as for a tumour whose parts have labels of their own, those
labels together are the one target of that case.

Without a manifest, pairs are found by their names: `X_image` or `X` beside `X_label` (or `_labels`, `_seg`,
`_mask`), or a folder `images*` beside `labels*` with files of the same names (`X_0000` goes with `X`).

A target is the largest component (over faces) of a label; of a case, the labels with the most voxels are taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import VolumeError
from ..core.geometry import SliceAxis
from ..engine.cleanup import components
from ..io.labels import read_label
from ..io.volumes import Volume, read_volume, stem
from .measurement import VOLUME

MOST_TARGETS = 4

_LABEL_ENDINGS = ("_label", "_labels", "_seg", "_mask", "-label")
_IMAGE_ENDINGS = ("_image", "", "_img", "_0000")
_FILES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_JOINED = re.compile(r"(?P<name>[^=;]+?)\s*=\s*labels\s+(?P<first>\d+)-(?P<last>\d+)")

BoolVolume = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """One labelled volume, not read yet.

    Attributes:
        name: unique in its data set.
        image: a file, or a folder with a DICOM series.
        label: a label image on the same grid.
        modality: as the manifest calls it.
        names: label value -> what it is.
        joined: name and label values of the one target they make together; None = each label is a target.
        kind: VOLUME, IMAGE or VIDEO.
    """

    name: str
    image: Path
    label: Path
    modality: str = "not said"
    names: Mapping[int, str] = field(default_factory=dict)
    joined: tuple[str, tuple[int, ...]] | None = None
    kind: str = VOLUME

    @property
    def is_series(self) -> bool:
        """Whether the image is DICOM."""
        return self.image.is_dir() or self.image.suffix.lower() == ".dcm"


@dataclass(frozen=True, eq=False)
class Target:
    """One object to segment.

    Attributes:
        case: the volume's.
        name: within its case.
        mask: (K, J, I) bool, the truth.
        axis: along which the volume is cut into slices.
    """

    case: Case
    name: str
    mask: BoolVolume
    axis: SliceAxis = SliceAxis.K

    @property
    def areas(self) -> npt.NDArray[np.int64]:
        """Voxels of the object on each slice."""
        return np.count_nonzero(self.mask, axis=(self.axis.row_axis, self.axis.column_axis))

    @property
    def slice_range(self) -> tuple[int, int]:
        """First and last slice of the object."""
        filled = np.flatnonzero(self.areas)
        return int(filled[0]), int(filled[-1])

    @property
    def largest_slice(self) -> int:
        """The slice with the most voxels of the object, the first of equals."""
        return int(self.areas.argmax())


def find_cases(data: Path) -> list[Case]:
    """The labelled cases of a manifest (the file, or its folder), or of a folder of pairs; sorted as found.

    Raises:
        VolumeError: nothing is there, or the manifest is damaged.
    """
    manifest = data if data.is_file() else data / "manifest.json"
    if not data.exists():
        raise VolumeError(f"{data} does not exist.")
    cases = _from_manifest(manifest) if manifest.is_file() else _from_folder(data)
    if not cases:
        raise VolumeError(
            f"{data} holds no labelled volume: neither a manifest.json nor pairs such as X_image, X_label."
        )
    return cases


def load_case(case: Case, most: int = MOST_TARGETS) -> tuple[Volume, list[Target]]:
    """The volume of a case and its largest targets, at most `most`, the largest label first.

    Raises:
        MedSAMError: the image or its label cannot be used; one sentence.
    """
    volume = read_volume(case.image)
    labels = read_label(case.label, volume.geometry)
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    if not values.size:
        raise VolumeError(f"{case.label} labels no voxel.")
    if case.joined is not None:
        name, members = case.joined
        wanted: list[tuple[str, tuple[int, ...]]] = [(name, members)]
    else:
        order = np.lexsort((values, -counts))[:most]
        wanted = [(case.names.get(int(v), str(v)), (int(v),)) for v in values[order]]
    targets = []
    for name, members in wanted:
        mask = np.isin(labels, members)
        if mask.any():
            targets.append(Target(case, name, largest_component(mask)))
    return volume, targets


def largest_component(mask: BoolVolume) -> BoolVolume:
    """The part of a mask (any number of axes, not empty) that hangs together over faces and has the most voxels."""
    labels, count = components(mask)
    if count < 2:
        return mask
    return np.asarray(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()), np.bool_)


def _from_manifest(path: Path) -> list[Case]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [_case(entry, path.parent) for entry in entries if entry.get("label")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VolumeError(f"The manifest {path} cannot be read: {error!r}.") from error


def _case(entry: Mapping[str, Any], folder: Path) -> Case:
    names = {int(value): str(said.get("name", value)) for value, said in (entry.get("labels") or {}).items()}
    joined = _JOINED.search(str(entry.get("target") or ""))
    members = None
    if joined:
        members = (joined["name"].strip(), tuple(range(int(joined["first"]), int(joined["last"]) + 1)))
    modality = str(entry.get("modality") or "not said")
    return Case(
        str(entry["name"]), folder / entry["image"], folder / entry["label"], modality, names, members
    )


def _from_folder(folder: Path) -> list[Case]:
    files = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(_FILES))
    by_place = {(path.parent, stem(path)): path for path in files}
    cases = {}
    for path in files:
        for image in _images_of(path, by_place):
            name = image.relative_to(folder).with_name(stem(path)).as_posix()
            cases[path] = Case(_without(name, _LABEL_ENDINGS), image, path)
            break
    return list(cases.values())


def _images_of(label: Path, by_place: Mapping[tuple[Path, str], Path]) -> Iterable[Path]:
    """Images that a file may be the label of, the likeliest first; none when it is not a label."""
    name, parent = stem(label), label.parent
    places: list[tuple[Path, str]] = []
    base = _without(name, _LABEL_ENDINGS)
    if base != name:
        places += [(parent, base + ending) for ending in _IMAGE_ENDINGS]
    if parent.name.lower().startswith("labels"):
        beside = parent.with_name("images" + parent.name[len("labels") :])
        places += [(beside, name + ending) for ending in ("", "_0000")]
    return (by_place[place] for place in places if place in by_place)


def _without(name: str, endings: tuple[str, ...]) -> str:
    return next((name[: -len(ending)] for ending in endings if name.endswith(ending)), name)
