"""The images of a folder and their labels, paired by their names; the rules are in :mod:`.datasets`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...io.volumes import stem
from .frames import without_ending
from .pictures import PICTURE_FILES, is_picture

_VOLUME_FILES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_IMAGE_ENDINGS = ("_image", "", "_img", "_0000")
_LABEL_FOLDER = re.compile(
    r"(labels?|masks?|annotations?|segmentations?|ground[ _-]?truth|gt)(.*)", re.IGNORECASE
)
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "pictures", "original", "jpegimages", "frames")
_VIDEO_FOLDERS = ("frames", "jpegimages")


@dataclass(frozen=True)
class Pair:
    """An image with its label: two files, or two folders of a video.

    Args:
        name: of the pair, from where the image lies; no two of a folder share one.
        image, label: where they are.
    """

    name: str
    image: Path
    label: Path


def find_pairs(folder: Path) -> list[Pair]:
    """All pairs below a folder, in the order of the labels' paths."""
    tree = _Tree.of(folder)
    videos = [*_videos(folder, tree)]
    taken = {place for pair in videos for place in (pair.image, pair.label)}
    found = videos + [pair for pair in _files(folder, tree) if pair.label.parent not in taken]
    return _named_apart(sorted(found, key=lambda pair: pair.label), folder)


@dataclass
class _Tree:
    """The files and folders below a folder.

    Attributes:
        volumes, pictures: (folder, name without ending) -> file.
        labels: files that may be labels.
        folders: (folder above, name in small letters) -> folder.
        filled: folders with pictures in them.
    """

    volumes: dict[tuple[Path, str], Path] = field(default_factory=dict)
    pictures: dict[tuple[Path, str], Path] = field(default_factory=dict)
    labels: list[Path] = field(default_factory=list)
    folders: dict[tuple[Path, str], Path] = field(default_factory=dict)
    filled: set[Path] = field(default_factory=set)

    @classmethod
    def of(cls, folder: Path) -> _Tree:
        tree = cls()
        for path in sorted(folder.rglob("*")):
            name = path.name.lower()
            if any(part.startswith(".") for part in path.relative_to(folder).parts):
                continue  # hidden, such as what other systems leave behind
            if path.is_dir():
                tree.folders[path.parent, name] = path
            elif name.endswith((*_VOLUME_FILES, *PICTURE_FILES)):
                files = tree.pictures if is_picture(path) else tree.volumes
                files[path.parent, stem(path)] = path
                tree.labels.append(path)
                if is_picture(path):
                    tree.filled.add(path.parent)
            elif name.endswith(".dcm"):  # one slice, such as a radiograph; a label is another kind of file
                tree.volumes.setdefault((path.parent, stem(path)), path)
        return tree

    def beside(self, label_folder: Path, root: Path, words: tuple[str, ...]) -> Iterator[tuple[Path, Path]]:
        """Folders of images that go with a folder of labels, each with the part of their paths below the word."""
        for above in (label_folder, *label_folder.parents):
            if above == root:
                return
            match = _LABEL_FOLDER.fullmatch(above.name)
            if match is None:
                continue
            for word in words:
                start = self.folders.get((above.parent, word + match[2].lower()))
                if start is not None:
                    below = label_folder.relative_to(above)
                    yield start / below, below


def _files(folder: Path, tree: _Tree) -> Iterator[Pair]:
    for label in tree.labels:
        for image in _images_of(label, folder, tree):
            name = without_ending(image.relative_to(folder).with_name(stem(label)).as_posix())
            yield Pair(name, image, label)
            break


def _images_of(label: Path, root: Path, tree: _Tree) -> Iterator[Path]:
    """Images that a file may be the label of, the likeliest first; none when it is not a label."""
    name, parent = stem(label), label.parent
    places: list[tuple[Path, str]] = []
    base = without_ending(name)
    if base != name:
        places += [(parent, base + ending) for ending in _IMAGE_ENDINGS]
    for beside, _ in tree.beside(parent, root, _IMAGE_FOLDERS):
        places += [
            (beside, start + ending) for start in dict.fromkeys((name, base)) for ending in ("", "_0000")
        ]
    alike = (tree.pictures, tree.volumes) if is_picture(label) else (tree.volumes, tree.pictures)
    for files in alike:
        yield from (files[place] for place in places if place in files and files[place] != label)


def _videos(folder: Path, tree: _Tree) -> Iterator[Pair]:
    for masks in sorted(tree.filled):
        for frames, below in tree.beside(masks, folder, _VIDEO_FOLDERS):
            word = frames.name.lower() if below == Path() else ""
            if frames in tree.filled and not word.startswith("jpegimages"):
                place = frames.parent if below == Path() else frames
                yield Pair(place.relative_to(folder).as_posix(), frames, masks)
                break


def _named_apart(pairs: list[Pair], folder: Path) -> list[Pair]:
    """The pairs, those of one name named by their labels instead."""
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.name] = counts.get(pair.name, 0) + 1
    result = []
    for pair in pairs:
        name = pair.name
        if counts[name] > 1:
            name = pair.label.relative_to(folder).as_posix()
        result.append(Pair(folder.name if name == "." else name, pair.image, pair.label))
    return result
