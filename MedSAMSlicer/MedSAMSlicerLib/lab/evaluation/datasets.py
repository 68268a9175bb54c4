"""Labeled volumes, pictures and videos to measure on: from a manifest, or from a folder of image and label pairs.

A manifest is a JSON list; of each row these fields are read: "name", "image" and "label" (paths beside the manifest;
no label = not a case), "modality", "labels" {value: {"name": ...}}, "target", "kind" and "channels" (one or two
further volumes of the case that the network sees beside it, each as "FILE" or {"image": FILE, "window": ...}). An
image may be a volume, a picture, a folder with a DICOM series or one with the frames of a video; then the label may be
a folder of masks.
Where "target" says `NAME = labels A-B`, as for a tumor whose parts have labels of their own, those labels together are
the one target of that case. "kind" (volume, image, video) is needed only for a video that is a gray volume.

Without a manifest, pairs are found by their names, with these rules:

1. `X_label` beside `X` or `X_image`, in one folder. Other endings of labels: `_labels`, `_seg`, `_segmentation`,
   `_mask`, `_masks`, `_gt`, `_groundtruth`, and `-label`, `-seg`, `-mask`.
2. Files of one name in a folder of labels (`labels`, `masks`, `annotations`, `segmentations`, `Ground Truth`, `gt`,
   also in the singular, with anything behind: `labelsTr`) and in the folder of images beside it (`images`, `imgs`,
   `pictures`, `Original`, `JPEGImages`, `frames`, with the same behind), or in folders of one name below the two.
   `X_0000` goes with `X`.
3. A video is a folder `frames` (or one below it, or one below `JPEGImages`, as in DAVIS) beside a folder of masks, as
   in rule 2. Elsewhere, pictures in one folder are pictures of their own.
4. A folder laid out as SA-Med2D-20M (:mod:`..samed2d`): each mask is a case of its own.
5. `.npz` files as in the CVPR 2025 competition (:mod:`.npz_cases`), their labels in the same file, or in one of the
   same name in another folder.

Volumes are NIfTI, NRRD and MetaImage, pictures PNG, JPEG, BMP and TIFF; a file of NIfTI, NRRD, MetaImage or DICOM with
one slice is a picture, one in color with many slices a video. What masks may hold is in :mod:`.pictures`, which
mask goes with which frame in :mod:`.frames`. Spacing is 1 mm where a file gives none.

A target is the largest component (over faces) of a label; in a video it is the whole label, since an object that moves
or goes out of sight is in parts. Of a case, the labels with the most voxels are taken. Protocols that segment all
labels at once (:func:`load_classes`) take every label as it is, on the slices that hold any label.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import VolumeError
from ...core.geometry import SliceAxis, VolumeGeometry
from ...engine.cleanup import components
from ...io.labels import read_label
from ...io.volumes import Volume, read_volume
from ..manifest_channels import channels_of, with_channels
from ..samed2d import find_pictures, is_samed2d
from .frames import kind_of, read_labeled_frames
from .measurement import IMAGE, VIDEO, VOLUME
from .npz_cases import MiddleBox, find_npz, is_npz, modality_of_npz, read_boxes, read_npz
from .pairs import find_pairs

MOST_TARGETS = 4

KINDS = (VOLUME, IMAGE, VIDEO)

_JOINED = re.compile(r"(?P<name>[^=;]+?)\s*=\s*labels\s+(?P<first>\d+)-(?P<last>\d+)")

BoolVolume = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Case:
    """One labeled volume, picture or video, not read yet.

    Attributes:
        name: unique in its data set.
        image: a file, or a folder with a DICOM series or the frames of a video.
        label: a label image on the same grid, or a folder of masks.
        modality: as the manifest calls it.
        names: label value -> what it is.
        joined: name and label values of the one target they make together; None = each label is a target.
        kind: VOLUME, IMAGE or VIDEO.
        channels: volumes that are shown beside the image, each with its window; then the case is in color.
        window: of the image, where there are channels.
    """

    name: str
    image: Path
    label: Path
    modality: str = "not given"
    names: Mapping[int, str] = field(default_factory=dict)
    joined: tuple[str, tuple[int, ...]] | None = None
    kind: str = VOLUME
    channels: tuple[tuple[Path, str], ...] = ()
    window: str = "auto"

    @property
    def is_series(self) -> bool:
        """Return whether the image is DICOM."""
        return (self.kind == VOLUME and self.image.is_dir()) or self.image.suffix.lower() == ".dcm"


@dataclass(frozen=True, eq=False)
class Target:
    """One object to segment.

    Attributes:
        case: the volume's.
        name: within its case.
        mask: (K, J, I) bool, the truth.
        axis: along which the volume is cut into slices; K for pictures and videos.
        box: that its data set gives for it; None = a protocol makes its own.
        boxless: whether its data set gives boxes, but none for this case.
    """

    case: Case
    name: str
    mask: BoolVolume
    axis: SliceAxis = SliceAxis.K
    box: MiddleBox | None = None
    boxless: bool = False

    @property
    def kind(self) -> str:
        """VOLUME, IMAGE or VIDEO, as its case."""
        return self.case.kind

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
    """The labeled cases of a manifest (the file, or its folder), or of a folder of pairs; sorted as found.

    Raises:
        VolumeError: nothing is there, or the manifest is damaged.
    """
    manifest = data if data.is_file() else data / "manifest.json"
    if not data.exists():
        raise VolumeError(f"{data} does not exist.")
    if manifest.is_file():
        cases = _from_manifest(manifest)
    elif is_samed2d(data):
        cases = [
            Case(mask.path.stem, picture.path, mask.path, picture.modality, {1: mask.name}, kind=IMAGE)
            for picture in find_pictures(data)
            for mask in picture.masks
        ]
    else:
        pairs = find_pairs(data)
        cases = [Case(p.name, p.image, p.label, kind=kind_of(p.image, p.label)) for p in pairs]
        cases += [Case(name, image, label, modality_of_npz(image)) for name, image, label in find_npz(data)]
    if not cases:
        raise VolumeError(
            f"{data} holds no labeled volume: neither a manifest.json nor pairs such as X_image, X_label."
        )
    return cases


def load_case(case: Case, most: int = MOST_TARGETS) -> tuple[Volume, list[Target]]:
    """The volume of a case and its largest targets, at most `most`, the largest label first.

    A picture is a volume of one slice, a video one of many; in color its array is (K, J, I, 3) uint8.

    Raises:
        MedSAMError: the image or its label cannot be used; one sentence.
    """
    volume, labels = _read(case)
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    if not values.size:
        raise VolumeError(f"{case.label} labels no voxel.")
    if case.joined is not None:
        name, members = case.joined
        wanted: list[tuple[str, tuple[int, ...]]] = [(name, members)]
    else:
        order = np.lexsort((values, -counts))[:most]
        wanted = [(_name(case, int(value)), (int(value),)) for value in values[order]]
    targets = []
    for name, members in wanted:
        mask = np.isin(labels, members)
        if mask.any():
            targets.append(Target(case, name, mask if case.kind == VIDEO else largest_component(mask)))
    return volume, targets


def load_classes(case: Case) -> tuple[Volume, list[Target]]:
    """The volume of a case and all its labels in ascending order, each as it is, on the slices that hold any label.

    Where the case joins labels, they are its one class.

    Raises:
        MedSAMError: the image or its label cannot be used, or boxes do not go with the labels; one sentence.
    """
    volume, labels = _read(case)
    if case.joined is not None:
        labels = np.where(np.isin(labels, case.joined[1]), 1, 0)
        names = {1: case.joined[0]}
    else:
        names = {int(value): _name(case, int(value)) for value in np.unique(labels[labels > 0])}
    if not labels.any():
        raise VolumeError(f"{case.label} labels no voxel.")
    given = is_npz(case.image)
    boxes = read_boxes(case.image) if given else None
    if boxes is not None and len(boxes) != len(names):
        raise VolumeError(f"{case.image} gives {len(boxes)} boxes for {len(names)} labels.")
    outside = [box for box in boxes or () if not box.lies_in(labels.shape)]
    if outside:
        raise VolumeError(f"{case.image} gives a box that does not lie in its volume: {outside[0]}.")
    if not given:
        volume, labels = _labeled_slices(volume, labels)
    counts, targets = Counter(names.values()), []
    for number, (value, name) in enumerate(names.items()):
        distinct = name if counts[name] == 1 else f"{name} ({value})"
        box = None if boxes is None else boxes[number]
        targets.append(Target(case, distinct, labels == value, box=box, boxless=given and boxes is None))
    return volume, targets


def _labeled_slices(volume: Volume, labels: Labels) -> tuple[Volume, Labels]:
    """The slices that hold a label, one upon the other; the place of the volume is that of the first of them."""
    held = np.flatnonzero(labels.any(axis=(1, 2)))
    if len(held) == len(labels):
        return volume, labels
    matrix = volume.geometry.ijk_to_ras.copy()
    matrix[:3, 3] = volume.geometry.to_ras([[0.0, 0.0, float(held[0])]])[0]
    _, rows, columns = volume.geometry.shape
    geometry = VolumeGeometry((len(held), rows, columns), matrix)
    return replace(volume, array=volume.array[held], geometry=geometry, dicom_files=None), labels[held]


def _name(case: Case, value: int) -> str:
    """Return what a label is called; of a binary mask, 255 on disk is 1 here."""
    names = {1: case.names.get(255), **case.names} if case.kind != VOLUME else case.names
    return names.get(value) or str(value)


def _read(case: Case) -> tuple[Volume, Labels]:
    if is_npz(case.image):
        return read_npz(case.image, case.label)
    if case.kind != VOLUME:
        return read_labeled_frames(case.image, case.label)
    volume = read_volume(case.image)
    labels = read_label(case.label, volume.geometry)
    return with_channels(volume, case.channels, case.window), labels


def largest_component(mask: BoolVolume) -> BoolVolume:
    """The part of a mask, of any number of axes, that hangs together over faces and has the most voxels."""
    labels, count = components(mask)
    if count < 2:
        return mask
    return np.asarray(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()), np.bool_)


def _from_manifest(path: Path) -> list[Case]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        cases = [_case(row, path.parent) for row in rows if row.get("label")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VolumeError(f"The manifest {path} cannot be read: {error!r}.") from error
    name, count = Counter(case.name for case in cases).most_common(1)[0] if cases else ("", 0)
    if count > 1:
        raise VolumeError(
            f"The manifest {path} has {count} cases named {name!r}; each needs a name of its own."
        )
    return cases


def _case(row: Mapping[str, Any], folder: Path) -> Case:
    names = {int(value): str(label.get("name", value)) for value, label in (row.get("labels") or {}).items()}
    joined = _JOINED.search(str(row.get("target") or ""))
    members = None
    if joined:
        members = (joined["name"].strip(), tuple(range(int(joined["first"]), int(joined["last"]) + 1)))
    modality = str(row.get("modality") or "not given")
    image, label = folder / row["image"], folder / row["label"]
    kind = str(row.get("kind") or (VOLUME if is_npz(image) else kind_of(image, label)))
    if kind not in KINDS:
        raise ValueError(f"the kind of a case is one of {', '.join(KINDS)}, not {kind!r}")
    channels, window = channels_of(row, folder), str(row.get("window") or "auto")
    return Case(str(row["name"]), image, label, modality, names, members, kind, channels, window)
