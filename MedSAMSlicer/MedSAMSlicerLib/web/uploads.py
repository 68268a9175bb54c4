"""From an uploaded file to a volume: NIfTI, NRRD, MetaImage, or a zip archive of one of them or of a DICOM series."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ..core.errors import VolumeError
from ..io.dicom import is_dicom
from ..io.volumes import Volume, open_image, read_volume
from .limits import LimitError, Limits

_CHUNK = 1 << 20
_MACOS = "__MACOSX"


def read_upload(path: Path, folder: Path, limits: Limits, series_uid: str | None = None) -> Volume:
    """The volume of an uploaded file.

    Args:
        path: of the file.
        folder: empty or absent; an archive is unpacked there.
        limits: of the server.
        series_uid: which DICOM series, where an archive holds several.

    Raises:
        LimitError: the file, what it unpacks to, or its volume is too large.
        VolumeError: it cannot be read.
    """
    limits.check_upload(path.name, path.stat().st_size)
    if zipfile.is_zipfile(path):
        path = _unpacked(path, folder, limits)
    if not path.is_dir() and not is_dicom(path):
        limits.check_voxels(path.name, open_image(path).size)
    volume = read_volume(path, series_uid)
    limits.check_voxels(volume.name, volume.array.shape)
    return volume


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
