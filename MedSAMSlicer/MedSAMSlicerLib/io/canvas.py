"""A color picture in memory: smooth lines, discs, words, and PNG at the end. Numpy only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..core.geometry import FloatArray
from .lettering import text_strokes, text_width
from .png import encode_png

Color = tuple[float, float, float]
_MARGIN = 2  # pixels around a shape in which its soft edge fades


class Canvas:
    """An RGB picture, (height, width, 3) from 0 to 1, on which shapes are laid with smooth edges.

    Places are x, y in pixels; the center of the first pixel is (0.5, 0.5).
    """

    def __init__(self, width: int, height: int, background: Color = (0.0, 0.0, 0.0)) -> None:
        self.pixels: FloatArray = np.empty((height, width, 3))
        self.pixels[:] = background

    def paste(self, image: FloatArray, x: int, y: int) -> None:
        """Lays an opaque (rows, columns, 3) picture with its corner at x, y."""
        self.pixels[y : y + image.shape[0], x : x + image.shape[1]] = image

    def cover(self, coverage: FloatArray, x: int, y: int, color: Color) -> None:
        """Lays a color where `coverage`, (rows, columns) from 0 to 1, says how much of each pixel it hides."""
        top, left = max(0, y), max(0, x)
        part = coverage[top - y :, left - x :]
        region = self.pixels[top : top + part.shape[0], left : left + part.shape[1]]
        share = part[: region.shape[0], : region.shape[1], np.newaxis]
        region += share * (np.asarray(color) - region)

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, color: Color, opacity: float = 1.0
    ) -> None:
        """Fills a rectangle of whole pixels."""
        left, top, right, bottom = round(x0), round(y0), round(x1), round(y1)
        self.cover(np.full((max(0, bottom - top), max(0, right - left)), opacity), left, top, color)

    def disc(self, x: float, y: float, radius: float, color: Color, opacity: float = 1.0) -> None:
        """Fills a disc."""
        self.polyline(np.array([[x, y], [x, y]]), color, 2.0 * radius, opacity)

    def polyline(self, points: FloatArray, color: Color, width: float = 1.5, opacity: float = 1.0) -> None:
        """Draws a line with round ends through `points`, (N, 2)."""
        reach = width / 2.0 + _MARGIN
        left, top = (int(value) for value in np.floor(points.min(axis=0) - reach))
        right, bottom = (int(value) for value in np.ceil(points.max(axis=0) + reach))
        x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        nearest = np.full(x.shape, np.inf)
        for (ax, ay), (bx, by) in itertools.pairwise(points):
            length = (bx - ax) ** 2 + (by - ay) ** 2
            along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / (length or 1.0), 0.0, 1.0)
            nearest = np.minimum(
                nearest, (x - ax - along * (bx - ax)) ** 2 + (y - ay - along * (by - ay)) ** 2
            )
        coverage = np.clip(width / 2.0 + 0.5 - np.sqrt(nearest), 0.0, 1.0) * opacity
        self.cover(coverage, left, top, color)

    def text(
        self, text: str, x: float, y: float, color: Color, height: float = 12.0, align: float = 0.0
    ) -> None:
        """Writes a line with its base line at y; `align` 0, 0.5, 1 puts its left end, middle, right end at x."""
        start = np.array([x - align * text_width(text, height), y])
        for stroke in text_strokes(text, height):
            self.polyline(stroke + start, color, max(1.2, height / 8.0))

    def png(self) -> bytes:
        """The picture as an 8-bit RGB PNG file."""
        pixels = np.clip(np.round(self.pixels * 255.0), 0, 255).astype(np.uint8)
        return encode_png(pixels)


def resampled(
    image: npt.NDArray[np.generic],
    region: Sequence[float],
    size: tuple[int, int],
    smooth: bool = True,
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """A region of a 2-D image at another size.

    Args:
        image: (rows, columns).
        region: x0, y0, x1, y1 of its edges; pixel n of the image reaches from n to n + 1.
        size: (rows, columns) of the result.
        smooth: cubic (Keys 1981) instead of linear interpolation.

    Returns:
        The values, (rows, columns), and where they lie inside the image.
    """
    x0, y0, x1, y1 = region
    down, inside_y = _weights(image.shape[0], y0, y1, size[0], smooth)
    across, inside_x = _weights(image.shape[1], x0, x1, size[1], smooth)
    values = down @ np.asarray(image, dtype=np.float64) @ across.T
    return values, inside_y[:, np.newaxis] & inside_x


def _weights(
    count: int, start: float, stop: float, size: int, smooth: bool
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """(size, count) share of each sample in each result along one axis, and which results lie inside."""
    step = (stop - start) / size
    centers = start + (np.arange(size) + 0.5) * step
    widening = max(1.0, step)  # a smaller picture averages over what one of its pixels covers
    reach = min(int(np.ceil(2.0 * widening)) + 1, count + 1)  # farther there is nothing
    indices = np.floor(centers)[:, np.newaxis].astype(int) + np.arange(-reach, reach + 1)
    distance = np.abs(indices + 0.5 - centers[:, np.newaxis]) / widening
    if smooth:
        near = (1.5 * distance - 2.5) * distance**2 + 1.0
        far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
        shares = np.where(distance < 1.0, near, np.where(distance < 2.0, far, 0.0))
    else:
        shares = np.clip(1.0 - distance, 0.0, None)
    weights = np.zeros((size, count))
    rows = np.broadcast_to(np.arange(size)[:, np.newaxis], indices.shape)
    np.add.at(weights, (rows, np.clip(indices, 0, count - 1)), shares / shares.sum(axis=1, keepdims=True))
    return weights, (centers >= 0.0) & (centers <= count)
