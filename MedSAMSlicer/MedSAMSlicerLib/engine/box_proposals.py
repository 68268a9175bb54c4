"""Objects that a network trained on boxes finds on a slice by itself, in boxes that nobody drew.

Boxes are tried around regions of a similar gray: the slice is smoothed within edges, its grays are cut into bands, and
what hangs together in a band is a region. A mask counts as an object where the masks in shifted boxes agree with it and
its outline separates two grays; how well they agree is its certainty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .crop import Bounds, bounds_of
from .propagate import Cancel, stop_if
from .proposals import Proposal, suppressed

Gray = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Draw = Callable[[Sequence[Bounds]], Sequence[Mask]]
"""What a network draws in boxes: left, top, right and bottom in slice index coordinates, on voxel edges."""

_AT_ONCE = 12  # boxes
_LEAST_PIXELS = 20
_BACKGROUND = 8  # gray values that are not counted as tissue
_STEPS, _STEP, _CONDUCTANCE = 12, 0.06, 3.0  # of the smoothing


@dataclass(frozen=True)
class BoxSearch:
    """The settings of the search of a slice.

    Args:
        bands: into which the grays are cut, with as many pixels each, and again as wide each; regions of two
            neighboring bands count, too.
        opening: radius by which regions are cut apart, in parts of the slice's shorter side.
        least_area, most_area: of a box / of the slice.
        least_mask: of a mask / of the slice.
        least_fill, most_fill: of a mask's box that it fills: less is nothing, more is the box itself.
        edge: least difference of gray values (0 to 255) between both sides of an outline.
        jitter: by how much sides of a box are shifted, in parts of the box.
        agreement: least IoU of the masks in shifted boxes.
        same: IoU from which on two boxes or masks are one object.
        most: boxes that are tried.
    """

    bands: int = 7
    opening: float = 0.008
    least_area: float = 0.003
    most_area: float = 0.3
    least_mask: float = 0.0015
    least_fill: float = 0.35
    most_fill: float = 0.93
    edge: float = 14.0
    jitter: float = 0.06
    agreement: float = 0.85
    same: float = 0.7
    most: int = 60


def find_in_boxes(
    gray: Gray,
    draw: Draw,
    search: BoxSearch | None = None,
    cancel: Cancel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Proposal]:
    """The objects of a slice, the largest first; the same slice always gives the same.

    Args:
        gray: (rows, columns) uint8, or in color (rows, columns, 3).
        draw: see `Draw`.
        search: how.
        cancel: returns True once the user wants to stop.
        progress: called with the boxes so far and in all.

    Raises:
        Canceled: If `cancel()` became true.
    """
    search = search or BoxSearch()
    luma = np.asarray(gray.mean(2), np.uint8) if gray.ndim == 3 else gray
    boxes = region_boxes(luma, search)
    kept: list[tuple[Mask, float]] = []
    for start in range(0, len(boxes), _AT_ONCE):
        stop_if(cancel)
        if progress is not None:
            progress(start, len(boxes))
        for found in _sure(luma, boxes[start : start + _AT_ONCE], draw, search):
            if all(overlap(found[0], mask) < search.same for mask, _ in kept):
                kept.append(found)
    kept.sort(key=lambda found: -int(found[0].sum()))
    return [_proposal(mask, certainty) for mask, certainty in kept]


def _proposal(mask: Mask, certainty: float) -> Proposal:
    left, top, right, bottom = box_of(mask)
    rows, columns = mask.shape
    bounds = left + 0.5, top + 0.5, right - left - 1, bottom - top - 1
    middle = (left + right) / 2, (top + bottom) / 2
    return Proposal(mask, bounds, certainty, certainty, middle, (0, 0, columns, rows))


def _sure(gray: Gray, boxes: Sequence[Bounds], draw: Draw, search: BoxSearch) -> Iterator[tuple[Mask, float]]:
    """The objects in some boxes, each with how well the masks of shifted boxes agree with it."""
    likely = [box_of(mask) for mask in draw(boxes) if _may_be_object(gray, mask, search)]
    masks = draw(likely) if likely else []  # as in a user's boxes
    shifted = [other for box in likely for other in _shifted(box, search.jitter)]
    others = draw(shifted) if shifted else []
    for number, mask in enumerate(masks):
        agreement = min(overlap(other, mask) for other in others[2 * number : 2 * number + 2])
        if agreement >= search.agreement and _may_be_object(gray, mask, search):
            yield mask, agreement


def _may_be_object(gray: Gray, mask: Mask, search: BoxSearch) -> bool:
    pixels = int(mask.sum())
    if pixels < max(_LEAST_PIXELS, search.least_mask * mask.size):
        return False
    fill = pixels / area_of(box_of(mask))
    return search.least_fill <= fill <= search.most_fill and edge_of(gray, mask) >= search.edge


def region_boxes(gray: Gray, search: BoxSearch) -> list[Bounds]:
    """Boxes around regions of a similar gray, no two of them alike; the largest regions first."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(gray.astype(np.float32))
    smooth = sitk.GetArrayFromImage(sitk.CurvatureAnisotropicDiffusion(image, _STEP, _CONDUCTANCE, 1, _STEPS))
    tissue = smooth[smooth > _BACKGROUND]
    if not tissue.size:
        return []
    shares = np.linspace(0, 1, search.bands + 1)
    low, high = float(tissue.min()), float(tissue.max())
    cuts = np.unique(np.percentile(tissue, 100 * shares)), low + (high - low) * shares
    radius = max(1, round(search.opening * min(gray.shape)))
    regions = [
        region
        for ends in cuts
        for width in (1, 2)
        for first, last in zip(ends, ends[width:], strict=False)
        for region in _regions((smooth >= first) & (smooth <= last), radius, search)
    ]
    regions.sort(key=lambda region: region[1])  # where two are as large, always the same one comes first
    boxes = torch.tensor([box for _, box in regions], dtype=torch.float64).reshape(-1, 4)
    pixels = torch.tensor([pixels for pixels, _ in regions])
    return [regions[place][1] for place in suppressed(boxes, pixels, search.same)[: search.most]]


