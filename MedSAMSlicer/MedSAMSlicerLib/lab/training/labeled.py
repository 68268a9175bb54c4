"""A folder of labeled volumes: which image belongs to which labels, and the objects in them.

What a folder may hold is described in docs/fine-tuning.md: a `manifest.json`, or pairs of files by their names.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ...core.errors import MedSAMError, VolumeError
from ...core.geometry import SliceAxis, VolumeGeometry
from ...core.intensity import COLOR_WINDOW, Window, choose_window
from ...io.labels import read_label
from ...io.volumes import Volume, read_volume
from ..evaluation.frames import read_labeled_frames
from ..manifest_channels import channels_of, with_channels
from ..samed2d import find_pictures, is_samed2d
from .rng import seed_of

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".nhdr")
_LABEL_NAME = re.compile(r"^(?P<base>.*?)(?:[._-](?:labels?|seg|segmentation|mask|gt)|\.seg)$", re.IGNORECASE)
_IMAGE_NAME = re.compile(r"^(?P<base>.*?)[._-](?:image|img|volume|0000)$", re.IGNORECASE)
_LABEL_FOLDERS = {"labels", "labelstr", "masks", "segmentations"}
_IMAGE_FOLDERS = {"images", "imagestr", "volumes"}
_SMALLEST_OBJECT = 30  # voxels
_THICK_MM = 1000.0  # a picture
_MOST_OBJECTS = 12  # of one label: the largest


@dataclass(frozen=True)
class DataSettings:
    """The labeled volumes to learn from.

    Args:
        folder: See the module's docstring.
        only: Names of the volumes to use, `*` stands for any letters; none = all.
        leave_out: Names of volumes that are neither trained on nor validated on.
        validation: Share of the volumes that choose the best weights and are never trained on; 0 = none, and the
            weights are judged on what they were trained on.
        window: Gray values, as `choose_window` takes it; a window in the manifest comes first.
        smallest: Voxels of the smallest object to learn.
    """

    folder: Path
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    validation: float = 0.2
    window: str = "auto"
    smallest: int = _SMALLEST_OBJECT


@dataclass(frozen=True)
class TrainingCase:
    """One image file with its labels.

    Args:
        name: Unique within the folder.
        objects: Label values that make one object each, such as ((1,), (2, 3)); None = every label above 0 by itself.
        modality: "CT", "MR", "PT" ... where it is known.
        window: As `choose_window` takes it, where it is known.
        channels: Registered volumes that the network sees beside the image, each with its window.
        masks: Of a picture with a mask for each object: name and file of each, in place of `label`.
    """

    name: str
    image: Path
    label: Path
    objects: tuple[tuple[int, ...], ...] | None = None
    modality: str | None = None
    window: str | None = None
    channels: tuple[tuple[Path, str], ...] = ()
    masks: tuple[tuple[str, Path], ...] = ()


@dataclass(frozen=True, eq=False)
class TrainingTarget:
    """One connected object.

    Args:
        name: the label's.
        corner: first voxel (k, j, i) of the part of the volume that holds it.
        mask: that part, (k, j, i) bool.
    """

    name: str
    corner: tuple[int, int, int]
    mask: npt.NDArray[np.bool_]

    def extent(self, axis: SliceAxis) -> range:
        """The slices along `axis` that the object reaches over."""
        return range(self.corner[axis], self.corner[axis] + self.mask.shape[axis])

    def areas(self, axis: SliceAxis) -> npt.NDArray[np.int64]:
        """Voxels of the object on each slice of its extent."""
        return np.asarray(self.mask.sum(axis=(axis.row_axis, axis.column_axis)))

    def in_volume(self, geometry: VolumeGeometry) -> npt.NDArray[np.bool_]:
        """The object's mask in the whole volume, (K, J, I)."""
        whole = np.zeros(geometry.shape, dtype=np.bool_)
        part = (slice(at, at + count) for at, count in zip(self.corner, self.mask.shape, strict=True))
        whole[tuple(part)] = self.mask
        return whole

    def on_slice(self, geometry: VolumeGeometry, axis: SliceAxis, index: int) -> npt.NDArray[np.bool_]:
        """The object's mask on a whole slice, (rows, columns)."""
        whole = np.zeros(geometry.slice_shape(axis), dtype=np.bool_)
        if index in self.extent(axis):
            part = np.take(self.mask, index - self.corner[axis], axis=int(axis))
            row, column = self.corner[axis.row_axis], self.corner[axis.column_axis]
            whole[row : row + part.shape[0], column : column + part.shape[1]] = part
        return whole


