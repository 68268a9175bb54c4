"""The layout of SA-Med2D-20M (Ye et al. 2023, arXiv 2311.11969): pictures, a mask for each instance, one JSON list.

FOLDER/SAMed2D_v1.json                    {"images/NAME.png": ["masks/NAME--CCCC_III.png", ...], ...}
FOLDER/SAMed2D_v1_class_mapping_id.json   {data set: {label: class number}}, for names; may be missing
FOLDER/images, FOLDER/masks

In place of the first, the lists that SAM-Med2D works with are read, too: `image2label_train.json` (the same form) and
`label2image_test.json` ({mask: image}). A picture is called MODALITY_KIND--DATASET--CASE--AXIS_SLICE.png, a mask as its
picture with the class (four digits) and instance (three) behind. Masks hold 0 and 1, or 0 and 255.

The data are under CC BY-NC-SA 4.0 and the terms of the sets that they come from: not for commercial use.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..core.errors import VolumeError

logger = logging.getLogger(__name__)

INDEX_FILES = ("SAMed2D_v1.json", "image2label_train.json", "label2image_test.json")
CLASS_FILE = "SAMed2D_v1_class_mapping_id.json"
MOST_IMAGES = 2000
"""How many pictures are taken at most, as evenly over the modalities as there are any, drawn by a seed."""

MOST_MASKS = 5
"""How many masks of a picture are taken at most."""

_NOTICE = (
    "%s is laid out as SA-Med2D-20M, whose data are under CC BY-NC-SA 4.0 and the terms of their sources: not for "
    "commercial use."
)
_MODALITIES = {"x": "X-ray", "ct": "CT", "mr": "MR", "pet": "PET"}
_MASK = re.compile(r"^(?P<image>.+)--(?P<number>\d{4})_(?P<instance>\d{3})$")
_UNION = "union_"


@dataclass(frozen=True)
class Instance:
    """One mask: its file, class number, instance number, and the class's name where the folder gives it."""

    path: Path
    number: int
    instance: int
    name: str


@dataclass(frozen=True)
class Picture:
    """One picture with its masks.

    Attributes:
        name: of the file without its ending.
        path: of the file.
        modality: as tables have it: "CT", "MR", "X-ray", else the first word of the name.
        dataset: where the picture comes from.
        axis: "x", "y" or "z", across which it was cut out of a volume; None of a picture that is none.
        masks: of instances, without unions of other labels.
    """

    name: str
    path: Path
    modality: str
    dataset: str
    axis: str | None
    masks: tuple[Instance, ...]


def is_samed2d(folder: Path) -> bool:
    """Return whether a folder is laid out so."""
    return folder.is_dir() and any((folder / name).is_file() for name in INDEX_FILES)


def find_pictures(folder: Path, most: int = MOST_IMAGES, seed: int = 0, notice: bool = True) -> list[Picture]:
    """The pictures of a folder, sorted by name; drawn evenly over modalities where there are more than `most`.

    Args:
        folder: see the module's docstring.
        most: how many at most.
        seed: of what is drawn.
        notice: whether to log the license.

    Raises:
        VolumeError: If the list cannot be read, or names a file whose name says nothing, or no mask at all.
    """
    if notice:
        logger.warning(_NOTICE, folder)
    index = _index(folder)
    chosen = _drawn(sorted(index), most, seed)
    classes = _classes(folder)
    pictures = [
        picture for image in chosen if (picture := _picture(folder, image, index[image], classes)).masks
    ]
    if not pictures:
        raise VolumeError(f"{folder} names no mask of an instance.")
    return pictures


def _index(folder: Path) -> dict[str, list[str]]:
    path = next(folder / name for name in INDEX_FILES if (folder / name).is_file())
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pairs = list(_pairs(content))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise VolumeError(f"{path} cannot be read as a list of SA-Med2D-20M: {error}.") from error
    index: dict[str, list[str]] = {}
    for image, mask in pairs:
        index.setdefault(image, []).append(mask)
    if not index:
        raise VolumeError(f"{path} names no picture.")
    return index


def _pairs(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(image, mask) of both forms of the list."""
    for key, value in content.items():
        if isinstance(value, str):  # {mask: image}
            yield value, key
            continue
        if not isinstance(value, list) or not all(isinstance(mask, str) for mask in value):
            raise ValueError(f"{key!r} has {value!r}, neither the name of a file nor a list of names")
        for mask in value:
            yield key, mask


def _classes(folder: Path) -> dict[str, dict[int, str]]:
    """Data set -> {class number: name}; empty where the folder does not give them."""
    path = folder / CLASS_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(dataset): {int(number): str(name) for name, number in labels.items()}
            for dataset, labels in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise VolumeError(f"{path} cannot be read: {error}.") from error


def _drawn(images: Sequence[str], most: int, seed: int) -> list[str]:
    """All images, or as many of each modality as there may be; modalities with few leave room to the others."""
    if len(images) <= most:
        return list(images)
    groups: dict[str, list[str]] = {}
    for image in images:
        groups.setdefault(_modality(PurePosixPath(image).stem), []).append(image)
    random, chosen, left = np.random.default_rng(seed), [], most
    by_size = sorted(groups.values(), key=len)
    for place, group in enumerate(by_size):
        count = min(len(group), left // (len(by_size) - place))
        chosen += [group[n] for n in random.permutation(len(group))[:count].tolist()]
        left -= count
    return sorted(chosen)


def _picture(
    folder: Path, image: str, masks: Sequence[str], classes: Mapping[str, Mapping[int, str]]
) -> Picture:
    stem = PurePosixPath(image).stem
    parts = stem.split("--")
    if len(parts) < 3:
        raise VolumeError(
            f"{image} in {folder} is not called MODALITY--DATASET--CASE--SLICE, as pictures of SA-Med2D-20M are."
        )
    dataset = parts[1]
    axis = parts[-1][0] if len(parts) > 3 and re.fullmatch(r"[xyz]_\d+", parts[-1]) else None
    instances = [_instance(folder, stem, mask, classes.get(dataset, {})) for mask in sorted(masks)]
    kept = tuple(each for each in instances if not each.name.startswith(_UNION))
    return Picture(stem, folder / image, _modality(stem), dataset, axis, kept[:MOST_MASKS])


def _instance(folder: Path, stem: str, mask: str, names: Mapping[int, str]) -> Instance:
    found = _MASK.match(PurePosixPath(mask).stem)
    if found is None or found["image"] != stem:
        raise VolumeError(
            f"{mask} in {folder} is not called {stem}--CCCC_III.png, as masks of its picture are."
        )
    if not (folder / mask).is_file():
        raise VolumeError(f"{folder} lacks {mask}, which its list names.")
    number = int(found["number"])
    return Instance(folder / mask, number, int(found["instance"]), names.get(number, f"class {number}"))


def _modality(stem: str) -> str:
    word = re.split(r"[_-]", stem)[0]
    return _MODALITIES.get(word, word)