def _regions(band: Mask, radius: int, search: BoxSearch) -> Iterator[tuple[int, Bounds]]:
    """Pixels and box of each connected part of a band of grays."""
    import SimpleITK as sitk

    opened = sitk.BinaryMorphologicalOpening(sitk.GetImageFromArray(band.astype(np.uint8)), [radius] * 2)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(sitk.ConnectedComponent(opened))
    for label in shapes.GetLabels():
        x, y, width, height = shapes.GetBoundingBox(label)
        pixels = int(shapes.GetNumberOfPixels(label))
        inside = search.least_area <= width * height / band.size <= search.most_area
        if inside and pixels >= search.least_fill * width * height:
            yield pixels, (x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5)


def edge_of(gray: Gray, mask: Mask) -> float:
    """Median difference of gray values (0 to 255) between both sides of a mask's outline."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    outer = sitk.GetArrayFromImage(sitk.BinaryDilate(image, [2, 2])) > 0
    inner = sitk.GetArrayFromImage(sitk.BinaryErode(image, [2, 2])) > 0
    ring, rim = outer & ~mask, mask & ~inner
    if not ring.any() or not rim.any():
        return 0.0
    return abs(float(np.median(gray[rim])) - float(np.median(gray[ring])))


def box_of(mask: Mask, margin: float = 0.0) -> Bounds:
    """The box of a mask that is not empty, wider at each side by a part of its sides."""
    bounds = bounds_of(mask)
    assert bounds is not None
    left, top, right, bottom = bounds
    dx, dy = margin * (right - left), margin * (bottom - top)
    return left - dx, top - dy, right + dx, bottom + dy


def area_of(box: Bounds) -> float:
    """In pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(one: Mask, other: Mask) -> float:
    """IoU; 0 where both are empty."""
    together = int((one | other).sum())
    return int((one & other).sum()) / together if together else 0.0


def _shifted(box: Bounds, part: float) -> Iterator[Bounds]:
    """A larger box toward one corner, a smaller one toward the other."""
    left, top, right, bottom = box
    dx, dy = part * (right - left), part * (bottom - top)
    yield left - dx, top - dy, right + dx / 2, bottom + dy / 2
    yield left + dx / 2, top + dy / 2, right + dx, bottom + dy