@dataclass(frozen=True, eq=False)
class LabeledVolume:
    """A volume in its own voxel values, (K, J, I), or in color, (K, J, I, 3) uint8, with its window and objects."""

    name: str
    array: npt.NDArray[Any]
    geometry: VolumeGeometry
    window: Window
    targets: tuple[TrainingTarget, ...]


def united(target: TrainingTarget, others: Sequence[TrainingTarget]) -> TrainingTarget:
    """An object together with those of `others` that touch it or lie in it (Varadarajan et al. 2023, SqueezeSAM)."""
    around = sitk.GetImageFromArray(np.pad(target.mask, 1).astype(np.uint8))
    grown = sitk.GetArrayViewFromImage(sitk.BinaryDilate(around, [1] * 3, sitk.sitkBox)) > 0
    low = np.array(target.corner) - 1
    parts = [target]
    for other in others:
        first = np.maximum(low, other.corner)
        last = np.minimum(low + grown.shape, np.array(other.corner) + other.mask.shape)
        if (first < last).all():
            ours, theirs = (
                mask[tuple(slice(a, b) for a, b in zip(first - at, last - at, strict=True))]
                for mask, at in ((grown, low), (other.mask, np.array(other.corner)))
            )
            if (ours & theirs).any():
                parts.append(other)
    corner = np.min([part.corner for part in parts], 0)
    end = np.max([np.add(part.corner, part.mask.shape) for part in parts], 0)
    mask = np.zeros(end - corner, np.bool_)
    for part in parts:
        at = np.subtract(part.corner, corner)
        mask[tuple(slice(a, a + n) for a, n in zip(at, part.mask.shape, strict=True))] |= part.mask
    return TrainingTarget("+".join(part.name for part in parts), (corner[0], corner[1], corner[2]), mask)


# ----------------------------------------------------------------------------------------------- which files there are


def find_cases(folder: Path, warn: bool = True) -> list[TrainingCase]:
    """All pairs of a folder, sorted by name; with `warn` a warning names labels without an image.

    Raises VolumeError when there is no such folder, no pair in it, or its manifest cannot be read.
    """
    if not folder.is_dir():
        raise VolumeError(f"The folder of labeled volumes {folder} does not exist.")
    if (folder / MANIFEST).is_file():
        cases = _from_manifest(folder)
    elif is_samed2d(folder):
        cases = [
            TrainingCase(
                each.name,
                each.path,
                each.masks[0].path,
                modality=each.modality,
                masks=tuple((mask.name, mask.path) for mask in each.masks),
            )
            for each in find_pictures(folder, notice=warn)
        ]
    else:
        cases = _by_name(folder, warn)
    if not cases:
        raise VolumeError(
            f"{folder} holds no image with labels: name them like case1.nii.gz and case1_label.nii.gz "
            f"(or case1.seg.nrrd), or list them in {MANIFEST}."
        )
    return sorted(cases, key=lambda case: case.name)


def cases_with_images(folder: Path, warn: bool = True) -> list[TrainingCase]:
    """The pairs of :func:`find_cases` whose image is there, a file or a DICOM folder: no label maps alone."""
    return [each for each in find_cases(folder, warn) if each.image.exists() and each.image != folder]


def _from_manifest(folder: Path) -> list[TrainingCase]:
    path = folder / MANIFEST
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        labeled = [row for row in rows if row.get("label")]
        return [_manifest_case(folder, row) for row in labeled]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise VolumeError(f'{path} must be a list of {{"image": ..., "label": ...}}: {error!r}.') from error


def _manifest_case(folder: Path, row: dict[str, Any]) -> TrainingCase:
    image, objects = str(row["image"]), row.get("objects")
    name = str(row.get("name") or image)
    if objects is not None:
        objects = tuple(tuple(int(value) for value in group) for group in objects)
    return TrainingCase(
        name,
        folder / image,
        folder / str(row["label"]),
        objects,
        row.get("modality"),
        row.get("window"),
        channels_of(row, folder),
    )


