"""Labeled pictures and videos as volumes: a picture is a volume of one slice, a video one of many.

A video is a folder of frames, in the order of the numbers in their names, or a volume in color (a vector NRRD, a
multi-frame DICOM file). Its masks are a folder with a mask for each frame, or a label volume. A mask goes with the
frame of the same name (`_mask` and such left out), else with that of the same number; frames without a mask are left
out, since it is not known what is on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import VolumeError
from ...core.geometry import VolumeGeometry
from ...io import dicom
from ...io.labels import read_label
from ...io.picture_files import natural_order
from ...io.volumes import Volume, read_volume, stem
from .measurement import IMAGE, VIDEO, VOLUME
from .pictures import (
    Array,
    Pixels,
    header_of,
    is_picture,
    labels_of,
    read_mask,
    read_picture,
    read_with_itk,
)

LABEL_ENDINGS = (
    "_labels", "_label", "-label", "_segmentation", "_seg", "-seg", "_masks", "_mask", "-mask", "_groundtruth", "_gt",
)  # fmt: skip

Labels = npt.NDArray[np.integer[Any]]


def kind_of(image: Path, label: Path) -> str:
    """VOLUME, IMAGE or VIDEO, as the files' names and headers say; VOLUME where they say nothing.

    What has one slice is an image. A DICOM file stands for its whole series, unless its label has one slice only.
    """
    if image.is_dir():
        return VIDEO if pictures_in(image) else VOLUME
    if is_picture(image) and not image.suffix.lower().startswith(".tif"):
        return IMAGE
    header = header_of(image)
    if header is None:
        return IMAGE if is_picture(image) else VOLUME
    size, values = header
    if max(size[2:], default=1) > 1:
        return VIDEO if values in (3, 4) and len(size) == 3 else VOLUME
    series = image.is_file() and dicom.is_dicom(image)
    return VOLUME if series and not _is_flat(label) else IMAGE


def read_labeled_frames(image: Path, label: Path) -> tuple[Volume, Labels]:
    """A picture or video and its labels, (K, J, I); the volume's array has a fourth axis where it is in color.

    Raises:
        MedSAMError: one sentence that names the file which cannot be used.
    """
    files = pictures_in(image) if image.is_dir() else []
    if files and label.is_dir():
        return _from_folders(files, image, label)
    if files:
        volume = _volume(image, _stacked(files, [read_picture(path).array[0] for path in files]))
        return volume, _labels_from_file(label, volume, placed=False)
    if is_picture(image):
        pixels = Pixels(read_with_itk(image).array) if _is_deep(image) else read_picture(image)
        volume = _volume(image, pixels)
    elif _is_gray_volume(image):
        volume = read_volume(image)
    else:
        volume = _volume(image, read_with_itk(image))
    if label.is_dir():
        return volume, _labels_from_folder(label, volume)
    return volume, _labels_from_file(label, volume, placed=not is_picture(image))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers in their names; hidden files are none."""
    files = [path for path in folder.iterdir() if is_picture(path) and not path.name.startswith(".")]
    return sorted(files, key=lambda path: natural_order(path.name))


def without_ending(name: str) -> str:
    """A name without what says that it is a label."""
    lower = name.lower()
    return next((name[: -len(ending)] for ending in LABEL_ENDINGS if lower.endswith(ending)), name)


def _from_folders(frames: Sequence[Path], images: Path, labels: Path) -> tuple[Volume, Labels]:
    masks = pictures_in(labels)
    if not masks:
        raise VolumeError(f"{labels} holds no mask: no PNG, JPEG, BMP or TIFF file.")
    pairs = _matched(frames, masks)
    if pairs is None:
        raise VolumeError(
            f"The {len(masks)} masks in {labels} do not go with the {len(frames)} frames in {images}, neither by name "
            "nor by number."
        )
    arrays = [read_picture(frame).array[0] for frame, _ in pairs]
    numbers = []
    for (frame, mask), array in zip(pairs, arrays, strict=True):
        numbers.append(read_mask(mask))
        _check_size(mask, numbers[-1].shape, frame, array.shape[:2])
    left_out = len(frames) - len(pairs)
    warnings = (f"{left_out} of {len(frames)} frames in {images} have no mask and were left out.",)
    volume = _volume(images, _stacked([f for f, _ in pairs], arrays), warnings if left_out else ())
    return volume, labels_of(np.stack(numbers), labels)


