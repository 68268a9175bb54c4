"""The random walker (Grady 2006) of scikit-image as a baseline, from the same boxes, range and clicks.

Its seeds are those of :mod:`.seeds`, the same as GrowCut's; the image has the same window as for the network. Only the
box with its gap is walked through. Above `MOST_VOXELS` voxels rows and columns are binned by the smallest whole number
that suffices, and the probability is interpolated linearly back to them: a box of 512x512x40 voxels is walked through
at a quarter of its resolution. `BETA`, how much an edge hinders, was chosen on generated volumes (phantoms and training
scenes): the package's default of 130 is too weak for them. scikit-image is imported on demand.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...core.errors import MedSAMError
from . import seeds
from .baselines import Baseline, Stack
from .boxes import BoxesAndRange

BETA = 3000.0
TOLERANCE = 1e-3
MOST_VOXELS = 1_000_000
_FAINT = 1e-6

FloatVolume = npt.NDArray[np.float32]


def random_walker_baseline() -> Baseline:
    """The random walker, seeded from boxes, range and clicks.

    Raises:
        MedSAMError: scikit-image is not installed.
    """
    _check_scikit_image()
    return Baseline(
        "random walker",
        walk,
        f"skimage.segmentation.random_walker, beta {BETA:g}, mode cg_j, tolerance {TOLERANCE:g}, with the spacing; "
        f"rows and columns binned above {MOST_VOXELS} voxels; {seeds.ABOUT}",
        looks=True,
        clicks=True,
    )


def walk(stack: Stack, boxes_and_range: BoxesAndRange) -> npt.NDArray[np.bool_]:
    """The mask (slices, rows, columns) of the voxels from which a walker meets the object's seeds first."""
    sown = seeds.paint(stack, boxes_and_range)
    painted = sown.painted
    factor = binning(painted.shape)
    gray = _binned(stack.gray(sown.around).astype(np.float32) / 255.0, factor)
    between, row, column = (mm / min(stack.spacing[1:]) for mm in stack.spacing)
    spacing = (between, row * factor, column * factor)
    probability = _restored(
        _probability(gray, _binned_seeds(painted, factor), spacing), factor, painted.shape
    )
    found = np.where(painted == 0, probability > 0.5, painted == seeds.INSIDE)
    mask = np.zeros(stack.shape, np.bool_)
    mask[sown.around] = found & sown.allowed
    return mask


def binning(shape: tuple[int, ...]) -> int:
    """The number of rows and columns taken together so that at most `MOST_VOXELS` are left, or one a slice."""
    slices, rows, columns = shape
    factor = 1
    while slices * math.ceil(rows / factor) * math.ceil(columns / factor) > MOST_VOXELS:
        if factor >= max(rows, columns):
            break
        factor += 1
    return factor


def _probability(
    gray: FloatVolume, painted: npt.NDArray[np.uint8], spacing: tuple[float, float, float]
) -> FloatVolume:
    """Of meeting the object's seeds first, 0..1; seeds of both kinds, or of the object alone."""
    if not (painted == seeds.BACKGROUND).any():  # nothing to walk to but the object
        return np.ones(gray.shape, np.float32)
    if not (painted == 0).any():
        return np.asarray(painted == seeds.INSIDE, np.float32)
    from skimage.segmentation import random_walker

    if np.ptp(gray) == 0:  # it divides by the standard deviation; without edges distance alone decides
        gray = gray.copy()
        gray.flat[0] += _FAINT
    # Warnings about probabilities a little beyond 0..1 are switched off: they are compared with one half only.
    found = random_walker(
        gray,
        painted.astype(np.int32),
        beta=BETA,
        mode="cg_j",
        tol=TOLERANCE,
        return_full_prob=True,
        spacing=spacing,
        prob_tol=math.inf,
    )
    return np.asarray(found[0], np.float32)


def _blocks(array: npt.NDArray[np.generic], factor: int) -> npt.NDArray[np.generic]:
    """(slices, rows, factor, columns, factor), the last rows and columns repeated where the block is not full."""
    slices, rows, columns = array.shape
    padded = np.pad(array, ((0, 0), (0, -rows % factor), (0, -columns % factor)), mode="edge")
    return padded.reshape(slices, padded.shape[1] // factor, factor, padded.shape[2] // factor, factor)


def _binned(gray: FloatVolume, factor: int) -> FloatVolume:
    return gray if factor == 1 else np.asarray(_blocks(gray, factor).astype(np.float32).mean((2, 4)))


def _binned_seeds(painted: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """A block is a seed if one of its voxels is, background only where no voxel is the object's."""
    if factor == 1:
        return painted
    blocks = _blocks(painted, factor)
    inside = (blocks == seeds.INSIDE).any((2, 4))
    return np.where(inside, seeds.INSIDE, (blocks == seeds.BACKGROUND).any((2, 4)) * seeds.BACKGROUND).astype(
        np.uint8
    )


def _restored(probability: FloatVolume, factor: int, shape: tuple[int, ...]) -> FloatVolume:
    """Linearly interpolated between the middles of the blocks, (slices, rows, columns) of `shape`."""
    if factor == 1:
        return probability
    for axis in (1, 2):
        places = np.clip((np.arange(shape[axis]) + 0.5) / factor - 0.5, 0, probability.shape[axis] - 1)
        low = places.astype(int)
        high = np.minimum(low + 1, probability.shape[axis] - 1)
        part = (places - low).astype(np.float32)
        part = part[:, np.newaxis] if axis == 1 else part
        probability = probability.take(low, axis) * (1 - part) + probability.take(high, axis) * part
    return probability


def _check_scikit_image() -> None:
    try:
        import skimage.segmentation  # noqa: F401
    except ImportError as error:
        raise MedSAMError(
            f"The random walker needs scikit-image ({error}): "
            "install it with pip install 'medsamslicer[lab]'."
        ) from error
