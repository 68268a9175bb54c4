"""Generated videos: shapes that move over a background in color."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

ENTERS = 6
"""Frame on which the second shape comes into the picture."""


def moving_shapes(
    frames: int = 14, rows: int = 96, columns: int = 128
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """A red disc that moves to the right, and from `ENTERS` on a bright bar that comes down from above.

    Returns:
        The frames, (frames, rows, columns, 3) uint8, and the true masks of disc and bar, (frames, rows, columns) bool.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:rows, :columns].astype(float)
    background = np.stack([90 + 20 * np.sin(x / 17), 70 + 15 * np.cos(y / 13), 60 + 0 * x], axis=-1)
    video = np.empty((frames, rows, columns, 3), np.uint8)
    disc = np.empty((frames, rows, columns), np.bool_)
    bar = np.zeros_like(disc)
    for index in range(frames):
        center_x, center_y = columns * 30 / 128 + 3 * index, rows * 62 / 96 + index
        disc[index] = (x - center_x) ** 2 + (y - center_y) ** 2 < (rows * 13 / 96) ** 2
        if index >= ENTERS:
            bar[index] = (abs(x - columns * 100 / 128) < rows / 12) & (y < rows / 7 + 4 * (index - ENTERS))
        frame = background + rng.normal(0, 5, background.shape)
        frame[disc[index]] += (110, -10, -10)
        frame[bar[index]] += (110, 120, 120)
        video[index] = frame.clip(0, 255)
    return video, disc, bar


def write_pictures(folder: Path, frames: npt.NDArray[np.uint8]) -> Path:
    """Frames as PNG files: 0.png, 1.png, ..., 10.png."""
    from MedSAMSlicerLib.io.png import encode_png

    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        (folder / f"{index}.png").write_bytes(encode_png(frame))
    return folder


def write_video(path: Path, frames: npt.NDArray[np.uint8], codec: str = "libx264", rate: int = 10) -> Path:
    """Frames as a video with a key frame now and then and frames between them that depend on both neighbors."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 5
        if codec == "libx264":
            stream.options = {"crf": "12"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def dice(mask: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Twice the overlap over the sum of both."""
    return float(2 * (mask & truth).sum() / max(1, mask.sum() + truth.sum()))
