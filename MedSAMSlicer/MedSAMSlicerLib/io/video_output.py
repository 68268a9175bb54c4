"""The results of a video in a folder: masks as PNG frames, all of them as COCO run lengths, and an overlay as MP4.

FOLDER/annotations.json        the layout of YouTube-VIS, which is COCO's for videos: one entry an object, with a mask
                               (run lengths), box [x, y, width, height] and area for each frame, null where it has none
FOLDER/masks/OBJECT/FRAME.png  255 on the object, 0 beside it; for every frame on which the object was looked for
FOLDER/overlay.mp4             the video with the masks drawn on it
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import Canceled, OutputError
from ..core.masks import bounding_box
from .atomic import MARK, output_error, replacing
from .png import encode_png
from .rle import encode_rle
from .video import FrameReader, import_av

Mask = npt.NDArray[np.bool_]
Color = tuple[float, float, float]
MaskOf = Callable[[str, int], "Mask | None"]
"""Gives the mask of an object on a frame, (rows, columns) bool; None where it was not looked for."""

ANNOTATIONS, MASKS, OVERLAY = "annotations.json", "masks", "overlay.mp4"

_FILL = 0.45  # opacity of a mask
_RATE = 25.0  # frames per second of an overlay where the frames give none
_CODECS = ("libx264", "mpeg4")
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


@dataclass(frozen=True)
class VideoMasks:
    """The masks that are written.

    Attributes:
        colors: by object name, in the order of the objects; red, green, blue in 0..1.
        mask_of: gives the masks.
        about: what made them, for the file: network, program and so on.
    """

    colors: Mapping[str, Color]
    mask_of: MaskOf
    about: Mapping[str, Any]


def check_new_folder(path: Path) -> None:
    """Raise OutputError unless a folder of results can be made: there must be nothing in it yet."""
    try:
        if path.is_dir():
            if any(path.iterdir()):
                raise OutputError(f"Cannot write {path}: the folder is not empty; choose a new one.")
            return
        if path.exists():
            raise OutputError(f"Cannot write {path}: a file with that name exists, but a folder is needed.")
        if not path.parent.is_dir():
            raise OutputError(f"Cannot write {path}: the folder {path.parent} does not exist.")
    except OSError as error:
        raise output_error(path, error) from error


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `path`, which must be new or empty, when all went well.

    One that a killed process left is deleted; the caller holds :func:`~.atomic.reserved`, so nobody writes there.

    Raises:
        OutputError: naming `path`, when something cannot be written.
    """
    check_new_folder(path)
    target = path.resolve()
    begins = f".{target.name[:80]}{MARK}"
    try:
        for left in target.parent.glob(f"{begins}*.part"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        temporary = target.parent / f"{begins}{secrets.token_hex(4)}.part"
        temporary.mkdir()
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield temporary
        if target.is_dir():
            target.rmdir()
        temporary.replace(target)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_video_masks(
    folder: Path,
    frames: FrameReader,
    content: VideoMasks,
    overlay: bool = True,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> None:
    """Write the results of a video into a folder, see the module's docstring; the list of annotations comes last.

    Args:
        folder: exists.
        frames: the video.
        content: the masks.
        overlay: whether to draw them on the video, which needs the package av.
        progress: called as progress(frames done, frames in all).
        cancel: returns True once the user wants to stop.

    Raises:
        OutputError: naming the file that cannot be written.
        MedSAMError: If the overlay is wanted and the package av is missing.
        Canceled: If `cancel()` became true.
    """
    count = len(frames)
    places, names = _folders(content.colors), _mask_names(frames)
    tracks: dict[str, list[dict[str, Any] | None]] = {name: [] for name in content.colors}
    with contextlib.ExitStack() as opened:
        video = None
        if overlay:
            video = opened.enter_context(_OverlayFile.open(folder / OVERLAY, frames))
        for index in range(count):
            if cancel is not None and cancel():
                raise Canceled("The run was canceled.")
            masks = {name: content.mask_of(name, index) for name in content.colors}
            for name, mask in masks.items():
                tracks[name].append(_described(mask))
                if mask is not None:
                    _write(folder / MASKS / places[name] / names[index], _picture(mask))
            if video is not None:
                shown = [(content.colors[name], mask) for name, mask in masks.items() if mask is not None]
                video.add(drawn(frames.frame(index), shown))
            if progress is not None:
                progress(index + 1, count)
    text = json.dumps(_annotations(frames, content, tracks), allow_nan=False)
    _write(folder / ANNOTATIONS, text.encode())


def drawn(frame: npt.NDArray[np.uint8], masks: Sequence[tuple[Color, Mask]]) -> npt.NDArray[np.uint8]:
    """A frame with masks laid on it, each in its color and with a solid edge; (rows, columns, 3) uint8."""
    shown = frame.astype(np.float32)
    for color, mask in masks:
        paint = np.asarray(color, np.float32) * 255
        edge = mask & ~_eroded(mask)
        shown[mask] += _FILL * (paint - shown[mask])
        shown[edge] = paint
    return np.asarray(shown + 0.5, np.uint8)


class _OverlayFile:
    """An MP4 file that frames are added to; sides of odd length are cut by one pixel, as the format wants."""

    def __init__(self, container: Any, stream: Any, av: Any) -> None:
        self._container, self._stream, self._av = container, stream, av

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, frames: FrameReader) -> Iterator[_OverlayFile]:
        av = import_av("The overlay is a video, which")
        rows, columns = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
        if not rows or not columns:
            raise OutputError(f"Cannot write {path}: frames of one pixel are too small for a video.")
        codec = next(name for name in _CODECS if name in av.codecs_available)
        rate = Fraction(frames.rate or _RATE).limit_denominator(60000)
        try:
            with (
                replacing(path) as file,
                av.open(file, "w", format="mp4") as container,
            ):
                stream = container.add_stream(codec, rate=rate)
                stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
                video = cls(container, stream, av)
                yield video
                container.mux(stream.encode(None))
        except av.FFmpegError as error:
            raise OutputError(f"Cannot write {path}: {error}.") from error

    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """Add a frame, (rows, columns, 3) uint8."""
        even = np.ascontiguousarray(frame[: self._stream.height, : self._stream.width])
        self._container.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(even, format="rgb24")))


