"""From an uploaded file to a volume or a video.

Volumes are NIfTI, NRRD, MetaImage, or a zip of one of them or of a DICOM series. Videos are MP4 and the like, or a zip
of pictures.
"""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from ..core.errors import VolumeError
from ..core.geometry import VolumeGeometry
from ..io.dicom import is_dicom
from ..io.picture_files import natural_order
from ..io.video import open_frames
from ..io.volumes import Volume, read_volume
from .limits import LimitError, Limits

_CHUNK = 1 << 20
_MACOS = "__MACOSX"
_VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True, eq=False)
class Clip(Volume):
    """A video as a volume in color, (frames, rows, columns, 3) uint8.

    Attributes:
        rate: frames per second where the file gives it, else None.
        names: of the frames.
    """

    rate: float | None = None
    names: tuple[str, ...] = ()


def read_upload(path: Path, folder: Path, limits: Limits, series_uid: str | None = None) -> Volume:
    """The volume of an uploaded file; a Clip for a video.

    Args:
        path: of the file.
        folder: empty or absent; an archive is unpacked there.
        limits: of the server.
        series_uid: which DICOM series, where an archive holds several.

    Raises:
        LimitError: the file, what it unpacks to, or its volume is too large.
        VolumeError: it cannot be read.
    """
    name = path.name
    limits.check_upload(name, path.stat().st_size)
    if zipfile.is_zipfile(path):
        path = _unpacked(path, folder, limits)
    if path.suffix.lower() in _VIDEOS or (path.is_dir() and _are_pictures(path)):
        return _read_clip(path, name, limits)
    return read_volume(path, series_uid, check_size=partial(limits.check_voxels, name))


def _are_pictures(folder: Path) -> bool:
    """Return whether a folder holds pictures and no DICOM."""
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in _PICTURES]
    return len(pictures) > 1 and not any(map(is_dicom, folder.iterdir()))


def _read_clip(path: Path, name: str, limits: Limits) -> Clip:
    with open_frames(path) as frames:
        limits.check_voxels(name, frames.shape[:3])
        try:
            array = np.empty(frames.shape, np.uint8)
        except MemoryError as error:
            raise VolumeError(f"{name} needs more memory than is free.") from error
        for index in range(len(frames)):
            array[index] = frames.frame(index)
        names = tuple(re.sub(r"^\d{5}-", "", each) for each in frames.names)
        array.setflags(write=False)
        geometry = VolumeGeometry.from_spacing(frames.shape[:3], (1.0, 1.0, 1.0))
        return Clip(array, geometry, PurePosixPath(name).stem, path, rate=frames.rate, names=names)


def _unpacked(archive: Path, folder: Path, limits: Limits) -> Path:
    """The only file of an archive, or the folder with all its files.

    Files get numbers in front of their own names, so that no name of an archive leads out of the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left = limits.unpacked_bytes
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if _is_content(member)]
            if len(members) > limits.files:
                raise LimitError(
                    f"{archive.name} holds {len(members):,} files, but this server takes at most {limits.files:,}."
                )
            if not members:
                raise VolumeError(f"{archive.name} is an archive without files.")
            members.sort(key=lambda member: natural_order(member.filename))
            alone = len(members) == 1
            for number, member in enumerate(members):
                name = PurePosixPath(member.filename.replace("\\", "/")).name
                target = folder / (name if alone else f"{number:05d}-{name}"[:200])
                with opened.open(member) as source, target.open("wb") as file:
                    while content := source.read(_CHUNK):
                        left -= len(content)
                        if left < 0:
                            raise LimitError(
                                f"{archive.name} unpacks to more than {limits.unpacked_bytes >> 20:,} MB, which this "
                                "server does not take."
                            )
                        file.write(content)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        # RuntimeError: an archive with a password.
        raise VolumeError(f"{archive.name} cannot be unpacked: {error}.") from error
    except OSError as error:
        raise VolumeError(f"{archive.name} cannot be unpacked: {error.strerror or error}.") from error
    return target if alone else folder


def _is_content(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename).parts
    return not member.is_dir() and bool(parts) and _MACOS not in parts and not parts[-1].startswith(".")


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it; what cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
