"""Slicer's "Fill between slices" as a baseline: a morphological interpolation of contours on a few slices.

The algorithm is that of 3D Slicer itself, `itk.MorphologicalContourInterpolator` (Zukić et al. 2016, "ND Morphological
Contour Interpolation", Insight Journal), with its defaults; it is imported on demand. It does not look at the image.
Its contours are what a user draws who knows boxes and a range: on each boxed slice the ellipse in the box; on the first
and last slice of the range, where no box says more, the ellipse in the nearest box, shrunk to `END_PART` of its radii.
A box on a further slice is a further contour. `END_PART` was chosen on generated volumes: phantoms, training scenes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import MedSAMError
from .baselines import Baseline, Stack
from .boxes import Around, BoxesAndRange

END_PART = 0.7
_MARGIN = 2  # voxels around the contours

Contours = dict[int, npt.NDArray[np.bool_]]
"""Slice index -> (rows, columns)."""


def interpolation_baseline() -> Baseline:
    """Morphological interpolation between contours from boxes and range.

    Raises:
        MedSAMError: the ITK module is not installed.
    """
    if not _is_installed():  # importing ITK, which takes ten seconds, can wait
        raise _missing("it is not installed")
    return Baseline(
        "interpolation",
        interpolate,
        "itk.MorphologicalContourInterpolator between contours: the ellipse in each box, and on the first and last "
        f"slice of the range the nearest one at {END_PART:g} of its radii",
    )


def interpolate(stack: Stack, boxes_and_range: BoxesAndRange) -> npt.NDArray[np.bool_]:
    """The mask (slices, rows, columns) between the contours."""
    mask = np.zeros(stack.shape, np.bool_)
    around = boxes_and_range.surroundings(stack.shape, _MARGIN)
    filled = mask[around]
    contours = _contours(boxes_and_range, around)
    indices = sorted(contours)
    # One gap at a time: given all contours at once, the filter leaves out gaps beside two contours on neighbors.
    for low, high in pairwise(indices):
        if high - low > 1:
            gap = slice(low - boxes_and_range.first, high - boxes_and_range.first + 1)
            filled[gap] = _between(contours[low], contours[high], high - low + 1)
    for index in indices:
        filled[index - boxes_and_range.first] = contours[index]
    return mask


def _between(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.bool_]:
    """(count, rows, columns) from the slice of one contour to that of the other one."""
    drawn = np.zeros((count, *one.shape), np.uint8)
    for index, contour in ((0, one), (-1, other)):
        drawn[index] = contour if _has_inside(contour) else _thickened(contour)
    return np.asarray(_run(drawn) != 0)


def _contours(boxes_and_range: BoxesAndRange, around: Around) -> Contours:
    ends = {boxes_and_range.first, boxes_and_range.last}.difference(
        box.index for box in boxes_and_range.boxes
    )
    contours: Contours = {}
    for index in ends.union(box.index for box in boxes_and_range.boxes):
        _, y, x = np.ogrid[around]
        box, part = boxes_and_range.box_on(index), END_PART if index in ends else 1.0
        middle_x, middle_y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
        across, down = (box.right - box.left) / 2 * part, (box.bottom - box.top) / 2 * part
        ellipse = np.hypot((x - middle_x) / across, (y - middle_y) / down)[0] <= 1.0
        # A box may be so small that no voxel's center lies in its ellipse.
        nearest = (np.abs(x - middle_x) <= 0.5) & (np.abs(y - middle_y) <= 0.5)
        contours[index] = ellipse if ellipse.any() else nearest[0]
    return contours


def _has_inside(contour: npt.NDArray[np.bool_]) -> bool:
    """Return whether a voxel has all of its eight neighbors in the contour; the filter leaves out those without one."""
    rows = contour[:-2] & contour[1:-1] & contour[2:]
    return bool((rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]).any())


def _thickened(contour: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """One voxel thicker on each side."""
    rows = np.pad(contour, ((1, 1), (0, 0)))
    rows = rows[:-2] | rows[1:-1] | rows[2:]
    columns = np.pad(rows, ((0, 0), (1, 1)))
    return np.asarray(columns[:, :-2] | columns[:, 1:-1] | columns[:, 2:])


def _is_installed() -> bool:
    """Return whether ITK is there, and its remote module, which ITK alone lacks."""
    found = importlib.metadata.distributions(name="itk-morphologicalcontourinterpolation")
    return importlib.util.find_spec("itk") is not None and next(iter(found), None) is not None


def _missing(reason: object) -> MedSAMError:
    return MedSAMError(
        f"Interpolation between slices needs ITK's module for it ({reason}): "
        "install it with pip install 'medsamslicer[lab]'."
    )


def _filter() -> tuple[Any, Any]:
    """ITK, and a new filter; its modules are loaded with the first one, which takes a while."""
    try:
        import itk

        image = itk.Image[itk.UC, 3]
        return itk, itk.MorphologicalContourInterpolator[image].New()
    except (ImportError, AttributeError) as error:
        raise _missing(error) from error


def _run(contours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    # The classes that SWIG made warn when they are loaded, and where warnings are errors that ends the process.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        itk, between = _filter()
        between.SetInput(itk.image_from_array(contours))
        between.SetLabel(1)
        between.SetAxis(2)  # ITK counts from the fastest: the slices
        between.Update()
        return np.array(itk.array_from_image(between.GetOutput()), np.uint8)
