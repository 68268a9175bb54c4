"""Cases as the CVPR 2025 competition on interactive 3-D segmentation hands them out: `.npz` files.

A file holds `imgs` (D, H, W), 0..255 after windowing, `spacing` in mm along (D, H, W) as the published evaluation
applies it, and `gts` (D, H, W), 0 = background. The labels may lie in a file of the same name in another folder, as
those of validation cases do. `boxes`, where there is one, has a box for each label in ascending order: a dictionary
with `z_min`, `z_max`, `z_mid`, `z_mid_x_min`, `z_mid_y_min`, `z_mid_x_max` and `z_mid_y_max`, closed intervals; as a
list of dictionaries, or as JSON text. Such a list is a pickle: only arrays and plain values are taken from it.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import GeometryError, VolumeError
from ...core.geometry import VolumeGeometry
from ...core.input_files import check_input
from ...io.volumes import Volume
from .windows import WINDOWED

ENDING = ".npz"
IMAGE, LABELS, SPACING, BOXES = "imgs", "gts", "spacing", "boxes"

_MODALITIES = ("CT", "MR", "PET", "US", "Microscopy")
_DAMAGED = (
    OSError, ValueError, KeyError, TypeError, EOFError, IndexError, AttributeError,
    zipfile.BadZipFile, zlib.error, pickle.UnpicklingError,
)  # fmt: skip
_ALLOWED = {
    "_reconstruct": np.zeros(1).__reduce__()[0],
    "scalar": np.int64(0).__reduce__()[0],
    "ndarray": np.ndarray,
    "dtype": np.dtype,
}


@dataclass(frozen=True)
class MiddleBox:
    """A box on the middle slice with the first and last slice; all intervals are closed, in voxels.

    Args:
        z_min, z_max: first and last slice.
        z_mid: the slice with the box.
        x_min, y_min, x_max, y_max: columns and rows of the box.
    """

    z_min: int
    z_max: int
    z_mid: int
    x_min: int
    y_min: int
    x_max: int
    y_max: int

    @classmethod
    def from_dictionary(cls, values: Mapping[str, Any]) -> MiddleBox:
        """From what a file says; KeyError, TypeError or ValueError when something is missing or no number."""
        names = [field.name for field in fields(cls)]
        return cls(*(int(values[name if name.startswith("z") else f"z_mid_{name}"]) for name in names))

    def lies_in(self, shape: tuple[int, ...]) -> bool:
        """Return whether the box has a size and lies in a volume of `shape` (slices, rows, columns)."""
        slices, rows, columns = shape
        return (
            0 <= self.z_min <= self.z_mid <= self.z_max < slices
            and 0 <= self.y_min <= self.y_max < rows
            and 0 <= self.x_min <= self.x_max < columns
        )


def find_npz(folder: Path) -> list[tuple[str, Path, Path]]:
    """(name, image, labels) of all cases below a folder, by path; files without labels are none."""
    images: list[tuple[Path, bool]] = []
    labels: dict[str, Path] = {}
    for path in sorted(folder.rglob(f"*{ENDING}")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        names = _names(path)
        if IMAGE in names:
            images.append((path, LABELS in names))
        elif LABELS in names:
            labels.setdefault(path.name, path)
    found = []
    for path, is_labeled in images:
        label = path if is_labeled else labels.get(path.name)
        if label is not None:
            found.append((path.relative_to(folder).with_suffix("").as_posix(), path, label))
    return found


def is_npz(path: Path) -> bool:
    """Return whether the name of a file says that it is of this kind."""
    return path.suffix.lower() == ENDING


def modality_of_npz(path: Path) -> str:
    """The modality that the names of these files begin with, as `CT_Abdomen_001.npz`; "unknown" for others."""
    begin = path.name.partition("_")[0]
    return begin if begin in _MODALITIES else "unknown"


def read_npz(image: Path, label: Path) -> tuple[Volume, npt.NDArray[np.integer[Any]]]:
    """The volume of a case and its labels, (K, J, I); VolumeError, one sentence, for files that cannot be used."""
    array, spacing, labels = _array(image, IMAGE), _array(image, SPACING), _array(label, LABELS)
    if array.ndim != 3 or not array.size or array.dtype.kind not in "uif":
        raise VolumeError(f"{image} needs a 3-D image of numbers, got {array.dtype} of shape {array.shape}.")
    if labels.shape != array.shape or labels.dtype.kind not in "ui":
        raise VolumeError(
            f"{label} holds labels of type {labels.dtype} and shape {labels.shape}, but the image in {image} has shape "
            f"{array.shape}."
        )
    try:
        mm = [float(value) for value in spacing.ravel()]
        geometry = VolumeGeometry.from_spacing(array.shape, mm[::-1])
    except (GeometryError, ValueError, TypeError) as error:
        raise VolumeError(f"{image} has no usable spacing: {spacing.tolist()!r}.") from error
    array.setflags(write=False)
    return Volume(array, geometry, image.stem, image, WINDOWED), labels


def read_boxes(image: Path) -> tuple[MiddleBox, ...] | None:
    """The boxes of a file, one for each label in ascending order; None where it gives none.

    Raises:
        VolumeError: they are damaged.
    """
    if BOXES not in _names(image):
        return None
    try:
        with zipfile.ZipFile(image) as archive:
            content = archive.read(f"{BOXES}.npy")
        return tuple(MiddleBox.from_dictionary(box) for box in _boxes(content))
    except _DAMAGED as error:
        raise VolumeError(f"The boxes in {image} cannot be read: {error}.") from error


class _PlainUnpickler(pickle.Unpickler):
    """Reads arrays and plain values, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """One of the few names that arrays are made of."""
        if module.split(".")[0] == "numpy" and name in _ALLOWED:
            return _ALLOWED[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no plain value")


def _boxes(content: bytes) -> list[Mapping[str, Any]]:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    _, _, dtype = read_header(stream)
    if dtype.hasobject:
        held = _PlainUnpickler(stream).load()
        return list(np.asarray(held, object).ravel())
    text = np.load(io.BytesIO(content), allow_pickle=False)
    if dtype.kind not in "US":
        raise ValueError(f"they are {dtype}, not dictionaries or JSON text")
    found = [json.loads(each if isinstance(each, str) else each.decode()) for each in text.ravel().tolist()]
    return found[0] if len(found) == 1 and isinstance(found[0], list) else found


def _names(path: Path) -> frozenset[str]:
    """The names of the arrays in a file; none where it cannot be read, which is reported when it is opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return frozenset()


def _array(path: Path, name: str) -> npt.NDArray[Any]:
    check_input(path, VolumeError)
    try:
        with np.load(path, allow_pickle=False) as content:
            return np.asarray(content[name])
    except _DAMAGED as error:
        raise VolumeError(f"{path} cannot be read: it has no usable array {name!r} ({error}).") from error