def _by_name(folder: Path, warn: bool = True) -> list[TrainingCase]:
    images: dict[tuple[str, str], Path] = {}
    labels: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.rglob("*")):
        ending = next((end for end in _ENDINGS if path.name.lower().endswith(end)), None)
        if ending is None or path.name.startswith(".") or not path.is_file():
            continue
        parts = path.relative_to(folder).parts[:-1]
        kind = {part.lower() for part in parts}
        place = "/".join(p for p in parts if p.lower() not in _LABEL_FOLDERS | _IMAGE_FOLDERS)
        stem = path.name[: -len(ending)]
        as_label, as_image = _LABEL_NAME.match(stem), _IMAGE_NAME.match(stem)
        if as_label or kind & _LABEL_FOLDERS:
            labels[place, as_label["base"] if as_label else stem] = path
        else:
            images[place, as_image["base"] if as_image else stem] = path
    for key in sorted(labels.keys() - images.keys()) if warn else ():
        logger.warning("%s is left out: there is no image for it", labels[key])
    shared = sorted(images.keys() & labels.keys())
    return [TrainingCase("/".join(filter(None, key)), images[key], labels[key]) for key in shared]


def label_maps(folder: Path | None) -> list[Path]:
    """Label maps of real anatomy without an image (`"image": null`), as the manifest of a folder names them."""
    manifest = None if folder is None else folder / MANIFEST
    if folder is None or manifest is None or not manifest.is_file():
        return []
    rows = json.loads(manifest.read_text(encoding="utf-8"))
    return [folder / str(row["label"]) for row in rows if row.get("label") and not row.get("image")]


@lru_cache(maxsize=64)
def read_label_map(path: Path) -> tuple[npt.NDArray[np.integer[Any]], tuple[float, float, float]]:
    """The labels of a label map, (K, J, I), and mm between its voxels along K, J and I; recent maps are remembered."""
    image = sitk.ReadImage(str(path))
    x, y, z = image.GetSpacing()
    labels = sitk.GetArrayFromImage(image)
    return labels.astype(np.min_scalar_type(int(labels.max()))), (z, y, x)


def may_be_volume(path: Path) -> bool:
    """Return whether a file is an image by its name, not labels of one; or a folder with a DICOM series."""
    if path.is_dir():
        return any(name.is_file() for name in path.glob("*") if name.suffix.lower() in ("", ".dcm"))
    ending = next((end for end in _ENDINGS if path.name.lower().endswith(end)), None)
    return ending is not None and _LABEL_NAME.match(path.name[: -len(ending)]) is None


# --------------------------------------------------------------------------------------------------- what is in them


def read_cases(
    cases: Sequence[TrainingCase],
    window: str = "auto",
    warn: bool = True,
    smallest: int = _SMALLEST_OBJECT,
) -> list[LabeledVolume]:
    """The volumes of cases; those that cannot be read, or hold no object to learn, are left out.

    With `warn` a warning says so; without, they are known already.

    Raises VolumeError when none is left, with the reason of the last.
    """
    volumes, reason = [], "none was given"
    for case in cases:
        try:
            volumes.append(_without_small(read_case(case, window), smallest))
        except MedSAMError as error:
            reason = str(error)
            if warn:
                logger.warning("%s is left out: %s", case.name, error)
    if not volumes:
        raise VolumeError(f"None of the {len(cases)} labeled volumes can be used: {reason}")
    return volumes


def _without_small(volume: LabeledVolume, smallest: int) -> LabeledVolume:
    """A volume with its objects of at least so many voxels. Raises VolumeError when there are none."""
    targets = tuple(target for target in volume.targets if int(target.mask.sum()) >= smallest)
    if not targets:
        raise VolumeError(f"{volume.name} holds no object of at least {smallest} voxels.")
    return replace(volume, targets=targets)


