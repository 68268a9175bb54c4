"""Videos as frames that are read one by one: a video file (MP4 and others), a folder of pictures, or a ZIP of them.

Only a few decoded frames are kept at a time, so a long video does not fill memory. Video files are decoded by PyAV,
which is an optional package; pictures need nothing more.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import tempfile
import zipfile
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import GeometryError, MedSAMError, VolumeError
from ..core.input_files import check_input
from .picture_files import is_picture, natural_order, picture_size, read_color_picture
from .volumes import telling

Frame = npt.NDArray[np.uint8]

KEPT_BYTES = 128 << 20
"""How much memory decoded frames of a video file may take."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_ZIP = b"PK\x03\x04"
_NEAR = 16  # frames: so few are decoded on the way rather than sought
_LARGEST_PICTURE = 1 << 28  # bytes of one file in an archive


class FrameReader:
    """A video whose frames are read when they are asked for; use as a context manager, or call :meth:`close`.

    Attributes:
        path: what is read.
        shape: (frames, rows, columns, 3).
        names: of the frames, for lists of results.
        rate: frames per second where the file gives it, else None.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int, int, int], names: tuple[str, ...], rate: float | None
    ) -> None:
        self.path, self.shape, self.names, self.rate = path, shape, names, rate

    def __len__(self) -> int:
        return self.shape[0]

    def frame(self, index: int) -> Frame:
        """Frame `index`, (rows, columns, 3) uint8: red, green and blue.

        Raises:
            VolumeError: If there is no such frame, or it cannot be read.
        """
        if not 0 <= index < len(self):
            raise VolumeError(
                f"{self.path} has frames 0 to {len(self) - 1}, but frame {index} was requested."
            )
        return self._read(index)

    def _read(self, index: int) -> Frame:
        raise NotImplementedError

    def close(self) -> None:
        """Close files, and delete temporary ones."""

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_frames(path: str | Path) -> FrameReader:
    """Open a video.

    Args:
        path: a video file; a folder of pictures (PNG, JPEG, BMP, TIFF) in the order of the numbers in their names; or
            a ZIP file of such pictures, which is unpacked into a temporary folder until it is closed.

    Raises:
        VolumeError: one sentence that names what cannot be read, and a package that is missing.
    """
    path = Path(path)
    with telling(path):
        check_input(path, VolumeError, folder=True)
        if path.is_dir():
            return PictureFrames(path, _pictures_of(path))
        with path.open("rb") as file:
            start = file.read(16)
        if not start:
            raise VolumeError(f"{path} is empty.")
        if start.startswith(_ZIP):
            return ArchivedFrames(path)
        if is_picture(start):
            raise VolumeError(f"{path} is a single picture; give the folder that contains the frames.")
        return VideoFile(path)


class PictureFrames(FrameReader):
    """Pictures as frames, all of one size.

    Args:
        path: the folder, for messages.
        files: in the order of the frames.
    """

    def __init__(self, path: Path, files: list[Path]) -> None:
        if not files:
            raise VolumeError(f"{path} holds no frames: no PNG, JPEG, BMP or TIFF file.")
        sizes = [picture_size(file) for file in files]
        for file, size in zip(files, sizes, strict=True):
            if len(size) != 2 or size != sizes[0]:
                raise VolumeError(
                    f"The frames of a video must have the same size, but {file.name} in {path} has {_size(size)} and "
                    f"{files[0].name} {_size(sizes[0])}."
                )
        columns, rows = sizes[0]
        super().__init__(path, (len(files), rows, columns, 3), tuple(file.name for file in files), None)
        self._files = files

    def _read(self, index: int) -> Frame:
        with telling(self._files[index]):
            try:
                return read_color_picture(self._files[index], self.shape[1:3], "the first frame")
            except GeometryError as error:  # replaced since the video was opened
                raise VolumeError(str(error)) from error


class ArchivedFrames(PictureFrames):
    """Pictures of a ZIP file, unpacked into a temporary folder."""

    def __init__(self, path: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="medsamslicer-frames-"))
        try:
            files = _unpacked(path, self._folder)
            super().__init__(path, list(files.values()))
            self.names = tuple(files)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Delete the temporary folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


class VideoFile(FrameReader):
    """A video file, decoded from the nearest key frame on; the last decoded frames are kept.

    Args:
        path: of the file.
        kept_bytes: of decoded frames.
    """

    def __init__(self, path: Path, kept_bytes: int = KEPT_BYTES) -> None:
        self._av = import_av(f"{path} is a video file, which")
        self._kept: OrderedDict[int, Frame] = OrderedDict()
        self._decoded: Iterator[Any] = iter(())
        self._position: int | None = None  # of the frame that was decoded last; None = before the first
        self._container: Any = None
        try:
            with self._readable(path, "is not a video that can be read, or its header is damaged"):
                self._container = self._av.open(str(path), options={"protocol_whitelist": "file"})
                streams = self._container.streams.video
                if not streams:
                    raise VolumeError(f"{path} holds no video.")
                self._stream = streams[0]
                self._times, self._key_frames = self._index()
            if not self._times:
                raise VolumeError(f"{path} holds no video frames.")
            rate = self._stream.average_rate
            columns, rows = self._stream.codec_context.width, self._stream.codec_context.height
            names = tuple(f"{number:06d}" for number in range(len(self._times)))
            shape = (len(names), rows, columns, 3)
            self._capacity = max(2, kept_bytes // max(1, 3 * rows * columns))
            self._numbers = {time: number for number, time in enumerate(self._times)}
            super().__init__(path, shape, names, float(rate) if rate else None)
            self._read(len(names) - 1)  # a file that was cut off lacks its last frames
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None
        self._kept.clear()

    def _index(self) -> tuple[list[int], list[int]]:
        """Times of all frames in the order in which they are shown, and the numbers of those that stand alone."""
        times, keys = set(), set()
        for packet in self._container.demux(self._stream):
            if not packet.size or packet.is_discard:
                continue
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None:
                raise VolumeError(f"{self._container.name} does not give the times of its frames.")
            times.add(time)
            if packet.is_keyframe:
                keys.add(time)
        ordered = sorted(times)
        return ordered, [number for number, time in enumerate(ordered) if time in keys]

    def _read(self, index: int) -> Frame:
        if index not in self._kept:
            with self._readable(self.path, f"is damaged: frame {index} cannot be decoded"):
                if not (self._lies_ahead(index) and self._decode(index)):
                    self._seek(self._times[index])
                    if not self._decode(index):
                        self._seek(self._times[0])  # some formats are sought imprecisely
                        self._decode(index)
            if index not in self._kept:
                raise VolumeError(f"{self.path} is damaged: frame {index} cannot be decoded.")
        self._kept.move_to_end(index)
        return self._kept[index]

    def _lies_ahead(self, index: int) -> bool:
        """Return whether decoding goes on to a frame sooner than seeking would reach it."""
        if self._position is None or index <= self._position:
            return False
        key = self._key_frames[max(bisect_right(self._key_frames, index) - 1, 0)] if self._key_frames else 0
        return key <= self._position or index - self._position <= _NEAR

    def _seek(self, time: int) -> None:
        self._container.seek(time, stream=self._stream, backward=True)
        self._decoded, self._position = self._container.decode(self._stream), None

    def _decode(self, index: int) -> bool:
        """Decode up to frame `index` and keep it with those before it; False when it does not come."""
        for picture in self._decoded:
            number = self._numbers.get(picture.pts)
            if number is None:
                continue
            self._position = number
            if number > index - self._capacity:
                self._keep(number, picture)
            if number >= index:
                return number == index
        return False

    def _keep(self, number: int, picture: Any) -> None:
        pixels = np.ascontiguousarray(picture.to_ndarray(format="rgb24"))
        if pixels.shape != self.shape[1:]:
            raise VolumeError(
                f"{self.path} changes its size at frame {number}: from {self.shape[2]} x {self.shape[1]} to "
                f"{pixels.shape[1]} x {pixels.shape[0]} pixels."
            )
        pixels.setflags(write=False)
        self._kept[number] = pixels
        self._kept.move_to_end(number)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)

    @contextlib.contextmanager
    def _readable(self, path: Path, otherwise: str) -> Iterator[None]:
        """Turn errors of the decoder into the user's sentence."""
        try:
            yield
        except MedSAMError:
            raise
        except (self._av.FFmpegError, EOFError) as error:
            raise VolumeError(f"{path} {otherwise}.") from error


