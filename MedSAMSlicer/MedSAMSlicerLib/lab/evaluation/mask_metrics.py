"""Measures of a mask beside its Dice: Dice of each slice, normalized surface Dice, HD95.

Masks are those of :mod:`...core.metrics`. Two empty masks agree perfectly (surface Dice 1, distance 0 mm); an empty
mask against one that is not disagrees completely (surface Dice 0, infinite distance).

A volume of one slice along an axis is a picture: its surfaces are outlines, and the distance between slices plays no
part.

The surface metrics know only the spacing: in a sheared volume (tilted gantry) they take the axes as perpendicular, so
their distances are off there. Dice counts voxels and does not mind.

They need SciPy and the tables of surface elements of DeepMind's `surface-distance`, whose metrics these are; both are
imported when one is called (extra "lab"). They agree with MONAI's, which takes seconds to be imported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...core.errors import MedSAMError
from ...core.geometry import FloatArray, SliceAxis
from ...core.masks import bounding_box
from ...core.metrics import Mask, check_shapes

_Pair = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]


def dice_of_slices(mask: Mask, reference: Mask, axis: SliceAxis = SliceAxis.K) -> FloatArray:
    """Dice of each slice across `axis`, (N,); NaN where both are empty, so that `numpy.nanmean` passes over them."""
    check_shapes(mask, reference)
    in_plane = (axis.row_axis, axis.column_axis)
    common = np.count_nonzero(np.logical_and(mask, reference), axis=in_plane)
    sizes = np.count_nonzero(mask, axis=in_plane) + np.count_nonzero(reference, axis=in_plane)
    scores = np.full(sizes.shape, np.nan)
    np.divide(2.0 * common, sizes, out=scores, where=sizes > 0)
    return scores


def normalized_surface_dice(
    mask: Mask, reference: Mask, spacing: Sequence[float], tolerance_mm: float
) -> float:
    """The share of both surfaces that lies within a tolerance of the other one, 0..1.

    Surface elements are weighed by their area, so that thick slices count as they should (Nikolov et al. 2021).

    Args:
        mask, reference: (K, J, I).
        spacing: mm along (i, j, k), as `VolumeGeometry.spacing` gives it.
        tolerance_mm: the distance that two good readers may be apart.
    """
    cropped = _cropped_pair(mask, reference)
    if cropped is None:
        return 1.0 if not np.any(mask) and not np.any(reference) else 0.0
    pair, mm = _flat(cropped, _kji(spacing), mask.shape)
    (places, areas), (other_places, other_areas) = (_surface(part, mm) for part in pair)
    within = areas[_are_near(places, other_places, tolerance_mm)].sum()
    within += other_areas[_are_near(other_places, places, tolerance_mm)].sum()
    return float(within / (areas.sum() + other_areas.sum()))


def hd95(mask: Mask, reference: Mask, spacing: Sequence[float]) -> float:
    """The larger 95th percentile of the distances in mm from each surface to the other one.

    Args:
        mask, reference: (K, J, I).
        spacing: mm along (i, j, k), as `VolumeGeometry.spacing` gives it.
    """
    cropped = _cropped_pair(mask, reference)
    if cropped is None:
        return 0.0 if not np.any(mask) and not np.any(reference) else math.inf
    pair, mm = _flat(cropped, _kji(spacing), mask.shape)
    check_surface_metrics()
    from scipy.ndimage import binary_erosion, distance_transform_edt

    edge, other = (part & ~binary_erosion(part) for part in pair)
    there = distance_transform_edt(~other, sampling=mm)[edge]
    back = distance_transform_edt(~edge, sampling=mm)[other]
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def check_surface_metrics() -> None:
    """Raise MedSAMError with what to install where the surface metrics cannot be had."""
    try:
        import scipy.ndimage  # noqa: F401
        import surface_distance.lookup_tables  # noqa: F401
    except ImportError as error:
        raise MedSAMError(
            f"Surface metrics need SciPy and surface-distance ({error}): "
            "install them with pip install 'medsamslicer[lab]'."
        ) from error


def _kji(spacing: Sequence[float]) -> tuple[float, float, float]:
    if len(spacing) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        raise MedSAMError(
            f"Surface metrics need three spacings in mm along i, j and k, got {tuple(spacing)}."
        )
    return float(spacing[2]), float(spacing[1]), float(spacing[0])


def _cropped_pair(mask: Mask, reference: Mask) -> _Pair | None:
    """Both masks within the bounding box of their union; None if either is empty."""
    check_shapes(mask, reference)
    if not np.any(mask) or not np.any(reference):
        return None
    box = bounding_box(np.logical_or(mask, reference))
    assert box is not None
    return mask[box] != 0, reference[box] != 0


def _flat(
    pair: _Pair, spacing: tuple[float, float, float], shape: tuple[int, ...]
) -> tuple[_Pair, tuple[float, ...]]:
    """Masks and spacings without the first axis along which the volume, of `shape`, has one slice only."""
    if 1 not in shape:
        return pair, spacing
    thin = shape.index(1)
    mask, reference = pair
    return (mask.squeeze(thin), reference.squeeze(thin)), tuple(np.delete(spacing, thin).tolist())


def _surface(mask: npt.NDArray[np.bool_], spacing: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    """Places in mm (N, 2 or 3) of the surface elements of a mask, and their areas in mm^2 (lengths in mm)."""
    check_surface_metrics()
    from surface_distance import lookup_tables

    if mask.ndim == 3:
        table = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
        weights = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL.astype(np.uint8)
    else:
        table = lookup_tables.create_table_neighbour_code_to_contour_length(spacing)
        weights = lookup_tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL.astype(np.uint8)
    padded = np.pad(mask, 1).astype(np.uint8)
    size = tuple(length - 1 for length in padded.shape)
    codes = np.zeros(size, np.uint8)  # which of the corners around a place lie inside
    for corner, weight in np.ndenumerate(weights):
        codes += (
            weight
            * padded[tuple(slice(start, start + length) for start, length in zip(corner, size, strict=True))]
        )
    is_surface = (codes != 0) & (codes != len(table) - 1)
    return np.argwhere(is_surface) * np.array(spacing), table[codes[is_surface]]


def _are_near(places: FloatArray, others: FloatArray, tolerance_mm: float) -> npt.NDArray[np.bool_]:
    """Return whether one of the others lies within the tolerance, for each place."""
    from scipy.spatial import KDTree

    beyond = np.nextafter(
        np.float32(tolerance_mm), np.float32(np.inf)
    )  # distances count as float32, as in MONAI
    distances, _ = KDTree(others, leafsize=32).query(places, distance_upper_bound=float(beyond))
    return np.asarray(distances.astype(np.float32) <= np.float32(tolerance_mm))