def read_case(case: TrainingCase, window: str = "auto") -> LabeledVolume:
    """One volume with its objects.

    Raises VolumeError or GeometryError when a file cannot be read, the labels do not fit, or nothing is labeled.
    """
    if case.masks:
        return _read_picture(case)
    volume = read_volume(case.image)
    labels = read_label(case.label, volume.geometry)
    groups = case.objects or tuple((int(value),) for value in np.unique(labels) if value > 0)
    targets = [
        target
        for group in groups
        for target in _targets("+".join(str(value) for value in group), np.isin(labels, group))
    ]
    if not targets:
        raise VolumeError(f"{case.label} holds no object of at least {_SMALLEST_OBJECT} voxels.")
    modality = case.modality if case.modality in ("CT", "MR", "PT", "PET") else volume.modality
    if case.channels:
        volume = with_channels(volume, case.channels, case.window or window)
        return LabeledVolume(case.name, volume.array, volume.geometry, COLOR_WINDOW, tuple(targets))
    chosen = choose_window(volume.array, case.window or window, modality)
    return LabeledVolume(case.name, volume.array, volume.geometry, chosen, tuple(targets))


def _read_picture(case: TrainingCase) -> LabeledVolume:
    """A picture, with a mask for each object, as a volume of one slice so thick that it is cut in no other way."""
    targets: list[TrainingTarget] = []
    volume: Volume | None = None
    for name, path in case.masks:
        volume, labels = read_labeled_frames(case.image, path)
        found = np.argwhere(labels > 0)
        if len(found) >= _SMALLEST_OBJECT:
            (_, top, left), (_, bottom, right) = found.min(0).tolist(), found.max(0).tolist()
            part = labels[:, top : bottom + 1, left : right + 1] > 0
            targets.append(TrainingTarget(name, (0, top, left), np.asarray(part, np.bool_)))
    if volume is None or not targets:
        raise VolumeError(f"{case.image} has no mask of at least {_SMALLEST_OBJECT} pixels.")
    geometry = VolumeGeometry.from_spacing(volume.geometry.shape, (1.0, 1.0, _THICK_MM))
    window = COLOR_WINDOW if volume.array.ndim == 4 else choose_window(volume.array, case.window or "full")
    return LabeledVolume(case.name, volume.array, geometry, window, tuple(targets))


def _targets(name: str, mask: npt.NDArray[np.bool_]) -> list[TrainingTarget]:
    """The largest connected components (26 neighbors) of a label."""
    components = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(components)
    array = sitk.GetArrayViewFromImage(components)
    sized = sorted(((shapes.GetNumberOfPixels(n), n) for n in shapes.GetLabels()), reverse=True)
    targets = []
    for voxels, number in sized[:_MOST_OBJECTS]:
        if voxels < _SMALLEST_OBJECT:
            break
        i, j, k, size_i, size_j, size_k = shapes.GetBoundingBox(number)
        part = array[k : k + size_k, j : j + size_j, i : i + size_i] == number
        targets.append(TrainingTarget(name, (k, j, i), part))
    return targets


def split(
    cases: Sequence[TrainingCase], settings: DataSettings, seed: int
) -> tuple[list[TrainingCase], list[TrainingCase]]:
    """The cases to train on and those to validate on; at least one each where there are two and one is wanted.

    Where none is kept for validation, both are all cases.

    Raises VolumeError when no case is left, or a name fits none.
    """
    for pattern in (*settings.only, *settings.leave_out):
        if not any(fnmatch.fnmatchcase(case.name, pattern) for case in cases):
            names = ", ".join(case.name for case in cases)
            raise VolumeError(f"No labeled volume is called {pattern!r}; there are {names}.")

    def named(case: TrainingCase, patterns: tuple[str, ...]) -> bool:
        return any(fnmatch.fnmatchcase(case.name, pattern) for pattern in patterns)

    used = [case for case in cases if not settings.only or named(case, settings.only)]
    kept = [case for case in used if not named(case, settings.leave_out)]
    if not kept:
        raise VolumeError("All labeled volumes are left out, so that none is left to learn from.")
    if len(kept) == 1 or settings.validation == 0:
        return kept, kept
    order = np.random.default_rng(seed_of(seed, 1)).permutation(len(kept))
    count = min(max(1, round(settings.validation * len(kept))), len(kept) - 1)
    chosen = set(order[:count].tolist())
    training = [case for number, case in enumerate(kept) if number not in chosen]
    return training, [kept[number] for number in sorted(chosen)]
