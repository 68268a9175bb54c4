"""Result files: which kinds there are, whether they can be written, and writing them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import OutputError

if TYPE_CHECKING:
    from ..core.prompts import ObjectPrompts
    from ..io.segmentations import Mask
    from ..io.volumes import Volume
    from .compute import SegmentedVolume

_SEGMENTATION = ".seg.nrrd"
_DICOM = ".dcm"


def check_targets(
    volume: Path,
    output: Path,
    picture: Path | None = None,
    prompts: Path | None = None,
    inputs: Mapping[Path, str] | None = None,
) -> None:
    """Find out before any computing whether the results can be written.

    Args:
        volume: what is read.
        output, picture, prompts: what is to be written.
        inputs: what else is read -> what to call it.

    Raises:
        OutputError: naming the file, for one that cannot be written, that is read too, or that is written twice.
    """
    from ..io.segmentations import LABELMAP_SUFFIXES, names_file

    kinds = (_SEGMENTATION, *LABELMAP_SUFFIXES, _DICOM)
    if not output.name.lower().endswith(kinds):
        raise OutputError(f"Cannot write {output}: its name must end in one of {', '.join(kinds)}.")
    targets = [path for path in (output, picture, prompts, names_file(output)) if path is not None]
    taken = {
        _place(path): f"that is {role}" for path, role in {**(inputs or {}), volume: "the volume"}.items()
    }
    for path in targets:
        _check_writable(path)
        place = path.resolve()
        if place in taken:
            raise OutputError(f"Cannot write {path}: {taken[place]}.")
        taken[place] = "two results have that name"
    if picture is not None and picture.suffix.lower() != ".png":
        raise OutputError(f"Cannot write {picture}: a picture's name must end in .png.")


@contextlib.contextmanager
def reserved_targets(output: Path, *others: Path | None) -> Iterator[None]:
    """Reserve outputs for this run, so that a second run with the same output is refused before it computes.

    Raises OutputError.
    """
    from ..io.atomic import reserved
    from ..io.segmentations import names_file

    with contextlib.ExitStack() as held:
        for path in (output, names_file(output), *others):
            if path is not None:
                held.enter_context(reserved(path))
        yield


def needs_dicom(output: Path) -> bool:
    """Return whether the output refers to a DICOM series."""
    return output.name.lower().endswith(_DICOM)


def check_dicom(output: Path, names: Sequence[str], volume: Volume) -> None:
    """Find out before any computing whether the series allows the DICOM SEG `output`. Raises OutputError."""
    from ..io.dicom_seg import check_dicom_seg

    check_dicom_seg(output, names, volume.geometry, volume.dicom_files)


def rescue_masks(
    output: Path, masks: Mapping[str, Mask], volume: Volume, objects: Sequence[ObjectPrompts]
) -> Path:
    """Write masks that `output` could not take beside it, as .seg.nrrd under a name that is free; returns the path.

    Raises OutputError when that is not possible either.
    """
    stem = output.name.removesuffix(_DICOM)
    names = (f"{stem}{number}{_SEGMENTATION}" for number in ("", *(f"-{n}" for n in range(2, 1000))))
    beside = next(path for name in names if not (path := output.with_name(name)).exists())
    write_masks(beside, masks, volume, objects)
    return beside


def write_masks(
    output: Path, masks: Mapping[str, Mask], volume: Volume, objects: Sequence[ObjectPrompts]
) -> None:
    """Write masks, name -> (K, J, I) boolean, in the format that the name of `output` asks for.

    Raises OutputError; whatever was at `output` before is then still there.
    """
    from ..io.dicom_seg import write_dicom_seg
    from ..io.segmentations import write_labelmap, write_seg_nrrd

    colors = {obj.name: obj.color for obj in objects}
    name = output.name.lower()
    if name.endswith(_SEGMENTATION):
        write_seg_nrrd(output, masks, volume.geometry, colors, volume.name)
    elif name.endswith(_DICOM):
        write_dicom_seg(output, masks, volume.geometry, volume.dicom_files, colors)
    else:
        write_labelmap(output, masks, volume.geometry, colors)


def draw_result(path: Path, volume: Volume, result: SegmentedVolume) -> None:
    """Write a PNG of slices with masks and prompts drawn on them. Raises OutputError."""
    from ..io.pictures import write_picture

    prompts = result.prompts
    assert prompts.window is not None  # the engine chose one
    write_picture(
        path,
        prompts.window.apply(volume.array),
        volume.geometry,
        prompts.axis,
        result.masks,
        {obj.name: obj.color for obj in prompts.objects},
        prompts={obj.name: obj.prompts for obj in prompts.objects},
        title=volume.name,
    )


def _place(path: Path) -> Path:
    """The place of an input, links followed; a loop of links stays as it is, and is refused when it is read."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _check_writable(path: Path) -> None:
    from ..io.atomic import check_replaceable

    target = check_replaceable(path)
    try:
        is_folder = target.parent.is_dir()
    except OSError as error:  # a name that the file system does not take
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    if not is_folder:
        raise OutputError(f"Cannot write {path}: the folder {target.parent} does not exist.")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"Cannot write {path}: the folder {target.parent} is read-only.")
