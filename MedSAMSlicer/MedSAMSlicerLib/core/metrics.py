"""The agreement of a mask with a reference.

Masks are (K, J, I) arrays of one shape, true where the object is; numbers count as true unless zero. Two empty
masks agree perfectly (Dice 1); an empty mask against one that is not disagrees completely (Dice 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import MedSAMError

Mask = npt.NDArray[Any]


def dice(mask: Mask, reference: Mask) -> float:
    """Twice the common voxels over the sum of both, 0..1."""
    check_shapes(mask, reference)
    sizes = np.count_nonzero(mask) + np.count_nonzero(reference)
    return 1.0 if sizes == 0 else 2.0 * np.count_nonzero(np.logical_and(mask, reference)) / sizes


def check_shapes(mask: Mask, reference: Mask) -> None:
    """Raise MedSAMError unless both masks are volumes of one shape."""
    if mask.shape != reference.shape or mask.ndim != 3:
        raise MedSAMError(
            f"Masks to compare must be volumes of one shape, got {mask.shape} and {reference.shape}."
        )
