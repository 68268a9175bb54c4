"""A picture of a result: the prompted slice in full, the object on slices through its extent, and a legend."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import OutputError
from ..core.geometry import FloatArray, SliceAxis, VolumeGeometry, volume_text
from ..core.masks import bounding_box
from ..core.prompts import Box, Lasso, MaskPrompt, Point, Prompt, RecistLine, Scribble, in_slice, no_kind
from .atomic import write_bytes
from .canvas import Canvas, Color, resampled
from .lettering import text_width
from .segmentations import Mask, color_of
from .slice_display import SliceDisplay

Region = tuple[float, float, float, float]

_BACKGROUND: Color = (0.055, 0.065, 0.08)
_INK: Color = (0.90, 0.92, 0.94)
_FAINT: Color = (0.55, 0.60, 0.66)
_POSITIVE: Color = (0.30, 0.85, 0.39)
_NEGATIVE: Color = (0.96, 0.30, 0.29)

_MAIN = 768  # pixels along the side of the large panel
_EDGE, _GAP = 24, 8
_HEADER, _LEGEND_ROW = 62, 30
_ROOM = 1.6  # side of a small panel's view over the longer side of what it shows
_SMALLEST_VIEW_MM = 30.0
_FILL = 0.14  # opacity of the inside of a mask
_SHADE = 0.6  # of the ground under words


@dataclass(frozen=True)
class _Scene:
    """The content of the panels."""

    volume: npt.NDArray[np.uint8]
    geometry: VolumeGeometry
    axis: SliceAxis
    masks: Mapping[str, Mask]
    colors: Mapping[str, Color]
    prompted: frozenset[int]
    prompts: Mapping[str, Sequence[Prompt]]
    display: SliceDisplay


def write_picture(
    path: str | Path,
    volume: npt.NDArray[np.uint8],
    geometry: VolumeGeometry,
    axis: SliceAxis,
    masks: Mapping[str, Mask],
    colors: Mapping[str, Color] | None = None,
    prompted_slices: Mapping[str, Collection[int]] | None = None,
    prompts: Mapping[str, Sequence[Prompt]] | None = None,
    title: str = "",
) -> None:
    """Writes a PNG of slices with the masks' contours, square in mm and turned as in 3D Slicer.

    Args:
        path: of the PNG file, replaced atomically.
        volume: (K, J, I) gray values with the display window applied.
        geometry: of the volume.
        axis: along which the slices are taken.
        masks: name -> (K, J, I) boolean.
        colors: name -> (r, g, b) from 0 to 1; those not given are chosen.
        prompted_slices: name -> slices with prompts; the first one is shown large. By default those of `prompts`.
        prompts: name -> prompts to draw.
        title: a line above, such as the volume's name.

    Raises:
        OutputError: naming `path`.
    """
    if Path(path).suffix.lower() != ".png":
        raise OutputError(f"Cannot write {path}: a picture's name must end in .png.")
    prompts = prompts or {}
    if prompted_slices is None:
        prompted_slices = {name: [p.slice.index for p in given] for name, given in prompts.items()}
    chosen = {name: (colors or {}).get(name, color_of(n)) for n, name in enumerate(masks)}
    first_prompted = [index for indices in prompted_slices.values() for index in indices]
    scene = _Scene(
        volume,
        geometry,
        axis,
        masks,
        chosen,
        frozenset(first_prompted),
        prompts,
        SliceDisplay.of(geometry, axis),
    )
    counts = _voxels_per_slice(scene)
    main = first_prompted[0] if first_prompted else int(counts.argmax())
    small = _small_slices(counts, scene.prompted, main)
    side = 3 if len(small) > 4 else 2
    grid = _MAIN + _EDGE if small else 0
    rows = _legend_rows(scene, _MAIN + grid)
    canvas = Canvas(
        2 * _EDGE + _MAIN + grid, _HEADER + _MAIN + _EDGE + _LEGEND_ROW * len(rows) + 12, _BACKGROUND
    )
    _write_header(canvas, scene, title)
    view = _view_of_masks(scene)
    _draw_panel(canvas, scene, main, _whole(scene.display), (_EDGE, _HEADER, _MAIN), large=True, outline=view)
    panel = (_MAIN - (side - 1) * _GAP) // side
    for number, index in enumerate(small):
        x = 2 * _EDGE + _MAIN + (number % side) * (panel + _GAP)
        y = _HEADER + (number // side) * (panel + _GAP)
        _draw_panel(canvas, scene, index, view, (x, y, panel), large=False)
    _write_legend(canvas, rows)
    write_bytes(path, canvas.png())


def _voxels_per_slice(scene: _Scene) -> npt.NDArray[np.int64]:
    others = tuple(n for n in range(3) if n != scene.axis)
    counts = np.zeros(scene.geometry.slice_count(scene.axis), dtype=np.int64)
    for mask in scene.masks.values():
        counts += np.count_nonzero(mask, axis=others)
    return counts


def _small_slices(counts: npt.NDArray[np.int64], prompted: frozenset[int], main: int) -> list[int]:
    """Up to nine slices: evenly through what the masks fill, the ones with prompts among them."""
    if len(counts) < 2:
        return []
    filled = np.flatnonzero(counts)
    first, last = (int(filled[0]), int(filled[-1])) if filled.size else (main, main)
    wanted = 9 if last - first >= 5 else 4
    while last - first + 1 < min(wanted, len(counts)):  # a few slices around a flat object
        first, last = max(0, first - 1), min(len(counts) - 1, last + 1)
    if last - first + 1 <= wanted:
        return list(range(first, last + 1))
    slices = [round(value) for value in np.linspace(first, last, wanted).tolist()]
    for index in sorted(prompted):
        if first < index < last:
            slices[1 + int(np.abs(np.array(slices[1:-1]) - index).argmin())] = index
    return sorted(set(slices))


def _whole(display: SliceDisplay) -> Region:
    """The smallest region, square in mm, around the whole slice."""
    rows, columns = display.shape
    return _square(0.0, 0.0, float(columns), float(rows), display, 1.0)


def _view_of_masks(scene: _Scene) -> Region:
    """A region, square in mm, around all masks; the whole slice when they fill most of it."""
    footprint = np.zeros(scene.geometry.slice_shape(scene.axis), dtype=bool)
    for mask in scene.masks.values():
        footprint |= mask.any(axis=int(scene.axis))
    shown = scene.display.image(footprint)
    box, whole = bounding_box(shown != 0), _whole(scene.display)
    if box is None:
        return whole
    y, x = box
    region = _square(x.start, y.start, x.stop, y.stop, scene.display, _ROOM)
    return region if region[2] - region[0] < 0.85 * (whole[2] - whole[0]) else whole


def _square(x0: float, y0: float, x1: float, y1: float, display: SliceDisplay, room: float) -> Region:
    mm_y, mm_x = display.spacing
    half = max((x1 - x0) * mm_x, (y1 - y0) * mm_y) * room / 2.0
    half = max(half, _SMALLEST_VIEW_MM / 2.0) if room > 1.0 else half
    x, y = (x0 + x1) / 2.0, (y0 + y1) / 2.0
    return x - half / mm_x, y - half / mm_y, x + half / mm_x, y + half / mm_y


def _draw_panel(
    canvas: Canvas,
    scene: _Scene,
    index: int,
    region: Region,
    frame: tuple[int, int, int],
    large: bool,
    outline: Region | None = None,
) -> None:
    """One slice in a square of the canvas; `frame` is its left, top and side in pixels."""
    left, top, side = frame
    panel = Canvas(side, side)
    values, inside = resampled(scene.display.image(_slice(scene, scene.volume, index)), region, (side, side))
    panel.pixels[:] = np.where(inside, np.clip(values / 255.0, 0.0, 1.0), 0.0)[..., np.newaxis]
    for name, mask in scene.masks.items():
        _draw_mask(panel, scene.display.image(_slice(scene, mask, index)), region, scene.colors[name], large)
    scale = side / (region[2] - region[0]), side / (region[3] - region[1])
    for given in scene.prompts.values():
        for prompt in given:
            if prompt.slice.index == index and not isinstance(prompt, MaskPrompt):
                xy = scene.display.points(in_slice(prompt, scene.geometry))
                places = (xy - [region[0], region[1]]) * scale
                _draw_prompt(panel, prompt, places, large)
    if large:
        _annotate(panel, scene, region, outline)
    _label(panel, f"{scene.axis.name.lower()} {index}", 8, 8, 13.0 if large else 10.0)
    canvas.paste(panel.pixels, left, top)
    if index in scene.prompted and not large:
        corners = np.array([[0, 0], [side, 0], [side, side], [0, side], [0, 0]], dtype=np.float64)
        canvas.polyline(corners + np.array([left, top]), _INK, 2.0)
        _label(canvas, "prompt", left + side - 8, top + 8, 10.0, align=1.0)


def _slice(scene: _Scene, array: npt.NDArray[Any], index: int) -> npt.NDArray[Any]:
    return np.asarray(np.take(array, index, axis=int(scene.axis)))


def _draw_mask(panel: Canvas, mask: npt.NDArray[Any], region: Region, color: Color, large: bool) -> None:
    """The contour of a mask and a breath of color inside, on the pixels around the mask only."""
    box = bounding_box(mask != 0)
    if box is None:
        return
    side = panel.pixels.shape[0]
    start, size = np.array(region[:2]), (np.array(region[2:]) - region[:2]) / side  # size of a pixel
    low = np.clip(np.floor(([side.start - 1 for side in box[::-1]] - start) / size), 0, side).astype(int)
    high = np.clip(np.ceil(([side.stop + 1 for side in box[::-1]] - start) / size), 0, side).astype(int)
    if (high - low).min() < 2:
        return
    part = (*(start + low * size + 1), *(start + high * size + 1))  # + 1 for the padding below
    field, inside = resampled(np.pad(mask, 1), part, (high[1] - low[1], high[0] - low[0]), smooth=False)
    rows, columns = np.gradient(field)
    distance = (field - 0.5) / np.maximum(
        np.hypot(rows, columns), 1e-3
    )  # to the contour in pixels, beside it
    width = 2.2 if large else 1.6
    inner = _FILL * np.clip(distance + 0.5, 0.0, 1.0)
    line = np.clip(width / 2.0 + 0.5 - np.abs(distance), 0.0, 1.0)
    for coverage in (inner, line):
        panel.cover(np.where(inside, coverage, 0.0), int(low[0]), int(low[1]), color)


def _draw_prompt(panel: Canvas, prompt: Prompt, places: FloatArray, large: bool) -> None:
    width = 2.0 if large else 1.4
    if isinstance(prompt, Box):
        (x0, y0), (x1, y1) = places
        places = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
        panel.polyline(places, (0.0, 0.0, 0.0), width + 2.0, 0.5)
        panel.polyline(places, _INK if prompt.positive else _NEGATIVE, width)
    elif isinstance(prompt, Point):
        _draw_point(panel, places[0], prompt.positive, 9.0 if large else 5.5)
    elif isinstance(prompt, RecistLine):
        panel.polyline(places, (0.0, 0.0, 0.0), width + 2.0, 0.5)
        panel.polyline(places, _INK, width)
        for x, y in places:
            panel.disc(x, y, 2.0 * width, _INK)
    elif isinstance(prompt, Lasso):
        closed = np.concatenate([places, places[:1]])
        panel.polyline(closed, _POSITIVE if prompt.positive else _NEGATIVE, width, 0.9)
    elif isinstance(prompt, Scribble):
        panel.polyline(places, _POSITIVE if prompt.positive else _NEGATIVE, 2.0 * width, 0.85)
    elif not isinstance(prompt, MaskPrompt):  # masks are drawn as such
        raise no_kind(prompt)


def _draw_point(panel: Canvas, place: FloatArray, positive: bool, radius: float) -> None:
    x, y = place
    panel.disc(x, y, radius + 1.5, (0.0, 0.0, 0.0), 0.7)
    panel.disc(x, y, radius, _POSITIVE if positive else _NEGATIVE)
    arm = 0.5 * radius
    panel.polyline(np.array([[x - arm, y], [x + arm, y]]), (1.0, 1.0, 1.0), 0.28 * radius)
    if positive:
        panel.polyline(np.array([[x, y - arm], [x, y + arm]]), (1.0, 1.0, 1.0), 0.28 * radius)


def _annotate(panel: Canvas, scene: _Scene, region: Region, outline: Region | None) -> None:
    """Patient sides, a scale bar, and the part that the small panels show."""
    side = panel.pixels.shape[0]
    if outline is not None and outline != region:
        places = (np.array(outline).reshape(2, 2) - [region[0], region[1]]) * side
        (x0, y0), (x1, y1) = places / [region[2] - region[0], region[3] - region[1]]
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
        panel.polyline(corners, _INK, 1.0, 0.45)
    left, right, top, bottom = scene.display.letters
    middle = side / 2.0
    for letter, x, y in (
        (left, 16, middle),
        (right, side - 16, middle),
        (top, middle, 8),
        (bottom, middle, side - 27),
    ):
        _label(panel, letter, x, y, 13.0, align=0.5)
    mm_per_pixel = (region[2] - region[0]) * scene.display.spacing[1] / side
    length = _round_length(0.2 * side * mm_per_pixel)
    end = side - 20.0
    start = end - length / mm_per_pixel
    panel.rectangle(start - 8, side - 44, end + 8, side - 8, (0.0, 0.0, 0.0), _SHADE)
    panel.polyline(np.array([[start, side - 16.0], [end, side - 16.0]]), _INK, 2.5)
    panel.text(f"{length:g} mm", (start + end) / 2.0, side - 26, _INK, 10, align=0.5)


def _label(canvas: Canvas, text: str, x: float, y: float, height: float, align: float = 0.0) -> None:
    """Words on a darkened ground, whose upper edge is at y and whose left edge, middle or right edge is at x."""
    width, pad = text_width(text, height), 0.45 * height
    left = x - align * (width + 2.0 * pad)
    canvas.rectangle(left, y, left + width + 2.0 * pad, y + height + 2.0 * pad, (0.0, 0.0, 0.0), _SHADE)
    canvas.text(text, left + pad, y + pad + height, _INK, height)


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5, 10, ... mm that is not longer."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= length * (1 + 1e-9)))


def _write_header(canvas: Canvas, scene: _Scene, title: str) -> None:
    end = canvas.pixels.shape[1] - _EDGE
    k, j, i = scene.geometry.shape
    spacing = " × ".join(f"{length:.3g}" for length in scene.geometry.spacing)
    caption = f"{i} × {j} × {k} voxels, {spacing} mm"
    canvas.text(caption, end, 40, _FAINT, 11, align=1.0)
    room = end - text_width(caption, 11) - 2 * _EDGE
    while title and len(title) > 4 and _EDGE + text_width(title, 18) > room:
        title = title[:-4] + "..." if not title.endswith("...") else title[:-5] + "..."
    canvas.text(title, _EDGE, 42, _INK, 18)


def _legend_rows(scene: _Scene, width: int) -> list[list[tuple[float, Color, str]]]:
    """Lines of the legend: the left end in pixels, the color and the words of each object."""
    milliliters = scene.geometry.voxel_milliliters
    rows: list[list[tuple[float, Color, str]]] = [[]]
    x = 0.0
    for name, mask in scene.masks.items():
        short = name if len(name) <= 40 else name[:37] + "..."
        words = f"{short}  {volume_text(np.count_nonzero(mask) * milliliters)} mL"
        needed = 28 + text_width(words, 13)
        if x + needed > width and rows[-1]:
            rows.append([])
            x = 0.0
        rows[-1].append((x, scene.colors[name], words))
        x += needed + 36
    return rows


def _write_legend(canvas: Canvas, rows: Sequence[Sequence[tuple[float, Color, str]]]) -> None:
    for number, row in enumerate(rows):
        y = _HEADER + _MAIN + _EDGE + number * _LEGEND_ROW
        for x, color, words in row:
            canvas.rectangle(_EDGE + x, y, _EDGE + x + 16, y + 16, color)
            canvas.text(words, _EDGE + x + 26, y + 14, _INK, 13)