def _labels_from_folder(folder: Path, volume: Volume) -> Labels:
    """The masks of a video that is one file, in order."""
    masks = pictures_in(folder)
    if len(masks) != len(volume.array):
        raise VolumeError(
            f"{folder} holds {len(masks)} masks, but {volume.path} has {len(volume.array)} frames."
        )
    numbers = [read_mask(mask) for mask in masks]
    for mask, array in zip(masks, numbers, strict=True):
        _check_size(mask, array.shape, volume.path, volume.array.shape[1:3])
    return labels_of(np.stack(numbers), folder)


def _labels_from_file(label: Path, volume: Volume, placed: bool) -> Labels:
    """The labels of a file; `placed` says that the volume's place is known, so that a label volume must share it."""
    if is_picture(label) and not _is_deep(label):
        numbers = read_mask(label)[np.newaxis]
    elif placed and not is_picture(label) and len((header_of(label) or ((), 0))[0]) > 2:
        return read_label(label, volume.geometry)
    else:
        numbers = read_with_itk(label).array
    if numbers.ndim == 4:
        raise VolumeError(f"{label} is in color, but labels are needed.")
    if len(numbers) != len(volume.array):
        raise VolumeError(f"{label} has {len(numbers)} slices, but {volume.path} has {len(volume.array)}.")
    _check_size(label, numbers.shape[1:], volume.path, volume.array.shape[1:3])
    return labels_of(numbers, label)


def _volume(path: Path, pixels: Pixels, warnings: tuple[str, ...] = ()) -> Volume:
    array = np.ascontiguousarray(pixels.array)
    if array.size and array.min() == array.max():
        raise VolumeError(f"{path} holds nothing to segment: every pixel is {array.min()}.")
    array.setflags(write=False)
    shape = array.shape[:3]
    if pixels.ijk_to_ras is None:
        geometry = VolumeGeometry.from_spacing(shape, (1.0, 1.0, 1.0))
    else:
        geometry = VolumeGeometry((shape[0], shape[1], shape[2]), pixels.ijk_to_ras)
    return Volume(array, geometry, path.name if path.is_dir() else stem(path), path, warnings=warnings)


def _stacked(files: Sequence[Path], frames: Sequence[Array]) -> Pixels:
    """Frames of one size as one array; gray ones among those in color are colored too."""
    for path, frame in zip(files, frames, strict=True):
        if frame.shape[:2] != frames[0].shape[:2]:
            size, first = _size(frame.shape), _size(frames[0].shape)
            raise VolumeError(
                f"The frames of a video have one size, but {path} has {size} and {files[0]} {first}."
            )
    if any(frame.ndim == 3 for frame in frames):
        wrong = next((p for p, f in zip(files, frames, strict=True) if f.dtype != np.uint8), None)
        if wrong is not None:
            raise VolumeError(f"{wrong} has no 8-bit pixels, as other frames of this video have.")
        frames = [frame if frame.ndim == 3 else np.repeat(frame[..., np.newaxis], 3, -1) for frame in frames]
    return Pixels(np.stack(frames))


def _matched(frames: Sequence[Path], masks: Sequence[Path]) -> list[tuple[Path, Path]] | None:
    """Each mask with its frame, in the order of the frames; None when a mask has none, or more than one."""
    keys: tuple[Callable[[Path], object], ...] = (lambda path: without_ending(path.stem), _number)
    for key in keys:
        by_key = {key(mask): mask for mask in masks}
        pairs = [(frame, by_key[key(frame)]) for frame in frames if key(frame) in by_key]
        if None not in by_key and len(by_key) == len(pairs) == len(masks):
            return pairs
    return None


def _number(path: Path) -> int | None:
    found = re.findall(r"\d+", path.stem)
    return int(found[-1]) if found else None


def _is_flat(path: Path) -> bool:
    """Return whether a file has one slice."""
    header = header_of(path)
    return header is not None and max(header[0][2:], default=1) == 1


def _is_deep(path: Path) -> bool:
    header = header_of(path) if path.suffix.lower().startswith(".tif") else None
    return header is not None and max(header[0][2:], default=1) > 1


def _is_gray_volume(path: Path) -> bool:
    """Return whether the reader of volumes can read it.

    It reads a series, or a file of three axes with one value a voxel that is no single DICOM file.
    """
    header = None if path.is_dir() else header_of(path)
    if header is None:
        return True  # that reader says what is wrong
    return len(header[0]) > 2 and header[1] == 1 and not dicom.is_dicom(path)


def _check_size(mask: Path, shape: Sequence[int], picture: Path, wanted: Sequence[int]) -> None:
    if tuple(shape) != tuple(wanted):
        raise VolumeError(f"{mask} has {_size(shape)} pixels, but its picture {picture} has {_size(wanted)}.")


def _size(shape: Sequence[int]) -> str:
    """Width x height of (rows, columns, ...)."""
    return f"{shape[1]} x {shape[0]}"