def import_av(needed_by: str) -> Any:
    """The package that decodes and encodes videos.

    Args:
        needed_by: begins the sentence when it is missing, such as "The overlay is a video, which".

    Raises:
        MedSAMError: If it is not installed.
    """
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MedSAMError(
            f"{needed_by} needs the package av: pip install 'medsamslicer[video]', or pip install av."
        ) from error


def _pictures_of(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if _is_frame(path.name) and path.is_file()]
    return sorted(files, key=lambda path: natural_order(path.name))


def _is_frame(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def _unpacked(path: Path, folder: Path) -> dict[str, Path]:
    """The pictures of a ZIP file as files, by their names in it, in the order of the frames."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [
                entry
                for entry in archive.infolist()
                if _is_frame(PurePosixPath(entry.filename).name) and "__MACOSX" not in entry.filename
            ]
            entries.sort(key=lambda entry: natural_order(entry.filename))
            return {
                entry.filename: _extracted(archive, entry, folder, number)
                for number, entry in enumerate(entries)
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise VolumeError(f"{path} is a ZIP file that cannot be unpacked: {error}.") from error


def _extracted(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, number: int) -> Path:
    if entry.file_size > _LARGEST_PICTURE:
        raise VolumeError(
            f"{entry.filename} in {archive.filename} has {entry.file_size} bytes, too many for a picture."
        )
    target = folder / f"{number:07d}{PurePosixPath(entry.filename).suffix.lower()}"
    target.write_bytes(archive.read(entry))
    return target


def _size(size: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in size)