def _annotations(
    frames: FrameReader, content: VideoMasks, tracks: Mapping[str, Sequence[dict[str, Any] | None]]
) -> dict[str, Any]:
    count, rows, columns, _ = frames.shape
    video = {
        "id": 1,
        "name": frames.path.name,
        "width": columns,
        "height": rows,
        "length": count,
        "frames_per_second": frames.rate,
        "file_names": list(frames.names),
    }
    annotations = [
        {
            "id": number,
            "video_id": 1,
            "category_id": number,
            "iscrowd": 0,
            "height": rows,
            "width": columns,
            "length": 1,
            "segmentations": [found and found["rle"] for found in track],
            "bboxes": [found and found["box"] for found in track],
            "areas": [found and found["area"] for found in track],
        }
        for number, track in enumerate(tracks.values(), start=1)
    ]
    categories = [
        {"id": number, "name": name, "color": [round(255 * part) for part in color]}
        for number, (name, color) in enumerate(content.colors.items(), start=1)
    ]
    return {
        "info": dict(content.about),
        "videos": [video],
        "categories": categories,
        "annotations": annotations,
    }


def _described(mask: Mask | None) -> dict[str, Any] | None:
    box = None if mask is None else bounding_box(mask)
    if mask is None or box is None:
        return None
    rows, columns = box
    place = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
    return {"rle": encode_rle(mask), "box": place, "area": int(mask.sum())}


def _folders(names: Mapping[str, Color]) -> dict[str, str]:
    """A name for the folder of each object: its own, without what file systems do not take, and distinct."""
    places: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = _UNSAFE.sub("_", name).strip(" .")[:80] or "object"
        place, number = plain, 1
        while place.lower() in taken:
            number += 1
            place = f"{plain}-{number}"
        taken.add(place.lower())
        places[name] = place
    return places


def _mask_names(frames: FrameReader) -> list[str]:
    """The frames' own names where these are distinct without their endings, else numbers."""
    stems = [Path(name).stem for name in frames.names]
    if len({stem.lower() for stem in stems}) < len(stems):
        stems = [f"{index:06d}" for index in range(len(stems))]
    return [f"{stem}.png" for stem in stems]


def _picture(mask: Mask) -> bytes:
    return encode_png(mask.astype(np.uint8) * np.uint8(255))


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise output_error(path, error) from error


def _eroded(mask: Mask) -> Mask:
    """The pixels of a mask whose four neighbors belong to it."""
    padded = np.pad(mask, 1)
    return np.asarray(
        padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & mask, np.bool_
    )
