"""The known voxels of a segment, as a digest a slice, so that a change by another module is noticed however it came."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from .geometry import SliceAxis
from .masks import pack_bits

Mask = npt.NDArray[np.bool_]

EMPTY = ""
"""The digest of a mask without voxels."""


def digest_of(mask: Mask) -> str:
    """A digest of a bool mask (rows, columns): 16 hexadecimal digits, "" for an empty mask."""
    if not mask.any():
        return EMPTY
    return hashlib.blake2b(pack_bits(mask).data, digest_size=8).hexdigest()


class KnownSlices:
    """Digests of the masks of one segment across one axis, as they were last written or settled."""

    def __init__(self, axis: SliceAxis) -> None:
        self.axis = axis
        self._digests: dict[int, str] = {}

    def put(self, index: int, mask: Mask) -> None:
        """Slice `index` is known to be `mask`, bool (rows, columns)."""
        digest = digest_of(mask)
        if digest == EMPTY:
            self._digests.pop(index, None)
        else:
            self._digests[index] = digest

    def digest(self, index: int) -> str:
        """The digest of the known mask of a slice."""
        return self._digests.get(index, EMPTY)

    def differs(self, index: int, mask: Mask) -> bool:
        """Return whether `mask` is another than what is known of slice `index`."""
        return digest_of(mask) != self.digest(index)

    def indices(self) -> Iterable[int]:
        """The slices that are known not to be empty."""
        return self._digests.keys()
