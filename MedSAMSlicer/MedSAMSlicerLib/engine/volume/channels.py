"""The evidence of the volume stage, as channels over the part of the volume around an object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .evidence import VolumeEvidence
from .geodesic import distances, step_costs
from .shapes import interpolated

Floats = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]

_BINS = 32
_LENGTH = 0.02
_CLICK = 0.5  # reach of a click / half width of the object
_MOSTLY = 0.5  # of a pixel of the working grid
_SEED = 0.6  # heat of a click from which it is a seed


@dataclass(frozen=True, eq=False)
class Channels:
    """Everything is (slices, rows, columns) float32 on the working grid.

    Args:
        logits: of the slices.
        gray: minus the median inside on the key slices, in units of the contrast to the ring around it.
        likelihood: log ratio of how often a gray is met inside and around the object on its key slices.
        grown: -1..1, from seeds that box, range and clicks give.
        regrown: -1..1, from the network's own masks.
        shape: signed distance of the shape expected from the key slices, in half widths.
        edge: signed distance from the box's sides, in half sides; positive inside.
        clicks: -1..1, nearness of positive and of negative clicks.
        place: 1 on the outermost key slices and between them, 0 one slice beyond the range.
    """

    logits: Floats
    gray: Floats
    likelihood: Floats
    grown: Floats
    regrown: Floats
    shape: Floats
    edge: Floats
    clicks: Floats
    place: Floats


def binned(array: npt.NDArray[np.generic], factor: int) -> Floats:
    """Means of `factor` x `factor` pixels of each slice; an edge that is left over is padded with its last pixels."""
    if factor == 1:
        return np.asarray(array, np.float32)
    pads = [(0, 0)] * (array.ndim - 2) + [(0, -size % factor) for size in array.shape[-2:]]
    padded = np.pad(np.asarray(array, np.float32), pads, mode="edge")
    *lead, rows, columns = padded.shape
    return np.asarray(
        padded.reshape(*lead, rows // factor, factor, columns // factor, factor).mean((-3, -1)), np.float32
    )


def channels(evidence: VolumeEvidence, factor: int = 1) -> Channels | None:
    """Compute all channels; None where no key slice holds a mask.

    Args:
        evidence: of one object.
        factor: pixels of a slice along each side that make one of the working grid.
    """
    logits = binned(evidence.logits, factor)
    gray = binned(evidence.gray, factor)
    spacing = (evidence.spacing[0], evidence.spacing[1] * factor, evidence.spacing[2] * factor)
    key_masks = {int(n): logits[n] > 0 for n in np.flatnonzero(evidence.keys) if (logits[n] > 0).any()}
    if not key_masks:
        return None
    count = len(gray)
    shape, widths = interpolated(key_masks, count, evidence.first, evidence.last, spacing[1:])
    edge = _box_distance(evidence, factor, gray.shape, key_masks)
    likelihood, contrast, middle = _likelihood(gray, key_masks, shape)
    scaled = (gray - middle) / contrast
    place = _place(count, sorted(key_masks), evidence.first, evidence.last)
    outside_range = np.ones(count, np.bool_)
    outside_range[evidence.first : evidence.last + 1] = False
    size = float(np.median(widths))
    sums = step_costs(scaled.clip(-3, 3), spacing, _LENGTH / size)
    far = edge < -0.35
    inside = shape > 0.5
    outside = far | outside_range[:, None, None]
    for index, mask in key_masks.items():
        inside[index], outside[index] = mask, ~mask
    clicks = _click_heat(evidence, factor, gray.shape, _CLICK * size)
    free = ~evidence.keys[:, None, None]
    if evidence.barred is not None:
        barred = binned(evidence.barred, factor) > _MOSTLY
        inside[barred], outside[barred] = False, True
    inside[free & (clicks > _SEED)] = True
    inside[free & (clicks < -_SEED)] = False
    outside[free & (clicks < -_SEED)] = True
    grown = _compared(distances(sums, np.stack([inside, outside])))
    carried = logits > 0
    inside2 = (logits > 3) & carried
    outside2 = outside | (logits < -6)
    inside2[free & (clicks < -_SEED)] = False
    for index, mask in key_masks.items():
        inside2[index], outside2[index] = mask, ~mask
    regrown = _compared(distances(sums, np.stack([inside2, outside2])))
    return Channels(
        logits,
        scaled.clip(-4, 4),
        likelihood,
        grown,
        regrown,
        shape.clip(-3, 3),
        edge.clip(-1.5, 1),
        clicks,
        place,
    )


def _compared(found: Floats) -> Floats:
    inside, outside = found
    return np.asarray((outside - inside) / (outside + inside + np.float32(1e-3)), np.float32)


def _click_heat(evidence: VolumeEvidence, factor: int, shape: tuple[int, ...], width: float) -> Floats:
    """-1..1, how near a click is, and of which kind; 1 at a positive click, -1 at a negative one.

    Args:
        evidence: with the clicks.
        factor: of the working grid.
        shape: of the working grid.
        width: mm over which a click reaches.
    """
    heat = np.zeros(shape, np.float32)
    mm = (evidence.spacing[0], evidence.spacing[1], evidence.spacing[2])
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    for at, column, row, positive in evidence.points:
        squared = (
            ((z - at) * mm[0]) ** 2
            + (((y + 0.5) * factor - 0.5 - row) * mm[1]) ** 2
            + (((x + 0.5) * factor - 0.5 - column) * mm[2]) ** 2
        ) / width**2
        near = np.exp(-0.5 * squared).astype(np.float32)
        heat = np.where(near > np.abs(heat), near if positive else -near, heat)
    return heat


def _likelihood(gray: Floats, keys: dict[int, Masks], shape: Floats) -> tuple[Floats, float, float]:
    """Log ratio of smoothed histograms, contrast and median inside."""
    within = np.concatenate([gray[n][mask] for n, mask in keys.items()])
    ring = np.concatenate([gray[n][(shape[n] < -0.05) & (shape[n] > -0.8)] for n in keys])
    middle = float(np.median(within))
    if ring.size == 0:
        return np.zeros_like(gray), 64.0, middle
    spread = float(np.percentile(within, 75) - np.percentile(within, 25)) / 1.35
    contrast = max(abs(float(np.median(ring)) - middle), 1.5 * spread, 8.0)
    edges = np.linspace(0, 256, _BINS + 1)
    kernel = np.array([1, 3, 4, 3, 1], np.float32) / 12
    inner, outer = (
        np.convolve(np.histogram(values, edges)[0] / max(values.size, 1), kernel, "same") + 0.004
        for values in (within, ring)
    )
    ratio = np.log(inner / outer).clip(-2.5, 2.5).astype(np.float32)
    position = (gray / 8 - 0.5).clip(0, _BINS - 1.001)
    low = position.astype(np.intp)
    weight = (position - low).astype(np.float32)
    return ratio[low] * (1 - weight) + ratio[np.minimum(low + 1, _BINS - 1)] * weight, contrast, middle


def _place(count: int, keys: list[int], first: int, last: int) -> Floats:
    z = np.arange(count, dtype=np.float32)
    below = np.clip((keys[0] - z) / max(keys[0] - first + 1, 1), 0, 1)
    above = np.clip((z - keys[-1]) / max(last - keys[-1] + 1, 1), 0, 1)
    return np.asarray(1 - np.maximum(below, above), np.float32)[:, None, None]


def _box_distance(
    evidence: VolumeEvidence, factor: int, shape: tuple[int, ...], keys: dict[int, Masks]
) -> Floats:
    """Signed distance from the sides of the box, interpolated between boxed slices, in half sides."""
    boxes = {int(n): sides for n, *sides in evidence.boxes}
    for n, mask in keys.items():
        if n not in boxes:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64) * factor - 0.5
            boxes[n] = edges.tolist()
    places = sorted(boxes)
    z = np.arange(shape[0])
    left, top, right, bottom = (
        np.interp(z, places, [boxes[n][side] for n in places])[:, None, None] for side in range(4)
    )
    y = (np.arange(shape[1])[None, :, None] + 0.5) * factor - 0.5
    x = (np.arange(shape[2])[None, None, :] + 0.5) * factor - 0.5
    across = 1 - np.abs(x - (left + right) / 2) / np.maximum((right - left) / 2, 0.5)
    down = 1 - np.abs(y - (top + bottom) / 2) / np.maximum((bottom - top) / 2, 0.5)
    return np.minimum(across, down).astype(np.float32)
